package gatewayapi

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing"
	"fairway.dev/routing/v1alpha1"
)

// rateLimitPolicy draws one for histories.
func (c chance) rateLimitPolicy() (string, metav1.Object) {
	o := &v1alpha1.RateLimitPolicy{ObjectMeta: c.meta(c.ns(), "l1", "l2", "l3")}
	for range 1 + c.IntN(2) {
		ref := gatewayv1.LocalPolicyTargetReferenceWithSectionName{SectionName: some[gatewayv1.SectionName](c, "web", "l1", "x")}
		ref.Kind = pick[gatewayv1.Kind](c, "Gateway", "Service", "HTTPRoute", "GRPCRoute", "TLSRoute")
		ref.Name = pick[gatewayv1.ObjectName](c, "g1", "s1", "r1", "r2")
		if ref.Kind != "Service" {
			ref.Group = gatewayv1.GroupName
		}
		o.Spec.TargetRefs = append(o.Spec.TargetRefs, ref)
	}
	o.Spec.Rules = []v1alpha1.RateLimitRule{{
		Requests: int32(c.IntN(3)), Per: pick[gatewayv1.Duration](c, "1s", "1s", "1m", "soon"), By: pick(c, nil, []string{"source-ip"}, []string{"moon"}),
		Matches: pick(c, nil, []gatewayv1.HTTPRouteMatch{{Path: &gatewayv1.HTTPPathMatch{Value: some(c, "/a", "a")}}}),
	}}
	switch c.IntN(4) {
	case 0:
		o.Spec.Shared = &v1alpha1.SharedRateLimit{Redis: &v1alpha1.RateLimitStore{BackendRef: c.ref()}}
	case 1:
		o.Spec.Shared = &v1alpha1.SharedRateLimit{Service: &v1alpha1.RateLimitService{BackendRef: c.ref(), Domain: "d"}, Timeout: some[gatewayv1.Duration](c, "5ms", "1h")}
	}
	o.Spec.FailClosed = some(c, true)
	return kindRateLimit, o
}

// limitDoc is a RateLimitPolicy on a target.
func limitDoc(name, target, more string) string {
	return "\nkind: RateLimitPolicy\nmetadata: {namespace: shop, name: " + name + "}\nspec:\n  targetRefs: [" + target + "]\n  rules: [{requests: 5, per: 1s}]\n  " + more + "\n---"
}

const onEdge = "{group: gateway.networking.k8s.io, kind: Gateway, name: edge}"

// A policy closer to the workload adds to one further out: the names of all of them
// are on the listener and on the rule.
func TestRateLimitsAddUp(t *testing.T) {
	s := newStage(t, edge+cart+attachedRoute+limitDoc("b", onEdge, "")+limitDoc("a", onEdge, "")+
		limitDoc("c", "{group: gateway.networking.k8s.io, kind: HTTPRoute, name: r}", ""))
	for _, l := range s.Spec.Listeners {
		if got := names(l.Policies); got != "RateLimitPolicy/shop/a RateLimitPolicy/shop/b" {
			t.Errorf("listener %s has %s", l.Name, got)
		}
	}
	for _, r := range s.Spec.Routes {
		if got := names(r.Rules[0].Action.Policies); got != "RateLimitPolicy/shop/c" {
			t.Errorf("route %s has %s", r.Name, got)
		}
	}
	s.load(limitDoc("b", "{group: gateway.networking.k8s.io, kind: Gateway, name: other}", ""))
	for _, l := range s.Spec.Listeners {
		if got := names(l.Policies); got != "RateLimitPolicy/shop/a" {
			t.Errorf("listener %s has %s, after b has gone to another Gateway", l.Name, got)
		}
	}
}

func names(list []routing.PolicyName) string {
	var b strings.Builder
	for _, n := range list {
		b.WriteString(" " + string(n))
	}
	return strings.TrimPrefix(b.String(), " ")
}

// A policy that is not valid counts nothing, and stays where it is: with failClosed
// nobody passes.
func TestRateLimitsThatAreNotValid(t *testing.T) {
	const both = "shared: {redis: {backendRef: {name: cart, port: 8080}}, service: {backendRef: {name: cart, port: 8080}, domain: d}}\n  failClosed: true"
	key := routing.ObjectKey{Kind: kindRateLimit, Namespace: "shop", Name: "a"}
	tests := []struct{ what, more, want string }{
		{"two stores", both, "want one of redis and service"},
		{"a timeout", "shared: {redis: {backendRef: {name: cart, port: 8080}}, timeout: 1m}", "shared: timeout 1m0s: want 0-1s"},
		{"a timeout that is none", "shared: {redis: {backendRef: {name: cart, port: 8080}}, timeout: soon}", `duration "soon": want one such as 1h30m or 500ms (GEP-2257)`},
		{"a service without a domain", "shared: {service: {backendRef: {name: cart, port: 8080}, domain: ''}}", "shared: want a domain for the rate limit service"},
	}
	for _, tt := range tests {
		s := newStage(t, edge+cart+attachedRoute+limitDoc("a", onEdge, tt.more))
		p := s.Spec.Policies["RateLimitPolicy/shop/a"]
		if p == nil || p.RateLimit.Check() == nil || p.RateLimit.FailClosed != strings.Contains(tt.more, "failClosed: true") {
			t.Errorf("%s: %+v: want a policy that cannot be had", tt.what, p)
		}
		report := s.Reports[key]
		if len(report.Ancestors) != 1 {
			t.Fatalf("%s:\n%s", tt.what, report)
		}
		c := report.Ancestors[0].Conditions[0]
		if c.Type != "Accepted" || c.Status != metav1.ConditionFalse || c.Reason != "Invalid" || c.Message != tt.want {
			t.Errorf("%s: %+v, want %s", tt.what, c, tt.want)
		}
	}
}
