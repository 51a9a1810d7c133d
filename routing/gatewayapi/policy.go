package gatewayapi

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// maxAncestors is how many entries PolicyStatus.ancestors may have.
const maxAncestors = 16

// A policyTarget is a Service, or the one of its ports that section names.
type policyTarget struct{ field, service, section string }

// serviceTarget reads an entry of targetRefs. A target that is no Service is a
// note, and the policy is not there for it.
func serviceTarget(i int, ref gatewayv1.LocalPolicyTargetReference) (policyTarget, *note) {
	field := fmt.Sprintf("spec.targetRefs[%d]", i)
	if ref.Group != "" || ref.Kind != "Service" {
		n := no(string(gatewayv1.PolicyReasonTargetNotFound),
			"%s %s: want a Service", printKind(ref.Group, ref.Kind), ref.Name).at(field)
		return policyTarget{}, &n
	}
	return policyTarget{field: field, service: string(ref.Name)}, nil
}

// found says whether a policy's target is there.
func (r *reading) found(at policyTarget) verdict {
	svc := object[corev1.Service](r, "Service", r.ID.NS, at.service)
	if svc == nil {
		return no(string(gatewayv1.PolicyReasonTargetNotFound), "Service %s/%s: not found", r.ID.NS, at.service)
	}
	if at.section != "" && !slices.ContainsFunc(svc.Spec.Ports, func(p corev1.ServicePort) bool { return p.Name == at.section }) {
		return no(string(gatewayv1.PolicyReasonTargetNotFound),
			"Service %s/%s: no port named %s", r.ID.NS, at.service, at.section)
	}
	return yes(string(gatewayv1.PolicyReasonAccepted))
}

// judge asks about each target of the policy that the cell is for, and returns
// the verdict for each Gateway of ours that sends to one of them.
func (r *reading) judge(targets []policyTarget, report *Report, at func(policyTarget) verdict) map[parentName]verdict {
	states := map[parentName]verdict{}
	for _, target := range targets {
		v := at(target)
		if !v.ok() {
			reportNotes(report, []note{v.at(target.field)})
		}
		for user := range r.Bag(cellID{Kind: usersOf, NS: r.ID.NS, Name: target.service}) {
			// One target that works makes the policy work for a Gateway.
			if best, ok := states[user.(parentName)]; !ok || !best.ok() {
				states[user.(parentName)] = v
			}
		}
	}
	return states
}

// ancestors makes an entry for each Gateway, with the conditions that of gives
// for its verdict.
func (t *Translator) ancestors(generation int64, states map[parentName]verdict, of func(verdict) []metav1.Condition) []gatewayv1.PolicyAncestorStatus {
	gateways := slices.SortedFunc(maps.Keys(states), func(a, b parentName) int {
		return cmp.Or(strings.Compare(a.ns, b.ns), strings.Compare(a.name, b.name))
	})
	var out []gatewayv1.PolicyAncestorStatus
	for _, gw := range gateways[:min(len(gateways), maxAncestors)] {
		group, kind, ns := gatewayv1.Group(gatewayv1.GroupName), gatewayv1.Kind("Gateway"), gatewayv1.Namespace(gw.ns)
		out = append(out, gatewayv1.PolicyAncestorStatus{
			AncestorRef: gatewayv1.ParentReference{
				Group: &group, Kind: &kind, Namespace: &ns, Name: gatewayv1.ObjectName(gw.name),
			},
			ControllerName: t.opts.controllerName(),
			Conditions:     conditions(generation, of(states[gw])...),
		})
	}
	return out
}
