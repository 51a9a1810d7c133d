package gatewayapi

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing"
)

// An HTTPS listener without certificateRefs asks with this option for
// a certificate of the local CA.
const (
	certificateOption = "fairway.dev/certificate"
	localCA           = "local-ca"
)

// routeKinds are the routes that a listener of a protocol can have. Protocols
// that are missing are not supported.
var routeKinds = map[gatewayv1.ProtocolType][]gatewayv1.Kind{
	gatewayv1.HTTPProtocolType:  {"HTTPRoute", "GRPCRoute"},
	gatewayv1.HTTPSProtocolType: {"HTTPRoute", "GRPCRoute"},
}

// transports says which protocols can share a port: those that hostnames tell
// apart at the same moment, in a request or in a ClientHello.
var transports = map[gatewayv1.ProtocolType]string{
	gatewayv1.HTTPProtocolType:  "plain",
	gatewayv1.HTTPSProtocolType: "TLS",
}

// A listener is what a listener says by itself, and beside the others of its
// Gateway.
type listener struct {
	name     gatewayv1.SectionName
	field    string
	port     uint16
	protocol gatewayv1.ProtocolType
	hostname string // lower case
	tls      *gatewayv1.ListenerTLSConfig

	kinds    []gatewayv1.RouteGroupKind
	from     gatewayv1.FromNamespaces
	selector labels.Selector

	accepted    verdict
	conflicted  verdict
	resolved    verdict
	overlapping verdict // zero where it does not
	problems    []note
}

func (l *listener) reject(field string, v verdict) {
	if l.accepted.ok() {
		l.accepted = v
	}
	l.problems = append(l.problems, v.at(l.field+field))
}

func (l *listener) unresolved(field string, v verdict) {
	if l.resolved.ok() {
		l.resolved = v
	}
	l.problems = append(l.problems, v.at(l.field+field))
}

func parseListener(o *gatewayv1.Gateway, i int) *listener {
	spec := &o.Spec.Listeners[i]
	l := &listener{
		name:       spec.Name,
		field:      fmt.Sprintf("spec.listeners[%d]", i),
		port:       uint16(spec.Port),
		protocol:   spec.Protocol,
		hostname:   strings.ToLower(string(or(spec.Hostname, ""))),
		tls:        spec.TLS,
		kinds:      []gatewayv1.RouteGroupKind{},
		accepted:   yes(string(gatewayv1.ListenerReasonAccepted)),
		conflicted: verdict{status: metav1.ConditionFalse, reason: string(gatewayv1.ListenerReasonNoConflicts)},
		resolved:   yes(string(gatewayv1.ListenerReasonResolvedRefs)),
	}
	if routeKinds[spec.Protocol] == nil {
		l.reject(".protocol", no(string(gatewayv1.ListenerReasonUnsupportedProtocol),
			"protocol %s: want HTTP or HTTPS", spec.Protocol))
		return l
	}
	if spec.Port < 1 || spec.Port > 65535 {
		l.reject(".port", no(string(gatewayv1.ListenerReasonUnsupportedValue), "port %d: want 1-65535", spec.Port))
	}
	l.parseKinds(spec.AllowedRoutes)
	l.parseNamespaces(spec.AllowedRoutes)
	l.parseTLS(o.Spec.TLS)
	return l
}

// parseKinds cuts the kinds of routes that are allowed with those that are
// supported. A listener that is left with none still answers, with 404.
func (l *listener) parseKinds(allowed *gatewayv1.AllowedRoutes) {
	supported := routeKinds[l.protocol]
	group := gatewayv1.Group(gatewayv1.GroupName)
	if allowed == nil || len(allowed.Kinds) == 0 {
		for _, k := range supported {
			l.kinds = append(l.kinds, gatewayv1.RouteGroupKind{Group: &group, Kind: k})
		}
		return
	}
	for i, k := range allowed.Kinds {
		if or(k.Group, group) != group || !slices.Contains(supported, k.Kind) {
			l.unresolved(fmt.Sprintf(".allowedRoutes.kinds[%d]", i), no(string(gatewayv1.ListenerReasonInvalidRouteKinds),
				"%s: want one of %v", printKind(or(k.Group, group), k.Kind), supported))
			continue
		}
		l.kinds = append(l.kinds, gatewayv1.RouteGroupKind{Group: &group, Kind: k.Kind})
	}
}

func (l *listener) parseNamespaces(allowed *gatewayv1.AllowedRoutes) {
	l.from = gatewayv1.NamespacesFromSame
	if allowed == nil || allowed.Namespaces == nil {
		return
	}
	l.from = or(allowed.Namespaces.From, gatewayv1.NamespacesFromSame)
	switch l.from {
	case gatewayv1.NamespacesFromSame, gatewayv1.NamespacesFromAll, gatewayv1.NamespacesFromNone:
	case gatewayv1.NamespacesFromSelector:
		selector, err := metav1.LabelSelectorAsSelector(allowed.Namespaces.Selector)
		if err != nil {
			l.reject(".allowedRoutes.namespaces.selector", no(string(gatewayv1.ListenerReasonUnsupportedValue), "selector: %v", err))
			selector = labels.Nothing()
		}
		l.selector = selector
	default:
		l.reject(".allowedRoutes.namespaces.from", no(string(gatewayv1.ListenerReasonUnsupportedValue),
			"from %s: want All, Selector or Same", l.from))
	}
}

// parseTLS looks at what is asked of TLS, but for the certificates. What is
// not supported and would have kept somebody out closes the listener.
func (l *listener) parseTLS(all *gatewayv1.GatewayTLSConfig) {
	unsupported := func(field, format string, args ...any) {
		l.reject(field, no(string(gatewayv1.ListenerReasonUnsupportedValue), format, args...))
	}
	if l.protocol != gatewayv1.HTTPSProtocolType {
		if l.tls != nil {
			unsupported(".tls", "tls on protocol %s: want HTTPS", l.protocol)
		}
		return
	}
	if validatesClients(all, l.port) {
		unsupported("", "spec.tls.frontend asks for client certificates, which are not supported")
	}
	if l.tls == nil {
		return
	}
	if mode := or(l.tls.Mode, gatewayv1.TLSModeTerminate); mode != gatewayv1.TLSModeTerminate {
		unsupported(".tls.mode", "mode %s: want Terminate", mode)
	}
	for _, key := range slices.Sorted(maps.Keys(l.tls.Options)) {
		field, value := ".tls.options["+string(key)+"]", l.tls.Options[key]
		switch {
		case key == certificateOption && value != localCA:
			unsupported(field, "%q: want %s", value, localCA)
		case key != certificateOption && strings.HasPrefix(string(key), annotationPrefix):
			unsupported(field, "no such option: want %s", certificateOption)
		case key != certificateOption:
			l.problems = append(l.problems, note{l.field + field, reasonUnsupportedValue, "no such option: it is ignored"})
		}
	}
}

func validatesClients(all *gatewayv1.GatewayTLSConfig, port uint16) bool {
	if all == nil || all.Frontend == nil {
		return false
	}
	for _, p := range all.Frontend.PerPort {
		if p.Port == int32(port) {
			return p.TLS.Validation != nil
		}
	}
	return all.Frontend.Default.Validation != nil
}

// findConflicts compares the listeners of a Gateway with each other. Of those
// that nothing tells apart none is accepted.
func findConflicts(list []*listener) {
	conflicts := make([]verdict, len(list))
	for i, a := range list {
		for j, b := range list {
			if i == j || !a.accepted.ok() || !b.accepted.ok() || a.port != b.port {
				continue
			}
			sameHost := a.hostname == b.hostname
			switch {
			case transports[a.protocol] != transports[b.protocol], sameHost && a.protocol != b.protocol:
				conflicts[i] = no(string(gatewayv1.ListenerReasonProtocolConflict),
					"listener %s has protocol %s on the same port", b.name, b.protocol)
			case sameHost && conflicts[i].reason == "":
				conflicts[i] = no(string(gatewayv1.ListenerReasonHostnameConflict),
					"listener %s has the same port and hostname", b.name)
			case !sameHost && a.protocol == gatewayv1.HTTPSProtocolType && overlap(pattern(a.hostname), pattern(b.hostname)):
				a.overlapping = verdict{metav1.ConditionTrue, string(gatewayv1.ListenerReasonOverlappingHostnames),
					fmt.Sprintf("the hostname overlaps with that of listener %s", b.name)}
			}
		}
	}
	for i, v := range conflicts {
		if v.reason != "" {
			v.status = metav1.ConditionTrue
			list[i].conflicted = v
			list[i].accepted = no(string(gatewayv1.ListenerReasonInvalid), "%s", v.message)
			list[i].problems = append(list[i].problems, v.at(list[i].field))
		}
	}
}

// A listenerState is what a listener comes to.
type listenerState struct {
	accepted     verdict
	programmed   verdict
	conflicted   verdict
	resolved     verdict
	overlapping  verdict
	certificates []routing.CertificateName
	problems     []note
}

func (s *listenerState) conditions() []metav1.Condition {
	list := []metav1.Condition{
		s.accepted.as("Accepted"),
		s.programmed.as("Programmed"),
		s.conflicted.as("Conflicted"),
		s.resolved.as("ResolvedRefs"),
	}
	if s.overlapping.ok() {
		list = append(list, s.overlapping.as(string(gatewayv1.ListenerConditionOverlappingTLSConfig)))
	}
	return list
}

// listenerState adds to what a listener says what it refers to, and what other
// Gateways say.
func (t *Translator) listenerState(r *reading, g *gateway, l *listener) listenerState {
	s := listenerState{
		accepted: l.accepted, conflicted: l.conflicted, resolved: l.resolved, overlapping: l.overlapping,
		problems: slices.Clone(l.problems),
	}
	if l.accepted.ok() && g.serves() && !t.opts.Isolated {
		id := l.portID()
		id.kind = portCell
		lost := r.value(id).(map[portClaim]portClaim)
		if winner, ok := lost[g.claim(r.id, l)]; ok {
			s.accepted = no(string(gatewayv1.ListenerReasonPortUnavailable),
				"port %d: the older Gateway %s has it", l.port, winner.gateway)
			s.problems = append(s.problems, s.accepted.at(l.field+".port"))
		}
	}
	certified := true
	if l.protocol == gatewayv1.HTTPSProtocolType {
		certified = s.certify(r, l)
	}
	switch {
	case !g.serves():
		s.programmed = no(string(gatewayv1.ListenerReasonInvalid), "the Gateway is not in force")
	case !s.accepted.ok():
		s.programmed = no(string(gatewayv1.ListenerReasonInvalid), "%s", s.accepted.message)
	case !certified:
		s.programmed = no(string(gatewayv1.ListenerReasonInvalid), "%s", s.resolved.message)
	default:
		s.programmed = yes(string(gatewayv1.ListenerReasonProgrammed))
	}
	return s
}

// certify finds the certificates of an HTTPS listener, and reports whether it
// can be served. A bad reference does not stop the good ones.
func (s *listenerState) certify(r *reading, l *listener) bool {
	if l.tls == nil || len(l.tls.CertificateRefs) == 0 {
		if l.tls != nil && l.tls.Options[certificateOption] == localCA {
			return true
		}
		s.unresolved(l.field+".tls", no(string(gatewayv1.ListenerReasonInvalidCertificateRef),
			"no certificate: want certificateRefs, or the option %s: %s", certificateOption, localCA))
		return false
	}
	for i, ref := range l.tls.CertificateRefs {
		name, v := r.certificate(&ref)
		if !v.ok() {
			s.unresolved(fmt.Sprintf("%s.tls.certificateRefs[%d]", l.field, i), v)
		} else if !slices.Contains(s.certificates, name) {
			s.certificates = append(s.certificates, name)
		}
	}
	return len(s.certificates) > 0
}

func (s *listenerState) unresolved(field string, v verdict) {
	if s.resolved.ok() || s.resolved.reason == string(gatewayv1.ListenerReasonInvalidRouteKinds) {
		s.resolved = v
	}
	s.problems = append(s.problems, v.at(field))
}

// certificate finds what a certificateRef of a Gateway names.
func (r *reading) certificate(ref *gatewayv1.SecretObjectReference) (routing.CertificateName, verdict) {
	ns, name := string(or(ref.Namespace, gatewayv1.Namespace(r.id.ns))), string(ref.Name)
	if group, kind := or(ref.Group, ""), or(ref.Kind, "Secret"); group != "" || kind != "Secret" {
		return "", no(string(gatewayv1.ListenerReasonInvalidCertificateRef), "%s %s: want a Secret", printKind(group, kind), name)
	}
	if !r.permitted("Gateway", r.id.ns, "Secret", ns, name) {
		return "", no(string(gatewayv1.ListenerReasonRefNotPermitted),
			"Secret %s/%s: no ReferenceGrant allows Gateways of namespace %s", ns, name, r.id.ns)
	}
	pair := r.value(cellID{kind: keyPairCell, ns: ns, name: name}).(keyPair)
	if pair.problem != "" {
		return "", no(string(gatewayv1.ListenerReasonInvalidCertificateRef), "%s", pair.problem)
	}
	return pair.name, yes("")
}
