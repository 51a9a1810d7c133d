package istio

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing"
	"fairway.dev/routing/dialect"
	"fairway.dev/routing/gatewayapi"
)

// Whoever writes a policy thinks of pods, or of a namespace. It is in force where
// a Gateway or a waypoint of ours is in between: elsewhere nobody enforces it,
// which its Report has to say.

// reasonNotEnforced says where a policy is not in force.
const reasonNotEnforced = "NotEnforced"

// reasonTargetNotFound is of a target that is not there.
const reasonTargetNotFound = "TargetNotFound"

// serviceName puts a Service among those of its namespace.
func serviceName(r *reading) dialect.Outcome {
	o := object[corev1.Service](r, "Service", r.ID.NS, r.ID.Name)
	if o == nil {
		return dialect.Outcome{Gone: true}
	}
	if o.Labels[gatewayv1.GatewayNameLabelKey] != "" {
		return dialect.Outcome{} // a gateway's own
	}
	return dialect.Outcome{Gifts: []dialect.Gift{callee(r.ID.NS, aim{"Service", r.ID.Name})}}
}

// callee puts what can be called among that of its namespace.
func callee(ns string, a aim) dialect.Gift {
	return dialect.Gift{To: dialect.ID{Kind: calleesIn, NS: ns}, Item: a}
}

// calleesOf returns what of a namespace can be called, in order.
func (r *reading) calleesOf(ns string) []aim {
	var list []aim
	for item := range r.Bag(dialect.ID{Kind: calleesIn, NS: ns}) {
		list = append(list, item.(aim))
	}
	slices.SortFunc(list, func(a, b aim) int { return strings.Compare(a.String(), b.String()) })
	return list
}

func (a aim) String() string { return a.kind + " " + a.name }

// guarded reports whether a waypoint of ours enforces policy for something.
func (r *reading) guarded(ns string, a aim) bool {
	return slices.ContainsFunc(r.doorsOf(service{a.kind, ns, a.name}), func(d gatewayapi.Door) bool { return d.Own })
}

// covered reports whether a waypoint of ours enforces what is about the pods of
// something.
func (r *reading) covered(ns string, a aim) bool { return r.guarded(ns, a) || r.coveredApart(ns, a) }

// coveredApart reports whether that is so for each pod at its own address, as of a
// Service that has none.
func (r *reading) coveredApart(ns string, a aim) bool {
	if a.kind != "Service" {
		return false
	}
	o := object[corev1.Service](r, "Service", ns, a.name)
	return o != nil && o.Spec.ClusterIP == corev1.ClusterIPNone && gatewayapi.EnforcesPods(r.Reading, ns, o.Spec.Selector)
}

// entranceIn reports whether pods of a Gateway of a namespace, which labels select,
// take what is not for doors.
func (r *reading) entranceIn(ns string, selector map[string]string) bool {
	if own, _, _ := strings.Cut(r.j.opts.Fleet, "/"); r.j.opts.AnySelector && ns == own {
		return true
	}
	var all []fleetName
	for item := range r.Bag(withLabel("", "")) {
		if at := item.(fleetName); at.ns == ns {
			all = append(all, at)
		}
	}
	slices.SortFunc(all, func(a, b fleetName) int { return strings.Compare(a.name, b.name) })
	return slices.ContainsFunc(all, func(at fleetName) bool {
		f, _ := r.Value(at.cell(fleetCell, "")).(*fleet)
		o := object[gatewayv1.Gateway](r, "Gateway", at.ns, at.name)
		return f != nil && o != nil && selects(f.labels, selector) &&
			(len(o.Spec.Listeners) == 0 || slices.ContainsFunc(o.Spec.Listeners, func(l gatewayv1.Listener) bool {
				return l.Protocol != gatewayv1.ProtocolType(routing.HBONE)
			}))
	})
}

const fixEnrol = "enrol it by the label istio.io/use-waypoint"

// checkEnforced says where a policy is not in force though it is about what is
// there.
func (r *reading) checkEnforced(s *reach, found *complaints) {
	switch {
	case len(s.targets) > 0:
		for i, a := range s.targets {
			r.checkTarget(s.ns, a, field("spec.targetRefs", i), found)
		}
	case s.selector != nil && s.mesh && s.selectsAll:
		found.note("spec.selector", reasonNotEnforced, "name what it is about in targetRefs",
			"of the root namespace: it is in force at Gateways whose pods it selects, and at waypoints of Services whose own selector has its labels, and nowhere else")
	case s.selector != nil:
		r.checkSelected(s, found)
	case !s.mesh:
		r.checkNamespace(s, found)
	}
}

func (r *reading) checkTarget(ns string, a aim, at string, found *complaints) {
	there := true
	switch a.kind {
	case "Gateway":
		there = object[gatewayv1.Gateway](r, "Gateway", ns, a.name) != nil
		if there && !r.j.opts.AnySelector && r.fleet(fleetName{ns, a.name}) == nil {
			found.note(at, reasonNotEnforced, "", "Gateway %s/%s is not served by Fairway", ns, a.name)
		}
	case "Service":
		there = object[corev1.Service](r, "Service", ns, a.name) != nil
	case KindServiceEntry:
		_, there = r.Value(dialect.ID{Kind: entryCell, NS: ns, Name: a.name}).(*entry)
	default:
		return
	}
	switch {
	case !there:
		found.wrong(at, reasonTargetNotFound, "create it, or correct the name", "%s of namespace %s: not found", a, ns)
	case a.kind != "Gateway" && !r.guarded(ns, a):
		found.warn(at, reasonNotEnforced, fixEnrol, "%s/%s has no waypoint of ours: nobody enforces it there", a.kind+" "+ns, a.name)
	}
}

// checkSelected looks for pods that a selector picks, and whose Services have no
// waypoint, or pods that it does not pick.
func (r *reading) checkSelected(s *reach, found *complaints) {
	var without, partly []string
	some := r.entranceIn(s.ns, s.selector) || gatewayapi.EnforcesPods(r.Reading, s.ns, s.selector)
	for _, a := range r.calleesOf(s.ns) {
		switch pods := r.podsOf(s.ns, a); {
		case pods != nil && selects(pods, s.selector):
			if some = some || r.covered(s.ns, a); !r.covered(s.ns, a) {
				without = append(without, a.String())
			}
		case a.kind == "Service" && pods != nil && !r.coveredApart(s.ns, a) && r.picksOf(s.ns, a.name, s.selector):
			partly = append(partly, a.String())
		}
	}
	if len(without) > 0 {
		found.warn("spec.selector", reasonNotEnforced, fixEnrol, "%s: no waypoint of ours: nobody enforces it there", firstOf(without))
	}
	if len(partly) > 0 {
		found.warn("spec.selector", reasonNotEnforced, "give those pods a Service of their own, or name the Service in targetRefs",
			"%s: it picks some of the pods alone, which a waypoint does not tell apart: nobody enforces it there", firstOf(partly))
	}
	if !some && len(without)+len(partly) == 0 {
		found.warn("spec.selector", reasonNotEnforced, "check the labels, or name what it is about in targetRefs",
			"no Gateway's pods, and those of no Service of namespace %s, have the labels", s.ns)
	}
}

// podsOf are the labels that all pods of a callee have; nil: none is known.
func (r *reading) podsOf(ns string, a aim) map[string]string {
	if a.kind == "Service" {
		if o := object[corev1.Service](r, "Service", ns, a.name); o != nil && len(o.Spec.Selector) > 0 {
			return o.Spec.Selector
		}
		return nil
	}
	if e, _ := r.Value(dialect.ID{Kind: entryCell, NS: ns, Name: a.name}).(*entry); e != nil {
		return e.selector
	}
	return nil
}

// checkNamespace looks for what of a namespace has no waypoint.
func (r *reading) checkNamespace(s *reach, found *complaints) {
	var without []string
	some := r.entranceIn(s.ns, nil) || gatewayapi.EnforcesPods(r.Reading, s.ns, nil)
	for _, a := range r.calleesOf(s.ns) {
		if r.covered(s.ns, a) {
			some = true
		} else {
			without = append(without, a.String())
		}
	}
	switch {
	case len(without) > 0:
		found.warn("metadata.namespace", reasonNotEnforced, fixEnrol, "%s: no waypoint of ours: nobody enforces it there", firstOf(without))
	case !some:
		found.warn("metadata.namespace", reasonNotEnforced, "write it where there is a Gateway, or something with a waypoint",
			"namespace %s has no Gateway, and nothing that has a waypoint", s.ns)
	}
}

// firstOf names some of many.
func firstOf(list []string) string {
	const most = 5
	if len(list) <= most {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:most], ", "), len(list)-most)
}
