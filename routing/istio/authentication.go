package istio

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	securityv1beta1 "istio.io/api/security/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"

	"fairway.dev/routing"
	"fairway.dev/routing/analysis"
	"fairway.dev/routing/dialect"
)

// Cells of RequestAuthentication.
const (
	authenticationsIn        = dialect.Bags + authenticationKinds     // of a namespace
	authenticationCell       = dialect.Parsed + authenticationKinds   // what one says
	authenticationReportCell = dialect.Verdicts + authenticationKinds // RequestAuthentication
)

func (j *joint) joinAuthentication(s *dialect.Sheet) {
	j.define(s, authenticationCell, j.authentication)
	j.define(s, authenticationReportCell, j.reportAuthentication)
	s.Plant(KindAuthentication, func(k routing.ObjectKey) []dialect.ID {
		return []dialect.ID{cellOf(authenticationCell, k), cellOf(authenticationReportCell, k)}
	})
}

// An authentication is what a RequestAuthentication says.
type authentication struct {
	reach
	rules []routing.JWTRule
	found complaints
}

// authentication parses a RequestAuthentication.
func (j *joint) authentication(r *reading) dialect.Outcome {
	o := object[securityv1.RequestAuthentication](r, KindAuthentication, r.ID.NS, r.ID.Name)
	if o == nil {
		return dialect.Outcome{Gone: true}
	}
	a := &authentication{}
	a.found.take(analysis.Validate(o))
	a.reach = j.reachOf(o, &o.Spec, &a.found)
	a.selectsAll = true
	of := routing.Origin{Kind: KindAuthentication, Namespace: r.ID.NS, Name: r.ID.Name}
	for i, rule := range o.Spec.GetJwtRules() {
		at := field("spec.jwtRules", i)
		out := jwtRule(rule)
		if a.found.refuses(at) {
			out.Keys, out.URL = []byte(noKeys), ""
		}
		out.Origin = of.At(at)
		a.rules = append(a.rules, out)
	}
	return dialect.Outcome{Value: a, Gifts: []dialect.Gift{{To: dialect.ID{Kind: authenticationsIn, NS: r.ID.NS}, Item: r.ID.Name}}}
}

// noKeys is a key set in which no key is: what it is to prove does not hold.
const noKeys = `{"keys":[]}`

// jwtRule translates a rule. One that is not in order stays, and no token holds
// by it: without it, tokens of its issuer would not be looked at.
func jwtRule(rule *securityv1beta1.JWTRule) routing.JWTRule {
	out := routing.JWTRule{
		Issuer: rule.GetIssuer(), Audiences: rule.GetAudiences(), Keys: []byte(rule.GetJwks()), URL: rule.GetJwksUri(),
		Params: rule.GetFromParams(), Cookies: rule.GetFromCookies(), Keep: rule.GetForwardOriginalToken(),
		PayloadHeader: strings.ToLower(rule.GetOutputPayloadToHeader()), Spaced: rule.GetSpaceDelimitedClaims(),
		Timeout: rule.GetTimeout().AsDuration(),
	}
	if len(out.Keys) == 0 {
		out.Keys = nil
	}
	for _, h := range rule.GetFromHeaders() {
		out.Headers = append(out.Headers, routing.Header{Name: strings.ToLower(h.GetName()), Value: h.GetPrefix()})
	}
	for _, c := range rule.GetOutputClaimToHeaders() {
		out.Claims = append(out.Claims, routing.ClaimHeader{Header: strings.ToLower(c.GetHeader()), Claim: c.GetClaim()})
	}
	return out
}

// prove gives a listener the rules of all policies about its post.
func (r *reading) prove(p post, l *routing.Listener) {
	if l.Protocol != routing.HTTP && l.Protocol != routing.HTTPS {
		return
	}
	for _, a := range policiesOn[*authentication](r, authenticationsIn, authenticationCell, p) {
		l.JWT = append(l.JWT, a.rules...)
	}
}

// reportAuthentication reports a RequestAuthentication.
func (j *joint) reportAuthentication(r *reading) dialect.Outcome {
	o := object[securityv1.RequestAuthentication](r, KindAuthentication, r.ID.NS, r.ID.Name)
	a, _ := r.Value(dialect.ID{Kind: authenticationCell, NS: r.ID.NS, Name: r.ID.Name}).(*authentication)
	if o == nil || a == nil {
		return dialect.Outcome{Gone: true}
	}
	found := slices.Clone(a.found)
	r.checkEnforced(&a.reach, &found)
	return dialect.Outcome{Report: reportPolicy(KindAuthentication, o, found)}
}

// reportPolicy reports a policy, of which what was found is all that is wrong.
func reportPolicy(kind string, o metav1.Object, found complaints) *dialect.Report {
	report := &dialect.Report{Object: routing.ObjectKey{Kind: kind, Namespace: o.GetNamespace(), Name: o.GetName()}}
	found.report(report)
	accepted := metav1.Condition{Type: "Accepted", Status: metav1.ConditionTrue, Reason: "Accepted", ObservedGeneration: o.GetGeneration()}
	if worst, bad := found.worst(); bad {
		accepted.Reason, accepted.Message = worst.reason, worst.text
	}
	report.Conditions = []metav1.Condition{accepted}
	return report
}
