package convert

import (
	"fmt"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// gateways converts Istio's Gateways: each becomes one of Gateway API, which has
// pods of its own.
func (c *converter) gateways() {
	for _, g := range c.in.Gateways {
		c.begin("Gateway.networking.istio.io", g)
		out := &gatewayv1.Gateway{
			TypeMeta: types(gatewayGroup+"/v1", "Gateway"), ObjectMeta: meta(c.from.Namespace, c.from.Name),
			Spec: gatewayv1.GatewaySpec{GatewayClassName: gatewayv1.ObjectName(c.opts.Class)},
		}
		if len(g.Spec.Selector) > 0 {
			c.changed("spec.selector", "move DNS records and firewalls to the new Gateway's address", "the Gateway gets pods and an address of its own, and is not served by those that the selector matches")
		}
		var redirects []gatewayv1.SectionName
		for i, s := range g.Spec.Servers {
			for _, l := range c.listeners(fmt.Sprintf("spec.servers[%d]", i), s, out) {
				if s.GetTls().GetHttpsRedirect() {
					redirects = append(redirects, l.Name)
				}
				out.Spec.Listeners = append(out.Spec.Listeners, l)
			}
		}
		c.put(out)
		if len(redirects) > 0 {
			c.shut[nameOf(g)] = true
			c.redirectAll(out, redirects)
		}
	}
}

// listeners are those of a server: one for each host.
func (c *converter) listeners(field string, s *networking.Server, g *gatewayv1.Gateway) []gatewayv1.Listener {
	protocol, ok := map[string]gatewayv1.ProtocolType{
		"HTTP": gatewayv1.HTTPProtocolType, "HTTP2": gatewayv1.HTTPProtocolType, "GRPC": gatewayv1.HTTPProtocolType, "GRPC-WEB": gatewayv1.HTTPProtocolType,
		"HTTPS": gatewayv1.HTTPSProtocolType, "TLS": gatewayv1.TLSProtocolType, "TCP": gatewayv1.TCPProtocolType, "MONGO": gatewayv1.TCPProtocolType,
	}[strings.ToUpper(s.GetPort().GetProtocol())]
	if !ok || s.GetPort().GetNumber() == 0 {
		c.lost(field+".port", "write a listener by hand", "protocol %q: no listener has it", s.GetPort().GetProtocol())
		return nil
	}
	if s.Bind != "" {
		c.lost(field+".bind", "set spec.addresses of the Gateway", "listeners have no addresses of their own")
	}
	var tls *gatewayv1.ListenerTLSConfig
	if protocol == gatewayv1.HTTPSProtocolType || protocol == gatewayv1.TLSProtocolType {
		if tls, ok = c.listenerTLS(field+".tls", s.Tls, s.Port.Number, g); !ok {
			return nil
		}
		if tls.Mode != nil && *tls.Mode == gatewayv1.TLSModePassthrough {
			protocol = gatewayv1.TLSProtocolType
		}
	}
	var list []gatewayv1.Listener
	for i, h := range s.Hosts {
		ns, host := "*", h
		if before, after, ok := strings.Cut(h, "/"); ok {
			ns, host = before, after
		}
		l := gatewayv1.Listener{
			Name: gatewayv1.SectionName(dns(fmt.Sprintf("%s-%d", strings.ToLower(strings.ReplaceAll(s.Port.Name, "_", "-")), i))),
			Port: gatewayv1.PortNumber(s.Port.Number), Protocol: protocol, TLS: tls, AllowedRoutes: &gatewayv1.AllowedRoutes{Namespaces: routesFrom(ns)},
		}
		if len(s.Hosts) == 1 {
			l.Name = gatewayv1.SectionName(dns(strings.ToLower(strings.ReplaceAll(s.Port.Name, "_", "-"))))
		}
		if host != "*" && protocol != gatewayv1.TCPProtocolType {
			l.Hostname = new(gatewayv1.Hostname(host))
		}
		if protocol == gatewayv1.TCPProtocolType && i > 0 {
			break // hosts do not tell connections apart
		}
		list = append(list, l)
	}
	return list
}

// routesFrom are the namespaces of the VirtualServices that a host lets in.
func routesFrom(ns string) *gatewayv1.RouteNamespaces {
	switch ns {
	case "*":
		return &gatewayv1.RouteNamespaces{From: new(gatewayv1.NamespacesFromAll)}
	case ".":
		return &gatewayv1.RouteNamespaces{From: new(gatewayv1.NamespacesFromSame)}
	}
	return &gatewayv1.RouteNamespaces{From: new(gatewayv1.NamespacesFromSelector), Selector: &metav1.LabelSelector{
		MatchLabels: map[string]string{"kubernetes.io/metadata.name": ns},
	}}
}

func (c *converter) listenerTLS(field string, t *networking.ServerTLSSettings, port uint32, g *gatewayv1.Gateway) (*gatewayv1.ListenerTLSConfig, bool) {
	switch t.GetMode() {
	case networking.ServerTLSSettings_PASSTHROUGH:
		return &gatewayv1.ListenerTLSConfig{Mode: new(gatewayv1.TLSModePassthrough)}, true
	case networking.ServerTLSSettings_AUTO_PASSTHROUGH, networking.ServerTLSSettings_ISTIO_MUTUAL:
		c.lost(field+".mode", "keep Istio's Gateway for it", "mode %v: Gateway API has no such listener", t.GetMode())
		return nil, false
	}
	names := t.CredentialNames
	if t.CredentialName != "" {
		names = []string{t.CredentialName}
	}
	if len(names) == 0 {
		c.lost(field, "put the certificate into a Secret, and name it in certificateRefs", "certificates in files of the gateway's pod")
		return nil, false
	}
	out := &gatewayv1.ListenerTLSConfig{Mode: new(gatewayv1.TLSModeTerminate)}
	for _, n := range names {
		out.CertificateRefs = append(out.CertificateRefs, gatewayv1.SecretObjectReference{Name: gatewayv1.ObjectName(n)})
	}
	c.assumed(field+".credentialName", "copy the Secret from the namespace of the old gateway's pods, or write that namespace and a ReferenceGrant",
		"Secrets %v are looked for in the namespace %s of the Gateway", names, c.from.Namespace)
	for _, lost := range []struct {
		name string
		set  bool
	}{
		{"minProtocolVersion", t.MinProtocolVersion != 0}, {"maxProtocolVersion", t.MaxProtocolVersion != 0}, {"cipherSuites", len(t.CipherSuites) > 0},
		{"subjectAltNames", len(t.SubjectAltNames) > 0}, {"verifyCertificateSpki", len(t.VerifyCertificateSpki) > 0}, {"verifyCertificateHash", len(t.VerifyCertificateHash) > 0},
	} {
		if lost.set {
			c.lost(field+"."+lost.name, "keep Istio's Gateway where that is needed", "listeners of Gateway API have no word for it")
		}
	}
	if t.Mode == networking.ServerTLSSettings_MUTUAL || t.Mode == networking.ServerTLSSettings_OPTIONAL_MUTUAL {
		c.clients(field, t, port, names[0], g)
	}
	return out, true
}

// clients has certificates of clients checked on a port.
func (c *converter) clients(field string, t *networking.ServerTLSSettings, port uint32, credential string, g *gatewayv1.Gateway) {
	ca := t.CaCertCredentialName
	if ca == "" {
		ca = credential
	}
	validation := &gatewayv1.FrontendTLSValidation{CACertificateRefs: []gatewayv1.ObjectReference{{Kind: "Secret", Name: gatewayv1.ObjectName(ca)}}}
	if t.Mode == networking.ServerTLSSettings_OPTIONAL_MUTUAL {
		validation.Mode = gatewayv1.AllowInsecureFallback
		c.changed(field+".mode", "check the client's certificate behind the gateway", "AllowInsecureFallback takes certificates that do not verify, too; OPTIONAL_MUTUAL does not")
	}
	if g.Spec.TLS == nil {
		g.Spec.TLS = &gatewayv1.GatewayTLSConfig{Frontend: &gatewayv1.FrontendTLSConfig{}}
	}
	f := g.Spec.TLS.Frontend
	for _, p := range f.PerPort {
		if p.Port == gatewayv1.PortNumber(port) {
			return
		}
	}
	f.PerPort = append(f.PerPort, gatewayv1.TLSPortConfig{Port: gatewayv1.PortNumber(port), TLS: gatewayv1.TLSConfig{Validation: validation}})
}

// redirectAll answers all that comes to listeners with a redirect to https.
func (c *converter) redirectAll(g *gatewayv1.Gateway, listeners []gatewayv1.SectionName) {
	r := &gatewayv1.HTTPRoute{TypeMeta: types(gatewayGroup+"/v1", "HTTPRoute"), ObjectMeta: meta(g.Namespace, dns(g.Name+"-to-https"))}
	for _, l := range listeners {
		r.Spec.ParentRefs = append(r.Spec.ParentRefs, gatewayv1.ParentReference{Name: gatewayv1.ObjectName(g.Name), SectionName: new(l)})
	}
	r.Spec.Rules = []gatewayv1.HTTPRouteRule{{Filters: []gatewayv1.HTTPRouteFilter{{
		Type: gatewayv1.HTTPRouteFilterRequestRedirect, RequestRedirect: &gatewayv1.HTTPRequestRedirectFilter{Scheme: new("https"), StatusCode: new(301)},
	}}}}
	c.put(r)
}
