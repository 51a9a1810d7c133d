package upstream

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
	"fairway.dev/routing"
)

// captive is a stage whose connections a node proxy captures, and that has nobody
// to speak HBONE by itself.
func captive(t *testing.T) *stage {
	s := newStage(t, 1)
	s.set.o.Captured, s.set.o.Hop = func() bool { return true }, nil
	return s
}

// ztunnel's outbound.rs: what a captured pod dials at a Service's address goes to
// the Service's waypoint, if it has one.
func TestCapturedGatewayDialsWhatIsBehindAWaypoint(t *testing.T) {
	s := captive(t)
	c := s.waypoints(1)
	a := s.settled(c, Wait{Authority: cartAddress, Source: webIdentity, Client: peer("10.1.0.1:1000")})
	if d := s.dials[0]; len(s.dials) != 1 || d.hop != nil || d.addr != netip.MustParseAddrPort(cartAddress) || d.config != nil || d.first != "" {
		t.Errorf("%d dials, the first %+v; want one, plain, to %s", len(s.dials), d, cartAddress)
	}
	if a.client.ev.Gateway || a.client.proto != message.HTTP11 {
		t.Errorf("%s, to a gateway of ours: %v; want HTTP/1.1, false", a.client.proto, a.client.ev.Gateway)
	}
	b := s.settled(c, Wait{Authority: stockAddress, Inside: routing.UpstreamHTTP2, Client: peer("10.1.0.1:1000")})
	if b.client == a.client || b.client.proto != message.HTTP2 || s.dials[1].addr != netip.MustParseAddrPort(stockAddress) {
		t.Errorf("for another Service: %s, dialled %s; want HTTP/2 on a connection of its own, %s", b.client.proto, s.dials[1].addr, stockAddress)
	}
	x := &stream{Wait: Wait{Authority: cartAddress, Use: Streams, Client: peer("10.1.0.2:1000")}}
	x.Stream = x
	c.Connect(s.loops[0], s.endpoint(c, 1), &x.Wait)
	if s.settle(); x.conn == nil || s.dials[2].addr != netip.MustParseAddrPort(cartAddress) {
		t.Errorf("a stream: %v, dialled %s", x.err, s.dials[2].addr)
	}
}

func TestCapturedGatewayDialsPodsAtTheirOwnPorts(t *testing.T) {
	s := captive(t)
	c := s.meshed(routing.Cluster{Name: "c", Protocol: routing.UpstreamHTTP1, TLS: &routing.UpstreamTLS{Insecure: true}}, cartIdentity, 8080)
	s.alpn = "http/1.1"
	x := &try{Wait: Wait{}}
	x.Waiter = x
	c.Connect(s.loops[0], s.endpoint(c, 8080), &x.Wait)
	if s.settle(); x.client == nil || len(s.dials) != 1 || s.dials[0].addr != addr(8080) || s.dials[0].hop != nil || s.dials[0].config == nil {
		t.Errorf("%v, dials %+v; want one by TLS to %s", x.err, s.dials, addr(8080))
	}
}

// A node proxy captures connections to addresses; a waypoint in another network is
// asked for by a name.
func TestCapturedGatewayDialsNoNames(t *testing.T) {
	s := captive(t)
	x := s.ask(s.waypoints(1), Wait{Authority: "cart.shop.svc.cluster.local:80"})
	if s.settle(); x.client != nil || !errors.Is(x.err, errNamedAuthority) || len(s.dials) > 0 {
		t.Errorf("%v after %d dials, want %v after none", x.err, len(s.dials), errNamedAuthority)
	}
}

// Who was captured when it was asked and is not when it dials sends nothing plain.
func TestWhoIsCapturedNoMoreDialsNothing(t *testing.T) {
	s := captive(t)
	c := s.waypoints(1)
	asked := 0
	s.set.o.Captured = func() bool { asked++; return asked == 1 }
	x := s.ask(c, Wait{Authority: cartAddress})
	if s.settle(); x.client != nil || !errors.Is(x.err, errNoMesh) || len(s.dials) > 0 {
		t.Errorf("%v after %d dials, want %v after none", x.err, len(s.dials), errNoMesh)
	}
}

// Whatever an endpoint says of itself, an address that is forbidden is not dialled.
func TestForbiddenAddressesAreNotDialled(t *testing.T) {
	s := newStage(t, 1)
	errForbidden := errors.New("forbidden")
	s.set.o.Dial = guarded(s.set.o.Dial, func(a netip.AddrPort) error {
		if a.Port() == 1 {
			return errForbidden
		}
		return nil
	})
	c := s.cluster(routing.Cluster{}, 1, 2)
	x := s.ask(c, Wait{})
	s.settle()
	if x.client != nil || !errors.Is(x.err, errForbidden) || len(s.dials) > 0 {
		t.Errorf("%v after %d dials, want %v after none", x.err, len(s.dials), errForbidden)
	}
	y := &try{}
	y.Waiter = y
	c.Connect(s.loops[0], s.endpoint(c, 2), &y.Wait)
	if s.settle(); y.client == nil {
		t.Errorf("another address: %v", y.err)
	}
	z := s.ask(c, Wait{})
	z.Cancel()
	if s.settle(); z.err != nil || z.client != nil {
		t.Errorf("who was cancelled hears %v", z.err)
	}
}

// Over real sockets, and with the option that the gateway sets.
func TestSetDialsNothingThatIsForbidden(t *testing.T) {
	l := loop.NewManual(time.Unix(0, 0))
	set := NewSet(Options{Loops: []*loop.Loop{l}, Forbidden: func(netip.AddrPort) error { return errors.New("forbidden") }})
	set.Put(&routing.Cluster{Name: "c", Protocol: routing.UpstreamHTTP1})
	set.PutEndpoints(&routing.Endpoints{Cluster: "c", List: []routing.Endpoint{{Addr: netip.MustParseAddrPort("127.0.0.1:1"), Ready: true, Serving: true}}})
	c := set.Cluster("c")
	x := &try{}
	x.Waiter = x
	c.Connect(l, c.view.Load().usable[0].ep, &x.Wait)
	if l.Settle(); x.err == nil || !strings.Contains(x.err.Error(), "forbidden") {
		t.Errorf("%v, want that it is forbidden", x.err)
	}
}
