package upstream

import (
	"reflect"
	"slices"

	"fairway.dev/routing"
)

// A Place is where the gateway is, as far as that is known.
type Place struct {
	Node                  string
	Region, Zone, SubZone string
	// Labels are those of the gateway's pod; nil: nobody knows them.
	Labels map[string]string
}

// Nearness is whether an endpoint is for gateways at this one's place: see
// routing.Endpoint. Its text is for people.
type Nearness string

const (
	SameNode Nearness = "node"
	SameZone Nearness = "zone"
	Anywhere Nearness = ""
)

func (p *Place) nearness(e *routing.Endpoint) Nearness {
	switch {
	case p.Node != "" && slices.Contains(e.ForNodes, p.Node):
		return SameNode
	case p.Zone != "" && slices.Contains(e.ForZones, p.Zone):
		return SameZone
	}
	return Anywhere
}

// narrow returns the members to try before all of them, the nearest first.
func (p *Place) narrow(members []*member) [][]*member {
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

// SetPlace says where the gateway is. Clusters to which that makes a
// difference are picked from anew at once. The Set keeps p.Labels.
func (s *Set) SetPlace(p Place) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if reflect.DeepEqual(p, *s.at) {
		return
	}
	s.at = &p
	for _, c := range s.clusters {
		if old := c.view.Load(); old.dependsOnPlace() {
			c.view.Store(c.newView(old.config, old.all))
		}
	}
}

func (v *view) dependsOnPlace() bool {
	return v.config.spec.Balance.Locality != nil || slices.ContainsFunc(v.all, func(m member) bool {
		return len(m.spec.ForZones)+len(m.spec.ForNodes) > 0
	})
}
