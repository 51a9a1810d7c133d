package capture

import (
	"net/netip"
	"testing"

	"fairway.dev/routing"
)

// A canary has its share of the pods that connections of workloads without a
// waypoint of their own go to, as long as it and the waypoint have pods.
func TestCanariesHaveTheirShare(t *testing.T) {
	client, service := netip.MustParseAddrPort("10.0.0.1:1000"), netip.MustParseAddrPort("10.96.0.5:80")
	pods := func(gateway string, addrs ...string) *routing.Endpoints {
		e := &routing.Endpoints{Cluster: routing.WaypointCluster(gateway)}
		for _, a := range addrs {
			e.List = append(e.List, routing.Endpoint{Addr: netip.AddrPortFrom(netip.MustParseAddr(a), 15008), Ready: true})
		}
		return e
	}
	tests := []struct {
		name    string
		percent uint8
		first   []string
		next    []string
		want    map[string]int // slots by pod; nil: refused
	}{
		{"a share", 20, []string{"10.0.0.2", "10.0.0.3"}, []string{"10.0.0.4"}, map[string]int{"10.0.0.2": 40, "10.0.0.3": 40, "10.0.0.4": 20}},
		{"all", 100, []string{"10.0.0.2"}, []string{"10.0.0.4"}, map[string]int{"10.0.0.4": 100}},
		{"nothing", 0, []string{"10.0.0.2"}, []string{"10.0.0.4"}, map[string]int{"10.0.0.2": 1}},
		{"without pods", 20, []string{"10.0.0.2"}, nil, map[string]int{"10.0.0.2": 1}},
		{"beside a waypoint without pods", 20, nil, []string{"10.0.0.4"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := &State{Node: "one"}
			s.Change(&routing.Delta{
				Workloads: []*routing.Workload{{Name: "web/front", Addresses: []netip.Addr{client.Addr()}, Node: "one", Captured: true}},
				Captures: []*routing.Capture{{
					Name: "shop/cart:80", Addresses: []netip.Addr{service.Addr()}, Port: 80, Waypoint: "shop/waypoint", To: 20001,
					Canary: &routing.Canary{Gateway: "shop/next", Percent: tt.percent},
				}},
				Endpoints: []*routing.Endpoints{pods("shop/waypoint", tt.first...)},
			})
			Build(s) // before the canary has pods
			s.Change(&routing.Delta{Endpoints: []*routing.Endpoints{pods("shop/next", tt.next...)}})
			to, why := Build(s).outcome(packet{client, service})
			got := map[string]int{}
			for _, at := range to {
				got[at.Addr().String()]++
			}
			if tt.want == nil {
				if why != WaypointNotReady {
					t.Errorf("it goes to %v (%s), want it refused: %s", to, why, WaypointNotReady)
				}
				return
			}
			for addr, n := range tt.want {
				if got[addr] != n || len(got) != len(tt.want) {
					t.Errorf("it goes to %v (%s), want %v", got, why, tt.want)
				}
			}
			gone := &routing.Delta{}
			gone.Removed.Captures = []routing.CaptureName{"shop/cart:80"}
			s.Change(gone)
			if to, _ := Build(s).outcome(packet{client, service}); len(to) != 1 || to[0] != service {
				t.Errorf("once nothing is captured it goes to %v", to)
			}
		})
	}
}
