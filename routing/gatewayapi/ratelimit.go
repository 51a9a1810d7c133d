package gatewayapi

import (
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing"
	"fairway.dev/routing/dialect"
	"fairway.dev/routing/v1alpha1"
)

// kindRateLimit is the kind of our policies about how often.
const kindRateLimit = "RateLimitPolicy"

// limitKinds is the first number of a stage for RateLimitPolicies.
const limitKinds cellKind = 96

const (
	limitsAt           = dialect.Bags + limitKinds     // of what policies target: limitTargets
	rateLimitCell      = dialect.Parsed + limitKinds   // RateLimitPolicy: what it asks for
	rateLimitPartCell  = dialect.Backends + limitKinds // and what comes of that
	rateLimitStateCell = dialect.Verdicts + limitKinds // its report
)

// A rateLimitPolicy is what a RateLimitPolicy asks for.
type rateLimitPolicy struct {
	generation int64
	targets    []limitTarget
	// limit is without the store. If the policy is not valid it has no rules, and
	// so nothing is counted.
	limit    *routing.RateLimit
	store    *gatewayv1.BackendObjectReference // nil: each pod counts for itself
	use      use                               // of store
	accepted verdict
	problems []note
}

// A limitTarget is an object of the policy's namespace, or a part of it.
type limitTarget struct{ field, kind, name, section string }

// A limit is a policy on something, or on its part section alone.
type limit struct{ policy, section string }

// limitable are what policies can target, by their groups.
var limitable = map[gatewayv1.Kind]gatewayv1.Group{
	"Gateway": gatewayv1.GroupName, "HTTPRoute": gatewayv1.GroupName, "GRPCRoute": gatewayv1.GroupName, "Service": "",
}

// rateLimit reads a RateLimitPolicy.
func (t *Translator) rateLimit(r *reading) outcome {
	o := object[v1alpha1.RateLimitPolicy](r, kindRateLimit, r.ID.NS, r.ID.Name)
	if o == nil {
		return outcome{Gone: true}
	}
	p := &rateLimitPolicy{generation: o.Generation, limit: &routing.RateLimit{FailClosed: or(o.Spec.FailClosed, false)}, accepted: yes(string(gatewayv1.PolicyReasonAccepted))}
	out := outcome{Value: p}
	for i, ref := range o.Spec.TargetRefs {
		field := fmt.Sprintf("spec.targetRefs[%d]", i)
		if group, ok := limitable[ref.Kind]; !ok || group != ref.Group {
			p.problems = append(p.problems, no(string(gatewayv1.PolicyReasonTargetNotFound),
				"%s %s: want a Gateway, a Service, an HTTPRoute or a GRPCRoute", printKind(ref.Group, ref.Kind), ref.Name).at(field))
			continue
		}
		target := limitTarget{field, string(ref.Kind), string(ref.Name), string(or(ref.SectionName, ""))}
		p.targets = append(p.targets, target)
		g := gift{To: target.bag(r.ID.NS), Item: limit{r.ID.Name, target.section}}
		if !slices.Contains(out.Gifts, g) {
			out.Gifts = append(out.Gifts, g)
		}
	}
	for i := range o.Spec.Rules {
		p.limit.Rules = append(p.limit.Rules, p.rule(r, fmt.Sprintf("spec.rules[%d]", i), &o.Spec.Rules[i]))
	}
	p.share(o.Spec.Shared)
	if err := p.limit.Check(); err != nil && p.accepted.ok() {
		p.reject("spec", "%v", err)
	}
	if !p.accepted.ok() {
		p.limit.Rules, p.limit.Shared = nil, nil
	}
	return out
}

func (at *limitTarget) bag(ns string) cellID {
	return cellID{Kind: limitsAt, NS: ns, Name: at.name, Part: at.kind}
}

// reject notes what is not valid. Then nothing of the policy is in force.
func (p *rateLimitPolicy) reject(field, format string, args ...any) {
	v := no(string(gatewayv1.PolicyReasonInvalid), format, args...)
	if p.accepted.ok() {
		p.accepted = v
	}
	p.problems = append(p.problems, v.at(field))
}

// share reads where counts are kept.
func (p *rateLimitPolicy) share(s *v1alpha1.SharedRateLimit) {
	if s == nil {
		return
	}
	// Which cluster it is, the part says.
	p.limit.Shared = &routing.SharedLimit{Cluster: "yet to be found", Redis: s.Redis != nil}
	switch {
	case (s.Redis == nil) == (s.Service == nil):
		p.reject("spec.shared", "want one of redis and service")
	case s.Redis != nil:
		p.store, p.use = &s.Redis.BackendRef, tcpUse
	default:
		p.store, p.use = &s.Service.BackendRef, grpcUse
		p.limit.Shared.Domain = s.Service.Domain
	}
	if s.Timeout != nil {
		d, err := parseDuration(*s.Timeout)
		if err != nil {
			p.reject("spec.shared.timeout", "%v", err)
		}
		p.limit.Shared.Timeout = d
	}
}

// rule reads a rule. Its numbers are for routing to check, its matches are read as
// an HTTPRoute's are.
func (p *rateLimitPolicy) rule(r *reading, field string, spec *v1alpha1.RateLimitRule) routing.RateLimitRule {
	out := routing.RateLimitRule{Name: or(spec.Name, ""), Requests: uint32(max(spec.Requests, 0)), Burst: uint32(max(or(spec.Burst, 0), 0)), By: spec.By}
	d, err := parseDuration(spec.Per)
	if err != nil {
		p.reject(field+".per", "%v", err)
		d = time.Second
	}
	out.Per = d
	b := &ruleBuilder{r: r, kind: kindRateLimit}
	for i := range spec.Matches {
		m, _ := b.httpMatch(fmt.Sprintf("%s.matches[%d]", field, i), &spec.Matches[i])
		out.Matches = append(out.Matches, m)
	}
	for _, problem := range b.set.problems {
		p.reject(problem.Origin.Field, "%v", problem.Err)
	}
	return out
}

// A rateLimitPart is what comes of a policy's store.
type rateLimitPart struct {
	resolved verdict
	problem  note // where it is not ok
}

// rateLimitPart makes the part of a RateLimitPolicy. Where its store is not to be
// had nothing is counted.
func (t *Translator) rateLimitPart(r *reading) outcome {
	o := object[v1alpha1.RateLimitPolicy](r, kindRateLimit, r.ID.NS, r.ID.Name)
	p, _ := r.Value(cellID{Kind: rateLimitCell, NS: r.ID.NS, Name: r.ID.Name}).(*rateLimitPolicy)
	if o == nil || p == nil {
		return outcome{Gone: true}
	}
	part := rateLimitPart{resolved: yes(string(gatewayv1.RouteReasonResolvedRefs))}
	limit := *p.limit
	if p.store != nil && limit.Shared != nil {
		res := r.resolve(kindRateLimit, p.use, p.store)
		if res.reason == "" {
			r.Value(res.cluster) // there as long as the policy is
			shared := *limit.Shared
			shared.Cluster = clusterName(res.cluster)
			limit.Shared = &shared
		} else {
			limit.Rules, limit.Shared = nil, nil
			part.resolved = no(string(res.reason), "%s", res.message)
			field := "spec.shared.redis.backendRef"
			if p.use == grpcUse {
				field = "spec.shared.service.backendRef"
			}
			part.problem = part.resolved.at(field)
		}
	}
	return outcome{Value: part, Parts: []any{&routing.Policy{
		Name: limitName(r.ID.NS, r.ID.Name), Origin: newReport(kindRateLimit, o).Object.Origin(), RateLimit: &limit,
	}}}
}

func limitName(ns, name string) routing.PolicyName {
	return routing.PolicyName(kindRateLimit + "/" + ns + "/" + name)
}

// limitsOn returns the policies on an object, and on its parts that are named, in
// the order of their names.
func (r *reading) limitsOn(kind, ns, name string, sections ...string) (list []routing.PolicyName) {
	at := limitTarget{kind: kind, name: name}
	for item := range r.Bag(at.bag(ns)) {
		l := item.(limit)
		if policy := limitName(ns, l.policy); (l.section == "" || slices.Contains(sections, l.section)) && !slices.Contains(list, policy) {
			list = append(list, policy)
		}
	}
	slices.Sort(list)
	return list
}

// limitListener has the limits of its Gateway on a listener of requests. section
// is its name, where it is the Gateway's own.
func (r *reading) limitListener(l *routing.Listener, gw parentName, section string) {
	if l.Protocol == routing.HTTP || l.Protocol == routing.HTTPS {
		l.Policies = append(l.Policies, r.limitsOn("Gateway", gw.ns, gw.name, section)...)
	}
}

// limitDoor has the limits of the waypoint and of the Service on a door at which
// policy is enforced.
func (r *reading) limitDoor(l *routing.Listener, d *Door, gw parentName) {
	if !d.Own || l.Protocol != routing.HTTP {
		return
	}
	r.limitListener(l, gw, "")
	if d.Kind == "Service" {
		l.Policies = append(l.Policies, r.limitsOn(d.Kind, d.Namespace, d.Name, d.PortName)...)
	}
}

// rateLimitState reports a RateLimitPolicy to each Gateway of ours that enforces
// it.
func (t *Translator) rateLimitState(r *reading) outcome {
	o := object[v1alpha1.RateLimitPolicy](r, kindRateLimit, r.ID.NS, r.ID.Name)
	p, _ := r.Value(cellID{Kind: rateLimitCell, NS: r.ID.NS, Name: r.ID.Name}).(*rateLimitPolicy)
	part, _ := r.Value(cellID{Kind: rateLimitPartCell, NS: r.ID.NS, Name: r.ID.Name}).(rateLimitPart)
	if o == nil || p == nil {
		return outcome{Gone: true}
	}
	report := newReport(kindRateLimit, o)
	reportNotes(report, p.problems)
	if !part.resolved.ok() {
		reportNotes(report, []note{part.problem})
	}
	states := map[parentName]verdict{}
	for i := range p.targets {
		at := &p.targets[i]
		gateways, v := r.limited(at)
		if !v.ok() {
			reportNotes(report, []note{v.at(at.field)})
		}
		for _, gw := range gateways {
			if best, ok := states[gw]; !ok || !best.ok() {
				states[gw] = v
			}
		}
	}
	report.Ancestors = t.ancestors(p.generation, states, func(v verdict) []metav1.Condition {
		if !p.accepted.ok() {
			v = p.accepted
		}
		return []metav1.Condition{v.as("Accepted"), part.resolved.as("ResolvedRefs")}
	})
	return outcome{Report: report}
}

// limited returns the Gateways of ours at which a policy of the cell's namespace is
// enforced for a target, and whether it is as its author meant.
func (r *reading) limited(at *limitTarget) ([]parentName, verdict) {
	switch at.kind {
	case "Gateway":
		return r.limitedGateway(at)
	case "Service":
		return r.limitedService(at)
	}
	return r.limitedRoute(at)
}

func (at *limitTarget) notFound(ns string) verdict {
	return no(string(gatewayv1.PolicyReasonTargetNotFound), "%s %s/%s: not found", at.kind, ns, at.name)
}

func (r *reading) limitedGateway(at *limitTarget) ([]parentName, verdict) {
	accepted := yes(string(gatewayv1.PolicyReasonAccepted))
	gw := parentName{r.ID.NS, at.name}
	f := r.frame(gw)
	switch {
	case f == nil:
		return nil, at.notFound(r.ID.NS)
	case !f.ours:
		return nil, accepted // another controller's affair
	case at.section == "":
		return []parentName{gw}, accepted
	}
	o := r.roster(holder{"Gateway", gw.ns, gw.name})
	if o == nil || !slices.ContainsFunc(o.listeners, func(l *listener) bool { return string(l.name) == at.section }) {
		accepted = no(string(gatewayv1.PolicyReasonTargetNotFound), "Gateway %s: no listener %s", gw, at.section)
	}
	return []parentName{gw}, accepted
}

func (r *reading) limitedService(at *limitTarget) (list []parentName, v verdict) {
	v = r.found(policyTarget{at.field, at.name, at.section})
	if !v.ok() {
		return nil, v
	}
	for _, d := range DoorsOf(r.Reading, r.ID.NS, at.name) {
		ns, name, _ := strings.Cut(d.Gateway, "/")
		if gw := (parentName{ns, name}); d.Own && !slices.Contains(list, gw) {
			list = append(list, gw)
		}
	}
	if len(list) == 0 {
		v = no(reasonNotEnrolled, "Service %s/%s has no waypoint of ours that would enforce it: want one, or the Gateway or the routes as targets", r.ID.NS, at.name)
	}
	return list, v
}

func (r *reading) limitedRoute(at *limitTarget) (list []parentName, v verdict) {
	o := r.Get(routing.ObjectKey{Kind: at.kind, Namespace: r.ID.NS, Name: at.name})
	if routeOf(o) == nil {
		return nil, at.notFound(r.ID.NS)
	}
	v = yes(string(gatewayv1.PolicyReasonAccepted))
	if at.section != "" && !slices.Contains(ruleNames(o), at.section) {
		v = no(string(gatewayv1.PolicyReasonTargetNotFound), "%s %s/%s: no rule %s", at.kind, r.ID.NS, at.name, at.section)
	}
	a, _ := r.Value(cellID{Kind: attachCell, NS: r.ID.NS, Name: at.name, Part: at.kind}).(*attachment)
	if a == nil {
		return nil, v
	}
	for i := range a.parents {
		if p := &a.parents[i]; p.absent == "" && p.gateway != (parentName{}) && !slices.Contains(list, p.gateway) {
			list = append(list, p.gateway)
		}
	}
	return list, v
}

// ruleNames returns the names that a route's rules have.
func ruleNames(route any) (names []string) {
	switch o := route.(type) {
	case *gatewayv1.HTTPRoute:
		for _, rule := range o.Spec.Rules {
			names = append(names, string(or(rule.Name, "")))
		}
	case *gatewayv1.GRPCRoute:
		for _, rule := range o.Spec.Rules {
			names = append(names, string(or(rule.Name, "")))
		}
	}
	return names
}
