package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestTimes(t *testing.T) {
	var some times
	for i := 100; i >= 1; i-- {
		some = append(some, time.Duration(i)*time.Millisecond)
	}
	tests := []struct {
		what      string
		got, want time.Duration
	}{
		{"mean", some.mean(), 50500 * time.Microsecond},
		{"p50", some.quantile(0.5), 51 * time.Millisecond},
		{"p99", some.quantile(0.99), 100 * time.Millisecond},
		{"max", some.max(), 100 * time.Millisecond},
		{"mean of none", times(nil).mean(), 0},
		{"max of none", times(nil).max(), 0},
	}
	for _, tt := range tests {
		if tt.got != tt.want {
			t.Errorf("%s = %v, want %v", tt.what, tt.got, tt.want)
		}
	}
	if some[0] != 100*time.Millisecond {
		t.Error("the order of the times was changed")
	}
}

func TestShort(t *testing.T) {
	for d, want := range map[time.Duration]string{
		1234 * time.Microsecond: "1.2 ms", 45600 * time.Microsecond: "46 ms",
		2340 * time.Millisecond: "2.3 s", 125 * time.Second: "2m5s",
	} {
		if got := short(d); got != want {
			t.Errorf("short(%v) = %q, want %q", d, got, want)
		}
	}
}

// What was missed stands out, and each table that is added is on disk.
func TestReport(t *testing.T) {
	r := &report{dir: t.TempDir(), began: time.Date(2026, 11, 21, 14, 0, 0, 0, time.UTC), about: []string{"a cluster"}}
	for _, name := range []string{"one", "two"} {
		x := &table{name: name, about: "this and that", began: "1.00", ended: "2.00"}
		x.found("size", "%d", 7)
		x.atMost("time", 2*time.Second, time.Second)
		x.none("errors", 0)
		if err := r.add(x); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(filepath.Join(r.dir, "20261121-140000-cluster.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"2026-11-21 14:00 UTC", "- a cluster", "## one: this and that", "## two: this and that",
		"| size | 7 |  |  |", "| time | 2.0 s | at most 1.0 s | **no** |", "| errors | 0 | 0 | yes |",
		"Load average of the machine: 1.00 before, 2.00 after.",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
}

func TestChoose(t *testing.T) {
	if got, err := choose("fleet,attached"); err != nil || len(got) != 2 || got[0].name != "fleet" {
		t.Errorf("choose = %v, %v", got, err)
	}
	if got, err := choose(""); err != nil || len(got) != len(scenarios) {
		t.Errorf("choose of nothing = %v, %v, want all", got, err)
	}
	if _, err := choose("speed"); err == nil {
		t.Error("no error for a scenario that does not exist")
	}
}

func TestScale(t *testing.T) {
	tests := []struct {
		scale  float64
		count  int
		period time.Duration
	}{
		{1, 1000, time.Minute},
		{0.1, 100, 6 * time.Second},
		{0.0001, 1, time.Second},
		{3, 3000, time.Minute}, // more objects, no more time
	}
	for _, tt := range tests {
		o := options{scale: tt.scale}
		if n, d := o.count(1000), o.period(time.Minute); n != tt.count || d != tt.period {
			t.Errorf("scale %v of 1000 and 1m = %d, %v, want %d, %v", tt.scale, n, d, tt.count, tt.period)
		}
	}
}
