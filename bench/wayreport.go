package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// summarizeWays is summarize where ways are compared: ratio is the way's CPU
// per request over that by one plain gateway, and latency is what is added to
// that without any; medians of the rounds' own.
func summarizeWays(s scenario, collected map[string][]sample) []result {
	direct, plain := collected["direct"], collected["plain"]
	var results []result
	for _, w := range ways {
		samples := collected[w.name]
		if len(samples) == 0 {
			continue
		}
		r := result{scenario: s, peer: w.name, samples: samples, middle: middleOf(samples)}
		var ratios, added50, added99 []float64
		for i, x := range samples {
			if i < len(plain) {
				ratios = append(ratios, x.CPU/plain[i].CPU)
			}
			if i < len(direct) {
				added50 = append(added50, float64(x.P50-direct[i].P50))
				added99 = append(added99, float64(x.P99-direct[i].P99))
			}
		}
		r.ratio, r.added50, r.added99 = middle(ratios), time.Duration(middle(added50)), time.Duration(middle(added99))
		for i := range samples[0].Gateways {
			r.gateways = append(r.gateways, median(samples, func(x sample) float64 { return x.Gateways[i] }))
		}
		results = append(results, r)
	}
	return results
}

// wayColumns are those of a scenario of ways. What is added to latency is told
// where the rate is the same for all: else the slower way has fewer requests.
func wayColumns(s scenario) []string {
	switch s.load.(type) {
	case idle:
		return []string{"way", "KiB/connection, all gateways", "RSS MiB", "failed"}
	case paced:
		return []string{"way", "CPU us/request", "of each gateway", "it / plain", "p50", "p99", "p50 added", "p99 added", "RSS MiB", "failed"}
	}
	return []string{"way", "CPU us/request", "of each gateway", "it / plain", "requests/s", "p50", "p99", "RSS MiB", "failed"}
}

func (r result) wayCells() []string {
	m := r.middle
	last := []string{fmt.Sprintf("%.0f", float64(m.Memory)/(1<<20)), fmt.Sprint(m.Failed)}
	if _, ok := r.scenario.load.(idle); ok {
		return append([]string{r.peer, fmt.Sprintf("%.1f", m.IdleBytes/1024)}, last...)
	}
	var each []string
	for _, cpu := range r.gateways {
		each = append(each, fmt.Sprintf("%.1f", cpu))
	}
	cells := []string{r.peer, fmt.Sprintf("%.1f", m.CPU), strings.Join(each, " + "), fmt.Sprintf("%.2f", r.ratio)}
	if len(each) == 0 {
		cells = []string{r.peer, "-", "-", "-"} // nobody is there to cost anything
	}
	show := func(d time.Duration) string { return d.Round(time.Microsecond).String() }
	if _, ok := r.scenario.load.(paced); ok {
		cells = append(cells, show(m.P50), show(m.P99), show(r.added50), show(r.added99))
	} else {
		cells = append(cells, fmt.Sprintf("%.0f", m.Rate), show(m.P50), show(m.P99))
	}
	return append(cells, last...)
}

// legend says what ways there are, where some were compared.
func legend(results []result) string {
	if !slices.ContainsFunc(results, func(r result) bool { return r.scenario.ways }) {
		return ""
	}
	var b strings.Builder
	b.WriteString("\nWays, their gateways on one core together; \"it / plain\" is the median of the rounds' ratios of CPU time per request of all gateways, \"added\" is to direct:\n\n")
	for _, w := range ways {
		fmt.Fprintf(&b, "- %s: %s\n", w.name, w.about)
	}
	return b.String()
}
