package server

import (
	"net/netip"
	"slices"
	"testing"

	"fairway.dev/gateway/message"
	"fairway.dev/gateway/proxy"
	"fairway.dev/routing"
)

// captured is a door with a port on which node agents put connections.
func captured(name, from string, number uint16) *routing.Listener {
	l := benchDoor(1, false)
	l.Name, l.From, l.Capture = routing.ListenerName(name), from, number
	return l
}

// An edit of doors opens and closes the ports of node agents that it is about,
// and leaves the others.
func TestPortsOfNodeAgentsFollowTheirDoors(t *testing.T) {
	s := start(t)
	var numbers []uint16
	for range 4 {
		n, release := freePort(t)
		release()
		numbers = append(numbers, n)
	}
	a, b, c, d := numbers[0], numbers[1], numbers[2], numbers[3] // one that is left may be held for a moment
	steps := []struct {
		name    string
		put     []*routing.Listener
		removed []routing.ListenerName
		bound   []uint16
		unbound int
	}{
		{"two doors", []*routing.Listener{captured("x", "", a), captured("y", "bank", b)}, nil, []uint16{a, b}, 0},
		{"one gets another number", []*routing.Listener{captured("x", "", c)}, nil, []uint16{c, b}, 0},
		{"both share one", []*routing.Listener{captured("y", "bank", c)}, nil, []uint16{c}, 0},
		{"one of them leaves", nil, []routing.ListenerName{"x"}, []uint16{c}, 0},
		{"a listener wants the port", []*routing.Listener{{Name: "l", Gateway: "g", Port: c, Protocol: routing.HTTP}}, nil, []uint16{c}, 1},
		{"the door moves on", []*routing.Listener{captured("y", "bank", d)}, nil, []uint16{c, d}, 0},
		{"and comes back", []*routing.Listener{captured("y", "bank", c)}, nil, []uint16{c}, 1},
		{"the listener leaves", nil, []routing.ListenerName{"l"}, []uint16{c}, 0},
		{"all leave", nil, []routing.ListenerName{"y"}, nil, 0},
	}
	for _, tt := range steps {
		edit := &routing.Delta{Listeners: tt.put}
		edit.Removed.Listeners = tt.removed
		s.Update(edit)
		var bound []uint16
		for _, addr := range s.Addrs() {
			bound = append(bound, addr.Port())
		}
		slices.Sort(bound)
		slices.Sort(tt.bound)
		if !slices.Equal(bound, tt.bound) {
			t.Errorf("%s: %v are bound, want %v", tt.name, bound, tt.bound)
		}
		if got := s.Unbound(); len(got) != tt.unbound {
			t.Errorf("%s: unbound are %v, want %d", tt.name, got, tt.unbound)
		}
	}
}

// A door that gateways share is of the gateway whose pod it is: that one vouches
// for whom it captures, and no other.
func TestWhoVouchesAtSharedDoors(t *testing.T) {
	pod := netip.MustParseAddr("10.1.0.1")
	for _, tt := range []struct {
		name, door, waypoint, of string
		vouch                    bool
	}{
		{"its own door", "shop/waypoint", "shop/waypoint", "shop/waypoint", true},
		{"a shared door", routing.CallingGateways, "shop/waypoint", "shop/waypoint", true},
		{"a shared door, a workload of another's", routing.CallingGateways, "shop/waypoint", "bank/waypoint", false},
		{"an own door, a workload of another's", "shop/waypoint", "shop/waypoint", "bank/waypoint", false},
		{"a shared door of nobody", routing.CallingGateways, "", "shop/waypoint", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t)
			l := captured("door", "", 20000)
			l.Gateway = tt.door
			d := &routing.Delta{
				Listeners: []*routing.Listener{l},
				Workloads: []*routing.Workload{{Name: "shop/cart-1", Addresses: []netip.Addr{pod}, Identity: "spiffe://cluster.local/ns/shop/sa/cart", Gateways: []string{tt.of}}},
			}
			if tt.waypoint != "" {
				d.Listeners = append(d.Listeners, &routing.Listener{
					Name: "mesh", Gateway: tt.waypoint, Port: 15008, Protocol: routing.HBONE, Mesh: &routing.Mesh{TrustDomains: []string{"cluster.local"}, Calls: true},
				})
			}
			snap, problems := s.Snapshot().Update(d)
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			s.publish(&generation{number: 1, snapshot: snap})
			port := s.capturePort(20000, captureOf(snap, 20000))
			peer := &message.Peer{Remote: netip.AddrPortFrom(pod, 999)}
			port.Peer(peer)
			if peer.Vouch != tt.vouch || (peer.Identity != "") != tt.vouch {
				t.Errorf("vouched: %v, for %q; want %v", peer.Vouch, peer.Identity, tt.vouch)
			}
			if got := peer.Listener.(*proxy.Bind).Key; got != (routing.PortKey{Addr: l.Addresses[0], Port: 80, Inside: true}) {
				t.Errorf("it comes to %s, want the door", got)
			}
		})
	}
}

// A door that somebody has come to follows its listener's edits, and is forgotten
// when it leaves.
func TestDoorsThatWereUsedFollowEdits(t *testing.T) {
	s := start(t)
	l := benchDoor(1, false)
	l.Capture = 0
	s.Update(&routing.Delta{Listeners: []*routing.Listener{l}})
	key := routing.PortKey{Addr: l.Addresses[0], Port: 80, Inside: true}
	before := s.door(s.Snapshot().Port(key))
	edited := *l
	edited.Detect = true
	s.Update(&routing.Delta{Listeners: []*routing.Listener{&edited}})
	after := s.door(s.Snapshot().Port(key))
	if before.port.Detect || !after.port.Detect || after.bind != before.bind {
		t.Errorf("detects %v, then %v, with the same mark: %v; want false, true, true", before.port.Detect, after.port.Detect, after.bind == before.bind)
	}
	d := &routing.Delta{}
	d.Removed.Listeners = []routing.ListenerName{l.Name}
	s.Update(d)
	if _, known := s.doors.Load(key); known {
		t.Error("the door is known after it has left")
	}
}
