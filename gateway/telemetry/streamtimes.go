package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// streamTimes is how long streams lasted, by kind. It has no label for the
// destination: a kind's buckets for each would be most of the page.
type streamTimes struct {
	at [numStreamKinds]sharded
}

// streamBounds are in seconds, from a health check to a day's work.
var streamBounds = [...]float64{.01, .1, 1, 10, 60, 600, 3600}

var streamDurations = prometheus.NewDesc("fairway_stream_duration_seconds",
	"How long TCP connections and UDP sessions lasted.", []string{"protocol"}, nil)

func newStreamTimes(m *Metrics) *streamTimes {
	t := &streamTimes{}
	for kind := range t.at {
		t.at[kind] = newSharded(m.options.Loops, len(streamBounds)+2)
	}
	m.registry.MustRegister(t)
	return t
}

func (t *streamTimes) observe(loop int, kind StreamKind, d time.Duration) {
	c := t.at[kind][loop]
	i := 0
	for i < len(streamBounds) && d.Seconds() > streamBounds[i] {
		i++
	}
	c[i].Add(1)
	c[len(streamBounds)+1].Add(int64(d))
}

// Describe and Collect make streamTimes a prometheus.Collector.
func (t *streamTimes) Describe(ch chan<- *prometheus.Desc) { ch <- streamDurations }

// Collect sends the histograms of the kinds of which there were any.
func (t *streamTimes) Collect(ch chan<- prometheus.Metric) {
	for kind, at := range t.at {
		buckets := make(map[float64]uint64, len(streamBounds))
		var n uint64
		for i, bound := range streamBounds {
			n += uint64(at.sum(i))
			buckets[bound] = n
		}
		n += uint64(at.sum(len(streamBounds)))
		if n == 0 {
			continue
		}
		sum := time.Duration(at.sum(len(streamBounds) + 1)).Seconds()
		ch <- prometheus.MustNewConstHistogram(streamDurations, n, sum, buckets, StreamKind(kind).String())
	}
}
