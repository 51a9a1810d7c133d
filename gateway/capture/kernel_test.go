package capture

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/nftables"

	"fairway.dev/routing"
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

// Names of Gateways are as long as Kubernetes lets them be, those of nftables are
// not; and an attribute of netlink has no more than 64 KiB.
func TestLongNamesFit(t *testing.T) {
	long := strings.Repeat("n", 63) + "/" + strings.Repeat("g", 252)
	gateways := []string{long + "1", long + "2"}
	s := &State{Node: "n1"}
	d := &routing.Delta{}
	for i := range 1000 {
		d.Captures = append(d.Captures, &routing.Capture{
			Name: routing.CaptureName(fmt.Sprint(i)), Addresses: []netip.Addr{netip.AddrFrom16([16]byte{0: 0xfd, 14: byte(i >> 8), 15: byte(i)})},
			Port: 80, Waypoint: gateways[i%2], To: 20001,
		})
	}
	for _, gateway := range gateways {
		d.Endpoints = append(d.Endpoints, &routing.Endpoints{Cluster: routing.WaypointCluster(gateway), List: []routing.Endpoint{endpoint("fd44::1", "n1", "a")}})
	}
	s.Change(d)
	ns, _ := newNS(t)
	k, want := &Kernel{NetNS: int(ns)}, Build(s)
	_, err := k.Put(nil, want)
	must(t, err)
	have, err := k.Read(want)
	must(t, err)
	if have.String() != want.String() || want.Chains[chainTo(gateways[0])] == want.Chains[chainTo(gateways[1])] {
		t.Errorf("the kernel has\n%s\nwant\n%s, with a chain for each of %q", have, want, gateways)
	}
}

func TestATableOfAnotherKindIsMadeAnew(t *testing.T) {
	want := Build(smallState())
	for name, spoil := range map[string]func(c *nftables.Conn){
		"a set has other keys": func(c *nftables.Conn) {
			c.AddSet(&nftables.Set{Table: c.AddTable(table()), Name: "strict4", KeyType: nftables.TypeMark}, []nftables.SetElement{{Key: []byte{1, 2, 3, 4}}})
		},
		"a map is a set": func(c *nftables.Conn) {
			c.AddSet(&nftables.Set{Table: c.AddTable(table()), Name: "ports4", KeyType: nftables.TypeIPAddr}, nil)
		},
		"a base chain is at another hook": func(c *nftables.Conn) {
			c.AddChain(&nftables.Chain{Table: c.AddTable(table()), Name: chainCheck, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter})
		},
		"a chain is a base chain": func(c *nftables.Conn) {
			c.AddChain(&nftables.Chain{Table: c.AddTable(table()), Name: chainToService, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityNATDest})
		},
	} {
		t.Run(name, func(t *testing.T) {
			ns, _ := newNS(t)
			c, err := nftables.New(nftables.WithNetNSFd(int(ns)))
			must(t, err)
			spoil(c)
			must(t, c.Flush())
			k := &Kernel{NetNS: int(ns)}
			d, err := k.Put(nil, want)
			must(t, err)
			have, err := k.Read(want)
			must(t, err)
			if have.String() != want.String() {
				t.Errorf("the kernel has\n%s\nwant\n%s", have, want)
			}
			if name != "a set has other keys" && d.Anew == nil { // those are as long as ours
				t.Error("changed in place, want it made anew")
			}
		})
	}
}
