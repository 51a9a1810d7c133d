package gatewayapi

import (
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing"
)

// grpcRules returns the rules of a GRPCRoute.
func grpcRules(rules []gatewayv1.GRPCRouteRule) []ruleSource {
	out := make([]ruleSource, len(rules))
	for i := range rules {
		rule := &rules[i]
		backends := make([]gatewayv1.HTTPBackendRef, len(rule.BackendRefs))
		for j, ref := range rule.BackendRefs {
			backends[j] = gatewayv1.HTTPBackendRef{BackendRef: ref.BackendRef, Filters: httpFilters(ref.Filters)}
		}
		out[i] = ruleSource{
			name:     rule.Name,
			filters:  httpFilters(rule.Filters),
			backends: backends,
			session:  rule.SessionPersistence,
			matches: func(b *ruleBuilder, field string) ([]routing.Match, bool) {
				return eachMatch(rule.Matches, field, b.grpcMatch)
			},
		}
	}
	return out
}

// httpFilters returns filters of a GRPCRoute as an HTTPRoute has them.
func httpFilters(list []gatewayv1.GRPCRouteFilter) []gatewayv1.HTTPRouteFilter {
	out := make([]gatewayv1.HTTPRouteFilter, len(list))
	for i, f := range list {
		out[i] = gatewayv1.HTTPRouteFilter{
			Type:                   gatewayv1.HTTPRouteFilterType(f.Type),
			RequestHeaderModifier:  f.RequestHeaderModifier,
			ResponseHeaderModifier: f.ResponseHeaderModifier,
			RequestMirror:          f.RequestMirror,
			ExtensionRef:           f.ExtensionRef,
		}
	}
	return out
}

func (b *ruleBuilder) grpcMatch(field string, m *gatewayv1.GRPCRouteMatch) (out routing.Match, ok bool) {
	out.Path, ok = b.grpcPath(field+".method", m.Method)
	for i, h := range m.Headers {
		v := routing.ValueMatch{Name: strings.ToLower(string(h.Name)), Value: h.Value}
		ok = b.valueMatch(field+".headers["+itoa(i)+"]", string(or(h.Type, gatewayv1.GRPCHeaderMatchExact)), &v) && ok
		out.Headers = addFirst(out.Headers, v)
	}
	return out, ok
}

// anySegment is an expression for a gRPC service or method.
const anySegment = "[^/]+"

// grpcPath makes a path match of a method match: a gRPC request has the path
// "/service/method".
func (b *ruleBuilder) grpcPath(field string, m *gatewayv1.GRPCMethodMatch) (routing.PathMatch, bool) {
	if m == nil {
		return routing.PathMatch{Value: "/"}, true
	}
	service, method := or(m.Service, ""), or(m.Method, "")
	switch kind := or(m.Type, gatewayv1.GRPCMethodMatchExact); kind {
	case gatewayv1.GRPCMethodMatchExact:
		if strings.Contains(service, "/") || strings.Contains(method, "/") {
			b.unsupported(field, "service %q, method %q: want none with a slash", service, method)
			return routing.PathMatch{}, false
		}
		return exactMethod(service, method), true
	case gatewayv1.GRPCMethodMatchRegularExpression:
		// Each is checked by itself first: two halves of a group are not one.
		path := "/" + orSegment(service) + "/" + orSegment(method)
		ok := b.expression(field+".service", service) && b.expression(field+".method", method) && b.expression(field, path)
		return routing.PathMatch{Kind: routing.PathRegex, Value: path}, ok
	default:
		b.unsupported(field+".type", "type %s: want Exact or RegularExpression", kind)
		return routing.PathMatch{}, false
	}
}

func exactMethod(service, method string) routing.PathMatch {
	switch {
	case service == "" && method == "":
		return routing.PathMatch{Value: "/"}
	case method == "":
		return routing.PathMatch{Value: "/" + service}
	case service == "":
		return routing.PathMatch{Kind: routing.PathMethod, Value: method}
	}
	return routing.PathMatch{Kind: routing.PathExact, Value: "/" + service + "/" + method}
}

func orSegment(expr string) string {
	if expr == "" {
		return anySegment
	}
	return "(?:" + expr + ")"
}
