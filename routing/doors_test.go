package routing

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// doorOf is a door of a gateway for a Service.
func doorOf(gateway, from string, capture uint16) *Listener {
	name := gateway + "/cart.shop:80"
	if from != "" {
		name += "@" + from
	}
	return &Listener{
		Name: ListenerName(name), Gateway: gateway, Inside: true, From: from, Protocol: HTTP, Port: 80, Capture: capture,
		Addresses: []netip.Addr{netip.MustParseAddr("10.96.0.5"), netip.MustParseAddr("fd00::5")}, Created: time.Unix(2, 0),
	}
}

// A gateway's own door comes before the one that all share, and not for a moment
// is there none: as it comes, leaves, and comes again.
func TestOwnDoorsComeBeforeSharedOnes(t *testing.T) {
	own, shared, from := doorOf("shop/waypoint", "", 20001), doorOf(CallingGateways, "", 20001), doorOf("shop/waypoint", "bank", 20001)
	s, problems := Compile(&Spec{Listeners: map[ListenerName]*Listener{shared.Name: shared}})
	at := netip.MustParseAddrPort("10.96.0.5:80")
	keys := []PortKey{{Addr: own.Addresses[0], Port: 80, Inside: true}, {Addr: own.Addresses[1], Port: 80, Inside: true}}
	bank := []PortKey{{Addr: own.Addresses[0], Port: 80, Inside: true, From: "bank"}, {Addr: own.Addresses[1], Port: 80, Inside: true, From: "bank"}}
	both := []PortKey{keys[0], bank[0], keys[1], bank[1]}
	steps := []struct {
		name     string
		put      []*Listener
		removed  []ListenerName
		all      *Listener // the door of all namespaces
		bank     *Listener // that of bank
		edited   int
		captured []PortKey
	}{
		{"it is alone", nil, nil, shared, shared, 2, keys},
		{"the own one comes", []*Listener{own}, nil, own, own, 2, keys},
		{"the shared one is edited", []*Listener{shared}, nil, own, own, 0, keys},
		{"one for a namespace comes", []*Listener{from}, nil, own, from, 2, both},
		{"the own one leaves", nil, []ListenerName{own.Name}, shared, from, 2, both},
		{"the shared one leaves", nil, []ListenerName{shared.Name}, nil, from, 2, bank},
		{"both come", []*Listener{shared, own}, nil, own, from, 2, both},
		{"all leave", nil, []ListenerName{own.Name, shared.Name, from.Name}, nil, nil, 4, nil},
	}
	for i, tt := range steps {
		if i > 0 {
			d := &Delta{Listeners: tt.put}
			d.Removed.Listeners = tt.removed
			s, problems = s.Update(d)
		}
		if len(problems) > 0 {
			t.Errorf("%s: the problems %v, want none", tt.name, problems)
		}
		for ns, want := range map[string]*Listener{"": tt.all, "web": tt.all, "bank": tt.bank} {
			p := s.Door(at, ns)
			if (p == nil) != (want == nil) || p != nil && !slices.Equal(p.Listeners(), []*Listener{want}) {
				t.Errorf("%s: clients of %q come to %v, want %v", tt.name, ns, p, want)
			}
		}
		if n := len(s.EditedDoors()); n != tt.edited {
			t.Errorf("%s: the edited doors are %v, want %d", tt.name, s.EditedDoors(), tt.edited)
		}
		if got := s.Captured(20001); !slices.Equal(got, tt.captured) {
			t.Errorf("%s: port 20001 stands for %v, want %v", tt.name, got, tt.captured)
		}
		for _, l := range []*Listener{own, shared, from} {
			if got, want := s.InForce(l), l == tt.all || l == tt.bank && l == from; got != want {
				t.Errorf("%s: %s is in force: %v, want %v", tt.name, l.Name, got, want)
			}
		}
	}
}

// Of several that have one address all gateways have the same, whose own it may be.
func TestSharedDoorsOfOthersAreOlder(t *testing.T) {
	older, own, shared := doorOf(CallingGateways, "", 0), doorOf("shop/waypoint", "", 0), doorOf(CallingGateways, "", 0)
	older.Name = "~/other.shop:80"
	for _, tt := range []struct {
		name    string
		created int64
		claimed bool // the older one
		want    *Listener
	}{{"an older one", 1, false, older}, {"one that is only claimed", 1, true, own}, {"one as old", 2, false, own}, {"a younger one", 3, false, own}} {
		l := *older
		l.Created, l.Claimed = time.Unix(tt.created, 0), tt.claimed
		if tt.want == older {
			tt.want = &l
		}
		s, problems := Compile(&Spec{Listeners: map[ListenerName]*Listener{l.Name: &l, own.Name: own, shared.Name: shared}})
		if p := s.Door(netip.MustParseAddrPort("10.96.0.5:80"), ""); !slices.Equal(p.Listeners(), []*Listener{tt.want}) {
			t.Errorf("%s: served is %v, want %v", tt.name, p.Listeners()[0].Name, tt.want.Name)
		}
		if len(problems) == 0 {
			t.Errorf("%s: no problem, want that of who has lost the address", tt.name)
		}
	}
}

// Two Services that claim one address are still told of.
func TestSharedDoorsThatClash(t *testing.T) {
	first, second := doorOf(CallingGateways, "", 0), doorOf(CallingGateways, "", 0)
	second.Name, second.Created, second.Origin = "~/other.shop:80", time.Unix(3, 0), Origin{Kind: "Service", Name: "other"}
	s, problems := Compile(&Spec{Listeners: map[ListenerName]*Listener{first.Name: first, second.Name: second}})
	if p := s.Door(netip.MustParseAddrPort("10.96.0.5:80"), ""); !slices.Equal(p.Listeners(), []*Listener{first}) {
		t.Errorf("served is %v, want the older one", p.Listeners())
	}
	if len(problems) != 2 || problems[0].Origin != second.Origin || problems[0].Reason != HostnameConflict {
		t.Errorf("the problems are %v, want that of the younger one at each address", problems)
	}
}

func TestOnlyDoorsAreShared(t *testing.T) {
	_, problems := Compile(&Spec{Listeners: map[ListenerName]*Listener{"l": {Name: "l", Gateway: CallingGateways, Port: 80, Protocol: HTTP}}})
	if len(problems) != 1 || !strings.Contains(problems[0].Error(), "no door") {
		t.Errorf("the problems are %v, want that it is no door", problems)
	}
}

// Whose pod it is, its HBONE listeners tell.
func TestWaypointsAreThoseOfTheHBONEListeners(t *testing.T) {
	hbone := func(name ListenerName, gateway string, port uint16) *Listener {
		return &Listener{Name: name, Gateway: gateway, Port: port, Protocol: HBONE, Mesh: &Mesh{TrustDomains: []string{"cluster.local"}}}
	}
	s, _ := Compile(&Spec{Listeners: map[ListenerName]*Listener{
		"a": hbone("a", "shop/waypoint", 15008), "b": hbone("b", "bank/waypoint", 15009), "c": hbone("c", "shop/waypoint", 15010),
		"h": {Name: "h", Gateway: "shop/edge", Port: 80, Protocol: HTTP},
	}})
	if got := s.Waypoints(); !slices.Equal(got, []string{"shop/waypoint", "bank/waypoint"}) {
		t.Errorf("the waypoints are %v", got)
	}
	d := &Delta{}
	d.Removed.Listeners = []ListenerName{"a", "c"}
	if s, _ = s.Update(d); !slices.Equal(s.Waypoints(), []string{"bank/waypoint"}) {
		t.Errorf("after one has left the waypoints are %v", s.Waypoints())
	}
}

// Spans of what comes to a shared door go by the name of the gateway that is served.
func TestSpansOfSharedDoors(t *testing.T) {
	shared, own := doorOf(CallingGateways, "", 0), doorOf("shop/waypoint", "bank", 0)
	shared.Telemetry = &Telemetry{Tracing: &Tracing{Cluster: "c", Authority: "collector"}}
	own.Telemetry = &Telemetry{Tracing: &Tracing{Cluster: "c", Authority: "collector", Service: "waypoint.shop"}}
	mesh := &Listener{Name: "mesh", Gateway: "bank/waypoint", Port: 15008, Protocol: HBONE, Mesh: &Mesh{TrustDomains: []string{"cluster.local"}, Calls: true}}
	s, problems := Compile(&Spec{
		Listeners: map[ListenerName]*Listener{shared.Name: shared, own.Name: own, mesh.Name: mesh}, Clusters: map[ClusterName]*Cluster{"c": {Name: "c"}},
	})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if got := s.Tracing(shared).Service; got != "waypoint.bank" {
		t.Errorf("of a shared door they are those of %q, want waypoint.bank", got)
	}
	if got := s.Tracing(own).Service; got != "waypoint.shop" {
		t.Errorf("of another they are those of %q, want what it says", got)
	}
}
