package istio

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	security "istio.io/api/security/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairway.dev/routing"
	"fairway.dev/routing/analysis"
	"fairway.dev/routing/dialect"
)

// Bags and cells of AuthorizationPolicies, and of what policies of all kinds need.
const (
	authorizationsIn = dialect.Bags + authorizationKinds + iota // of a namespace
	calleesIn                                                   // of a namespace: what can be called
)

// What is read of objects by themselves.
const (
	authorizationCell      = dialect.Parsed + authorizationKinds + iota // what one says
	authorizationReachCell                                              // what it is about
	classCell                                                           // of a Gateway of Gateway API
	serviceNameCell                                                     // Service: it is there
)

// What becomes of AuthorizationPolicies.
const (
	authorizationPolicyCell = dialect.Listeners + authorizationKinds // its part of the Spec
	authorizationReportCell = dialect.Verdicts + authorizationKinds  // its report
)

// dryRun is the annotation that has a policy only tell what it would do.
const dryRun = "istio.io/dry-run"

func (j *joint) joinAuthorization(s *dialect.Sheet) {
	j.define(s, authorizationCell, j.authorization)
	j.define(s, authorizationReachCell, authorizationReach)
	j.define(s, classCell, gatewayClass)
	j.define(s, serviceNameCell, serviceName)
	j.define(s, authorizationPolicyCell, j.authorizationPolicy)
	j.define(s, authorizationReportCell, j.reportAuthorization)
	s.Plant(KindAuthorization, func(k routing.ObjectKey) []dialect.ID {
		return []dialect.ID{cellOf(authorizationCell, k), cellOf(authorizationPolicyCell, k), cellOf(authorizationReportCell, k)}
	})
	s.Plant("Service", func(k routing.ObjectKey) []dialect.ID { return []dialect.ID{cellOf(serviceNameCell, k)} })
}

// An authorization is what an AuthorizationPolicy says.
type authorization struct {
	reach
	routing.Authorization
	provider string // who is asked, of CUSTOM
	found    complaints
}

// authorization parses an AuthorizationPolicy. What cannot be had as it is written
// makes it broken, so that it refuses all: a rule that is left out would let
// somebody in, or keep out who should not be.
func (j *joint) authorization(r *reading) dialect.Outcome {
	o := object[securityv1.AuthorizationPolicy](r, KindAuthorization, r.ID.NS, r.ID.Name)
	if o == nil {
		return dialect.Outcome{Gone: true}
	}
	a := &authorization{provider: o.Spec.GetProvider().GetName()}
	a.found.take(analysis.Validate(o))
	a.reach = j.reachOf(o, &o.Spec, &a.found)
	a.selectsAll = true
	a.Action = routing.AuthorizationAction(o.Spec.Action.String())
	if a.Broken = a.found.broken(); a.Broken == "" {
		for _, rule := range o.Spec.Rules {
			a.Rules = append(a.Rules, authorizationRule(rule, r.ID.NS))
		}
	} else if security.AuthorizationPolicy_Action_name[int32(o.Spec.Action)] == "" {
		a.Action = routing.Deny
	}
	tried, _ := strconv.ParseBool(o.Annotations[dryRun])
	a.DryRun = tried && (a.Action == routing.Allow || a.Action == routing.Deny)
	return dialect.Outcome{Value: a, Gifts: []dialect.Gift{{To: dialect.ID{Kind: authorizationsIn, NS: r.ID.NS}, Item: r.ID.Name}}}
}

// broken says what makes a policy refuse all that it is about; empty: nothing
// does. Without a rule it holds for nothing, whatever its author wanted; and
// a target that cannot be makes no difference to the others.
func (c complaints) broken() string {
	for _, n := range c {
		about := strings.HasPrefix(n.field, "spec.targetRef") || strings.HasPrefix(n.field, "spec.selector")
		if n.level == routing.Error && !about && n.field != "spec.rules" {
			return n.field + ": " + n.text
		}
	}
	return ""
}

// authorizationReach tells what a policy is about: all that doors read of it, so
// that what else is edited in it touches no door.
func authorizationReach(r *reading) dialect.Outcome {
	a, _ := r.Value(dialect.ID{Kind: authorizationCell, NS: r.ID.NS, Name: r.ID.Name}).(*authorization)
	if a == nil {
		return dialect.Outcome{Value: (*reach)(nil)}
	}
	return dialect.Outcome{Value: &a.reach}
}

// authorize names on a listener all policies about its post. They add to each
// other, and none replaces another.
func (r *reading) authorize(p post, l *routing.Listener) {
	for _, s := range policiesOn[*reach](r, authorizationsIn, authorizationReachCell, p) {
		l.Policies = append(l.Policies, policyName(KindAuthorization, s.ns, s.name))
	}
	slices.Sort(l.Policies)
}

func policyName(kind, ns, name string) routing.PolicyName {
	return routing.PolicyName(kind + "/" + ns + "/" + name)
}

// authorizationPolicy makes the policy's part of the Spec. It is there wherever
// the policy is in force, and where it is in force nowhere: a listener that names
// one that is not there lets nobody in.
func (j *joint) authorizationPolicy(r *reading) dialect.Outcome {
	a, _ := r.Value(dialect.ID{Kind: authorizationCell, NS: r.ID.NS, Name: r.ID.Name}).(*authorization)
	if a == nil {
		return dialect.Outcome{Gone: true}
	}
	out := a.Authorization
	if out.Action == routing.Custom && out.Broken == "" {
		out.External, _ = r.external(a.provider)
	}
	return dialect.Outcome{Parts: []any{&routing.Policy{
		Name:          policyName(KindAuthorization, r.ID.NS, r.ID.Name),
		Origin:        routing.Origin{Kind: KindAuthorization, Namespace: r.ID.NS, Name: r.ID.Name},
		Authorization: &out,
	}}}
}

// reportAuthorization reports an AuthorizationPolicy.
func (j *joint) reportAuthorization(r *reading) dialect.Outcome {
	o := object[securityv1.AuthorizationPolicy](r, KindAuthorization, r.ID.NS, r.ID.Name)
	a, _ := r.Value(dialect.ID{Kind: authorizationCell, NS: r.ID.NS, Name: r.ID.Name}).(*authorization)
	if o == nil || a == nil {
		return dialect.Outcome{Gone: true}
	}
	found := slices.Clone(a.found)
	if a.Action == routing.Custom && a.Broken == "" {
		if _, err := r.external(a.provider); err != nil {
			found.wrong("spec.provider.name", reasonUnknownProvider, "define it in MeshConfig.extensionProviders: until then nobody passes whom a rule holds for",
				"provider %q: %v", a.provider, err)
		}
	}
	r.checkEnforced(&a.reach, &found)
	report := reportPolicy(KindAuthorization, o, found)
	if a.Broken != "" {
		report.Conditions[0].Status = metav1.ConditionFalse
	}
	return dialect.Outcome{Report: report}
}

// external is whom a provider asks, or why it can ask nobody.
func (r *reading) external(provider string) (*routing.ExternalAuth, error) {
	p, ok := r.mesh().authorizers[provider]
	switch {
	case !ok:
		return nil, errors.New("MeshConfig has no provider envoyExtAuthzHttp or envoyExtAuthzGrpc of that name")
	case p.broken != "":
		return nil, errors.New(p.broken)
	}
	ns, host, found := strings.Cut(p.service, "/")
	if !found {
		ns, host = r.j.opts.RootNamespace, p.service
	}
	to := r.resolve(destination{host: host, port: p.port, namespace: ns, client: r.j.opts.RootNamespace, use: useHTTP})
	if to.cluster == "" {
		return nil, errors.New(to.message)
	}
	out := p.auth
	out.Cluster = to.cluster
	out.Origin = routing.Origin{Kind: "ConfigMap", Namespace: r.j.opts.RootNamespace, Name: meshName, Field: p.field}
	return &out, nil
}
