package main

import (
	"net"
	"slices"

	discoveryv1 "k8s.io/api/discovery/v1"

	"fairway.dev/routing"
)

// peers are the other replicas of control, by the EndpointSlices of its
// Service.
type peers struct {
	bySlice map[routing.ObjectKey][]string // addresses with ports
}

// put takes over what a slice says now, nil where it is gone, and reports
// whether that changes anything.
func (p *peers) put(k routing.ObjectKey, slice *discoveryv1.EndpointSlice, port, self string) bool {
	var addresses []string
	if slice != nil {
		for _, e := range slice.Endpoints {
			if e.TargetRef != nil && e.TargetRef.Name == self || len(e.Addresses) == 0 {
				continue
			}
			if e.Conditions.Serving != nil && !*e.Conditions.Serving {
				continue
			}
			addresses = append(addresses, net.JoinHostPort(e.Addresses[0], port))
		}
	}
	if slices.Equal(p.bySlice[k], addresses) {
		return false
	}
	if p.bySlice == nil {
		p.bySlice = map[routing.ObjectKey][]string{}
	}
	if len(addresses) == 0 {
		delete(p.bySlice, k)
		return true
	}
	p.bySlice[k] = addresses
	return true
}

// all returns the addresses of the other replicas, each once.
func (p *peers) all() []string {
	var all []string
	for _, addresses := range p.bySlice {
		all = append(all, addresses...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// meetPeers hears of an EndpointSlice, which may be of control's own Service.
func (r *replica) meetPeers(k routing.ObjectKey) {
	if k.Namespace != r.options.namespace {
		return
	}
	slice, _ := r.source.Get(k).(*discoveryv1.EndpointSlice)
	if slice != nil && slice.Labels[discoveryv1.LabelServiceName] != r.options.service {
		return
	}
	_, port, _ := net.SplitHostPort(r.options.grpc)
	if r.peers.put(k, slice, port, r.name) {
		r.feed.SetPeers(r.peers.all())
	}
}
