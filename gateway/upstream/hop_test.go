package upstream

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"fairway.dev/gateway/hop"
	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
	"fairway.dev/routing"
)

const (
	cartIdentity     = "spiffe://cluster.local/ns/shop/sa/cart"
	webIdentity      = "spiffe://cluster.local/ns/web/sa/front"
	waypointIdentity = "spiffe://cluster.local/ns/shop/sa/waypoint"
	cartAddress      = "10.96.0.5:80"
	stockAddress     = "10.96.0.6:80"
)

// meshed puts a cluster whose endpoints prove an identity.
func (s *stage) meshed(spec routing.Cluster, identity string, ports ...uint16) *Cluster {
	s.t.Helper()
	s.set.Put(&spec)
	e := &routing.Endpoints{Cluster: spec.Name}
	for _, port := range ports {
		e.List = append(e.List, routing.Endpoint{Addr: addr(port), Ready: true, Serving: true, Identity: identity})
	}
	s.set.PutEndpoints(e)
	return s.set.Cluster(spec.Name)
}

// waypoints puts the cluster of a waypoint with pods at ports.
func (s *stage) waypoints(ports ...uint16) *Cluster {
	return s.meshed(routing.Cluster{Name: routing.WaypointCluster("shop/waypoint")}, waypointIdentity, ports...)
}

// ask sends a request that is set out in w, to the first pod.
func (s *stage) ask(c *Cluster, w Wait) *try {
	t := &try{Wait: w}
	t.Waiter = t
	c.Connect(s.loops[0], s.endpoint(c, 1), &t.Wait)
	return t
}

// settled is ask, and what comes of it.
func (s *stage) settled(c *Cluster, w Wait) *try {
	s.t.Helper()
	t := s.ask(c, w)
	s.settle()
	if t.client == nil {
		s.t.Fatalf("no connection: %v", t.err)
	}
	return t
}

func TestRequestsToAWaypointOfOursShareConnections(t *testing.T) {
	s := newStage(t, 1)
	s.native[addr(1)] = true
	c := s.waypoints(1)
	// Before anybody knows what the pod is, one connection tells.
	a := s.ask(c, Wait{Authority: cartAddress, Source: webIdentity, Client: peer("10.1.0.1:1000")})
	b := s.ask(c, Wait{Authority: stockAddress, Use: Upgrades})
	if s.settle(); a.client == nil || a.client != b.client || !a.client.ev.Gateway {
		t.Fatalf("connections %v and %v, want one for both, to a gateway", a.client, b.client)
	}
	if third := s.settled(c, Wait{Authority: cartAddress, Inside: routing.UpstreamHTTP2, Proto: message.HTTP2}); third.client != a.client {
		t.Error("a request of HTTP/2 has another connection")
	}
	want := hop.Target{
		Addr: addr(1), Identity: waypointIdentity, Authority: cartAddress, Source: webIdentity,
		Client: netip.MustParseAddrPort("10.1.0.1:1000"), Requests: true,
	}
	if len(s.dials) != 1 || *s.dials[0].hop != want {
		t.Errorf("%d dials, the first %+v; want one, %+v", len(s.dials), s.dials[0].hop, want)
	}
}

func TestTunnelsOfStrangersAreForOneAddressSourceAndClient(t *testing.T) {
	s := newStage(t, 1)
	c := s.waypoints(1)
	first := Wait{Authority: cartAddress, Source: webIdentity, Client: peer("10.1.0.1:1000")}
	a := s.settled(c, first)
	if a.client.ev.Gateway || a.client.proto != message.HTTP11 {
		t.Fatalf("a tunnel speaks %s, to a gateway: %v; want HTTP/1.1, false", a.client.proto, a.client.ev.Gateway)
	}
	a.client.end()
	other := first
	for what, change := range map[string]func(){
		"address": func() { other.Authority = stockAddress },
		"source":  func() { other.Source = cartIdentity },
		"client":  func() { other.Client = peer("10.1.0.1:1001") },
		"inside":  func() { other.Inside = routing.UpstreamHTTP2 },
	} {
		other = first
		change()
		x := s.settled(c, other)
		if x.client == a.client {
			t.Errorf("a request with another %s goes through the same tunnel", what)
		}
		if want := *s.dials[len(s.dials)-1].hop; want.Authority != other.Authority || want.Source != other.Source || want.Client != other.Client.Remote {
			t.Errorf("another %s: dialled %+v", what, want)
		}
		x.client.end()
	}
	if again := s.settled(c, first); again.client != a.client || !again.reused {
		t.Error("an equal request has another tunnel")
	} else {
		again.client.end()
	}
	s.run(privateIdle)
	if n := len(s.endpoint(c, 1).private[0]); n != 0 {
		t.Errorf("%d pools after the idle timeout, want 0", n)
	}
	if n := c.places.taken.Load(); n != 0 {
		t.Errorf("%d connections are counted, want 0", n)
	}
}

// Wait.Inside is the protocol of the Service's own cluster.
func TestTunnelsSpeakWhatIsBehindTheWaypoint(t *testing.T) {
	for _, tt := range []struct {
		inside routing.Upstream
		client message.Proto
		want   message.Proto
	}{
		{"", message.HTTP2, message.HTTP11},
		{routing.UpstreamHTTP1, message.HTTP2, message.HTTP11},
		{routing.UpstreamHTTP2, message.HTTP11, message.HTTP2},
		{routing.UpstreamClient, message.HTTP11, message.HTTP11},
		{routing.UpstreamClient, message.HTTP2, message.HTTP2},
		{routing.UpstreamAuto, message.HTTP2, message.HTTP11}, // there is no ALPN to ask
	} {
		s := newStage(t, 1)
		x := s.settled(s.waypoints(1), Wait{Authority: cartAddress, Inside: tt.inside, Proto: tt.client})
		if x.client.proto != tt.want {
			t.Errorf("%q for a client of %s: %s, want %s", tt.inside, tt.client, x.client.proto, tt.want)
		}
	}
}

func TestWhoWaitsGoesOnWhenTheWaypointIsAStranger(t *testing.T) {
	s := newStage(t, 1)
	c := s.waypoints(1)
	var tries []*try
	for range 3 {
		tries = append(tries, s.ask(c, Wait{Authority: cartAddress}), s.ask(c, Wait{Authority: stockAddress}))
	}
	if s.settle(); len(s.dials) != 6 { // HTTP/1.1 carries one at a time
		t.Errorf("%d tunnels for 6 requests, want 6: the first is used", len(s.dials))
	}
	for i, x := range tries {
		if x.client == nil || x.heard != 1 {
			t.Fatalf("request %d heard %d times, error %v", i, x.heard, x.err)
		}
		authority := cartAddress
		if i%2 == 1 {
			authority = stockAddress
		}
		for _, d := range s.dials {
			if Conn(d.conn) == x.client.conn && d.hop.Authority != authority {
				t.Errorf("request %d for %s went through a tunnel to %s", i, authority, d.hop.Authority)
			}
		}
	}
	if n := c.pending.Load(); n != 0 {
		t.Errorf("%d are counted as waiting, want 0", n)
	}
}

func TestWaypointMayChangeItsNature(t *testing.T) {
	s := newStage(t, 2)
	c := s.waypoints(1)
	w := Wait{Authority: cartAddress}
	stranger := s.settled(c, w)
	s.native[addr(1)] = true // another program answers there now
	stranger.client.die(nil)
	s.settle()
	ours := s.settled(c, w)
	if !ours.client.ev.Gateway {
		t.Fatal("a connection to a gateway is used as a tunnel")
	}
	if next := s.settled(c, Wait{Authority: stockAddress}); next.client != ours.client {
		t.Error("what is known to be a gateway is given tunnels")
	}
	s.native[addr(1)] = false
	ours.client.die(nil)
	s.settle()
	if again := s.settled(c, w); again.client.ev.Gateway {
		t.Error("a tunnel is used as a connection to a gateway")
	}
	if n := s.endpoint(c, 1).places.taken.Load(); n != 1 {
		t.Errorf("%d connections are counted, want 1", n)
	}
}

// A refusal is about what is behind the waypoint, and tells who asked for that.
func TestRefusedTunnelFailsThoseWhoAskedForIt(t *testing.T) {
	s := newStage(t, 1)
	s.hold = true
	c := s.waypoints(1)
	a, b := s.ask(c, Wait{Authority: cartAddress}), s.ask(c, Wait{Authority: stockAddress})
	s.settle()
	refusal := &hop.Refusal{Status: 503, Reason: "no endpoint"}
	s.answer[addr(1)] = refusal
	s.hold = false
	s.dials[0].end()
	delete(s.answer, addr(1))
	s.settle()
	if !errors.Is(a.err, refusal) || b.client == nil {
		t.Errorf("who asked for the one: %v, for the other: connection %v and %v; want the refusal, and a tunnel", a.err, b.client, b.err)
	}
	for range 10 {
		s.answer[addr(1)] = refusal
		s.ask(c, Wait{Authority: cartAddress})
		s.settle()
	}
	if s.stat(1).Health != Healthy {
		t.Errorf("the waypoint is %s after refusals, want healthy", s.stat(1).Health)
	}
}

func TestWaypointIsNotEjectedForWhatIsBehindIt(t *testing.T) {
	s := newStage(t, 1)
	s.native[addr(1)] = true
	c := s.waypoints(1, 2)
	for _, o := range []Outcome{Failed, Answered(502), Reset, Timeout, AnsweredCall(14)} {
		for range 10 {
			s.endpoint(c, 1).inFlight.Add(1)
			s.endpoint(c, 1).Done(s.loops[0], o)
		}
	}
	if s.stat(1).Health != Healthy || s.stat(1).InFlight != 0 {
		t.Errorf("the waypoint is %s, want healthy", s.stat(1).Health)
	}
	s.answer[addr(1)] = loop.ErrRefused
	s.ask(c, Wait{Authority: cartAddress})
	s.settle()
	if s.stat(1).Health != Refusing {
		t.Errorf("one that refuses connections is %s, want refusing", s.stat(1).Health)
	}
	delete(s.answer, addr(1))
	if s.run(2 * time.Second); s.stat(1).Health == Refusing {
		t.Error("one that is back is still refusing")
	}
	if probe := s.dials[len(s.dials)-1]; probe.hop == nil || probe.addr != addr(1) || !probe.conn.Closed() {
		t.Errorf("probed at %s by %v, want a hop that is hung up", probe.addr, probe.hop)
	}
}

// The far end answers a CONNECT once it has reached what is behind it, which may
// be slow: that is no reason to take the waypoint from all others.
func TestWaypointThatIsLateIsOutWhereItIsNotThere(t *testing.T) {
	for _, tt := range []struct {
		what   string
		answer error // to who knocks
		there  bool
	}{
		{"it speaks", nil, true},
		{"it is a stranger, and opens no tunnel to itself", &hop.Refusal{Status: 404}, true},
		{"it hangs", errHang, false},
		{"nobody listens", loop.ErrRefused, false},
		{"it proves to be another", errors.New("tls: bad certificate"), false},
		{"we have no certificate", hop.ErrNoCertificate, true},
	} {
		s := newStage(t, 1)
		s.hold = true
		c := s.waypoints(1, 2)
		var tries []*try
		for range 2 * defaultConsecutive {
			tries = append(tries, s.ask(c, Wait{Authority: cartAddress}))
		}
		s.settle()
		s.answer[addr(1)] = errHang
		s.dials[0].end()
		s.settle()
		probe := s.dials[1]
		if len(s.dials) != 2 || probe.hop == nil || probe.hop.Identity != s.dials[0].hop.Identity || probe.timeout != hopProbeTimeout {
			t.Fatalf("%s: %d dials, the last %+v; want the first and a probe by a hop", tt.what, len(s.dials), probe)
		}
		s.answer[addr(1)] = tt.answer
		probe.end()
		s.settle()
		if got, want := s.stat(1).Health, map[bool]Health{true: Healthy, false: Refusing}[tt.there]; got != want {
			t.Errorf("%s: %s, want %s", tt.what, got, want)
		}
		if tt.answer == nil && !probe.conn.Closed() {
			t.Errorf("%s: the probe's connection stays open", tt.what)
		}
		for _, x := range tries {
			if !errors.Is(x.err, ErrTimeout) {
				t.Errorf("who waited hears %v, want ErrTimeout", x.err)
			}
		}
	}
}

func TestStreamsToAWaypointAreTunnelsOfTheirOwn(t *testing.T) {
	s := newStage(t, 1)
	s.native[addr(1)] = true
	c := s.waypoints(1)
	s.hold = true
	open := func(authority string, use Use) *stream {
		w := &stream{}
		w.Stream, w.Use, w.Authority, w.Source, w.Client = w, use, authority, webIdentity, peer("10.1.0.1:1000")
		c.Connect(s.loops[0], s.endpoint(c, 1), &w.Wait)
		return w
	}
	a, b := open(cartAddress, Streams), open(stockAddress, Opaque)
	s.dials[1].end() // the second is there first
	s.dials[0].end()
	s.settle()
	for i, w := range []*stream{a, b} {
		d := s.dials[i]
		if w.conn != Conn(d.conn) || d.hop.Requests || d.hop.Authority != w.Authority || d.hop.Source != webIdentity {
			t.Errorf("stream to %s has connection %v of %+v", w.Authority, w.conn, d.hop)
		}
		s.end(w)
	}
	if n := len(s.endpoint(c, 1).private[0]); n != 0 {
		t.Errorf("%d pools are left, want 0", n)
	}
}

// An endpoint with an Identity is reached as that says, or not at all.
func TestEndpointsOfTheMeshFailClosed(t *testing.T) {
	tls := &routing.UpstreamTLS{ServerName: "cart.example"}
	waypoint := routing.WaypointCluster("shop/waypoint")
	tests := []struct {
		name      string
		cluster   routing.Cluster
		identity  string
		authority string
		noMesh    bool
		want      error
	}{
		{"the gateway has no identity", routing.Cluster{Name: "c"}, cartIdentity, "", true, errNoMesh},
		{"TLS inside", routing.Cluster{Name: "c", TLS: tls}, cartIdentity, "", false, errTunnelTLS},
		{"a waypoint, and nobody knows who it is", routing.Cluster{Name: waypoint}, "", cartAddress, false, errNoIdentity},
		{"a waypoint, asked for nothing", routing.Cluster{Name: waypoint}, waypointIdentity, "", false, errNoAuthority},
		{"a waypoint with TLS", routing.Cluster{Name: waypoint, TLS: tls}, waypointIdentity, cartAddress, false, errWaypointTLS},
		{"a waypoint with a header", routing.Cluster{Name: waypoint, ProxyProtocol: 2}, waypointIdentity, cartAddress, false, errWaypointTLS},
	}
	for _, tt := range tests {
		s := newStage(t, 1)
		if tt.noMesh {
			s.set.o.Hop = nil
		}
		c := s.meshed(tt.cluster, tt.identity, 1)
		x := s.ask(c, Wait{Authority: tt.authority})
		s.settle()
		w := &stream{}
		w.Stream, w.Use, w.Authority = w, Streams, tt.authority
		c.Connect(s.loops[0], s.endpoint(c, 1), &w.Wait)
		s.settle()
		if !errors.Is(x.err, tt.want) || !errors.Is(w.err, tt.want) || len(s.dials) > 0 {
			t.Errorf("%s: request %v, stream %v after %d dials; want %v and none", tt.name, x.err, w.err, len(s.dials), tt.want)
		}
	}
}

// A certificate that the gateway lacks itself says nothing about anybody else.
func TestEndpointIsNotEjectedForACertificateOfOurs(t *testing.T) {
	s := newStage(t, 1)
	c := s.waypoints(1, 2)
	s.answer[addr(1)] = fmt.Errorf("TLS: %w", hop.ErrNoCertificate)
	for range 2 * defaultConsecutive {
		s.ask(c, Wait{Authority: cartAddress})
		s.settle()
	}
	if got := s.stat(1).Health; got != Healthy {
		t.Errorf("health %s, want healthy", got)
	}
}

func TestMeshIsDrainedAndOthersStay(t *testing.T) {
	s := newStage(t, 1)
	s.native[addr(1)] = true
	plain := s.get(s.cluster(routing.Cluster{}, 3), s.loops[0])
	plain.client.end()
	c := s.waypoints(1)
	busy := s.settled(c, Wait{Authority: cartAddress})
	w := &stream{}
	w.Stream, w.Use, w.Authority = w, Streams, cartAddress
	c.Connect(s.loops[0], s.endpoint(c, 1), &w.Wait)
	s.settle()
	s.set.DrainMesh()
	s.settle()
	if busy.client.closed || w.conn.(*loop.PipeConn).Closed() || plain.client.closed {
		t.Error("a request under way, a stream or a plain connection is ended")
	}
	if next := s.settled(c, Wait{Authority: cartAddress}); next.client == busy.client {
		t.Error("a request goes over a connection that was made before")
	}
	if busy.client.end(); !busy.client.closed {
		t.Error("a connection outlives its last request")
	}
	s.end(w)
}

func TestExchangeWithAWaypointDoesNotAllocate(t *testing.T) {
	for _, native := range []bool{true, false} {
		s := newStage(t, 1)
		s.native[addr(1)] = native
		c, l := s.waypoints(1), s.loops[0]
		e := &ender{}
		w := &Wait{Waiter: e, Authority: cartAddress, Source: webIdentity, Client: peer("10.1.0.1:1000")}
		want := &Want{}
		run := func() {
			ep, err := c.Pick(l, want)
			if err != nil {
				panic(err)
			}
			c.Connect(l, ep, w)
			if e.client == nil {
				l.Settle()
			}
			e.client.end()
			e.client = nil
			ep.Done(l, Success)
		}
		run()
		if n := testing.AllocsPerRun(1000, run); n != 0 {
			t.Errorf("native %v: an exchange allocates %v times, want 0", native, n)
		}
	}
}
