package upstream

import (
	"errors"
	"net/netip"
	"testing"

	"fairway.dev/gateway/hop"
	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
	"fairway.dev/routing"
)

// dialling is a client that has dialled a port.
func dialling(remote string, port uint16) *message.Peer {
	return &message.Peer{Remote: netip.MustParseAddrPort(remote), Local: netip.AddrPortFrom(addr(0).Addr(), port)}
}

// reach asks for a connection to the port that a client has dialled.
func (s *stage) reach(c *Cluster, client *message.Peer) *try {
	t := &try{Wait: Wait{Client: client}}
	t.Waiter = t
	c.Connect(s.loops[0], s.endpoint(c, 0), &t.Wait)
	s.settle()
	return t
}

// reached is reach where a connection must come.
func (s *stage) reached(c *Cluster, client *message.Peer) *try {
	s.t.Helper()
	t := s.reach(c, client)
	if t.client == nil {
		s.t.Fatalf("no connection: %v", t.err)
	}
	return t
}

// routing.Endpoint.Addr with port 0: the port is the one that the client dialled.
func TestEndpointsAtAnyPort(t *testing.T) {
	s := newStage(t, 1)
	c := s.cluster(routing.Cluster{Ejection: routing.Ejection{Off: true}}, 0)
	a := s.reached(c, dialling("10.1.0.1:1000", 8080))
	a.client.end()
	if b := s.reached(c, dialling("10.1.0.2:1000", 8080)); b.client != a.client {
		t.Error("who dials one port does not share connections to it")
	}
	if b := s.reached(c, dialling("10.1.0.1:1000", 9090)); b.client == a.client {
		t.Error("who dials another port has a connection of the first")
	}
	w := s.stream(c, Streams, 0, dialling("10.1.0.1:1000", 7070))
	for i, want := range []uint16{8080, 9090, 7070} {
		if got := s.dials[i].addr; got != addr(want) {
			t.Errorf("dial %d was of %s, want %s", i, got, addr(want))
		}
	}
	s.end(w)
	if got := s.endpoint(c, 0).AddrFor(dialling("10.1.0.1:1000", 8080)); got != addr(8080) {
		t.Errorf("it is at %s for who dialled 8080", got)
	}
}

func TestTunnelsToAnyPort(t *testing.T) {
	s := newStage(t, 1)
	c := s.meshed(routing.Cluster{Name: "c", Protocol: routing.UpstreamHTTP1}, cartIdentity, 0)
	s.reached(c, dialling("10.1.0.1:1000", 8080))
	want := hop.Target{Addr: netip.AddrPortFrom(addr(0).Addr(), routing.HBONEPort), Identity: cartIdentity, Authority: addr(8080).String()}
	if got := *s.dials[0].hop; got != want {
		t.Errorf("dialled %+v, want %+v", got, want)
	}
}

// A port that nobody dialled is none: nothing is sent anywhere.
func TestAnyPortWantsOneThatWasDialled(t *testing.T) {
	s := newStage(t, 1)
	c := s.cluster(routing.Cluster{}, 0)
	for name, client := range map[string]*message.Peer{"nobody": nil, "a client that has dialled nothing": {}} {
		if w := s.reach(c, client); !errors.Is(w.err, errNoPort) {
			t.Errorf("%s: %v, want %v", name, w.err, errNoPort)
		}
	}
	if len(s.dials) > 0 {
		t.Errorf("%d connections were opened", len(s.dials))
	}
}

// A closed port says nothing of the others, and is not asked whether it is open.
func TestClosedPortHarmsNoOther(t *testing.T) {
	s := newStage(t, 1)
	c := s.cluster(routing.Cluster{}, 0)
	s.answer[addr(1)] = loop.ErrRefused
	for range 2 * defaultConsecutive {
		s.reach(c, dialling("10.1.0.1:1000", 1))
	}
	n := len(s.dials)
	s.run(4 * refusedFor)
	if len(s.dials) != n || len(s.ejected) > 0 {
		t.Errorf("%d probes, ejected %v; want none", len(s.dials)-n, s.ejected)
	}
	s.reached(c, dialling("10.1.0.1:1000", 8080))
}

// A client that dials all ports there are is stopped at a bound.
func TestPortsOfAnEndpointAreBounded(t *testing.T) {
	s := newStage(t, 1)
	c := s.cluster(routing.Cluster{}, 0)
	for port := range uint16(maxHostPools) {
		s.reached(c, dialling("10.1.0.1:1000", port+1))
	}
	if w := s.reach(c, dialling("10.1.0.1:1000", maxHostPools+1)); !errors.Is(w.err, ErrOverflow) {
		t.Errorf("one port more: %v, want %v", w.err, ErrOverflow)
	}
	s.clients[0].end()
	s.run(2 * defaultIdleTimeout)
	s.reached(c, dialling("10.1.0.1:1000", maxHostPools+1))
}
