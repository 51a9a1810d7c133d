package proxy

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
	"fairway.dev/gateway/policy/jwt"
	"fairway.dev/gateway/policy/ratelimit"
	"fairway.dev/gateway/telemetry"
	"fairway.dev/gateway/tracing"
	"fairway.dev/gateway/upstream"
	"fairway.dev/routing"
)

// Options are what a Proxy needs. Clusters and Limits are required, the rest has
// defaults.
type Options struct {
	// Clusters are where requests go.
	Clusters *upstream.Set

	// Limits counts what rate limits bound, on the same loops.
	Limits *ratelimit.Store

	// Loops is the number of loops: Handler takes those with an Index from 0
	// to Loops-1. If zero, 1.
	Loops int

	// Metrics and AccessLog hear of each exchange. If nil, nobody does.
	Metrics   *telemetry.Metrics
	AccessLog *telemetry.AccessLog

	// Spans takes the spans of listeners that are traced. If nil, there are none.
	Spans *tracing.Exporter

	// Tokens proves those that listeners' rules ask for. If nil, one of the
	// Proxy's own does.
	Tokens *jwt.Store

	// TrustedHops is the number of proxies in front of the gateway whose word
	// about the client is believed, as Envoy's xff_num_trusted_hops: the last
	// TrustedHops entries of X-Forwarded-For are kept. If zero, the gateway is
	// the edge and believes nothing.
	TrustedHops int

	// MaxExchanges bounds the exchanges under way, each loop having its share;
	// what comes on top is answered 503 (OM). If zero, there is no bound.
	MaxExchanges int

	// StreamIdle ends an exchange on which nothing has moved for that long
	// (SI). If zero, 5 minutes; if negative, never.
	StreamIdle time.Duration

	// TunnelIdle is the same for what an upgrade opened (WebSocket). If zero,
	// 1 hour; if negative, never.
	TunnelIdle time.Duration

	// SessionKey is mixed into session tokens. All gateways that share
	// sessions need the same. If empty, tokens do not show an endpoint's
	// address to the eye, but who knows the route's name can compute it.
	SessionKey []byte
}

// A Bind marks the connections of a bound port: it is their Peer's Listener.
type Bind struct {
	Key routing.PortKey

	known atomic.Pointer[boundPort]
}

// boundPort remembers which Port a Bind stands for in a Snapshot.
type boundPort struct {
	snap *routing.Snapshot
	port *routing.Port
}

// Keep makes b remember its port as snap has it: called before a Snapshot
// without the port is put in force, so that the connections that it leaves
// behind are served to their end by the rules that they came for.
func (b *Bind) Keep(snap *routing.Snapshot) { b.in(snap) }

// in returns the port of b in snap, or as it was last where snap has none; nil
// where there never was one.
func (b *Bind) in(snap *routing.Snapshot) *routing.Port {
	k := b.known.Load()
	if k != nil && k.snap == snap {
		return k.port
	}
	now := &boundPort{snap, snap.Port(b.Key)}
	if now.port == nil && k != nil {
		now.port = k.port
	}
	b.known.Store(now)
	return now.port
}

// A Proxy joins requests to backends. It is shared by all loops.
type Proxy struct {
	o         Options
	most      int                  // exchanges on one loop; 0 is no bound
	unmatched *telemetry.Exchanges // hears of requests that came to no listener
	lost      atomic.Pointer[byListener]
	doorsLost sync.Map // the same of doors: *telemetry.Exchanges by name
	watches   atomic.Pointer[watches]
	tokens    sync.Map // of *routing.Listener: its *jwt.Rules
	guards    sync.Map // the same: its *guard, once somebody came
	snap      atomic.Pointer[routing.Snapshot]
	locals    []atomic.Pointer[local]
}

// New returns a Proxy that answers 404 to everything until Publish.
func New(o Options) *Proxy {
	o.Loops = max(o.Loops, 1)
	o.StreamIdle = cmp.Or(o.StreamIdle, 5*time.Minute)
	o.TunnelIdle = cmp.Or(o.TunnelIdle, time.Hour)
	if o.Metrics == nil {
		o.Metrics = telemetry.New(telemetry.Options{Loops: o.Loops})
	}
	if o.Tokens == nil {
		o.Tokens = jwt.NewStore(jwt.Options{})
	}
	p := &Proxy{
		o:         o,
		most:      (o.MaxExchanges + o.Loops - 1) / o.Loops,
		unmatched: o.Metrics.Exchanges(telemetry.Labels{}),
		locals:    make([]atomic.Pointer[local], o.Loops),
	}
	p.lost.Store(&byListener{})
	p.watches.Store(&watches{})
	return p
}

// Publish puts snap in force, for which Prepare was called. Exchanges under
// way finish with the Snapshot that they began with.
func (p *Proxy) Publish(snap *routing.Snapshot) { p.snap.Store(snap) }

// Active returns how many exchanges are under way. Any goroutine may ask.
func (p *Proxy) Active() int {
	n := int64(0)
	for i := range p.locals {
		if l := p.locals[i].Load(); l != nil {
			n += l.shown.Load()
		}
	}
	return int(n)
}

// Handler returns what takes the requests of the connections on l. It is
// called once a loop.
func (p *Proxy) Handler(l *loop.Loop) message.Handler {
	var seed [16]byte
	rand.Read(seed[:])
	h := &local{proxy: p, loop: l, index: l.Index()}
	h.rng.Seed(binary.LittleEndian.Uint64(seed[:8]), binary.LittleEndian.Uint64(seed[8:]))
	p.locals[l.Index()].Store(h)
	return h
}
