package upstream

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"fairway.dev/routing"
)

// weighted puts a cluster whose endpoints' ports are 1, 2, ... with weights.
func (s *stage) weighted(kind routing.BalanceKind, weights ...uint32) *Cluster {
	s.t.Helper()
	s.set.Put(&routing.Cluster{Name: "c", Balance: routing.Balance{Kind: kind}})
	var list []routing.Endpoint
	for i, w := range weights {
		list = append(list, routing.Endpoint{Addr: addr(uint16(i + 1)), Weight: w, Ready: true})
	}
	s.set.PutEndpoints(&routing.Endpoints{Cluster: "c", List: list})
	return s.set.Cluster("c")
}

func TestRoundRobinIsExact(t *testing.T) {
	for _, weights := range [][]uint32{
		{1}, {0, 0, 0}, {1, 1, 1, 1}, {5, 1, 1}, {10, 20, 30}, {7, 11, 13, 1}, {100, 1},
	} {
		s := newStage(t, 1)
		c := s.weighted(routing.RoundRobin, weights...)
		sum := 0
		for _, w := range weights {
			sum += int(max(w, 1))
		}
		got := s.picks(c, 3*sum, Want{})
		for i, w := range weights {
			if want := 3 * int(max(w, 1)); got[uint16(i+1)] != want {
				t.Errorf("weights %v: endpoint %d got %d of %d, want %d", weights, i, got[uint16(i+1)], 3*sum, want)
			}
		}
	}
}

func TestRoundRobinIsSmooth(t *testing.T) {
	for _, weights := range [][]uint32{{5, 1, 1}, {4, 3, 2, 1}, {8, 8, 1}} {
		s := newStage(t, 1)
		c := s.weighted(routing.RoundRobin, weights...)
		sum := int(totalWeight(c.view.Load().usable))
		last := map[uint16]int{}
		for i := range 5 * sum {
			ep, _ := c.Pick(s.loops[0], &Want{})
			ep.Done(s.loops[0], Success)
			port := ep.Addr().Port()
			if before, ok := last[port]; ok {
				// Turns lie sum/w apart; what others' turns round them by is
				// one for each other endpoint.
				apart, ideal := float64(i-before), float64(sum)/float64(weights[port-1])
				if math.Abs(apart-ideal) > float64(len(weights)-1) {
					t.Errorf("weights %v: endpoint %d's turns are %v apart, want about %v", weights, port, apart, ideal)
				}
			}
			last[port] = i
		}
	}
}

func TestRoundRobinBoundsItsTable(t *testing.T) {
	s := newStage(t, 1)
	c := s.weighted(routing.RoundRobin, 1_000_000, 2_000_003, 1)
	turns := c.view.Load().picker.(*roundRobin).turns
	if len(turns) > maxTurns+3 {
		t.Errorf("%d turns, want about %d at most", len(turns), maxTurns)
	}
	got := s.picks(c, len(turns), Want{})
	if ratio := float64(got[2]) / float64(got[1]); math.Abs(ratio-2) > 0.01 || got[3] != 1 {
		t.Errorf("picks %v for weights 1000000, 2000003, 1", got)
	}
}

func TestRoundRobinSkipsWhatIsOut(t *testing.T) {
	s := newStage(t, 1)
	c := s.weighted(routing.RoundRobin, 1, 1, 1)
	s.refuse(c, 2)
	got := s.picks(c, 300, Want{})
	if got[1] != 150 || got[3] != 150 {
		t.Errorf("picks %v with endpoint 2 out, want 150 each: its turns fall to both", got)
	}
}

func TestRandomKindsFollowWeights(t *testing.T) {
	const n = 60000
	for _, kind := range []routing.BalanceKind{"", routing.LeastRequest, routing.Random, routing.RingHash, routing.Maglev} {
		for _, weights := range [][]uint32{{1, 1, 1}, {1, 2, 3}, {1, 9}, {50, 1, 30, 7}} {
			s := newStage(t, 1)
			c := s.weighted(kind, weights...)
			got := s.picks(c, n, Want{}) // without load, and without a hash
			sum := totalWeight(c.view.Load().usable)
			for i, w := range weights {
				want := n * float64(w) / float64(sum)
				if off := math.Abs(float64(got[uint16(i+1)]) - want); off > 5*math.Sqrt(want) {
					t.Errorf("%q, weights %v: endpoint %d got %d of %d, want about %.0f", kind, weights, i, got[uint16(i+1)], n, want)
				}
			}
		}
	}
}

func TestAliasTableIsExact(t *testing.T) {
	for _, weights := range [][]uint32{{1, 2}, {1, 2, 3, 4, 5}, {1, 1000000}, {7, 7, 7, 8}, {math.MaxUint32, 1, 5}} {
		var members []*member
		for _, w := range weights {
			members = append(members, &member{weight: w})
		}
		shares := make([]float64, len(weights))
		for i, c := range newAlias(members) {
			own := float64(c.own) / (1 << 32)
			shares[i] += own
			shares[c.other] += 1 - own
		}
		for i, w := range weights {
			want := float64(w) / float64(totalWeight(members)) * float64(len(weights))
			if math.Abs(shares[i]-want) > 1e-8 {
				t.Errorf("weights %v: %d has %v columns, want %v", weights, i, shares[i], want)
			}
		}
	}
}

func TestLeastRequestPrefersTheLessLoaded(t *testing.T) {
	s := newStage(t, 1)
	c := s.weighted(routing.LeastRequest, 1, 1)
	s.endpoint(c, 1).inFlight.Add(3)
	if got := s.picks(c, 100, Want{}); got[2] != 100 {
		t.Errorf("picks %v, want all for the one without load: of two endpoints both are looked at", got)
	}
}

func TestLeastRequestKeepsLoadEven(t *testing.T) {
	for _, weights := range [][]uint32{{1, 1, 1, 1, 1, 1, 1, 1}, {1, 2, 4, 8}} {
		s := newStage(t, 1)
		c := s.weighted(routing.LeastRequest, weights...)
		const n = 30000
		for range n {
			c.Pick(s.loops[0], &Want{})
		}
		for i, w := range weights {
			got := float64(s.endpoint(c, uint16(i+1)).inFlight.Load())
			want := n * float64(w) / float64(totalWeight(c.view.Load().usable))
			if math.Abs(got-want) > 0.01*want+2 {
				t.Errorf("weights %v: endpoint %d has %v under way, want %.0f", weights, i, got, want)
			}
		}
	}
}

func TestTriedEndpointsAreAvoided(t *testing.T) {
	for _, kind := range []routing.BalanceKind{routing.LeastRequest, routing.Random, routing.RoundRobin, routing.RingHash, routing.Maglev} {
		s := newStage(t, 1)
		c := s.weighted(kind, 100, 1, 1)
		heavy := s.endpoint(c, 1)
		for _, hashed := range []bool{false, true} {
			for hash := range uint64(100) {
				want := Want{Hash: mix(hash), HasHash: hashed, Tried: []*Endpoint{heavy}}
				if ep, _ := c.Pick(s.loops[0], &want); ep == heavy {
					t.Fatalf("%s: picked again what was tried", kind)
				}
			}
		}
		all := Want{Tried: []*Endpoint{heavy, s.endpoint(c, 2), s.endpoint(c, 3)}}
		if _, err := c.Pick(s.loops[0], &all); err != nil {
			t.Errorf("%s, all tried: %v, want any", kind, err)
		}
	}
}

func TestTriedAndHealthyComesBeforeOut(t *testing.T) {
	s := newStage(t, 1)
	c := s.weighted(routing.LeastRequest, 1, 1)
	s.refuse(c, 2)
	if got := s.picks(c, 50, Want{Tried: []*Endpoint{s.endpoint(c, 1)}}); got[1] != 50 {
		t.Errorf("picks %v: want the healthy one again, rather than one that refuses", got)
	}
}

func TestMostOutStillFindsTheRest(t *testing.T) {
	for _, kind := range []routing.BalanceKind{routing.LeastRequest, routing.Random, routing.RoundRobin, routing.RingHash, routing.Maglev} {
		s := newStage(t, 1)
		c := s.weighted(kind, slices.Repeat([]uint32{1}, 200)...)
		for port := uint16(1); port < 200; port++ {
			s.endpoint(c, port).health.beginRefusing()
		}
		for hash := range uint64(100) {
			ep, err := c.Pick(s.loops[0], &Want{Hash: mix(hash), HasHash: true})
			if err != nil || ep.Addr() != addr(200) {
				t.Fatalf("%s: picked %v, %v; want the only healthy one of 200", kind, ep.Addr(), err)
			}
		}
	}
}

func TestPinnedEndpoint(t *testing.T) {
	s := newStage(t, 1)
	c := s.cluster(routing.Cluster{}, 1, 2, 3)
	pin := Want{Pinned: addr(2)}
	if got := s.picks(c, 100, pin); got[2] != 100 {
		t.Errorf("picks %v, want all for the pinned one", got)
	}
	tried := Want{Pinned: addr(2), Tried: []*Endpoint{s.endpoint(c, 2)}}
	if got := s.picks(c, 100, tried); got[2] != 0 {
		t.Error("the pinned one was picked though it had been tried")
	}
	s.set.PutEndpoints(&routing.Endpoints{Cluster: "c", List: []routing.Endpoint{
		{Addr: addr(1), Ready: true, Serving: true},
		{Addr: addr(2), Serving: true, Terminating: true},
	}})
	if got := s.picks(c, 100, pin); got[2] != 100 {
		t.Errorf("picks %v: a session stays while its endpoint serves and terminates", got)
	}
	s.refuse(c, 2)
	if got := s.picks(c, 100, pin); got[2] != 0 {
		t.Error("the pinned one was picked though it refuses connections")
	}
	if got := s.picks(c, 100, Want{Pinned: addr(9)}); got[1] != 100 {
		t.Errorf("picks %v for a pin that is gone, want another", got)
	}
}

func TestEndpointConditions(t *testing.T) {
	ready := routing.Endpoint{Ready: true, Serving: true}
	leaving := routing.Endpoint{Serving: true, Terminating: true}
	down := routing.Endpoint{}
	gone := routing.Endpoint{Terminating: true}
	for _, tt := range []struct {
		list []routing.Endpoint
		used []bool
	}{
		{[]routing.Endpoint{ready, leaving, down}, []bool{true, false, false}},
		{[]routing.Endpoint{leaving, down, gone}, []bool{true, false, false}}, // the last resort
		{[]routing.Endpoint{down, gone}, []bool{false, false}},
		{nil, nil},
	} {
		s := newStage(t, 1)
		c := s.cluster(routing.Cluster{})
		any := false
		for i := range tt.list {
			tt.list[i].Addr = addr(uint16(i + 1))
			any = any || tt.used[i]
		}
		s.set.PutEndpoints(&routing.Endpoints{Cluster: "c", List: tt.list})
		if _, err := c.Pick(s.loops[0], &Want{}); (err == nil) != any {
			t.Errorf("endpoints %v: %v", tt.list, err)
		}
		for i, want := range tt.used {
			if got := s.stat(uint16(i + 1)).Used; got != want {
				t.Errorf("endpoints %v: number %d used = %v, want %v", tt.list, i, got, want)
			}
		}
	}
}

// keys picks an endpoint for each of n keys.
func (s *stage) keys(c *Cluster, n int) []uint16 {
	s.t.Helper()
	ports := make([]uint16, n)
	for i := range ports {
		ep, err := c.Pick(s.loops[0], &Want{Hash: newDigest.write(fmt.Sprint("key", i)).sum(), HasHash: true})
		if err != nil {
			s.t.Fatal(err)
		}
		ep.Done(s.loops[0], Success)
		ports[i] = ep.Addr().Port()
	}
	return ports
}

func moved(a, b []uint16) (n int) {
	for i := range a {
		if a[i] != b[i] {
			n++
		}
	}
	return n
}

func TestHashingIsConsistent(t *testing.T) {
	const n, keys = 20, 20000
	for _, kind := range []routing.BalanceKind{routing.RingHash, routing.Maglev} {
		s := newStage(t, 1)
		c := s.weighted(kind, slices.Repeat([]uint32{1}, n)...)
		before := s.keys(c, keys)
		for port := range uint16(n) {
			count := 0
			for _, p := range before {
				if p == port+1 {
					count++
				}
			}
			if count < keys/n/2 || count > keys/n*3/2 {
				t.Errorf("%s: endpoint %d has %d of %d keys, want about %d", kind, port, count, keys, keys/n)
			}
		}
		if m := moved(before, s.keys(c, keys)); m != 0 {
			t.Errorf("%s: %d keys moved for nothing", kind, m)
		}

		s.weighted(kind, slices.Repeat([]uint32{1}, n+1)...)
		// One of 21 must move; maglev moves few more.
		if m := moved(before, s.keys(c, keys)); m < keys/(n+1)/2 || m > keys/(n+1)*2 {
			t.Errorf("%s: %d of %d keys moved when the 21st endpoint came, want about %d", kind, m, keys, keys/(n+1))
		}

		s.weighted(kind, slices.Repeat([]uint32{1}, n)...)
		if m := moved(before, s.keys(c, keys)); m != 0 {
			t.Errorf("%s: %d keys are elsewhere after it left", kind, m)
		}
		s.refuse(c, 7)
		for i, p := range s.keys(c, keys) {
			if p != before[i] && before[i] != 7 {
				t.Fatalf("%s: a key of endpoint %d moved though only 7 is out", kind, before[i])
			}
		}
	}
}

func TestHashingSpreadsKeysOfWhatIsOut(t *testing.T) {
	for _, kind := range []routing.BalanceKind{routing.RingHash, routing.Maglev} {
		s := newStage(t, 1)
		c := s.weighted(kind, 1, 1, 1, 1, 1)
		before := s.keys(c, 10000)
		s.refuse(c, 3)
		heirs := map[uint16]int{}
		for i, p := range s.keys(c, 10000) {
			if before[i] == 3 {
				heirs[p]++
			}
		}
		if len(heirs) != 4 {
			t.Errorf("%s: the keys of endpoint 3 go to %v, want all four others to share them", kind, heirs)
		}
	}
}

func TestHashingIgnoresTheOrderOfTheList(t *testing.T) {
	for _, kind := range []routing.BalanceKind{routing.RingHash, routing.Maglev} {
		s := newStage(t, 1)
		c := s.cluster(routing.Cluster{Balance: routing.Balance{Kind: kind}}, 1, 2, 3, 4, 5)
		before := s.keys(c, 1000)
		s.endpoints(4, 2, 5, 1, 3)
		if m := moved(before, s.keys(c, 1000)); m != 0 {
			t.Errorf("%s: %d keys of 1000 moved when the list was shuffled: another gateway's may be", kind, m)
		}
	}
}

func TestHashingFollowsWeights(t *testing.T) {
	for _, kind := range []routing.BalanceKind{routing.RingHash, routing.Maglev} {
		s := newStage(t, 1)
		c := s.weighted(kind, 1, 2, 5)
		count := map[uint16]int{}
		for _, p := range s.keys(c, 8000) {
			count[p]++
		}
		for i, want := range []int{1000, 2000, 5000} {
			if got := count[uint16(i+1)]; got < want*7/10 || got > want*13/10 {
				t.Errorf("%s: %v keys for weights 1, 2, 5", kind, count)
			}
		}
	}
}

func TestTablesAreBounded(t *testing.T) {
	weights := make([]uint32, 3000)
	for i := range weights {
		weights[i] = uint32(i%7)*1_000_000 + 1
	}
	s := newStage(t, 1)
	c := s.weighted(routing.RingHash, weights...)
	if n := len(c.view.Load().picker.(*ring).points); n > ringSize+len(weights) {
		t.Errorf("ring of %d points, want about %d at most", n, ringSize)
	}
	c = s.weighted(routing.Maglev, weights...)
	if n := len(c.view.Load().picker.(*maglev).slots); n != maglevSize {
		t.Errorf("maglev table of %d slots, want %d", n, maglevSize)
	}
}

func TestHashingIsConsistentWhereMostAreOut(t *testing.T) {
	for _, kind := range []routing.BalanceKind{routing.RingHash, routing.Maglev} {
		s := newStage(t, 1)
		c := s.weighted(kind, slices.Repeat([]uint32{1}, 500)...)
		for port := uint16(1); port <= 490; port++ {
			s.endpoint(c, port).health.beginRefusing()
		}
		if m := moved(s.keys(c, 1000), s.keys(c, 1000)); m != 0 {
			t.Errorf("%s: %d of 1000 keys went elsewhere the second time", kind, m)
		}
	}
}
