package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// streamOutcome is all that differs between the series of one destination's
// streams.
type streamOutcome struct {
	udp   bool
	flags Flags // 0 for all that is counted before the end
}

// otherStreams is the outcome of what has no room even among "other".
var otherStreams = streamOutcome{flags: ^Flags(0)}

func (o streamOutcome) protocol() string {
	switch {
	case o == otherStreams:
		return other
	case o.udp:
		return "udp"
	}
	return "tcp"
}

func (o streamOutcome) flagText() string {
	if o == otherStreams {
		return other
	}
	return o.flags.String()
}

// The cells of a series of streams. Those of flags have the second alone.
const (
	streamsOpened = iota
	streamsClosed
	streamsReceived
	streamsSent
	streamCells
)

// begins reports whether more than ends are counted under o.
func (o streamOutcome) begins() bool { return o.flags == 0 || o == otherStreams }

// lines returns how many lines the series of o has on the page.
func (o streamOutcome) lines() int {
	if o.begins() {
		return streamCells
	}
	return 1
}

// streamRow is one kind of outcome of streams and its series.
type streamRow struct {
	kind streamOutcome
	ends Ends
	at   cells
}

// OpenStream counts a stream that begins, on the loop with that index. Of its
// record count the kind and the ends, which are the same from then on.
func (e *Exchanges) OpenStream(loop int, r *StreamRecord) {
	e.stream(loop, streamOutcome{udp: r.Kind == StreamUDP}, r.Ends)[streamsOpened].Add(1)
}

// StreamBytes counts bytes of a stream that goes on, on the loop with that
// index: received from the client, and sent to it.
func (e *Exchanges) StreamBytes(loop int, r *StreamRecord, received, sent int64) {
	at := e.stream(loop, streamOutcome{udp: r.Kind == StreamUDP}, r.Ends)
	if received != 0 {
		at[streamsReceived].Add(received)
	}
	if sent != 0 {
		at[streamsSent].Add(sent)
	}
}

// CloseStream counts the end of a stream that OpenStream counted. Its bytes
// were told to StreamBytes.
func (e *Exchanges) CloseStream(loop int, r *StreamRecord) {
	e.stream(loop, streamOutcome{udp: r.Kind == StreamUDP, flags: r.Flags}, r.Ends)[streamsClosed].Add(1)
	e.metrics.streamTimes.observe(loop, r.Kind, r.Duration)
}

// stream finds the loop's cells for a kind of outcome between two ends.
func (e *Exchanges) stream(loop int, kind streamOutcome, ends Ends) cells {
	s := e.shard(loop)
	for i := range s.streams {
		if s.streams[i].kind == kind && s.streams[i].ends == ends {
			return s.streams[i].at
		}
	}
	r := streamRow{kind, ends, e.metrics.tables.resolveStream(e.to.between(ends), kind, loop)}
	if len(s.streams) == maxRows {
		s.streams = s.streams[:0] // flags make few rows; what comes back is found again
	}
	s.streams = append(s.streams, r)
	return r.at
}

// resolveStream returns where a loop counts streams to a destination.
func (t *seriesTable) resolveStream(to destination, kind streamOutcome, loop int) cells {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, choice := range []struct {
		to   destination
		used *int
		room int
	}{
		{to, &t.streamLines, paired(t.room.streams)},
		{to.crowded(), &t.streamLines, t.room.streams},
		{to.others(), &t.otherStreamLines, t.room.otherStreams},
	} {
		key := streamKey{choice.to, kind}
		if s, ok := t.streams[key]; ok {
			return s.at[loop]
		}
		if *choice.used+kind.lines() <= choice.room {
			*choice.used += kind.lines()
			return t.addStream(key).at[loop]
		}
	}
	last := streamKey{to.others(), otherStreams}
	if s, ok := t.streams[last]; ok {
		return s.at[loop]
	}
	return t.addStream(last).at[loop]
}

func (t *seriesTable) addStream(key streamKey) *series {
	s := &series{at: newSharded(t.options.Loops, streamCells), used: t.options.Now()}
	t.streams[key] = s
	return s
}

// sweepStreams drops series that were idle for too long: a stream that lasts
// finds a new one with its next bytes.
func (t *seriesTable) sweepStreams(now time.Time) (dropped bool) {
	for key, s := range t.streams {
		var sum int64
		for cell := range streamCells {
			sum += s.at.sum(cell)
		}
		if !s.idle(now, sum, t.options.Idle) {
			continue
		}
		delete(t.streams, key)
		dropped = true
		switch {
		case key.kind == otherStreams:
		case key.to.isOther():
			t.otherStreamLines -= key.kind.lines()
		default:
			t.streamLines -= key.kind.lines()
		}
	}
	return dropped
}

type streamKey struct {
	to   destination
	kind streamOutcome
}

// streamLabels are the labels of the istio_tcp_* series.
var streamLabels = append(append([]string(nil), histogramLabels...), "response_flags")

var streamDescs = [streamCells]*prometheus.Desc{
	streamsOpened: prometheus.NewDesc("istio_tcp_connections_opened_total",
		"TCP connections, and sessions of UDP datagrams, that were begun.", streamLabels, nil),
	streamsClosed: prometheus.NewDesc("istio_tcp_connections_closed_total",
		"TCP connections, and sessions of UDP datagrams, that have ended.", streamLabels, nil),
	streamsReceived: prometheus.NewDesc("istio_tcp_received_bytes_total",
		"Bytes received from clients of TCP connections and UDP sessions.", streamLabels, nil),
	streamsSent: prometheus.NewDesc("istio_tcp_sent_bytes_total",
		"Bytes sent to clients of TCP connections and UDP sessions.", streamLabels, nil),
}

func (o *Options) streamValues(key streamKey) []string {
	return append(o.labelValues(key.to, key.kind.protocol()), key.kind.flagText())
}

// collectStreams sends the istio_tcp_* series.
func (m *exchangeCollector) collectStreams(ch chan<- prometheus.Metric, all []streamSeries) {
	for _, s := range all {
		for cell, desc := range streamDescs {
			if cell == streamsClosed || s.kind.begins() {
				ch <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(s.at.sum(cell)), s.labels...)
			}
		}
	}
}

type streamSeries struct {
	*series
	kind streamOutcome
}

// streamSnapshot lists the series of streams. The table is locked.
func (t *seriesTable) streamSnapshot() []streamSeries {
	all := make([]streamSeries, 0, len(t.streams))
	for key, s := range t.streams {
		if s.labels == nil {
			s.labels = t.options.streamValues(key)
		}
		all = append(all, streamSeries{s, key.kind})
	}
	return all
}
