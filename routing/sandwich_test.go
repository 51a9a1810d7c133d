package routing

import (
	"bytes"
	"strings"
	"testing"
)

// waypointOf is a Spec of a waypoint's listener, and nothing else.
func waypointOf(mesh *Mesh) *Spec {
	l := &Listener{Name: "shop/waypoint/mesh", Gateway: "shop/waypoint", Port: HBONEPort, Protocol: HBONE, Mesh: mesh}
	return &Spec{Listeners: map[ListenerName]*Listener{l.Name: l}}
}

func TestSandwichIsOfTheWaypointsPort(t *testing.T) {
	for _, want := range []uint16{0, 15088} {
		snap, problems := Compile(waypointOf(&Mesh{TrustDomains: []string{"cluster.local"}, Sandwich: want}))
		if len(problems) > 0 || len(snap.Ports()) != 1 || snap.Ports()[0].Sandwich() != want {
			t.Errorf("sandwich %d: %d ports, problems %v", want, len(snap.Ports()), problems)
		}
		var text bytes.Buffer
		if err := snap.Dump(&text); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(text.String(), "Sandwich=15088") != (want != 0) {
			t.Errorf("sandwich %d is printed as\n%s", want, &text)
		}
	}
	snap, _ := Compile(&Spec{Listeners: map[ListenerName]*Listener{"l": {Name: "l", Port: 80, Protocol: HTTP}}})
	if n := snap.Ports()[0].Sandwich(); n != 0 {
		t.Errorf("a port of HTTP has tunnels by port %d", n)
	}
}

// Port is the node proxy's, which has it in the pod's own network.
func TestSandwichIsNotTheWaypointsPortItself(t *testing.T) {
	_, p := oneProblem(t, waypointOf(&Mesh{TrustDomains: []string{"cluster.local"}, Sandwich: HBONEPort}))
	if p.Reason != InvalidListener || !strings.Contains(p.Err.Error(), "port 15008, which is the node proxy's") {
		t.Errorf("problem %s: %v", p.Reason, p.Err)
	}
}
