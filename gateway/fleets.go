package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/types"
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
	agents      account // of node agents; zero: there are none
	// owner returns the UID of the Gateway that a service account was made for,
	// by the API server.
	owner func(account) (types.UID, error)

	mu        sync.Mutex
	gateways  map[string]*fleet // by "namespace/name"
	gatewayOf map[routing.ListenerName]string
	accounts  map[account]int // of how many Gateways
}

// An account is a service account.
type account struct{ namespace, name string }

// fleet is what is known of one Gateway.
type fleet struct {
	report  gatewayapi.Report
	ours    bool
	account account   // of its pods; zero if it is not ours
	uid     types.UID // of the Gateway
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
		f.accounts = map[account]int{}
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
		if l.Shared() { // nobody's, and neither bound nor has it routes
			continue
		}
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
func (f *fleets) reports(reports []gatewayapi.Report) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range reports {
		if r.Object.Kind != "Gateway" {
			continue
		}
		name := gatewayName(r.Object)
		g := f.get(name)
		if g.report, g.ours = r, !r.Gone; r.Gone {
			f.identify(g, account{})
		}
		f.drop(name)
	}
}

// runs notes as whom the pods of a Gateway run, if it is ours.
func (f *fleets) runs(gateway *gatewayv1.Gateway) {
	f.mu.Lock()
	defer f.mu.Unlock()
	g := f.gateways[gateway.Namespace+"/"+gateway.Name]
	if g == nil || !g.ours {
		return
	}
	g.uid = gateway.UID
	f.identify(g, account{gateway.Namespace, provision.Name(gateway.Name, string(gateway.Spec.GatewayClassName))})
}

// identify is called with the lock held.
func (f *fleets) identify(g *fleet, as account) {
	if g.account == as {
		return
	}
	if f.accounts[g.account]--; f.accounts[g.account] <= 0 {
		delete(f.accounts, g.account)
	}
	if g.account = as; as != (account{}) {
		f.accounts[as]++
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
	var ports []provision.Port
	for _, p := range g.ports {
		if p != (provision.Port{}) { // which a door has: there may be thousands
			ports = append(ports, p)
		}
	}
	slices.SortFunc(ports, func(a, b provision.Port) int {
		return cmp.Or(cmp.Compare(a.Number, b.Number), cmp.Compare(a.Protocol, b.Protocol))
	})
	return g.report, slices.Compact(ports), g.ours
}

// gatewayWith returns the Gateway of a listener.
func (f *fleets) gatewayWith(l routing.ListenerName) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.gatewayOf[l]
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

// isAgent reports whether a peer is one of the node agents.
func (f *fleets) isAgent(peer identity.ID) bool {
	return f.agents != (account{}) && peer == identity.ID{TrustDomain: f.trustDomain, Namespace: f.agents.namespace, ServiceAccount: f.agents.name}
}

// known returns an error unless some Gateway's pods have that identity, or node
// agents.
func (f *fleets) known(peer identity.ID) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.isAgent(peer) {
		return nil
	}
	if peer.TrustDomain != f.trustDomain || f.accounts[account{peer.Namespace, peer.ServiceAccount}] == 0 {
		return fmt.Errorf("%s: want a service account of a Gateway's pods", peer)
	}
	return nil
}

// authorize lets a peer have what a Gateway serves if it runs as the service
// account that the Gateway's pods have. What node agents need is for these.
func (f *fleets) authorize(peer identity.ID, gateway string) error {
	if gateway == feed.CaptureGateway {
		if !f.isAgent(peer) {
			return fmt.Errorf("%s asks for what node agents need: want service account %q of namespace %q", peer, f.agents.name, f.agents.namespace)
		}
		return nil
	}
	key := gatewayKey(gateway)
	if peer.TrustDomain != f.trustDomain || peer.Namespace != key.Namespace {
		return fmt.Errorf("%s asks for Gateway %s: want an identity of trust domain %q and namespace %q",
			peer, gateway, f.trustDomain, key.Namespace)
	}
	f.mu.Lock()
	g := f.gateways[gateway]
	if g == nil || !g.ours || g.account == (account{}) {
		f.mu.Unlock()
		return feed.ErrUnknownGateway
	}
	as, uid, shared := g.account, g.uid, f.accounts[g.account] > 1
	f.mu.Unlock()
	if peer.ServiceAccount != as.name {
		return fmt.Errorf("%s asks for Gateway %s: want service account %q", peer, gateway, as.name)
	}
	if !shared {
		return nil
	}
	// Two Gateways come to one name: the account is the one's that it was made
	// for, and the other has no pods.
	owner, err := f.owner(as)
	switch {
	case err != nil:
		return fmt.Errorf("%w: whose service account %q is: %w", feed.ErrUnknownGateway, as.name, err)
	case owner != uid:
		return fmt.Errorf("%s asks for Gateway %s: its service account is another Gateway's", peer, gateway)
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

// notInForce returns how many say that something is not in force.
func (t *troubles) notInForce() (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, problems := range t.of {
		n += len(errorsOf(problems))
	}
	return n
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
