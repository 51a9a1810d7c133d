package upstream

import (
	"fmt"
	"math"
	"testing"
	"time"

	"fairway.dev/routing"
)

// world puts endpoints at places: port i+1 is at the i-th, "region/zone/subzone"
// and the value of its label "version".
func (s *stage) world(l *routing.Locality, o *routing.OutlierDetection, places ...[4]string) *Cluster {
	s.t.Helper()
	s.set.Put(&routing.Cluster{Name: "c", Protocol: routing.UpstreamHTTP1, Balance: routing.Balance{Locality: l}, Outliers: o})
	var list []routing.Endpoint
	for i, at := range places {
		list = append(list, routing.Endpoint{
			Addr: addr(uint16(i + 1)), Ready: true, Serving: true, Region: at[0], Zone: at[1], SubZone: at[2],
			Labels: map[string]string{"version": at[3]},
		})
	}
	s.set.PutEndpoints(&routing.Endpoints{Cluster: "c", List: list})
	return s.set.Cluster("c")
}

// percent returns how many percent of many picks go to each port, of n.
func (s *stage) percent(c *Cluster, n int) string {
	s.t.Helper()
	got := make([]int, n)
	for port, count := range s.picks(c, 10000, Want{}) {
		got[port-1] = int(math.Round(float64(count)/500)) * 5 // to 5 percent
	}
	return fmt.Sprint(got)
}

var home = Place{Region: "r1", Zone: "z1", SubZone: "s1", Labels: map[string]string{"version": "v1"}}

// localityLbSetting: (!) which place comes first, and who follows.
func TestLocality(t *testing.T) {
	here, subZone, zone, region, far := [4]string{"r1", "z1", "s1", "v1"}, [4]string{"r1", "z1", "s2", "v2"},
		[4]string{"r1", "z2", "s1", "v2"}, [4]string{"r2", "z1", "s1", "v1"}, [4]string{"r3", "z1", "s1", "v2"}
	all := [][4]string{here, subZone, zone, region, far}
	for _, tt := range []struct {
		name string
		at   Place
		l    routing.Locality
		out  []uint16
		want string
	}{
		{"the same subzone", home, routing.Locality{}, nil, "[100 0 0 0 0]"},
		{"then the zone", home, routing.Locality{}, []uint16{1}, "[0 100 0 0 0]"},
		{"then the region", home, routing.Locality{}, []uint16{1, 2}, "[0 0 100 0 0]"},
		{"then any", home, routing.Locality{}, []uint16{1, 2, 3}, "[0 0 0 50 50]"},
		{"failover names the next region", home, routing.Locality{Failover: []routing.Failover{{From: "r1", To: "r3"}}}, []uint16{1, 2, 3}, "[0 0 0 0 100]"},
		{"then the others", home, routing.Locality{Failover: []routing.Failover{{From: "r1", To: "r3"}}}, []uint16{1, 2, 3, 5}, "[0 0 0 100 0]"},
		{"failover of another region", home, routing.Locality{Failover: []routing.Failover{{From: "r2", To: "r3"}}}, []uint16{1, 2, 3}, "[0 0 0 50 50]"},
		{"nobody knows where the gateway is", Place{}, routing.Locality{}, nil, "[20 20 20 20 20]"},
		{"failoverPriority", home, routing.Locality{Priority: []string{"version"}}, nil, "[50 0 0 50 0]"},
		{"failoverPriority with a value", home, routing.Locality{Priority: []string{"version=v2"}}, nil, "[0 35 35 0 35]"},
		{"failoverPriority without labels", Place{Region: "r1"}, routing.Locality{Priority: []string{"version"}}, nil, "[20 20 20 20 20]"},
		{"failoverPriority, then failover", home, routing.Locality{Priority: []string{"version"}, Failover: []routing.Failover{{From: "r1", To: "r2"}}}, nil, "[100 0 0 0 0]"},
		{"distribute", home, routing.Locality{Distribute: []routing.Distribution{{From: "r1/z1/*", To: map[string]uint32{"r1/z1/s1": 70, "r2": 30}}}}, nil, "[70 0 0 30 0]"},
		{"distribute by a pattern", home, routing.Locality{Distribute: []routing.Distribution{{From: "r1/*", To: map[string]uint32{"r1/*": 60, "r1/z1/s1": 40}}}}, nil, "[40 30 30 0 0]"},
		{"distribute: a place that is out", home, routing.Locality{Distribute: []routing.Distribution{{From: "*", To: map[string]uint32{"r1/z1/s1": 50, "r2": 50}}}}, []uint16{1}, "[0 0 0 100 0]"},
		{"distribute of another place", home, routing.Locality{Distribute: []routing.Distribution{{From: "r2", To: map[string]uint32{"r2": 100}}}}, nil, "[20 20 20 20 20]"},
	} {
		s := newStage(t, 1)
		s.set.SetPlace(tt.at)
		c := s.world(&tt.l, &routing.OutlierDetection{Consecutive5xx: 1, MaxPercent: 100}, all...)
		for _, port := range tt.out {
			s.fail(s.endpoint(c, port), 1, Answered(500))
		}
		if got := s.percent(c, len(all)); got != tt.want {
			t.Errorf("%s: %s percent, want %s", tt.name, got, tt.want)
		}
	}
}

// A tier takes all until fewer than 1/1.4 of it are healthy; then the next takes
// what is missing (Envoy's overprovisioning factor).
func TestFailoverSpillsOver(t *testing.T) {
	near, far := [4]string{"r1"}, [4]string{"r2"}
	for _, tt := range []struct {
		out  int // of 4 near ones
		want string
	}{
		{0, "[25 25 25 25 0]"},
		{1, "[0 35 35 35 0]"}, // 3/4 x 1.4 > 1
		{2, "[0 0 35 35 30]"}, // 2/4 x 1.4 = 70 %
		{3, "[0 0 0 35 65]"},  // 1/4 x 1.4 = 35 %
		{4, "[0 0 0 0 100]"},
	} {
		s := newStage(t, 1)
		s.set.SetPlace(Place{Region: "r1"})
		c := s.world(&routing.Locality{}, &routing.OutlierDetection{Consecutive5xx: 1, MaxPercent: 100}, near, near, near, near, far)
		for port := range tt.out {
			s.fail(s.endpoint(c, uint16(port+1)), 1, Answered(500))
		}
		if got := s.percent(c, 5); got != tt.want {
			t.Errorf("%d of 4 are out: %s percent, want %s", tt.out, got, tt.want)
		}
		s.run(40 * time.Second)
		if got := s.percent(c, 5); got != "[25 25 25 25 0]" {
			t.Errorf("%d of 4 were out: %s percent once they are back, want the near ones", tt.out, got)
		}
	}
}

func TestPlaceMayComeLate(t *testing.T) {
	s := newStage(t, 1)
	c := s.world(&routing.Locality{}, nil, [4]string{"r1"}, [4]string{"r2"})
	s.set.SetPlace(Place{Region: "r2"})
	if got := s.percent(c, 2); got != "[0 100]" {
		t.Errorf("%s percent once the gateway knows that it is in r2, want [0 100]", got)
	}
}

// A key has one place in its tier, and another only while that is out.
func TestFailoverKeepsKeys(t *testing.T) {
	for _, kind := range []routing.BalanceKind{routing.RingHash, routing.Maglev} {
		s := newStage(t, 1)
		s.set.SetPlace(Place{Region: "r1"})
		near, far := [4]string{"r1"}, [4]string{"r2"}
		c := s.world(&routing.Locality{}, &routing.OutlierDetection{Consecutive5xx: 1, MaxPercent: 100}, near, near, far)
		s.set.Put(&routing.Cluster{Name: "c", Balance: routing.Balance{Kind: kind, Locality: &routing.Locality{}}, Outliers: c.Spec().Outliers})
		want := &Want{Hash: 12345, HasHash: true}
		for range 2 {
			first := s.picks(c, 100, *want)
			if len(first) != 1 || first[3] != 0 {
				t.Errorf("%s: a key goes to %v, want one of the near ones", kind, first)
			}
			s.fail(s.endpoint(c, 1), 1, Answered(500))
			s.fail(s.endpoint(c, 2), 1, Answered(500))
			if got := s.picks(c, 100, *want); got[3] != 100 {
				t.Errorf("%s: with the near ones out it goes to %v, want the far one", kind, got)
			}
			s.run(time.Minute)
		}
	}
}

func TestPickByTiersDoesNotAllocate(t *testing.T) {
	s := newStage(t, 1)
	s.set.SetPlace(home)
	c := s.world(&routing.Locality{}, nil, [4]string{"r1"}, [4]string{"r2"})
	want := &Want{}
	if n := testing.AllocsPerRun(1000, func() {
		if _, err := c.Pick(s.loops[0], want); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("a pick allocates %v times, want 0", n)
	}
}
