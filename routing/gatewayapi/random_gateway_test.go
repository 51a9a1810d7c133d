package gatewayapi

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing"
	"fairway.dev/routing/v1alpha1"
)

func (c chance) class() (string, metav1.Object) {
	o := &gatewayv1.GatewayClass{ObjectMeta: c.meta("", "fairway", "ours")}
	o.Spec.ControllerName = pick[gatewayv1.GatewayController](c, DefaultControllerName, DefaultControllerName, "other.example/x")
	switch c.IntN(6) {
	case 0:
		o.Spec.ParametersRef = &gatewayv1.ParametersReference{Kind: "ConfigMap", Name: "x"}
	case 1:
		o.Spec.ParametersRef = &gatewayv1.ParametersReference{
			Group: "fairway.dev", Kind: "GatewayParameters", Namespace: some[gatewayv1.Namespace](c, "a", "a"), Name: "q1",
		}
	}
	return "GatewayClass", o
}

func (c chance) crd() (string, metav1.Object) {
	o := &metav1.PartialObjectMetadata{ObjectMeta: c.meta("", "gatewayclasses.gateway.networking.k8s.io", "gateways.gateway.networking.k8s.io")}
	o.Annotations = map[string]string{"gateway.networking.k8s.io/bundle-version": pick(c, "v1.6.3", "v1.6.0", "v0.1.0", "")}
	return "CustomResourceDefinition", o
}

func (c chance) parameters() (string, metav1.Object) {
	o := &v1alpha1.GatewayParameters{ObjectMeta: c.meta(c.ns(), "q1", "q2")}
	o.Spec.LogLevel = some(c, "debug", "warn")
	if c.IntN(2) == 0 {
		o.Spec.ProxyProtocol = &v1alpha1.ProxyProtocol{
			Mode:  some(c, v1alpha1.ProxyProtocolRequired),
			Ports: []v1alpha1.PortProxyProtocol{{Port: 80, Mode: pick(c, v1alpha1.ProxyProtocolOff, v1alpha1.ProxyProtocolOptional)}},
		}
	}
	return "GatewayParameters", o
}

func (c chance) gateway() (string, metav1.Object) {
	o := &gatewayv1.Gateway{ObjectMeta: c.meta(c.ns(), "g1", "g2")}
	o.Spec.GatewayClassName = pick[gatewayv1.ObjectName](c, "fairway", "fairway", "fairway", "ours", "nobodys", "istio-remote")
	for range pick(c, 0, 0, 0, 1, 2) {
		o.Spec.Addresses = append(o.Spec.Addresses, gatewayv1.GatewaySpecAddress{
			Type:  some(c, gatewayv1.IPAddressType, gatewayv1.IPAddressType, gatewayv1.HostnameAddressType),
			Value: pick(c, "127.0.0.1", "127.0.0.2", "::1", "x", ""),
		})
	}
	if c.IntN(6) == 0 {
		o.Spec.Infrastructure = &gatewayv1.GatewayInfrastructure{ParametersRef: &gatewayv1.LocalParametersReference{
			Group: "fairway.dev", Kind: pick[gatewayv1.Kind](c, "GatewayParameters", "GatewayParameters", "Odd"), Name: pick(c, "q1", "q2"),
		}}
	}
	if c.IntN(4) > 0 {
		o.Spec.AllowedListeners = &gatewayv1.AllowedListeners{Namespaces: &gatewayv1.ListenerNamespaces{
			From:     some[gatewayv1.FromNamespaces](c, "All", "All", "Same", "Selector"),
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"team": pick(c, "x", "y")}},
		}}
	}
	if c.IntN(4) == 0 {
		o.Labels = map[string]string{waypointForLabel: pick(c, "service", "workload", "all", "none", "odd")}
	}
	if c.IntN(3) == 0 {
		o.Labels = map[string]string{networkLabel: pick(c, "one", "two", "three")}
	}
	if c.IntN(4) == 0 {
		o.Annotations = map[string]string{accountAnnotation: "gw", vouchesAnnotation: pick(c, "", "a", "b, a")}
	}
	o.Spec.TLS = c.gatewayTLS()
	o.Spec.Listeners = c.listeners()
	return "Gateway", o
}

func (c chance) gatewayTLS() *gatewayv1.GatewayTLSConfig {
	tls := &gatewayv1.GatewayTLSConfig{}
	if c.IntN(2) == 0 {
		tls.Backend = &gatewayv1.GatewayBackendTLS{ClientCertificateRef: &gatewayv1.SecretObjectReference{
			Kind: some[gatewayv1.Kind](c, "Secret", "Secret", "Odd"), Namespace: some[gatewayv1.Namespace](c, "a", "b"), Name: pick[gatewayv1.ObjectName](c, "c1", "c2"),
		}}
	}
	if c.IntN(3) == 0 {
		tls.Frontend = &gatewayv1.FrontendTLSConfig{Default: c.clientTLS(), PerPort: []gatewayv1.TLSPortConfig{{Port: 81, TLS: c.clientTLS()}}}
	}
	return tls
}

func (c chance) clientTLS() gatewayv1.TLSConfig {
	if c.IntN(3) == 0 {
		return gatewayv1.TLSConfig{}
	}
	v := &gatewayv1.FrontendTLSValidation{Mode: pick(c, "", gatewayv1.AllowValidOnly, gatewayv1.AllowInsecureFallback)}
	for range 1 + c.IntN(2) {
		v.CACertificateRefs = append(v.CACertificateRefs, gatewayv1.ObjectReference{
			Kind: pick[gatewayv1.Kind](c, "ConfigMap", "ConfigMap", "Secret", "Service"), Name: pick[gatewayv1.ObjectName](c, "m1", "m1", "c1"),
			Namespace: some[gatewayv1.Namespace](c, "a", "b"),
		})
	}
	return gatewayv1.TLSConfig{Validation: v}
}

// listeners draws up to four listeners that conflict often.
func (c chance) listeners() (list []gatewayv1.Listener) {
	for i := range 1 + c.IntN(4) {
		l := gatewayv1.Listener{
			Name:     gatewayv1.SectionName(fmt.Sprintf("l%d", i)),
			Port:     pick[gatewayv1.PortNumber](c, 80, 80, 81, 82, 443),
			Protocol: pick[gatewayv1.ProtocolType](c, "HTTP", "HTTP", "HTTP", "HTTPS", "HTTPS", "TLS", "TLS", "TCP", "UDP", "HBONE", "HBONE", "odd"),
			Hostname: some[gatewayv1.Hostname](c, "x.example.com", "y.example.com", "*.example.com", "*.com"),
		}
		if c.IntN(2) == 0 {
			l.AllowedRoutes = &gatewayv1.AllowedRoutes{
				Namespaces: &gatewayv1.RouteNamespaces{
					From:     some[gatewayv1.FromNamespaces](c, "All", "All", "Same", "Selector"),
					Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"team": pick(c, "x", "y")}},
				},
			}
			if c.IntN(3) == 0 {
				l.AllowedRoutes.Kinds = []gatewayv1.RouteGroupKind{{Kind: pick[gatewayv1.Kind](c, "HTTPRoute", "GRPCRoute", "TCPRoute")}}
			}
		}
		if (l.Protocol == "HTTPS" || l.Protocol == "TLS") && c.IntN(5) > 0 {
			l.TLS = c.listenerTLS()
		}
		list = append(list, l)
	}
	return list
}

func (c chance) listenerTLS() *gatewayv1.ListenerTLSConfig {
	tls := &gatewayv1.ListenerTLSConfig{Mode: some(c, gatewayv1.TLSModeTerminate, gatewayv1.TLSModePassthrough)}
	for range c.IntN(3) {
		tls.CertificateRefs = append(tls.CertificateRefs, gatewayv1.SecretObjectReference{
			Namespace: some[gatewayv1.Namespace](c, "a", "b"), Name: pick[gatewayv1.ObjectName](c, "c1", "c2"),
		})
	}
	if c.IntN(2) == 0 {
		tls.Options = map[gatewayv1.AnnotationKey]gatewayv1.AnnotationValue{certificateOption: localCA}
	}
	return tls
}

// listenerSet draws one that may have the name of a Gateway.
func (c chance) listenerSet() (string, metav1.Object) {
	o := &gatewayv1.ListenerSet{ObjectMeta: c.meta(c.ns(), "g1", "t1", "t2")}
	o.Spec.ParentRef = gatewayv1.ParentGatewayReference{
		Kind: pick(c, nil, nil, nil, some[gatewayv1.Kind](c, "Gateway", "Service")), Namespace: some[gatewayv1.Namespace](c, "a", "b"),
		Name: pick[gatewayv1.ObjectName](c, "g1", "g1", "g2"),
	}
	for _, l := range c.listeners() {
		o.Spec.Listeners = append(o.Spec.Listeners, gatewayv1.ListenerEntry(l))
	}
	return "ListenerSet", o
}

func (c chance) parents() gatewayv1.CommonRouteSpec {
	var refs []gatewayv1.ParentReference
	for range 1 + c.IntN(2) {
		if c.IntN(3) == 0 {
			group, kind := gatewayv1.Group(""), gatewayv1.Kind("Service")
			refs = append(refs, gatewayv1.ParentReference{
				Group: &group, Kind: &kind, Namespace: some[gatewayv1.Namespace](c, "a", "b"), Name: pick[gatewayv1.ObjectName](c, "s1", "s2"),
				SectionName: pick(c, nil, nil, some[gatewayv1.SectionName](c, "web")), Port: some[gatewayv1.PortNumber](c, 80, 81),
			})
			continue
		}
		refs = append(refs, gatewayv1.ParentReference{
			Kind:        some[gatewayv1.Kind](c, "Gateway", "ListenerSet", "ListenerSet"),
			Namespace:   some[gatewayv1.Namespace](c, "a", "b"),
			Name:        pick[gatewayv1.ObjectName](c, "g1", "g1", "g2", "t1"),
			SectionName: some[gatewayv1.SectionName](c, "l0", "l1"),
			Port:        some[gatewayv1.PortNumber](c, 80),
		})
	}
	return gatewayv1.CommonRouteSpec{ParentRefs: refs}
}

// soundWorld fills a world with objects that work together, as chance seldom
// does, for edits to begin with: all protocols, client certificates on both
// sides, a ListenerSet. It returns their keys.
func (c chance) soundWorld(t testing.TB, w world) []routing.ObjectKey {
	keys := w.load(t, `
kind: Gateway
metadata: {namespace: a, name: g1, creationTimestamp: "2026-01-01T00:00:00Z"}
spec:
  gatewayClassName: fairway
  allowedListeners: {namespaces: {from: All}}
  tls:
    backend: {clientCertificateRef: {name: c1}}
    frontend: {default: {validation: {caCertificateRefs: [{kind: ConfigMap, name: m1}]}}}
  listeners:
  - {name: l0, port: 80, protocol: HTTP}
  - {name: l1, port: 81, protocol: HTTPS, tls: {certificateRefs: [{name: c1}]}}
  - {name: l2, port: 443, protocol: TLS, hostname: x.example.com, tls: {mode: Passthrough}}
  - {name: l3, port: 443, protocol: TLS, hostname: y.example.com, tls: {certificateRefs: [{name: c1}]}}
---
kind: ListenerSet
metadata: {namespace: b, name: g1, creationTimestamp: "2026-01-02T00:00:00Z"}
spec:
  parentRef: {namespace: a, name: g1}
  listeners:
  - {name: l0, port: 80, protocol: HTTP, hostname: y.example.com}
  - {name: l1, port: 80, protocol: TCP}
---
kind: Service
metadata: {namespace: a, name: s1}
spec: {ports: [{name: web, port: 80, appProtocol: https}]}
---
kind: HTTPRoute
metadata: {namespace: a, name: r1}
spec:
  parentRefs: [{name: g1}]
  rules:
  - backendRefs: [{name: s1, port: 80}]
    filters: [{type: RequestMirror, requestMirror: {backendRef: {name: s1, port: 80}}}]
---
kind: HTTPRoute
metadata: {namespace: b, name: r2}
spec: {parentRefs: [{kind: ListenerSet, name: g1}]}
`)
	pair := &corev1.Secret{ObjectMeta: c.meta("a", "c1"), Type: corev1.SecretTypeTLS}
	pair.Data = map[string][]byte{corev1.TLSCertKey: pairs()[0].chain, corev1.TLSPrivateKeyKey: pairs()[0].key}
	roots := &corev1.ConfigMap{ObjectMeta: c.meta("a", "m1"), Data: map[string]string{"ca.crt": string(pairs()[0].chain)}}
	return append(keys, w.put("Secret", pair), w.put("ConfigMap", roots))
}
