package istio

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	securityv1beta1 "istio.io/api/security/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"

	"fairway.dev/routing"
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
	a.reach = reachOf(o, &o.Spec, &a.found)
	of := routing.Origin{Kind: KindAuthentication, Namespace: r.ID.NS, Name: r.ID.Name}
	for i, rule := range o.Spec.GetJwtRules() {
		at := field("spec.jwtRules", i)
		out := jwtRule(rule, at, &a.found)
		out.Origin = of.At(at)
		a.rules = append(a.rules, out)
	}
	return dialect.Outcome{Value: a, Gifts: []dialect.Gift{{To: dialect.ID{Kind: authenticationsIn, NS: r.ID.NS}, Item: r.ID.Name}}}
}

// noKeys is a key set in which no key is: what it is to prove does not hold.
const noKeys = `{"keys":[]}`

// jwtRule translates a rule. One that is not in order stays, and no token holds
// by it: without it, tokens of its issuer would not be looked at.
func jwtRule(rule *securityv1beta1.JWTRule, at string, found *complaints) routing.JWTRule {
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
	if name, err := checkJWT(&out); err != nil {
		found.wrong(at+"."+name, reasonInvalidValue, "correct it: until then no token of the issuer holds", "%v", err)
		out.Keys, out.URL = []byte(noKeys), ""
	}
	return out
}

// checkJWT says what keeps a rule from proving anything, and in which field.
func checkJWT(rule *routing.JWTRule) (field string, err error) {
	switch {
	case rule.Issuer == "":
		return "issuer", fmt.Errorf("no issuer: want one")
	case rule.Timeout < 0:
		return "timeout", fmt.Errorf("timeout %s: want no negative time", rule.Timeout)
	}
	if rule.Keys != nil {
		var set struct {
			Keys []json.RawMessage `json:"keys"`
		}
		if err := json.Unmarshal(rule.Keys, &set); err != nil || set.Keys == nil {
			return "jwks", fmt.Errorf("not a JSON Web Key Set (RFC 7517 section 5)")
		}
	}
	if rule.URL != "" {
		if u, err := url.Parse(rule.URL); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
			return "jwksUri", fmt.Errorf("%q: want a URL of http or https", rule.URL)
		}
	}
	return "", nil
}

// prove gives a listener of a fleet the rules of all policies about it.
func (j *joint) prove(r *reading, at fleetName, labels map[string]string, l *routing.Listener) {
	if l.Protocol != routing.HTTP && l.Protocol != routing.HTTPS {
		return
	}
	for _, a := range policiesOn[*authentication](r, authenticationsIn, authenticationCell, at, labels) {
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
	return dialect.Outcome{Report: reportPolicy(KindAuthentication, o, slices.Clone(a.found))}
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
