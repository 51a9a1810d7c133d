package telemetry

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// cells are counters of one loop. Each loop's are allocated apart, in whole
// cache lines, so that no two loops write to the same one.
type cells []atomic.Int64

const cellsPerLine = 8 // of 64 bytes

func newCells(n int) cells {
	lines := (n + cellsPerLine - 1) / cellsPerLine
	return make(cells, lines*cellsPerLine)
}

// sharded are counters with a copy for each loop.
type sharded []cells

func newSharded(loops, n int) sharded {
	s := make(sharded, loops)
	for i := range s {
		s[i] = newCells(n)
	}
	return s
}

func (s sharded) add(loop, i int, n int64) { s[loop][i].Add(n) }

func (s sharded) sum(i int) int64 {
	var n int64
	for _, c := range s {
		n += c[i].Load()
	}
	return n
}

// A Tally counts events of a few kinds. Counting is for any goroutine; one
// that is not a loop's counts on loop 0.
type Tally[K ~uint8] struct {
	desc  *prometheus.Desc
	kinds []string
	at    sharded
}

func newTally[K ~uint8](m *Metrics, name, help, label string, kinds []string) *Tally[K] {
	t := &Tally[K]{
		desc:  prometheus.NewDesc(name, help, []string{label}, nil),
		kinds: kinds,
		at:    newSharded(m.options.Loops, len(kinds)),
	}
	m.registry.MustRegister(t)
	return t
}

// Count counts one event on a loop.
func (t *Tally[K]) Count(loop int, kind K) { t.at.add(loop, int(kind), 1) }

// Add counts n events on a loop.
func (t *Tally[K]) Add(loop int, kind K, n int) { t.at.add(loop, int(kind), int64(n)) }

// Total returns how many events of a kind have been counted.
func (t *Tally[K]) Total(kind K) int64 { return t.at.sum(int(kind)) }

// Describe and Collect make a Tally a prometheus.Collector.
func (t *Tally[K]) Describe(ch chan<- *prometheus.Desc) { ch <- t.desc }

// Collect sends one counter a kind.
func (t *Tally[K]) Collect(ch chan<- prometheus.Metric) {
	for i, kind := range t.kinds {
		if kind != "" {
			ch <- prometheus.MustNewConstMetric(t.desc, prometheus.CounterValue, float64(t.at.sum(i)), kind)
		}
	}
}

// Refusals counts what a codec ("http1", "backend_http2"), or another room, refuses,
// by kind: the text of each at its own index. Call it once a codec.
func Refusals[K ~uint8](m *Metrics, codec string, kinds []string) *Tally[K] {
	return newTally[K](m, "fairway_"+codec+"_refused_total",
		"Messages and connections that "+codec+" refused, by why.", "reason", kinds)
}
