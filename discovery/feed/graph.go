package feed

import (
	"slices"

	"fairway.dev/routing"
)

// A node is a part, or the name of one that is not there.
type node struct {
	name     string
	at       string    // of a workload: the node of Kubernetes that it runs on
	resource *resource // nil: not there
	links    links
	users    int // nodes, routes and others that name it
	holders  []holder
	common   bool // the common view is one of them
}

func (n *node) heldBy(v *view) bool {
	return slices.ContainsFunc(n.holders, func(h holder) bool { return h.view == v })
}

// A holder is a view that a node is in, and by how many ways; far are those of
// them that end there, as a hop does: there is no other after it.
type holder struct {
	view      *view
	ways, far int
}

// leads is what a part leads to, by names of resources.
type leads struct {
	to []string
	// Clusters that a gateway itself talks to, and not for a client, or by which it
	// reaches another network: straight.
	own []string
	// Of a cluster: its endpoints, and how most Gateways reach them.
	endpoints string
	hop       *routing.Hop
}

// leadsOf returns what a cluster leads to.
func leadsOf(c *routing.Cluster) leads {
	straight := *c
	straight.Hop = nil
	name := clusterName(c.Name)
	to := leads{to: namesIn(name, &straight), endpoints: endpointsName(c.Name), hop: c.Hop}
	if c.Hop != nil && c.Hop.Beyond != nil { // a few addresses, whoever goes by it
		to.own = []string{clusterName(c.Hop.Beyond.Cluster)}
	}
	return to
}

// leadsOfListener returns what a listener leads to.
func leadsOfListener(l *routing.Listener) leads {
	silent := *l
	silent.Telemetry = nil
	return leads{to: namesIn(listenerName(l.Name), &silent), own: namesIn("", &routing.Listener{Telemetry: l.Telemetry})}
}

// leadsOfPolicy returns what a policy leads to.
func leadsOfPolicy(p *routing.Policy) leads {
	uncounted := *p
	uncounted.RateLimit = nil
	return leads{to: namesIn(policyName(p.Name), &uncounted), own: namesIn("", &routing.Policy{RateLimit: p.RateLimit})}
}

// links are leads as nodes.
type links struct {
	to, own   []*node
	endpoints *node
	hop       *routing.Hop
	waypoints []*node // the clusters of the hop, and of its canary
}

// A stretch is a part of what a node leads to: which of them a view follows
// depends on whose it is.
type stretch uint8

const (
	always   stretch = 1 << iota
	straight         // to the endpoints
	hopping          // to the waypoint
)

// from returns what h follows. A Gateway that goes to a cluster by way of a
// waypoint has nothing of its endpoints: thousands of pods come and go behind
// others' waypoints.
func (l *links) from(h holder) (s stretch) {
	direct := h.ways > h.far
	switch {
	case h.ways == 0:
		return 0
	case l.hop == nil:
		return always | straight
	}
	s = always
	home := l.hop.Serves(h.view.gateway)
	if h.far > 0 || direct && (home || l.hop.Inside) {
		s |= straight
	}
	if direct && (!home || l.hop.Canary != nil) {
		s |= hopping
	}
	return s
}

// holdAll has v hold what is on a stretch.
func (w *world) holdAll(v *view, l *links, on stretch) {
	if on&always != 0 {
		for _, n := range l.to {
			w.hold(v, n)
		}
		for _, n := range l.own {
			w.count(v, n, holder{ways: 1, far: 1})
		}
	}
	if on&straight != 0 && l.endpoints != nil {
		w.hold(v, l.endpoints)
	}
	if on&hopping != 0 {
		for _, n := range l.waypoints {
			w.count(v, n, holder{ways: 1, far: 1})
		}
	}
}

// releaseAll has v release what is on a stretch.
func (w *world) releaseAll(v *view, l *links, on stretch) {
	if on&always != 0 {
		for _, n := range l.to {
			w.release(v, n)
		}
		for _, n := range l.own {
			w.count(v, n, holder{ways: -1, far: -1})
		}
	}
	if on&straight != 0 && l.endpoints != nil {
		w.release(v, l.endpoints)
	}
	if on&hopping != 0 {
		for _, n := range l.waypoints {
			w.count(v, n, holder{ways: -1, far: -1})
		}
	}
}

// hold counts one more way by which a view leads to a node.
func (w *world) hold(v *view, n *node) { w.count(v, n, holder{ways: 1}) }

// release counts one way less.
func (w *world) release(v *view, n *node) { w.count(v, n, holder{ways: -1}) }

// count counts ways by which a view leads to a node, and follows them.
func (w *world) count(v *view, n *node, more holder) {
	i := slices.IndexFunc(n.holders, func(h holder) bool { return h.view == v })
	if i < 0 {
		i = len(n.holders)
		n.holders = append(n.holders, holder{view: v})
		w.show(v, n)
		if v == w.views.common {
			w.inCommon(n, true)
		}
	}
	h := &n.holders[i]
	before := n.links.from(*h)
	h.ways += more.ways
	h.far += more.far
	after := n.links.from(*h)
	if h.ways < 0 || h.far < 0 {
		panic("bug: a view releases what it does not hold")
	}
	if h.ways == 0 {
		n.holders = slices.Delete(n.holders, i, i+1)
		w.touch(v)
		v.hide(n)
		if v == w.views.common {
			w.inCommon(n, false)
		}
	}
	w.holdAll(v, &n.links, after&^before)
	w.releaseAll(v, &n.links, before&^after)
	if after == 0 {
		w.forget(n)
	}
}

// show makes a view have a node's resource as it is.
func (w *world) show(v *view, n *node) {
	w.touch(v)
	v.show(n)
}

// node returns the node of a name.
func (w *world) node(name string) *node {
	n := w.nodes[name]
	if n == nil {
		n = &node{name: name}
		w.nodes[name] = n
	}
	return n
}

// forget drops a node that is nothing and that nobody names.
func (w *world) forget(n *node) {
	if n.resource != nil || n.users > 0 || len(n.holders) > 0 {
		return
	}
	delete(w.nodes, n.name)
	l := n.links
	n.links = links{}
	w.unlink(l)
}

// set makes r the resource of a node, nil where it has gone, and uses what it
// leads to.
func (w *world) set(name string, r *resource, to leads) {
	n := w.node(name)
	n.resource = r
	for _, h := range n.holders {
		w.show(h.view, n)
	}
	before := n.links
	n.links = w.link(to)
	for _, h := range slices.Clone(n.holders) {
		w.holdAll(h.view, &n.links, n.links.from(h))
		w.releaseAll(h.view, &before, before.from(h))
	}
	w.unlink(before)
	w.forget(n)
}

// link makes its node a user of what it leads to.
func (w *world) link(to leads) links {
	l := links{to: w.use(to.to), own: w.use(to.own), hop: to.hop}
	if to.endpoints != "" {
		l.endpoints = w.refer(to.endpoints)
	}
	if to.hop != nil && to.hop.Cluster != "" {
		l.waypoints = append(l.waypoints, w.refer(clusterName(to.hop.Cluster)))
	}
	if to.hop != nil && to.hop.Canary != nil {
		l.waypoints = append(l.waypoints, w.refer(clusterName(routing.WaypointCluster(to.hop.Canary.Gateway))))
	}
	return l
}

func (w *world) unlink(l links) {
	w.unuse(l.to)
	w.unuse(l.own)
	if l.endpoints != nil {
		w.unrefer(l.endpoints)
	}
	w.unuse(l.waypoints)
}

// refer returns the node of a name, for one more who names it.
func (w *world) refer(name string) *node {
	n := w.node(name)
	n.users++
	return n
}

func (w *world) unrefer(n *node) {
	n.users--
	w.forget(n)
}

func (w *world) use(names []string) []*node {
	var list []*node
	for _, name := range names {
		list = append(list, w.refer(name))
	}
	return list
}

func (w *world) unuse(list []*node) {
	for _, n := range list {
		w.unrefer(n)
	}
}
