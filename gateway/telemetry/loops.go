package telemetry

import (
	"sync"
	"time"

	"fairway.dev/gateway/loop"
	"github.com/prometheus/client_golang/prometheus"
)

// lagBounds are the upper bounds of the buckets of the loops' lag. A lag over
// 10 ms is one that every connection of the loop feels; the histogram is there
// to show that, so it is coarse.
var lagBounds = [...]time.Duration{
	time.Millisecond, 3 * time.Millisecond, 10 * time.Millisecond, 100 * time.Millisecond, time.Second,
}

// lagEvery is how often a loop's lag is measured.
const lagEvery = time.Second

// loops tells how busy the loops are: what they have done, and how late a
// timer of theirs comes, which is how long an event waits for its turn.
type loops struct {
	now func() time.Time
	lag sharded // one cell a bucket, +Inf, then the sum in nanoseconds

	mu      sync.Mutex
	watched []*loop.Loop
}

func newLoops(m *Metrics) *loops {
	w := &loops{now: m.options.Now, lag: newSharded(m.options.Loops, len(lagBounds)+2)}
	m.registry.MustRegister(w)
	return w
}

// Watch measures l. It is called once a loop: on it, or before it runs.
func (m *Metrics) Watch(l *loop.Loop) {
	w := m.loops
	w.mu.Lock()
	w.watched = append(w.watched, l)
	w.mu.Unlock()
	var timer loop.Timer
	due := l.Now().Add(lagEvery)
	timer.Fire = func() {
		w.observe(l.Index(), w.now().Sub(due))
		due = l.Now().Add(lagEvery)
		l.Arm(&timer, lagEvery)
	}
	l.Arm(&timer, lagEvery)
}

func (w *loops) observe(loop int, lag time.Duration) {
	lag = max(lag, 0)
	i := 0
	for i < len(lagBounds) && lag > lagBounds[i] {
		i++
	}
	w.lag.add(loop, i, 1)
	w.lag.add(loop, len(lagBounds)+1, int64(lag))
}

var (
	lagDesc = prometheus.NewDesc("fairway_loop_lag_seconds",
		"How late the loops' timers come, measured once a second: how long an event waits for its loop.", nil, nil)
	roundsDesc = prometheus.NewDesc("fairway_loop_rounds_total", "Rounds of the loops.", nil, nil)
	eventsDesc = prometheus.NewDesc("fairway_loop_events_total", "Socket events that the loops handled.", nil, nil)
)

func (w *loops) Describe(ch chan<- *prometheus.Desc) {
	ch <- lagDesc
	ch <- roundsDesc
	ch <- eventsDesc
}

func (w *loops) Collect(ch chan<- prometheus.Metric) {
	buckets := make(map[float64]uint64, len(lagBounds))
	var n uint64
	for i, bound := range lagBounds {
		n += uint64(w.lag.sum(i))
		buckets[bound.Seconds()] = n
	}
	n += uint64(w.lag.sum(len(lagBounds)))
	sum := time.Duration(w.lag.sum(len(lagBounds) + 1)).Seconds()
	ch <- prometheus.MustNewConstHistogram(lagDesc, n, sum, buckets)

	var rounds, events int64
	w.mu.Lock()
	for _, l := range w.watched {
		r, e := l.Rounds()
		rounds, events = rounds+r, events+e
	}
	w.mu.Unlock()
	ch <- prometheus.MustNewConstMetric(roundsDesc, prometheus.CounterValue, float64(rounds))
	ch <- prometheus.MustNewConstMetric(eventsDesc, prometheus.CounterValue, float64(events))
}
