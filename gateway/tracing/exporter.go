package tracing

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"time"

	"fairway.dev/gateway/telemetry"
	"fairway.dev/routing"
)

// How spans are sent.
const (
	exportEvery   = time.Second
	exportTimeout = 5 * time.Second
	complainEvery = time.Minute // about a collector that is away
)

// Options are what an Exporter needs.
type Options struct {
	Loops   int
	Version string // of the program
	// Dial opens a connection to an endpoint of a cluster, with the cluster's
	// TLS, which offers alpn.
	Dial  func(ctx context.Context, cluster routing.ClusterName, alpn string) (net.Conn, error)
	Spans *telemetry.Tally[telemetry.SpanOutcome] // counts what becomes of spans
	Log   *slog.Logger
}

// An Exporter sends the spans of its Tracers.
type Exporter struct {
	options Options

	mu      sync.Mutex
	tracers map[string]*Tracer
	leaving []*Tracer // nobody uses them any more; what they hold is sent still

	complained time.Time
}

// New returns an Exporter that sends once it runs.
func New(o Options) *Exporter {
	return &Exporter{options: o, tracers: map[string]*Tracer{}}
}

// Set says which tracings there are, and returns their Tracers in order: the same
// as before for one that is as before, nil for nil.
func (e *Exporter) Set(specs []*routing.Tracing) []*Tracer {
	e.mu.Lock()
	defer e.mu.Unlock()
	now, list := map[string]*Tracer{}, make([]*Tracer, len(specs))
	for i, spec := range specs {
		if spec == nil {
			continue
		}
		k := key(spec)
		if now[k] == nil {
			now[k] = e.tracers[k]
		}
		if now[k] == nil {
			now[k] = newTracer(e, spec)
		}
		list[i] = now[k]
	}
	for k, t := range e.tracers {
		if now[k] == nil {
			e.leaving = append(e.leaving, t)
		}
	}
	e.tracers = now
	return list
}

// Run sends spans until ctx ends, and then what is left.
func (e *Exporter) Run(ctx context.Context) {
	clients := map[string]*client{} // by key of the Tracer
	defer func() {
		for _, c := range clients {
			c.close()
		}
	}()
	tick := time.NewTicker(exportEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			e.sendAll(context.WithoutCancel(ctx), clients)
			return
		case <-tick.C:
			e.sendAll(ctx, clients)
		}
	}
}

// sendAll sends what has gathered, and forgets clients that nobody needs.
func (e *Exporter) sendAll(ctx context.Context, clients map[string]*client) {
	e.mu.Lock()
	tracers := append([]*Tracer(nil), e.leaving...)
	e.leaving = nil
	for _, t := range e.tracers {
		tracers = append(tracers, t)
	}
	e.mu.Unlock()
	used := map[string]bool{}
	for _, t := range tracers {
		k := key(t.spec)
		used[k] = true
		spans, count := t.take()
		if count == 0 {
			continue
		}
		if clients[k] == nil {
			clients[k] = newClient(t.spec, e.options.Dial)
		}
		outcome := telemetry.SpanSent
		sending, cancel := context.WithTimeout(ctx, exportTimeout)
		err := clients[k].send(sending, export(t.spec.Service, e.options.Version, spans))
		cancel()
		if err != nil {
			outcome = telemetry.SpanFailed
			e.complain(t.spec, err)
		}
		e.count(0, outcome, count)
	}
	for k, c := range clients {
		if !used[k] {
			c.close()
			delete(clients, k)
		}
	}
}

func (e *Exporter) count(loop int, o telemetry.SpanOutcome, n int) { e.options.Spans.Add(loop, o, n) }

// complain logs that a collector does not take spans, now and then.
func (e *Exporter) complain(spec *routing.Tracing, err error) {
	if time.Since(e.complained) < complainEvery {
		return
	}
	e.complained = time.Now()
	e.options.Log.Warn("spans are lost", "cluster", spec.Cluster, "err", err)
}
