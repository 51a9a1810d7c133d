package upstream

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"fairway.dev/routing"
)

// at puts the gateway of a stage that has no clusters yet somewhere.
func (s *stage) at(node, zone string) *stage {
	s.set.SetPlace(Place{Node: node, Zone: zone})
	return s
}

// spread puts a cluster with two endpoints on each of two nodes of zones a and
// b: ports 1-2 on a1, 3-4 on a2, 5-6 on b1, 7-8 on b2.
func (s *stage) spread(kind routing.BalanceKind) *Cluster {
	s.t.Helper()
	s.set.Put(&routing.Cluster{Name: "c", Protocol: routing.UpstreamHTTP1, Balance: routing.Balance{Kind: kind}})
	var list []routing.Endpoint
	for i, node := range []string{"a1", "a1", "a2", "a2", "b1", "b1", "b2", "b2"} {
		list = append(list, routing.Endpoint{
			Addr: addr(uint16(i + 1)), Ready: true, Serving: true, ForZones: []string{"x", node[:1]}, ForNodes: []string{node},
		})
	}
	s.set.PutEndpoints(&routing.Endpoints{Cluster: "c", List: list})
	return s.set.Cluster("c")
}

// used returns the ports that many picks go to, in order. Half of them hash.
func (s *stage) used(c *Cluster) []uint16 {
	s.t.Helper()
	ports := s.keys(c, 1000)
	for port := range s.picks(c, 1000, Want{}) {
		ports = append(ports, port)
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}

// KEP-3015: the same node, else the same zone, else any.
func TestNearEndpointsComeFirst(t *testing.T) {
	all := []uint16{1, 2, 3, 4, 5, 6, 7, 8}
	for _, tt := range []struct {
		node, zone string
		out        []uint16 // refuse connections
		want       []uint16
	}{
		{"", "", nil, all},
		{"", "a", nil, []uint16{1, 2, 3, 4}},
		{"c1", "c", nil, all},
		{"c1", "x", nil, all},
		{"c1", "b", nil, []uint16{5, 6, 7, 8}},
		{"a2", "a", nil, []uint16{3, 4}},
		{"a2", "", nil, []uint16{3, 4}}, // a node whose zone nobody knows
		{"a2", "a", []uint16{3}, []uint16{4}},
		{"a2", "a", []uint16{3, 4}, []uint16{1, 2}},
		{"a2", "a", []uint16{1, 2, 3, 4}, []uint16{5, 6, 7, 8}},
		{"", "a", []uint16{1, 2, 3, 4, 5, 6, 7}, []uint16{8}},
		{"a2", "a", all, all}, // better all than none, and than those few
	} {
		for _, kind := range kinds {
			s := newStage(t, 1).at(tt.node, tt.zone)
			c := s.spread(kind)
			for _, port := range tt.out {
				s.refuse(c, port)
			}
			if got := s.used(c); !slices.Equal(got, tt.want) {
				t.Errorf("%s, on %q in %q, %v are out: %v used, want %v", kind, tt.node, tt.zone, tt.out, got, tt.want)
			}
		}
	}
}

// What is ready is near or far; what is not is of no use, wherever it is.
func TestNearnessFollowsReadiness(t *testing.T) {
	s := newStage(t, 1).at("", "a")
	c := s.cluster(routing.Cluster{})
	put := func(nearIsReady bool) {
		s.set.PutEndpoints(&routing.Endpoints{Cluster: "c", List: []routing.Endpoint{
			{Addr: addr(1), Ready: nearIsReady, ForZones: []string{"a"}},
			{Addr: addr(2), Ready: true, ForZones: []string{"b"}},
			{Addr: addr(3), Ready: true},
		}})
	}
	put(true)
	if got := s.used(c); !slices.Equal(got, []uint16{1}) {
		t.Errorf("%v used, want the near one", got)
	}
	put(false)
	if got := s.used(c); !slices.Equal(got, []uint16{2, 3}) {
		t.Errorf("%v used without a near one, want both others", got)
	}
}

func TestZoneMayBecomeKnownLater(t *testing.T) {
	s := newStage(t, 1)
	c := s.spread(routing.RoundRobin)
	ep := s.endpoint(c, 1)
	for _, tt := range []struct {
		zone string
		want []uint16
	}{
		{"b", []uint16{5, 6, 7, 8}},
		{"a", []uint16{1, 2, 3, 4}},
		{"", []uint16{1, 2, 3, 4, 5, 6, 7, 8}},
	} {
		s.set.SetPlace(Place{Zone: tt.zone})
		if got := s.used(c); !slices.Equal(got, tt.want) {
			t.Errorf("zone %q: %v used, want %v", tt.zone, got, tt.want)
		}
	}
	if s.endpoint(c, 1) != ep || ep.Gone() {
		t.Error("an endpoint lost its health and connections to a word about the zone")
	}
}

func TestSettingsKeepNearness(t *testing.T) {
	s := newStage(t, 1).at("", "a")
	c := s.spread(routing.Random)
	for _, spec := range []routing.Cluster{
		{Name: "c", Balance: routing.Balance{Kind: routing.Random}, ConnectTimeout: time.Second},
		{Name: "c", Balance: routing.Balance{Kind: routing.Maglev}},
	} {
		s.set.Put(&spec)
		if got := s.used(c); !slices.Equal(got, []uint16{1, 2, 3, 4}) {
			t.Errorf("%v used after an edit to %+v, want those of zone a", got, spec)
		}
	}
}

// A retry goes farther away rather than to what has failed it.
func TestRetriesGoFarther(t *testing.T) {
	for _, kind := range kinds {
		s := newStage(t, 1).at("a1", "a")
		c := s.spread(kind)
		want := Want{HasHash: true}
		var order []string
		for range 8 {
			ep, err := c.Pick(s.loops[0], &want)
			if err != nil {
				t.Fatal(err)
			}
			want.Tried = append(want.Tried, ep)
			order = append(order, string(s.stat(ep.Addr().Port()).Near))
		}
		if got := fmt.Sprint(order); got != "[node node zone zone    ]" {
			t.Errorf("%s: tries in the order %v, want both of the node, both of the zone, then others", kind, got)
		}
		if ep, _ := c.Pick(s.loops[0], &want); s.stat(ep.Addr().Port()).Near != SameNode {
			t.Errorf("%s: all tried, and the next is %v: want a near one again", kind, ep.Addr())
		}
	}
}

func TestSessionsStayWhereverTheyAre(t *testing.T) {
	s := newStage(t, 1).at("a1", "a")
	c := s.spread(routing.LeastRequest)
	if got := s.picks(c, 100, Want{Pinned: addr(7)}); got[7] != 100 {
		t.Errorf("picks %v: a session has left its endpoint in another zone", got)
	}
}

// A key has one place for all gateways of a zone.
func TestHashingAgreesWithinAZone(t *testing.T) {
	for _, kind := range []routing.BalanceKind{routing.RingHash, routing.Maglev} {
		one, other := newStage(t, 1).at("", "a"), newStage(t, 1).at("c9", "a")
		if n := moved(one.keys(one.spread(kind), 1000), other.keys(other.spread(kind), 1000)); n != 0 {
			t.Errorf("%s: two gateways of a zone disagree about %d of 1000 keys", kind, n)
		}
		c := one.set.Cluster("c")
		before := one.keys(c, 1000)
		one.refuse(c, 2)
		for i, p := range one.keys(c, 1000) {
			if p != before[i] && before[i] != 2 {
				t.Fatalf("%s: a key of endpoint %d moved though only 2 is out", kind, before[i])
			}
			if p > 4 {
				t.Fatalf("%s: a key went to %d, in another zone, though others here are healthy", kind, p)
			}
		}
	}
}

// The last near endpoint comes back to its share, not to all there is.
func TestReturningEndpointSharesWithTheFar(t *testing.T) {
	for _, kind := range []routing.BalanceKind{routing.LeastRequest, routing.Random, routing.RoundRobin, routing.RingHash} {
		s := newStage(t, 1).at("", "a")
		s.set.Put(&routing.Cluster{Name: "c", Protocol: routing.UpstreamHTTP1, Balance: routing.Balance{Kind: kind}})
		s.set.PutEndpoints(&routing.Endpoints{Cluster: "c", List: []routing.Endpoint{
			{Addr: addr(1), Ready: true, ForZones: []string{"a"}},
			{Addr: addr(2), Ready: true, ForZones: []string{"b"}},
		}})
		c := s.set.Cluster("c")
		s.refuse(c, 1)
		delete(s.answer, addr(1))
		s.run(time.Second)
		// A tenth, and of the nine tenths that are left 1 of 11.
		if got := s.picks(c, 11000, Want{})[1]; got < 1700 || got > 2300 {
			t.Errorf("%s: %d of 11000 picks at a tenth of its share, want about 2000", kind, got)
		}
		s.run(maxReturn)
		if got := s.picks(c, 1000, Want{})[1]; got != 1000 {
			t.Errorf("%s: %d of 1000 picks once it is back, want all", kind, got)
		}
	}
}

func TestReturningNearEndpointIsPickedByItsShare(t *testing.T) {
	for _, kind := range []routing.BalanceKind{routing.LeastRequest, routing.Random, routing.RoundRobin} {
		s := newStage(t, 1).at("a1", "a")
		c := s.spread(kind)
		s.refuse(c, 1)
		delete(s.answer, addr(1))
		s.run(time.Second)
		got := s.picks(c, 11000, Want{})
		// A tenth of the half that it takes otherwise, or a tenth against one whole.
		if got[1] < 440 || got[1] > 1200 || got[1]+got[2] != 11000 {
			t.Errorf("%s: picks %v: endpoint 1 is at a tenth of its share, want 550 to 1000, and the rest for 2", kind, got)
		}
	}
}

func TestNearPickDoesNotAllocate(t *testing.T) {
	for _, kind := range kinds {
		s := newStage(t, 1).at("a1", "a")
		c := s.spread(kind)
		s.refuse(c, 1)
		s.refuse(c, 2) // on to the second choice
		for _, want := range []Want{{}, {Hash: 42, HasHash: true}} {
			run := s.exchange(c, &want)
			for range 100 {
				run()
			}
			if n := testing.AllocsPerRun(1000, run); n != 0 {
				t.Errorf("%s: an exchange allocates %v times, want 0", kind, n)
			}
		}
	}
}

// BenchmarkNear is BenchmarkExchange for a gateway that has two of 8 endpoints
// on its node.
func BenchmarkNear(b *testing.B) {
	for _, kind := range kinds {
		b.Run(string(kind), func(b *testing.B) {
			s := newStage(b, 1).at("a1", "a")
			c := s.spread(kind)
			run := s.exchange(c, &Want{})
			for range 100 {
				run()
			}
			b.ReportAllocs()
			for b.Loop() {
				run()
			}
		})
	}
}
