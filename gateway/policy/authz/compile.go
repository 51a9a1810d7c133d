package authz

import (
	"fmt"
	"slices"

	"fairway.dev/routing"
)

// A Policy is a routing.Policy made ready. It does not change.
type Policy struct {
	name     routing.PolicyName
	action   routing.AuthorizationAction
	dryRun   bool
	broken   string // why it refuses all; empty: it does not
	external *routing.ExternalAuth
	rules    []rule
}

// A rule holds where one of from, one of to and when do. None of one: any.
type rule struct {
	from, to []clause
	when     clause
	scope    scope
}

// A clause holds where all of its tests do.
type clause []test

// A test holds where in does, and out does not.
type test struct {
	in, out matcher // nil: none
	scope   scope
}

// A scope is what something can be said of.
type scope uint8

const (
	ofAll      scope = iota // connections, and the requests on them
	ofRequests              // nothing else
)

// Compile makes p ready for a mesh of some trust domains, of which the first is
// the gateway's own. It never fails: what cannot be had as it was written refuses
// all, and [Policy.Broken] says why.
func Compile(p *routing.Policy, domains []string) *Policy {
	c := &Policy{name: p.Name}
	a := p.Authorization
	if a == nil {
		c.broken = "it is about nothing"
		return c
	}
	c.action, c.dryRun, c.external = a.Action, a.DryRun, a.External
	if err := a.Check(); err != nil {
		c.broken = err.Error()
		return c
	}
	b := builder{p.Origin.Namespace, domains}
	for i := range a.Rules {
		r, err := b.rule(&a.Rules[i])
		if err != nil {
			c.broken, c.rules = fmt.Sprintf("rules[%d]: %v", i, err), nil
			return c
		}
		c.rules = append(c.rules, r)
	}
	return c
}

// Broken says why the policy refuses all; empty: it does not.
func (p *Policy) Broken() string { return p.broken }

// A builder makes rules of a policy.
type builder struct {
	namespace string // the policy's
	domains   []string
}

func (b *builder) rule(r *routing.AuthorizationRule) (c rule, err error) {
	for i := range r.From {
		c.from = append(c.from, b.source(&r.From[i]))
	}
	for i := range r.To {
		c.to = append(c.to, b.operation(&r.To[i]))
	}
	for i := range r.When {
		t, err := b.condition(&r.When[i])
		if err != nil {
			return c, fmt.Errorf("when[%d]: %w", i, err)
		}
		c.when = append(c.when, t)
	}
	for _, clause := range slices.Concat(c.from, c.to, []clause{c.when}) {
		for i := range clause {
			c.scope = max(c.scope, clause[i].scope)
		}
	}
	return c, nil
}

// text adds a test of patterns, if there are any.
func (c *clause) text(p *routing.Patterns, sc scope, of func([]string) matcher) {
	if t := newTest(p.In, p.Out, of); t.in != nil || t.out != nil {
		t.scope = sc
		*c = append(*c, t)
	}
}

func newTest[T any](in, out []T, of func([]T) matcher) (t test) {
	if len(in) > 0 {
		t.in = of(in)
	}
	if len(out) > 0 {
		t.out = of(out)
	}
	return t
}

// blocks adds a test of addresses, if there is any.
func (c *clause) blocks(p *routing.Prefixes, of func(blocks) matcher) {
	if len(p.In)+len(p.Out) == 0 {
		return
	}
	var t test
	if len(p.In) > 0 {
		t.in = of(newBlocks(p.In))
	}
	if len(p.Out) > 0 {
		t.out = of(newBlocks(p.Out))
	}
	*c = append(*c, t)
}

func (b *builder) source(s *routing.AuthorizationSource) (c clause) {
	c.text(&s.Principals, ofAll, b.principals)
	c.text(&s.Namespaces, ofAll, newNamespaces)
	c.text(&s.ServiceAccounts, ofAll, b.accounts)
	c.text(&s.TrustDomains, ofAll, b.trustDomains)
	c.blocks(&s.IPBlocks, ofSource)
	c.blocks(&s.RemoteIPBlocks, ofRemote)
	c.text(&s.RequestPrincipals, ofRequests, newRequestPrincipals)
	return c
}

func (b *builder) operation(o *routing.AuthorizationOperation) (c clause) {
	if t := newTest(o.Ports.In, o.Ports.Out, func(list []uint16) matcher { return ports(list) }); t.in != nil || t.out != nil {
		c = append(c, t)
	}
	c.text(&o.Methods, ofRequests, newMethods)
	c.text(&o.Hosts, ofRequests, newHosts)
	c.text(&o.Paths, ofRequests, newPaths)
	return c
}

func ofSource(m blocks) matcher      { return sources(m) }
func ofRemote(m blocks) matcher      { return remotes(m) }
func ofDestination(m blocks) matcher { return destination(m) }

func (b *builder) principals(list []string) matcher {
	return newPrincipals(aliasPrincipals(b.domains, list))
}

func (b *builder) accounts(list []string) matcher { return newAccounts(list, b.namespace) }

func (b *builder) trustDomains(list []string) matcher {
	return newTrustDomains(aliasDomains(b.domains, list))
}

func (b *builder) condition(w *routing.AuthorizationCondition) (t test, err error) {
	attribute, names, err := routing.SplitCondition(w.Key)
	if err != nil {
		return t, err
	}
	text := func(sc scope, of func([]string) matcher) (test, error) {
		t := newTest(w.Values.In, w.Values.Out, of)
		t.scope = sc
		return t, nil
	}
	switch attribute {
	case "request.headers":
		return text(ofRequests, func(list []string) matcher { return newHeader(names[0], list) })
	case "request.auth.claims":
		return text(ofRequests, func(list []string) matcher { return newClaim(names, list) })
	case "request.auth.principal":
		return text(ofRequests, newRequestPrincipals)
	case "request.auth.audiences":
		return text(ofRequests, func(list []string) matcher { return newClaim(claimAudience, list) })
	case "request.auth.presenter":
		return text(ofRequests, func(list []string) matcher { return newClaim(claimPresenter, list) })
	case "source.principal":
		return text(ofAll, b.principals)
	case "source.namespace":
		return text(ofAll, newNamespaces)
	case "source.serviceAccount":
		return text(ofAll, b.accounts)
	case "source.trustDomain":
		return text(ofAll, b.trustDomains)
	case "connection.sni":
		return text(ofAll, newServerNames)
	case "source.ip":
		return parsed(&w.Values, parseBlocks, ofSource)
	case "remote.ip":
		return parsed(&w.Values, parseBlocks, ofRemote)
	case "destination.ip":
		return parsed(&w.Values, parseBlocks, ofDestination)
	case "destination.port":
		return parsed(&w.Values, parsePorts, func(list ports) matcher { return list })
	}
	return t, fmt.Errorf("key %q: not known", w.Key)
}

// parsed makes a test of values that are no texts.
func parsed[T ~[]E, E any](p *routing.Patterns, parse func([]string) (T, error), of func(T) matcher) (t test, err error) {
	in, err := parse(p.In)
	if err != nil {
		return t, err
	}
	out, err := parse(p.Out)
	if len(in) > 0 {
		t.in = of(in)
	}
	if len(out) > 0 {
		t.out = of(out)
	}
	return t, err
}
