package gatewayapi

import (
	"container/heap"
	"slices"
	"time"

	"fairway.dev/routing"
)

// Rivals are an HTTPRoute and a GRPCRoute on one listener whose hostnames
// overlap. The API wants exactly one of two accepted: the older. A route that
// has itself been turned away turns nobody away, so they are judged in the
// order of age, and a change costs only those whom it concerns.
type rivals struct {
	routes    map[cellID][]*claim
	listeners map[routing.ListenerName]*[2]hostIndex // by claim.side
	due       ages
}

// hasRivals reports whether routes of a kind are judged at all: where only one
// kind can be attached, age decides between routes when they are matched.
func hasRivals(kind string) bool { return kind == "HTTPRoute" || kind == "GRPCRoute" }

// A claim is a route on a listener.
type claim struct {
	route    cellID // of attachCell
	side     int    // 0: HTTPRoute, 1: GRPCRoute
	created  time.Time
	listener routing.ListenerName
	hosts    []string
	lostTo   *claim // nil: it stands
	due      bool
	left     bool
}

func (c *claim) before(d *claim) bool {
	return compareAge(c.created, d.created, c.name(), d.name()) < 0
}

// name breaks ties of age; the kind breaks ties of names.
func (c *claim) name() string { return c.route.NS + "/" + c.route.Name + "/" + c.route.Part }

// replace takes the claims of a route out and puts those of an attachment,
// which may be nil, in their place.
func (v *rivals) replace(route cellID, a *attachment) {
	for _, c := range v.routes[route] {
		v.leave(c)
	}
	delete(v.routes, route)
	if a == nil || !a.claims {
		return
	}
	var claims []*claim
	for _, p := range a.parents {
		for _, e := range p.entries {
			if slices.ContainsFunc(claims, func(c *claim) bool { return c.listener == e.listener }) {
				continue
			}
			c := &claim{route: route, created: a.created, listener: e.listener, hosts: e.hosts}
			if route.Part == "GRPCRoute" {
				c.side = 1
			}
			claims = append(claims, c)
			v.enter(c)
		}
	}
	if claims != nil {
		if v.routes == nil {
			v.routes = map[cellID][]*claim{}
		}
		v.routes[route] = claims
	}
}

func (v *rivals) enter(c *claim) {
	if v.listeners == nil {
		v.listeners = map[routing.ListenerName]*[2]hostIndex{}
	}
	sides := v.listeners[c.listener]
	if sides == nil {
		sides = &[2]hostIndex{}
		v.listeners[c.listener] = sides
	}
	sides[c.side].add(c)
	v.push(c)
	v.wake(c)
}

func (v *rivals) leave(c *claim) {
	c.left = true
	v.wake(c)
	sides := v.listeners[c.listener]
	sides[c.side].remove(c)
	if len(sides[0].at)+len(sides[1].at) == 0 {
		delete(v.listeners, c.listener)
	}
}

// wake has the younger rivals of a claim judged again.
func (v *rivals) wake(c *claim) {
	for rival := range v.of(c) {
		if c.before(rival) {
			v.push(rival)
		}
	}
}

func (v *rivals) push(c *claim) {
	if !c.due {
		c.due = true
		heap.Push(&v.due, c)
	}
}

// of yields the rivals of a claim, some perhaps more than once.
func (v *rivals) of(c *claim) func(yield func(*claim) bool) {
	return v.listeners[c.listener][1-c.side].overlapping(c.hosts)
}

// settle judges what is due and returns the routes whose verdict changed, as
// cells of attachCell.
func (v *rivals) settle() []cellID {
	var moved []cellID
	for v.due.Len() > 0 {
		c := heap.Pop(&v.due).(*claim)
		c.due = false
		if c.left {
			continue
		}
		var lostTo *claim
		for rival := range v.of(c) {
			if rival.lostTo == nil && rival.before(c) && (lostTo == nil || rival.before(lostTo)) {
				lostTo = rival
			}
		}
		if lostTo == c.lostTo {
			continue
		}
		if (lostTo == nil) != (c.lostTo == nil) {
			v.wake(c)
		}
		c.lostTo = lostTo
		moved = append(moved, c.route)
	}
	return moved
}

// lostTo returns the claim that a route has lost a listener to, or nil.
func (v *rivals) lostTo(route cellID, listener routing.ListenerName) *claim {
	for _, c := range v.routes[route] {
		if c.listener == listener {
			return c.lostTo
		}
	}
	return nil
}

// ages is a heap of claims, the oldest on top.
type ages []*claim

func (a ages) Len() int           { return len(a) }
func (a ages) Less(i, j int) bool { return a[i].before(a[j]) }
func (a ages) Swap(i, j int)      { a[i], a[j] = a[j], a[i] }
func (a *ages) Push(x any)        { *a = append(*a, x.(*claim)) }
func (a *ages) Pop() any {
	last := len(*a) - 1
	c := (*a)[last]
	*a = (*a)[:last]
	return c
}

// A hostIndex finds the claims whose hosts overlap with a given one.
type hostIndex struct {
	at    map[string][]*claim // by host
	under map[string][]*claim // by each pattern that covers a host and is wider
}

func (x *hostIndex) add(c *claim) {
	if x.at == nil {
		x.at, x.under = map[string][]*claim{}, map[string][]*claim{}
	}
	for _, h := range c.hosts {
		x.at[h] = append(x.at[h], c)
		for w := range wider(h) {
			x.under[w] = append(x.under[w], c)
		}
	}
}

func (x *hostIndex) remove(c *claim) {
	for _, h := range c.hosts {
		dropClaim(x.at, h, c)
		for w := range wider(h) {
			dropClaim(x.under, w, c)
		}
	}
}

func dropClaim(m map[string][]*claim, key string, c *claim) {
	list := m[key]
	i, last := slices.Index(list, c), len(list)-1
	list[i], list[last] = list[last], nil
	if m[key] = list[:last]; last == 0 {
		delete(m, key)
	}
}

// overlapping yields the claims whose hosts overlap with any of hosts, one
// with several such hosts several times.
func (x *hostIndex) overlapping(hosts []string) func(yield func(*claim) bool) {
	return func(yield func(*claim) bool) {
		each := func(list []*claim) bool {
			for _, c := range list {
				if !yield(c) {
					return false
				}
			}
			return true
		}
		for _, h := range hosts {
			if !each(x.at[h]) || !each(x.under[h]) {
				return
			}
			for w := range wider(h) {
				if !each(x.at[w]) {
					return
				}
			}
		}
	}
}
