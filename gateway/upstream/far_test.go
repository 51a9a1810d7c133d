package upstream

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"fairway.dev/gateway/hop"
	"fairway.dev/gateway/message"
	"fairway.dev/routing"
)

const eastWestIdentity = "spiffe://cluster.local/ns/istio-system/sa/eastwest"

// abroad puts a cluster with local endpoints and, behind their ports, far ones of
// weights 1 and 3.
func (s *stage) abroad(spec routing.Cluster, within string, local, far []uint16) *Cluster {
	s.t.Helper()
	spec.Name = "c"
	s.set.Put(&spec)
	e := &routing.Endpoints{Cluster: spec.Name}
	for i, port := range far {
		e.List = append(e.List, routing.Endpoint{
			Addr: addr(port), Ready: true, Serving: true, Identity: eastWestIdentity, Weight: uint32(1 + 2*i),
			Far: &routing.FarHop{Cluster: "mesh/~/two", Authority: "cart.shop:80", Within: within},
		})
	}
	for _, port := range local {
		e.List = append(e.List, routing.Endpoint{Addr: addr(port), Ready: true, Serving: true, Region: "r1"})
	}
	s.set.PutEndpoints(e)
	return s.set.Cluster(spec.Name)
}

// routing.Endpoint.Far: for when nobody of our own network is healthy.
func TestFarEndpointsComeLast(t *testing.T) {
	for _, b := range []routing.Balance{
		{}, {Kind: routing.RoundRobin}, {Kind: routing.Random}, {Kind: routing.Maglev}, {Kind: routing.RingHash},
		{Locality: &routing.Locality{}}, {Locality: &routing.Locality{Distribute: []routing.Distribution{{From: "r1", To: map[string]uint32{"r1": 100}}}}},
	} {
		s := newStage(t, 1)
		s.set.SetPlace(Place{Region: "r1"})
		c := s.abroad(routing.Cluster{Balance: b, Protocol: routing.UpstreamHTTP1}, "", []uint16{1, 2}, []uint16{8, 9})
		if !c.Spreads() {
			t.Error("it does not spread over networks")
		}
		if got := s.picks(c, 1000, Want{}); got[8]+got[9] > 0 {
			t.Errorf("%v: picks %v, want none that are far", b, got)
		}
		// Who has tried all that are here goes there.
		if got := s.picks(c, 100, Want{Tried: []*Endpoint{s.endpoint(c, 1), s.endpoint(c, 2)}}); got[8]+got[9] != 100 {
			t.Errorf("%v: another try goes to %v, want those that are far", b, got)
		}
		s.refuse(c, 1)
		if got := s.picks(c, 100, Want{}); got[2] != 100 {
			t.Errorf("%v: picks %v with 1 out, want 2", b, got)
		}
		s.refuse(c, 2)
		got := s.picks(c, 4000, Want{})
		if got[8]+got[9] != 4000 {
			t.Errorf("%v: picks %v with all out that are here, want those that are far", b, got)
		}
		if b.Kind == routing.Random && (got[8] < 800 || got[8] > 1200) {
			t.Errorf("weights 1 and 3: %v", got)
		}
		if got := s.picks(c, 100, Want{Here: true}); got[1]+got[2] != 100 {
			t.Errorf("%v: who came from there goes to %v, want nobody there", b, got)
		}
	}
	s := newStage(t, 1)
	c := s.abroad(routing.Cluster{}, "", nil, []uint16{8})
	if got := s.picks(c, 10, Want{}); got[8] != 10 {
		t.Errorf("picks %v where all are far", got)
	}
	if _, err := c.Pick(s.loops[0], &Want{Here: true}); !errors.Is(err, ErrNoEndpoints) {
		t.Errorf("who came from there: %v, want %v", err, ErrNoEndpoints)
	}
	s.set.PutEndpoints(&routing.Endpoints{Cluster: "c", List: []routing.Endpoint{{Addr: addr(1), Ready: true}}})
	if c.Spreads() {
		t.Error("it spreads over networks, and has one endpoint here")
	}
}

func TestFarEndpointsAreAskedForWhatTheyStandFor(t *testing.T) {
	for _, within := range []string{"", waypointIdentity} {
		s := newStage(t, 1)
		s.native[addr(1)] = within == ""
		c := s.abroad(routing.Cluster{Protocol: routing.UpstreamHTTP2}, within, nil, []uint16{1})
		far := s.endpoint(c, 1).Far()
		w := Wait{Authority: far.Authority, Within: far.Within, Source: webIdentity, Client: peer("10.1.0.1:1000"), Inside: routing.UpstreamHTTP2}
		x := s.settled(c, w)
		want := hop.Target{
			Addr: addr(1), Identity: eastWestIdentity, Authority: "cart.shop:80", Source: webIdentity, Client: w.Client.Remote,
			Requests: within == "", Within: within,
		}
		if got := *s.dials[0].hop; got != want {
			t.Errorf("within %q: dialled %+v, want %+v", within, got, want)
		}
		if x.client.ev.Gateway != (within == "") || x.client.proto != message.HTTP2 {
			t.Errorf("within %q: %s, to a gateway: %v", within, x.client.proto, x.client.ev.Gateway)
		}
		x.client.end()
		if w.Within = "spiffe://cluster.local/ns/shop/sa/other"; s.settled(c, w).client == x.client && within != "" {
			t.Error("who is to be reached within does not tell connections apart")
		}
	}
}

// An endpoint at whose address something else is asked for is another.
func TestAnotherFarIsAnotherEndpoint(t *testing.T) {
	s := newStage(t, 1)
	c := s.abroad(routing.Cluster{}, "", nil, []uint16{1})
	before := s.endpoint(c, 1)
	if s.abroad(routing.Cluster{}, "", nil, []uint16{1}); s.endpoint(c, 1) != before {
		t.Error("the same is another endpoint")
	}
	if s.abroad(routing.Cluster{}, waypointIdentity, nil, []uint16{1}); s.endpoint(c, 1) == before {
		t.Error("with somebody within it is the same endpoint")
	}
}

// What a health check would hear is about others.
func TestFarEndpointsAreNotChecked(t *testing.T) {
	s := newStage(t, 1)
	c := s.abroad(routing.Cluster{Health: &routing.HealthCheck{Interval: time.Second, Timeout: time.Second}}, "", []uint16{1}, []uint16{8})
	s.run(10 * time.Second)
	for _, d := range s.dials {
		if d.addr != addr(1) {
			t.Errorf("%s was asked", d.addr)
		}
	}
	if len(s.dials) == 0 || c == nil {
		t.Error("nobody was asked")
	}
}

// HBONE of the client's own goes, as it is, to whoever takes it at the endpoint.
func TestSealedStreams(t *testing.T) {
	s := newStage(t, 1)
	waypoint := s.waypoints(1)
	pod := s.meshed(routing.Cluster{Name: "pod", ProxyProtocol: 1}, cartIdentity, 2)
	for i, tt := range []struct {
		c    *Cluster
		port uint16
		want string
	}{{waypoint, 1, addr(1).String()}, {pod, 2, fmt.Sprintf("%s:15008", addr(2).Addr())}} {
		w := s.stream(tt.c, Sealed, tt.port, peer("10.1.0.1:1000"))
		if w.conn == nil || len(s.dials) != i+1 {
			t.Fatalf("%s: error %v", tt.want, w.err)
		}
		if d := s.dials[i]; d.hop != nil || d.config != nil || d.first != "" || d.addr.String() != tt.want {
			t.Errorf("dialled %+v, want %s by TCP and nothing said", d, tt.want)
		}
		s.end(w)
	}
	plain := s.cluster(routing.Cluster{}, 3)
	if w := s.stream(plain, Sealed, 3, nil); !errors.Is(w.err, errUnsealed) {
		t.Errorf("a pod that takes no HBONE: %v, want %v", w.err, errUnsealed)
	}
}
