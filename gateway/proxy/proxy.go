package proxy

import (
	"sync/atomic"
	"time"

	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
	"fairway.dev/gateway/telemetry"
	"fairway.dev/gateway/upstream"
	"fairway.dev/routing"
)

// Options are what a Proxy needs. Clusters is required, the rest has defaults.
type Options struct {
	// Clusters are where requests go.
	Clusters *upstream.Set

	// Loops is the number of loops: Handler takes those with an Index from 0
	// to Loops-1. If zero, 1.
	Loops int

	// Metrics and AccessLog hear of each exchange. Nil ones are skipped.
	Metrics   *telemetry.Metrics
	AccessLog *telemetry.AccessLog

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

	port atomic.Pointer[boundPort]
}

// boundPort remembers which Port of a Snapshot a Bind stands for.
type boundPort struct {
	snap *routing.Snapshot
	port *routing.Port
}

// A Proxy joins requests to backends. It is shared by all loops.
type Proxy struct {
	options Options
	snap    atomic.Pointer[routing.Snapshot]
}

// New returns a Proxy that answers 404 to everything until Publish.
func New(o Options) *Proxy {
	o.Loops = max(o.Loops, 1)
	return &Proxy{options: o}
}

// Prepare makes the targets of snap that are new ready for the loops. It is
// called off the loops, after the clusters were put in Options.Clusters and
// before Publish.
func (p *Proxy) Prepare(snap *routing.Snapshot) {}

// Publish puts snap in force. Exchanges under way finish with the Snapshot
// that they began with.
func (p *Proxy) Publish(snap *routing.Snapshot) { p.snap.Store(snap) }

// Active returns how many exchanges are under way. Any goroutine may ask.
func (p *Proxy) Active() int { return 0 }

// Handler returns what takes the requests of the connections on l. It is
// called once a loop.
func (p *Proxy) Handler(l *loop.Loop) message.Handler { return nil }
