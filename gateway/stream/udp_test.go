package stream

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/telemetry"
	"fairway.dev/routing"
)

func TestUDPSessionHasOneEndpointAndItsAnswers(t *testing.T) {
	s := newUDPStage(t, UDPOptions{})
	s.route("a", "b")
	for _, text := range []string{"one", "two", ""} {
		for client := uint16(1001); client <= 1020; client++ {
			s.send(client, text)
		}
	}
	s.wantSessions(20)
	to := map[uint16]int{}
	for client := uint16(1001); client <= 1020; client++ {
		c := s.conn(client)
		if want := []string{"one", "two", ""}; !slices.Equal(c.sent, want) {
			t.Errorf("the endpoint of %d got %q, want %q", client, c.sent, want)
		}
		to[c.to.Port()]++
	}
	if len(to) != 3 {
		t.Errorf("sessions by endpoint: %v, want some at each", to)
	}
	s.conn(1002).h.Datagram([]byte("hi"))
	s.conn(1001).h.Datagram([]byte("ho"))
	if want := []string{"hi to 1002", "ho to 1001"}; !slices.Equal(s.out, want) {
		t.Errorf("clients got %q, want %q", s.out, want)
	}
	m := s.metrics.UDP
	if in, out := m.Datagrams.Total(telemetry.FromClients), m.Datagrams.Total(telemetry.ToClients); in != 60 || out != 2 {
		t.Errorf("%d datagrams in, %d out; want 60, 2", in, out)
	}
	if in, out := m.Bytes.Total(telemetry.FromClients), m.Bytes.Total(telemetry.ToClients); in != 120 || out != 4 {
		t.Errorf("%d bytes in, %d out; want 120, 4", in, out)
	}
}

// A client that asks two of our addresses has two sessions: each answers from
// its own.
func TestUDPSessionsAreByBothEnds(t *testing.T) {
	s := newUDPStage(t, UDPOptions{})
	other := from(1001)
	other.Local = netip.AddrFrom4([4]byte{192, 0, 2, 2})
	s.send(1001, "x")
	s.table.datagram(other, []byte("x"))
	s.wantSessions(2)
}

func TestUDPDatagramsThatLeadNowhereAreDropped(t *testing.T) {
	tests := []struct {
		name  string
		setup func(*udpStage)
		why   telemetry.UDPDrop
	}{
		{"no route", func(s *udpStage) { s.update(removeRoute()) }, telemetry.DropNoRoute},
		{"a reference that leads nowhere", func(s *udpStage) { s.route("missing") }, telemetry.DropNoRoute},
		{"no endpoint", func(s *udpStage) { s.route("empty") }, telemetry.DropNoEndpoint},
		{"the kernel knows no way", func(s *udpStage) {
			s.broken[1], s.broken[2] = loop.ErrUnreachable, loop.ErrUnreachable
		}, telemetry.DropUnreachable},
		{"the kernel forbids", func(s *udpStage) {
			s.broken[1], s.broken[2] = syscall.EPERM, syscall.EPERM
		}, telemetry.DropError},
		{"no descriptor, and nobody to take it from", func(s *udpStage) {
			s.broken[1], s.broken[2] = syscall.EMFILE, syscall.EMFILE
		}, telemetry.DropError},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newUDPStage(t, UDPOptions{})
			tt.setup(s)
			s.send(1001, "x")
			s.wantDropped(tt.why, 1)
			s.wantSessions(0)
			if len(s.out) > 0 {
				t.Errorf("the client was sent %q by the gateway itself", s.out)
			}
		})
	}
}

func TestUDPSessionEndsIdle(t *testing.T) {
	s := newUDPStage(t, UDPOptions{})
	s.send(1001, "x")
	s.loop.Advance(30 * time.Second)
	s.send(1002, "x")
	s.loop.Advance(29 * time.Second)
	s.conn(1001).h.Datagram([]byte("late")) // an answer counts too
	s.loop.Advance(30 * time.Second)
	s.wantSessions(2)
	s.loop.Advance(time.Second)
	if s.table.sessions[*from(1002)] != nil {
		t.Error("a session that was idle for a minute goes on")
	}
	s.wantSessions(1)
	s.loop.Advance(29 * time.Second)
	s.wantSessions(0)
	s.send(1001, "again")
	s.loop.Advance(time.Minute)
	s.wantSessions(0)
}

// Law 9: every bound that bites shows in a metric.
func TestUDPSessionsHaveABound(t *testing.T) {
	s := newUDPStage(t, UDPOptions{MaxSessions: 3})
	s.send(1001, "x")
	s.conn(1001).h.Datagram([]byte("answer"))
	s.send(1001, "x") // it has come back after an answer
	for _, client := range []uint16{1002, 1003, 1002, 1004} {
		s.loop.Advance(time.Second)
		s.send(client, "x")
	}
	s.wantSessions(3)
	if s.table.sessions[*from(1003)] != nil {
		t.Error("the session that was idle for longest, of those whose client has not come back, goes on")
	}
	if n := s.metrics.Limits.Total(telemetry.LimitUDPSessions); n != 1 {
		t.Errorf("counted %d times, want 1", n)
	}
	for client := uint16(2001); client < 2100; client++ { // forged
		s.send(client, "x")
	}
	if s.table.sessions[*from(1001)] == nil {
		t.Error("forged addresses have put out a session that is in use")
	}
	s.wantSessions(3)
}

func TestUDPSessionsOfWhichAllAreInUseMakeRoom(t *testing.T) {
	s := newUDPStage(t, UDPOptions{MaxSessions: 2})
	for client := uint16(1001); client <= 1003; client++ {
		s.send(client, "x")
		s.conn(client).h.Datagram([]byte("answer"))
		s.send(client, "x")
	}
	s.wantSessions(2)
	if s.table.sessions[*from(1001)] != nil {
		t.Error("the oldest was not put out")
	}
}

func TestUDPWithoutDescriptorsTheOldestMakesRoom(t *testing.T) {
	s := newUDPStage(t, UDPOptions{})
	s.send(1001, "x")
	s.send(1002, "x")
	first := s.conn(1001)
	s.udp.dial = func(l *loop.Loop, addr netip.AddrPort, h loop.UDPHandler) (udpConn, error) {
		if !first.closed {
			return nil, fmt.Errorf("open a socket: %w", syscall.EMFILE)
		}
		return s.dial(l, addr, h)
	}
	s.send(1003, "x")
	s.wantSessions(2)
	s.conn(1003)
	// A session that needs another endpoint does not put itself out.
	s.conn(1002).h.Failed(loop.ErrUnreachable)
	s.udp.dial = func(*loop.Loop, netip.AddrPort, loop.UDPHandler) (udpConn, error) { return nil, syscall.ENFILE }
	s.send(1002, "x")
	s.wantSessions(0)
	s.wantDropped(telemetry.DropError, 1)
}

// ICMP says that nobody listens: the endpoint is out, and the next datagram
// goes to another.
func TestUDPSessionLeavesAnUnreachableEndpoint(t *testing.T) {
	tests := []struct {
		name string
		told func(*fakeConn)
	}{
		{"as an event", func(c *fakeConn) { c.h.Failed(loop.ErrUnreachable) }},
		{"by the next datagram", func(c *fakeConn) { c.err = fmt.Errorf("%w", loop.ErrUnreachable) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newUDPStage(t, UDPOptions{})
			s.send(1001, "one")
			bad := s.conn(1001)
			tt.told(bad)
			s.send(1001, "two")
			if c := s.conn(1001); c.to == bad.to || !slices.Equal(c.sent, []string{"two"}) || !bad.closed {
				t.Errorf("%s got %q after %s failed", c.to, c.sent, bad.to)
			}
			for client := uint16(2001); client < 2050; client++ {
				s.send(client, "x")
				if s.conn(client).to == bad.to {
					t.Fatal("a new session goes to the endpoint that is out")
				}
			}
			s.wantSessions(50)
			if n := len(s.dropped()); n > 0 {
				t.Errorf("dropped: %v", s.dropped())
			}
		})
	}
}

func TestUDPWhereAllAreUnreachable(t *testing.T) {
	s := newUDPStage(t, UDPOptions{})
	s.send(1001, "one")
	s.broken[1], s.broken[2] = loop.ErrUnreachable, loop.ErrUnreachable
	s.conn(1001).h.Failed(loop.ErrUnreachable)
	s.send(1001, "two")
	s.wantDropped(telemetry.DropUnreachable, 1)
	s.wantSessions(0)
	clear(s.broken)
	s.send(1001, "three") // health is ignored where none is healthy
	s.wantSessions(1)
}

func TestUDPSessionMovesWhereItsEndpointLeaves(t *testing.T) {
	s := newUDPStage(t, UDPOptions{})
	s.endpoints("a", 1)
	s.send(1001, "one")
	old := s.conn(1001)
	s.endpoints("a", 2)
	old.h.Datagram([]byte("still")) // what it was asked before it may answer
	s.send(1001, "two")
	if c := s.conn(1001); c.to != endpoint(2) || !old.closed {
		t.Errorf("goes to %s, the old socket closed: %v; want %s, true", c.to, old.closed, endpoint(2))
	}
	s.endpoints("a")
	s.send(1001, "three")
	s.wantDropped(telemetry.DropNoEndpoint, 1)
	s.wantSessions(0)
	if want := []string{"still to 1001"}; !slices.Equal(s.out, want) {
		t.Errorf("the client got %q, want %q", s.out, want)
	}
}

// Law 3: an edit ends no session that is still allowed.
func TestUDPSessionsLiveThroughEdits(t *testing.T) {
	s := newUDPStage(t, UDPOptions{})
	s.send(1001, "one")
	c := s.conn(1001)
	s.route("b", "a")
	s.send(1001, "two")
	if s.conn(1001) != c {
		t.Fatal("the session has moved, though its cluster has a share still")
	}
	s.route("b")
	c.h.Datagram([]byte("late"))
	if len(s.out) > 0 {
		t.Error("an answer passed from a cluster that has no share any more")
	}
	s.wantSessions(0)
	s.send(1001, "three")
	if got := s.conn(1001).to; got != endpoint(11) {
		t.Errorf("goes to %s, want %s", got, endpoint(11))
	}
	s.update(removeRoute())
	s.send(1001, "four")
	s.wantDropped(telemetry.DropNoRoute, 1)
	s.wantSessions(0)
}

// UDPRoute: of several routes only the oldest gets traffic.
func TestUDPOldestRouteHasTheTraffic(t *testing.T) {
	s := newUDPStage(t, UDPOptions{})
	route := func(name routing.RouteName, cluster routing.ClusterName, created time.Time) *routing.Route {
		return &routing.Route{
			Name: name, Created: created, Attached: []routing.Attachment{{Listener: "ns/gw/dns", Hosts: []string{"*"}}},
			Rules: []routing.Rule{{Action: routing.Action{Backends: []routing.Backend{{Cluster: cluster, Weight: 1}}}}},
		}
	}
	now := s.loop.Now()
	d := removeRoute()
	d.Routes = []*routing.Route{route("UDPRoute/ns/a", "a", now), route("UDPRoute/ns/z", "b", now.Add(-time.Hour))}
	s.update(d)
	for client := uint16(1001); client < 1050; client++ {
		s.send(client, "x")
		if got := s.conn(client).to; got != endpoint(11) {
			t.Fatalf("goes to %s, want %s", got, endpoint(11))
		}
	}
}

func TestUDPFullQueuesDrop(t *testing.T) {
	s := newUDPStage(t, UDPOptions{})
	s.send(1001, "one")
	c := s.conn(1001)
	c.err = loop.ErrQueueFull
	s.send(1001, "two")
	s.full = true
	c.h.Datagram([]byte("answer"))
	s.wantDropped(telemetry.DropSendQueue, 2)
	s.table.lost(7)
	if n := s.metrics.UDP.Dropped.Total(telemetry.DropReceiveQueue); n != 7 {
		t.Errorf("%d dropped by the kernel, want 7", n)
	}
	s.wantSessions(1)
	c.err = errors.New("message too long")
	s.send(1001, "three")
	if n := s.metrics.UDP.Dropped.Total(telemetry.DropError); n != 1 {
		t.Errorf("%d refused, want 1", n)
	}
	s.wantSessions(1)
}

func TestUDPAccessLog(t *testing.T) {
	s := newUDPStage(t, UDPOptions{})
	s.endpoints("a", 1)
	s.send(1001, "question")
	s.loop.Advance(time.Second)
	s.conn(1001).h.Datagram([]byte("a long answer"))
	s.loop.Advance(time.Minute)
	s.send(1002, "x")
	s.conn(1002).h.Failed(loop.ErrUnreachable)
	s.loop.Advance(time.Minute)
	s.wantSessions(0)
	got := s.logged()
	want := []map[string]any{
		{"protocol": "UDP", "remote": "198.51.100.7:1001", "endpoint": "10.0.0.1:1", "bytes_in": 8., "bytes_out": 13.,
			"datagrams_in": 1., "datagrams_out": 1., "duration_ms": 1000., "route": "UDPRoute/ns/r", "listener": "ns/gw/dns"},
		{"remote": "198.51.100.7:1002", "flags": "UF", "datagrams_in": 1.},
	}
	if len(got) != len(want) {
		t.Fatalf("%d lines, want %d", len(got), len(want))
	}
	for i, line := range want {
		for key, value := range line {
			if got[i][key] != value {
				t.Errorf("line %d: %s is %v, want %v", i, key, got[i][key], value)
			}
		}
	}
}

func TestUDPPortThatLeavesEndsItsSessions(t *testing.T) {
	s := newUDPStage(t, UDPOptions{})
	s.send(1001, "x")
	s.udp.Apply(nil)
	if !s.udp.Leaving() {
		t.Error("left before its loop knows")
	}
	s.loop.Settle()
	s.wantSessions(0)
	if !s.shut || s.udp.Leaving() {
		t.Errorf("socket closed: %v, leaving: %v; want true, false", s.shut, s.udp.Leaving())
	}
}

// A port that drains serves on until it is quiet: datagrams have no end.
func TestUDPDrainWaitsForQuiet(t *testing.T) {
	s := newUDPStage(t, UDPOptions{})
	s.udp.Drain()
	for range 5 {
		s.loop.Advance(900 * time.Millisecond)
		s.send(1001, "x")
		s.loop.Advance(900 * time.Millisecond)
		s.conn(1001).h.Datagram([]byte("answer"))
	}
	if s.shut || !s.udp.Leaving() {
		t.Fatal("closed while datagrams come")
	}
	s.loop.Advance(time.Second)
	if !s.shut || s.udp.Leaving() {
		t.Errorf("socket closed: %v, leaving: %v; want true, false", s.shut, s.udp.Leaving())
	}
	s.wantSessions(0)
	s.udp.Apply(nil) // the end of the process
	s.loop.Settle()
	if s.udp.Leaving() {
		t.Error("leaving for ever")
	}
}

func TestUDPDatagramsOfASessionDoNotAllocate(t *testing.T) {
	s := newUDPStage(t, UDPOptions{})
	s.send(1001, "x")
	c := s.conn(1001)
	c.err = loop.ErrQueueFull // or the fake keeps what it is sent
	s.full = true
	question, answer, path := []byte("question"), []byte("answer"), from(1001)
	if n := testing.AllocsPerRun(100, func() {
		s.table.datagram(path, question)
		c.h.Datagram(answer)
	}); n != 0 {
		t.Errorf("a question and its answer allocate %v times, want 0", n)
	}
}
