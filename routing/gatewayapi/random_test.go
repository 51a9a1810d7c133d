package gatewayapi

import (
	"math/rand/v2"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayxv1alpha1 "sigs.k8s.io/gateway-api/apisx/v1alpha1"

	"fairway.dev/routing"
)

// A chance draws small, contrary worlds: few names, so that objects meet.
type chance struct{ *rand.Rand }

func pick[T any](c chance, of ...T) T { return of[c.IntN(len(of))] }

// some returns a pointer to one of several values, or nil.
func some[T any](c chance, of ...T) *T {
	if i := c.IntN(len(of) + 1); i < len(of) {
		return &of[i]
	}
	return nil
}

func (c chance) ns() string { return pick(c, "a", "b") }

func (c chance) meta(ns string, names ...string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: ns, Name: pick(c, names...), Generation: int64(1 + c.IntN(3)), CreationTimestamp: day(c.IntN(4)),
	}
}

// edit changes one thing in the world and returns its key.
func (c chance) edit(w world) routing.ObjectKey {
	if keys := w.keys(); len(keys) > 0 && c.IntN(4) == 0 {
		k := pick(c, keys...)
		delete(w, k)
		return k
	}
	draw := pick(c, c.class, c.crd, c.parameters, c.gateway, c.gateway, c.listenerSet, c.listenerSet, c.httpRoute, c.httpRoute, c.httpRoute, c.grpcRoute, c.grpcRoute, c.tlsRoute, c.tcpRoute, c.udpRoute,
		c.service, c.service, c.slice, c.slice, c.grant, c.policy, c.trafficPolicy, c.rateLimitPolicy, c.secret, c.configMap, c.namespace, c.namespace, c.pod, c.meshPorts)
	kind, o := draw()
	return w.put(kind, o)
}

func (c chance) hosts() []gatewayv1.Hostname {
	var hosts []gatewayv1.Hostname
	for range c.IntN(3) {
		hosts = append(hosts, pick[gatewayv1.Hostname](c, "x.example.com", "y.example.com", "*.example.com", "*.com", "z.org"))
	}
	return hosts
}

func (c chance) ref() gatewayv1.BackendObjectReference {
	return gatewayv1.BackendObjectReference{
		Kind:      pick(c, nil, nil, nil, some[gatewayv1.Kind](c, "Service", "Bucket")),
		Namespace: some[gatewayv1.Namespace](c, "a", "b"),
		Name:      pick[gatewayv1.ObjectName](c, "s1", "s2"),
		Port:      some[gatewayv1.PortNumber](c, 80, 80, 81),
	}
}

func (c chance) httpFilters() []gatewayv1.HTTPRouteFilter {
	all := []gatewayv1.HTTPRouteFilter{
		{Type: "RequestMirror", RequestMirror: &gatewayv1.HTTPRequestMirrorFilter{BackendRef: c.ref(), Percent: some[int32](c, 20, 200)}},
		{Type: "URLRewrite", URLRewrite: &gatewayv1.HTTPURLRewriteFilter{Hostname: some[gatewayv1.PreciseHostname](c, "h")}},
		{Type: "ExtensionRef", ExtensionRef: &gatewayv1.LocalObjectReference{Group: "x", Kind: "Y", Name: "z"}},
		{Type: "ExternalAuth", ExternalAuth: &gatewayv1.HTTPExternalAuthFilter{
			ExternalAuthProtocol: pick[gatewayv1.HTTPRouteExternalAuthProtocol](c, "HTTP", "GRPC"), BackendRef: c.ref(),
			HTTPAuthConfig: some(c, gatewayv1.HTTPAuthConfig{Path: "/a b"}, gatewayv1.HTTPAuthConfig{Path: "a"}),
		}},
		{Type: "RequestRedirect", RequestRedirect: &gatewayv1.HTTPRequestRedirectFilter{StatusCode: some(c, 301, 999)}},
	}
	var out []gatewayv1.HTTPRouteFilter
	for range pick(c, 0, 0, 0, 1, 2) {
		out = append(out, pick(c, all...))
	}
	return out
}

func (c chance) httpRoute() (string, metav1.Object) {
	o := &gatewayv1.HTTPRoute{ObjectMeta: c.meta(c.ns(), "r1", "r2", "r3")}
	o.Spec.CommonRouteSpec, o.Spec.Hostnames = c.parents(), c.hosts()
	for range c.IntN(3) {
		rule := gatewayv1.HTTPRouteRule{Filters: c.httpFilters()}
		for range c.IntN(3) {
			rule.Matches = append(rule.Matches, gatewayv1.HTTPRouteMatch{Path: &gatewayv1.HTTPPathMatch{
				Type: some[gatewayv1.PathMatchType](c, "Exact", "RegularExpression"), Value: some(c, "/p", "/q", "(", "p"),
			}})
		}
		for range c.IntN(3) {
			rule.BackendRefs = append(rule.BackendRefs, gatewayv1.HTTPBackendRef{
				BackendRef: gatewayv1.BackendRef{BackendObjectReference: c.ref(), Weight: some[int32](c, 0, 5)},
			})
		}
		o.Spec.Rules = append(o.Spec.Rules, rule)
	}
	return "HTTPRoute", o
}

func (c chance) grpcRoute() (string, metav1.Object) {
	o := &gatewayv1.GRPCRoute{ObjectMeta: c.meta(c.ns(), "r1", "r2", "r3")}
	o.Spec.CommonRouteSpec, o.Spec.Hostnames = c.parents(), c.hosts()
	for range c.IntN(3) {
		o.Spec.Rules = append(o.Spec.Rules, gatewayv1.GRPCRouteRule{
			Matches: []gatewayv1.GRPCRouteMatch{{Method: &gatewayv1.GRPCMethodMatch{Service: some(c, "s"), Method: some(c, "m")}}},
			BackendRefs: []gatewayv1.GRPCBackendRef{{
				BackendRef: gatewayv1.BackendRef{BackendObjectReference: c.ref()},
			}},
		})
	}
	return "GRPCRoute", o
}

func (c chance) tlsRoute() (string, metav1.Object) {
	o := &gatewayv1.TLSRoute{ObjectMeta: c.meta(c.ns(), "r1", "r2")}
	o.Spec.CommonRouteSpec, o.Spec.Hostnames = c.parents(), c.hosts()
	for range c.IntN(3) {
		o.Spec.Rules = append(o.Spec.Rules, gatewayv1.TLSRouteRule{BackendRefs: c.streamBackends()})
	}
	return "TLSRoute", o
}

func (c chance) tcpRoute() (string, metav1.Object) {
	o := &gatewayv1.TCPRoute{ObjectMeta: c.meta(c.ns(), "r1", "r2")}
	o.Spec.CommonRouteSpec, o.Spec.Rules = c.parents(), []gatewayv1.TCPRouteRule{{BackendRefs: c.streamBackends()}}
	return "TCPRoute", o
}

func (c chance) udpRoute() (string, metav1.Object) {
	o := &gatewayv1.UDPRoute{ObjectMeta: c.meta(c.ns(), "r1", "r2")}
	o.Spec.CommonRouteSpec, o.Spec.Rules = c.parents(), []gatewayv1.UDPRouteRule{{BackendRefs: c.streamBackends()}}
	return "UDPRoute", o
}

func (c chance) streamBackends() []gatewayv1.BackendRef {
	var refs []gatewayv1.BackendRef
	for range c.IntN(3) {
		refs = append(refs, gatewayv1.BackendRef{BackendObjectReference: c.ref(), Weight: some[int32](c, 0, 5)})
	}
	return refs
}

func (c chance) service() (string, metav1.Object) {
	o := &corev1.Service{ObjectMeta: c.meta(c.ns(), "s1", "s2", "s1", "s2", "g1")}
	c.enrol(&o.ObjectMeta)
	o.Spec.ClusterIPs = pick(c, nil, []string{"None"}, []string{"10.96.0.1"}, []string{"10.96.0.1"}, []string{"10.96.0.1", "fd00::1"}, []string{"10.96.0.3"})
	o.Spec.Selector = pick(c, nil, map[string]string{"app": "x"})
	o.Spec.Type = pick(c, "", "", "", corev1.ServiceTypeExternalName)
	o.Spec.Ports = []corev1.ServicePort{{
		Name: pick(c, "", "web", "grpc"), Port: pick[int32](c, 80, 80, 81), AppProtocol: some(c, "kubernetes.io/h2c", "https", "odd"),
	}}
	if c.IntN(2) == 0 {
		o.Spec.Ports = append(o.Spec.Ports, corev1.ServicePort{Name: "udp", Port: 80, Protocol: corev1.ProtocolUDP})
	}
	o.Spec.IPFamilies = pick(c, nil, []corev1.IPFamily{corev1.IPv4Protocol}, []corev1.IPFamily{corev1.IPv6Protocol, corev1.IPv4Protocol})
	o.Spec.TrafficDistribution = some(c, "PreferClose", "PreferSameNode", "PreferNobody")
	if c.IntN(3) == 0 {
		o.Annotations = map[string]string{
			"fairway.dev/load-balancing": pick(c, "random", "worst"), "fairway.dev/max-requests": pick(c, "5", "none", "x"),
			"fairway.dev/proxy-protocol": pick(c, "v1", "v2", "v3"),
		}
	}
	return "Service", o
}

func (c chance) slice() (string, metav1.Object) {
	o := &discoveryv1.EndpointSlice{ObjectMeta: c.meta(c.ns(), "e1", "e2", "e3")}
	o.Labels = map[string]string{discoveryv1.LabelServiceName: pick(c, "s1", "s2", "g1", "")}
	o.AddressType = pick(c, discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeFQDN)
	o.Ports = []discoveryv1.EndpointPort{
		{Name: some(c, "", "web", "grpc"), Port: some[int32](c, 8080, 8081)},
		{Name: ptr("udp"), Port: ptr[int32](5353), Protocol: some(c, corev1.ProtocolUDP)},
	}
	for range c.IntN(3) {
		o.Endpoints = append(o.Endpoints, discoveryv1.Endpoint{
			Addresses:  []string{pick(c, "10.0.0.1", "10.0.0.2", "fd00::1", "x")},
			Conditions: discoveryv1.EndpointConditions{Ready: some(c, true, false)},
			Zone:       some(c, "z1", "z2"),
			NodeName:   some(c, "n1", "n2"),
			Hints: some(c, discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: pick(c, "z1", "z2")}}},
				discoveryv1.EndpointHints{ForNodes: []discoveryv1.ForNode{{Name: pick(c, "n1", "n2")}}}),
			TargetRef: some(c, corev1.ObjectReference{Kind: "Pod", Name: "p1"}, corev1.ObjectReference{Kind: "Pod", Name: "p2"}),
		})
	}
	return "EndpointSlice", o
}

func (c chance) grant() (string, metav1.Object) {
	o := &gatewayv1.ReferenceGrant{ObjectMeta: c.meta(c.ns(), "t1", "t2")}
	o.Spec.From = []gatewayv1.ReferenceGrantFrom{{
		Group: gatewayv1.GroupName, Kind: pick[gatewayv1.Kind](c, "HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute", "Gateway"), Namespace: gatewayv1.Namespace(c.ns()),
	}, {
		Group: "fairway.dev", Kind: kindRateLimit, Namespace: gatewayv1.Namespace(c.ns()),
	}}
	o.Spec.To = []gatewayv1.ReferenceGrantTo{{
		Kind: pick[gatewayv1.Kind](c, "Service", "Secret"), Name: some[gatewayv1.ObjectName](c, "s1", "c1"),
	}}
	return "ReferenceGrant", o
}

func (c chance) policy() (string, metav1.Object) {
	o := &gatewayv1.BackendTLSPolicy{ObjectMeta: c.meta(c.ns(), "p1", "p2")}
	for range 1 + c.IntN(2) {
		ref := gatewayv1.LocalPolicyTargetReferenceWithSectionName{SectionName: some[gatewayv1.SectionName](c, "web", "grpc")}
		ref.Kind, ref.Name = "Service", pick[gatewayv1.ObjectName](c, "s1", "s2")
		o.Spec.TargetRefs = append(o.Spec.TargetRefs, ref)
	}
	o.Spec.Validation.Hostname = pick[gatewayv1.PreciseHostname](c, "s.example", "s.example", "")
	if c.IntN(2) == 0 {
		o.Spec.Validation.CACertificateRefs = []gatewayv1.LocalObjectReference{{Kind: "ConfigMap", Name: "m1"}}
	} else {
		o.Spec.Validation.WellKnownCACertificates = some[gatewayv1.WellKnownCACertificatesType](c, "System")
	}
	return "BackendTLSPolicy", o
}

func (c chance) trafficPolicy() (string, metav1.Object) {
	o := &gatewayxv1alpha1.XBackendTrafficPolicy{ObjectMeta: c.meta(c.ns(), "p1", "p2", "p3")}
	for range 1 + c.IntN(2) {
		o.Spec.TargetRefs = append(o.Spec.TargetRefs, gatewayv1.LocalPolicyTargetReference{
			Kind: pick[gatewayv1.Kind](c, "Service", "Service", "Bucket"), Name: pick[gatewayv1.ObjectName](c, "s1", "s2"),
		})
	}
	if c.IntN(2) == 0 {
		o.Spec.SessionPersistence = &gatewayv1.SessionPersistence{SessionName: some(c, "n", "m", "a b")}
	}
	if c.IntN(2) == 0 {
		o.Spec.RetryConstraint = &gatewayxv1alpha1.RetryConstraint{
			Budget: &gatewayxv1alpha1.BudgetDetails{Percent: some(c, 5, 101), Interval: some[gatewayv1.Duration](c, "2s", "x")},
		}
	}
	return "XBackendTrafficPolicy", o
}

func (c chance) secret() (string, metav1.Object) {
	o := &corev1.Secret{ObjectMeta: c.meta(c.ns(), "c1", "c2"), Type: corev1.SecretTypeTLS}
	chain, key := c.IntN(2), c.IntN(2)
	if c.IntN(3) > 0 {
		key = chain
	}
	o.Data = map[string][]byte{
		corev1.TLSCertKey:       pairs()[chain].chain,
		corev1.TLSPrivateKeyKey: pairs()[key].key,
		"ca.crt":                pick(c, pairs()[0].chain, nil),
	}
	if c.IntN(6) == 0 {
		o.Type = corev1.SecretTypeOpaque
	}
	return "Secret", o
}

func (c chance) configMap() (string, metav1.Object) {
	o := &corev1.ConfigMap{ObjectMeta: c.meta(c.ns(), "m1")}
	o.Data = map[string]string{"ca.crt": pick(c, string(pairs()[0].chain), string(pairs()[1].chain), "x")}
	return "ConfigMap", o
}
