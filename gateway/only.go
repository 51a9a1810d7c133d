package main

import (
	"maps"
	"slices"

	"fairway.dev/routing"
)

// only lets through what one Gateway of a folder needs, as the control plane
// does for each pod: several processes may serve a folder, each its Gateway.
type only struct {
	gateway string // "shop/waypoint"
	foreign map[routing.ListenerName]bool
	callers map[routing.ListenerName]bool              // its listeners by which workloads call
	shared  map[routing.ListenerName]*routing.Listener // what it has as long as there are such
}

func newOnly(gateway string) *only {
	return &only{gateway, map[routing.ListenerName]bool{}, map[routing.ListenerName]bool{}, map[routing.ListenerName]*routing.Listener{}}
}

// of returns what of a change is for the Gateway.
func (o *only) of(d *routing.Delta) *routing.Delta {
	own := *d
	own.Routes, own.Workloads = nil, nil
	o.listeners(d, &own)
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

// listeners has own have those of d that are for the Gateway: its own, and where
// workloads call through it those that are shared.
func (o *only) listeners(d, own *routing.Delta) {
	own.Listeners = nil
	called := len(o.callers) > 0
	for _, name := range d.Removed.Listeners {
		delete(o.foreign, name)
		delete(o.callers, name)
		delete(o.shared, name)
	}
	var shared []*routing.Listener
	for _, l := range d.Listeners {
		switch {
		case l.Shared():
			o.shared[l.Name] = l
			shared = append(shared, l)
		case l.Gateway != o.gateway:
			o.foreign[l.Name] = true
		default:
			own.Listeners = append(own.Listeners, l)
			if delete(o.callers, l.Name); l.Calls() {
				o.callers[l.Name] = true
			}
		}
	}
	switch calls := len(o.callers) > 0; {
	case calls && called:
		own.Listeners = append(own.Listeners, shared...)
	case calls:
		own.Listeners = slices.AppendSeq(own.Listeners, maps.Values(o.shared))
	case called:
		own.Removed.Listeners = slices.AppendSeq(slices.Clone(d.Removed.Listeners), maps.Keys(o.shared))
	}
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
