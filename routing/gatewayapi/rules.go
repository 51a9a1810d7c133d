package gatewayapi

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing"
)

// A ruleSource is a rule of any kind of route: what the others can say of
// filters and backends, an HTTPRoute can too.
type ruleSource struct {
	name     *gatewayv1.SectionName
	matches  func(b *ruleBuilder, field string) ([]routing.Match, bool)
	filters  []gatewayv1.HTTPRouteFilter
	backends []gatewayv1.HTTPBackendRef
	timeouts *gatewayv1.HTTPRouteTimeouts
	retry    *gatewayv1.HTTPRouteRetry
	session  *gatewayv1.SessionPersistence
}

// rulesID is the cell of a route's rules. A TLSRoute has others at listeners
// that pass TLS through.
func rulesID(route cellID, passthrough bool) cellID {
	id := cellID{Kind: rulesCell, NS: route.NS, Name: route.Name, Part: route.Part}
	if passthrough {
		id.Part += string(tlsUse)
	}
	return id
}

// rules translates the rules of a route.
func (t *Translator) rules(r *reading) outcome {
	kind, _, passthrough := strings.Cut(r.ID.Part, string(tlsUse))
	sources := r.ruleSources(kind)
	if sources == nil {
		return outcome{}
	}
	b := &ruleBuilder{r: r, kind: kind, use: uses[kind], failure: http.StatusInternalServerError, refusal: "answers 500"}
	if passthrough {
		b.use = tlsUse
	}
	switch {
	case kind == "GRPCRoute":
		// GRPCRouteRule.backendRefs wants UNAVAILABLE, which is what gRPC
		// makes of a 503.
		b.failure, b.refusal = http.StatusServiceUnavailable, "answers 503"
	case b.use.isStream():
		b.refusal = "refuses all"
	}
	b.set.use, b.set.resolved = b.use, yes(string(gatewayv1.RouteReasonResolvedRefs))
	for i := range sources {
		b.rule(i, &sources[i])
	}
	set := b.set // the builder is not kept
	return outcome{Value: &set}
}

// ruleSources reads the rules of a route; nil where there is no such route.
func (r *reading) ruleSources(kind string) []ruleSource {
	switch kind {
	case "HTTPRoute":
		if o := object[gatewayv1.HTTPRoute](r, kind, r.ID.NS, r.ID.Name); o != nil {
			return httpRules(o.Spec.Rules)
		}
	case "GRPCRoute":
		if o := object[gatewayv1.GRPCRoute](r, kind, r.ID.NS, r.ID.Name); o != nil {
			return grpcRules(o.Spec.Rules)
		}
	case "TLSRoute":
		if o := object[gatewayv1.TLSRoute](r, kind, r.ID.NS, r.ID.Name); o != nil {
			return streamRules(o.Spec.Rules)
		}
	case "TCPRoute":
		if o := object[gatewayv1.TCPRoute](r, kind, r.ID.NS, r.ID.Name); o != nil {
			return streamRules(o.Spec.Rules)
		}
	case "UDPRoute":
		if o := object[gatewayv1.UDPRoute](r, kind, r.ID.NS, r.ID.Name); o != nil {
			return streamRules(o.Spec.Rules)
		}
	}
	return nil
}

// A ruleBuilder translates rules, and notes what is wrong with them.
type ruleBuilder struct {
	r       *reading
	kind    string // of the route
	use     use
	failure int    // the status of what cannot be served
	refusal string // what a rule does that cannot be served
	set     ruleSet

	// Of the rule at hand.
	index   int
	prefix  bool                          // all its matches are by path prefix
	share   bool                          // what is at hand is of a backendRef
	session *gatewayv1.SessionPersistence // of the first of its Services for which a policy wants one
	flaws   []string
	reason  gatewayv1.RouteConditionReason // of the first flaw
}

func (b *ruleBuilder) rule(i int, src *ruleSource) {
	field := "spec.rules[" + itoa(i) + "]"
	b.index, b.session, b.flaws, b.reason = i, nil, nil, ""
	matches, ok := src.matches(b, field)
	if !ok {
		b.conclude("")
		return
	}
	b.prefix = !slices.ContainsFunc(matches, func(m routing.Match) bool { return m.Path.Kind != routing.PathPrefix })
	rule := routing.Rule{
		Name:    string(or(src.name, "")),
		Origin:  b.origin(field),
		Matches: matches,
	}
	action, ok := b.action(field, src)
	if !ok {
		action = routing.Action{Status: b.failure}
	}
	rule.Action = action
	rule.Action.Policies = b.r.limitsOn(b.kind, b.r.ID.NS, b.r.ID.Name, rule.Name)
	rule.Action.Session = b.sessionFor(&rule, src.session)
	b.set.rules = append(b.set.rules, rule)
	if ok {
		b.set.sound++
		b.conclude("in part")
	} else {
		b.conclude(b.refusal)
	}
}

// conclude turns the flaws of the rule at hand into one of the route's.
func (b *ruleBuilder) conclude(effect string) {
	if len(b.flaws) == 0 {
		return
	}
	text := "rules[" + itoa(b.index) + "]"
	if effect != "" {
		text += " (" + effect + ")"
	}
	b.set.flaws = append(b.set.flaws, flaw{b.reason, text + ": " + strings.Join(b.flaws, ", ")})
}

func (b *ruleBuilder) origin(field string) routing.Origin {
	return routing.Origin{Kind: b.kind, Namespace: b.r.ID.NS, Name: b.r.ID.Name, Field: field}
}

func (b *ruleBuilder) problem(field, reason, message string) {
	b.set.problems = append(b.set.problems, &routing.Problem{
		Origin: b.origin(field), Reason: routing.Reason(reason), Err: errors.New(message),
	})
}

// flaw notes something that the rule at hand says and that cannot be done.
func (b *ruleBuilder) flaw(field string, reason gatewayv1.RouteConditionReason, format string, args ...any) {
	message := fmt.Sprintf(format, args...)
	b.note(reason, message)
	b.problem(field, string(reason), message)
}

func (b *ruleBuilder) note(reason gatewayv1.RouteConditionReason, message string) {
	if b.reason == "" {
		b.reason = reason
	}
	b.flaws = append(b.flaws, message)
}

func (b *ruleBuilder) unsupported(field, format string, args ...any) {
	b.flaw(field, gatewayv1.RouteReasonUnsupportedValue, format, args...)
}

// unresolved notes a reference that leads nowhere.
func (b *ruleBuilder) unresolved(field string, reason routing.Reason, message string) {
	v := no(string(reason), "%s", message)
	if b.set.resolved.ok() {
		b.set.resolved = v
	} else if !strings.Contains(b.set.resolved.message, message) {
		b.set.resolved.message += "; " + message
	}
	b.problem(field, string(reason), message)
}

// action translates all of a rule but its matches and its session. It reports
// whether the rule can do what it says.
func (b *ruleBuilder) action(field string, src *ruleSource) (routing.Action, bool) {
	f, ok := b.filters(field+".filters", src.filters)
	a := routing.Action{
		Redirect: f.redirect,
		Request:  f.request,
		Response: f.response,
		Rewrite:  f.rewrite,
		Mirrors:  f.mirrors,
		CORS:     f.cors,
		Auth:     f.auth,
	}
	ok = b.timeouts(field+".timeouts", src.timeouts, &a.Timeouts) && ok
	ok = b.retry(field+".retry", src.retry, &a) && ok
	ok = b.checkSession(field+".sessionPersistence", src.session) && ok
	backends, total := b.backends(field+".backendRefs", src.backends)
	switch {
	case f.unasked:
		a = routing.Action{Status: b.failure}
	case a.Redirect != nil && len(src.backends) > 0:
		b.flaw(field+".backendRefs", gatewayv1.RouteReasonIncompatibleFilters, "backendRefs beside a RequestRedirect: want one of them")
		ok = false
	case a.Redirect != nil:
	case total == 0:
		a.Status = b.failure
	default:
		a.Backends = backends
	}
	return a, ok
}

// backends translates backendRefs, and sums up their weights.
func (b *ruleBuilder) backends(field string, refs []gatewayv1.HTTPBackendRef) (list []routing.Backend, total uint64) {
	for i := range refs {
		ref, at := &refs[i], field+"["+itoa(i)+"]"
		weight := or(ref.Weight, 1)
		if weight < 0 {
			b.unsupported(at+".weight", "weight %d: want 0 or more", weight)
			weight = 0
		}
		out := routing.Backend{Weight: uint32(weight), Origin: b.origin(at)}
		total += uint64(weight)
		b.share = true
		f, ok := b.filters(at+".filters", ref.Filters)
		b.share = false
		out.Request, out.Response, out.Rewrite = f.request, f.response, f.rewrite
		out.Redirect, out.Mirrors, out.CORS = f.redirect, f.mirrors, f.cors
		to, found := b.cluster(at, &ref.BackendObjectReference)
		switch {
		case !ok:
			out = routing.Backend{Weight: out.Weight, Origin: out.Origin, Status: b.failure,
				Reason: routing.Reason(gatewayv1.RouteReasonUnsupportedValue)}
		case !found:
			out.Status, out.Reason = b.failure, to.reason
		default:
			out.Cluster = clusterName(to.cluster)
			b.session = cmp.Or(b.session, to.session)
		}
		list = append(list, out)
	}
	return list, total
}

// cluster finds what a reference leads to, and notes what the route uses.
func (b *ruleBuilder) cluster(field string, ref *gatewayv1.BackendObjectReference) (resolution, bool) {
	return b.clusterFor(b.use, field, ref)
}

// clusterFor is cluster for who speaks otherwise than the route does.
func (b *ruleBuilder) clusterFor(as use, field string, ref *gatewayv1.BackendObjectReference) (resolution, bool) {
	to := b.r.resolve(b.kind, as, ref)
	if or(ref.Group, "") == "" && or(ref.Kind, "Service") == "Service" {
		service := parentName{string(or(ref.Namespace, gatewayv1.Namespace(b.r.ID.NS))), string(ref.Name)}
		if !slices.Contains(b.set.services, service) {
			b.set.services = append(b.set.services, service)
		}
	}
	if to.reason != "" {
		b.unresolved(field, to.reason, to.message)
		return to, false
	}
	if !slices.Contains(b.set.clusters, to.cluster) {
		b.set.clusters = append(b.set.clusters, to.cluster)
		if to.secure {
			b.set.secure = append(b.set.secure, to.cluster)
		}
	}
	return to, true
}

func (b *ruleBuilder) timeouts(field string, t *gatewayv1.HTTPRouteTimeouts, to *routing.Timeouts) bool {
	if t == nil {
		return true
	}
	ok := true
	if t.Request != nil {
		d, err := parseDuration(*t.Request)
		if err != nil {
			b.unsupported(field+".request", "%v", err)
			ok = false
		}
		to.Request = orNone(d)
	}
	if t.BackendRequest != nil {
		d, err := parseDuration(*t.BackendRequest)
		if err != nil {
			b.unsupported(field+".backendRequest", "%v", err)
			ok = false
		}
		to.Backend = orNone(d)
	}
	if ok && to.Request > 0 && to.Backend > to.Request {
		b.unsupported(field+".backendRequest", "%s is longer than the request's %s", *t.BackendRequest, *t.Request)
		ok = false
	}
	return ok
}

func (b *ruleBuilder) retry(field string, r *gatewayv1.HTTPRouteRetry, to *routing.Action) bool {
	if r == nil {
		return true
	}
	ok := true
	out := &routing.Retry{Attempts: or(r.Attempts, 1)}
	if out.Attempts < 0 {
		b.unsupported(field+".attempts", "%d attempts: want 0 or more", out.Attempts)
		ok = false
	}
	for i, code := range r.Codes {
		if code < 400 || code > 599 {
			b.unsupported(field+".codes["+itoa(i)+"]", "code %d: want 400-599", code)
			ok = false
		}
		out.Codes = append(out.Codes, int(code))
	}
	if r.Backoff != nil {
		d, err := parseDuration(*r.Backoff)
		if err != nil {
			b.unsupported(field+".backoff", "%v", err)
			ok = false
		}
		out.Backoff = d
	}
	to.Retry = out
	return ok
}

func itoa(n int) string { return strconv.Itoa(n) }
