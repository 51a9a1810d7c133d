package gatewayapi

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing"
)

// everyPort is the part of the cell of the validation that holds for ports
// without their own. A port's has its number.
const everyPort = "default"

// validationFor says which validation of clients holds for a listener: that of
// its port, else the default (FrontendTLSConfig). Only HTTPS has any.
func (f *frame) validationFor(l *listener) (part string, found bool) {
	if f.frontend == nil || l.protocol != gatewayv1.HTTPSProtocolType {
		return "", false
	}
	for _, p := range f.frontend.PerPort {
		if p.Port == int32(l.port) {
			return itoa(int(p.Port)), p.TLS.Validation != nil
		}
	}
	return everyPort, f.frontend.Default.Validation != nil
}

// A validationPlace is the part of a validation's cell, and its field.
type validationPlace struct{ part, field string }

// validations yields the validations that a Gateway asks for.
func (f *frame) validations(yield func(validationPlace, *gatewayv1.FrontendTLSValidation) bool) {
	if f.frontend == nil {
		return
	}
	at := validationPlace{everyPort, "spec.tls.frontend.default.validation"}
	if v := f.frontend.Default.Validation; v != nil && !yield(at, v) {
		return
	}
	for i, p := range f.frontend.PerPort {
		at := validationPlace{itoa(int(p.Port)), "spec.tls.frontend.perPort[" + itoa(i) + "].tls.validation"}
		if v := p.TLS.Validation; v != nil && !yield(at, v) {
			return
		}
	}
}

// insecure is the Gateway's condition InsecureFrontendValidationMode.
func (f *frame) insecure() verdict {
	var where []string
	for at, v := range f.validations {
		if v.Mode == gatewayv1.AllowInsecureFallback {
			where = append(where, at.part)
		}
	}
	if where == nil {
		return verdict{}
	}
	v := yes(string(gatewayv1.GatewayReasonConfigurationChanged))
	v.message = "clients are let in without a valid certificate: ports: " + strings.Join(where, ", ")
	return v
}

// A validation is what a validation of clients comes to.
type validation struct {
	client   *routing.ClientValidation // nil: nobody can be let in as was asked
	accepted verdict
	resolved verdict
	problems []note
}

// validation finds the certificates by which a Gateway checks those of clients.
// A reference that is not in order leaves the others; without any, the
// listeners are closed.
func (t *Translator) validation(r *reading) outcome {
	out := validation{
		accepted: yes(string(gatewayv1.ListenerReasonAccepted)),
		resolved: yes(string(gatewayv1.ListenerReasonResolvedRefs)),
	}
	if f := r.frame(parentName{r.ID.NS, r.ID.Name}); f != nil {
		for at, v := range f.validations {
			if at.part == r.ID.Part {
				out.find(r, at.field, v)
			}
		}
	}
	return outcome{Value: out}
}

func (out *validation) find(r *reading, field string, v *gatewayv1.FrontendTLSValidation) {
	var roots []byte
	for i := range v.CACertificateRefs {
		pem, bad := r.roots(&v.CACertificateRefs[i])
		if bad.reason == "" {
			roots = append(append(roots, pem...), '\n')
			continue
		}
		if out.resolved.ok() {
			out.resolved = bad
		}
		out.problems = append(out.problems, bad.at(fmt.Sprintf("%s.caCertificateRefs[%d]", field, i)))
	}
	switch {
	case len(roots) == 0:
		why := "no caCertificateRefs"
		if !out.resolved.ok() {
			why = out.resolved.message
		}
		out.accepted = no(string(gatewayv1.ListenerReasonNoValidCACertificate), "clients cannot be checked: %s", why)
	case v.Mode != "" && v.Mode != gatewayv1.AllowValidOnly && v.Mode != gatewayv1.AllowInsecureFallback:
		out.accepted = no(string(gatewayv1.ListenerReasonUnsupportedValue),
			"mode %s: want AllowValidOnly or AllowInsecureFallback", v.Mode)
		out.problems = append(out.problems, out.accepted.at(field+".mode"))
	default:
		out.client = &routing.ClientValidation{Roots: roots, AllowInsecure: v.Mode == gatewayv1.AllowInsecureFallback}
	}
}

// roots reads the certificates that a caCertificateRef of a Gateway names. The
// verdict has a reason if it cannot be used.
func (r *reading) roots(ref *gatewayv1.ObjectReference) ([]byte, verdict) {
	ns, name := string(or(ref.Namespace, gatewayv1.Namespace(r.ID.NS))), string(ref.Name)
	kind := string(ref.Kind)
	if ref.Group != "" || kind != "ConfigMap" && kind != "Secret" {
		return nil, no(string(gatewayv1.ListenerReasonInvalidCACertificateKind),
			"%s %s: want a ConfigMap or a Secret", printKind(ref.Group, ref.Kind), name)
	}
	if !r.permitted("Gateway", r.ID.NS, kind, ns, name) {
		return nil, no(string(gatewayv1.ListenerReasonRefNotPermitted),
			"%s %s/%s: no ReferenceGrant allows Gateways of namespace %s", kind, ns, name, r.ID.NS)
	}
	var pem []byte
	var err error
	if kind == "Secret" {
		pem, err = secretBundle(object[corev1.Secret](r, kind, ns, name))
	} else {
		pem, err = caBundle(object[corev1.ConfigMap](r, kind, ns, name))
	}
	if err != nil {
		return nil, no(string(gatewayv1.ListenerReasonInvalidCACertificateRef), "%s %s/%s: %v", kind, ns, name, err)
	}
	return pem, verdict{}
}

// secretBundle returns the certificates in a Secret of any type, as
// cert-manager writes them beside a key pair.
func secretBundle(s *corev1.Secret) ([]byte, error) {
	if s == nil {
		return nil, fmt.Errorf("not found")
	}
	return caBundle(&corev1.ConfigMap{BinaryData: s.Data})
}

// validateClients says how the clients of a listener are checked. What stands
// in the Gateway is a Problem of the Gateway, once, and not of each listener.
func (s *listenerState) validateClients(r *reading, f *frame, l *listener) {
	part, found := f.validationFor(l)
	if !found {
		return
	}
	v := r.Value(f.gateway.cell(validationCell, part)).(validation)
	s.client = v.client
	if !v.resolved.ok() {
		s.unresolved(v.resolved)
	}
	if !v.accepted.ok() && s.accepted.ok() {
		s.accepted = verdict{metav1.ConditionFalse, v.accepted.reason, v.accepted.message}
	}
}

// reportValidation adds the Problems of what is in spec.tls.frontend.
func (g *gateway) reportValidation(r *reading, report *Report) {
	for at := range g.validations {
		reportNotes(report, r.Value(g.frame.gateway.cell(validationCell, at.part)).(validation).problems)
	}
}
