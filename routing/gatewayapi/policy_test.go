package gatewayapi

import (
	"fmt"
	"strings"
	"testing"

	"fairway.dev/routing"
)

// PolicyStatus.ancestors: "A maximum of 16 ancestors will be represented". They
// are the first by name, so that they stay the same while others come and go.
func TestPolicyNamesSixteenAncestors(t *testing.T) {
	const theirs = "\nkind: Gateway\nmetadata: {namespace: shop, name: a-theirs}\nspec: {gatewayClassName: theirs, listeners: [{name: http, port: 80, protocol: HTTP}]}\n---"
	text := cart + theirs + policy("p", 1, "cart", "", "wellKnownCACertificates: System") + trafficPolicyDoc("q", 1, "cart", "") + "\n---"
	refs := []string{"{name: a-theirs}"}
	for i := range 20 {
		name := fmt.Sprintf("edge%02d", i)
		refs = append(refs, "{name: "+name+"}")
		text += strings.Replace(edge, "name: edge,", "name: "+name+",", 1)
	}
	text += strings.Replace(attachedRoute, "{name: edge}", strings.Join(refs, ", "), 1)
	s := newStage(t, text)
	for _, k := range []routing.ObjectKey{{Kind: "BackendTLSPolicy", Namespace: "shop", Name: "p"}, {Kind: "XBackendTrafficPolicy", Namespace: "shop", Name: "q"}} {
		ancestors := s.Reports[k].Ancestors
		if len(ancestors) != 16 {
			t.Fatalf("%s has %d ancestors, want 16", k, len(ancestors))
		}
		for i, a := range ancestors {
			if want := fmt.Sprintf("edge%02d", i); string(a.AncestorRef.Name) != want || a.Conditions[0].Status != "True" {
				t.Errorf("ancestor %d of %s is %s, %+v; want %s, accepted", i, k, a.AncestorRef.Name, a.Conditions, want)
			}
		}
	}
}

// A policy has no ancestor where it has no say: at a Gateway that passes TLS
// through, or that sends datagrams.
func TestPolicyHasNoAncestorsWithoutASay(t *testing.T) {
	s := newStage(t, passthrough+cart+stream("TLSRoute", "")+policy("p", 1, "cart", "", "wellKnownCACertificates: System"))
	key := routing.ObjectKey{Kind: "BackendTLSPolicy", Namespace: "shop", Name: "p"}
	if r := s.Reports[key]; len(r.Ancestors) > 0 {
		t.Errorf("at a listener that passes TLS through:\n%s", r)
	}
	s.load(strings.Replace(passthrough, "mode: Passthrough", "options: {fairway.dev/certificate: local-ca}", 1))
	if r := s.Reports[key]; len(r.Ancestors) != 1 {
		t.Errorf("at a listener that terminates TLS:\n%s", r)
	}
	s.load(listeners("{name: udp, port: 53, protocol: UDP}") + stream("UDPRoute", ""))
	if r := s.Reports[key]; len(r.Ancestors) > 0 {
		t.Errorf("at a listener of datagrams:\n%s", r)
	}
}
