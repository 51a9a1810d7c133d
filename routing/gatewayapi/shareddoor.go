package gatewayapi

import (
	"cmp"
	"slices"

	"fairway.dev/routing"
)

// Callers are the waypoints through which workloads call others: each needs a door
// for whatever is enrolled. A thousand Services at a hundred waypoints would be a
// hundred thousand doors, equal but for their names, so that there is one for all
// (routing.CallingGateways), and who they are is said by their HBONE listeners
// alone: what is enrolled need not know, and does not run again when one comes.
// That leaves what a waypoint has of its own: doors of what it is the waypoint of,
// those for the workloads of one namespace, and all of them where policies about
// the Gateway make a difference.
//
// East-west gateways have doors of their own: they are few, and theirs have no
// ports for node agents.
type callers struct {
	only  parentName // where it is the only one; zero: none, or many
	many  bool
	apart []parentName // in the order of their names
}

// callers finds them.
func (t *Translator) callers(r *reading) outcome {
	var c callers
	n := 0
	for item := range r.Bag(cellID{Kind: outbound}) {
		w := item.(parentName)
		n++
		c.only = w
		if t.shaper.Apart != nil && t.shaper.Apart(r.Reading, w.ns, w.name) {
			c.apart = append(c.apart, w)
		}
	}
	if c.many = n > 1; c.many {
		c.only = parentName{}
	}
	slices.SortFunc(c.apart, func(a, b parentName) int { return cmp.Compare(a.String(), b.String()) })
	return outcome{Value: c}
}

// calls reports whether workloads call through a waypoint.
func (r *reading) calls(waypoint parentName) bool {
	for range r.Bag(waypoint.cell(consumersAt, "")) {
		return true
	}
	return false
}

// sharedPorches are those of callers for something whose waypoints are own; none:
// none of ours.
func (r *reading) sharedPorches(own []parentName) (list []porch) {
	c := r.Value(cellID{Kind: callersCell}).(callers)
	if c.many || c.only != (parentName{}) && !slices.Contains(own, c.only) {
		list = append(list, porch{shared: true})
	}
	for _, w := range c.apart {
		if !slices.Contains(own, w) {
			list = append(list, porch{waypoint: w})
		}
	}
	return list
}

// gateway is Listener.Gateway of the doors of a porch.
func (at porch) gateway() string {
	if at.shared {
		return routing.CallingGateways
	}
	return at.waypoint.String()
}
