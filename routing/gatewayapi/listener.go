package gatewayapi

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing"
)

// An HTTPS or TLS listener without certificateRefs asks with this option for
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
	gatewayv1.TLSProtocolType:   {"TLSRoute"},
	gatewayv1.TCPProtocolType:   {"TCPRoute"},
	gatewayv1.UDPProtocolType:   {"UDPRoute"},
	hboneProtocol:               {}, // routes of the mesh have Services as parents
}

// hboneProtocol makes a waypoint of a Gateway.
const hboneProtocol = gatewayv1.ProtocolType(routing.HBONE)

// A listener is what a listener of a Gateway or a ListenerSet says by itself.
type listener struct {
	name     gatewayv1.SectionName
	field    string
	port     uint16
	socket   string // the port as part of a cell's id: "443/tcp"
	protocol gatewayv1.ProtocolType
	hostname string // lower case; empty where the protocol has none
	tls      *gatewayv1.ListenerTLSConfig

	kinds    []gatewayv1.RouteGroupKind
	from     gatewayv1.FromNamespaces
	selector labels.Selector

	accepted verdict
	resolved verdict
	problems []note
	void     bool // among those of its object (see stake)
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

// parseListeners parses the listeners of an object, but for those whose name
// is taken: they could not be told from the others, neither by routes nor in
// the status.
func (t *Translator) parseListeners(specs []gatewayv1.Listener) (list []*listener, problems []note) {
	for i := range specs {
		l := parseListener(&specs[i], "spec.listeners["+itoa(i)+"]")
		if slices.ContainsFunc(list, func(m *listener) bool { return m.name == l.name }) {
			problems = append(problems, note{l.field + ".name", string(gatewayv1.ListenerReasonInvalid),
				fmt.Sprintf("a second listener %s: want another name", l.name)})
			continue
		}
		if what, ok := t.opts.reserved()[l.port]; ok && l.protocol != gatewayv1.UDPProtocolType {
			l.reject(".port", no(string(gatewayv1.ListenerReasonPortUnavailable),
				"port %d: the gateway needs it for %s: want another", l.port, what))
		}
		list = append(list, l)
	}
	findVoid(list)
	return list, problems
}

func parseListener(spec *gatewayv1.Listener, field string) *listener {
	l := &listener{
		name:     spec.Name,
		field:    field,
		port:     uint16(spec.Port),
		socket:   itoa(int(spec.Port)) + "/tcp",
		protocol: spec.Protocol,
		tls:      spec.TLS,
		kinds:    []gatewayv1.RouteGroupKind{},
		accepted: yes(string(gatewayv1.ListenerReasonAccepted)),
		resolved: yes(string(gatewayv1.ListenerReasonResolvedRefs)),
	}
	if routeKinds[spec.Protocol] == nil {
		l.reject(".protocol", no(string(gatewayv1.ListenerReasonUnsupportedProtocol),
			"protocol %s: want HTTP, HTTPS, TLS, TCP, UDP or HBONE", spec.Protocol))
		return l
	}
	if l.protocol == gatewayv1.UDPProtocolType {
		l.socket = itoa(int(spec.Port)) + "/udp"
	}
	if !l.isNameless() {
		l.hostname = strings.ToLower(string(or(spec.Hostname, "")))
	}
	if spec.Port < 1 || spec.Port > 65535 {
		l.reject(".port", no(string(gatewayv1.ListenerReasonUnsupportedValue), "port %d: want 1-65535", spec.Port))
	}
	l.parseKinds(spec.AllowedRoutes)
	l.parseNamespaces(spec.AllowedRoutes)
	l.parseTLS()
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
func (l *listener) parseTLS() {
	unsupported := func(field, format string, args ...any) {
		l.reject(field, no(string(gatewayv1.ListenerReasonUnsupportedValue), format, args...))
	}
	if l.tls == nil {
		return
	}
	if l.protocol == hboneProtocol {
		unsupported(".tls", "tls on protocol HBONE: want none: the mesh has certificates of its own")
		return
	}
	if !l.speaksTLS() {
		unsupported(".tls", "tls on protocol %s: want HTTPS or TLS", l.protocol)
		return
	}
	switch mode := or(l.tls.Mode, gatewayv1.TLSModeTerminate); {
	case mode == gatewayv1.TLSModeTerminate:
	case mode == gatewayv1.TLSModePassthrough && l.protocol == gatewayv1.TLSProtocolType:
		return // options are about what is not done
	case l.protocol == gatewayv1.TLSProtocolType:
		unsupported(".tls.mode", "mode %s: want Terminate or Passthrough", mode)
	default:
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

// isNameless reports whether hostnames mean nothing to the protocol.
func (l *listener) isNameless() bool {
	return l.protocol == gatewayv1.TCPProtocolType || l.protocol == gatewayv1.UDPProtocolType || l.protocol == hboneProtocol
}

func (l *listener) speaksTLS() bool {
	return l.protocol == gatewayv1.HTTPSProtocolType || l.protocol == gatewayv1.TLSProtocolType
}

func (l *listener) passesThrough() bool {
	return l.protocol == gatewayv1.TLSProtocolType && l.tls != nil &&
		or(l.tls.Mode, gatewayv1.TLSModeTerminate) == gatewayv1.TLSModePassthrough
}

// A listenerState is what a listener comes to.
type listenerState struct {
	accepted     verdict
	programmed   verdict
	conflicted   verdict
	resolved     verdict
	overlapping  verdict
	client       *routing.ClientValidation
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

func (s *listenerState) unresolved(v verdict) {
	if s.resolved.ok() || s.resolved.reason == string(gatewayv1.ListenerReasonInvalidRouteKinds) {
		s.resolved = v
	}
}

// listenerState adds to what a listener says what it refers to, and what the
// listeners beside it and other Gateways say.
func (t *Translator) listenerState(r *reading, of holder, f *frame, l *listener, beside place) listenerState {
	s := listenerState{
		accepted: l.accepted, conflicted: beside.conflict, resolved: l.resolved, overlapping: beside.overlap,
		problems: slices.Clone(l.problems),
	}
	if beside.conflict.ok() {
		s.accepted = verdict{metav1.ConditionFalse, beside.conflict.reason, beside.conflict.message}
		s.problems = append(s.problems, s.accepted.at(l.field))
	} else if winner, lost := t.outbid(r, f, l); lost {
		s.accepted = no(string(gatewayv1.ListenerReasonPortUnavailable),
			"port %d: the older Gateway %s has it", l.port, winner)
		s.problems = append(s.problems, s.accepted.at(l.field+".port"))
	}
	if l.protocol == hboneProtocol && s.accepted.ok() {
		r.member(f.gateway).bound(&s)
	}
	certified := true
	if l.speaksTLS() && !l.passesThrough() {
		certified = s.certify(r, of, l)
	}
	s.validateClients(r, f, l)
	switch {
	case !f.serves():
		s.programmed = no(string(gatewayv1.ListenerReasonInvalid), "the Gateway is not in force")
	case beside.conflict.ok():
		s.programmed = s.accepted
	case !s.accepted.ok():
		s.programmed = no(string(gatewayv1.ListenerReasonInvalid), "%s", s.accepted.message)
	case !certified:
		s.programmed = no(string(gatewayv1.ListenerReasonInvalid), "%s", s.resolved.message)
	default:
		s.programmed = yes(string(gatewayv1.ListenerReasonProgrammed))
	}
	return s
}

// certify finds the certificates of a listener that terminates TLS, and reports
// whether it can be served. A bad reference does not stop the good ones.
func (s *listenerState) certify(r *reading, of holder, l *listener) bool {
	unresolved := func(field string, v verdict) {
		s.unresolved(v)
		s.problems = append(s.problems, v.at(l.field+field))
	}
	if l.tls == nil || len(l.tls.CertificateRefs) == 0 {
		if l.tls != nil && l.tls.Options[certificateOption] == localCA {
			return true
		}
		unresolved(".tls", no(string(gatewayv1.ListenerReasonInvalidCertificateRef),
			"no certificate: want certificateRefs, or the option %s: %s", certificateOption, localCA))
		return false
	}
	for i := range l.tls.CertificateRefs {
		name, v := r.certificate(of, &l.tls.CertificateRefs[i], string(gatewayv1.ListenerReasonInvalidCertificateRef))
		if !v.ok() {
			unresolved(fmt.Sprintf(".tls.certificateRefs[%d]", i), v)
		} else if !slices.Contains(s.certificates, name) {
			s.certificates = append(s.certificates, name)
		}
	}
	return len(s.certificates) > 0
}

// part is a listener as the Spec has it.
func (l *listener) part(of holder, created time.Time, f *frame, s *listenerState) *routing.Listener {
	out := &routing.Listener{
		Name:          of.listener(l.name),
		Origin:        routing.Origin{Kind: of.kind, Namespace: of.ns, Name: of.name, Field: l.field},
		Created:       created,
		Gateway:       f.gateway.String(),
		Addresses:     f.addresses,
		Port:          l.port,
		Protocol:      routing.Protocol(l.protocol),
		Hostname:      l.hostname,
		ProxyProtocol: f.proxyProtocol(l),
	}
	switch {
	case l.passesThrough():
		out.TLS = &routing.ListenerTLS{Passthrough: true}
	case l.speaksTLS():
		out.TLS = &routing.ListenerTLS{Client: s.client, Certificates: s.certificates}
	}
	return out
}
