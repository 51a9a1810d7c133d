package capture

import (
	"testing"

	"fairway.dev/routing"
	"net/netip"
)

func addrs(list ...string) (out []netip.Addr) {
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func endpoint(addr, node, zone string) routing.Endpoint {
	return routing.Endpoint{Addr: netip.AddrPortFrom(netip.MustParseAddr(addr), 15008), Node: node, Zone: zone, Ready: true, Serving: true}
}

func smallState() *State {
	s := &State{Node: "n1", Zone: "a"}
	s.Change(&routing.Delta{
		Captures: []*routing.Capture{
			{Name: "shop/cart:80", Addresses: addrs("10.96.0.5", "fd96::5"), Port: 80, Waypoint: "shop/waypoint", To: 20001},
			{Name: "shop/new:80", Addresses: addrs("10.96.0.6"), Port: 80, Waypoint: "shop/waypoint"},
			{Name: "bank/x:80", Addresses: addrs("10.96.0.7"), Port: 80, Waypoint: "bank/waypoint", To: 20002},
		},
		Workloads: []*routing.Workload{
			{Name: "a/p", Addresses: addrs("10.244.1.2", "fd44::2"), Node: "n1", Captured: true, Gateways: []string{"shop/waypoint"}},
			{Name: "a/q", Addresses: addrs("10.244.1.3"), Node: "n1", Captured: true, Strict: true, Open: []uint16{9090}},
			{Name: "a/r", Addresses: addrs("10.244.1.4"), Node: "n1", Captured: true, Gateways: []string{"bank/waypoint"}, StrictPorts: []uint16{8080}},
		},
		Endpoints: []*routing.Endpoints{
			{Cluster: "mesh/shop/waypoint", List: []routing.Endpoint{endpoint("10.244.1.9", "n1", "a"), endpoint("10.244.2.9", "n2", "a"), endpoint("fd44:2::9", "n2", "b")}},
			{Cluster: "mesh/bank/waypoint"},
		},
	})
	return s
}

func TestKernelHasWhatWasPut(t *testing.T) {
	ns, _ := newNS(t)
	k := &Kernel{NetNS: int(ns)}
	want := Build(smallState())
	if _, err := k.Put(nil, want); err != nil {
		t.Fatal(err)
	}
	have, err := k.Read(want)
	if err != nil {
		t.Fatal(err)
	}
	if got := have.String(); got != want.String() {
		t.Errorf("the kernel has\n%s\nwant\n%s", got, want)
	}
}
