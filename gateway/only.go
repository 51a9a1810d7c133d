package main

import "fairway.dev/routing"

// only lets through what one Gateway of a folder needs, as the control plane
// does for each pod: several processes may serve a folder, each its Gateway.
type only struct {
	gateway string // "shop/waypoint"
	foreign map[routing.ListenerName]bool
}

// of returns what of a change is for the Gateway.
func (o *only) of(d *routing.Delta) *routing.Delta {
	own := *d
	own.Listeners, own.Routes, own.Workloads = nil, nil, nil
	for _, name := range d.Removed.Listeners {
		delete(o.foreign, name)
	}
	for _, l := range d.Listeners {
		if l.Gateway == o.gateway {
			own.Listeners = append(own.Listeners, l)
		} else {
			o.foreign[l.Name] = true
		}
	}
	for _, r := range d.Routes {
		if r = o.route(r); len(r.Attached) > 0 {
			own.Routes = append(own.Routes, r)
		} else {
			own.Removed.Routes = append(own.Removed.Routes, r.Name)
		}
	}
	for _, w := range d.Workloads {
		if len(w.Gateways) > 0 && w.Gateways[0] == o.gateway {
			own.Workloads = append(own.Workloads, w)
		} else {
			own.Removed.Workloads = append(own.Removed.Workloads, w.Name)
		}
	}
	return &own
}

// route returns r without its attachments to other Gateways.
func (o *only) route(r *routing.Route) *routing.Route {
	own := *r
	own.Attached = nil
	for _, a := range r.Attached {
		if !o.foreign[a.Listener] {
			own.Attached = append(own.Attached, a)
		}
	}
	return &own
}
