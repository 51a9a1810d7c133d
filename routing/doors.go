package routing

import (
	"iter"
	"slices"
	"strings"
)

// CallingGateways, in place of a Listener's Gateway, makes a door that all
// gateways share through which workloads call (Mesh.Calls): "~/cart.shop:80". No
// Gateway is called so. A gateway's own door for the same thing, "shop/waypoint/"
// in place of "~/", comes before it. No route is attached to it. What it leads to
// goes by way of a waypoint: at that waypoint itself, should it have no door of its
// own, the shared one lets nobody on.
const CallingGateways = "~"

// Shared reports whether l is a door of all gateways through which workloads call.
func (l *Listener) Shared() bool { return l.Gateway == CallingGateways }

// rank orders listeners of one age by their names: doors by what they are for, so
// that all gateways have the same one of those who claim an address, whether it is
// a gateway's own there or shared.
func (l *Listener) rank() string {
	if l.Inside {
		return strings.TrimPrefix(string(l.Name), l.Gateway)
	}
	return string(l.Name)
}

// Calls reports whether l is by what its Gateway has the doors that gateways share.
func (l *Listener) Calls() bool {
	return l.Protocol == HBONE && !l.Inside && l.Mesh != nil && l.Mesh.Calls
}

// Waypoints returns the gateways that are served: those of the HBONE listeners in
// force. That is one but where a process serves a whole folder. The list is
// shared: do not change it.
func (s *Snapshot) Waypoints() []string { return s.waypoints }

// waypointsOf finds the gateways that have HBONE listeners.
func waypointsOf(ports []*Port) []string {
	var list []string
	for _, p := range ports {
		for _, l := range p.listeners {
			if l.Protocol == HBONE && !slices.Contains(list, l.Gateway) {
				list = append(list, l.Gateway)
			}
		}
	}
	return list
}

// InForce reports whether a listener is served: it lost none of its ports to
// another one.
func (s *Snapshot) InForce(l *Listener) bool {
	return !slices.ContainsFunc(l.keys(), func(key PortKey) bool {
		p := s.Port(key)
		return p == nil || !slices.Contains(p.listeners, l)
	})
}

// A doorKey is an inside PortKey as a trie has it.
type doorKey string

func (k PortKey) door() doorKey {
	b := make([]byte, 0, 48)
	addr := k.Addr.As16()
	b = append(b, addr[:]...)
	b = append(b, byte(k.Port>>8), byte(k.Port))
	return doorKey(append(b, k.From...))
}

// Doors yields the ports of all doors, in no order.
func (s *Snapshot) Doors() iter.Seq[*Port] { return s.doors.values() }

// EditedDoors returns the doors whose listeners the Snapshot before this one had
// otherwise, or had, or had not; all after Compile. They come in no order.
func (s *Snapshot) EditedDoors() []PortKey { return s.edited }

// Capture returns the port that stands for the door p, which may be nil; 0: none.
func (p *Port) Capture() uint16 {
	if p == nil {
		return 0
	}
	for _, l := range p.listeners {
		if l.Capture != 0 {
			return l.Capture
		}
	}
	return 0
}

// Captured returns the doors that a port stands for on which node agents put
// connections, in the order of their keys. The list is shared: do not change it.
func (s *Snapshot) Captured(number uint16) []PortKey {
	keys, _ := s.captured.get(captureKeyOf(number))
	return keys
}

// A captureKey is a Listener.Capture as a trie has it.
type captureKey string

func captureKeyOf(number uint16) captureKey {
	return captureKey([]byte{byte(number >> 8), byte(number)})
}

// door puts a door in force, or takes it out where p is nil.
func (c *change) door(key PortKey, p *Port) {
	before, _ := c.s.doors.get(key.door())
	c.s.doors = set(c.s.doors, key.door(), p)
	c.s.badDoors = c.s.badDoors.without(key.door())
	if p != nil && len(p.problems) > 0 {
		c.s.badDoors = c.s.badDoors.with(key.door(), p)
	}
	if before != nil && p != nil && slices.Equal(before.listeners, p.listeners) {
		return // its routes are others
	}
	c.s.edited = append(c.s.edited, key)
	if was, is := before.Capture(), p.Capture(); was != is {
		c.capture(was, key, false)
		c.capture(is, key, true)
	}
}

// capture puts a door among those of a port of node agents, or takes it out.
func (c *change) capture(number uint16, key PortKey, in bool) {
	if number == 0 {
		return
	}
	keys := slices.Clone(c.s.Captured(number))
	i, found := slices.BinarySearchFunc(keys, key, PortKey.compare)
	switch {
	case in && !found:
		keys = slices.Insert(keys, i, key)
	case !in && found:
		keys = slices.Delete(keys, i, i+1)
	}
	if len(keys) > 0 {
		c.s.captured = c.s.captured.with(captureKeyOf(number), keys)
	} else {
		c.s.captured = c.s.captured.without(captureKeyOf(number))
	}
}
