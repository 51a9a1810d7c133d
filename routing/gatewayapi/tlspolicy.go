package gatewayapi

import (
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing"
)

// A tlsPolicy is what a BackendTLSPolicy asks for.
type tlsPolicy struct {
	name       string
	created    time.Time
	generation int64
	targets    []policyTarget
	upstream   *routing.UpstreamTLS // nil: not valid; its targets answer with an error
	accepted   verdict
	resolved   verdict
	problems   []note
}

// policy reads a BackendTLSPolicy and what it refers to.
func (t *Translator) policy(r *reading) outcome {
	o := object[gatewayv1.BackendTLSPolicy](r, "BackendTLSPolicy", r.ID.NS, r.ID.Name)
	if o == nil {
		return outcome{Gone: true}
	}
	p := &tlsPolicy{
		name:       o.Name,
		created:    o.CreationTimestamp.Time,
		generation: o.Generation,
		accepted:   yes(string(gatewayv1.PolicyReasonAccepted)),
		resolved:   yes(string(gatewayv1.BackendTLSPolicyReasonResolvedRefs)),
	}
	out := outcome{Value: p}
	for i, ref := range o.Spec.TargetRefs {
		target, bad := serviceTarget(i, ref.LocalPolicyTargetReference)
		if bad != nil {
			p.problems = append(p.problems, *bad)
			continue
		}
		target.section = string(or(ref.SectionName, ""))
		p.targets = append(p.targets, target)
		out.Gifts = append(out.Gifts, gift{To: cellID{Kind: policiesOn, NS: r.ID.NS, Name: target.service}, Item: r.ID.Name})
	}
	p.validate(r, &o.Spec)
	return out
}

func (p *tlsPolicy) reject(field string, v verdict) {
	if p.accepted.ok() {
		p.accepted = v
	}
	p.problems = append(p.problems, v.at(field))
}

// validate fills in upstream, unless nothing can be trusted as was asked.
func (p *tlsPolicy) validate(r *reading, spec *gatewayv1.BackendTLSPolicySpec) {
	v := &spec.Validation
	tls := &routing.UpstreamTLS{ServerName: string(v.Hostname)}
	valid := true
	invalid := func(field, format string, args ...any) {
		valid = false
		p.reject("spec.validation."+field, no(string(gatewayv1.PolicyReasonInvalid), format, args...))
	}
	if v.Hostname == "" {
		invalid("hostname", "want a hostname")
	}
	for i, san := range v.SubjectAltNames {
		name := string(san.Hostname)
		if san.Type == gatewayv1.URISubjectAltNameType {
			name = string(san.URI)
		}
		if name == "" {
			invalid(fmt.Sprintf("subjectAltNames[%d]", i), "type %s: want a Hostname or a URI", san.Type)
		}
		tls.SANs = append(tls.SANs, name)
	}
	known := or(v.WellKnownCACertificates, "")
	switch {
	case len(v.CACertificateRefs) > 0 && known != "":
		invalid("wellKnownCACertificates", "want caCertificateRefs or wellKnownCACertificates, not both")
	case len(v.CACertificateRefs) > 0:
		tls.Roots = p.roots(r, v.CACertificateRefs)
		valid = valid && len(tls.Roots) > 0
	case known != gatewayv1.WellKnownCACertificatesSystem:
		invalid("wellKnownCACertificates", "%q: want System, or caCertificateRefs", known)
	}
	for _, key := range slices.Sorted(maps.Keys(spec.Options)) {
		p.problems = append(p.problems, note{"spec.options[" + string(key) + "]",
			string(gatewayv1.RouteReasonUnsupportedValue), "no options are known"})
	}
	if valid {
		p.upstream = tls
	}
}

// roots gathers the certificates of the references that are in order.
func (p *tlsPolicy) roots(r *reading, refs []gatewayv1.LocalObjectReference) []byte {
	var roots []byte
	for i, ref := range refs {
		v := yes("")
		if ref.Group != "" || ref.Kind != "ConfigMap" {
			v = no(string(gatewayv1.BackendTLSPolicyReasonInvalidKind),
				"%s %s: want a ConfigMap", printKind(ref.Group, ref.Kind), ref.Name)
		} else if pem, err := caBundle(object[corev1.ConfigMap](r, "ConfigMap", r.ID.NS, string(ref.Name))); err != nil {
			v = no(string(gatewayv1.BackendTLSPolicyReasonInvalidCACertificateRef),
				"ConfigMap %s/%s: %v", r.ID.NS, ref.Name, err)
		} else {
			roots = append(roots, pem...)
			roots = append(roots, '\n')
		}
		if !v.ok() {
			if p.resolved.ok() {
				p.resolved = v
			}
			p.problems = append(p.problems, v.at(fmt.Sprintf("spec.validation.caCertificateRefs[%d]", i)))
		}
	}
	if len(roots) == 0 && p.accepted.ok() {
		p.accepted = no(string(gatewayv1.BackendTLSPolicyReasonNoValidCACertificate), "%s", p.resolved.message)
	}
	return roots
}

func caBundle(m *corev1.ConfigMap) ([]byte, error) {
	const key = "ca.crt"
	if m == nil {
		return nil, fmt.Errorf("not found")
	}
	pem := []byte(m.Data[key])
	if len(pem) == 0 {
		pem = m.BinaryData[key]
	}
	if len(pem) == 0 {
		return nil, fmt.Errorf("want key %s", key)
	}
	if err := checkRoots(pem); err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return pem, nil
}

// policyOrder decides which policy counts for a Service and for each of its
// ports: the oldest of those that name the same. Its value maps the name of a
// port, or "" for the whole Service, to the name of a policy.
func (t *Translator) policyOrder(r *reading) outcome {
	var all []*tlsPolicy
	for name := range r.Bag(cellID{Kind: policiesOn, NS: r.ID.NS, Name: r.ID.Name}) {
		if p, _ := r.Value(cellID{Kind: policyCell, NS: r.ID.NS, Name: name.(string)}).(*tlsPolicy); p != nil {
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b *tlsPolicy) int {
		return compareAge(a.created, b.created, a.name, b.name)
	})
	var winners map[string]string
	for _, p := range all {
		for _, target := range p.targets {
			if target.service != r.ID.Name {
				continue
			}
			if winners == nil {
				winners = map[string]string{}
			}
			if _, taken := winners[target.section]; !taken {
				winners[target.section] = p.name
			}
		}
	}
	return outcome{Value: winners}
}

// policyFor returns the policy that counts for a port of the Service that the
// cell is for, or nil. Datagrams know no TLS, and what a listener passes
// through is TLS between the client and the backend.
func (r *reading) policyFor(t target, port *corev1.ServicePort) *tlsPolicy {
	if t.use == udpUse || t.use == tlsUse {
		return nil
	}
	winners := r.Value(cellID{Kind: policyOrderCell, NS: r.ID.NS, Name: r.ID.Name}).(map[string]string)
	name, ok := winners[port.Name]
	if !ok {
		name, ok = winners[""]
	}
	if !ok {
		return nil
	}
	p, _ := r.Value(cellID{Kind: policyCell, NS: r.ID.NS, Name: name}).(*tlsPolicy)
	return p
}

// policyState reports a BackendTLSPolicy to each Gateway of ours that sends
// requests to what the policy targets.
func (t *Translator) policyState(r *reading) outcome {
	o := object[gatewayv1.BackendTLSPolicy](r, "BackendTLSPolicy", r.ID.NS, r.ID.Name)
	p, _ := r.Value(cellID{Kind: policyCell, NS: r.ID.NS, Name: r.ID.Name}).(*tlsPolicy)
	if o == nil || p == nil {
		return outcome{Gone: true}
	}
	report := newReport("BackendTLSPolicy", o)
	reportNotes(report, p.problems)
	states := r.judge(p.targets, report, func(at policyTarget) verdict { return r.policyAt(p, at) })
	report.Ancestors = t.ancestors(p.generation, states, func(v verdict) []metav1.Condition {
		if !p.accepted.ok() {
			v = p.accepted
		}
		return []metav1.Condition{v.as("Accepted"), p.resolved.as("ResolvedRefs")}
	})
	return outcome{Report: report}
}

// policyAt says whether a policy counts at one of its targets.
func (r *reading) policyAt(p *tlsPolicy, at policyTarget) verdict {
	v := r.found(at)
	if !v.ok() {
		return v
	}
	winners := r.Value(cellID{Kind: policyOrderCell, NS: r.ID.NS, Name: at.service}).(map[string]string)
	if winner := winners[at.section]; winner != p.name {
		return no(string(gatewayv1.PolicyReasonConflicted), "BackendTLSPolicy %s/%s is older", r.ID.NS, winner)
	}
	return v
}
