// Package server is the data plane assembled: loops, listening sockets,
// codecs, proxy, clusters and certificates behind one call, [Server.Update].
//
// The order of an Update is its law: what a new rule points at is there
// before the rule is, and what an old rule points at leaves after it.
// Certificates and clusters come first, then the Snapshot is put in force by
// one pointer, then sockets are opened and closed, then what nothing uses any
// more is drained.
package server

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"fairway.dev/gateway/hop"
	"fairway.dev/gateway/http2"
	"fairway.dev/gateway/listen"
	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
	"fairway.dev/gateway/policy/jwt"
	"fairway.dev/gateway/policy/ratelimit"
	"fairway.dev/gateway/proxy"
	"fairway.dev/gateway/resolve"
	"fairway.dev/gateway/stream"
	"fairway.dev/gateway/telemetry"
	"fairway.dev/gateway/upstream"
	"fairway.dev/routing"
	"fairway.dev/tlsmgr"
)

// Options are what a Server needs. Metrics is required.
type Options struct {
	// Loops is the number of event loops. If zero, one for each core that the
	// process may use (GOMAXPROCS).
	Loops int

	// Bind is where Gateways without addresses listen. If zero, everywhere.
	Bind netip.Addr

	// Node and Zone are where the gateway is, for endpoints that are for some
	// nodes or zones. If empty, nobody knows: see SetPlace.
	Node, Zone string

	// Metrics are counted on; they were made for as many loops.
	Metrics *telemetry.Metrics
	// AccessLog takes a line for each exchange. Nil is off.
	AccessLog *telemetry.AccessLog
	// LocalCA makes certificates for listeners that ask for it. Without one
	// such listeners have none, and refuse handshakes.
	LocalCA *tlsmgr.LocalCA

	// MaxConnections bounds client connections; if zero, file descriptors do.
	MaxConnections int
	// MaxExchanges bounds what is under way. If zero, there is no bound.
	MaxExchanges int
	// TrustedHops is proxy.Options.TrustedHops.
	TrustedHops int

	// Mesh is who the gateway is to other gateways. Without it HBONE listeners are
	// not served, and nobody is reached that has to be reached by a waypoint.
	Mesh *Mesh
	// Captured says that a node proxy captures what the process dials, and what is
	// sent to it: it speaks HBONE for Gateways that want it so (routing.Mesh.Sandwich).
	Captured bool

	// Rebound, if set, is called when the ports that an Update could not bind
	// were tried again, and Unbound may have changed.
	Rebound func()

	// Version of the program, for collectors of spans.
	Version string

	Log *slog.Logger
}

// A Server is a data plane.
type Server struct {
	options   Options
	loops     []*loop.Loop
	ports     *listen.Set
	tcp       *stream.TCP
	udp       *stream.UDP
	clusters  *upstream.Set
	names     *resolve.Resolver
	proxy     *proxy.Proxy
	handlers  []message.Handler // by loop
	certs     *certificates
	dialer    *hop.Dialer     // nil: the gateway is nobody in the mesh
	trusting  func()          // ends Mesh.follow
	trusts    atomic.Uint64   // how often the gateway's certificate or the roots became others
	hopLimits []*http2.Limits // by loop
	doors     sync.Map        // of routing.PortKey: its *door, once somebody came

	distrusted atomic.Int64 // when it was last logged that a peer is not believed, in Unix nanoseconds
	inForce    atomic.Pointer[generation]
	applied    atomic.Bool // the first Update has ended
	draining   atomic.Bool
	unbound    atomic.Pointer[[]*routing.Problem]
	retryBinds *time.Timer
	endSpans   func()     // sends the spans that are left
	tokens     *jwt.Store // proves tokens
	limits     *ratelimit.Store

	mu    sync.Mutex // guards Update and what follows
	binds map[routing.PortKey]*proxy.Bind
	bound []netip.AddrPort // of ports that take connections, but for those of node agents
	due   map[uint16]bool  // ports of node agents that are to be bound, or left
}

// A generation is a Snapshot in force and its number.
type generation struct {
	number   uint64
	snapshot *routing.Snapshot
	problems []*routing.Problem
}

// New returns a Server whose loops run and that serves nothing yet.
func New(o Options) (*Server, error) {
	if o.Loops == 0 {
		o.Loops = runtime.GOMAXPROCS(0)
	}
	s := &Server{options: o, binds: map[routing.PortKey]*proxy.Bind{}, due: map[uint16]bool{}}
	for i := range o.Loops {
		l, err := loop.New(i)
		if err != nil {
			return nil, fmt.Errorf("event loop %d: %w", i, err)
		}
		s.loops = append(s.loops, l)
	}
	s.certs = newCertificates(o.LocalCA)
	s.hopLimits = s.http2Limits("hop")
	s.names = resolve.New(resolve.Options{Log: o.Log})
	s.clusters = s.newClusters()
	o.Metrics.Upstream.Watch(s.upstreamState)
	spans := s.exportSpans()
	s.tokens = jwt.NewStore(jwt.Options{Log: o.Log})
	s.limits = ratelimit.NewStore(ratelimit.Options{Start: time.Now(), Loops: s.loops, Clusters: s.clusters})
	s.proxy = proxy.New(proxy.Options{
		Clusters: s.clusters, Limits: s.limits, Loops: o.Loops, Metrics: o.Metrics, AccessLog: o.AccessLog, Spans: spans, Tokens: s.tokens,
		TrustedHops: o.TrustedHops, MaxExchanges: o.MaxExchanges,
	})
	for _, l := range s.loops {
		s.handlers = append(s.handlers, s.proxy.Handler(l))
	}
	s.ports = listen.New(listen.Options{
		Loops: s.loops, Log: o.Log, MaxConnections: o.MaxConnections,
		HTTP1: s.http1Codecs(), HTTP2: s.http2Codecs(), Events: s.connectionEvents(),
	})
	s.tcp = stream.NewTCP(stream.TCPOptions{Loops: s.loops, Metrics: o.Metrics, AccessLog: o.AccessLog})
	s.udp = s.newUDP()
	for _, l := range s.loops {
		o.Metrics.Watch(l)
		if o.AccessLog != nil {
			o.AccessLog.Attach(l)
		}
		go l.Run()
	}
	s.trusting = func() {}
	if o.Mesh != nil {
		stop := make(chan struct{})
		s.trusting = sync.OnceFunc(func() { close(stop) })
		go o.Mesh.follow(stop, s.renewHops)
	}
	s.unbound.Store(new([]*routing.Problem))
	s.publish(&generation{snapshot: emptySnapshot()})
	return s, nil
}

func emptySnapshot() *routing.Snapshot {
	snap, _ := routing.Compile(&routing.Spec{})
	return snap
}

// Snapshot returns what is in force.
func (s *Server) Snapshot() *routing.Snapshot { return s.inForce.Load().snapshot }

// Generation returns the number of the configuration in force; 0 before the
// first Update.
func (s *Server) Generation() uint64 { return s.inForce.Load().number }

// problems returns why parts of what was asked for are not in force: those of
// compiling, then ports that could not be bound, what is not told of exchanges,
// then certificates. It is
// called with s.mu held.
func (s *Server) problems() []*routing.Problem {
	all := append([]*routing.Problem(nil), s.inForce.Load().problems...)
	all = append(all, *s.unbound.Load()...)
	all = append(all, s.proxy.Problems()...)
	return append(all, s.certs.problems()...)
}

// Unbound returns the Problems of the ports that are not bound.
func (s *Server) Unbound() []*routing.Problem { return *s.unbound.Load() }

// SetPlace says where the gateway is, as far as somebody knows; it is on the
// node of Options in any case. It holds from the next exchange on.
func (s *Server) SetPlace(p upstream.Place) {
	p.Node = s.options.Node
	s.clusters.SetPlace(p)
}

// Clusters returns the clusters' state.
func (s *Server) Clusters() []upstream.ClusterStats { return s.clusters.Stats() }

// Addrs returns the addresses that are bound and take connections.
func (s *Server) Addrs() []netip.AddrPort { return s.ports.Addrs() }

// Ready reports whether the server takes traffic, and what it waits for if not.
func (s *Server) Ready() (ready bool, unfinished []string) {
	if s.draining.Load() {
		return false, []string{"draining"}
	}
	if !s.applied.Load() {
		return false, []string{"configuration in force", "listeners bound", "certificates loaded"}
	}
	return true, nil
}

// Drain lets what is under way finish, stops accepting, and returns when all
// connections are closed and no datagrams come any more, or ctx ends. For the time of delay new connections
// are still taken, as those who send them learn only now that the server
// leaves, and those that are there are asked to leave, some at a time.
func (s *Server) Drain(ctx context.Context, delay time.Duration) error {
	s.draining.Store(true)
	if delay > 0 {
		s.ports.Ebb(delay)
		select {
		case <-time.After(delay):
		case <-ctx.Done():
		}
	}
	s.mu.Lock()
	s.stopRetrying()
	s.ports.Drain()
	s.udp.Drain()
	s.mu.Unlock()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !s.ports.Drained() || s.udp.Leaving() {
		select {
		case <-ctx.Done():
			if s.ports.Drained() {
				return fmt.Errorf("datagrams still come: %w", ctx.Err())
			}
			return fmt.Errorf("%d connections left: %w", s.ports.Open(), ctx.Err())
		case <-tick.C:
		}
	}
	return nil
}

// Close ends everything at once.
func (s *Server) Close() {
	s.draining.Store(true)
	s.mu.Lock()
	s.stopRetrying()
	s.ports.Apply(nil)
	s.udp.Apply(nil)
	s.mu.Unlock()
	s.tcp.Cut()
	s.names.Close()
	s.limits.Retain(nil) // hangs up on stores
	for _, l := range s.loops {
		l.Stop() // with what was posted
	}
	s.endSpans()
	s.tokens.Close()
	s.trusting()
}
