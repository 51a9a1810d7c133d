package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// A result is one peer's medians in one scenario.
type result struct {
	scenario scenario
	peer     string
	samples  []sample
	middle   sample
	// ratio is Fairway's CPU per request over this peer's, the median of the
	// rounds' own ratios.
	ratio float64
	// Of a way:
	gateways         []float64 // CPU per request of each gateway, from the client on
	added50, added99 time.Duration
}

func summarize(s scenario, collected map[string][]sample) []result {
	var results []result
	ours := collected["fairway"]
	for _, name := range append(peerNames(), s.base) {
		samples := collected[name]
		if len(samples) == 0 {
			continue
		}
		r := result{scenario: s, peer: name, samples: samples, middle: middleOf(samples)}
		var ratios []float64
		for i := range min(len(ours), len(samples)) {
			ratios = append(ratios, ours[i].CPU/samples[i].CPU)
		}
		r.ratio = middle(ratios)
		results = append(results, r)
	}
	return results
}

// middleOf are the medians of rounds, and the sum of what failed.
func middleOf(samples []sample) sample {
	m := sample{
		CPU:       median(samples, func(x sample) float64 { return x.CPU }),
		Rate:      median(samples, func(x sample) float64 { return x.Rate }),
		P50:       time.Duration(median(samples, func(x sample) float64 { return float64(x.P50) })),
		P99:       time.Duration(median(samples, func(x sample) float64 { return float64(x.P99) })),
		Memory:    int64(median(samples, func(x sample) float64 { return float64(x.Memory) })),
		IdleBytes: median(samples, func(x sample) float64 { return x.IdleBytes }),
	}
	for _, x := range samples {
		m.Failed += x.Failed
	}
	return m
}

func peerNames() []string {
	var names []string
	for _, p := range peers {
		names = append(names, p.name)
	}
	return names
}

func median(samples []sample, of func(sample) float64) float64 {
	var all []float64
	for _, x := range samples {
		all = append(all, of(x))
	}
	return middle(all)
}

func middle(all []float64) float64 {
	if len(all) == 0 {
		return 0
	}
	slices.SortFunc(all, cmp.Compare)
	n := len(all)
	return (all[(n-1)/2] + all[n/2]) / 2
}

// printTable prints one scenario for people.
func printTable(w io.Writer, s scenario, results []result) {
	fmt.Fprintf(w, "\n%s: %s\n", s.name, s.about)
	t := tabwriter.NewWriter(w, 2, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, strings.Join(columns(s), "\t")+"\t")
	for _, r := range results {
		fmt.Fprintln(t, strings.Join(r.cells(), "\t")+"\t")
	}
	t.Flush()
}

func columns(s scenario) []string {
	if s.ways {
		return wayColumns(s)
	}
	c := []string{"proxy", "CPU us/request", "fairway / it", "requests/s", "p50", "p99", "RSS MiB", "failed"}
	if s.perByte {
		c = append(c, "CPU us/MiB")
	}
	if _, ok := s.load.(idle); ok {
		c = append(c, "KiB/connection")
	}
	return c
}

func (r result) cells() []string {
	if r.scenario.ways {
		return r.wayCells()
	}
	m := r.middle
	c := []string{
		r.peer, fmt.Sprintf("%.1f", m.CPU), fmt.Sprintf("%.2f", r.ratio), fmt.Sprintf("%.0f", m.Rate),
		m.P50.Round(time.Microsecond).String(), m.P99.Round(time.Microsecond).String(),
		fmt.Sprintf("%.0f", float64(m.Memory)/(1<<20)), fmt.Sprint(m.Failed),
	}
	if r.ratio == 0 {
		c[2] = "-"
	}
	if r.scenario.perByte {
		c = append(c, fmt.Sprintf("%.0f", m.CPU))
	}
	if _, ok := r.scenario.load.(idle); ok {
		c = append(c, fmt.Sprintf("%.1f", m.IdleBytes/1024))
	}
	return c
}

// save writes the table as Markdown and the rounds as JSON lines.
func save(dir string, at time.Time, tools map[string]tool, results []result) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var table, rounds strings.Builder
	fmt.Fprintf(&table, "# Benchmark, %s\n\n`make bench`: medians of interleaved rounds; \"fairway / it\" is the median of the rounds' ratios of CPU time per request.\n\n", at.UTC().Format("2006-01-02 15:04 MST"))
	for _, p := range peers {
		if t, ok := tools[p.name]; ok {
			fmt.Fprintf(&table, "- %s: %s\n", p.name, t.version)
		}
	}
	table.WriteString(legend(results))
	last := ""
	for _, r := range results {
		if r.scenario.name != last {
			last = r.scenario.name
			c := columns(r.scenario)
			fmt.Fprintf(&table, "\n## %s: %s\n\n| %s |\n|%s\n", last, r.scenario.about, strings.Join(c, " | "), strings.Repeat("---|", len(c)))
		}
		fmt.Fprintf(&table, "| %s |\n", strings.Join(r.cells(), " | "))
		for _, x := range r.samples {
			line, err := json.Marshal(x)
			if err != nil {
				return err
			}
			rounds.Write(append(line, '\n'))
		}
	}
	name := at.UTC().Format("20060102-150405")
	if err := os.WriteFile(filepath.Join(dir, name+".md"), []byte(table.String()), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, name+".jsonl"), []byte(rounds.String()), 0o644)
}
