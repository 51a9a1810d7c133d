package gatewayapi

import (
	"errors"
	"fmt"
	"regexp/syntax"
	"slices"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing"
)

// httpRules returns the rules of an HTTPRoute. One without rules has the one
// that the API defaults to, which takes everything and has no backends.
func httpRules(rules []gatewayv1.HTTPRouteRule) []ruleSource {
	if len(rules) == 0 {
		rules = make([]gatewayv1.HTTPRouteRule, 1)
	}
	out := make([]ruleSource, len(rules))
	for i := range rules {
		rule := &rules[i]
		out[i] = ruleSource{
			name:     rule.Name,
			filters:  rule.Filters,
			backends: rule.BackendRefs,
			timeouts: rule.Timeouts,
			retry:    rule.Retry,
			session:  rule.SessionPersistence,
			matches: func(b *ruleBuilder, field string) ([]routing.Match, bool) {
				return eachMatch(rule.Matches, field, b.httpMatch)
			},
		}
	}
	return out
}

// eachMatch translates matches and leaves out those that cannot work. It
// reports false if that leaves none: a rule without matches would take all.
func eachMatch[M any](list []M, field string, translate func(string, *M) (routing.Match, bool)) ([]routing.Match, bool) {
	var out []routing.Match
	for i := range list {
		if m, ok := translate(field+".matches["+itoa(i)+"]", &list[i]); ok {
			out = append(out, m)
		}
	}
	return out, len(out) > 0 || len(list) == 0
}

var httpMethods = []gatewayv1.HTTPMethod{
	gatewayv1.HTTPMethodGet, gatewayv1.HTTPMethodHead, gatewayv1.HTTPMethodPost, gatewayv1.HTTPMethodPut,
	gatewayv1.HTTPMethodDelete, gatewayv1.HTTPMethodConnect, gatewayv1.HTTPMethodOptions,
	gatewayv1.HTTPMethodTrace, gatewayv1.HTTPMethodPatch,
}

func (b *ruleBuilder) httpMatch(field string, m *gatewayv1.HTTPRouteMatch) (out routing.Match, ok bool) {
	out.Path, ok = b.httpPath(field+".path", m.Path)
	if m.Method != nil {
		out.Method = string(*m.Method)
		if !slices.Contains(httpMethods, *m.Method) {
			b.unsupported(field+".method", "method %s: want one of %v", *m.Method, httpMethods)
			ok = false
		}
	}
	for i, h := range m.Headers {
		v := routing.ValueMatch{Name: strings.ToLower(string(h.Name)), Value: h.Value}
		ok = b.valueMatch(field+".headers["+itoa(i)+"]", string(or(h.Type, gatewayv1.HeaderMatchExact)), &v) && ok
		out.Headers = addFirst(out.Headers, v)
	}
	for i, q := range m.QueryParams {
		v := routing.ValueMatch{Name: string(q.Name), Value: q.Value}
		ok = b.valueMatch(field+".queryParams["+itoa(i)+"]", string(or(q.Type, gatewayv1.QueryParamMatchExact)), &v) && ok
		out.Query = addFirst(out.Query, v)
	}
	return out, ok
}

func (b *ruleBuilder) httpPath(field string, p *gatewayv1.HTTPPathMatch) (routing.PathMatch, bool) {
	if p == nil {
		return routing.PathMatch{Value: "/"}, true
	}
	out := routing.PathMatch{Value: or(p.Value, "/")}
	switch kind := or(p.Type, gatewayv1.PathMatchPathPrefix); kind {
	case gatewayv1.PathMatchPathPrefix:
		out.Kind = routing.PathPrefix
	case gatewayv1.PathMatchExact:
		out.Kind = routing.PathExact
	case gatewayv1.PathMatchRegularExpression:
		out.Kind = routing.PathRegex
		return out, b.expression(field+".value", out.Value)
	default:
		b.unsupported(field+".type", "type %s: want Exact, PathPrefix or RegularExpression", kind)
		return out, false
	}
	if !strings.HasPrefix(out.Value, "/") {
		b.unsupported(field+".value", "path %q: want one that begins with /", out.Value)
		return out, false
	}
	return out, true
}

// valueMatch completes v by the type of its match.
func (b *ruleBuilder) valueMatch(field, kind string, v *routing.ValueMatch) bool {
	switch kind {
	case "Exact":
		return true
	case "RegularExpression":
		v.Kind = routing.TextRegex
		return b.expression(field+".value", v.Value)
	}
	b.unsupported(field+".type", "type %s: want Exact or RegularExpression", kind)
	return false
}

// expression reports whether a regular expression can be used.
func (b *ruleBuilder) expression(field, expr string) bool {
	err := routing.CheckExpression(expr)
	if broken := (*syntax.Error)(nil); errors.As(err, &broken) {
		err = fmt.Errorf("%s: want RE2 syntax", broken.Code)
	}
	if err != nil {
		b.unsupported(field, "expression %.100q: %v", expr, err)
	}
	return err == nil
}

// addFirst adds v unless its name is there: "only the first entry with an
// equivalent name MUST be considered for a match".
func addFirst(list []routing.ValueMatch, v routing.ValueMatch) []routing.ValueMatch {
	if slices.ContainsFunc(list, func(w routing.ValueMatch) bool { return w.Name == v.Name }) {
		return list
	}
	return append(list, v)
}
