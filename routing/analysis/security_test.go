package analysis

import (
	"testing"

	security "istio.io/api/security/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
)

// allows puts the text of a rule into an AuthorizationPolicy of an action.
func allows(action, rule string) string { return "{action: " + action + ", rules: [" + rule + "]}" }

// source is a rule about who asks, operation one about what for, and when one
// about an attribute.
func source(text string) string    { return allows("ALLOW", "{from: [{source: {"+text+"}}]}") }
func operation(text string) string { return allows("ALLOW", "{to: [{operation: {"+text+"}}]}") }
func when(text string) string      { return allows("ALLOW", "{when: [{"+text+"}]}") }

const (
	ofSource    = "spec.rules[0].from[0].source"
	ofOperation = "spec.rules[0].to[0].operation"
	ofWhen      = "spec.rules[0].when[0]"
)

// securityTests are of what Istio's webhook refuses of the security API, and of
// what would not be in force as it is meant.
var securityTests = []struct{ kind, spec, want string }{
	{"AuthorizationPolicy", "{}", ""}, // denies all
	{"AuthorizationPolicy", "{rules: [{}]}", ""},
	{"AuthorizationPolicy", "{action: DENY}", "MissingField spec.rules"},
	{"AuthorizationPolicy", "{action: CUSTOM, provider: {name: p}}", "MissingField spec.rules"},
	{"AuthorizationPolicy", "{action: CUSTOM, rules: [{}]}", "MissingField spec.provider.name"},
	{"AuthorizationPolicy", "{action: AUDIT, rules: [{}], provider: {name: p}}", "ConflictingFields spec.provider"},
	{"AuthorizationPolicy", "{selector: {matchLabels: {a: b}}, targetRefs: [{kind: Service, name: cart}]}", "ConflictingFields spec"},
	{"AuthorizationPolicy", "{selector: {}}", "Warning IneffectiveField spec.selector"},
	{"AuthorizationPolicy", "{selector: {matchLabels: {a: 'b*'}}}", `InvalidLabel spec.selector.matchLabels["a"]`},
	{"AuthorizationPolicy", "{targetRef: {kind: Service, name: cart}}", "Warning DeprecatedField spec.targetRef"},
	{"AuthorizationPolicy", "{targetRefs: [{group: core, kind: Service, name: cart}, {group: networking.istio.io, kind: ServiceEntry, name: x}]}", ""},
	{"AuthorizationPolicy", "{targetRefs: [{group: gateway.networking.k8s.io, kind: GatewayClass, name: fairway-waypoint}]}", ""},
	{"AuthorizationPolicy", "{targetRefs: [{kind: Gateway, name: edge}]}", "UnsupportedTarget spec.targetRefs[0]"}, // no such group
	{"AuthorizationPolicy", "{targetRefs: [{kind: Pod, name: a}]}", "UnsupportedTarget spec.targetRefs[0]"},
	{"AuthorizationPolicy", "{targetRefs: [{kind: Service}]}", "MissingField spec.targetRefs[0].name"},
	{"AuthorizationPolicy", "{targetRefs: [{kind: Service, name: a, namespace: b}]}", "UnsupportedTarget spec.targetRefs[0].namespace"},
	{"AuthorizationPolicy", "{targetRefs: [{kind: Service, name: a, namespace: shop}]}", ""},

	{"AuthorizationPolicy", source(""), "MissingField " + ofSource},
	{"AuthorizationPolicy", source("principals: ['']"), "MissingField " + ofSource + ".principals[0]"},
	{"AuthorizationPolicy", source("principals: ['*', 'a*', '*a', a]"), ""},
	{"AuthorizationPolicy", source("principals: ['a*b']"), "Warning InvalidMatch " + ofSource + ".principals[0]"},
	{"AuthorizationPolicy", source("notRequestPrincipals: ['*a*']"), "Warning InvalidMatch " + ofSource + ".notRequestPrincipals[0]"},
	{"AuthorizationPolicy", source("namespaces: ['shop-*'], notNamespaces: ['*-dev']"), ""},
	{"AuthorizationPolicy", source("namespaces: ['*-a*b']"), ""}, // here stars may be anywhere
	{"AuthorizationPolicy", source("trustDomains: [a/b]"), "InvalidValue " + ofSource + ".trustDomains[0]"},
	{"AuthorizationPolicy", source("notTrustDomains: ['a*b']"), "InvalidMatch " + ofSource + ".notTrustDomains[0]"},
	{"AuthorizationPolicy", source("serviceAccounts: [cart, shop/cart]"), ""},
	{"AuthorizationPolicy", source("serviceAccounts: ['*']"), "InvalidValue " + ofSource + ".serviceAccounts[0]"},
	{"AuthorizationPolicy", source("serviceAccounts: [a/b/c]"), "InvalidValue " + ofSource + ".serviceAccounts[0]"},
	{"AuthorizationPolicy", source("notServiceAccounts: [/c]"), "InvalidValue " + ofSource + ".notServiceAccounts[0]"},
	{"AuthorizationPolicy", source("serviceAccounts: [a], namespaces: [b]"), "ConflictingFields " + ofSource},
	{"AuthorizationPolicy", source("ipBlocks: [10.0.0.0/8, 1.2.3.4, '::1'], notIpBlocks: [x]"), "InvalidAddress " + ofSource + ".notIpBlocks[0]"},
	{"AuthorizationPolicy", source("remoteIpBlocks: [10.0.0.0/33]"), "InvalidAddress " + ofSource + ".remoteIpBlocks[0]"},
	{"AuthorizationPolicy", source("notRemoteIpBlocks: ['']"), "MissingField " + ofSource + ".notRemoteIpBlocks[0]"},

	{"AuthorizationPolicy", operation(""), "MissingField " + ofOperation},
	{"AuthorizationPolicy", operation("ports: ['80', '0']"), "InvalidPort " + ofOperation + ".ports[1]"},
	{"AuthorizationPolicy", operation("notPorts: [http]"), "InvalidPort " + ofOperation + ".notPorts[0]"},
	{"AuthorizationPolicy", operation("hosts: ['*.example.com'], notHosts: ['a*b']"), "Warning InvalidMatch " + ofOperation + ".notHosts[0]"},
	{"AuthorizationPolicy", operation("methods: [GET], notMethods: ['']"), "MissingField " + ofOperation + ".notMethods[0]"},
	{"AuthorizationPolicy", operation("paths: [/a, '/a/*', '*/a', '/a/{*}/b/{**}', '/{**}/a']"), ""},
	{"AuthorizationPolicy", operation("paths: ['/{**}/{*}']"), "InvalidMatch " + ofOperation + ".paths[0]"},
	{"AuthorizationPolicy", operation("notPaths: ['/a{*}']"), "InvalidMatch " + ofOperation + ".notPaths[0]"},
	{"AuthorizationPolicy", operation("paths: ['/{id}']"), "InvalidMatch " + ofOperation + ".paths[0]"},
	{"AuthorizationPolicy", operation("paths: ['/{*}/a*']"), "InvalidMatch " + ofOperation + ".paths[0]"}, // no star beside a template

	{"AuthorizationPolicy", when("values: [a]"), "MissingField " + ofWhen + ".key"},
	{"AuthorizationPolicy", when("key: source.namespace"), "MissingField " + ofWhen},
	{"AuthorizationPolicy", when("key: 'request.headers[x-user]', values: [a], notValues: ['*b']"), ""},
	{"AuthorizationPolicy", when("key: 'request.headers[]', values: [a]"), "UnknownAttribute " + ofWhen + ".key"},
	{"AuthorizationPolicy", when("key: 'request.auth.claims[realm][roles]', values: [a]"), ""},
	{"AuthorizationPolicy", when("key: 'request.auth.claims[realm', values: [a]"), "UnknownAttribute " + ofWhen + ".key"},
	{"AuthorizationPolicy", when("key: source.ip, values: [10.0.0.0/8, x]"), "InvalidAddress " + ofWhen + ".values[1]"},
	{"AuthorizationPolicy", when("key: remote.ip, notValues: [x]"), "InvalidAddress " + ofWhen + ".notValues[0]"},
	{"AuthorizationPolicy", when("key: destination.ip, values: ['']"), "MissingField " + ofWhen + ".values[0]"},
	{"AuthorizationPolicy", when("key: destination.port, values: [http]"), "InvalidPort " + ofWhen + ".values[0]"},
	{"AuthorizationPolicy", when("key: source.serviceAccount, values: ['a*']"), "InvalidValue " + ofWhen + ".values[0]"},
	{"AuthorizationPolicy", when("key: source.trustDomain, values: [a/b]"), "InvalidValue " + ofWhen + ".values[0]"},
	{"AuthorizationPolicy", when("key: source.principal, values: ['*']"), ""},
	{"AuthorizationPolicy", when("key: 'destination.labels[a]', values: [a]"), "UnknownAttribute " + ofWhen + ".key"},
	{"AuthorizationPolicy", when("key: 'experimental.envoy.filters.network.mysql_proxy[a]', values: [a]"), "UnsupportedField " + ofWhen + ".key"},

	{"AuthorizationPolicy", allows("DENY", "{from: [{source: {requestPrincipals: [a]}}]}"), "Warning DeniesStreams spec.rules[0]"},
	{"AuthorizationPolicy", allows("DENY", "{from: [{source: {namespaces: [a]}}], to: [{operation: {paths: [/a]}}]}"), "Warning DeniesStreams spec.rules[0]"},
	{"AuthorizationPolicy", allows("DENY", "{from: [{source: {namespaces: [a]}}]}"), ""},
	{"AuthorizationPolicy", allows("DENY", "{to: [{operation: {paths: [/a], ports: ['80']}}]}"), ""},
	{"AuthorizationPolicy", "{action: CUSTOM, provider: {name: p}, rules: [{from: [{source: {principals: [a]}}]}]}", "UnsupportedField " + ofSource + ".principals"},
	{"AuthorizationPolicy", "{action: CUSTOM, provider: {name: p}, rules: [{from: [{source: {ipBlocks: [10.0.0.0/8]}}], to: [{operation: {paths: [/a]}}]}]}", ""},
	{"AuthorizationPolicy", "{action: CUSTOM, provider: {name: p}, rules: [{when: [{key: request.auth.principal, values: [a]}]}]}", "UnsupportedField " + ofWhen + ".key"},
	{"AuthorizationPolicy", "{action: CUSTOM, provider: {name: p}, rules: [{when: [{key: source.ip, values: [10.0.0.1]}]}]}", ""},

	{"RequestAuthentication", "{jwtRules: [{issuer: i, jwksUri: 'https://a.example/keys'}]}", ""},
	{"RequestAuthentication", "{targetRefs: [{kind: Pod, name: a}]}", "UnsupportedTarget spec.targetRefs[0]"},
	{"RequestAuthentication", "{jwtRules: [{}]}", "MissingField spec.jwtRules[0].issuer"},
	{"RequestAuthentication", "{jwtRules: [{issuer: i, audiences: ['']}]}", "MissingField spec.jwtRules[0].audiences[0]"},
	{"RequestAuthentication", "{jwtRules: [{issuer: i, jwks: '{}'}]}", "InvalidValue spec.jwtRules[0].jwks"},
	{"RequestAuthentication", `{jwtRules: [{issuer: i, jwks: '{"keys":[]}', jwksUri: 'https://a.example'}]}`, "Warning IneffectiveField spec.jwtRules[0].jwksUri"},
	{"RequestAuthentication", "{jwtRules: [{issuer: i, jwksUri: 'ftp://a.example'}]}", "InvalidValue spec.jwtRules[0].jwksUri"},
	{"RequestAuthentication", "{jwtRules: [{issuer: i, fromHeaders: [{name: 'a b'}]}]}", "InvalidHeader spec.jwtRules[0].fromHeaders[0].name"},
	{"RequestAuthentication", "{jwtRules: [{issuer: i, fromParams: [''], fromCookies: ['']}]}", "MissingField spec.jwtRules[0].fromParams[0]; MissingField spec.jwtRules[0].fromCookies[0]"},
	{"RequestAuthentication", "{jwtRules: [{issuer: i, outputPayloadToHeader: 'a b'}]}", "InvalidHeader spec.jwtRules[0].outputPayloadToHeader"},
	{"RequestAuthentication", "{jwtRules: [{issuer: i, outputClaimToHeaders: [{header: a.b}]}]}", "MissingField spec.jwtRules[0].outputClaimToHeaders[0].claim; InvalidHeader spec.jwtRules[0].outputClaimToHeaders[0].header"},
	{"RequestAuthentication", "{jwtRules: [{issuer: i, timeout: 0s}]}", "InvalidDuration spec.jwtRules[0].timeout"},
	{"RequestAuthentication", "{jwtRules: [{issuer: i, spaceDelimitedClaims: ['']}]}", "MissingField spec.jwtRules[0].spaceDelimitedClaims[0]"},

	{"PeerAuthentication", "{mtls: {mode: STRICT}}", ""},
	{"PeerAuthentication", "{mtls: {mode: DISABLE}}", "Warning UnsupportedValue spec.mtls.mode"},
	{"PeerAuthentication", "{portLevelMtls: {'80': {mode: STRICT}}}", "ConflictingFields spec.portLevelMtls"},
	{"PeerAuthentication", "{selector: {matchLabels: {a: b}}, portLevelMtls: {'80': {mode: STRICT}, '70000': {mode: DISABLE}}}",
		"InvalidPort spec.portLevelMtls[70000]; Warning UnsupportedValue spec.portLevelMtls[70000].mode"},
	{"PeerAuthentication", "{selector: {matchLabels: {'a b': b}}}", `InvalidLabel spec.selector.matchLabels["a b"]`},
}

// Annotation istio.io/dry-run: true or false, and for ALLOW and DENY.
func TestValidateDryRun(t *testing.T) {
	tests := []struct {
		text   string
		action security.AuthorizationPolicy_Action
		want   string
	}{
		{"true", security.AuthorizationPolicy_DENY, ""},
		{"false", security.AuthorizationPolicy_AUDIT, ""},
		{"maybe", security.AuthorizationPolicy_DENY, "Warning InvalidValue metadata.annotations[istio.io/dry-run]"},
		{"true", security.AuthorizationPolicy_AUDIT, "Warning IneffectiveField metadata.annotations[istio.io/dry-run]"},
	}
	for _, tt := range tests {
		o := &securityv1.AuthorizationPolicy{}
		o.Annotations = map[string]string{"istio.io/dry-run": tt.text}
		o.Spec.Action, o.Spec.Rules = tt.action, []*security.Rule{{}}
		if got := lines(Validate(o)); got != tt.want {
			t.Errorf("dry-run %q of %v: %q, want %q", tt.text, tt.action, got, tt.want)
		}
	}
	o := &securityv1.AuthorizationPolicy{}
	o.Spec.Action, o.Spec.Rules = 9, []*security.Rule{{}}
	if got, want := lines(Validate(o)), "InvalidValue spec.action"; got != want {
		t.Errorf("action 9: %q, want %q", got, want)
	}
}
