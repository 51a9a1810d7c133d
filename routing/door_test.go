package routing

import (
	"net/netip"
	"testing"
	"time"
)

// aDoor is one at a waypoint, by an address, for a name.
func aDoor(name ListenerName, addr string, edit ...func(*Listener)) *Listener {
	l := &Listener{
		Name: name, Gateway: "shop/waypoint", Inside: true, Protocol: HTTP, Port: 80, To: "b",
		Addresses: []netip.Addr{netip.MustParseAddr(addr)}, Names: []string{"cart.shop.svc.cluster.local"},
	}
	for _, f := range edit {
		f(l)
	}
	return l
}

func claimed(l *Listener) { l.Claimed = true }
func odd(l *Listener)     { l.Protocol = "carrier pigeon" }
func from(at int64) func(*Listener) {
	return func(l *Listener) { l.Created = time.Unix(at, 0) }
}

// Nobody takes what others are sent by writing their address, or their name, down
// first; and who has what does not depend on who was heard of first.
func TestWhatIsClaimedComesLast(t *testing.T) {
	service := aDoor("shop/waypoint/cart.shop:80", "10.96.0.5", from(100))
	for _, tt := range []struct {
		what  string
		other *Listener
		addr  string // that the name leads to
	}{
		{"its address and name, earlier", aDoor("shop/waypoint/ServiceEntry/thief.web:80", "10.96.0.5", from(1), claimed), "10.96.0.5"},
		{"its name, earlier", aDoor("shop/waypoint/ServiceEntry/thief.web:80", "240.0.0.1", from(1), claimed), "10.96.0.5"},
		{"its name, later", aDoor("shop/waypoint/ServiceEntry/thief.web:80", "240.0.0.1", from(200), claimed), "10.96.0.5"},
		{"its name, by another Service that is older", aDoor("shop/waypoint/cart2.shop:80", "10.96.0.6", from(1)), "10.96.0.6"},
		{"its name, by one that is older and in no order", aDoor("shop/waypoint/cart2.shop:80", "10.96.0.6", from(1), odd), "10.96.0.5"},
	} {
		for _, order := range [][2]*Listener{{service, tt.other}, {tt.other, service}} {
			snap, _ := Compile(&Spec{})
			for _, l := range order {
				snap, _ = snap.Update(&Delta{Listeners: []*Listener{l}})
			}
			if l := snap.Door(netip.MustParseAddrPort("10.96.0.5:80"), "").Listeners()[0]; l != service {
				t.Errorf("%s: 10.96.0.5 is %s's", tt.what, l.Name)
			}
			if p := snap.DoorNamed("cart.shop.svc.cluster.local", 80, ""); p == nil || p.Key.Addr.String() != tt.addr {
				t.Errorf("%s: the name leads to %v, want %s", tt.what, p, tt.addr)
			}
			gone := &Delta{}
			gone.Removed.Listeners = []ListenerName{service.Name}
			snap, _ = snap.Update(gone)
			p := snap.DoorNamed("cart.shop.svc.cluster.local", 80, "")
			if valid := tt.other.checkInside() == nil; valid && (p == nil || p.Listeners()[0] != tt.other) || !valid && p != nil {
				t.Errorf("%s: without the Service the name leads to %v", tt.what, p)
			}
		}
	}
}

// A door for any port of a pod is not passed by with one for a port of its address
// that somebody has written down.
func TestClaimedPortsOfAPod(t *testing.T) {
	pod := aDoor("shop/waypoint/Pod/stock.shop:0", "10.1.0.9", func(l *Listener) { l.Port, l.Names = 0, nil })
	for _, tt := range []struct {
		what  string
		other *Listener
		from  string
		want  *Listener // nil: other
	}{
		{"claimed", aDoor("shop/waypoint/ServiceEntry/thief.web:80", "10.1.0.9", claimed), "", pod},
		{"claimed for a namespace", aDoor("shop/waypoint/ServiceEntry/thief.web:80@web", "10.1.0.9", claimed, func(l *Listener) { l.From = "web" }), "web", pod},
		{"the pod's own", aDoor("shop/waypoint/Pod/stock.shop:80", "10.1.0.9"), "", nil},
		{"claimed where there is no other", aDoor("shop/waypoint/ServiceEntry/out.web:80", "10.1.0.10", claimed), "web", nil},
	} {
		snap, _ := Compile(&Spec{Listeners: map[ListenerName]*Listener{pod.Name: pod, tt.other.Name: tt.other}})
		want := tt.want
		if want == nil {
			want = tt.other
		}
		if p := snap.Door(netip.AddrPortFrom(tt.other.Addresses[0], 80), tt.from); p == nil || p.Listeners()[0] != want {
			t.Errorf("%s: %v, want the door %s", tt.what, p, want.Name)
		}
	}
}

// A connection that is not HTTP goes to what the door is for, and not round the
// rules of a route of requests.
func TestWhatIsNotHTTPPassesNoRouteBy(t *testing.T) {
	l := aDoor("shop/waypoint/cart.shop:80", "10.96.0.5", func(l *Listener) { l.Detect = true })
	route := &Route{
		Name: "HTTPRoute/shop/cart", Attached: []Attachment{{Listener: l.Name, Hosts: []string{"*"}}},
		Rules: []Rule{{Action: Action{Backends: []Backend{{Cluster: "b", Weight: 1}}}}},
	}
	spec := &Spec{Listeners: map[ListenerName]*Listener{l.Name: l}, Clusters: map[ClusterName]*Cluster{"b": {Name: "b"}}, Routes: map[RouteName]*Route{}}
	at := netip.MustParseAddrPort("10.96.0.5:80")
	stream := func(s *Snapshot) Result { return s.Door(at, "").MatchStream("", "", netip.Addr{}, at.Addr()) }
	snap, problems := Compile(spec)
	if res := stream(snap); len(problems) > 0 || res.Target == nil {
		t.Errorf("without a route it goes nowhere: %v, %v", res, problems)
	}
	spec.Routes[route.Name] = route
	snap, problems = Compile(spec)
	if res := snap.Door(at, "").Match(&Request{Host: "cart", Path: "/"}); len(problems) > 0 || res.Target == nil {
		t.Errorf("no route takes a request: %v, %v", res, problems)
	}
	if res := stream(snap); res.Target != nil || res.Listener != l {
		t.Errorf("it is taken by %v, want nobody", res.Target.Route.Name)
	}
}
