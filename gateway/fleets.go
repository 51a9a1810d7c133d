package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/discovery/feed"
	"fairway.dev/discovery/provision"
	"fairway.dev/routing"
	"fairway.dev/routing/gatewayapi"
	"fairway.dev/tlsmgr/identity"
)

// fleets are the Gateways that are ours, as those who ask from other
// goroutines need them.
type fleets struct {
	trustDomain string

	mu        sync.Mutex
	gateways  map[string]*fleet // by "namespace/name"
	gatewayOf map[routing.ListenerName]string
}

// fleet is what is known of one Gateway.
type fleet struct {
	report  gatewayapi.Report
	ours    bool
	account string // the service account of its pods
	ports   map[routing.ListenerName]provision.Port
}

func gatewayName(k routing.ObjectKey) string { return k.Namespace + "/" + k.Name }

func gatewayKey(name string) routing.ObjectKey {
	namespace, name, _ := strings.Cut(name, "/")
	return routing.ObjectKey{Kind: "Gateway", Namespace: namespace, Name: name}
}

func (f *fleets) get(name string) *fleet {
	if f.gateways == nil {
		f.gateways = map[string]*fleet{}
		f.gatewayOf = map[routing.ListenerName]string{}
	}
	g := f.gateways[name]
	if g == nil {
		g = &fleet{ports: map[routing.ListenerName]provision.Port{}}
		f.gateways[name] = g
	}
	return g
}

// drop forgets a Gateway of which nothing is left.
func (f *fleets) drop(name string) {
	if g := f.gateways[name]; g != nil && !g.ours && len(g.ports) == 0 {
		delete(f.gateways, name)
	}
}

// listeners takes over where a change has listeners, and adds the Gateways
// whose ports are others now to touched.
func (f *fleets) listeners(d *routing.Delta, touched map[routing.ObjectKey]bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, name := range d.Removed.Listeners {
		gateway := f.gatewayOf[name]
		if g := f.gateways[gateway]; g != nil {
			delete(g.ports, name)
			touched[gatewayKey(gateway)] = true
			f.drop(gateway)
		}
		delete(f.gatewayOf, name)
	}
	for _, l := range d.Listeners {
		g := f.get(l.Gateway)
		port := provision.PortOf(l)
		if g.ports[l.Name] != port {
			touched[gatewayKey(l.Gateway)] = true
		}
		g.ports[l.Name] = port
		f.gatewayOf[l.Name] = l.Gateway
	}
}

// reports takes over what translation says of Gateways.
func (f *fleets) reports(reports []gatewayapi.Report, class func(routing.ObjectKey) string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range reports {
		if r.Object.Kind != "Gateway" {
			continue
		}
		name := gatewayName(r.Object)
		g := f.get(name)
		g.report, g.ours = r, !r.Gone
		if g.ours {
			g.account = provision.Name(r.Object.Name, class(r.Object))
		}
		f.drop(name)
	}
}

// of returns the last Report of a Gateway, its ports, and whether it is ours.
func (f *fleets) of(k routing.ObjectKey) (gatewayapi.Report, []provision.Port, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	g := f.gateways[gatewayName(k)]
	if g == nil {
		return gatewayapi.Report{}, nil, false
	}
	ports := make([]provision.Port, 0, len(g.ports))
	for _, p := range g.ports {
		ports = append(ports, p)
	}
	slices.SortFunc(ports, func(a, b provision.Port) int {
		return cmp.Or(cmp.Compare(a.Number, b.Number), cmp.Compare(a.Protocol, b.Protocol))
	})
	return g.report, slices.Compact(ports), g.ours
}

// names returns the Gateways that are ours, in order.
func (f *fleets) names() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var names []string
	for name, g := range f.gateways {
		if g.ours {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// authorize lets a peer have what a Gateway serves if it runs as the service
// account that the Gateway's pods have.
func (f *fleets) authorize(peer identity.ID, gateway string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	key := gatewayKey(gateway)
	if peer.TrustDomain != f.trustDomain || peer.Namespace != key.Namespace {
		return fmt.Errorf("%s asks for Gateway %s: want an identity of trust domain %q and namespace %q",
			peer, gateway, f.trustDomain, key.Namespace)
	}
	g := f.gateways[gateway]
	if g == nil || !g.ours {
		return feed.ErrUnknownGateway
	}
	if peer.ServiceAccount != g.account {
		return fmt.Errorf("%s asks for Gateway %s: want service account %q", peer, gateway, g.account)
	}
	return nil
}

// troubles are the Problems of translation, by object.
type troubles struct {
	mu sync.Mutex
	of map[routing.ObjectKey][]*routing.Problem
}

func (t *troubles) put(r gatewayapi.Report) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(r.Problems) == 0 {
		delete(t.of, r.Object)
		return
	}
	if t.of == nil {
		t.of = map[routing.ObjectKey][]*routing.Problem{}
	}
	t.of[r.Object] = r.Problems
}

// all returns the Problems in the order of the objects.
func (t *troubles) all() []*routing.Problem {
	t.mu.Lock()
	defer t.mu.Unlock()
	keys := make([]routing.ObjectKey, 0, len(t.of))
	for k := range t.of {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, compareKeys)
	var all []*routing.Problem
	for _, k := range keys {
		all = append(all, t.of[k]...)
	}
	return all
}

// classOf returns the name of a Gateway's class.
func classOf(gateway any) string {
	if g, ok := gateway.(*gatewayv1.Gateway); ok {
		return string(g.Spec.GatewayClassName)
	}
	return ""
}
