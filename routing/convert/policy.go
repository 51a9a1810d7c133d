package convert

import (
	"fmt"

	networking "istio.io/api/networking/v1alpha3"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// destinationRules converts what Gateway API has a policy for: TLS to backends.
// Subsets are Services, see subset. For the rest a Service has annotations.
func (c *converter) destinationRules() {
	for _, d := range c.in.DestinationRules {
		c.begin("DestinationRule", d)
		to, ok := c.serviceOf(d.Spec.Host, c.from.Namespace)
		if !ok {
			c.lost("spec.host", "keep the DestinationRule", "%q is no Service", d.Spec.Host)
			continue
		}
		c.trafficPolicy("spec.trafficPolicy", d.Spec.TrafficPolicy, to)
		for i, s := range d.Spec.Subsets {
			if s.GetTrafficPolicy() != nil {
				c.trafficPolicy(fmt.Sprintf("spec.subsets[%d].trafficPolicy", i), s.TrafficPolicy, name{to.namespace, dns(to.name + "-" + s.Name)})
			}
		}
	}
}

// trafficPolicy converts TLS, and says of the rest which of Fairway's annotations
// of a Service come near it.
func (c *converter) trafficPolicy(field string, p *networking.TrafficPolicy, to name) {
	if p == nil {
		return
	}
	for _, of := range []struct {
		name, annotation string
		set              bool
	}{
		{"loadBalancer", "fairway.dev/load-balancing, fairway.dev/hash-on, fairway.dev/slow-start", p.LoadBalancer != nil},
		{"connectionPool", "fairway.dev/max-connections, fairway.dev/max-requests, fairway.dev/max-pending, fairway.dev/connect-timeout", p.ConnectionPool != nil},
		{"outlierDetection", "fairway.dev/ejection", p.OutlierDetection != nil},
		{"proxyProtocol", "fairway.dev/proxy-protocol", p.ProxyProtocol != nil},
	} {
		if of.set {
			c.lost(field+"."+of.name, "keep the DestinationRule, which counts for HTTPRoutes too, or annotate Service "+to.String()+": "+of.annotation, "Gateway API has no word for it")
		}
	}
	if p.Tunnel != nil || p.RetryBudget != nil || len(p.PortLevelSettings) > 0 {
		c.lost(field, "keep the DestinationRule", "tunnel, retryBudget and portLevelSettings")
	}
	if p.Tls != nil {
		c.backendTLS(field+".tls", p.Tls, to)
	}
}

func (c *converter) backendTLS(field string, t *networking.ClientTLSSettings, to name) {
	switch {
	case t.Mode == networking.ClientTLSSettings_DISABLE:
		return
	case t.Mode == networking.ClientTLSSettings_ISTIO_MUTUAL:
		c.lost(field+".mode", "nothing, within a mesh that does it by itself", "mutual TLS of the mesh")
		return
	case t.GetInsecureSkipVerify().GetValue():
		c.lost(field+".insecureSkipVerify", "set appProtocol: https on the Service's port, and verify as soon as you can", "a BackendTLSPolicy always verifies")
		return
	}
	host := t.Sni
	if host == "" && len(t.SubjectAltNames) > 0 {
		host = t.SubjectAltNames[0]
	}
	if host == "" {
		host = to.name + "." + to.namespace + ".svc.cluster.local"
		c.assumed(field+".sni", "write the name that the certificate has", "no sni and no subjectAltNames: %s is verified", host)
	}
	policy := &gatewayv1.BackendTLSPolicy{
		TypeMeta: types(gatewayGroup+"/v1", "BackendTLSPolicy"), ObjectMeta: meta(to.namespace, to.name),
		Spec: gatewayv1.BackendTLSPolicySpec{
			TargetRefs: []gatewayv1.LocalPolicyTargetReferenceWithSectionName{{LocalPolicyTargetReference: gatewayv1.LocalPolicyTargetReference{Kind: "Service", Name: gatewayv1.ObjectName(to.name)}}},
			Validation: gatewayv1.BackendTLSPolicyValidation{Hostname: gatewayv1.PreciseHostname(host)},
		},
	}
	for _, san := range t.SubjectAltNames {
		policy.Spec.Validation.SubjectAltNames = append(policy.Spec.Validation.SubjectAltNames, gatewayv1.SubjectAltName{Type: gatewayv1.HostnameSubjectAltNameType, Hostname: gatewayv1.Hostname(san)})
	}
	switch {
	case t.CredentialName != "":
		policy.Spec.Validation.CACertificateRefs = []gatewayv1.LocalObjectReference{{Kind: "Secret", Name: gatewayv1.ObjectName(t.CredentialName)}}
		c.assumed(field+".credentialName", "put ca.crt into a ConfigMap of the Service's namespace, if the controller takes no Secrets", "the CA is looked for in Secret %s/%s", to.namespace, t.CredentialName)
	case t.CaCertificates != "" && t.CaCertificates != "system":
		c.lost(field+".caCertificates", "put it into a ConfigMap, and name it in caCertificateRefs", "a CA in a file of the gateway's pod: the system's CAs are written")
		fallthrough
	default:
		policy.Spec.Validation.WellKnownCACertificates = new(gatewayv1.WellKnownCACertificatesSystem)
	}
	if t.Mode == networking.ClientTLSSettings_MUTUAL {
		c.lost(field+".mode", "name the certificate in spec.tls.backend of the Gateway", "the client's certificate of MUTUAL is the Gateway's matter")
	}
	c.put(policy)
}
