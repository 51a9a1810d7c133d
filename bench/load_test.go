package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

const wrkText = `Running 3s test @ http://localhost:8080/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     0.93ms    1.02ms  20.35ms   97.35%
    Req/Sec    71.61k     4.42k   77.48k    86.67%
  Latency Distribution
     50%  793.00us
     75%    0.98ms
     90%    1.21ms
     99%    7.58ms
  192871 requests in 3.00s, 225.51MB read
  Socket errors: connect 1, read 2, write 3, timeout 4
  Non-2xx or 3xx responses: 5
Requests/sec:  64242.10
Transfer/sec:     75.11MB
`

func TestParseWrk(t *testing.T) {
	got, err := parseWrk(wrkText)
	want := outcome{requests: 192871, failed: 15, seconds: 3, p50: 793 * time.Microsecond, p99: 7580 * time.Microsecond}
	if err != nil || got != want {
		t.Errorf("parseWrk = %+v, %v; want %+v", got, err, want)
	}
	if _, err := parseWrk("unable to connect"); err == nil {
		t.Error("a text without a result gives no error")
	}
}

func TestParseH2load(t *testing.T) {
	got, err := parseH2load("finished in 2.02s, 84044.00 req/s, 92.33MB/s\n" +
		"requests: 170000 total, 170002 started, 170000 done, 169999 succeeded, 1 failed, 0 errored, 0 timeout\n")
	want := outcome{requests: 169999, failed: 1, seconds: 2.02}
	if err != nil || got != want {
		t.Errorf("parseH2load = %+v, %v; want %+v", got, err, want)
	}
	if _, err := parseH2load("could not connect"); err == nil {
		t.Error("a text without a result gives no error")
	}
}

func TestPercentiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	text := ""
	for _, us := range []string{"400", "100", "300", "200", "9000"} {
		text += "1700000000000000\t200\t" + us + "\n"
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	p50, p99, err := percentiles(path)
	if p50 != 300*time.Microsecond || p99 != 400*time.Microsecond || err != nil {
		t.Errorf("percentiles = %v, %v, %v; want 300µs, 400µs (the fourth of five)", p50, p99, err)
	}
}

func TestRatioIsTheMedianOfRounds(t *testing.T) {
	collected := map[string][]sample{
		"fairway": {{CPU: 10}, {CPU: 20}, {CPU: 9}},
		"nginx":   {{CPU: 20}, {CPU: 20}, {CPU: 10}}, // ratios 0.5, 1, 0.9
	}
	for _, r := range summarize(scenarios[0], collected) {
		if r.peer == "nginx" && r.ratio != 0.9 {
			t.Errorf("ratio to nginx is %v, want 0.9", r.ratio)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(wrkText)
	f.Add("finished in 1m, 1 req/s\nrequests: 1 total, 1 started, 1 done, 1 succeeded, 0 failed")
	f.Fuzz(func(t *testing.T, text string) {
		for _, parse := range []func(string) (outcome, error){parseWrk, parseH2load} {
			if o, err := parse(text); err == nil && (o.requests < 0 || o.seconds < 0) {
				t.Errorf("%q: %+v, want nothing negative", text, o)
			}
		}
	})
}
