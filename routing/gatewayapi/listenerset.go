package gatewayapi

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing"
)

// An admission says which ListenerSets a Gateway lets in
// (GatewaySpec.allowedListeners): none, unless it says otherwise.
type admission struct {
	from     gatewayv1.FromNamespaces
	selector labels.Selector
	problem  string
}

func admissionOf(allowed *gatewayv1.AllowedListeners) admission {
	a := admission{from: gatewayv1.NamespacesFromNone}
	if allowed == nil || allowed.Namespaces == nil {
		return a
	}
	a.from = or(allowed.Namespaces.From, gatewayv1.NamespacesFromNone)
	switch a.from {
	case gatewayv1.NamespacesFromNone, gatewayv1.NamespacesFromSame, gatewayv1.NamespacesFromAll:
	case gatewayv1.NamespacesFromSelector:
		selector, err := metav1.LabelSelectorAsSelector(allowed.Namespaces.Selector)
		if err != nil {
			a.problem = fmt.Sprintf("selector: %v: no ListenerSet is let in", err)
			selector = labels.Nothing()
		}
		a.selector = selector
	default:
		a.problem = fmt.Sprintf("from %s: want All, Selector, Same or None: no ListenerSet is let in", a.from)
	}
	return a
}

// admits reports whether a ListenerSet in a namespace is let in.
func (r *reading) admits(f *frame, ns string) bool {
	switch f.sets.from {
	case gatewayv1.NamespacesFromAll:
		return true
	case gatewayv1.NamespacesFromSame:
		return ns == f.gateway.ns
	case gatewayv1.NamespacesFromSelector:
		return f.sets.selector.Matches(namespaceLabels(object[corev1.Namespace](r, "Namespace", "", ns), ns))
	}
	return false
}

// A listenerSet is what a ListenerSet says by itself, and whether its Gateway
// lets it in.
type listenerSet struct {
	roster
	ours     bool // the Gateway is; all else is empty where it is not
	absent   bool // there is no such Gateway
	problems []note
}

// listenerSet parses a ListenerSet. Its value is nil where there is none, or
// where its parent is not a Gateway.
func (t *Translator) listenerSet(r *reading) outcome {
	o := object[gatewayv1.ListenerSet](r, "ListenerSet", r.ID.NS, r.ID.Name)
	if o == nil || !r.Planted {
		return outcome{Gone: true}
	}
	ref := o.Spec.ParentRef
	if or(ref.Group, gatewayv1.GroupName) != gatewayv1.GroupName || or(ref.Kind, "Gateway") != "Gateway" {
		return outcome{}
	}
	s := &listenerSet{roster: roster{
		gateway: parentName{string(or(ref.Namespace, gatewayv1.Namespace(r.ID.NS))), string(ref.Name)},
	}}
	f := r.frame(s.gateway)
	if s.absent = f == nil; s.absent || !f.ours {
		return outcome{Value: s}
	}
	s.ours, s.admitted = true, r.admits(f, r.ID.NS)
	s.created = o.CreationTimestamp.Time
	s.rank = rank{true, birth(s.created), r.ID.NS, r.ID.Name}
	if !s.admitted {
		return outcome{Value: s}
	}
	specs := make([]gatewayv1.Listener, len(o.Spec.Listeners))
	for i, l := range o.Spec.Listeners {
		specs[i] = gatewayv1.Listener(l)
	}
	s.listeners, s.problems = t.parseListeners(specs)
	for _, l := range s.listeners {
		if l.protocol == hboneProtocol {
			l.reject(".protocol", no(string(gatewayv1.ListenerReasonUnsupportedProtocol), "protocol HBONE: want it in the Gateway itself"))
		}
	}
	findVoid(s.listeners)
	return outcome{Value: s, Gifts: s.stakes()}
}

// What ListenerSets let their Gateway count.
const (
	acceptedSet   = "accepted"
	programmedSet = "programmed"
)

// setState reports a ListenerSet.
func (t *Translator) setState(r *reading) outcome {
	o := object[gatewayv1.ListenerSet](r, "ListenerSet", r.ID.NS, r.ID.Name)
	if o == nil {
		return outcome{Gone: true}
	}
	s, _ := r.Value(cellID{Kind: setCell, NS: r.ID.NS, Name: r.ID.Name}).(*listenerSet)
	if s == nil || !s.ours && !s.absent {
		return outcome{}
	}
	report := newReport("ListenerSet", o)
	if s.absent {
		report.Problem("spec.parentRef", reasonParentNotFound, "Gateway "+s.gateway.String()+": not found")
		return outcome{Report: report}
	}
	report.Gateway = routing.ObjectKey{Kind: "Gateway", Namespace: s.gateway.ns, Name: s.gateway.name}
	if !s.admitted {
		refused := no(string(gatewayv1.ListenerSetReasonNotAllowed),
			"Gateway %s does not allow ListenerSets of namespace %s (spec.allowedListeners)", s.gateway, r.ID.NS)
		reportNotes(report, []note{refused.at("spec.parentRef")})
		report.Conditions = conditions(o.Generation, refused.as("Accepted"), refused.as("Programmed"))
		return outcome{Report: report}
	}
	h := holder{"ListenerSet", r.ID.NS, r.ID.Name}
	states := r.Value(h.cell(listenersCell)).([]listenerState)
	reportNotes(report, s.problems)
	s.report(r, h, states, o.Generation, report)
	return outcome{Report: report, Gifts: s.conclude(r.frame(s.gateway), states, o.Generation, report)}
}

// conclude sums up a ListenerSet that its Gateway lets in, and tells the
// Gateway what to count.
func (s *listenerSet) conclude(f *frame, states []listenerState, generation int64, report *Report) []gift {
	accepted, programmed := yes(string(gatewayv1.ListenerSetReasonAccepted)), yes(string(gatewayv1.ListenerSetReasonProgrammed))
	var bad []string
	for i := range states {
		if !states[i].programmed.ok() {
			bad = append(bad, string(s.listeners[i].name))
		}
	}
	switch notValid := no(string(gatewayv1.ListenerSetReasonListenersNotValid), "not in force: %s", strings.Join(bad, ", ")); {
	case !f.accepted.ok():
		accepted = no(string(gatewayv1.ListenerSetReasonParentNotAccepted), "Gateway %s is not accepted", s.gateway)
		programmed = no(reasonParentNotProgrammed, "%s", accepted.message)
	case !f.usable.ok():
		programmed = no(reasonParentNotProgrammed, "Gateway %s: %s", s.gateway, f.usable.message)
	case len(bad) == len(states):
		accepted, programmed = notValid, notValid
	case len(bad) > 0:
		accepted = verdict{metav1.ConditionTrue, notValid.reason, notValid.message}
	}
	report.Conditions = conditions(generation, accepted.as("Accepted"), programmed.as("Programmed"))
	var gifts []gift
	if accepted.ok() {
		gifts = append(gifts, gift{To: s.gateway.cell(setsOf, ""), Item: acceptedSet})
	}
	if programmed.ok() {
		gifts = append(gifts, gift{To: s.gateway.cell(setsOf, ""), Item: programmedSet})
	}
	return gifts
}
