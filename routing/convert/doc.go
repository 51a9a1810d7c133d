// Package convert writes the objects of other APIs anew in Gateway API: Istio's
// VirtualServices, Gateways, DestinationRules and ServiceEntries, and Ingresses
// with the annotations of ingress-nginx.
//
// The law: nothing is lost in silence. What Gateway API can say is said, by
// several matches or rules where it takes more than one; all else is in
// [Result.Findings], with one of these codes:
//
//   - RuleClosed: the rule cannot be said, and to leave it out, or out of it what
//     guards it, would let requests through to where their author did not send
//     them. It is there without backends, and answers with an error until
//     somebody mends it.
//   - NotConverted: a field, a match or an object that is not in the output.
//   - MeaningChanged: it is in the output, but not for every request the same.
//   - OrderNotKept: requests that fall under two rules get the other one than
//     before.
//   - Assumed: what the input does not say, as the Service that would say it is
//     not in it.
//
// # Order
//
// The rules of a VirtualService are tried in their order, those of an HTTPRoute
// by how specific their matches are. Where the more specific match of a later
// rule would take requests from an earlier rule, the earlier one is given the
// match of both in addition, which is more specific than either; and a match
// that no request reaches is left out. With expressions, of which nobody can
// say what falls under two of them, it is a finding instead.
//
// # Prefixes
//
// Istio's prefix "/shop" is of the text, and covers "/shopping"; Gateway API's
// is of segments. It becomes two matches: the prefix "/shop", and the expression
// "/shop[^/].*". A rule that rewrites by the prefix has the first alone.
package convert

import (
	corev1 "k8s.io/api/core/v1"
	ingressv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"fairway.dev/routing"
)

// Input is what there is to convert. Services are looked at for their ports and
// selectors, and are not in the output.
type Input struct {
	Gateways         []*networkingv1.Gateway
	VirtualServices  []*networkingv1.VirtualService
	DestinationRules []*networkingv1.DestinationRule
	ServiceEntries   []*networkingv1.ServiceEntry
	Ingresses        []*ingressv1.Ingress
	Services         []*corev1.Service
}

// Options say what the output is to look like. The zero Options are ready to use.
type Options struct {
	// Class is the GatewayClass of the Gateways. If empty, "fairway".
	Class string
	// Gateway is the one that Ingresses are attached to. If empty, "default/ingress".
	Gateway routing.ObjectKey
}

// An Object is one of the output, with its apiVersion and kind.
type Object interface {
	metav1.Object
	runtime.Object
}

// Result is what came of it.
type Result struct {
	// Objects are in the order of their kinds, namespaces and names: Gateways,
	// routes, then what these need.
	Objects []Object
	// From says which objects of the input an object was made of.
	From map[Object][]routing.ObjectKey
	// Findings are in the order of the input.
	Findings []*routing.Problem
}

// The codes of findings.
const (
	RuleClosed     routing.Reason = "RuleClosed"
	NotConverted   routing.Reason = "NotConverted"
	MeaningChanged routing.Reason = "MeaningChanged"
	OrderNotKept   routing.Reason = "OrderNotKept"
	Assumed        routing.Reason = "Assumed"
)

// Convert converts in, which is not changed. It is pure: the same input gives
// the same output.
func Convert(in Input, o Options) *Result {
	if o.Class == "" {
		o.Class = "fairway"
	}
	if o.Gateway.Name == "" {
		o.Gateway = routing.ObjectKey{Kind: "Gateway", Namespace: "default", Name: "ingress"}
	}
	c := newConverter(in, o)
	c.gateways()
	c.virtualServices()
	c.destinationRules()
	c.serviceEntries()
	c.ingresses()
	return c.result()
}
