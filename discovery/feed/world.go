package feed

import (
	"fmt"
	"log/slog"
	"slices"

	"fairway.dev/routing"
)

// A world is the whole Spec, divided among Gateways. One goroutine owns it.
//
// Parts that look the same to every Gateway are nodes of a graph: a listener
// names its certificates, a cluster its endpoints and its certificate. A view
// holds the nodes that its listeners and routes lead to, and counts the ways;
// a node that changes is changed in the views that hold it, and nowhere else.
type world struct {
	log      *slog.Logger
	views    *viewSet
	nodes    map[string]*node // by the name of the resource
	homes    map[routing.ListenerName]*view
	routes   map[routing.RouteName]*attachedRoute
	attached map[routing.ListenerName]map[routing.RouteName]struct{}
	touched  map[*view]struct{} // by the change under way: locked
}

// A node is a part, or the name of one that is not there.
type node struct {
	name     string
	resource *resource // nil: not there
	uses     []*node   // what it names
	users    int       // nodes and routes that name it
	holders  []holder
}

// A holder is a view that a node is in, and by how many ways.
type holder struct {
	view *view
	ways int
}

// An attachedRoute is a route, which looks different to each Gateway.
type attachedRoute struct {
	route *routing.Route
	uses  []*node
	views map[*view]struct{}
}

func newWorld(views *viewSet, log *slog.Logger) *world {
	return &world{
		log: log, views: views, nodes: map[string]*node{},
		homes:    map[routing.ListenerName]*view{},
		routes:   map[routing.RouteName]*attachedRoute{},
		attached: map[routing.ListenerName]map[routing.RouteName]struct{}{},
		touched:  map[*view]struct{}{},
	}
}

// update takes a change and returns the views that it touched. What d removes
// goes before what it puts in comes; of two parts with one name the last counts.
func (w *world) update(d *routing.Delta) []*view {
	w.passive(d)
	moved := map[routing.RouteName]struct{}{}
	w.listeners(d, moved)
	w.changeRoutes(d, moved)
	var touched []*view
	for v := range w.touched {
		v.settle()
		v.mu.Unlock()
		touched = append(touched, v)
	}
	clear(w.touched)
	return touched
}

// touch locks a view until the change is complete: its pods see all of it or
// nothing.
func (w *world) touch(v *view) {
	if _, ok := w.touched[v]; !ok {
		v.mu.Lock()
		w.touched[v] = struct{}{}
	}
}

// passive takes over the parts that others lead to. One that is too large to
// be sent leaves the one before it in place.
func (w *world) passive(d *routing.Delta) {
	for name, c := range edits(d.Removed.Certificates, d.Certificates, func(c *routing.Certificate) routing.CertificateName { return c.Name }) {
		if c == nil {
			w.set(certificateName(name), nil, nil)
		} else if r := w.fits(newCertificate(c)); r != nil {
			w.set(certificateName(name), r, nil)
		}
	}
	for name, e := range edits(d.Removed.Clusters, d.Endpoints, func(e *routing.Endpoints) routing.ClusterName { return e.Cluster }) {
		if e == nil {
			w.set(endpointsName(name), nil, nil)
		} else if r := w.fits(newResource(PartType, endpointsName(name), e)); r != nil {
			w.set(endpointsName(name), r, nil)
		}
	}
	for name, c := range edits(d.Removed.Clusters, d.Clusters, func(c *routing.Cluster) routing.ClusterName { return c.Name }) {
		if c == nil {
			w.set(clusterName(name), nil, nil)
		} else if r := w.fits(newResource(PartType, clusterName(name), c)); r != nil {
			w.set(clusterName(name), r, append(certificatesOf(c), endpointsName(name)))
		}
	}
}

// edits returns what a change says about each name: a part, or nil where it
// takes the part out.
func edits[K comparable, T any](removed []K, put []*T, name func(*T) K) map[K]*T {
	m := make(map[K]*T, len(removed)+len(put))
	for _, k := range removed {
		m[k] = nil
	}
	for _, part := range put {
		m[name(part)] = part
	}
	return m
}

// fits returns r, or nil where it is too large to be sent.
func (w *world) fits(r *resource) *resource {
	if r.size() > maxPart {
		w.log.Error("part too large for the feed", "origin", r.message.Name, "err", fmt.Errorf("%d bytes, want at most %d", r.size(), maxPart))
		return nil
	}
	return r
}

// node returns the node of a name, for one more user of it.
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
	uses := n.uses
	n.uses = nil
	w.unuse(uses)
}

// set makes r the resource of a node, nil where it has gone, and uses what it
// leads to.
func (w *world) set(name string, r *resource, uses []string) {
	n := w.node(name)
	n.resource = r
	for _, h := range n.holders {
		w.show(h.view, n)
	}
	before := n.uses
	n.uses = w.use(uses)
	for _, h := range n.holders {
		for _, u := range n.uses {
			w.hold(h.view, u)
		}
		for _, u := range before {
			w.release(h.view, u)
		}
	}
	w.unuse(before)
	w.forget(n)
}

func (w *world) use(names []string) []*node {
	var list []*node
	for _, name := range names {
		n := w.node(name)
		n.users++
		list = append(list, n)
	}
	return list
}

func (w *world) unuse(list []*node) {
	for _, n := range list {
		n.users--
		w.forget(n)
	}
}

// show makes a view have a node's resource as it is.
func (w *world) show(v *view, n *node) {
	w.touch(v)
	if n.resource == nil {
		v.remove(n.name)
	} else {
		v.put(n.resource)
	}
}

// hold counts one more way by which a view leads to a node.
func (w *world) hold(v *view, n *node) {
	for i := range n.holders {
		if n.holders[i].view == v {
			n.holders[i].ways++
			return
		}
	}
	n.holders = append(n.holders, holder{v, 1})
	w.show(v, n)
	for _, u := range n.uses {
		w.hold(v, u)
	}
}

// release counts one way less.
func (w *world) release(v *view, n *node) {
	i := slices.IndexFunc(n.holders, func(h holder) bool { return h.view == v })
	if i < 0 {
		panic("bug: a view releases what it does not hold")
	}
	if n.holders[i].ways--; n.holders[i].ways > 0 {
		return
	}
	n.holders = slices.Delete(n.holders, i, i+1)
	w.touch(v)
	v.remove(n.name)
	for _, u := range n.uses {
		w.release(v, u)
	}
	w.forget(n)
}
