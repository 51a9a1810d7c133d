package gatewayapi

import (
	"fmt"
	"net/netip"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing/v1alpha1"
)

// A gateway is what a Gateway says by itself: what its listeners refer to, its
// ListenerSets and other Gateways are not looked at yet.
type gateway struct {
	frame
	roster
	parameters *v1alpha1.GatewayParameters // nil: not to be had
	problems   []note
}

// gateway parses a Gateway. Where there is no Gateway its value is nil.
func (t *Translator) gateway(r *reading) outcome {
	o := object[gatewayv1.Gateway](r, "Gateway", r.ID.NS, r.ID.Name)
	if o == nil || !r.Planted {
		return outcome{Gone: true}
	}
	class := r.Value(cellID{Kind: classCell, Name: string(o.Spec.GatewayClassName)}).(class)
	name := parentName{r.ID.NS, r.ID.Name}
	g := &gateway{frame: frame{gateway: name}, roster: roster{gateway: name}}
	if class.state == classForeign {
		return outcome{Value: g}
	}
	g.ours, g.admitted = true, true
	g.accepted = yes(string(gatewayv1.GatewayReasonAccepted))
	g.frame.created, g.roster.created = o.CreationTimestamp.Time, o.CreationTimestamp.Time
	g.rank = rank{ns: r.ID.NS, name: r.ID.Name}
	if class.state == classRejected {
		g.reject("spec.gatewayClassName", no(string(gatewayv1.GatewayReasonInvalidParameters),
			"GatewayClass %s is not accepted", o.Spec.GatewayClassName))
	}
	g.findParameters(r, o, class.parameters)
	g.labels = PodLabels(o, g.parameters)
	t.parseAddresses(g, o.Spec.Addresses)
	if g.sets = admissionOf(o.Spec.AllowedListeners); g.sets.problem != "" {
		g.problems = append(g.problems, note{"spec.allowedListeners.namespaces", reasonUnsupportedValue, g.sets.problem})
	}
	if tls := o.Spec.TLS; tls != nil {
		g.frontend = tls.Frontend
		if tls.Backend != nil {
			g.client = tls.Backend.ClientCertificateRef
		}
	}
	listeners, problems := t.parseListeners(o.Spec.Listeners)
	g.listeners, g.problems = listeners, append(g.problems, problems...)
	return outcome{Value: g, Gifts: g.stakes()}
}

func (g *gateway) reject(field string, v verdict) {
	if g.accepted.ok() {
		g.accepted = v
	}
	g.problems = append(g.problems, v.at(field))
}

// findParameters merges the parameters of the Gateway over those of its class.
func (g *gateway) findParameters(r *reading, o *gatewayv1.Gateway, class *v1alpha1.GatewayParameters) {
	var own *v1alpha1.GatewayParameters
	if infra := o.Spec.Infrastructure; infra != nil && infra.ParametersRef != nil {
		ref := infra.ParametersRef
		var err error
		if own, err = r.parameters(ref.Group, ref.Kind, r.ID.NS, ref.Name); err == nil {
			err = v1alpha1.Undelegated(class, own)
		}
		if err != nil {
			g.reject("spec.infrastructure.parametersRef", no(string(gatewayv1.GatewayReasonInvalidParameters), "parametersRef: %v", err))
		}
	}
	if g.accepted.ok() {
		g.parameters = v1alpha1.Merge(class, own)
		g.proxy = g.parameters.Spec.ProxyProtocol
	}
}

// parseAddresses looks at the addresses that were asked for. In a cluster they
// are those of the Service in front of the pods, and who provisions it knows
// whether they can be had. Otherwise those that parse are bound, and where none
// is left, nothing is bound rather than everything.
func (t *Translator) parseAddresses(g *gateway, list []gatewayv1.GatewaySpecAddress) {
	g.usable = yes("")
	for i, a := range list {
		field := fmt.Sprintf("spec.addresses[%d]", i)
		kind := or(a.Type, gatewayv1.IPAddressType)
		if t.opts.Isolated && kind == gatewayv1.HostnameAddressType {
			continue // load balancers have names, too
		}
		if kind != gatewayv1.IPAddressType {
			g.reject(field, no(string(gatewayv1.GatewayReasonUnsupportedAddress), "address type %s: want IPAddress", kind))
			continue
		}
		addr, err := netip.ParseAddr(a.Value)
		v := no(string(gatewayv1.GatewayReasonAddressNotUsable), "address %q: want an IP address", a.Value)
		switch {
		case t.opts.Isolated && (err == nil || a.Value == ""):
			continue
		case err == nil:
			g.addresses = append(g.addresses, addr.Unmap())
			continue
		case a.Value == "":
			v = no(string(gatewayv1.GatewayReasonAddressNotAssigned), "address without a value: want an IP address")
		}
		if g.usable.ok() {
			g.usable = v
		}
		g.problems = append(g.problems, v.at(field))
	}
}

// gatewayState reports a Gateway.
func (t *Translator) gatewayState(r *reading) outcome {
	o := object[gatewayv1.Gateway](r, "Gateway", r.ID.NS, r.ID.Name)
	if o == nil {
		return outcome{Gone: true}
	}
	h := holder{"Gateway", r.ID.NS, r.ID.Name}
	g, _ := r.Value(cellID{Kind: gatewayCell, NS: r.ID.NS, Name: r.ID.Name}).(*gateway)
	states, _ := r.Value(h.cell(listenersCell)).([]listenerState)
	m := r.member(parentName{r.ID.NS, r.ID.Name})
	if m == nil {
		m = &member{}
	}
	report := newReport("Gateway", o)
	reportNotes(report, m.notes)
	if g == nil || !g.ours {
		if len(m.notes) == 0 {
			report = nil
		}
		return outcome{Report: report}
	}
	reportNotes(report, g.problems)
	if m.problem != "" {
		report.Problem("metadata.labels["+waypointForLabel+"]", reasonUnsupportedValue, m.problem)
	}
	report.Parameters = g.parameters
	g.roster.report(r, h, states, o.Generation, report)
	sets := r.Bag(g.roster.gateway.cell(setsOf, ""))
	accepted := int32(sets[acceptedSet])
	report.AttachedListenerSets = &accepted

	backend := r.Value(g.roster.gateway.cell(identityCell, "")).(identity)
	reportNotes(report, backend.problems)
	g.reportValidation(r, report)
	report.Conditions = conditions(o.Generation, g.conditions(states, backend, sets)...)
	return outcome{Report: report}
}

// conditions sums up a Gateway and what its listeners come to. Listeners of
// ListenerSets count where a Gateway has none of its own that work.
func (g *gateway) conditions(states []listenerState, backend identity, sets map[any]int) []metav1.Condition {
	accepted, programmed := g.accepted, yes(string(gatewayv1.GatewayReasonProgrammed))
	resolved := backend.resolved
	good, served := sets[acceptedSet], sets[programmedSet]
	var bad []string
	for i, s := range states {
		name := string(g.listeners[i].name)
		if s.accepted.ok() {
			good++
		}
		if s.programmed.ok() {
			served++
		} else {
			bad = append(bad, name)
		}
		if !s.resolved.ok() && resolved.ok() {
			resolved = no(string(gatewayv1.GatewayReasonListenersNotResolved), "listener %s: %s", name, s.resolved.message)
		}
	}
	if accepted.ok() && len(bad) > 0 {
		accepted = no(string(gatewayv1.GatewayReasonListenersNotValid), "not in force: %s", strings.Join(bad, ", "))
		if good > 0 {
			accepted.status = metav1.ConditionTrue
		}
	}
	switch {
	case !g.usable.ok():
		programmed = g.usable
	case served == 0:
		programmed = no(string(gatewayv1.GatewayReasonInvalid), "no listener is in force")
	}
	list := []metav1.Condition{accepted.as("Accepted"), programmed.as("Programmed"), resolved.as("ResolvedRefs")}
	if v := g.insecure(); v.ok() {
		list = append(list, v.as(string(gatewayv1.GatewayConditionInsecureFrontendValidationMode)))
	}
	return list
}
