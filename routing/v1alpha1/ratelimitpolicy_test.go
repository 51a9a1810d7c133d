package v1alpha1

import (
	"strings"
	"testing"
)

func TestRateLimitPolicyDefinitionRefuses(t *testing.T) {
	const (
		gateway = "targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]\n"
		rule    = "rules: [{requests: 1, per: 1s}]\n"
	)
	tests := []struct{ spec, want string }{
		{gateway + rule, ""},
		{"targetRefs: [{group: '', kind: Service, name: cart, sectionName: http}]\n" + rule, ""},
		{"targetRefs: [{group: gateway.networking.k8s.io, kind: GRPCRoute, name: cart}]\n" + rule, ""},
		{rule, "spec.targetRefs"},
		{"targetRefs: []\n" + rule, "spec.targetRefs"},
		{"targetRefs: [{group: gateway.networking.k8s.io, kind: TLSRoute, name: cart}]\n" + rule, "want targets of kind Gateway"},
		{"targetRefs: [{group: apps, kind: Service, name: cart}]\n" + rule, "want targets of kind Gateway"},
		{gateway, "spec.rules"},
		{gateway + "rules: []", "spec.rules"},
		{gateway + "rules: [{requests: 0, per: 1s}]", "spec.rules[0].requests"},
		{gateway + "rules: [{requests: 1}]", "spec.rules[0].per"},
		{gateway + "rules: [{requests: 1, per: soon}]", "spec.rules[0].per"},
		{gateway + "rules: [{requests: 1, per: 1s, burst: -1}]", "spec.rules[0].burst"},
		{gateway + "rules: [{requests: 1, per: 1s, name: ''}]", "spec.rules[0].name"},
		{gateway + "rules: [{requests: 1, per: 1s, by: [source-ip, principal, 'header:X-User', 'claim:sub']}]", ""},
		{gateway + "rules: [{requests: 1, per: 1s, by: ['header:']}]", "spec.rules[0].by[0]"},
		{gateway + "rules: [{requests: 1, per: 1s, by: ['header:a b']}]", "spec.rules[0].by[0]"},
		{gateway + "rules: [{requests: 1, per: 1s, matches: [{path: {type: Exact, value: /a}, method: GET}]}]", ""},
		{gateway + "rules: [{requests: 1, per: 1s, matches: [{method: get}]}]", "spec.rules[0].matches[0].method"},
		{gateway + rule + "shared: {redis: {backendRef: {group: '', kind: Service, name: counts, port: 6379}}, timeout: 50ms}", ""},
		{gateway + rule + "shared: {service: {backendRef: {group: '', kind: Service, name: limiter, port: 8081}, domain: shop}}", ""},
		{gateway + rule + "shared: {}", "want one of redis and service"},
		{gateway + rule + "shared: {redis: {backendRef: {name: a, port: 1}}, service: {backendRef: {name: a, port: 1}, domain: d}}", "want one of redis and service"},
		{gateway + rule + "shared: {service: {backendRef: {name: a, port: 1}}}", "spec.shared.service.domain"},
	}
	for _, tt := range tests {
		got := strings.Join(refusals(t, "RateLimitPolicy", tt.spec), "; ")
		if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s: refused with %q, want %q", tt.spec, got, tt.want)
		}
	}
}
