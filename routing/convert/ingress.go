package convert

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	ingressv1 "k8s.io/api/networking/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// An ingressPath is one path of an Ingress, or its default backend.
type ingressPath struct {
	field   string
	ingress *ingressv1.Ingress
	notes   *annotations
	host    string // "" is any
	kind    ingressv1.PathType
	path    string
	backend *ingressv1.IngressBackend
}

// ingresses converts all Ingresses to routes of one Gateway. A canary Ingress
// becomes rules beside those of the Ingress with its host and path.
func (c *converter) ingresses() {
	if len(c.in.Ingresses) == 0 {
		return
	}
	edge := &gatewayv1.Gateway{
		TypeMeta: types(gatewayGroup+"/v1", "Gateway"), ObjectMeta: meta(c.opts.Gateway.Namespace, c.opts.Gateway.Name),
		Spec: gatewayv1.GatewaySpec{GatewayClassName: gatewayv1.ObjectName(c.opts.Class), Listeners: []gatewayv1.Listener{{
			Name: "http", Port: 80, Protocol: gatewayv1.HTTPProtocolType, AllowedRoutes: &gatewayv1.AllowedRoutes{Namespaces: routesFrom("*")},
		}}},
	}
	var paths, canaries []ingressPath
	for _, in := range c.in.Ingresses {
		c.begin("Ingress", in)
		c.put(edge)
		c.ingressTLS(in, edge)
		notes := c.annotations(in)
		if notes.canary {
			canaries = append(canaries, c.ingressPaths(in, notes)...)
		} else {
			paths = append(paths, c.ingressPaths(in, notes)...)
		}
	}
	for _, in := range c.in.Ingresses {
		own := slices.DeleteFunc(slices.Clone(paths), func(p ingressPath) bool { return p.ingress != in })
		if len(own) > 0 {
			c.begin("Ingress", in)
			c.ingressRoutes(in, own, canaries, paths)
		}
	}
	for _, p := range canaries {
		if !slices.ContainsFunc(paths, p.sameAs) {
			c.begin("Ingress", p.ingress)
			c.lost(p.field, "add the Ingress that it is a canary of", "no other Ingress has its host and path: it gets nothing")
		}
	}
	if len(edge.Spec.Listeners) > 64 {
		c.lost("spec.tls", "move listeners to ListenerSets", "Gateway %s has %d listeners, more than the 64 that it may have", nameOf(edge), len(edge.Spec.Listeners))
	}
}

// sameAs reports whether two paths are the same, of whatever Ingress.
func (p ingressPath) sameAs(q ingressPath) bool {
	return p.host == q.host && p.path == q.path && namespaceOf(p.ingress) == namespaceOf(q.ingress)
}

// ingressTLS gives the Gateway a listener for each host with a certificate.
func (c *converter) ingressTLS(in *ingressv1.Ingress, edge *gatewayv1.Gateway) {
	for i, t := range in.Spec.TLS {
		field := fmt.Sprintf("spec.tls[%d]", i)
		if t.SecretName == "" {
			c.lost(field+".secretName", "name a Secret", "no Secret: the controller's default certificate is not known")
			continue
		}
		hosts := t.Hosts
		if len(hosts) == 0 {
			hosts = []string{""}
		}
		ref := gatewayv1.SecretObjectReference{Name: gatewayv1.ObjectName(t.SecretName)}
		if c.from.Namespace != edge.Namespace {
			ref.Namespace = new(gatewayv1.Namespace(c.from.Namespace))
			c.grant("Gateway", edge.Namespace, "Secret", name{c.from.Namespace, t.SecretName})
		}
		for _, h := range hosts {
			l := gatewayv1.Listener{
				Name: listenerName(h), Port: 443, Protocol: gatewayv1.HTTPSProtocolType, AllowedRoutes: &gatewayv1.AllowedRoutes{Namespaces: routesFrom("*")},
				TLS: &gatewayv1.ListenerTLSConfig{Mode: new(gatewayv1.TLSModeTerminate), CertificateRefs: []gatewayv1.SecretObjectReference{ref}},
			}
			if h != "" {
				l.Hostname = new(gatewayv1.Hostname(h))
			}
			if k := slices.IndexFunc(edge.Spec.Listeners, func(o gatewayv1.Listener) bool { return o.Name == l.Name }); k < 0 {
				edge.Spec.Listeners = append(edge.Spec.Listeners, l)
			} else if old := edge.Spec.Listeners[k].TLS.CertificateRefs[0]; old.Name != ref.Name {
				c.lost(field, "take one of them out", "host %q has the certificate of Secret %s already", h, old.Name)
			}
		}
	}
}

func listenerName(host string) gatewayv1.SectionName {
	if host == "" {
		return "https"
	}
	return gatewayv1.SectionName(dns("https-" + strings.ReplaceAll(strings.ReplaceAll(host, "*", "any"), ".", "-")))
}

func (c *converter) ingressPaths(in *ingressv1.Ingress, notes *annotations) []ingressPath {
	var list []ingressPath
	if b := in.Spec.DefaultBackend; b != nil {
		list = append(list, ingressPath{"spec.defaultBackend", in, notes, "", ingressv1.PathTypePrefix, "/", b})
	}
	for i, r := range in.Spec.Rules {
		if r.HTTP == nil {
			continue
		}
		for j, p := range r.HTTP.Paths {
			kind := ingressv1.PathTypeImplementationSpecific
			if p.PathType != nil {
				kind = *p.PathType
			}
			list = append(list, ingressPath{fmt.Sprintf("spec.rules[%d].http.paths[%d]", i, j), in, notes, r.Host, kind, cmp.Or(p.Path, "/"), new(p.Backend)})
		}
	}
	return list
}

// ingressRoutes writes a route for each host of an Ingress, and one that
// redirects to https where that is asked for.
func (c *converter) ingressRoutes(in *ingressv1.Ingress, own, canaries, all []ingressPath) {
	notes := own[0].notes
	secure := map[string]bool{}
	for _, t := range in.Spec.TLS {
		for _, h := range t.Hosts {
			secure[h] = true
		}
		if len(t.Hosts) == 0 {
			secure[""] = true
		}
	}
	byHost := map[string][]ingressPath{}
	for _, p := range own {
		byHost[p.host] = append(byHost[p.host], p)
	}
	for n, host := range slices.Sorted(maps.Keys(byHost)) {
		hosts := []gatewayv1.Hostname(nil)
		if host != "" {
			hosts = append(hosts, gatewayv1.Hostname(host))
			for _, a := range notes.aliases {
				hosts = append(hosts, gatewayv1.Hostname(a))
			}
		}
		regexes := slices.ContainsFunc(all, func(p ingressPath) bool { return p.host == host && p.notes.regex })
		base := in.Name
		if n > 0 {
			base = dns(fmt.Sprintf("%s-%d", in.Name, n+1))
		}
		parent := gatewayv1.ParentReference{Name: gatewayv1.ObjectName(c.opts.Gateway.Name)}
		if c.from.Namespace != c.opts.Gateway.Namespace {
			parent.Namespace = new(gatewayv1.Namespace(c.opts.Gateway.Namespace))
		}
		parents := []gatewayv1.ParentReference{parent}
		if redirects := notes.forceSSL || notes.sslRedirect && secure[host]; redirects {
			plain := parent
			plain.SectionName = new(gatewayv1.SectionName("http"))
			c.put(&gatewayv1.HTTPRoute{
				TypeMeta: types(gatewayGroup+"/v1", "HTTPRoute"), ObjectMeta: meta(c.from.Namespace, dns(base+"-to-https")),
				Spec: gatewayv1.HTTPRouteSpec{CommonRouteSpec: gatewayv1.CommonRouteSpec{ParentRefs: []gatewayv1.ParentReference{plain}}, Hostnames: hosts, Rules: []gatewayv1.HTTPRouteRule{{
					Filters: []gatewayv1.HTTPRouteFilter{{Type: gatewayv1.HTTPRouteFilterRequestRedirect, RequestRedirect: &gatewayv1.HTTPRequestRedirectFilter{Scheme: new("https"), StatusCode: new(308)}}},
				}}},
			})
			if !secure[host] {
				c.assumed("metadata.annotations", "point the proxy in front at port 80 of another listener, or terminate TLS here", "force-ssl-redirect of host %q, which has no certificate: all that comes to the Gateway is redirected", host)
				continue
			}
			parents[0].SectionName = new(listenerName(host))
			if len(notes.aliases) > 0 {
				c.lost(annotation("server-alias"), "add them to spec.tls, with a certificate", "%v have no listener with TLS, where %s is redirected to", notes.aliases, host)
			}
		}
		c.ingressHost(base, parents, hosts, byHost[host], canaries, regexes)
	}
}

// ingressHost writes the rules of one host.
func (c *converter) ingressHost(base string, parents []gatewayv1.ParentReference, hosts []gatewayv1.Hostname, paths, canaries []ingressPath, regexes bool) {
	if paths[0].notes.grpc && !regexes && c.grpcRoute(base, parents, hosts, paths) {
		return
	}
	var rules []gatewayv1.HTTPRouteRule
	if app := paths[0].notes.appRoot; app != "" {
		rules = append(rules, gatewayv1.HTTPRouteRule{
			Matches: []gatewayv1.HTTPRouteMatch{match{path: exactPath("/")}.written()},
			Filters: []gatewayv1.HTTPRouteFilter{{Type: gatewayv1.HTTPRouteFilterRequestRedirect, RequestRedirect: &gatewayv1.HTTPRequestRedirectFilter{
				StatusCode: new(302), Path: &gatewayv1.HTTPPathModifier{Type: gatewayv1.FullPathHTTPPathModifier, ReplaceFullPath: new(app)},
			}}},
		})
	}
	for _, p := range paths {
		rules = append(rules, c.ingressRules(p, canaries, regexes)...)
	}
	c.putRoutes(base, parents, hosts, rules)
}

// ingressRules are those of one path: by its canary's header and cookie, then by
// weight.
func (c *converter) ingressRules(p ingressPath, canaries []ingressPath, regexes bool) []gatewayv1.HTTPRouteRule {
	at := c.ingressMatch(p, regexes)
	main, ok := c.ingressRule(p, &at)
	if !ok {
		main.Matches = []gatewayv1.HTTPRouteMatch{at.written()}
		return []gatewayv1.HTTPRouteRule{main}
	}
	i := slices.IndexFunc(canaries, p.sameAs)
	if i < 0 || len(main.BackendRefs) == 0 {
		main.Matches = []gatewayv1.HTTPRouteMatch{at.written()}
		return []gatewayv1.HTTPRouteRule{main}
	}
	canary := canaries[i]
	ref := gatewayv1.HTTPBackendRef{}
	ref.BackendObjectReference = c.ingressBackend(canary)
	rule := func(v value, to ...gatewayv1.HTTPBackendRef) gatewayv1.HTTPRouteRule {
		out := main
		m := at
		m.headers = []value{v}
		out.Matches, out.BackendRefs = []gatewayv1.HTTPRouteMatch{m.written()}, to
		return out
	}
	var rules []gatewayv1.HTTPRouteRule
	n := canary.notes
	if n.canaryHeader != "" {
		header := strings.ToLower(n.canaryHeader)
		switch {
		case n.canaryValue != "":
			rules = append(rules, rule(value{header, false, n.canaryValue}, ref))
		case n.canaryPattern != "":
			rules = append(rules, rule(value{header, true, n.canaryPattern}, ref))
			c.changed("metadata.annotations", "anchor the pattern as it is meant", "canary-by-header-pattern has to match the whole value, and not a part of it")
		default:
			rules = append(rules, rule(value{header, false, "always"}, ref), rule(value{header, false, "never"}, main.BackendRefs...))
		}
	}
	if n.canaryCookie != "" {
		cookie := func(v string) value {
			return value{"cookie", true, `(.*;\s*)?` + quote(n.canaryCookie) + "=" + v + `(\s*;.*)?`}
		}
		rules = append(rules, rule(cookie("always"), ref), rule(cookie("never"), main.BackendRefs...))
	}
	main.Matches = []gatewayv1.HTTPRouteMatch{at.written()}
	if n.canaryWeight > 0 {
		ref.Weight = new(int32(n.canaryWeight))
		main.BackendRefs = append(slices.Clone(main.BackendRefs), ref)
		main.BackendRefs[0].Weight = new(int32(max(n.canaryTotal-n.canaryWeight, 0)))
	}
	return append(rules, main)
}

// ingressMatch is what a path holds for.
func (c *converter) ingressMatch(p ingressPath, regexes bool) match {
	switch {
	case regexes && p.kind != ingressv1.PathTypeExact:
		if p.path == "/" {
			return match{path: everyPath}
		}
		if !p.notes.regex {
			c.changed(p.field, "nothing, if no path of the host relies on it", "another Ingress of the host has use-regex: ingress-nginx takes this path for an expression, too")
		}
		return match{path: regexPath("(?i)" + p.path + ".*")}
	case p.kind == ingressv1.PathTypeExact:
		return match{path: exactPath(p.path)}
	}
	return match{path: underPath(p.path)}
}

// ingressRule is the rule of a path without its match, which a rewrite may
// change. It reports false where the rule is closed.
func (c *converter) ingressRule(p ingressPath, at *match) (gatewayv1.HTTPRouteRule, bool) {
	out := p.notes.rule()
	if p.notes.closed != "" {
		c.closed("metadata.annotations", "say it in a policy of your gateway, then add the backends", "%s cannot be said: rules of %s have no backends", p.notes.closed, p.field)
		return gatewayv1.HTTPRouteRule{}, false
	}
	if slices.ContainsFunc(out.Filters, func(f gatewayv1.HTTPRouteFilter) bool { return f.Type == gatewayv1.HTTPRouteFilterRequestRedirect }) {
		return out, true
	}
	rewrite := &gatewayv1.HTTPURLRewriteFilter{}
	if p.notes.rewrite != "" {
		edit, ok := c.rewriteTarget(p, at)
		if !ok {
			return gatewayv1.HTTPRouteRule{}, false
		}
		rewrite.Path = edit
	}
	if p.notes.upstreamHost != "" {
		rewrite.Hostname = new(gatewayv1.PreciseHostname(p.notes.upstreamHost))
	}
	if *rewrite != (gatewayv1.HTTPURLRewriteFilter{}) {
		out.Filters = append(out.Filters, gatewayv1.HTTPRouteFilter{Type: gatewayv1.HTTPRouteFilterURLRewrite, URLRewrite: rewrite})
	}
	if p.backend.Service == nil {
		c.closed(p.field+".backend", "name a Service", "a backend that is no Service")
		return gatewayv1.HTTPRouteRule{}, false
	}
	ref := gatewayv1.HTTPBackendRef{}
	ref.BackendObjectReference = c.ingressBackend(p)
	out.BackendRefs = []gatewayv1.HTTPBackendRef{ref}
	return out, true
}

// rewriteTarget knows the common shapes of rewrite-target; others close the rule.
func (c *converter) rewriteTarget(p ingressPath, at *match) (*gatewayv1.HTTPPathModifier, bool) {
	target := p.notes.rewrite
	if !strings.Contains(target, "$") {
		return &gatewayv1.HTTPPathModifier{Type: gatewayv1.FullPathHTTPPathModifier, ReplaceFullPath: new(target)}, true
	}
	for _, shape := range []struct{ path, group string }{{"(/|$)(.*)", "$2"}, {"/?(.*)", "$1"}, {"/(.*)", "$1"}} {
		prefix, ok := strings.CutSuffix(p.path, shape.path)
		to, whole := strings.CutSuffix(target, shape.group)
		if !ok || !whole || prefix != "" && !isPlain(prefix) || strings.ContainsAny(prefix, "()[]*+?$|\\") || strings.Contains(to, "$") || !strings.HasSuffix(to, "/") {
			continue
		}
		if shape.path != "(/|$)(.*)" && prefix != "" {
			c.changed(p.field, "compare what falls under it", "%s becomes the prefix %s, by whole segments", p.path, prefix)
		}
		*at = match{path: underPath(prefix)}
		if to != "/" {
			to = strings.TrimSuffix(to, "/")
		}
		return &gatewayv1.HTTPPathModifier{Type: gatewayv1.PrefixMatchHTTPPathModifier, ReplacePrefixMatch: new(to)}, true
	}
	c.closed(p.field, "rewrite by a prefix, or in the backend", "rewrite-target %q of path %q: Gateway API rewrites a prefix, or the whole path", target, p.path)
	return nil, false
}

func (c *converter) ingressBackend(p ingressPath) gatewayv1.BackendObjectReference {
	s := p.backend.Service
	if s == nil {
		return gatewayv1.BackendObjectReference{}
	}
	port := s.Port.Number
	if port == 0 {
		to := name{namespaceOf(p.ingress), s.Name}
		if of := c.services[to]; of != nil {
			for _, sp := range of.Spec.Ports {
				if sp.Name == s.Port.Name {
					port = sp.Port
				}
			}
		}
		if port == 0 {
			port = 80
			c.assumed(p.field+".backend.service.port", "add the Service to the input, or put the port right", "port %q of Service %s is not in the input: 80 is written", s.Port.Name, to)
		}
	}
	return gatewayv1.BackendObjectReference{Name: gatewayv1.ObjectName(s.Name), Port: new(gatewayv1.PortNumber(port))}
}

// grpcRoute writes a GRPCRoute, where all paths are of gRPC's shape.
func (c *converter) grpcRoute(base string, parents []gatewayv1.ParentReference, hosts []gatewayv1.Hostname, paths []ingressPath) bool {
	route := &gatewayv1.GRPCRoute{TypeMeta: types(gatewayGroup+"/v1", "GRPCRoute"), ObjectMeta: meta(c.from.Namespace, base)}
	route.Spec.ParentRefs, route.Spec.Hostnames = parents, hosts
	for _, p := range paths {
		if p.notes.closed != "" || p.notes.rewrite != "" || p.backend.Service == nil {
			return false
		}
		rule := gatewayv1.GRPCRouteRule{BackendRefs: []gatewayv1.GRPCBackendRef{{BackendRef: gatewayv1.BackendRef{BackendObjectReference: c.ingressBackend(p)}}}}
		service, method, _ := strings.Cut(strings.Trim(p.path, "/"), "/")
		if service != "" {
			m := &gatewayv1.GRPCMethodMatch{Service: new(service)}
			if method != "" {
				m.Method = new(method)
			}
			rule.Matches = []gatewayv1.GRPCRouteMatch{{Method: m}}
		}
		route.Spec.Rules = append(route.Spec.Rules, rule)
	}
	c.put(route)
	return true
}
