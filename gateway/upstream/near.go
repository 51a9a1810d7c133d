package upstream

import (
	"slices"

	"fairway.dev/routing"
)

// A place is where the gateway is, as far as that is known.
type place struct{ node, zone string }

// Nearness is whether an endpoint is for gateways at this one's place: see
// routing.Endpoint. Its text is for people.
type Nearness string

const (
	SameNode Nearness = "node"
	SameZone Nearness = "zone"
	Anywhere Nearness = ""
)

func (p place) nearness(e *routing.Endpoint) Nearness {
	switch {
	case p.node != "" && slices.Contains(e.ForNodes, p.node):
		return SameNode
	case p.zone != "" && slices.Contains(e.ForZones, p.zone):
		return SameZone
	}
	return Anywhere
}

// narrow returns the members to try before all of them, the nearest first.
func (p place) narrow(members []*member) [][]*member {
	var onNode, inZone []*member
	for _, m := range members {
		switch p.nearness(&m.spec) {
		case SameNode:
			onNode = append(onNode, m)
			inZone = append(inZone, m)
		case SameZone:
			inZone = append(inZone, m)
		}
	}
	var near [][]*member
	if len(onNode) > 0 && len(onNode) < len(inZone) {
		near = append(near, onNode)
	}
	if len(inZone) > 0 && len(inZone) < len(members) {
		near = append(near, inZone)
	}
	return near
}

// pickNear picks from those that are near, unless none of them is healthy or
// the share of those that come back slowly is used up: the rest of it goes to
// others. It is not asked where no endpoint at all is healthy, so that the near
// ones do not come back to all the traffic.
func (v *view) pickNear(ch *chooser, want *Want, index int) (m *member) {
	if !want.HasHash { // a key has one place
		ch.roll = int64(ch.rng.Uint64()%wholeShare) + 1
	}
	for _, p := range v.near {
		if m = p.pick(ch, want, index); m != nil {
			break
		}
	}
	ch.roll = 0
	return m
}

// SetZone says in which zone the gateway is, "" if nobody knows. Clusters whose
// endpoints are for some zones are picked from anew at once.
func (s *Set) SetZone(zone string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if zone == s.at.zone {
		return
	}
	s.at.zone = zone
	for _, c := range s.clusters {
		if old := c.view.Load(); slices.ContainsFunc(old.all, func(m member) bool { return len(m.spec.ForZones) > 0 }) {
			c.view.Store(c.newView(old.config, old.all))
		}
	}
}
