package gatewayapi

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairway.dev/routing"
)

// Pieces of worlds. A row of TestConditions puts some together.
const (
	gatewayDoc = `
kind: Gateway
metadata: {namespace: shop, name: edge, generation: 5}
spec:
  gatewayClassName: fairway
`
	edge = gatewayDoc + `
  listeners: [{name: http, port: 80, protocol: HTTP}]
---`
	cart = `
kind: Service
metadata: {namespace: shop, name: cart}
spec: {ports: [{name: web, port: 80}]}
---`
	routeDoc = `
kind: HTTPRoute
metadata: {namespace: shop, name: r, generation: 6}
spec:
`
	toCart = `
  parentRefs: [{name: edge}]
  rules: [{backendRefs: [{name: cart, port: 80}]}]
---`
	attachedRoute = routeDoc + toCart
)

// passthrough is a Gateway that passes TLS through.
const passthrough = gatewayDoc + "  listeners: [{name: tls, port: 443, protocol: TLS, hostname: '*.example.com', tls: {mode: Passthrough}}]\n---"

// stream writes a route for connections or datagrams to the cart.
func stream(kind, fields string) string {
	return "\nkind: " + kind + "\nmetadata: {namespace: shop, name: r}\nspec: {parentRefs: [{name: edge}], rules: [{backendRefs: [{name: cart, port: 80}]}], " +
		fields + "}\n---"
}

// route writes a route to the cart with one rule of fields.
func route(fields string) string {
	return edge + cart + routeDoc + `
  parentRefs: [{name: edge}]
  rules: [{` + fields + `}]
---`
}

func listeners(list string) string { return gatewayDoc + "  listeners: [" + list + "]\n---" }

// A conditionTest is a world, and a condition that is reported in it.
type conditionTest struct {
	name   string
	world  string
	object string // "HTTPRoute shop/r"
	of     string // "" the object itself, "listener http", "parent 0", "ancestor 0"
	want   string // "Accepted=False NoMatchingParent"; "no PartiallyInvalid"
	says   string // part of the message
}

func TestConditions(t *testing.T) {
	tests := []conditionTest{
		{"class", "kind: GatewayClass\nmetadata: {name: x}\nspec: {controllerName: fairway.dev/gateway-controller}",
			"GatewayClass x", "", "Accepted=True Accepted", ""},
		{"class with parameters", "kind: GatewayClass\nmetadata: {name: x}\nspec: {controllerName: fairway.dev/gateway-controller, parametersRef: {group: '', kind: ConfigMap, name: y}}",
			"GatewayClass x", "", "Accepted=False InvalidParameters", "ConfigMap"},

		{"gateway", edge, "Gateway shop/edge", "", "Accepted=True Accepted", ""},
		{"gateway is programmed", edge, "Gateway shop/edge", "", "Programmed=True Programmed", ""},
		{"gateway of a class that is not accepted", "kind: GatewayClass\nmetadata: {name: fairway}\nspec: {controllerName: fairway.dev/gateway-controller, parametersRef: {group: '', kind: ConfigMap, name: y}}\n---" + edge,
			"Gateway shop/edge", "", "Accepted=False InvalidParameters", "GatewayClass fairway"},
		{"gateway with parameters", edge + gatewayDoc + "  infrastructure: {parametersRef: {group: '', kind: ConfigMap, name: x}}\n  listeners: [{name: http, port: 80, protocol: HTTP}]",
			"Gateway shop/edge", "", "Accepted=False InvalidParameters", "ConfigMap"},
		{"address of a strange type", gatewayDoc + "  addresses: [{type: Hostname, value: a.b}]\n  listeners: [{name: http, port: 80, protocol: HTTP}]",
			"Gateway shop/edge", "", "Accepted=False UnsupportedAddress", "Hostname"},
		{"address that is none", gatewayDoc + "  addresses: [{value: x}]\n  listeners: [{name: http, port: 80, protocol: HTTP}]",
			"Gateway shop/edge", "", "Programmed=False AddressNotUsable", `"x"`},
		{"address without value", gatewayDoc + "  addresses: [{}]\n  listeners: [{name: http, port: 80, protocol: HTTP}]",
			"Gateway shop/edge", "", "Programmed=False AddressNotAssigned", ""},
		{"no good listener", listeners("{name: a, port: 1, protocol: SCTP}"), "Gateway shop/edge", "", "Accepted=False ListenersNotValid", "a"},
		{"no good listener, programmed", listeners("{name: a, port: 1, protocol: SCTP}"), "Gateway shop/edge", "", "Programmed=False Invalid", ""},
		{"one good listener", listeners("{name: a, port: 1, protocol: SCTP}, {name: b, port: 80, protocol: HTTP}"),
			"Gateway shop/edge", "", "Accepted=True ListenersNotValid", "a"},
		{"one good listener, programmed", listeners("{name: a, port: 1, protocol: SCTP}, {name: b, port: 80, protocol: HTTP}"),
			"Gateway shop/edge", "", "Programmed=True Programmed", ""},
		{"unresolved listener", listeners("{name: a, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: x}]}}"),
			"Gateway shop/edge", "", "ResolvedRefs=False ListenersNotResolved", "Secret shop/x"},

		{"protocol", listeners("{name: a, port: 1, protocol: SCTP}"), "Gateway shop/edge", "listener a", "Accepted=False UnsupportedProtocol", "SCTP"},
		{"port", listeners("{name: a, port: 70000, protocol: HTTP}"), "Gateway shop/edge", "listener a", "Accepted=False UnsupportedValue", "70000"},
		{"kinds", listeners("{name: a, port: 80, protocol: HTTP, allowedRoutes: {kinds: [{kind: TCPRoute}]}}"),
			"Gateway shop/edge", "listener a", "ResolvedRefs=False InvalidRouteKinds", "TCPRoute"},
		{"kinds, programmed", listeners("{name: a, port: 80, protocol: HTTP, allowedRoutes: {kinds: [{kind: TCPRoute}]}}"),
			"Gateway shop/edge", "listener a", "Programmed=True Programmed", ""},
		{"namespaces", listeners("{name: a, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: Here}}}"),
			"Gateway shop/edge", "listener a", "Accepted=False UnsupportedValue", "from Here"},
		{"selector", listeners("{name: a, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: Selector, selector: {matchExpressions: [{key: x, operator: Odd}]}}}}"),
			"Gateway shop/edge", "listener a", "Accepted=False UnsupportedValue", "Odd"},
		{"same hostname", listeners("{name: a, port: 80, protocol: HTTP, hostname: x.y}, {name: b, port: 80, protocol: HTTP, hostname: X.y}"),
			"Gateway shop/edge", "listener a", "Conflicted=True HostnameConflict", "listener b"},
		{"same hostname, accepted", listeners("{name: a, port: 80, protocol: HTTP, hostname: x.y}, {name: b, port: 80, protocol: HTTP, hostname: X.y}"),
			"Gateway shop/edge", "listener b", "Accepted=False HostnameConflict", "listener a"},
		{"two protocols", listeners("{name: a, port: 80, protocol: HTTP, hostname: x.y}, {name: b, port: 80, protocol: HTTPS, hostname: z.y, tls: {options: {fairway.dev/certificate: local-ca}}}"),
			"Gateway shop/edge", "listener a", "Conflicted=True ProtocolConflict", "HTTPS"},
		{"no conflict", edge, "Gateway shop/edge", "listener http", "Conflicted=False NoConflicts", ""},
		{"overlapping", listeners("{name: a, port: 443, protocol: HTTPS, hostname: x.y, tls: {options: {fairway.dev/certificate: local-ca}}}, {name: b, port: 443, protocol: HTTPS, tls: {options: {fairway.dev/certificate: local-ca}}}"),
			"Gateway shop/edge", "listener a", "OverlappingTLSConfig=True OverlappingHostnames", "listener b"},
		{"not overlapping", edge, "Gateway shop/edge", "listener http", "no OverlappingTLSConfig", ""},
		{"tls without certificate", listeners("{name: a, port: 443, protocol: HTTPS}"), "Gateway shop/edge", "listener a", "ResolvedRefs=False InvalidCertificateRef", "certificateRefs"},
		{"tls without certificate, programmed", listeners("{name: a, port: 443, protocol: HTTPS}"), "Gateway shop/edge", "listener a", "Programmed=False Invalid", ""},
		{"certificate of a strange kind", listeners("{name: a, port: 443, protocol: HTTPS, tls: {certificateRefs: [{kind: ConfigMap, name: x}]}}"),
			"Gateway shop/edge", "listener a", "ResolvedRefs=False InvalidCertificateRef", "ConfigMap"},
		{"certificate elsewhere", listeners("{name: a, port: 443, protocol: HTTPS, tls: {certificateRefs: [{namespace: vault, name: x}]}}"),
			"Gateway shop/edge", "listener a", "ResolvedRefs=False RefNotPermitted", "vault/x"},
		{"certificate that is none", listeners("{name: a, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: x}]}}") +
			"\nkind: Secret\nmetadata: {namespace: shop, name: x}\ntype: kubernetes.io/tls\ndata: {tls.crt: eA==, tls.key: eA==}",
			"Gateway shop/edge", "listener a", "ResolvedRefs=False InvalidCertificateRef", "PEM"},
		{"certificate without a key", listeners("{name: a, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: x}]}}") +
			"\nkind: Secret\nmetadata: {namespace: shop, name: x}\ntype: kubernetes.io/tls\ndata: {tls.crt: eA==}",
			"Gateway shop/edge", "listener a", "ResolvedRefs=False InvalidCertificateRef", "tls.key"},
		{"Secret of another type", listeners("{name: a, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: x}]}}") +
			"\nkind: Secret\nmetadata: {namespace: shop, name: x}\ntype: Opaque",
			"Gateway shop/edge", "listener a", "ResolvedRefs=False InvalidCertificateRef", "type Opaque"},
		{"passthrough", listeners("{name: a, port: 443, protocol: HTTPS, tls: {mode: Passthrough}}"), "Gateway shop/edge", "listener a", "Accepted=False UnsupportedValue", "Passthrough"},
		{"odd certificate option", listeners("{name: a, port: 443, protocol: HTTPS, tls: {options: {fairway.dev/certificate: acme}}}"),
			"Gateway shop/edge", "listener a", "Accepted=False UnsupportedValue", `"acme"`},
		{"odd option of ours", listeners("{name: a, port: 443, protocol: HTTPS, tls: {options: {fairway.dev/min-version: '1.3'}}}"),
			"Gateway shop/edge", "listener a", "Accepted=False UnsupportedValue", "no such option"},
		{"option of others", listeners("{name: a, port: 443, protocol: HTTPS, tls: {options: {fairway.dev/certificate: local-ca, x.example/y: z}}}"),
			"Gateway shop/edge", "listener a", "Programmed=True Programmed", ""},
		{"tls on HTTP", listeners("{name: a, port: 80, protocol: HTTP, tls: {}}"), "Gateway shop/edge", "listener a", "Accepted=False UnsupportedValue", "want HTTPS"},
		{"client certificates", gatewayDoc + "  tls: {frontend: {default: {validation: {caCertificateRefs: [{group: '', kind: ConfigMap, name: x}]}}}}\n  listeners: [{name: a, port: 443, protocol: HTTPS, tls: {options: {fairway.dev/certificate: local-ca}}}]",
			"Gateway shop/edge", "listener a", "Accepted=False NoValidCACertificate", "ConfigMap shop/x: not found"},
		{"client certificate for backends", gatewayDoc + "  tls: {backend: {clientCertificateRef: {name: x}}}\n  listeners: [{name: a, port: 80, protocol: HTTP}]",
			"Gateway shop/edge", "listener a", "Programmed=True Programmed", ""},
		{"HBONE", listeners("{name: a, port: 15008, protocol: HBONE}"), "Gateway shop/edge", "listener a", "Programmed=True Programmed", ""},
		{"HBONE with tls", listeners("{name: a, port: 15008, protocol: HBONE, tls: {certificateRefs: [{name: x}]}}"),
			"Gateway shop/edge", "listener a", "Accepted=False UnsupportedValue", "certificates of its own"},
		{"HBONE has no kinds of routes", listeners("{name: a, port: 15008, protocol: HBONE, allowedRoutes: {kinds: [{kind: HTTPRoute}]}}"),
			"Gateway shop/edge", "listener a", "ResolvedRefs=False InvalidRouteKinds", "HTTPRoute"},
		{"HBONE has no hostnames", listeners("{name: a, port: 15008, protocol: HBONE, hostname: x.y}, {name: b, port: 15008, protocol: HBONE, hostname: z.y}"),
			"Gateway shop/edge", "listener a", "Conflicted=True ProtocolConflict", "listener b"},
		{"HBONE beside HTTP", listeners("{name: a, port: 15008, protocol: HBONE}, {name: b, port: 15008, protocol: HTTP}"),
			"Gateway shop/edge", "listener b", "Conflicted=True ProtocolConflict", "HBONE"},
		{"a route at HBONE", listeners("{name: a, port: 15008, protocol: HBONE}") + attachedRoute, "HTTPRoute shop/r", "parent 0", "Accepted=False NotAllowedByListeners", ""},
		{"two listeners of one name", listeners("{name: a, port: 80, protocol: HTTP}, {name: a, port: 81, protocol: HTTP}"),
			"Gateway shop/edge", "listener a", "Programmed=True Programmed", ""},
		{"client certificates of another port", gatewayDoc + "  tls: {frontend: {default: {}, perPort: [{port: 444, tls: {validation: {caCertificateRefs: [{group: '', kind: ConfigMap, name: x}]}}}]}}\n  listeners: [{name: a, port: 443, protocol: HTTPS, tls: {options: {fairway.dev/certificate: local-ca}}}]",
			"Gateway shop/edge", "listener a", "Programmed=True Programmed", ""},
		{"client certificates but for this port", gatewayDoc + "  tls: {frontend: {default: {validation: {caCertificateRefs: [{group: '', kind: ConfigMap, name: x}]}}, perPort: [{port: 443, tls: {}}]}}\n  listeners: [{name: a, port: 443, protocol: HTTPS, tls: {options: {fairway.dev/certificate: local-ca}}}]",
			"Gateway shop/edge", "listener a", "Programmed=True Programmed", ""},

		{"route", edge + cart + attachedRoute, "HTTPRoute shop/r", "parent 0", "Accepted=True Accepted", ""},
		{"route resolves", edge + cart + attachedRoute, "HTTPRoute shop/r", "parent 0", "ResolvedRefs=True ResolvedRefs", ""},
		{"section", edge + routeDoc + "  parentRefs: [{name: edge, sectionName: nope}]", "HTTPRoute shop/r", "parent 0", "Accepted=False NoMatchingParent", "nope"},
		{"port of a parent", edge + routeDoc + "  parentRefs: [{name: edge, port: 81}]", "HTTPRoute shop/r", "parent 0", "Accepted=False NoMatchingParent", "on port 81"},
		{"section and port", edge + routeDoc + "  parentRefs: [{name: edge, sectionName: http, port: 81}]", "HTTPRoute shop/r", "parent 0", "Accepted=False NoMatchingParent", "http on port 81"},
		{"namespace", edge + "\nkind: HTTPRoute\nmetadata: {namespace: other, name: r}\nspec: {parentRefs: [{namespace: shop, name: edge}]}",
			"HTTPRoute other/r", "parent 0", "Accepted=False NotAllowedByListeners", "namespace other"},
		{"namespaces None", listeners("{name: http, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: None}}}") + attachedRoute,
			"HTTPRoute shop/r", "parent 0", "Accepted=False NotAllowedByListeners", ""},
		{"kind", listeners("{name: http, port: 80, protocol: HTTP, allowedRoutes: {kinds: [{kind: GRPCRoute}]}}") + attachedRoute,
			"HTTPRoute shop/r", "parent 0", "Accepted=False NotAllowedByListeners", "HTTPRoute"},
		{"listener of an unsupported protocol", listeners("{name: a, port: 1, protocol: TLS, tls: {mode: Passthrough}}") + attachedRoute,
			"HTTPRoute shop/r", "parent 0", "Accepted=False NotAllowedByListeners", ""},
		{"hostname", listeners("{name: http, port: 80, protocol: HTTP, hostname: a.b}") + routeDoc + "  hostnames: [c.b]" + toCart,
			"HTTPRoute shop/r", "parent 0", "Accepted=False NoMatchingListenerHostname", "c.b"},
		{"rival", edge + cart + attachedRoute + "\nkind: GRPCRoute\nmetadata: {namespace: shop, name: older, creationTimestamp: '2026-01-01T00:00:00Z'}\nspec: {parentRefs: [{name: edge}]}",
			"HTTPRoute shop/r", "parent 0", "Accepted=False HostnameConflict", "GRPCRoute shop/older"},

		{"TLSRoute at HTTP", edge + cart + stream("TLSRoute", ""), "TLSRoute shop/r", "parent 0", "Accepted=False NotAllowedByListeners", "TLSRoutes"},
		{"TLSRoute at HTTPS", listeners("{name: a, port: 443, protocol: HTTPS, tls: {options: {fairway.dev/certificate: local-ca}}}") + cart + stream("TLSRoute", ""), "TLSRoute shop/r", "parent 0", "Accepted=False NotAllowedByListeners", ""},
		{"TLSRoute without a name in common", passthrough + cart + stream("TLSRoute", "hostnames: [a.example.org]"), "TLSRoute shop/r", "parent 0", "Accepted=False NoMatchingListenerHostname", "a.example.org"},
		{"TLSRoute at no such section", passthrough + cart + strings.Replace(stream("TLSRoute", ""), "name: edge", "name: edge, sectionName: nope", 1), "TLSRoute shop/r", "parent 0", "Accepted=False NoMatchingParent", "nope"},
		{"TLSRoute at no such section resolves", passthrough + cart + strings.Replace(stream("TLSRoute", ""), "name: edge", "name: edge, sectionName: nope", 1), "TLSRoute shop/r", "parent 0", "ResolvedRefs=True ResolvedRefs", ""},
		{"TLSRoute", passthrough + cart + stream("TLSRoute", "hostnames: ['*.b.example.com', a.example.org]"), "TLSRoute shop/r", "parent 0", "Accepted=True Accepted", ""},
		{"TLSRoute with a policy that is not valid, passed through", passthrough + cart + stream("TLSRoute", "") + policy("p", 1, "cart", "", "caCertificateRefs: [{group: '', kind: ConfigMap, name: x}]"), "TLSRoute shop/r", "parent 0", "ResolvedRefs=True ResolvedRefs", ""},
		{"TLSRoute with a policy that is not valid, terminated", strings.Replace(passthrough, "mode: Passthrough", "options: {fairway.dev/certificate: local-ca}", 1) + cart + stream("TLSRoute", "") + policy("p", 1, "cart", "", "caCertificateRefs: [{group: '', kind: ConfigMap, name: x}]"), "TLSRoute shop/r", "parent 0", "ResolvedRefs=False InvalidBackendTLSPolicy", "shop/p"},
		{"policy of a TLSRoute that is terminated", strings.Replace(passthrough, "mode: Passthrough", "options: {fairway.dev/certificate: local-ca}", 1) + cart + stream("TLSRoute", "") + policy("p", 1, "cart", "", "wellKnownCACertificates: System"), "BackendTLSPolicy shop/p", "ancestor 0", "Accepted=True Accepted", ""},
		{"TCPRoute at TLS", passthrough + cart + stream("TCPRoute", ""), "TCPRoute shop/r", "parent 0", "Accepted=False NotAllowedByListeners", "TCPRoutes"},
		{"TCPRoute", listeners("{name: a, port: 1, protocol: TCP}") + cart + stream("TCPRoute", ""), "TCPRoute shop/r", "parent 0", "Accepted=True Accepted", ""},
		{"TCPRoute at another port", listeners("{name: a, port: 1, protocol: TCP}") + cart + strings.Replace(stream("TCPRoute", ""), "name: edge", "name: edge, port: 2", 1), "TCPRoute shop/r", "parent 0", "Accepted=False NoMatchingParent", "on port 2"},
		{"TCPRoute at another port of a section", listeners("{name: a, port: 1, protocol: TCP}") + cart + strings.Replace(stream("TCPRoute", ""), "name: edge", "name: edge, sectionName: a, port: 2", 1), "TCPRoute shop/r", "parent 0", "Accepted=False NoMatchingParent", "a on port 2"},
		{"TCPRoute without its Service", listeners("{name: a, port: 1, protocol: TCP}") + stream("TCPRoute", ""), "TCPRoute shop/r", "parent 0", "ResolvedRefs=False BackendNotFound", "shop/cart"},
		{"TCPRoute without its Service is accepted", listeners("{name: a, port: 1, protocol: TCP}") + stream("TCPRoute", ""), "TCPRoute shop/r", "parent 0", "Accepted=True Accepted", ""},
		{"TCPRoute and what its port says", listeners("{name: a, port: 1, protocol: TCP}") + strings.Replace(cart, "port: 80", "port: 80, appProtocol: redis", 1) + stream("TCPRoute", ""), "TCPRoute shop/r", "parent 0", "ResolvedRefs=True ResolvedRefs", ""},
		{"TCPRoute with two rules", listeners("{name: a, port: 1, protocol: TCP}") + cart + strings.Replace(stream("TCPRoute", ""), "rules: [", "rules: [{}, ", 1), "TCPRoute shop/r", "parent 0", "PartiallyInvalid=True UnsupportedValue", "Dropped Rule: rules[1]"},
		{"UDPRoute at TLS", passthrough + cart + stream("UDPRoute", ""), "UDPRoute shop/r", "parent 0", "Accepted=False NotAllowedByListeners", "UDPRoutes"},
		{"UDPRoute to TCP", listeners("{name: a, port: 1, protocol: UDP}") + cart + stream("UDPRoute", ""), "UDPRoute shop/r", "parent 0", "ResolvedRefs=False UnsupportedProtocol", "want UDP"},
		{"UDPRoute", listeners("{name: a, port: 1, protocol: UDP}") + strings.Replace(cart, "port: 80", "port: 80, protocol: UDP", 1) + stream("UDPRoute", ""), "UDPRoute shop/r", "parent 0", "ResolvedRefs=True ResolvedRefs", ""},
		{"UDPRoute elsewhere", listeners("{name: a, port: 1, protocol: UDP}") + strings.Replace(stream("UDPRoute", ""), "name: cart", "namespace: other, name: cart", 1), "UDPRoute shop/r", "parent 0", "ResolvedRefs=False RefNotPermitted", "UDPRoutes of namespace shop"},

		{"no Service", edge + attachedRoute, "HTTPRoute shop/r", "parent 0", "ResolvedRefs=False BackendNotFound", "Service shop/cart: not found"},
		{"accepted without Service", edge + attachedRoute, "HTTPRoute shop/r", "parent 0", "Accepted=True Accepted", ""},
		{"no port of a Service", route("backendRefs: [{name: cart, port: 81}]"), "HTTPRoute shop/r", "parent 0", "ResolvedRefs=False BackendNotFound", "want one of 80"},
		{"port is missing", route("backendRefs: [{name: cart}]"), "HTTPRoute shop/r", "parent 0", "ResolvedRefs=False BackendNotFound", "want a port"},
		{"kind of backend", route("backendRefs: [{group: x.example, kind: Bucket, name: cart, port: 80}]"), "HTTPRoute shop/r", "parent 0", "ResolvedRefs=False InvalidKind", "Bucket.x.example"},
		{"Service elsewhere", route("backendRefs: [{namespace: other, name: cart, port: 80}]"), "HTTPRoute shop/r", "parent 0", "ResolvedRefs=False RefNotPermitted", "other/cart"},
		{"ExternalName", edge + "\nkind: Service\nmetadata: {namespace: shop, name: cart}\nspec: {type: ExternalName, externalName: x.y}\n---" + attachedRoute,
			"HTTPRoute shop/r", "parent 0", "ResolvedRefs=False UnsupportedExternalName", "CVE-2021-25740"},
		{"protocol of a Service", edge + "\nkind: Service\nmetadata: {namespace: shop, name: cart}\nspec: {ports: [{port: 80, protocol: UDP}]}\n---" + attachedRoute,
			"HTTPRoute shop/r", "parent 0", "ResolvedRefs=False UnsupportedProtocol", "UDP"},
		{"appProtocol of a Service", edge + "\nkind: Service\nmetadata: {namespace: shop, name: cart}\nspec: {ports: [{port: 80, appProtocol: redis}]}\n---" + attachedRoute,
			"HTTPRoute shop/r", "parent 0", "ResolvedRefs=False UnsupportedProtocol", "redis"},
		{"gRPC to a WebSocket", edge + "\nkind: Service\nmetadata: {namespace: shop, name: cart}\nspec: {ports: [{port: 80, appProtocol: kubernetes.io/ws}]}\n---" + strings.Replace(attachedRoute, "HTTPRoute", "GRPCRoute", 1),
			"GRPCRoute shop/r", "parent 0", "ResolvedRefs=False UnsupportedProtocol", "gRPC"},
		{"policy that cannot be met", edge + cart + attachedRoute + "\nkind: BackendTLSPolicy\nmetadata: {namespace: shop, name: p}\nspec: {targetRefs: [{group: '', kind: Service, name: cart}], validation: {hostname: x.y}}",
			"HTTPRoute shop/r", "parent 0", "ResolvedRefs=False InvalidBackendTLSPolicy", "shop/p"},
		{"mirror to nothing", route("backendRefs: [{name: cart, port: 80}], filters: [{type: RequestMirror, requestMirror: {backendRef: {name: nope, port: 80}}}]"),
			"HTTPRoute shop/r", "parent 0", "ResolvedRefs=False BackendNotFound", "nope"},

		{"path type", route("matches: [{path: {type: Glob, value: /}}]"), "HTTPRoute shop/r", "parent 0", "Accepted=False UnsupportedValue", "Glob"},
		{"path expression that is too large", route("matches: [{path: {type: RegularExpression, value: '(a{1000}){1000}'}}]"), "HTTPRoute shop/r", "parent 0", "Accepted=False UnsupportedValue", "expression"},
		{"path without slash", route("matches: [{path: {value: x}}]"), "HTTPRoute shop/r", "parent 0", "Accepted=False UnsupportedValue", `"x"`},
		{"path expression", route("matches: [{path: {type: RegularExpression, value: '('}}]"), "HTTPRoute shop/r", "parent 0", "Accepted=False UnsupportedValue", "RE2"},
		{"method", route("matches: [{method: BREW}]"), "HTTPRoute shop/r", "parent 0", "Accepted=False UnsupportedValue", "BREW"},
		{"header type", route("matches: [{headers: [{type: Glob, name: x, value: y}]}]"), "HTTPRoute shop/r", "parent 0", "Accepted=False UnsupportedValue", "Glob"},
		{"query expression", route("matches: [{queryParams: [{type: RegularExpression, name: x, value: '['}]}]"), "HTTPRoute shop/r", "parent 0", "Accepted=False UnsupportedValue", "RE2"},
		{"one match of two", route("matches: [{method: BREW}, {method: GET}], backendRefs: [{name: cart, port: 80}]"), "HTTPRoute shop/r", "parent 0", "Accepted=True Accepted", ""},
		{"one match of two, partly", route("matches: [{method: BREW}, {method: GET}], backendRefs: [{name: cart, port: 80}]"), "HTTPRoute shop/r", "parent 0", "PartiallyInvalid=True UnsupportedValue", "Dropped Rule: rules[0] (in part)"},
		{"one rule of two", route("matches: [{method: BREW}]}, {backendRefs: [{name: cart, port: 80}]"), "HTTPRoute shop/r", "parent 0", "PartiallyInvalid=True UnsupportedValue", "Dropped Rule: rules[0]: method BREW"},
		{"wholly valid", edge + cart + attachedRoute, "HTTPRoute shop/r", "parent 0", "no PartiallyInvalid", ""},
		{"wholly invalid", route("matches: [{method: BREW}]"), "HTTPRoute shop/r", "parent 0", "no PartiallyInvalid", ""},
		{"extension", route("filters: [{type: ExtensionRef, extensionRef: {group: x.example, kind: Auth, name: y}}]"), "HTTPRoute shop/r", "parent 0", "ResolvedRefs=False InvalidKind", "Auth.x.example y"},
		{"extension, accepted", route("filters: [{type: ExtensionRef, extensionRef: {group: x.example, kind: Auth, name: y}}]"), "HTTPRoute shop/r", "parent 0", "Accepted=False UnsupportedValue", "answers 500"},
		{"external auth", route("filters: [{type: ExternalAuth, externalAuth: {protocol: HTTP, backendRef: {name: cart, port: 80}}}]"), "HTTPRoute shop/r", "parent 0", "Accepted=True Accepted", ""},
		{"external auth of nobody", route("filters: [{type: ExternalAuth, externalAuth: {protocol: HTTP, backendRef: {name: gone, port: 80}}}]"), "HTTPRoute shop/r", "parent 0", "ResolvedRefs=False BackendNotFound", "shop/gone"},
		{"external auth of nobody is accepted", route("filters: [{type: ExternalAuth, externalAuth: {protocol: HTTP, backendRef: {name: gone, port: 80}}}]"), "HTTPRoute shop/r", "parent 0", "Accepted=True Accepted", ""},
		{"external auth elsewhere", route("filters: [{type: ExternalAuth, externalAuth: {protocol: GRPC, backendRef: {namespace: other, name: cart, port: 80}}}]"), "HTTPRoute shop/r", "parent 0", "ResolvedRefs=False RefNotPermitted", "other/cart"},
		{"external auth by mail", route("filters: [{type: ExternalAuth, externalAuth: {protocol: SMTP, backendRef: {name: cart, port: 80}}}]"), "HTTPRoute shop/r", "parent 0", "Accepted=False UnsupportedValue", "SMTP"},
		{"external auth of a backend", route("backendRefs: [{name: cart, port: 80, filters: [{type: ExternalAuth, externalAuth: {protocol: HTTP, backendRef: {name: cart, port: 80}}}]}]"), "HTTPRoute shop/r", "parent 0", "PartiallyInvalid=True UnsupportedValue", "ExternalAuth"},
		{"external auth twice", route("filters: [{type: ExternalAuth, externalAuth: {protocol: HTTP, backendRef: {name: cart, port: 80}}}, {type: ExternalAuth, externalAuth: {protocol: HTTP, backendRef: {name: cart, port: 80}}}]"), "HTTPRoute shop/r", "parent 0", "Accepted=False IncompatibleFilters", "a second filter"},
		{"external auth by an odd field", route("filters: [{type: ExternalAuth, externalAuth: {protocol: HTTP, http: {allowedHeaders: ['a b']}, backendRef: {name: cart, port: 80}}}]"), "HTTPRoute shop/r", "parent 0", "Accepted=False UnsupportedValue", "a b"},
		{"external auth at a query", route("filters: [{type: ExternalAuth, externalAuth: {protocol: HTTP, http: {path: '/a?b'}, backendRef: {name: cart, port: 80}}}]"), "HTTPRoute shop/r", "parent 0", "Accepted=False UnsupportedValue", "without a query"},
		{"filter without content", route("filters: [{type: CORS}]"), "HTTPRoute shop/r", "parent 0", "Accepted=False UnsupportedValue", "CORS"},
		{"filter twice", route("filters: [{type: CORS, cors: {}}, {type: CORS, cors: {}}]"), "HTTPRoute shop/r", "parent 0", "Accepted=False IncompatibleFilters", "second filter CORS"},
		{"redirect and rewrite", route("filters: [{type: URLRewrite, urlRewrite: {}}, {type: RequestRedirect, requestRedirect: {}}]"), "HTTPRoute shop/r", "parent 0", "Accepted=False IncompatibleFilters", "want one"},
		{"redirect and backends", route("filters: [{type: RequestRedirect, requestRedirect: {}}], backendRefs: [{name: cart, port: 80}]"), "HTTPRoute shop/r", "parent 0", "Accepted=False IncompatibleFilters", "backendRefs"},
		{"header name", route("filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: 'a b', value: c}]}}]"), "HTTPRoute shop/r", "parent 0", "Accepted=False UnsupportedValue", "token"},
		{"header value", route("filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {add: [{name: a, value: \"b\\r\\nc: d\"}]}}]"), "HTTPRoute shop/r", "parent 0", "Accepted=False UnsupportedValue", "control"},
		{"removed header", route("filters: [{type: RequestHeaderModifier, requestHeaderModifier: {remove: ['a:']}}]"), "HTTPRoute shop/r", "parent 0", "Accepted=False UnsupportedValue", "token"},
		{"redirect scheme", route("filters: [{type: RequestRedirect, requestRedirect: {scheme: gopher}}]"), "HTTPRoute shop/r", "parent 0", "Accepted=False UnsupportedValue", "gopher"},
		{"redirect status", route("filters: [{type: RequestRedirect, requestRedirect: {statusCode: 300}}]"), "HTTPRoute shop/r", "parent 0", "Accepted=False UnsupportedValue", "300"},
		{"redirect port", route("filters: [{type: RequestRedirect, requestRedirect: {port: 0}}]"), "HTTPRoute shop/r", "parent 0", "Accepted=False UnsupportedValue", "port 0"},
		{"path edit", route("filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplaceMiddle}}}]"), "HTTPRoute shop/r", "parent 0", "Accepted=False UnsupportedValue", "ReplaceMiddle"},
		{"prefix edit of an exact path", route("matches: [{path: {type: Exact, value: /x}}], filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}]"), "HTTPRoute shop/r", "parent 0", "Accepted=False UnsupportedValue", "PathPrefix"},
		{"mirror of too much", route("filters: [{type: RequestMirror, requestMirror: {percent: 101, backendRef: {name: cart, port: 80}}}]"), "HTTPRoute shop/r", "parent 0", "Accepted=False UnsupportedValue", "101/100"},
		{"origin", route("filters: [{type: CORS, cors: {allowOrigins: ['ftp://x']}}]"), "HTTPRoute shop/r", "parent 0", "Accepted=False UnsupportedValue", "ftp://x"},
		{"CORS header", route("filters: [{type: CORS, cors: {exposeHeaders: ['a,b']}}]"), "HTTPRoute shop/r", "parent 0", "Accepted=False UnsupportedValue", "a,b"},
		{"filter of a share", route("backendRefs: [{name: cart, port: 80, filters: [{type: ExtensionRef, extensionRef: {group: x, kind: Y, name: z}}]}]"), "HTTPRoute shop/r", "parent 0", "PartiallyInvalid=True UnsupportedValue", "in part"},
		{"weight", route("backendRefs: [{name: cart, port: 80, weight: -1}]"), "HTTPRoute shop/r", "parent 0", "PartiallyInvalid=True UnsupportedValue", "weight -1"},
		{"timeout", route("timeouts: {request: 1d}"), "HTTPRoute shop/r", "parent 0", "Accepted=False UnsupportedValue", "GEP-2257"},
		{"timeout of a try", route("timeouts: {backendRequest: '1'}"), "HTTPRoute shop/r", "parent 0", "Accepted=False UnsupportedValue", "GEP-2257"},
		{"timeouts that contradict", route("timeouts: {request: 1s, backendRequest: 2s}"), "HTTPRoute shop/r", "parent 0", "Accepted=False UnsupportedValue", "longer"},
		{"attempts", route("retry: {attempts: -1}"), "HTTPRoute shop/r", "parent 0", "Accepted=False UnsupportedValue", "-1"},
		{"retry code", route("retry: {codes: [200]}"), "HTTPRoute shop/r", "parent 0", "Accepted=False UnsupportedValue", "200"},
		{"backoff", route("retry: {backoff: x}"), "HTTPRoute shop/r", "parent 0", "Accepted=False UnsupportedValue", "GEP-2257"},
		{"session type", route("sessionPersistence: {type: Magic}"), "HTTPRoute shop/r", "parent 0", "Accepted=False UnsupportedValue", "Magic"},
		{"session name", route("sessionPersistence: {sessionName: 'a=b'}"), "HTTPRoute shop/r", "parent 0", "Accepted=False UnsupportedValue", "token"},
		{"session timeout", route("sessionPersistence: {absoluteTimeout: x}"), "HTTPRoute shop/r", "parent 0", "Accepted=False UnsupportedValue", "GEP-2257"},
		{"permanent session", route("sessionPersistence: {cookieConfig: {lifetimeType: Permanent}}"), "HTTPRoute shop/r", "parent 0", "Accepted=False UnsupportedValue", "absoluteTimeout"},
		{"session lifetime", route("sessionPersistence: {cookieConfig: {lifetimeType: Eternal}}"), "HTTPRoute shop/r", "parent 0", "Accepted=False UnsupportedValue", "Eternal"},
		{"gRPC method", strings.Replace(route("matches: [{method: {service: a/b}}]"), "HTTPRoute", "GRPCRoute", 1), "GRPCRoute shop/r", "parent 0", "Accepted=False UnsupportedValue", "slash"},
		{"gRPC method type", strings.Replace(route("matches: [{method: {type: Glob, service: a}}]"), "HTTPRoute", "GRPCRoute", 1), "GRPCRoute shop/r", "parent 0", "Accepted=False UnsupportedValue", "Glob"},
		{"gRPC expression", strings.Replace(route("matches: [{method: {type: RegularExpression, service: 'a)', method: '(b'}}]"), "HTTPRoute", "GRPCRoute", 1), "GRPCRoute shop/r", "parent 0", "Accepted=False UnsupportedValue", "RE2"},

		{"policy", edge + cart + attachedRoute + policy("p", 1, "cart", "", "wellKnownCACertificates: System"), "BackendTLSPolicy shop/p", "ancestor 0", "Accepted=True Accepted", ""},
		{"policy resolves", edge + cart + attachedRoute + policy("p", 1, "cart", "", "wellKnownCACertificates: System"), "BackendTLSPolicy shop/p", "ancestor 0", "ResolvedRefs=True ResolvedRefs", ""},
		{"policy without a CA", edge + cart + attachedRoute + policy("p", 1, "cart", "", "caCertificateRefs: [{group: '', kind: ConfigMap, name: x}]"), "BackendTLSPolicy shop/p", "ancestor 0", "ResolvedRefs=False InvalidCACertificateRef", "ConfigMap shop/x: not found"},
		{"policy without a CA, accepted", edge + cart + attachedRoute + policy("p", 1, "cart", "", "caCertificateRefs: [{group: '', kind: ConfigMap, name: x}]"), "BackendTLSPolicy shop/p", "ancestor 0", "Accepted=False NoValidCACertificate", ""},
		{"policy with a CA of a strange kind", edge + cart + attachedRoute + policy("p", 1, "cart", "", "caCertificateRefs: [{group: '', kind: Secret, name: x}]"), "BackendTLSPolicy shop/p", "ancestor 0", "ResolvedRefs=False InvalidKind", "Secret"},
		{"policy with an empty CA", edge + cart + attachedRoute + policy("p", 1, "cart", "", "caCertificateRefs: [{group: '', kind: ConfigMap, name: x}]") + "\n---\nkind: ConfigMap\nmetadata: {namespace: shop, name: x}", "BackendTLSPolicy shop/p", "ancestor 0", "ResolvedRefs=False InvalidCACertificateRef", "want key ca.crt"},
		{"policy with a key for a CA", edge + cart + attachedRoute + policy("p", 1, "cart", "", "caCertificateRefs: [{group: '', kind: ConfigMap, name: x}]") + "\n---\nkind: ConfigMap\nmetadata: {namespace: shop, name: x}\ndata: {ca.crt: \"-----BEGIN PRIVATE KEY-----\\neA==\\n-----END PRIVATE KEY-----\"}", "BackendTLSPolicy shop/p", "ancestor 0", "ResolvedRefs=False InvalidCACertificateRef", "no certificate"},
		{"policy with a CA that does not parse", edge + cart + attachedRoute + policy("p", 1, "cart", "", "caCertificateRefs: [{group: '', kind: ConfigMap, name: x}]") + "\n---\nkind: ConfigMap\nmetadata: {namespace: shop, name: x}\nbinaryData: {ca.crt: LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCmVBPT0KLS0tLS1FTkQgQ0VSVElGSUNBVEUtLS0tLQo=}", "BackendTLSPolicy shop/p", "ancestor 0", "ResolvedRefs=False InvalidCACertificateRef", "malformed"},
		{"policy with a broken CA", edge + cart + attachedRoute + policy("p", 1, "cart", "", "caCertificateRefs: [{group: '', kind: ConfigMap, name: x}]") + "\n---\nkind: ConfigMap\nmetadata: {namespace: shop, name: x}\ndata: {ca.crt: x}", "BackendTLSPolicy shop/p", "ancestor 0", "ResolvedRefs=False InvalidCACertificateRef", "want PEM"},
		{"policy with odd roots", edge + cart + attachedRoute + policy("p", 1, "cart", "", "wellKnownCACertificates: x.example/y"), "BackendTLSPolicy shop/p", "ancestor 0", "Accepted=False Invalid", "want System"},
		{"policy with both roots", edge + cart + attachedRoute + policy("p", 1, "cart", "", "wellKnownCACertificates: System, caCertificateRefs: [{group: '', kind: ConfigMap, name: x}]"), "BackendTLSPolicy shop/p", "ancestor 0", "Accepted=False Invalid", "not both"},
		{"policy with an empty name", edge + cart + attachedRoute + policy("p", 1, "cart", "", "wellKnownCACertificates: System, subjectAltNames: [{type: URI}]"), "BackendTLSPolicy shop/p", "ancestor 0", "Accepted=False Invalid", "URI"},
		{"younger policy", edge + cart + attachedRoute + policy("p", 2, "cart", "", "wellKnownCACertificates: System") + policy("q", 1, "cart", "", "wellKnownCACertificates: System"), "BackendTLSPolicy shop/p", "ancestor 0", "Accepted=False Conflicted", "shop/q"},
		{"policy for a port", edge + cart + attachedRoute + policy("p", 2, "cart", "web", "wellKnownCACertificates: System") + policy("q", 1, "cart", "", "wellKnownCACertificates: System"), "BackendTLSPolicy shop/p", "ancestor 0", "Accepted=True Accepted", ""},
		{"policy beside one for a port", edge + cart + attachedRoute + policy("p", 2, "cart", "web", "wellKnownCACertificates: System") + policy("q", 1, "cart", "", "wellKnownCACertificates: System"), "BackendTLSPolicy shop/q", "ancestor 0", "Accepted=True Accepted", ""},
		{"policy for no port", edge + cart + attachedRoute + policy("p", 1, "cart", "nope", "wellKnownCACertificates: System"), "BackendTLSPolicy shop/p", "ancestor 0", "Accepted=False TargetNotFound", "nope"},
		{"policy for no Service", edge + attachedRoute + policy("p", 1, "cart", "", "wellKnownCACertificates: System"), "BackendTLSPolicy shop/p", "ancestor 0", "Accepted=False TargetNotFound", "Service shop/cart"},

		{"traffic policy", edge + cart + attachedRoute + trafficPolicyDoc("p", 1, "cart", "retryConstraint: {}"), "XBackendTrafficPolicy shop/p", "ancestor 0", "Accepted=True Accepted", ""},
		{"traffic policy of a GRPCRoute", edge + cart + strings.Replace(attachedRoute, "HTTPRoute", "GRPCRoute", 1) + trafficPolicyDoc("p", 1, "cart", ""), "XBackendTrafficPolicy shop/p", "ancestor 0", "Accepted=True Accepted", ""},
		{"younger traffic policy", edge + cart + attachedRoute + trafficPolicyDoc("p", 2, "cart", "") + trafficPolicyDoc("q", 1, "cart", ""), "XBackendTrafficPolicy shop/p", "ancestor 0", "Accepted=False Conflicted", "shop/q"},
		{"older traffic policy", edge + cart + attachedRoute + trafficPolicyDoc("p", 2, "cart", "") + trafficPolicyDoc("q", 1, "cart", ""), "XBackendTrafficPolicy shop/q", "ancestor 0", "Accepted=True Accepted", ""},
		{"traffic policy beside an older one that is not valid", edge + cart + attachedRoute + trafficPolicyDoc("p", 2, "cart", "") + trafficPolicyDoc("q", 1, "cart", "retryConstraint: {budget: {percent: -1}}"), "XBackendTrafficPolicy shop/p", "ancestor 0", "Accepted=True Accepted", ""},
		{"traffic policy for no Service", edge + attachedRoute + trafficPolicyDoc("p", 1, "cart", ""), "XBackendTrafficPolicy shop/p", "ancestor 0", "Accepted=False TargetNotFound", "Service shop/cart"},
		{"retry percent", edge + cart + attachedRoute + trafficPolicyDoc("p", 1, "cart", "retryConstraint: {budget: {percent: 101}}"), "XBackendTrafficPolicy shop/p", "ancestor 0", "Accepted=False Invalid", "101 percent"},
		{"retry interval", edge + cart + attachedRoute + trafficPolicyDoc("p", 1, "cart", "retryConstraint: {budget: {interval: 500ms}}"), "XBackendTrafficPolicy shop/p", "ancestor 0", "Accepted=False Invalid", "want 1s to 1h"},
		{"retry interval that is none", edge + cart + attachedRoute + trafficPolicyDoc("p", 1, "cart", "retryConstraint: {budget: {interval: 1d}}"), "XBackendTrafficPolicy shop/p", "ancestor 0", "Accepted=False Invalid", "GEP-2257"},
		{"least retries", edge + cart + attachedRoute + trafficPolicyDoc("p", 1, "cart", "retryConstraint: {minRetryRate: {count: 0}}"), "XBackendTrafficPolicy shop/p", "ancestor 0", "Accepted=False Invalid", "0 retries"},
		{"least retries in no time", edge + cart + attachedRoute + trafficPolicyDoc("p", 1, "cart", "retryConstraint: {minRetryRate: {interval: 0s}}"), "XBackendTrafficPolicy shop/p", "ancestor 0", "Accepted=False Invalid", "want 1ms to 1h"},
		{"session of a policy", edge + cart + attachedRoute + trafficPolicyDoc("p", 1, "cart", "sessionPersistence: {type: Magic}"), "XBackendTrafficPolicy shop/p", "ancestor 0", "Accepted=False Invalid", "Magic"},
		{"session of a policy leaves the route alone", edge + cart + attachedRoute + trafficPolicyDoc("p", 1, "cart", "sessionPersistence: {type: Magic}"), "HTTPRoute shop/r", "parent 0", "no PartiallyInvalid", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.check(t, Options{DefaultClass: "fairway"}) })
	}
}

func (tt *conditionTest) check(t *testing.T, opts Options) {
	t.Helper()
	w := world{}
	w.load(t, tt.world)
	r := w.translate(opts)
	kind, name, _ := strings.Cut(tt.object, " ")
	ns, name, found := strings.Cut(name, "/")
	if !found {
		ns, name = "", ns
	}
	report, ok := r.Reports[routing.ObjectKey{Kind: kind, Namespace: ns, Name: name}]
	if !ok {
		t.Fatalf("no report of %s in\n%s", tt.object, r.Dump())
	}
	list := conditionsOf(report, tt.of)
	if list == nil {
		t.Fatalf("no conditions of %s in\n%s", tt.of, report)
	}
	got, says := "no "+strings.TrimPrefix(tt.want, "no "), ""
	for _, c := range list {
		if c.Type == strings.TrimPrefix(tt.want, "no ") || strings.HasPrefix(tt.want, c.Type+"=") {
			got, says = c.Type+"="+string(c.Status)+" "+c.Reason, c.Message
		}
		if o := w[report.Object].(metav1.Object); c.ObservedGeneration != o.GetGeneration() {
			t.Errorf("%s observed generation %d, want %d", c.Type, c.ObservedGeneration, o.GetGeneration())
		}
	}
	if got != tt.want || !strings.Contains(says, tt.says) {
		t.Errorf("got %s %q, want %s %q, in\n%s", got, says, tt.want, tt.says, report)
	}
}

func policy(name string, created int, service, section, validation string) string {
	if section != "" {
		section = ", sectionName: " + section
	}
	return "\n---\nkind: BackendTLSPolicy\nmetadata: {namespace: shop, name: " + name +
		", creationTimestamp: '" + day(created).Format("2006-01-02T15:04:05Z") + "'}\nspec: {targetRefs: [{group: '', kind: Service, name: " +
		service + section + "}], validation: {hostname: x.y, " + validation + "}}"
}

func trafficPolicyDoc(name string, created int, service, fields string) string {
	return "\n---\nkind: XBackendTrafficPolicy\nmetadata: {namespace: shop, name: " + name +
		", creationTimestamp: '" + day(created).Format("2006-01-02T15:04:05Z") + "'}\nspec: {targetRefs: [{group: '', kind: Service, name: " +
		service + "}], " + fields + "}"
}

// conditionsOf finds a list of conditions in a report.
func conditionsOf(r Report, of string) []metav1.Condition {
	for _, l := range r.Listeners {
		if of == "listener "+string(l.Name) {
			return l.Conditions
		}
	}
	switch {
	case of == "":
		return r.Conditions
	case of == "parent 0" && len(r.Parents) > 0:
		return r.Parents[0].Conditions
	case of == "ancestor 0" && len(r.Ancestors) > 0:
		return r.Ancestors[0].Conditions
	}
	return nil
}
