package convert

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing"
)

// The API's bounds of an HTTPRoute.
const (
	maxRules       = 16
	maxRuleMatches = 64
	maxAllMatches  = 127
)

// A door is where a VirtualService applies: a Gateway, and of its ports those
// that rules tell apart; 0 is all.
type door struct {
	gateway name
	port    uint32
}

func (c *converter) virtualServices() {
	for _, vs := range c.in.VirtualServices {
		c.begin("VirtualService", vs)
		if len(vs.Spec.Hosts) == 0 {
			continue // a delegate: it is part of those that name it
		}
		doors := c.doors(vs)
		if len(doors) == 0 {
			continue
		}
		hosts := c.hostnames(vs.Spec.Hosts)
		c.httpRoutes(vs, doors, hosts)
		c.tlsRoutes(vs, doors)
		c.tcpRoutes(vs, doors)
		if len(vs.Spec.ExportTo) > 0 {
			c.lost("spec.exportTo", "say it in allowedRoutes of the Gateway's listeners", "a route is not shown to some namespaces alone")
		}
	}
	c.overlaps()
}

// doors are those of all Gateways that a VirtualService names.
func (c *converter) doors(vs *networkingv1.VirtualService) []door {
	ports := map[uint32]bool{}
	for _, r := range vs.Spec.Http {
		for _, m := range r.GetMatch() {
			if m.GetPort() != 0 {
				ports[m.Port] = true
			}
		}
	}
	var list []door
	if len(vs.Spec.Gateways) == 0 {
		c.lost("spec.gateways", "name a Gateway, or keep the VirtualService for the mesh", "it is for the mesh alone, and not for a gateway")
	}
	for i, g := range vs.Spec.Gateways {
		if g == "mesh" {
			c.lost(fmt.Sprintf("spec.gateways[%d]", i), "keep the VirtualService for the mesh", "what it does within the mesh")
			continue
		}
		to := gatewayNamed(g, c.from.Namespace)
		edge := c.edges[to]
		if edge == nil {
			c.assumed(fmt.Sprintf("spec.gateways[%d]", i), "convert the Gateway too", "Gateway %s is not in the input: one by that name is taken for granted", g)
		}
		if len(ports) == 0 || edge == nil {
			list = append(list, door{gateway: to})
			continue
		}
		seen := map[uint32]bool{}
		for _, s := range edge.Spec.Servers {
			if p := s.GetPort().GetNumber(); !seen[p] {
				seen[p] = true
				list = append(list, door{to, p})
			}
		}
	}
	return list
}

// gatewayNamed reads "name", "namespace/name", and "name.namespace.svc..." of old.
func gatewayNamed(s, namespace string) name {
	if ns, n, ok := strings.Cut(s, "/"); ok {
		return name{ns, n}
	}
	if parts := strings.Split(s, "."); len(parts) > 1 {
		return name{parts[1], parts[0]}
	}
	return name{namespace, s}
}

// hostnames are those of routes; none is any.
func (c *converter) hostnames(hosts []string) []gatewayv1.Hostname {
	var list []gatewayv1.Hostname
	for i, h := range hosts {
		switch {
		case h == "*":
			return nil
		case strings.HasPrefix(h, "*") && !strings.HasPrefix(h, "*."), !strings.ContainsFunc(h, func(r rune) bool { return r != '.' && (r < '0' || r > '9') }):
			c.lost(fmt.Sprintf("spec.hosts[%d]", i), "name the hosts", "%q: no hostname of a route", h)
		default:
			list = append(list, gatewayv1.Hostname(h))
		}
	}
	return list
}

// httpRoutes writes an HTTPRoute for each set of rules that a Gateway, or a port
// of it, has.
func (c *converter) httpRoutes(vs *networkingv1.VirtualService, doors []door, hosts []gatewayv1.Hostname) {
	if len(vs.Spec.Http) == 0 || hosts == nil && !slices.Contains(vs.Spec.Hosts, "*") {
		return
	}
	rules := c.rules(vs)
	type group struct {
		doors []door
		rules []*rule
		lists [][]match
	}
	var groups []*group
	for _, d := range doors {
		var in []*rule
		var lists [][]match
		for _, r := range rules {
			if l := r.at(d); len(l) > 0 {
				in, lists = append(in, r), append(lists, l)
			}
		}
		i := slices.IndexFunc(groups, func(g *group) bool {
			return slices.Equal(g.rules, in) && slices.EqualFunc(g.lists, lists, func(a, b []match) bool { return slices.EqualFunc(a, b, match.equal) })
		})
		if i < 0 {
			groups, i = append(groups, &group{rules: in, lists: lists}), len(groups)
		}
		groups[i].doors = append(groups[i].doors, d)
	}
	for i, g := range groups {
		suffix := ""
		if i > 0 {
			suffix = fmt.Sprintf("-%d", i+1)
		}
		arrange(g.lists, func(earlier, later int) {
			c.find(routing.Warning, OrderNotKept, g.rules[later].field, "write matches of which it is plain what falls under both",
				"it may take requests of %s: with expressions, nobody can say which fall under both", g.rules[earlier].field)
		})
		var out []gatewayv1.HTTPRouteRule
		for j, r := range g.rules {
			if len(g.lists[j]) == 0 {
				c.find(routing.Info, NotConverted, r.field, "take it out", "no request reaches the rule: those before it take all")
				continue
			}
			out = append(out, c.httpRules(r, g.lists[j])...)
		}
		c.putRoutes(vs.Name+suffix, c.parents(g.doors), hosts, out)
	}
}

// putRoutes writes as many HTTPRoutes as the API's bounds make of rules. Their
// names are in the order of the rules, which decides between equals.
func (c *converter) putRoutes(base string, parents []gatewayv1.ParentReference, hosts []gatewayv1.Hostname, rules []gatewayv1.HTTPRouteRule) {
	for n := 1; len(rules) > 0; n++ {
		take, matches := 0, 0
		for take < len(rules) && take < maxRules && matches+max(len(rules[take].Matches), 1) <= maxAllMatches {
			matches += max(len(rules[take].Matches), 1)
			take++
		}
		name := base
		if n > 1 {
			name = fmt.Sprintf("%s-%03d", base, n)
		}
		c.put(&gatewayv1.HTTPRoute{
			TypeMeta: types(gatewayGroup+"/v1", "HTTPRoute"), ObjectMeta: meta(c.from.Namespace, name),
			Spec: gatewayv1.HTTPRouteSpec{CommonRouteSpec: gatewayv1.CommonRouteSpec{ParentRefs: parents}, Hostnames: hosts, Rules: rules[:take]},
		})
		rules = rules[take:]
	}
}

// parents name the Gateways of doors. Of one with servers that redirect, they
// name all other listeners.
func (c *converter) parents(doors []door) []gatewayv1.ParentReference {
	var list []gatewayv1.ParentReference
	for _, d := range doors {
		ref := gatewayv1.ParentReference{Name: gatewayv1.ObjectName(d.gateway.name)}
		if d.gateway.namespace != c.from.Namespace {
			ref.Namespace = new(gatewayv1.Namespace(d.gateway.namespace))
		}
		if d.port != 0 {
			ref.Port = new(gatewayv1.PortNumber(d.port))
		}
		g, _ := c.objects["Gateway "+d.gateway.namespace+"/"+d.gateway.name].(*gatewayv1.Gateway)
		if !c.shut[d.gateway] || g == nil {
			list = append(list, ref)
			continue
		}
		for _, l := range g.Spec.Listeners {
			if d.port != 0 && l.Port != gatewayv1.PortNumber(d.port) || c.leadsToHTTPS(g, l.Name) || l.Protocol != gatewayv1.HTTPProtocolType && l.Protocol != gatewayv1.HTTPSProtocolType {
				continue
			}
			of := ref
			of.Port, of.SectionName = nil, new(l.Name)
			list = append(list, of)
		}
	}
	return list
}

// leadsToHTTPS reports whether a listener redirects all to https.
func (c *converter) leadsToHTTPS(g *gatewayv1.Gateway, listener gatewayv1.SectionName) bool {
	r, _ := c.objects["HTTPRoute "+g.Namespace+"/"+dns(g.Name+"-to-https")].(*gatewayv1.HTTPRoute)
	return r != nil && slices.ContainsFunc(r.Spec.ParentRefs, func(p gatewayv1.ParentReference) bool { return *p.SectionName == listener })
}

// overlaps finds VirtualServices of one Gateway whose hosts have to do with
// each other: what is decided between objects is not kept.
func (c *converter) overlaps() {
	type place struct {
		vs   *networkingv1.VirtualService
		host string
	}
	at := map[name][]place{}
	var gateways []name
	for _, vs := range c.in.VirtualServices {
		for _, g := range vs.Spec.Gateways {
			if to := gatewayNamed(g, namespaceOf(vs)); g != "mesh" {
				if at[to] == nil {
					gateways = append(gateways, to)
				}
				for _, h := range vs.Spec.Hosts {
					at[to] = append(at[to], place{vs, h})
				}
			}
		}
	}
	slices.SortFunc(gateways, func(a, b name) int { return cmp.Or(cmp.Compare(a.namespace, b.namespace), cmp.Compare(a.name, b.name)) })
	for _, g := range gateways {
		for i, p := range at[g] {
			for _, q := range at[g][:i] {
				switch c.begin("VirtualService", p.vs); {
				case p.vs == q.vs:
				case p.host == q.host:
					c.find(routing.Info, OrderNotKept, "spec.hosts", "compare the rules of both",
						"%s has the host %s too: between routes the most specific match counts, and not the older object", nameOf(q.vs), p.host)
				case within(p.host, q.host):
					c.fallsThrough(p.host, nameOf(q.vs), q.host)
				case within(q.host, p.host):
					c.begin("VirtualService", q.vs)
					c.fallsThrough(q.host, nameOf(p.vs), p.host)
				}
			}
		}
	}
}

func (n name) String() string { return n.namespace + "/" + n.name }

func within(host, wide string) bool {
	rest, ok := strings.CutPrefix(wide, "*")
	return ok && strings.HasSuffix(host, rest)
}

func (c *converter) fallsThrough(host string, other name, wide string) {
	c.changed("spec.hosts", "add a rule for all paths, without backends", "a request for %s that none of its rules takes goes on to %s of VirtualService %s, in place of 404", host, wide, other)
}
