package stream

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/policy/ratelimit"
	"fairway.dev/gateway/proxy"
	"fairway.dev/gateway/telemetry"
	"fairway.dev/gateway/upstream"
	"fairway.dev/routing"
)

// A udpStage is a port for datagrams on a manual loop, between made-up clients
// and endpoints.
type udpStage struct {
	t       *testing.T
	loop    *loop.Loop
	set     *upstream.Set
	proxy   *proxy.Proxy
	metrics *telemetry.Metrics
	log     *telemetry.AccessLog
	lines   bytes.Buffer
	udp     *UDP
	port    *udpPort
	table   *udpTable
	snap    *routing.Snapshot

	opened, closed int
	conns          []*fakeConn      // in the order of their dials
	broken         map[uint16]error // what dialing an endpoint's port ends with
	out            []string         // what was sent to clients
	full           bool             // the queue towards clients
	shut           bool
}

// A fakeConn is a socket of a session.
type fakeConn struct {
	to     netip.AddrPort
	h      loop.UDPHandler
	sent   []string
	err    error // of sending
	closed bool
}

func (c *fakeConn) Send(p []byte) error {
	if c.closed {
		panic("sent on a closed socket")
	}
	if c.err != nil {
		return c.err
	}
	c.sent = append(c.sent, string(p))
	return nil
}

func (c *fakeConn) Close() { c.closed = true }

// Send and Close make a stage the socket that clients send to.
func (s *udpStage) Send(path *loop.UDPPath, p []byte) error {
	if s.full {
		return loop.ErrQueueFull
	}
	s.out = append(s.out, fmt.Sprintf("%s to %d", p, path.Remote.Port()))
	return nil
}

func (s *udpStage) Close() { s.shut = true }

func (s *udpStage) dial(_ *loop.Loop, addr netip.AddrPort, h loop.UDPHandler) (udpConn, error) {
	if err := s.broken[addr.Port()]; err != nil {
		return nil, err
	}
	c := &fakeConn{to: addr, h: h}
	s.conns = append(s.conns, c)
	return c, nil
}

func newUDPStage(t *testing.T, o UDPOptions) *udpStage {
	s := &udpStage{
		t: t, loop: loop.NewManual(time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)), broken: map[uint16]error{},
		metrics: telemetry.New(telemetry.Options{}), snap: new(routing.Snapshot),
	}
	loops := []*loop.Loop{s.loop}
	s.set = upstream.NewSet(upstream.Options{Loops: loops, Now: s.loop.Now})
	s.proxy = proxy.New(proxy.Options{Clusters: s.set, Limits: ratelimit.NewStore(ratelimit.Options{}), Metrics: s.metrics})
	s.proxy.Handler(s.loop)
	s.log = telemetry.NewAccessLog(s.metrics, &s.lines, telemetry.AccessLogOptions{})
	s.log.Attach(s.loop)
	o.Loops, o.Proxy, o.Metrics, o.AccessLog, o.Log = loops, s.proxy, s.metrics, s.log, slog.New(slog.DiscardHandler)
	s.udp = NewUDP(o)
	s.udp.dial = s.dial
	count := func(n *int) func(int) { return func(int) { *n++ } }
	spec := &UDPPort{
		Addr: netip.MustParseAddrPort("[::]:53"), Bind: &proxy.Bind{Key: routing.PortKey{Port: 53, UDP: true}},
		Opened: count(&s.opened), Closed: count(&s.closed),
	}
	s.port = s.udp.newPort(spec, spec.Addr)
	s.udp.ports[spec.Addr] = s.port
	s.table = s.port.tables[0]
	s.table.socket = s
	s.endpoints("a", 1, 2)
	s.endpoints("b", 11)
	s.update(&routing.Delta{
		Listeners: []*routing.Listener{{Name: "ns/gw/dns", Gateway: "ns/gw", Port: 53, Protocol: routing.UDP}},
		Clusters: []*routing.Cluster{
			{Name: "a", Protocol: routing.UpstreamUDP}, {Name: "b", Protocol: routing.UpstreamUDP}, {Name: "empty", Protocol: routing.UpstreamUDP},
		},
	})
	s.route("a")
	return s
}

func (s *udpStage) update(d *routing.Delta) {
	s.t.Helper()
	for _, c := range d.Clusters {
		s.set.Put(c)
	}
	snap, problems := s.snap.Update(d)
	for _, p := range problems {
		s.t.Log(p)
	}
	s.proxy.Prepare(snap)
	s.proxy.Publish(snap)
	s.snap = snap
}

// route makes the port's one route lead to clusters, in equal shares.
func (s *udpStage) route(clusters ...routing.ClusterName) {
	s.t.Helper()
	var a routing.Action
	for _, c := range clusters {
		a.Backends = append(a.Backends, routing.Backend{Cluster: c, Weight: 1})
	}
	s.update(&routing.Delta{Routes: []*routing.Route{{
		Name: "UDPRoute/ns/r", Attached: []routing.Attachment{{Listener: "ns/gw/dns", Hosts: []string{"*"}}},
		Rules: []routing.Rule{{Action: a}},
	}}})
}

func (s *udpStage) endpoints(cluster routing.ClusterName, ports ...uint16) {
	e := &routing.Endpoints{Cluster: cluster}
	for _, port := range ports {
		e.List = append(e.List, routing.Endpoint{Addr: endpoint(port), Ready: true, Serving: true})
	}
	s.set.PutEndpoints(e)
	s.loop.Settle()
}

func endpoint(port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, 1}), port)
}

var gatewayAddr = netip.AddrFrom4([4]byte{192, 0, 2, 1})

func from(port uint16) *loop.UDPPath {
	return &loop.UDPPath{Remote: netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, 7}), port), Local: gatewayAddr}
}

// send lets a client, known by its port, send something.
func (s *udpStage) send(port uint16, text string) { s.table.datagram(from(port), []byte(text)) }

// conn returns the one socket that the session of a client has.
func (s *udpStage) conn(port uint16) *fakeConn {
	s.t.Helper()
	session := s.table.sessions[*from(port)]
	if session == nil || session.conn == nil {
		s.t.Fatalf("client %d has no endpoint", port)
	}
	return session.conn.(*fakeConn)
}

// dropped returns how many datagrams were dropped, by why.
func (s *udpStage) dropped() map[telemetry.UDPDrop]int {
	m := map[telemetry.UDPDrop]int{}
	for why := telemetry.DropNoRoute; why <= telemetry.DropError; why++ {
		if n := s.metrics.UDP.Dropped.Total(why); n > 0 {
			m[why] = int(n)
		}
	}
	return m
}

func (s *udpStage) wantDropped(why telemetry.UDPDrop, n int) {
	s.t.Helper()
	if got := s.dropped(); len(got) != 1 || got[why] != n {
		s.t.Errorf("dropped by why: %v, want %d for %d", got, n, why)
	}
}

// wantSessions checks how many sessions there are, and that each has exactly
// one socket, and counts once for its endpoint's load.
func (s *udpStage) wantSessions(n int) {
	s.t.Helper()
	if got := len(s.table.sessions); got != n || s.opened-s.closed != n {
		s.t.Errorf("%d sessions, %d opened, %d closed; want %d", got, s.opened, s.closed, n)
	}
	listed := 0
	for _, list := range [...]*sessionList{&s.table.fresh, &s.table.proven} {
		for x := list.oldest; x != nil; x = x.after {
			listed++
		}
	}
	connected, open, load := 0, 0, 0
	for _, x := range s.table.sessions {
		if x.conn != nil {
			connected++
		}
	}
	for _, c := range s.conns {
		if !c.closed {
			open++
		}
	}
	for _, c := range s.set.Stats() {
		for _, ep := range c.Endpoints {
			load += ep.InFlight
		}
	}
	if listed != n || open != connected || load != connected {
		s.t.Errorf("%d sessions in lists, %d sockets open, load %d; want %d, and %d of both", listed, open, load, n, connected)
	}
}

// logged returns the lines of the access log.
func (s *udpStage) logged() []map[string]any {
	s.t.Helper()
	if err := s.log.Close(context.Background()); err != nil {
		s.t.Fatal(err)
	}
	var lines []map[string]any
	for _, text := range strings.Split(strings.TrimSpace(s.lines.String()), "\n") {
		var line map[string]any
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			s.t.Fatalf("%q: %v", text, err)
		}
		lines = append(lines, line)
	}
	return lines
}

func removeRoute() *routing.Delta {
	d := new(routing.Delta)
	d.Removed.Routes = []routing.RouteName{"UDPRoute/ns/r"}
	return d
}
