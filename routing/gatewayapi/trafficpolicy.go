package gatewayapi

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayxv1alpha1 "sigs.k8s.io/gateway-api/apisx/v1alpha1"

	"fairway.dev/routing"
)

// A trafficPolicy is what an XBackendTrafficPolicy asks for.
type trafficPolicy struct {
	name       string
	created    time.Time
	generation int64
	targets    []policyTarget
	traffic    traffic
	accepted   verdict
	problems   []note
}

// A traffic is what policies say of the traffic to a Service.
type traffic struct {
	policy  string                        // its name; empty: nobody says anything
	session *gatewayv1.SessionPersistence // nil: none
	retries *routing.RetryBudget          // nil: the default
}

// trafficPolicy reads an XBackendTrafficPolicy.
func (t *Translator) trafficPolicy(r *reading) outcome {
	o := object[gatewayxv1alpha1.XBackendTrafficPolicy](r, "XBackendTrafficPolicy", r.ID.NS, r.ID.Name)
	if o == nil {
		return outcome{Gone: true}
	}
	p := &trafficPolicy{
		name:       o.Name,
		created:    o.CreationTimestamp.Time,
		generation: o.Generation,
		traffic:    traffic{policy: o.Name, session: o.Spec.SessionPersistence},
		accepted:   yes(string(gatewayv1.PolicyReasonAccepted)),
	}
	out := outcome{Value: p}
	for i, ref := range o.Spec.TargetRefs {
		target, bad := serviceTarget(i, ref)
		if bad != nil {
			p.problems = append(p.problems, *bad)
			continue
		}
		p.targets = append(p.targets, target)
		out.Gifts = append(out.Gifts, gift{To: cellID{Kind: trafficPoliciesOn, NS: r.ID.NS, Name: target.service}, Item: r.ID.Name})
	}
	if s := o.Spec.SessionPersistence; s != nil {
		checkSession(s, p.invalid("spec.sessionPersistence"))
	}
	if c := o.Spec.RetryConstraint; c != nil {
		p.traffic.retries = retryBudget(c, p.invalid("spec.retryConstraint"))
	}
	return out
}

// invalid returns what to call with what is wrong below a field. A policy that
// is not valid is not in force as a whole.
func (p *trafficPolicy) invalid(below string) complain {
	return func(field, format string, args ...any) {
		v := no(string(gatewayv1.PolicyReasonInvalid), format, args...)
		if p.accepted.ok() {
			p.accepted = v
		}
		p.problems = append(p.problems, v.at(below+"."+field))
	}
}

// complain takes what is wrong with a field.
type complain func(field, format string, args ...any)

// retryBudget reads a RetryConstraint, with the CRD's defaults filled in.
func retryBudget(c *gatewayxv1alpha1.RetryConstraint, wrong complain) *routing.RetryBudget {
	out := &routing.RetryBudget{Percent: 20, Interval: 10 * time.Second, Least: 10, LeastInterval: time.Second}
	if b := c.Budget; b != nil {
		if out.Percent = or(b.Percent, out.Percent); out.Percent < 0 || out.Percent > 100 {
			wrong("budget.percent", "%d percent: want 0-100", out.Percent)
		}
		interval(b.Interval, &out.Interval, time.Second, "budget.interval", wrong)
	}
	if m := c.MinRetryRate; m != nil {
		if out.Least = or(m.Count, out.Least); out.Least < 1 || out.Least > 1000000 {
			wrong("minRetryRate.count", "%d retries: want 1-1000000", out.Least)
		}
		interval(m.Interval, &out.LeastInterval, time.Millisecond, "minRetryRate.interval", wrong)
	}
	return out
}

// interval reads a duration of least to an hour.
func interval(text *gatewayv1.Duration, to *time.Duration, least time.Duration, field string, wrong complain) {
	if text == nil {
		return
	}
	d, err := parseDuration(*text)
	switch {
	case err != nil:
		wrong(field, "%v", err)
	case d < least || d > time.Hour:
		wrong(field, "interval %s: want %s to 1h", *text, least)
	}
	*to = d
}

// trafficTo decides which policy counts for the Service that the cell is for:
// the oldest that is valid.
func (r *reading) trafficTo() traffic {
	var oldest *trafficPolicy
	for name := range r.Bag(cellID{Kind: trafficPoliciesOn, NS: r.ID.NS, Name: r.ID.Name}) {
		p, _ := r.Value(cellID{Kind: trafficPolicyCell, NS: r.ID.NS, Name: name.(string)}).(*trafficPolicy)
		if p == nil || !p.accepted.ok() {
			continue
		}
		if oldest == nil || compareAge(p.created, oldest.created, p.name, oldest.name) < 0 {
			oldest = p
		}
	}
	if oldest == nil {
		return traffic{}
	}
	return oldest.traffic
}

// trafficPolicyState reports an XBackendTrafficPolicy to each Gateway of ours
// that sends requests to what it targets.
func (t *Translator) trafficPolicyState(r *reading) outcome {
	o := object[gatewayxv1alpha1.XBackendTrafficPolicy](r, "XBackendTrafficPolicy", r.ID.NS, r.ID.Name)
	p, _ := r.Value(cellID{Kind: trafficPolicyCell, NS: r.ID.NS, Name: r.ID.Name}).(*trafficPolicy)
	if o == nil || p == nil {
		return outcome{Gone: true}
	}
	report := newReport("XBackendTrafficPolicy", o)
	reportNotes(report, p.problems)
	states := r.judge(p.targets, report, func(at policyTarget) verdict {
		v := r.found(at)
		if !v.ok() || !p.accepted.ok() {
			return v
		}
		winner := r.settings(r.ID.NS, at.service).traffic.policy
		if winner != p.name {
			return no(string(gatewayv1.PolicyReasonConflicted), "XBackendTrafficPolicy %s/%s is older", r.ID.NS, winner)
		}
		return v
	})
	report.Ancestors = t.ancestors(p.generation, states, func(v verdict) []metav1.Condition {
		if !p.accepted.ok() {
			v = p.accepted
		}
		return []metav1.Condition{v.as("Accepted")}
	})
	return outcome{Report: report}
}
