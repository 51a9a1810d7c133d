package gatewayapi

import (
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing"
)

// A streamRule is a rule of a TLSRoute, TCPRoute or UDPRoute: the three say
// the same, and nothing of what is sent.
type streamRule gatewayv1.TCPRouteRule

// streamRules returns the rules of a route that sends connections, or
// datagrams. One without rules has one without backends: it takes what comes
// to its listener and refuses it, as it would with a backend that is not there.
func streamRules[R gatewayv1.TLSRouteRule | gatewayv1.TCPRouteRule | gatewayv1.UDPRouteRule](rules []R) []ruleSource {
	if len(rules) == 0 {
		rules = make([]R, 1)
	}
	out := make([]ruleSource, len(rules))
	for i := range rules {
		rule := streamRule(rules[i])
		backends := make([]gatewayv1.HTTPBackendRef, len(rule.BackendRefs))
		for j, ref := range rule.BackendRefs {
			backends[j].BackendRef = ref
		}
		out[i] = ruleSource{name: rule.Name, backends: backends, matches: takesAll}
		if i > 0 {
			out[i].matches = takesNone
		}
	}
	return out
}

// takesAll is a rule without matches.
func takesAll(*ruleBuilder, string) ([]routing.Match, bool) { return nil, true }

// takesNone is a rule after the first, which leaves nothing to it.
func takesNone(b *ruleBuilder, field string) ([]routing.Match, bool) {
	b.unsupported(field, "a second rule, which nothing would reach: want one")
	return nil, false
}
