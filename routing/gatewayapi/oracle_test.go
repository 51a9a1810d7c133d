package gatewayapi

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing"
	"fairway.dev/routing/dialecttest"
)

// A streamCase is a world of Gateways and of routes for connections and
// datagrams, and the names that a client may ask for.
type streamCase struct {
	world
	gateways []*gatewayv1.Gateway
	routes   []*oracleRoute
}

// An oracleRoute is a TLSRoute, TCPRoute or UDPRoute.
type oracleRoute struct {
	kind     string
	o        *gatewayv1.TLSRoute // of the other kinds: without hostnames
	backends []gatewayv1.BackendRef
}

func (r *oracleRoute) name() string { return r.kind + " " + r.o.Namespace + "/" + r.o.Name }

var oracleNames = []string{"", "a.example.com", "b.example.com", "x.a.example.com", "a.example.org", "example.com"}

func (c chance) streamHosts() []gatewayv1.Hostname {
	var hosts []gatewayv1.Hostname
	for range 1 + c.IntN(2) {
		hosts = append(hosts, pick[gatewayv1.Hostname](c, "a.example.com", "*.a.example.com", "*.example.com", "*.com", "b.example.com", "a.example.org"))
	}
	return hosts
}

// streamGateway has listeners that are all in force: none has the port and
// hostname of another.
func (c chance) streamGateway(ns, name string) *gatewayv1.Gateway {
	o := &gatewayv1.Gateway{}
	o.Namespace, o.Name, o.CreationTimestamp = ns, name, day(1)
	o.Spec.GatewayClassName = "fairway"
	ports := map[gatewayv1.ProtocolType][]gatewayv1.PortNumber{"TLS": {443, 8443}, "TCP": {9000, 9001, 9002}, "UDP": {53, 9000}, "HTTP": {80}}
	taken := map[string]bool{}
	for i := range 2 + c.IntN(5) {
		l := gatewayv1.Listener{Name: gatewayv1.SectionName(fmt.Sprintf("l%d", i)), Protocol: pick[gatewayv1.ProtocolType](c, "TLS", "TLS", "TCP", "UDP", "HTTP")}
		l.Port = pick(c, ports[l.Protocol]...)
		if l.Protocol == "TLS" {
			l.Hostname = some[gatewayv1.Hostname](c, "a.example.com", "*.example.com", "*.com", "*.a.example.com")
			l.TLS = &gatewayv1.ListenerTLSConfig{Mode: some(c, gatewayv1.TLSModePassthrough)}
			if l.TLS.Mode == nil {
				l.TLS.Options = map[gatewayv1.AnnotationKey]gatewayv1.AnnotationValue{certificateOption: localCA}
			}
		}
		key := fmt.Sprint(l.Port, l.Protocol, or(l.Hostname, ""))
		if taken[key] {
			continue
		}
		taken[key] = true
		l.AllowedRoutes = &gatewayv1.AllowedRoutes{Namespaces: &gatewayv1.RouteNamespaces{From: some(c, gatewayv1.NamespacesFromAll, gatewayv1.NamespacesFromAll, gatewayv1.NamespacesFromNone)}}
		if c.IntN(3) == 0 {
			l.AllowedRoutes.Kinds = []gatewayv1.RouteGroupKind{{Kind: pick[gatewayv1.Kind](c, "TLSRoute", "TCPRoute", "UDPRoute")}}
		}
		o.Spec.Listeners = append(o.Spec.Listeners, l)
	}
	return o
}

func (c chance) streamRoute(i int) *oracleRoute {
	r := &oracleRoute{kind: pick(c, "TLSRoute", "TLSRoute", "TCPRoute", "UDPRoute"), o: &gatewayv1.TLSRoute{}}
	r.o.Namespace, r.o.Name, r.o.CreationTimestamp = c.ns(), fmt.Sprintf("r%d", i), day(c.IntN(4))
	seen := map[string]bool{}
	for range 1 + c.IntN(3) {
		ref := gatewayv1.ParentReference{
			Namespace: ptr(gatewayv1.Namespace(c.ns())), Name: pick[gatewayv1.ObjectName](c, "g1", "g1", "gone"),
			SectionName: some[gatewayv1.SectionName](c, "l0", "l1"), Port: pick(c, nil, nil, some[gatewayv1.PortNumber](c, 443, 9000)),
		}
		if key := fmt.Sprint(*ref.Namespace, ref.Name, or(ref.SectionName, ""), or(ref.Port, 0)); !seen[key] {
			seen[key] = true
			r.o.Spec.ParentRefs = append(r.o.Spec.ParentRefs, ref)
		}
	}
	if r.kind == "TLSRoute" {
		r.o.Spec.Hostnames = c.streamHosts()
	}
	for range c.IntN(4) {
		r.backends = append(r.backends, gatewayv1.BackendRef{BackendObjectReference: gatewayv1.BackendObjectReference{
			Kind: pick(c, nil, nil, nil, ptr[gatewayv1.Kind]("Bucket")), Namespace: some[gatewayv1.Namespace](c, "a", "b"),
			Name: pick[gatewayv1.ObjectName](c, "tcp", "udp", "both", "gone"), Port: pick(c, ptr[gatewayv1.PortNumber](53), ptr[gatewayv1.PortNumber](53), nil, ptr[gatewayv1.PortNumber](54)),
		}, Weight: some[int32](c, 0, 3)})
	}
	return r
}

func (c chance) streamCase() *streamCase {
	s := &streamCase{world: world{}}
	for _, ns := range []string{"a", "b"} {
		g := c.streamGateway(ns, "g1")
		s.put("Gateway", g)
		s.gateways = append(s.gateways, g)
		for name, protocols := range map[string][]corev1.Protocol{"tcp": {"TCP"}, "udp": {"UDP"}, "both": {"TCP", "UDP"}} {
			svc := &corev1.Service{}
			svc.Namespace, svc.Name = ns, name
			for _, p := range protocols {
				svc.Spec.Ports = append(svc.Spec.Ports, corev1.ServicePort{Name: strings.ToLower(string(p)), Port: 53, Protocol: p})
			}
			s.put("Service", svc)
		}
		if c.IntN(2) == 0 {
			_, grant := c.grant()
			g := grant.(*gatewayv1.ReferenceGrant)
			g.Namespace, g.Name = ns, "t"
			g.Spec.From[0].Kind, g.Spec.From[0].Namespace = pick[gatewayv1.Kind](c, "TLSRoute", "TCPRoute", "UDPRoute"), pick[gatewayv1.Namespace](c, "a", "b")
			g.Spec.To = []gatewayv1.ReferenceGrantTo{{Kind: "Service", Name: some[gatewayv1.ObjectName](c, "tcp", "udp")}}
			s.put("ReferenceGrant", g)
		}
	}
	for i := range 1 + c.IntN(6) {
		r := c.streamRoute(i)
		s.routes = append(s.routes, r)
		switch r.kind {
		case "TLSRoute":
			r.o.Spec.Rules = []gatewayv1.TLSRouteRule{{BackendRefs: r.backends}}
			s.put(r.kind, r.o)
		case "TCPRoute":
			o := &gatewayv1.TCPRoute{ObjectMeta: r.o.ObjectMeta}
			o.Spec.CommonRouteSpec, o.Spec.Rules = r.o.Spec.CommonRouteSpec, []gatewayv1.TCPRouteRule{{BackendRefs: r.backends}}
			s.put(r.kind, o)
		case "UDPRoute":
			o := &gatewayv1.UDPRoute{ObjectMeta: r.o.ObjectMeta}
			o.Spec.CommonRouteSpec, o.Spec.Rules = r.o.Spec.CommonRouteSpec, []gatewayv1.UDPRouteRule{{BackendRefs: r.backends}}
			s.put(r.kind, o)
		}
	}
	return s
}

// lets reads Listener.allowedRoutes and the protocols of kinds literally.
func lets(g *gatewayv1.Gateway, l *gatewayv1.Listener, r *oracleRoute) bool {
	if string(l.Protocol)+"Route" != r.kind {
		return false
	}
	a := l.AllowedRoutes
	if len(a.Kinds) > 0 && string(a.Kinds[0].Kind) != r.kind {
		return false
	}
	switch or(a.Namespaces.From, gatewayv1.NamespacesFromSame) {
	case gatewayv1.NamespacesFromAll:
		return true
	case gatewayv1.NamespacesFromSame:
		return g.Namespace == r.o.Namespace
	}
	return false
}

// meets reads TLSRouteSpec.hostnames literally.
func meets(l *gatewayv1.Listener, r *oracleRoute) bool {
	if r.kind != "TLSRoute" || l.Hostname == nil {
		return true
	}
	return slices.ContainsFunc(r.o.Spec.Hostnames, func(h gatewayv1.Hostname) bool { return inCommon(string(h), string(*l.Hostname)) })
}

// judge returns the reason of Accepted for a parentRef, "" where there is no
// such Gateway, and the listeners where the route is.
func (s *streamCase) judge(r *oracleRoute, ref gatewayv1.ParentReference) (reason string, at []string) {
	for _, g := range s.gateways {
		if g.Namespace != string(*ref.Namespace) || g.Name != string(ref.Name) {
			continue
		}
		reason = "NoMatchingParent"
		worse := func(than string) bool {
			order := []string{"NoMatchingParent", "NotAllowedByListeners", "NoMatchingListenerHostname", "Accepted"}
			return slices.Index(order, reason) < slices.Index(order, than)
		}
		for i := range g.Spec.Listeners {
			l := &g.Spec.Listeners[i]
			found := "Accepted"
			switch {
			case ref.SectionName != nil && *ref.SectionName != l.Name, ref.Port != nil && *ref.Port != l.Port:
				continue
			case !lets(g, l, r):
				found = "NotAllowedByListeners"
			case !meets(l, r):
				found = "NoMatchingListenerHostname"
			default:
				at = append(at, listenerKey(g, l))
			}
			if worse(found) {
				reason = found
			}
		}
	}
	return reason, at
}

func listenerKey(g *gatewayv1.Gateway, l *gatewayv1.Listener) string {
	return g.Namespace + "/" + g.Name + "/" + string(l.Name)
}

// attached returns the routes at a listener.
func (s *streamCase) attached(key string) (list []*oracleRoute) {
	for _, r := range s.routes {
		if slices.ContainsFunc(r.o.Spec.ParentRefs, func(ref gatewayv1.ParentReference) bool {
			_, at := s.judge(r, ref)
			return slices.Contains(at, key)
		}) {
			list = append(list, r)
		}
	}
	return list
}

// specific orders patterns for a name that they match: the one with more
// characters first, an exact one before a wildcard, none of all last.
func specific(pattern string) int {
	switch {
	case pattern == "*":
		return 0
	case strings.HasPrefix(pattern, "*"):
		return len(pattern)
	}
	return 1000
}

// way returns the route that a connection takes, or datagrams do, at a port;
// whether any listener is for it, and nil where no route is.
func (s *streamCase) way(g *gatewayv1.Gateway, port gatewayv1.PortNumber, udp bool, name string) (listened bool, way *oracleRoute) {
	var l *gatewayv1.Listener
	for i := range g.Spec.Listeners {
		m := &g.Spec.Listeners[i]
		if m.Port != port || (m.Protocol == "UDP") != udp || !matchesHost(pattern(string(or(m.Hostname, ""))), name) {
			continue
		}
		if l == nil || specific(pattern(string(or(m.Hostname, "")))) > specific(pattern(string(or(l.Hostname, "")))) {
			l = m
		}
	}
	if l == nil {
		return false, nil
	}
	best := -1
	routes := s.attached(listenerKey(g, l))
	slices.SortFunc(routes, func(a, b *oracleRoute) int {
		return cmp.Or(compareAge(a.o.CreationTimestamp.Time, b.o.CreationTimestamp.Time, "", ""),
			strings.Compare(a.o.Namespace+"/"+a.o.Name, b.o.Namespace+"/"+b.o.Name))
	})
	for _, r := range routes {
		hosts := []string{"*"}
		if r.kind == "TLSRoute" {
			hosts = nil
			for _, h := range r.o.Spec.Hostnames {
				hosts = append(hosts, string(h))
			}
		}
		for _, h := range hosts {
			if matchesHost(h, name) && specific(h) > best {
				best, way = specific(h), r
			}
		}
	}
	return true, way
}

// backend reads a backendRef literally: what it leads to, or nothing.
func (s *streamCase) backend(r *oracleRoute, ref gatewayv1.BackendRef) routing.ClusterName {
	ns, protocol, mark := string(or(ref.Namespace, gatewayv1.Namespace(r.o.Namespace))), corev1.ProtocolTCP, "#tcp"
	if r.kind == "UDPRoute" {
		protocol, mark = corev1.ProtocolUDP, "#udp"
	}
	if ref.Kind != nil || ref.Port == nil {
		return ""
	}
	if ns != r.o.Namespace {
		g, _ := s.Get(routing.ObjectKey{Kind: "ReferenceGrant", Namespace: ns, Name: "t"}).(*gatewayv1.ReferenceGrant)
		if g == nil || string(g.Spec.From[0].Kind) != r.kind || string(g.Spec.From[0].Namespace) != r.o.Namespace ||
			g.Spec.To[0].Name != nil && *g.Spec.To[0].Name != ref.Name {
			return ""
		}
	}
	svc, _ := s.Get(routing.ObjectKey{Kind: "Service", Namespace: ns, Name: string(ref.Name)}).(*corev1.Service)
	if svc == nil || !slices.ContainsFunc(svc.Spec.Ports, func(p corev1.ServicePort) bool { return p.Port == *ref.Port && p.Protocol == protocol }) {
		return ""
	}
	return routing.ClusterName(fmt.Sprintf("%s/%s:%d%s", ns, ref.Name, *ref.Port, mark))
}

// TestStreamsBySpecification compares what comes of TLSRoutes, TCPRoutes and
// UDPRoutes, from their status to where connections go, with a literal reading
// of the API.
func TestStreamsBySpecification(t *testing.T) {
	for seed := range uint64(400) {
		checkStreams(t, seed)
	}
}

func FuzzStreamsBySpecification(f *testing.F) {
	f.Add(uint64(1 << 33))
	f.Fuzz(func(t *testing.T, seed uint64) { checkStreams(t, seed) })
}

func checkStreams(t *testing.T, seed uint64) {
	c := chance{rand.New(rand.NewPCG(seed, 5))}
	s := c.streamCase()
	r := s.translate(Options{DefaultClass: "fairway", Isolated: true})
	for _, route := range s.routes {
		s.checkParents(t, fmt.Sprintf("seed %d, %s", seed, route.name()), route, r)
	}
	for _, g := range s.gateways {
		report := r.Reports[routing.ObjectKey{Kind: "Gateway", Namespace: g.Namespace, Name: g.Name}]
		for i := range g.Spec.Listeners {
			key := listenerKey(g, &g.Spec.Listeners[i])
			if want := len(s.attached(key)); int(report.Listeners[i].AttachedRoutes) != want {
				t.Errorf("seed %d, %s: %d routes attached, want %d", seed, key, report.Listeners[i].AttachedRoutes, want)
			}
		}
		snap, _ := routing.Compile(only(&r.Spec, g.Namespace+"/"+g.Name))
		for _, l := range g.Spec.Listeners {
			if l.Protocol == "HTTP" {
				continue
			}
			port := snap.Port(routing.PortKey{Port: uint16(l.Port), UDP: l.Protocol == "UDP"})
			for _, name := range oracleNames {
				if name == "" || l.Protocol == "TLS" {
					s.checkWay(t, fmt.Sprintf("seed %d, %s on port %d for %q", seed, listenerKey(g, &l), l.Port, name), g, &l, port, name)
				}
			}
		}
	}
}

func (s *streamCase) checkParents(t *testing.T, what string, route *oracleRoute, r *dialecttest.Result) {
	t.Helper()
	want := []string{}
	for _, ref := range route.o.Spec.ParentRefs {
		if reason, _ := s.judge(route, ref); reason != "" {
			want = append(want, reason)
		}
	}
	got := []string{}
	for _, p := range r.Reports[routing.ObjectKey{Kind: route.kind, Namespace: route.o.Namespace, Name: route.o.Name}].Parents {
		got = append(got, p.Conditions[0].Reason)
		resolved := !slices.ContainsFunc(route.backends, func(ref gatewayv1.BackendRef) bool { return s.backend(route, ref) == "" })
		if c := p.Conditions[1]; c.Type != "ResolvedRefs" || (c.Status == "True") != resolved {
			t.Errorf("%s: %+v, want it %t", what, c, resolved)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s: Accepted for %v, want %v", what, got, want)
	}
}

func (s *streamCase) checkWay(t *testing.T, what string, g *gatewayv1.Gateway, l *gatewayv1.Listener, port *routing.Port, name string) {
	t.Helper()
	listened, route := s.way(g, l.Port, l.Protocol == "UDP", name)
	res := port.MatchStream(name, "", netip.Addr{}, netip.Addr{})
	switch {
	case (res.Listener != nil) != listened, (res.Target != nil) != (route != nil):
		t.Errorf("%s: listener %v, route %v; want %t, %v", what, res.Listener, res.Target, listened, route)
	case route == nil:
	case res.Target.Route.Origin.String() != route.name():
		t.Errorf("%s: %s, want %s", what, res.Target.Route.Origin, route.name())
	default:
		want, total := []string{}, int32(0)
		for _, ref := range route.backends {
			want = append(want, fmt.Sprintf("%s %d", s.backend(route, ref), or(ref.Weight, 1)))
			total += or(ref.Weight, 1)
		}
		got := []string{}
		for _, b := range res.Target.Action.Backends {
			got = append(got, fmt.Sprintf("%s %d", b.Cluster, b.Weight))
		}
		if total == 0 {
			want = []string{}
			if res.Target.Action.Status == 0 {
				t.Errorf("%s: does not refuse", what)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: backends %q, want %q", what, got, want)
		}
	}
}

// only returns the part of a Spec that is a Gateway's.
func only(all *routing.Spec, gateway string) *routing.Spec {
	spec := *all
	spec.Listeners, spec.Routes = map[routing.ListenerName]*routing.Listener{}, map[routing.RouteName]*routing.Route{}
	for name, l := range all.Listeners {
		if l.Gateway == gateway {
			spec.Listeners[name] = l
		}
	}
	for name, r := range all.Routes {
		own := *r
		own.Attached = slices.DeleteFunc(slices.Clone(r.Attached), func(a routing.Attachment) bool { return spec.Listeners[a.Listener] == nil })
		if len(own.Attached) > 0 {
			spec.Routes[name] = &own
		}
	}
	return &spec
}
