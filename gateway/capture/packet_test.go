package capture

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"

	"fairway.dev/routing"
)

// A world is a node with two client pods, the pods of two waypoints and one of
// the Service shop/cart, and a Kernel in front of it.
type world struct {
	*node
	t                            *testing.T
	kernel                       *Kernel
	state                        *State
	have                         *Ruleset
	client, plain, cart          *pod
	shop, shop2, bank            *pod
	clientWorkload, cartWorkload *routing.Workload
	cartCapture, otherCapture    *routing.Capture
	cartVIP, otherVIP            map[Family]netip.Addr
}

const (
	cartPort, otherPort = 80, 81
	cartTo, otherTo     = 20001, 20002
)

func newWorld(t *testing.T) *world {
	n := newNode(t)
	w := &world{node: n, t: t, kernel: &Kernel{NetNS: int(n.ns)}, state: &State{Node: "n1", Zone: "a"}}
	w.client, w.plain, w.cart = n.pod("client"), n.pod("plain"), n.pod("cart")
	w.shop, w.shop2, w.bank = n.pod("shop"), n.pod("shop2"), n.pod("bank")
	for _, p := range []*pod{w.shop, w.shop2, w.bank} {
		p.serve(cartTo)
		p.serve(otherTo)
	}
	w.cart.serve(8080)
	w.cart.serve(9090)
	w.cartVIP = map[Family]netip.Addr{IPv4: netip.MustParseAddr("10.96.0.5"), IPv6: netip.MustParseAddr("fd96::5")}
	w.otherVIP = map[Family]netip.Addr{IPv4: netip.MustParseAddr("10.96.0.6"), IPv6: netip.MustParseAddr("fd96::6")}
	w.cartCapture = &routing.Capture{Name: "shop/cart:80", Addresses: addrs("10.96.0.5", "fd96::5"), Port: cartPort, Waypoint: "shop/waypoint", To: cartTo}
	w.otherCapture = &routing.Capture{Name: "bank/other:81", Addresses: addrs("10.96.0.6", "fd96::6"), Port: otherPort, Waypoint: "bank/waypoint", To: otherTo}
	w.clientWorkload = &routing.Workload{Name: "a/client", Addresses: []netip.Addr{w.client.v4, w.client.v6}, Node: "n1", Captured: true}
	w.cartWorkload = &routing.Workload{Name: "shop/cart", Addresses: []netip.Addr{w.cart.v4, w.cart.v6}, Node: "n1"}
	w.change(&routing.Delta{
		Captures:  []*routing.Capture{w.cartCapture, w.otherCapture},
		Workloads: []*routing.Workload{w.clientWorkload, w.cartWorkload},
		Endpoints: []*routing.Endpoints{waypoint("shop", "n1", "a", w.shop), waypoint("bank", "n1", "a", w.bank)},
	})
	return w
}

// waypoint is the endpoints of NAMESPACE/waypoint: pods, all at one place.
func waypoint(namespace, node, zone string, pods ...*pod) *routing.Endpoints {
	e := &routing.Endpoints{Cluster: routing.WaypointCluster(namespace + "/waypoint")}
	for _, p := range pods {
		e.List = append(e.List, endpoint(p.v4.String(), node, zone), endpoint(p.v6.String(), node, zone))
	}
	return e
}

// change puts d in force.
func (w *world) change(d *routing.Delta) {
	w.t.Helper()
	w.state.Change(d)
	want := Build(w.state)
	_, err := w.kernel.Put(w.have, want)
	must(w.t, err)
	w.have = want
}

// from is what a server says that a pod's connection came to and from.
func from(server, client *pod, f Family) string {
	return fmt.Sprintf("%s %s", server.name, client.addr(f))
}

func (w *world) want(p *pod, to netip.Addr, port uint16, want string) {
	w.t.Helper()
	if got := p.ask(to, port); got != want {
		w.t.Errorf("%s to %s: %q answers, want %q", p.name, netip.AddrPortFrom(to, port), got, want)
	}
}

func TestCapturedConnectionsGoToTheServicesWaypoint(t *testing.T) {
	w := newWorld(t)
	for _, f := range families {
		w.want(w.client, w.cartVIP[f], cartPort, from(w.shop, w.client, f))
		w.want(w.client, w.otherVIP[f], otherPort, from(w.bank, w.client, f))
	}
}

func TestCapturedConnectionsGoToTheWorkloadsOwnWaypoint(t *testing.T) {
	w := newWorld(t)
	own := *w.clientWorkload
	own.Gateways = []string{"bank/waypoint"}
	w.change(&routing.Delta{Workloads: []*routing.Workload{&own}})
	for _, f := range families {
		w.want(w.client, w.cartVIP[f], cartPort, from(w.bank, w.client, f))
		w.want(w.client, w.otherVIP[f], otherPort, from(w.bank, w.client, f))
	}
}

func TestOnlyWhatIsCapturedGoesToAWaypoint(t *testing.T) {
	w := newWorld(t)
	w.kubeProxy(nftables.TableFamilyIPv4)
	w.want(w.plain, w.cartVIP[IPv4], cartPort, from(w.cart, w.plain, IPv4))   // a pod that is not enrolled
	w.want(w.shop, w.cartVIP[IPv4], cartPort, from(w.cart, w.shop, IPv4))     // a pod of a waypoint
	w.want(w.client, w.cartVIP[IPv4], 8080, from(w.cart, w.client, IPv4))     // another port
	w.want(w.client, w.cart.v4, 8080, from(w.cart, w.client, IPv4))           // a pod's address
	w.want(w.client, w.cartVIP[IPv4], cartPort, from(w.shop, w.client, IPv4)) // and what is
}

// A pod of a waypoint may be a workload, too, of a namespace that is enrolled.
func TestPodsOfWaypointsAreNeverCaptured(t *testing.T) {
	w := newWorld(t)
	w.kubeProxy(nftables.TableFamilyIPv4)
	w.change(&routing.Delta{Workloads: []*routing.Workload{
		{Name: "shop/waypoint-1", Addresses: []netip.Addr{w.shop.v4}, Node: "n1", Captured: true, Strict: true, Gateways: []string{"shop/waypoint"}},
	}})
	w.want(w.shop, w.cartVIP[IPv4], cartPort, from(w.cart, w.shop, IPv4))
	w.want(w.client, w.cartVIP[IPv4], cartPort, from(w.shop, w.client, IPv4)) // nor strict
}

func TestNearPodsOfAWaypointComeFirst(t *testing.T) {
	w := newWorld(t)
	near, zone, far := waypoint("shop", "n1", "a", w.shop), waypoint("shop", "n2", "a", w.shop2), waypoint("shop", "n3", "b", w.bank)
	all := func(lists ...*routing.Endpoints) *routing.Delta {
		e := &routing.Endpoints{Cluster: near.Cluster}
		for _, l := range lists {
			e.List = append(e.List, l.List...)
		}
		return &routing.Delta{Endpoints: []*routing.Endpoints{e}}
	}
	for _, f := range families {
		w.change(all(far, zone, near))
		w.want(w.client, w.cartVIP[f], cartPort, from(w.shop, w.client, f))
		w.change(all(far, zone))
		w.want(w.client, w.cartVIP[f], cartPort, from(w.shop2, w.client, f))
		w.change(all(far))
		w.want(w.client, w.cartVIP[f], cartPort, from(w.bank, w.client, f))
	}
}

func TestPodsOfOnePlaceShareConnections(t *testing.T) {
	w := newWorld(t)
	w.change(&routing.Delta{Endpoints: []*routing.Endpoints{waypoint("shop", "n1", "a", w.shop, w.shop2)}})
	seen := map[string]int{}
	for range 64 { // all at one: once in 2^63 runs
		seen[w.client.ask(w.cartVIP[IPv4], cartPort)]++
	}
	if seen[from(w.shop, w.client, IPv4)] == 0 || seen[from(w.shop2, w.client, IPv4)] == 0 || len(seen) != 2 {
		t.Errorf("64 connections went to %v, want some to each of two", seen)
	}
}

// Law 15 of the mesh: enrolled and without a ready waypoint means refused.
func TestWithoutAWaypointConnectionsAreRefused(t *testing.T) {
	none := func(e *routing.Endpoints) *routing.Delta {
		for i := range e.List {
			e.List[i].Ready = false
		}
		return &routing.Delta{Endpoints: []*routing.Endpoints{e}}
	}
	removed := &routing.Delta{}
	removed.Removed.Clusters = []routing.ClusterName{"mesh/shop/waypoint"}
	tests := []struct {
		name   string
		why    Refusal
		change func(w *world) *routing.Delta
	}{
		{"no pod is ready", WaypointNotReady, func(w *world) *routing.Delta { return none(waypoint("shop", "n1", "a", w.shop)) }},
		{"there is no waypoint", WaypointNotReady, func(*world) *routing.Delta { return removed }},
		{"the Service names none", WaypointNotReady, func(w *world) *routing.Delta {
			c := *w.cartCapture
			c.Waypoint = ""
			return &routing.Delta{Captures: []*routing.Capture{&c}}
		}},
		{"the workload's own is not ready", WaypointNotReady, func(w *world) *routing.Delta {
			own := *w.clientWorkload
			own.Gateways = []string{"elsewhere/waypoint"}
			return &routing.Delta{Workloads: []*routing.Workload{&own}}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.kubeProxy(nftables.TableFamilyIPv4)
			w.kubeProxy(nftables.TableFamilyIPv6)
			w.change(tt.change(w))
			for _, f := range families {
				w.want(w.client, w.cartVIP[f], cartPort, "refused")
				w.want(w.plain, w.cartVIP[f], cartPort, from(w.cart, w.plain, f)) // who is not captured does not care
			}
			refused, err := w.kernel.Refused()
			must(t, err)
			if want := map[Refusal]uint64{WaypointNotReady: 0, PortNotAllocated: 0, WaypointRequired: 0, tt.why: 2}; !maps.Equal(refused, want) {
				t.Errorf("refused %v, want %v", refused, want)
			}
		})
	}
}

func TestStrictPodsTakeConnectionsFromWaypointsOnly(t *testing.T) {
	w := newWorld(t)
	strict := *w.cartWorkload
	strict.Strict, strict.Open = true, []uint16{9090}
	w.change(&routing.Delta{Workloads: []*routing.Workload{&strict}})
	for _, f := range families {
		w.want(w.client, w.cart.addr(f), 8080, "refused")                   // round the waypoint
		w.want(w.plain, w.cart.addr(f), 8080, "refused")                    // nobody's pod
		w.want(w.bank, w.cart.addr(f), 8080, from(w.cart, w.bank, f))       // a waypoint
		w.want(w.plain, w.cart.addr(f), 9090, from(w.cart, w.plain, f))     // a port that takes all
		w.want(w.client, w.cartVIP[f], cartPort, from(w.shop, w.client, f)) // by the waypoint
	}
	// The kubelet's probes come from the node.
	if got := ask(t, w.ns, netip.AddrPortFrom(w.cart.v4, 8080)); !strings.HasPrefix(got, "cart ") {
		t.Errorf("a probe of the node has %q, want an answer", got)
	}
	refused, err := w.kernel.Refused()
	must(t, err)
	if refused[WaypointRequired] != 4 {
		t.Errorf("refused %v, want 4 that do not come from a waypoint", refused)
	}
}

func TestStrictPortsTakeConnectionsFromWaypointsOnly(t *testing.T) {
	w := newWorld(t)
	strict := *w.cartWorkload
	strict.StrictPorts = []uint16{8080}
	w.change(&routing.Delta{Workloads: []*routing.Workload{&strict}})
	for _, f := range families {
		w.want(w.plain, w.cart.addr(f), 8080, "refused")
		w.want(w.bank, w.cart.addr(f), 8080, from(w.cart, w.bank, f))
		w.want(w.plain, w.cart.addr(f), 9090, from(w.cart, w.plain, f))
	}
}

// What is open stays open, whatever the rules become.
func TestOpenConnectionsStay(t *testing.T) {
	w := newWorld(t)
	c, err := dial(w.client.ns, netip.AddrPortFrom(w.cartVIP[IPv4], cartPort))
	must(t, err)
	defer c.Close()
	direct, err := dial(w.plain.ns, netip.AddrPortFrom(w.cart.v4, 8080))
	must(t, err)
	defer direct.Close()
	hear(t, c)
	hear(t, direct)
	strict := *w.cartWorkload
	strict.Strict = true
	gone := &routing.Delta{Workloads: []*routing.Workload{&strict}}
	gone.Removed.Clusters = []routing.ClusterName{"mesh/shop/waypoint"}
	w.change(gone)
	for _, c := range []interface {
		Write([]byte) (int, error)
	}{c, direct} {
		_, err := c.Write([]byte("more\n"))
		must(t, err)
	}
	if got := hear(t, c); got != "more" {
		t.Errorf("the captured connection has %q, want an echo", got)
	}
	if got := hear(t, direct); got != "more" {
		t.Errorf("the direct connection has %q, want an echo", got)
	}
	w.want(w.client, w.cartVIP[IPv4], cartPort, "refused")
	w.want(w.plain, w.cart.v4, 8080, "refused")
}

// An agent that comes back finds the table and changes what differs, in both
// directions; whoever had it before may have crashed.
func TestRestart(t *testing.T) {
	w := newWorld(t)
	w.want(w.client, w.cartVIP[IPv4], cartPort, from(w.shop, w.client, IPv4))
	again := &Kernel{NetNS: int(w.ns)}
	d, err := again.Put(nil, w.have)
	must(t, err)
	if !d.Empty() {
		t.Errorf("a restart with nothing new changed %d things, want none", d.Size())
	}
	w.state.Change(&routing.Delta{Endpoints: []*routing.Endpoints{waypoint("shop", "n1", "a", w.shop2)}})
	d, err = again.Put(nil, Build(w.state))
	must(t, err)
	if len(d.Remove) != 4 || len(d.Add) != 4 || d.Size() > 12 { // waypoints and pods, of both families
		t.Errorf("a restart with another pod changed %+v, want that pod's elements", d)
	}
	w.want(w.client, w.cartVIP[IPv4], cartPort, from(w.shop2, w.client, IPv4))
}

func TestRemoveLeavesNothing(t *testing.T) {
	w := newWorld(t)
	w.kubeProxy(nftables.TableFamilyIPv4)
	for range 2 { // and there being nothing is no error
		must(t, w.kernel.Remove())
	}
	w.want(w.client, w.cartVIP[IPv4], cartPort, from(w.cart, w.client, IPv4))
	c, err := nftables.New(nftables.WithNetNSFd(int(w.ns)))
	must(t, err)
	tables, err := c.ListTablesOfFamily(nftables.TableFamilyINet)
	must(t, err)
	if len(tables) != 0 {
		t.Errorf("%d tables are left, want none", len(tables))
	}
}

// kubeProxy adds what kube-proxy does for shop/cart in its mode nftables: at
// priority dstnat, port 80 and 8080 of the Service's address are those of the pod.
func (w *world) kubeProxy(family nftables.TableFamily) {
	w.t.Helper()
	c, err := nftables.New(nftables.WithNetNSFd(int(w.ns)))
	must(w.t, err)
	t := c.AddTable(&nftables.Table{Name: "kube-proxy", Family: family})
	chain := c.AddChain(&nftables.Chain{Name: "nat-prerouting", Table: t, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityNATDest})
	f, offset, proto := IPv4, uint32(16), uint32(unix.NFPROTO_IPV4)
	if family == nftables.TableFamilyIPv6 {
		f, offset, proto = IPv6, 24, unix.NFPROTO_IPV6
	}
	for _, port := range []uint16{cartPort, 8080} {
		c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: []expr.Any{
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: uint32(f.bytes())},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: w.cartVIP[f].AsSlice()},
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(port)},
			&expr.Immediate{Register: 1, Data: w.cart.addr(f).AsSlice()},
			&expr.Immediate{Register: 2, Data: binaryutil.BigEndian.PutUint16(8080)},
			&expr.NAT{Type: expr.NATTypeDestNAT, Family: proto, RegAddrMin: 1, RegProtoMin: 2},
		}})
	}
	must(w.t, c.Flush())
}

// xtables adds what kube-proxy does for shop/cart in its mode iptables, as
// iptables-nft writes it: a chain PREROUTING of the table nat with a target DNAT
// of xtables.
func (w *world) xtables(family nftables.TableFamily) {
	w.t.Helper()
	c, err := nftables.New(nftables.WithNetNSFd(int(w.ns)))
	must(w.t, err)
	t := c.AddTable(&nftables.Table{Name: "nat", Family: family})
	chain := c.AddChain(&nftables.Chain{Name: "PREROUTING", Table: t, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityNATDest})
	f, offset := IPv4, uint32(16)
	if family == nftables.TableFamilyIPv6 {
		f, offset = IPv6, 24
	}
	const addressAndPort = 1<<0 | 1<<1 // NF_NAT_RANGE_MAP_IPS, NF_NAT_RANGE_PROTO_SPECIFIED
	to := net.IP(w.cart.addr(f).AsSlice())
	c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: uint32(f.bytes())},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: w.cartVIP[f].AsSlice()},
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
		&expr.Target{Name: "DNAT", Rev: 2, Info: &xt.NatRange2{NatRange: xt.NatRange{Flags: addressAndPort, MinIP: to, MaxIP: to, MinPort: 8080, MaxPort: 8080}}},
	}})
	must(w.t, c.Flush())
}

// The first to translate a connection is the only one: kube-proxy has its rules
// later in the same hook, whichever way it writes them, and whichever of the two
// was there first.
func TestBesideKubeProxy(t *testing.T) {
	modes := map[string]func(*world, nftables.TableFamily){"nftables": (*world).kubeProxy, "iptables": (*world).xtables}
	for name, rules := range modes {
		for _, order := range []string{"before", "after"} {
			t.Run(name+" "+order, func(t *testing.T) {
				w := newWorld(t)
				if order == "before" {
					must(t, w.kernel.Remove())
				}
				rules(w, nftables.TableFamilyIPv4)
				rules(w, nftables.TableFamilyIPv6)
				_, err := w.kernel.Put(nil, w.have)
				must(t, err)
				for _, f := range families {
					w.want(w.client, w.cartVIP[f], cartPort, from(w.shop, w.client, f))
					w.want(w.plain, w.cartVIP[f], cartPort, from(w.cart, w.plain, f))
				}
				gone := &routing.Delta{}
				gone.Removed.Clusters = []routing.ClusterName{"mesh/shop/waypoint"}
				w.change(gone)
				for _, f := range families {
					w.want(w.client, w.cartVIP[f], cartPort, "refused")
				}
			})
		}
	}
}

// While the table changes, and while it is made anew, no connection is refused or
// goes past the waypoint.
func TestChangesAreAtomic(t *testing.T) {
	w := newWorld(t)
	w.kubeProxy(nftables.TableFamilyIPv4)
	pods := [][]*pod{{w.shop}, {w.shop2}, {w.shop, w.shop2}}
	var tables []*Ruleset
	for _, p := range pods {
		w.state.Change(&routing.Delta{Endpoints: []*routing.Endpoints{waypoint("shop", "n1", "a", p...)}})
		tables = append(tables, Build(w.state))
	}
	ctx, cancel := context.WithCancel(t.Context())
	changed := make(chan error)
	go func() {
		have := w.have
		for i := 0; ctx.Err() == nil; i++ {
			if i%5 == 0 { // as when somebody else has spoilt it
				d, err := Between(&Ruleset{}, tables[i%3])
				if err == nil {
					err = w.kernel.replace(d)
				}
				if err != nil {
					changed <- err
					return
				}
			} else if _, err := w.kernel.Put(have, tables[i%3]); err != nil {
				changed <- err
				return
			}
			have = tables[i%3]
		}
		changed <- nil
	}()
	good := []string{from(w.shop, w.client, IPv4), from(w.shop2, w.client, IPv4)}
	for range 300 {
		if got := w.client.ask(w.cartVIP[IPv4], cartPort); !slices.Contains(good, got) {
			t.Errorf("%q answers, want one of %q", got, good)
		}
	}
	cancel()
	must(t, <-changed)
}
