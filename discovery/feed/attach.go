package feed

import (
	"maps"

	"fairway.dev/routing"
)

// A home is where a listener is: the view of its Gateway, and for an HBONE
// listener that of node agents, which send connections to its Gateway.
type home struct {
	view, agents *view
	calls        bool // workloads call through the Gateway by it
}

// waypointOf is the cluster of a view's pods.
func waypointOf(v *view) string { return clusterName(routing.WaypointCluster(v.gateway)) }

// listeners takes the listeners of a change. Routes that are attached to those
// that came, left or moved to another Gateway are added to moved.
func (w *world) listeners(d *routing.Delta, moved map[routing.RouteName]struct{}) {
	for name, l := range edits(d.Removed.Listeners, d.Listeners, func(l *routing.Listener) routing.ListenerName { return l.Name }) {
		old := w.homes[name]
		before := old.view
		var after *view
		var r *resource
		var to leads
		if l != nil {
			after = w.views.acquire(l.Gateway)
			r = w.fits(newResource(PartType, listenerName(name), l))
			to = leadsOfListener(l)
		}
		if before != nil && before != after {
			w.release(before, w.node(listenerName(name)))
			delete(before.listeners, name)
		}
		w.set(listenerName(name), r, to)
		if after != nil {
			w.touch(after)
			delete(after.listeners, name)
			if !l.Inside {
				after.listeners[name] = l
			}
			h := home{after, w.tellAgents(l, after), l.Calls()}
			if w.homes[name] = h; h.calls {
				w.calls(after, 1)
			}
		} else {
			delete(w.homes, name)
		}
		if before != after {
			if after != nil {
				w.hold(after, w.node(listenerName(name)))
			}
			maps.Copy(moved, w.attached[name])
		}
		w.leaveHome(old)
	}
}

// tellAgents has node agents know the pods of a Gateway that takes what they
// capture; it returns their view, one user more of it, or nil.
func (w *world) tellAgents(l *routing.Listener, v *view) *view {
	if l.Protocol != routing.HBONE || l.Inside {
		return nil
	}
	agents := w.views.acquire(CaptureGateway)
	w.hold(agents, w.refer(waypointOf(v)))
	return agents
}

// leaveHome gives back what a listener had.
func (w *world) leaveHome(h home) {
	if h.agents != nil {
		n := w.node(waypointOf(h.view))
		w.release(h.agents, n)
		w.unrefer(n)
		w.views.release(h.agents)
	}
	if h.calls {
		w.calls(h.view, -1)
	}
	if h.view != nil {
		w.views.release(h.view)
	}
}

// changeRoutes takes the routes of a change, and those that moved.
func (w *world) changeRoutes(d *routing.Delta, moved map[routing.RouteName]struct{}) {
	edited := edits(d.Removed.Routes, d.Routes, func(r *routing.Route) routing.RouteName { return r.Name })
	for name := range moved {
		if _, ok := edited[name]; !ok {
			edited[name] = w.routes[name].route
		}
	}
	for name, r := range edited {
		w.setRoute(name, r)
	}
}

// setRoute puts a route, or nothing where it is nil, in the place of the old one.
func (w *world) setRoute(name routing.RouteName, r *routing.Route) {
	before := w.routes[name]
	if before == nil {
		before = &attachedRoute{}
	}
	after := &attachedRoute{route: r, views: map[*view]struct{}{}}
	if r != nil {
		after.uses = w.use(namesIn(routeName(name), r))
		w.routes[name] = after
	} else {
		delete(w.routes, name)
	}
	w.index(before.route, r)
	for v, part := range w.divide(r) {
		after.views[v] = struct{}{}
		for _, u := range after.uses {
			w.hold(v, u)
		}
		w.touch(v)
		if res := w.fits(newResource(PartType, routeName(name), part)); res != nil {
			v.put(res)
		} else {
			v.remove(routeName(name))
		}
	}
	for v := range before.views {
		if _, ok := after.views[v]; !ok {
			w.touch(v)
			v.remove(routeName(name))
		}
		for _, u := range before.uses {
			w.release(v, u)
		}
	}
	w.unuse(before.uses)
}

// index remembers which routes name a listener.
func (w *world) index(before, after *routing.Route) {
	if before != nil {
		for _, a := range before.Attached {
			delete(w.attached[a.Listener], before.Name)
			if len(w.attached[a.Listener]) == 0 {
				delete(w.attached, a.Listener)
			}
		}
	}
	if after != nil {
		for _, a := range after.Attached {
			if w.attached[a.Listener] == nil {
				w.attached[a.Listener] = map[routing.RouteName]struct{}{}
			}
			w.attached[a.Listener][after.Name] = struct{}{}
		}
	}
}

// divide returns what each Gateway gets of a route: no Gateway learns to what
// else it is attached.
func (w *world) divide(r *routing.Route) map[*view]*routing.Route {
	if r == nil {
		return nil
	}
	parts := map[*view]*routing.Route{}
	for _, a := range r.Attached {
		v := w.homes[a.Listener].view
		if v == nil || v == w.views.common { // a route would look different to each Gateway
			continue
		}
		part := parts[v]
		if part == nil {
			part = new(routing.Route)
			*part = *r
			part.Attached = nil
			parts[v] = part
		}
		part.Attached = append(part.Attached, a)
	}
	return parts
}
