package gatewayapi

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing"
)

// A resolution is what a reference to a backend comes to: a cluster, or a
// reason why there is none.
type resolution struct {
	cluster cellID                        // of clusterCell
	secure  bool                          // the cluster speaks TLS
	session *gatewayv1.SessionPersistence // which a policy wants for it; nil: none
	reason  routing.Reason
	message string
}

func unresolved(reason gatewayv1.RouteConditionReason, format string, args ...any) resolution {
	return resolution{reason: routing.Reason(reason), message: fmt.Sprintf(format, args...)}
}

// resolve finds the cluster that a reference in a route names.
func (r *reading) resolve(kind string, as use, ref *gatewayv1.BackendObjectReference) resolution {
	ns := string(or(ref.Namespace, gatewayv1.Namespace(r.ID.NS)))
	name := string(ref.Name)
	if group, refKind := or(ref.Group, ""), or(ref.Kind, "Service"); group != "" || refKind != "Service" {
		return unresolved(gatewayv1.RouteReasonInvalidKind, "%s %s: want a Service", printKind(group, refKind), name)
	}
	if !r.permitted(kind, r.ID.NS, "Service", ns, name) && !r.isOnlyFor(kind, ns, name) {
		return unresolved(gatewayv1.RouteReasonRefNotPermitted,
			"Service %s/%s: no ReferenceGrant allows %ss of namespace %s", ns, name, kind, r.ID.NS)
	}
	if ref.Port == nil || *ref.Port < 1 || *ref.Port > 65535 {
		return unresolved(gatewayv1.RouteReasonBackendNotFound, "Service %s/%s: want a port", ns, name)
	}
	to := target{port: uint16(*ref.Port), use: as}
	return r.Value(cellID{Kind: backendCell, NS: ns, Name: name, Part: to.part()}).(resolution)
}

func printKind(group gatewayv1.Group, kind gatewayv1.Kind) string {
	if group == "" {
		return string(kind)
	}
	return string(kind) + "." + string(group)
}

// backend decides which cluster stands for a port of a Service. It is a cell
// of its own so that what a route reads of a Service is only that.
func (t *Translator) backend(r *reading) outcome {
	return outcome{Value: t.backendOf(r, parseTarget(r.ID.Part))}
}

func (t *Translator) backendOf(r *reading, to target) resolution {
	ns, name := r.ID.NS, r.ID.Name
	svc := object[corev1.Service](r, "Service", ns, name)
	if svc == nil {
		return unresolved(gatewayv1.RouteReasonBackendNotFound, "Service %s/%s: not found", ns, name)
	}
	if svc.Spec.Type == corev1.ServiceTypeExternalName {
		return unresolved(reasonExternalName,
			"Service %s/%s is an ExternalName: want one with endpoints (CVE-2021-25740)", ns, name)
	}
	port := servicePort(svc, to)
	if port == nil {
		return unresolved(gatewayv1.RouteReasonBackendNotFound,
			"Service %s/%s: no port %d: want one of %s", ns, name, to.port, printPorts(svc))
	}
	says, err := to.speech(port)
	if err != nil {
		return unresolved(gatewayv1.RouteReasonUnsupportedProtocol, "Service %s/%s: %v", ns, name, err)
	}
	policy := r.policyFor(to, port)
	if policy != nil && policy.upstream == nil {
		return unresolved(reasonInvalidBackendTLSPolicy,
			"Service %s/%s: BackendTLSPolicy %s/%s is not valid", ns, name, ns, policy.name)
	}
	switch {
	case to.use == clientUse && says.stated:
		to.use = httpUse
	case to.use == grpcUse && says.protocol == routing.UpstreamHTTP2:
		to.use = httpUse // the same cluster
	case to.use == tlsUse && !t.securesStreams(r, to, svc, port):
		to.use = tcpUse
	}
	secure := says.tls || policy != nil || t.secured(r, r.shaping(to, svc, port, policy))
	out := resolution{cluster: cellID{Kind: clusterCell, NS: ns, Name: name, Part: to.part()}, secure: secure}
	if !to.use.isStream() {
		out.session = r.settings(ns, name).traffic.session
	}
	return out
}

// securesStreams reports whether streams to a port, but for those that a
// listener passes through, are sent by TLS.
func (t *Translator) securesStreams(r *reading, to target, svc *corev1.Service, port *corev1.ServicePort) bool {
	to.use = tcpUse
	policy := r.policyFor(to, port)
	return policy != nil || t.secured(r, r.shaping(to, svc, port, nil))
}

func printPorts(svc *corev1.Service) string {
	list := make([]string, len(svc.Spec.Ports))
	for i, p := range svc.Spec.Ports {
		list[i] = fmt.Sprint(p.Port)
	}
	return strings.Join(list, ", ")
}
