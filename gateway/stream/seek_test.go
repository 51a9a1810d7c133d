package stream

import (
	"errors"
	"net/netip"
	"testing"

	"fairway.dev/gateway/telemetry"
	"fairway.dev/routing"
)

// newSeekStage serves connections that go to the name in their ClientHello, if
// that is under example.
func newSeekStage(t *testing.T, name string) *tcpStage {
	s := newTCPStage(t, TCPOptions{})
	s.cluster(routing.Cluster{Resolve: routing.ResolveHost})
	s.set.PutEndpoints(&routing.Endpoints{Cluster: "c", List: []routing.Endpoint{
		{Host: "*.example", Addr: netip.AddrPortFrom(netip.Addr{}, 8443), Ready: true, Serving: true},
	}})
	s.name = name
	return s
}

// ServiceEntry.resolution DYNAMIC_DNS.
func TestStreamGoesToItsName(t *testing.T) {
	s := newSeekStage(t, "api.example")
	client, st := s.arrive()
	st.Data([]byte("hello"))
	q := <-s.asked
	if q.host != "api.example" {
		t.Errorf("asked for %q, want api.example", q.host)
	}
	q.changed([]netip.Addr{netip.MustParseAddr("8.8.8.8")}, nil)
	s.loop.Settle()
	if len(s.dials) != 1 || s.dials[0] != netip.MustParseAddrPort("8.8.8.8:8443") {
		t.Fatalf("dials to %v, want 8.8.8.8:8443", s.dials)
	}
	s.back[0].want(t, "the backend", "hello")
	client.conn.Reset()
	s.loop.Settle()
	if !st.pair.over {
		t.Error("the stream goes on without its client")
	}
}

// Response flag DF.
func TestStreamToANameWithoutAnAddress(t *testing.T) {
	s := newSeekStage(t, "api.example")
	client, st := s.arrive()
	q := <-s.asked
	q.changed(nil, errors.New("no such name"))
	s.loop.Settle()
	if !st.pair.over || st.pair.rec.Flags != telemetry.NameFailure || client.err == nil {
		t.Errorf("over %v with %s, the client hears %v; want DF and the end", st.pair.over, st.pair.rec.Flags, client.err)
	}

	s = newTCPStage(t, TCPOptions{})
	s.set.PutEndpoints(&routing.Endpoints{Cluster: "c", List: []routing.Endpoint{{Host: "db.example", Ready: true, Serving: true}}})
	(<-s.asked).changed(nil, errors.New("no such name"))
	_, st = s.arrive()
	s.wantOver(st, telemetry.NoHealthyUpstream|telemetry.NameFailure)
}

func TestClientThatLeavesWhileItsNameIsSought(t *testing.T) {
	s := newSeekStage(t, "api.example")
	client, st := s.arrive()
	q := <-s.asked
	client.conn.Reset()
	s.loop.Settle()
	q.changed([]netip.Addr{netip.MustParseAddr("8.8.8.8")}, nil)
	s.loop.Settle()
	if !st.pair.over || len(s.dials) != 0 {
		t.Errorf("over %v after %d dials, want the end and none", st.pair.over, len(s.dials))
	}
}
