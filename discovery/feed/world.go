package feed

import (
	"fmt"
	"log/slog"

	"fairway.dev/routing"
)

// A world is the whole Spec, divided among Gateways. One goroutine owns it.
//
// Parts that look the same to every Gateway are nodes of a graph: a listener
// names its certificates and policies, a cluster its endpoints and its
// certificate. A view holds the nodes that its listeners and routes lead to, and
// counts the ways; a node that changes is changed in the views that hold it, and
// nowhere else.
type world struct {
	log       *slog.Logger
	views     *viewSet
	nodes     map[string]*node // by the name of the resource
	homes     map[routing.ListenerName]home
	routes    map[routing.RouteName]*attachedRoute
	attached  map[routing.ListenerName]map[routing.RouteName]struct{}
	workloads map[routing.WorkloadName][]*view // that have it
	captures  map[routing.CaptureName]*view
	touched   map[*view]struct{} // by the change under way: locked, the common one first
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
		homes:     map[routing.ListenerName]home{},
		routes:    map[routing.RouteName]*attachedRoute{},
		attached:  map[routing.ListenerName]map[routing.RouteName]struct{}{},
		workloads: map[routing.WorkloadName][]*view{},
		captures:  map[routing.CaptureName]*view{},
		touched:   map[*view]struct{}{},
	}
}

// update takes a change and returns the views that it touched. What d removes
// goes before what it puts in comes; of two parts with one name the last counts.
func (w *world) update(d *routing.Delta) []*view {
	w.touch(w.views.common)
	before := w.views.common.number
	w.passive(d)
	w.mesh(d)
	moved := map[routing.RouteName]struct{}{}
	w.listeners(d, moved)
	w.changeRoutes(d, moved)
	var touched []*view
	for v := range w.touched {
		v.settle()
		if v != w.views.common || v.number != before {
			touched = append(touched, v)
		}
		v.mu.Unlock()
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
			w.set(certificateName(name), nil, leads{})
		} else if r := w.fits(newCertificate(c)); r != nil {
			w.set(certificateName(name), r, leads{})
		}
	}
	for name, e := range edits(d.Removed.Clusters, d.Endpoints, func(e *routing.Endpoints) routing.ClusterName { return e.Cluster }) {
		if e == nil {
			w.set(endpointsName(name), nil, leads{})
		} else if r := w.fits(newResource(PartType, endpointsName(name), e)); r != nil {
			w.set(endpointsName(name), r, leads{})
		}
	}
	for name, c := range edits(d.Removed.Clusters, d.Clusters, func(c *routing.Cluster) routing.ClusterName { return c.Name }) {
		if c == nil {
			w.set(clusterName(name), nil, leads{})
		} else if r := w.fits(newResource(PartType, clusterName(name), c)); r != nil {
			w.set(clusterName(name), r, leadsOf(c))
		}
	}
	for name, p := range edits(d.Removed.Policies, d.Policies, func(p *routing.Policy) routing.PolicyName { return p.Name }) {
		if p == nil {
			w.set(policyName(name), nil, leads{})
		} else if r := w.fits(newResource(PartType, policyName(name), p)); r != nil {
			w.set(policyName(name), r, leadsOfPolicy(p))
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
