package status

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/discovery/feed"
	"fairway.dev/discovery/provision"
	"fairway.dev/routing"
	"fairway.dev/routing/gatewayapi"
)

const programmed = string(gatewayv1.GatewayConditionProgrammed)

// facts are what the cluster says of a Gateway: Programmed depends on them.
type facts struct {
	gateway routing.ObjectKey // zero where no Gateway's matter
	infra   *provision.State  // nil: not known yet
	wanted  map[routing.ListenerName]string
	fleet   feed.Fleet
	crews   []crew // of Gateways with pods that are ready; for Istio's objects
}

// ready reports whether any pod can take traffic.
func (f *facts) ready() bool { return f.infra != nil && f.infra.Ready > 0 }

// answering are the pods that count for what is in force: one that is starting
// has nothing in force yet, and is not ready.
func (f *facts) answering() (out []feed.PodState) {
	for _, p := range f.fleet.Pods {
		if p.Version != "" {
			out = append(out, p)
		}
	}
	return out
}

// A standing is how a listener stands with the fleet.
type standing struct {
	verdict
	pending bool // the fleet has yet to answer, and will
}

// A verdict is a condition without its type.
type verdict struct {
	status          metav1.ConditionStatus
	reason, message string
}

var yes = verdict{status: metav1.ConditionTrue, reason: programmed}

func no(reason, format string, args ...any) verdict {
	return verdict{metav1.ConditionFalse, reason, fmt.Sprintf(format, args...)}
}

// standing judges a listener that can be served: of, spec.listeners[i], name in
// the Spec. before says that it was Programmed in this generation, which new
// pods do not undo.
func (f *facts) standing(of routing.ObjectKey, i int, name routing.ListenerName, before bool) standing {
	if !f.ready() {
		if f.infra == nil && before {
			return standing{verdict: yes}
		}
		return standing{verdict: no(string(gatewayv1.ListenerReasonPending), "no pod of the Gateway is ready")}
	}
	pods := f.answering()
	version := f.wanted[name]
	asked, there := 0, 0
	var trouble *routing.Problem
	var troubled string
	for _, p := range pods {
		if problem := problemOf(p, of, i); problem != nil {
			trouble, troubled = problem, p.Pod
			continue
		}
		asked++
		if version != "" && p.Listeners[name] == version {
			there++
		}
	}
	switch {
	case trouble != nil && (!before || asked == 0):
		return standing{verdict: no(string(trouble.Reason), "pod %s: %v", troubled, trouble.Err)}
	case before || asked > 0 && there == asked && trouble == nil:
		return standing{verdict: yes}
	}
	return standing{no(string(gatewayv1.ListenerReasonPending), "%d of %d pods have it in force", there, len(pods)), true}
}

// problemOf is why a pod has a listener not in force; nil where it is silent.
func problemOf(p feed.PodState, of routing.ObjectKey, i int) *routing.Problem {
	field := fmt.Sprintf("spec.listeners[%d]", i)
	for _, problem := range p.Problems {
		o := problem.Origin
		if o.Kind != of.Kind || o.Namespace != of.Namespace || o.Name != of.Name {
			continue
		}
		if rest, ok := strings.CutPrefix(o.Field, field); ok && (rest == "" || rest[0] == '.') {
			return problem
		}
	}
	return nil
}

// A held is a Report with Programmed as the cluster has it.
type held struct {
	conditions []metav1.Condition
	listeners  []gatewayv1.ListenerStatus
	pending    bool // that the fleet answers soon is worth waiting for
	settled    bool // all that can be served is Programmed
}

// hold puts the facts into the Report of a Gateway or a ListenerSet. before are
// the conditions that the API server has, listenersBefore those of listeners.
func (f *facts) hold(r *gatewayapi.Report, before []metav1.Condition, listenersBefore []gatewayv1.ListenerStatus) held {
	h := held{conditions: append([]metav1.Condition{}, r.Conditions...), listeners: append([]gatewayv1.ListenerStatus{}, r.Listeners...)}
	var t tally
	for i := range h.listeners {
		l := &h.listeners[i]
		l.Conditions = append([]metav1.Condition{}, l.Conditions...)
		c := find(l.Conditions, programmed)
		if c == nil || c.Status != metav1.ConditionTrue || i >= len(r.Names) || r.Names[i] == "" {
			continue
		}
		s := f.standing(r.Object, i, r.Names[i], wasProgrammed(conditionsOf(listenersBefore, l.Name), c.ObservedGeneration))
		c.Status, c.Reason, c.Message = s.status, s.reason, s.message
		t.add(string(l.Name), s)
	}
	h.pending, h.settled = t.pending, len(t.waiting)+len(t.failed) == 0
	if c := find(h.conditions, programmed); c != nil && c.Status == metav1.ConditionTrue {
		v := f.whole(r, t, wasProgrammed(before, c.ObservedGeneration))
		c.Status, c.Reason, c.Message = v.status, v.reason, v.message
		h.pending = h.pending || f.infra == nil
		h.settled = h.settled && v.status == metav1.ConditionTrue
	}
	return h
}

// A tally counts how listeners stand.
type tally struct {
	served  []string // in force
	waiting []string
	failed  []string // with why
	pending bool
}

func (t *tally) add(name string, s standing) {
	switch {
	case s.status == metav1.ConditionTrue:
		t.served = append(t.served, name)
	case s.reason == string(gatewayv1.ListenerReasonPending):
		t.waiting = append(t.waiting, name)
		t.pending = t.pending || s.pending
	default:
		t.failed = append(t.failed, name+": "+s.message)
	}
}

// whole sums up an object whose Report says that it can be served.
func (f *facts) whole(r *gatewayapi.Report, t tally, before bool) verdict {
	if f.infra == nil {
		if before {
			return yes
		}
		return no(string(gatewayv1.GatewayReasonPending), "the Gateway's pods and Service are being made")
	}
	if why := f.infra.Trouble; why != nil {
		if r.Gateway.Name != "" {
			return no("ParentNotProgrammed", "Gateway %s/%s: %s", r.Gateway.Namespace, r.Gateway.Name, why.Message)
		}
		return no(string(why.Reason), "%s", why.Message)
	}
	own := len(t.served) + len(t.waiting) + len(t.failed)
	switch {
	case before && (own == 0 || len(t.served) > 0):
		return yes
	case own == 0: // what it serves are its ListenerSets' listeners
		if f.anyInForce() {
			return yes
		}
		return no(string(gatewayv1.GatewayReasonPending), "no pod has its listeners in force yet")
	case len(t.waiting) > 0:
		return no(string(gatewayv1.GatewayReasonPending), "not in force on all pods: %s", strings.Join(t.waiting, ", "))
	case len(t.served) == 0:
		return no(string(gatewayv1.GatewayReasonInvalid), "%s", strings.Join(t.failed, "; "))
	}
	return yes
}

// anyInForce reports whether a pod has any of the wanted listeners.
func (f *facts) anyInForce() bool {
	for _, p := range f.answering() {
		for name, version := range f.wanted {
			if p.Listeners[name] == version {
				return true
			}
		}
	}
	return false
}

func conditionsOf(list []gatewayv1.ListenerStatus, name gatewayv1.SectionName) []metav1.Condition {
	for i := range list {
		if list[i].Name == name {
			return list[i].Conditions
		}
	}
	return nil
}

// wasProgrammed reports whether conditions say so of a generation.
func wasProgrammed(list []metav1.Condition, generation int64) bool {
	c := find(list, programmed)
	return c != nil && c.Status == metav1.ConditionTrue && c.ObservedGeneration == generation
}
