package proxy

import (
	"fmt"

	"fairway.dev/gateway/message"
	"fairway.dev/gateway/telemetry"
	"fairway.dev/gateway/tracing"
	"fairway.dev/routing"
)

// A watch is what is told of the exchanges of a listener that asks for
// something of its own (routing.Telemetry). It does not change.
type watch struct {
	asked   *routing.Telemetry
	tracer  *tracing.Tracer   // nil: no spans
	off     bool              // of the access log
	filter  *telemetry.Filter // of the access log; nil: all
	problem *routing.Problem  // nil: all is as it was asked for
}

// watches are those of the listeners in force, by name. They never change.
type watches map[routing.ListenerName]*watch

// prepareWatches makes the watches of the listeners of snap: the same for a
// listener that asks for the same.
func (p *Proxy) prepareWatches(snap *routing.Snapshot) {
	known, now := *p.watches.Load(), watches{}
	var list []*watch
	var spans []*routing.Tracing
	for l := range snap.Demanding() {
		if l.Telemetry == nil {
			continue
		}
		w := newWatch(l, known[l.Name])
		now[l.Name] = w
		list, spans = append(list, w), append(spans, snap.Tracing(l))
	}
	if p.o.Spans != nil {
		for i, tracer := range p.o.Spans.Set(spans) {
			list[i].tracer = tracer
		}
	}
	p.watches.Store(&now)
}

// newWatch makes the watch of l; what takes time to make is before's where that
// was asked for the same.
func newWatch(l *routing.Listener, before *watch) *watch {
	w := &watch{asked: l.Telemetry}
	a := l.Telemetry.AccessLog
	if a == nil {
		return w
	}
	w.off = a.Off
	switch {
	case a.Off || a.Filter == "":
	case before != nil && before.asked.AccessLog != nil && before.asked.AccessLog.Filter == a.Filter:
		w.filter, w.problem = before.filter, before.problem
	default:
		var err error
		if w.filter, err = telemetry.NewFilter(a.Filter); err != nil {
			w.problem = &routing.Problem{
				Origin: l.Origin, Reason: routing.InvalidListener, Level: routing.Warning,
				Err: fmt.Errorf("filter of the access log: %w; all is logged", err),
			}
		}
	}
	return w
}

// Problems returns what is not told of exchanges as it was asked for, in no
// order.
func (p *Proxy) Problems() []*routing.Problem {
	var list []*routing.Problem
	for _, w := range *p.watches.Load() {
		if w.problem != nil {
			list = append(list, w.problem)
		}
	}
	return list
}

// watch begins what is told of the exchange, once its listener is known.
func (e *exchange) watch(l *routing.Listener) {
	if l.Telemetry == nil {
		return
	}
	// A listener that has left the Snapshot may still have connections.
	if e.watched = (*e.on.proxy.watches.Load())[l.Name]; e.watched == nil || e.watched.tracer == nil {
		return
	}
	e.trace = e.watched.tracer.Begin(e.on.index, &e.req.Fields)
	e.state, _ = e.req.Fields.Get(message.Tracestate)
}

// passTrace tells the backend of the trace.
func (e *exchange) passTrace() {
	if e.trace.Known() {
		e.on.scratch = e.trace.Inject(&e.req.Fields, e.on.scratch, e.hold)
	}
}

// log adds the exchange to the access log, and its span to its trace.
func (e *exchange) log() {
	l, w := e.on, e.watched
	if w == nil || !w.off && w.filter.Passes(e.tell, &e.rec, e.scheme, e.req.Fields) {
		l.proxy.o.AccessLog.Append(l.index, e.tell, &e.rec)
	}
	if w != nil && e.trace.Sampled {
		labels := e.tell.Labels()
		w.tracer.End(l.index, &tracing.Exchange{
			Context: e.trace, State: e.state, Fields: e.req.Fields, Scheme: e.scheme,
			Route: labels.Route, Cluster: labels.Cluster, Record: &e.rec,
		})
	}
}
