package telemetry

import (
	"strings"
	"sync/atomic"
)

// Labels say what one rule and backend are called. All of them come from
// configuration. Empty ones are "unknown" in metrics, and left out of the
// access log.
type Labels struct {
	Gateway  string // "shop/edge"
	Listener string // "shop/edge/https"
	Route    string // "HTTPRoute/shop/cart"
	Rule     string // the author's name for it, or its number
	Cluster  string // "shop/cart:8080"

	Service   string // the Service's name, or a host where it is none of the cluster's
	Namespace string // the Service's; empty for a host
}

// Exchanges takes the records of one rule and backend, of exchanges or of
// streams. Whoever answers requests has one for each, and one for requests that
// no rule takes. It is
// garbage once nobody holds it; what it counted stays in its Metrics.
type Exchanges struct {
	metrics *Metrics
	labels  Labels
	to      destination
	logged  []byte // the labels as the end of an access log line in JSON
	shards  []*shard
}

// shard is what one loop remembers: where to count what.
type shard struct {
	epoch uint32 // of Metrics when rows were resolved
	next  int    // the row that goes when there is no room
	rows  []row

	streams []streamRow
}

// row is one kind of outcome and its series.
type row struct {
	kind  outcome
	ends  Ends
	count *atomic.Int64
	times cells // of a histogram; nil where there is no room for one
}

// maxRows bounds a shard: a backend may answer with any status, to anybody.
const maxRows = 64

// outcome is all that differs between the series of one destination, packed so
// that finding a row is comparing numbers: flags in the low half, then 16 bits
// of status, then 8 of gRPC status plus one (0 without).
type outcome uint64

func outcomeOf(r *Record) outcome {
	k := outcome(r.Flags) | outcome(uint16(r.Status))<<32
	if r.GRPCStatus >= 0 {
		// Statuses go to 16; a backend may send any number.
		k |= outcome(min(r.GRPCStatus, 254)+1) << 48
	}
	return k
}

func (k outcome) flags() Flags { return Flags(k) }
func (k outcome) status() int  { return int(uint16(k >> 32)) }
func (k outcome) grpc() int    { return int(uint8(k>>48)) - 1 }
func (k outcome) isGRPC() bool { return k>>48 != 0 }
func (k outcome) protocol() string {
	if k.isGRPC() {
		return "grpc"
	}
	return "http"
}

// Exchanges returns what records of one rule and backend are told to. It is
// not for loops: it allocates.
func (m *Metrics) Exchanges(l Labels) *Exchanges {
	return &Exchanges{
		metrics: m,
		labels:  l,
		to:      m.destination(l),
		logged:  appendLabelsJSON(nil, &l),
		shards:  make([]*shard, m.options.Loops),
	}
}

// Labels returns what Exchanges was called with.
func (e *Exchanges) Labels() Labels { return e.labels }

// Observe counts one exchange, on the loop with that index. It allocates only
// when an outcome is new to this loop.
func (e *Exchanges) Observe(loop int, r *Record) {
	row := e.row(loop, outcomeOf(r), r.Ends)
	row.count.Add(1)
	if row.times != nil {
		e.metrics.tables.layout.observe(row.times, r)
	}
}

// shard returns what the loop remembers, without what is out of date.
func (e *Exchanges) shard(loop int) *shard {
	s := e.shards[loop]
	epoch := e.metrics.epoch.Load()
	if s == nil {
		s = &shard{epoch: epoch}
		e.shards[loop] = s
	}
	if s.epoch != epoch {
		*s = shard{epoch: epoch, rows: s.rows[:0], streams: s.streams[:0]}
	}
	return s
}

// row finds the loop's row of a kind of outcome between two ends.
func (e *Exchanges) row(loop int, kind outcome, ends Ends) *row {
	s := e.shard(loop)
	for i := range s.rows {
		if s.rows[i].kind == kind && s.rows[i].ends == ends {
			return &s.rows[i]
		}
	}
	return e.addRow(s, loop, kind, ends)
}

// addRow resolves a kind of outcome that the loop has not met yet. The lock
// that it takes is shared, but each loop comes here once an outcome.
func (e *Exchanges) addRow(s *shard, loop int, kind outcome, ends Ends) *row {
	r := row{kind: kind, ends: ends}
	r.count, r.times = e.metrics.tables.resolve(e.to.between(ends), kind, loop)
	if len(s.rows) < maxRows {
		s.rows = append(s.rows, r)
		return &s.rows[len(s.rows)-1]
	}
	i := s.next
	s.next = (i + 1) % maxRows
	s.rows[i] = r
	return &s.rows[i]
}

// destination is what of Labels goes into the metrics' labels.
type destination struct {
	workload, workloadNamespace string // the gateway's
	host, service, namespace    string
	ends                        Ends
}

const (
	unknown = "unknown"
	other   = "other"
)

// destination names where the exchanges of l go, in Istio's words.
func (m *Metrics) destination(l Labels) destination {
	d := destination{
		host:      l.Service,
		service:   l.Service,
		namespace: l.Namespace,
	}
	if l.Service != "" && l.Namespace != "" && !strings.Contains(l.Service, ".") {
		// A name with a dot is a ServiceEntry's host, and whole.
		d.host = l.Service + "." + l.Namespace + ".svc." + m.options.ClusterDomain
	}
	var ok bool
	if d.workloadNamespace, d.workload, ok = strings.Cut(l.Gateway, "/"); !ok {
		d.workloadNamespace, d.workload = "", l.Gateway
	}
	return d
}

// between is d with the two ends of an exchange. Of a door the gateway itself is
// no part.
func (d destination) between(ends Ends) destination {
	if !ends.Door {
		return d
	}
	if ends.Onward {
		ends.Mutual, ends.To = false, nobody // which no label shows
	}
	d.ends = ends
	d.workload, d.workloadNamespace = "", ""
	return d
}

// crowded is d without telling apart who its ends are, which is what is counted
// where there are too many of them.
func (d destination) crowded() destination {
	if d.ends.From != nobody {
		d.ends.From = crowd
	}
	if d.ends.To != nobody {
		d.ends.To = crowd
	}
	return d
}

// others is where what has no room for series of its own is counted.
func (d destination) others() destination {
	return destination{host: other, service: other, namespace: other, ends: Ends{Door: d.ends.Door, Onward: d.ends.Onward}}
}

func (d destination) isOther() bool { return d == d.others() }
