package routing

import (
	"net/netip"
	"testing"
)

func TestClustersOfWaypointsAreToldByTheirNames(t *testing.T) {
	tests := []struct {
		name    ClusterName
		gateway string
		ok      bool
	}{
		{WaypointCluster("shop/waypoint"), "shop/waypoint", true},
		{NetworkCluster("west"), "~/west", true},
		{"mesh/cart:8080", "", false},    // a Service of the namespace mesh
		{"mesh/cart:8080/v1", "", false}, // and a part of its endpoints
		{"shop/mesh:80", "", false},
		{"mesh/", "", false},
	}
	for _, tt := range tests {
		gateway, ok := tt.name.Waypoint()
		if ok != tt.ok || ok && gateway != tt.gateway {
			t.Errorf("%s: %q, %v; want %q, %v", tt.name, gateway, ok, tt.gateway, tt.ok)
		}
	}
}

// A door for any port of an address comes behind those for one port, whoever
// these are for.
func TestDoorsForAnyPort(t *testing.T) {
	addr := netip.MustParseAddr("10.0.0.7")
	spec := &Spec{Listeners: map[ListenerName]*Listener{}}
	door := func(name ListenerName, port uint16, from string) {
		spec.Listeners[name] = &Listener{Name: name, Addresses: []netip.Addr{addr}, Port: port, Protocol: HTTP, Inside: true, Detect: true, From: from}
	}
	door("any", 0, "")
	door("one", 80, "")
	door("web", 81, "web")
	door("bazaar", 0, "bazaar")
	door("claim", 82, "")
	spec.Listeners["claim"].Claimed = true
	snap, problems := Compile(spec)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	tests := []struct {
		dialled, namespace string
		want               ListenerName
	}{
		{"10.0.0.7:80", "", "one"},
		{"10.0.0.7:80", "web", "one"},
		{"10.0.0.7:81", "web", "web"},
		{"10.0.0.7:81", "shop", "any"},
		{"10.0.0.7:9999", "", "any"},
		{"10.0.0.7:9999", "bazaar", "bazaar"},
		{"10.0.0.7:80", "bazaar", "one"}, // the port comes first
		{"10.0.0.7:82", "", "any"},       // whose address it is, nobody has to say
		{"[::ffff:10.0.0.7]:9999", "", "any"},
		{"10.0.0.7:0", "", ""}, // which nobody dials
		{"10.0.0.8:80", "", ""},
	}
	for _, tt := range tests {
		var got ListenerName
		if p := snap.Door(netip.MustParseAddrPort(tt.dialled), tt.namespace); p != nil {
			got = p.Listeners()[0].Name
		}
		if got != tt.want {
			t.Errorf("%s from %q comes to %q, want %q", tt.dialled, tt.namespace, got, tt.want)
		}
	}
	if got := snap.Door(netip.MustParseAddrPort("10.0.0.7:9999"), "").Key.String(); got != "10.0.0.7:*/mesh" {
		t.Errorf("it is printed as %q", got)
	}
}

func TestDoorsForAnyPortHaveNothingOfOnePort(t *testing.T) {
	for name, l := range map[string]*Listener{
		"a listener that is bound": {Protocol: HTTP},
		"a capture":                {Protocol: HTTP, Inside: true, Addresses: []netip.Addr{netip.IPv6Loopback()}, Capture: 20000},
		"a name":                   {Protocol: HTTP, Inside: true, Addresses: []netip.Addr{netip.IPv6Loopback()}, Names: []string{"cart"}},
	} {
		l.Name = "l"
		if _, p := oneProblem(t, &Spec{Listeners: map[ListenerName]*Listener{"l": l}}); p.Reason != InvalidListener {
			t.Errorf("%s with port 0: %v, want it to be refused", name, p)
		}
	}
}
