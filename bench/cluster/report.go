package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// A table is what a scenario has found.
type table struct {
	name, about  string
	began, ended string // this machine's load average
	rows         []row
}

// A row is one thing that was measured.
type row struct {
	what, measured string
	wanted         string // what it should be; empty where nothing was said
	missed         bool
}

// found adds what was measured.
func (t *table) found(what, format string, args ...any) {
	t.rows = append(t.rows, row{what: what, measured: fmt.Sprintf(format, args...)})
}

// judged adds what was measured beside what was wanted.
func (t *table) judged(what, wanted string, met bool, format string, args ...any) {
	t.rows = append(t.rows, row{what, fmt.Sprintf(format, args...), wanted, !met})
}

// atMost adds a duration that has a bound.
func (t *table) atMost(what string, took, most time.Duration) {
	t.judged(what, "at most "+short(most), took <= most, "%s", short(took))
}

// none adds a number that should be 0.
func (t *table) none(what string, n int) { t.judged(what, "0", n == 0, "%d", n) }

// short is d as people read it.
func short(d time.Duration) string {
	switch {
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1f ms", d.Seconds()*1000)
	case d < time.Second:
		return fmt.Sprintf("%.0f ms", d.Seconds()*1000)
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}

func (r row) verdict() string {
	switch {
	case r.wanted == "":
		return ""
	case r.missed:
		return "**no**"
	}
	return "yes"
}

// A report is the tables of a run, as a file.
type report struct {
	dir    string
	began  time.Time
	about  []string
	tables []*table
}

// add prints a table and writes the file anew.
func (r *report) add(t *table) error {
	r.tables = append(r.tables, t)
	t.print(os.Stdout)
	if err := os.MkdirAll(r.dir, 0o755); err != nil {
		return err
	}
	name := r.began.UTC().Format("20060102-150405") + "-cluster.md"
	return os.WriteFile(filepath.Join(r.dir, name), []byte(r.markdown()), 0o644)
}

// print prints a table for people.
func (t *table) print(w io.Writer) {
	fmt.Fprintf(w, "\n%s: %s\n", t.name, t.about)
	columns := tabwriter.NewWriter(w, 2, 0, 2, ' ', 0)
	for _, r := range t.rows {
		fmt.Fprintln(columns, strings.Join([]string{"", r.what, r.measured, r.wanted, r.verdict()}, "\t"))
	}
	columns.Flush()
}

func (r *report) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# On a cluster, %s\n\n`make bench-cluster`: what was measured, and whether it is what was wanted.\n\n", r.began.UTC().Format("2006-01-02 15:04 MST"))
	for _, line := range r.about {
		fmt.Fprintf(&b, "- %s\n", line)
	}
	for _, t := range r.tables {
		fmt.Fprintf(&b, "\n## %s: %s\n\n| what | measured | wanted | met |\n|---|---|---|---|\n", t.name, t.about)
		for _, x := range t.rows {
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", x.what, x.measured, x.wanted, x.verdict())
		}
		if t.began != "" {
			fmt.Fprintf(&b, "\nLoad average of the machine: %s before, %s after.\n", t.began, t.ended)
		}
	}
	return b.String()
}

// times are how long something took, each time.
type times []time.Duration

func (t times) mean() time.Duration {
	var sum time.Duration
	for _, d := range t {
		sum += d
	}
	return sum / time.Duration(max(1, len(t)))
}

// quantile is what a share of t is at most; 0 of none.
func (t times) quantile(share float64) time.Duration {
	if len(t) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(t))
	return sorted[min(len(sorted)-1, int(share*float64(len(sorted))))]
}

func (t times) max() time.Duration { return t.quantile(1) }
