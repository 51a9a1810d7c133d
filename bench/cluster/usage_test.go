package main

import (
	"testing"
	"time"
)

func TestParseMetrics(t *testing.T) {
	got := parseMetrics([]byte("# HELP a b 1\na 1\n\nb{kind=\"x y\"} 2.5e+06\nc{} 3 1795272815626\nd 4 1795272815626\nnonsense\ne not-a-number\n"))
	want := map[string]float64{"a": 1, `b{kind="x y"}`: 2.5e6, "c{}": 3, "d": 4}
	if len(got) != len(want) {
		t.Errorf("parseMetrics = %v, want %v", got, want)
	}
	for name, v := range want {
		if got[name] != v {
			t.Errorf("%s = %v, want %v", name, got[name], v)
		}
	}
}

func readingAt(seconds int, started, cpu, resident, received float64) reading {
	return reading{at: time.Unix(int64(seconds), 0), values: map[string]float64{
		"process_start_time_seconds": started, "process_cpu_seconds_total": cpu,
		"process_resident_memory_bytes": resident * mebi, "process_network_receive_bytes_total": received,
	}}
}

func TestUsage(t *testing.T) {
	first := readingAt(100, 1, 5, 50, 1000)
	var u usage
	for _, now := range []reading{first, readingAt(105, 1, 5.5, 90, 3000), readingAt(110, 1, 6, 60, 21000)} {
		if err := u.take(first, now); err != nil {
			t.Fatal(err)
		}
	}
	if u.cores != 0.1 || u.memory != 60 || u.peak != 90 || u.received != 2 || u.series != 4 {
		t.Errorf("usage = %+v, want 0.1 cores, 60 and at most 90 MiB, 2 kB/s, 4 series", u)
	}
	now := readingAt(111, 1, 6, 60, 21000)
	now.working = 45 * mebi
	if err := u.take(first, now); err != nil || u.memory != 45 || u.resident != 60 || u.peak != 90 {
		t.Errorf("with a working set: %+v, %v, want 45 MiB of 60", u, err)
	}
	if err := u.take(first, readingAt(115, 112, 0, 10, 0)); err == nil {
		t.Error("a process that was restarted is taken for the same")
	}
}
