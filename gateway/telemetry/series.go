package telemetry

import (
	"sync"
	"sync/atomic"
	"time"
)

// seriesTable holds the istio_* series and decides who gets one.
type seriesTable struct {
	options *Options
	layout  layout

	mu         sync.Mutex // guards all below
	counters   map[counterKey]*series
	histograms map[histogramKey]*series
	perHost    map[destination]int // counters of each destination, whoever its ends are
	// How many are of the destination "other".
	otherCounters, otherHistograms int
	streams                        map[streamKey]*series
	// Lines of streams on the page: of destinations with their own, and of
	// the destination "other".
	streamLines, otherStreamLines int

	room  room
	swept time.Time
}

type counterKey struct {
	to   destination
	kind outcome
}

type histogramKey struct {
	to   destination
	grpc bool
}

// series is one set of labels and its numbers.
type series struct {
	labels []string // their values, made at the first scrape
	at     sharded
	last   int64 // at the last sweep
	used   time.Time
}

// room is how many series there may be.
type room struct {
	counters       int // of destinations with their own
	otherCounters  int // of the destination "other"
	perDestination int // so that one backend with many statuses does not take all
	histograms     int // of destinations with their own; those of "other" come on top
	noHistograms   bool
	streams        int // lines of destinations with their own
	otherStreams   int // lines of the destination "other"; four of what has no room there come on top
}

// paired is how much of a room is for pairs of a source and a destination: the rest
// is for Services whose pairs have none.
func paired(room int) int { return room * 3 / 4 }

// overflow is the last resort: the counter of what does not even fit into
// "other". Its response code is "other" too.
const overflow = ^outcome(0)

func (t *seriesTable) init(o *Options) {
	t.options = o
	t.layout = newLayout(o.DurationBuckets)
	t.counters = make(map[counterKey]*series)
	t.histograms = make(map[histogramKey]*series)
	t.perHost = make(map[destination]int)
	t.streams = make(map[streamKey]*series)
	t.room = roomFor(o.Series, t.layout.series())
}

// roomFor splits a number of series: a tenth for streams; of what is left two
// fifths for counters, the rest for histograms that take cost series each.
func roomFor(total, cost int) room {
	const unbounded = 1 << 30
	if total < 0 {
		return room{counters: unbounded, otherCounters: unbounded, perDestination: unbounded, histograms: unbounded,
			streams: unbounded, otherStreams: unbounded}
	}
	streams := total / 10
	total -= streams
	counters := max(total*2/5, 2)
	histograms := (total - counters) / cost
	r := room{
		otherCounters: max(counters/8, 1),
		histograms:    histograms - 2,
		noHistograms:  histograms < 2,
		streams:       streams * 2 / 3,
	}
	r.otherStreams = max(streams-r.streams-streamCells, 0)
	r.counters = counters - r.otherCounters - 1
	r.perDestination = max(r.counters/8, 1)
	return r
}

// resolve returns where a loop counts exchanges with a destination and an
// outcome. The cells are nil where there is no histogram.
func (t *seriesTable) resolve(to destination, kind outcome, loop int) (*atomic.Int64, cells) {
	t.mu.Lock()
	defer t.mu.Unlock()
	count := &t.counter(to, kind).at[loop][0]
	if h := t.histogram(to, kind.isGRPC()); h != nil {
		return count, h.at[loop]
	}
	return count, nil
}

func (t *seriesTable) counter(to destination, kind outcome) *series {
	key := counterKey{to, kind}
	if s, ok := t.counters[key]; ok {
		return s
	}
	others := to.others()
	own := len(t.counters) - t.otherCounters
	service := to.crowded()
	if to != service && own < paired(t.room.counters) && t.perHost[service] < paired(t.room.perDestination) {
		return t.addCounter(key)
	}
	key.to = service
	if s, ok := t.counters[key]; ok {
		return s
	}
	if own < t.room.counters && t.perHost[service] < t.room.perDestination {
		return t.addCounter(key)
	}
	key.to = others
	if s, ok := t.counters[key]; ok {
		return s
	}
	if t.otherCounters < t.room.otherCounters {
		return t.addCounter(key)
	}
	key.kind = overflow
	if s, ok := t.counters[key]; ok {
		return s
	}
	return t.addCounter(key)
}

func (t *seriesTable) addCounter(key counterKey) *series {
	s := &series{at: newSharded(t.options.Loops, 1), used: t.options.Now()}
	t.counters[key] = s
	t.perHost[key.to.crowded()]++
	if key.to.isOther() {
		t.otherCounters++
	}
	return s
}

func (t *seriesTable) histogram(to destination, grpc bool) *series {
	if t.room.noHistograms {
		return nil
	}
	key := histogramKey{to, grpc}
	if s, ok := t.histograms[key]; ok {
		return s
	}
	own := len(t.histograms) - t.otherHistograms
	if service := to.crowded(); to != service && own >= paired(t.room.histograms) {
		key.to = service
		if s, ok := t.histograms[key]; ok {
			return s
		}
	}
	if own >= t.room.histograms {
		key.to = to.others()
		if s, ok := t.histograms[key]; ok {
			return s
		}
		t.otherHistograms++
	}
	s := &series{at: newSharded(t.options.Loops, t.layout.cells()), used: t.options.Now()}
	t.histograms[key] = s
	return s
}

// sweepEvery is the least time between two looks for idle series: each that
// finds one makes the loops resolve their rows again.
const sweepEvery = time.Minute

// sweep drops the series that were idle for too long, and reports whether
// there were any. An exchange that ends at the same moment may be lost with
// its series.
func (t *seriesTable) sweep() bool {
	now := t.options.Now()
	if t.options.Idle < 0 || now.Sub(t.swept) < sweepEvery {
		return false
	}
	t.swept = now
	dropped := false
	for key, s := range t.counters {
		if s.idle(now, s.at.sum(0), t.options.Idle) {
			delete(t.counters, key)
			dropped = true
			service := key.to.crowded()
			if t.perHost[service]--; t.perHost[service] == 0 {
				delete(t.perHost, service)
			}
			if key.to.isOther() {
				t.otherCounters--
			}
		}
	}
	for key, s := range t.histograms {
		if s.idle(now, t.layout.count(s.at), t.options.Idle) {
			delete(t.histograms, key)
			dropped = true
			if key.to.isOther() {
				t.otherHistograms--
			}
		}
	}
	return t.sweepStreams(now) || dropped
}

// idle reports whether the series has stood at count for longer than after.
func (s *series) idle(now time.Time, count int64, after time.Duration) bool {
	if count != s.last {
		s.last, s.used = count, now
	}
	return now.Sub(s.used) > after
}
