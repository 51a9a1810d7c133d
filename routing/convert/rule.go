package convert

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"fairway.dev/routing"
)

// A rule is one of a VirtualService, of its own or by way of a delegate.
type rule struct {
	field   string // "spec.http[0]"
	http    *networking.HTTPRoute
	space   string // the namespace that its hosts are of
	matches []placed
}

// placed is a match, and where it holds.
type placed struct {
	match
	port     uint32        // 0: any
	gateways map[name]bool // nil: any
}

// at returns the matches that hold at a door.
func (r *rule) at(d door) []match {
	var list []match
	for _, m := range r.matches {
		if (m.port == 0 || d.port == 0 || m.port == d.port) && (m.gateways == nil || m.gateways[d.gateway]) {
			list = append(list, m.match)
		}
	}
	return list
}

// rules are those of a VirtualService up to its first catch-all.
func (c *converter) rules(vs *networkingv1.VirtualService) []*rule {
	var list []*rule
	for i, h := range vs.Spec.Http {
		r := &rule{field: fmt.Sprintf("spec.http[%d]", i), http: h, space: c.from.Namespace}
		r.matches = c.matches(r.field, h)
		if h.Delegate != nil {
			list = append(list, c.delegated(r)...)
		} else {
			list = append(list, r)
		}
	}
	return list
}

// delegated are the rules of a rule's delegate, with the matches of both.
func (c *converter) delegated(root *rule) []*rule {
	d := root.http.Delegate
	ns := d.Namespace
	if ns == "" {
		ns = c.from.Namespace
	}
	i := slices.IndexFunc(c.in.VirtualServices, func(vs *networkingv1.VirtualService) bool {
		return nameOf(vs) == name{ns, d.Name} && len(vs.Spec.Hosts) == 0
	})
	if i < 0 {
		c.lost(root.field+".delegate", "convert the delegate too", "VirtualService %s/%s is not in the input, or has hosts", ns, d.Name)
		return nil
	}
	var list []*rule
	for k, h := range c.in.VirtualServices[i].Spec.Http {
		field := fmt.Sprintf("%s.delegate: spec.http[%d] of VirtualService %s/%s", root.field, k, ns, d.Name)
		r := &rule{field: field, http: inherit(root.http, h), space: ns}
		for _, outer := range root.matches {
			for _, inner := range c.matches(field, h) {
				both, relation := outer.and(inner.match)
				if relation == something && !both.equal(inner.match) && !outer.everything() {
					// Its path has to be within the root's; headers and the like add up.
					if p, _ := outer.path.and(inner.path); p != inner.path {
						relation = unclear
					}
				}
				both.origin = inner.origin
				if both.origin == "" {
					both.origin = outer.origin
				}
				switch relation {
				case something:
					r.matches = append(r.matches, placed{both, max(outer.port, inner.port), outer.gateways})
				case unclear:
					c.lost(field, "write matches that are within the root's", "a match that is not within the root's")
				}
			}
		}
		if len(r.matches) > 0 {
			list = append(list, r)
		}
	}
	return list
}

// inherit is a delegate's rule with what it does not say itself.
func inherit(root, h *networking.HTTPRoute) *networking.HTTPRoute {
	h = h.DeepCopy()
	if h.Rewrite == nil {
		h.Rewrite = root.Rewrite
	}
	if h.Timeout == nil {
		h.Timeout = root.Timeout
	}
	if h.Retries == nil {
		h.Retries = root.Retries
	}
	if h.Fault == nil {
		h.Fault = root.Fault
	}
	if h.CorsPolicy == nil {
		h.CorsPolicy = root.CorsPolicy
	}
	if h.Mirror == nil && len(h.Mirrors) == 0 {
		h.Mirror, h.Mirrors, h.MirrorPercentage = root.Mirror, root.Mirrors, root.MirrorPercentage
	}
	if h.Headers == nil {
		h.Headers = root.Headers
	}
	return h
}

// matches are those of a rule; without any, it takes all.
func (c *converter) matches(field string, h *networking.HTTPRoute) []placed {
	if len(h.Match) == 0 {
		return []placed{{match: match{path: everyPath}}}
	}
	rewrites := h.Rewrite.GetUri() != "" || h.Redirect.GetPrefixRewrite() != ""
	var list []placed
	for i, m := range h.Match {
		list = append(list, c.match(fmt.Sprintf("%s.match[%d]", field, i), m, rewrites)...)
	}
	return list
}

// match converts one match, to none where it cannot be said.
func (c *converter) match(field string, m *networking.HTTPMatchRequest, rewrites bool) []placed {
	if c.unsayable(field, m) {
		return nil
	}
	base := placed{port: m.GetPort()}
	for _, g := range m.GetGateways() {
		if base.gateways == nil {
			base.gateways = map[name]bool{}
		}
		base.gateways[gatewayNamed(g, c.from.Namespace)] = true
	}
	base.headers = values(m.GetHeaders(), strings.ToLower)
	base.query = values(m.GetQueryParams(), func(s string) string { return s })
	if len(m.GetQueryParams()) > 16 || len(m.GetHeaders()) > 16 {
		c.lost(field, "match fewer", "more than 16 headers or query parameters")
		return nil
	}
	methods := methodsOf(m.GetMethod())
	if methods == nil {
		c.lost(field+".method", "write one of the methods of HTTP", "a match of methods that is no list of them: the match is left out")
		return nil
	}
	var list []placed
	for _, p := range c.paths(field+".uri", m, rewrites, &base) {
		for _, method := range methods {
			of := base
			of.path, of.method = p, method
			list = append(list, of)
		}
	}
	return list
}

// unsayable finds what an HTTPRouteMatch has no word for. Without it the match
// would take more than it should, so that it is left out as a whole.
func (c *converter) unsayable(field string, m *networking.HTTPMatchRequest) bool {
	claims := func(in map[string]*networking.StringMatch) bool {
		for name := range in {
			if strings.HasPrefix(name, "@request.auth") {
				return true
			}
		}
		return false
	}
	for _, of := range []struct {
		name, fix string
		set       bool
	}{
		{"scheme", "attach the route to the listener of that scheme", m.GetScheme() != nil},
		{"authority", "write a route with that hostname", m.GetAuthority() != nil},
		{"withoutHeaders", "turn it around: match the header in an earlier rule", len(m.GetWithoutHeaders()) > 0},
		{"headers", "keep the VirtualService for claims of tokens", claims(m.GetHeaders())},
		{"sourceLabels", "take it out: at a gateway it holds for nobody", len(m.GetSourceLabels()) > 0},
		{"sourceNamespace", "take it out: at a gateway it holds for nobody", m.GetSourceNamespace() != ""},
	} {
		if of.set {
			c.lost(field+"."+of.name, of.fix, "Gateway API has no such match: this one is left out")
			return true
		}
	}
	return false
}

// paths are those of a match's uri. Where the rule rewrites, a text prefix
// becomes one of segments, as no other can be rewritten.
func (c *converter) paths(field string, m *networking.HTTPMatchRequest, rewrites bool, base *placed) []path {
	fold := ""
	if m.GetIgnoreUriCase() {
		fold = "(?i)"
	}
	switch t := m.GetUri().GetMatchType().(type) {
	case *networking.StringMatch_Exact:
		if fold != "" {
			return []path{regexPath(fold + regexp.QuoteMeta(t.Exact))}
		}
		return []path{exactPath(t.Exact)}
	case *networking.StringMatch_Regex:
		return []path{regexPath(t.Regex)}
	case *networking.StringMatch_Prefix:
		base.origin = t.Prefix
		if fold != "" && t.Prefix != "/" && t.Prefix != "" {
			return []path{regexPath(fold + regexp.QuoteMeta(t.Prefix) + ".*")}
		}
		list := textPrefix(t.Prefix)
		if !rewrites || len(list) == 0 {
			return list
		}
		if list[0].kind == below {
			c.changed(field, "write the prefix without '/' at its end", "%q covers %q too: only a prefix of segments can be rewritten", t.Prefix, list[0].value)
			return []path{underPath(t.Prefix)}
		}
		if len(list) > 1 {
			c.changed(field, "add a rule for them", "%q does not cover %q any longer: only a prefix of segments can be rewritten", t.Prefix, t.Prefix+"x")
		}
		return list[:1]
	}
	return []path{everyPath}
}

// values are matches of headers or query parameters.
func values(in map[string]*networking.StringMatch, spell func(string) string) []value {
	var list []value
	for k, m := range in {
		v := value{name: spell(k)}
		switch t := m.GetMatchType().(type) {
		case *networking.StringMatch_Exact:
			v.text = t.Exact
		case *networking.StringMatch_Prefix:
			v.regex, v.text = true, regexp.QuoteMeta(t.Prefix)+".*"
		case *networking.StringMatch_Regex:
			v.regex, v.text = true, t.Regex
			if t.Regex == "*" {
				v.text = anyValue
			}
		default:
			v.regex, v.text = true, anyValue
		}
		list = append(list, v)
	}
	return sortValues(list)
}

var httpMethods = []string{"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}

// methodsOf are the methods that a match takes; an empty one is any. Nil where
// they cannot be named.
func methodsOf(m *networking.StringMatch) []string {
	switch t := m.GetMatchType().(type) {
	case nil:
		return []string{""}
	case *networking.StringMatch_Exact:
		if slices.Contains(httpMethods, t.Exact) {
			return []string{t.Exact}
		}
	case *networking.StringMatch_Regex:
		if t.Regex == ".*" || t.Regex == "*" {
			return []string{""}
		}
		var list []string
		for s := range strings.SplitSeq(strings.TrimSuffix(strings.TrimPrefix(t.Regex, "("), ")"), "|") {
			if !slices.Contains(httpMethods, s) {
				return nil
			}
			list = append(list, s)
		}
		return list
	}
	return nil
}

// closed notes a rule that answers with an error.
func (c *converter) closed(field, fix, format string, args ...any) {
	c.find(routing.Error, RuleClosed, field, fix, format, args...)
}
