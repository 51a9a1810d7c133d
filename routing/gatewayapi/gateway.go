package gatewayapi

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing"
)

// A parentName names a Gateway.
type parentName struct{ ns, name string }

func (p parentName) String() string { return p.ns + "/" + p.name }

// A gateway is what a Gateway says by itself: what it refers to, and other
// Gateways, are not looked at yet.
type gateway struct {
	ours      bool // all else is empty where it is not
	created   time.Time
	accepted  verdict      // before its listeners have a say
	addresses []netip.Addr // none: the server's default
	usable    verdict      // of the addresses that were asked for
	listeners []*listener
	problems  []note
}

// gateway parses a Gateway. Where there is no Gateway its value is nil.
func (t *Translator) gateway(r *reading) outcome {
	o := object[gatewayv1.Gateway](r, "Gateway", r.id.ns, r.id.name)
	if o == nil || !r.planted {
		return outcome{gone: true}
	}
	state := r.value(cellID{kind: classCell, name: string(o.Spec.GatewayClassName)}).(classState)
	if state == classForeign {
		return outcome{value: &gateway{}}
	}
	g := &gateway{ours: true, created: o.CreationTimestamp.Time, accepted: yes(string(gatewayv1.GatewayReasonAccepted))}
	if state == classRejected {
		g.reject("spec.gatewayClassName", no(string(gatewayv1.GatewayReasonInvalidParameters),
			"GatewayClass %s is not accepted", o.Spec.GatewayClassName))
	}
	if infra := o.Spec.Infrastructure; infra != nil && infra.ParametersRef != nil {
		g.reject("spec.infrastructure.parametersRef", no(string(gatewayv1.GatewayReasonInvalidParameters),
			"parametersRef names a %s: no parameters are known", infra.ParametersRef.Kind))
	}
	if o.Spec.TLS != nil && o.Spec.TLS.Backend != nil {
		g.problems = append(g.problems, note{"spec.tls.backend", reasonUnsupportedValue,
			"client certificates for backends are not supported: backends that ask for one are shown none"})
	}
	g.parseAddresses(o.Spec.Addresses)
	for i := range o.Spec.Listeners {
		g.addListener(parseListener(o, i))
	}
	findConflicts(g.listeners)
	out := outcome{value: g}
	if !t.opts.Isolated {
		for _, l := range g.listeners {
			if g.serves() && l.accepted.ok() {
				out.gifts = append(out.gifts, gift{l.portID(), g.claim(r.id, l)})
			}
		}
	}
	return out
}

func (g *gateway) reject(field string, v verdict) {
	if g.accepted.ok() {
		g.accepted = v
	}
	g.problems = append(g.problems, v.at(field))
}

// addListener adds a listener, but for one whose name is taken: it could not be
// told from the other, neither by routes nor in the status.
func (g *gateway) addListener(l *listener) {
	if slices.ContainsFunc(g.listeners, func(m *listener) bool { return m.name == l.name }) {
		g.problems = append(g.problems, note{l.field + ".name", string(gatewayv1.ListenerReasonInvalid),
			fmt.Sprintf("a second listener %s: want another name", l.name)})
		return
	}
	g.listeners = append(g.listeners, l)
}

// serves reports whether the Gateway may have listeners in force at all.
func (g *gateway) serves() bool {
	return g.accepted.ok() && (g.usable.ok() || len(g.addresses) > 0)
}

// parseAddresses keeps the addresses that can be bound. Where some were asked
// for and none is left, nothing is bound rather than everything.
func (g *gateway) parseAddresses(list []gatewayv1.GatewaySpecAddress) {
	g.usable = yes("")
	for i, a := range list {
		field := fmt.Sprintf("spec.addresses[%d]", i)
		if kind := or(a.Type, gatewayv1.IPAddressType); kind != gatewayv1.IPAddressType {
			g.reject(field, no(string(gatewayv1.GatewayReasonUnsupportedAddress), "address type %s: want IPAddress", kind))
			continue
		}
		addr, err := netip.ParseAddr(a.Value)
		if err == nil {
			g.addresses = append(g.addresses, addr.Unmap())
			continue
		}
		v := no(string(gatewayv1.GatewayReasonAddressNotUsable), "address %q: want an IP address", a.Value)
		if a.Value == "" {
			v = no(string(gatewayv1.GatewayReasonAddressNotAssigned), "address without a value: want an IP address")
		}
		if g.usable.ok() {
			g.usable = v
		}
		g.problems = append(g.problems, v.at(field))
	}
}

// listeners says what comes of the listeners of a Gateway, and makes those that
// are in force. Its value is a []listenerState, nil where the Gateway is not
// ours.
func (t *Translator) listeners(r *reading) outcome {
	o := object[gatewayv1.Gateway](r, "Gateway", r.id.ns, r.id.name)
	g, _ := r.value(cellID{kind: gatewayCell, ns: r.id.ns, name: r.id.name}).(*gateway)
	if o == nil || g == nil || !g.ours {
		return outcome{}
	}
	states := make([]listenerState, len(g.listeners))
	out := outcome{value: states}
	for i, l := range g.listeners {
		states[i] = t.listenerState(r, g, l)
		if states[i].programmed.ok() {
			out.parts = append(out.parts, g.part(o, l, &states[i]))
		}
	}
	return out
}

// open lists the listeners of a Gateway that are in force, by their names:
// a route is in the Spec for these only.
func (t *Translator) open(r *reading) outcome {
	g, _ := r.value(cellID{kind: gatewayCell, ns: r.id.ns, name: r.id.name}).(*gateway)
	states, _ := r.value(cellID{kind: listenersCell, ns: r.id.ns, name: r.id.name}).([]listenerState)
	var names []gatewayv1.SectionName
	for i, s := range states {
		if s.programmed.ok() {
			names = append(names, g.listeners[i].name)
		}
	}
	return outcome{value: names}
}

// gatewayState reports a Gateway.
func (t *Translator) gatewayState(r *reading) outcome {
	o := object[gatewayv1.Gateway](r, "Gateway", r.id.ns, r.id.name)
	if o == nil {
		return outcome{gone: true}
	}
	g, _ := r.value(cellID{kind: gatewayCell, ns: r.id.ns, name: r.id.name}).(*gateway)
	states, _ := r.value(cellID{kind: listenersCell, ns: r.id.ns, name: r.id.name}).([]listenerState)
	if g == nil || !g.ours {
		return outcome{}
	}
	report := newReport("Gateway", o)
	report.problems(g.problems)
	attached := r.bag(cellID{kind: routesAt, ns: r.id.ns, name: r.id.name})
	for i, l := range g.listeners {
		report.problems(states[i].problems)
		report.Listeners = append(report.Listeners, gatewayv1.ListenerStatus{
			Name:           l.name,
			SupportedKinds: l.kinds,
			AttachedRoutes: int32(attached[string(l.name)]),
			Conditions:     conditions(o.Generation, states[i].conditions()...),
		})
	}
	report.Conditions = conditions(o.Generation, g.conditions(states)...)
	return outcome{report: report}
}

// part is a listener as the Spec has it.
func (g *gateway) part(o *gatewayv1.Gateway, l *listener, s *listenerState) *routing.Listener {
	out := &routing.Listener{
		Name:      listenerName(parentName{o.Namespace, o.Name}, l.name),
		Origin:    routing.Origin{Kind: "Gateway", Namespace: o.Namespace, Name: o.Name, Field: l.field},
		Created:   g.created,
		Gateway:   o.Namespace + "/" + o.Name,
		Addresses: g.addresses,
		Port:      l.port,
		Protocol:  routing.Protocol(l.protocol),
		Hostname:  l.hostname,
	}
	if l.protocol == gatewayv1.HTTPSProtocolType {
		out.TLS = &routing.ListenerTLS{Certificates: s.certificates}
	}
	return out
}

func listenerName(gw parentName, section gatewayv1.SectionName) routing.ListenerName {
	return routing.ListenerName(gw.ns + "/" + gw.name + "/" + string(section))
}

// conditions sums up a Gateway and what its listeners come to.
func (g *gateway) conditions(states []listenerState) []metav1.Condition {
	accepted, programmed := g.accepted, yes(string(gatewayv1.GatewayReasonProgrammed))
	resolved := yes(string(gatewayv1.GatewayReasonResolvedRefs))
	good, served := 0, 0
	var bad []string
	for i, s := range states {
		if s.accepted.ok() {
			good++
		}
		if s.programmed.ok() {
			served++
		} else {
			bad = append(bad, string(g.listeners[i].name))
		}
		if !s.resolved.ok() {
			resolved = no(string(gatewayv1.GatewayReasonListenersNotResolved), "listener %s: %s", g.listeners[i].name, s.resolved.message)
		}
	}
	if accepted.ok() && len(bad) > 0 {
		accepted = no(string(gatewayv1.GatewayReasonListenersNotValid), "not in force: %s", strings.Join(bad, ", "))
		if good > 0 {
			accepted.status = yes("").status
		}
	}
	switch {
	case !g.usable.ok():
		programmed = g.usable
	case served == 0:
		programmed = no(string(gatewayv1.GatewayReasonInvalid), "no listener is in force")
	}
	return []metav1.Condition{accepted.as("Accepted"), programmed.as("Programmed"), resolved.as("ResolvedRefs")}
}

// A portClaim is a listener that wants a port.
type portClaim struct {
	gateway   parentName
	created   int64
	listener  gatewayv1.SectionName
	addresses string
	protocol  gatewayv1.ProtocolType
	hostname  string
}

func (g *gateway) claim(id cellID, l *listener) portClaim {
	addresses := make([]string, len(g.addresses))
	for i, a := range g.addresses {
		addresses[i] = a.String()
	}
	return portClaim{
		gateway:   parentName{id.ns, id.name},
		created:   birth(g.created),
		listener:  l.name,
		addresses: strings.Join(addresses, ","),
		protocol:  l.protocol,
		hostname:  l.hostname,
	}
}

func (l *listener) portID() cellID {
	return cellID{kind: claimsOn, name: strconv.Itoa(int(l.port))}
}
