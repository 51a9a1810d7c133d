package authz

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"fairway.dev/routing"
)

// A Set is the policies of one listener. It does not change, and any number of
// loops may ask it. The zero Set lets everybody pass.
type Set struct {
	broken, custom, deny, allow []*Policy
	audit, tried                []*Policy // tried only tell (dry-run)

	allows []routing.PolicyName // of allow
}

// New makes the Set of a listener's policies, in any order; those that are
// not about who may pass have no say. missing are the names of policies that the
// listener has and that are not there: each refuses all. domains are the mesh's
// trust domains (routing.Mesh.TrustDomains), the gateway's own first.
func New(policies []*routing.Policy, missing []routing.PolicyName, domains []string) *Set {
	s := &Set{}
	for _, p := range policies {
		if p.Authorization != nil || p.RateLimit == nil {
			s.add(Compile(p, domains))
		}
	}
	for _, name := range missing {
		s.add(&Policy{name: name, broken: "it is not there"})
	}
	for _, list := range [][]*Policy{s.broken, s.custom, s.deny, s.allow, s.audit, s.tried} {
		slices.SortFunc(list, func(a, b *Policy) int { return cmp.Compare(a.name, b.name) })
	}
	for _, p := range s.allow {
		s.allows = append(s.allows, p.name)
	}
	return s
}

func (s *Set) add(p *Policy) {
	list := &s.deny
	switch {
	case p.action == routing.Audit:
		list = &s.audit
	case p.dryRun:
		list = &s.tried
	case p.broken != "":
		list = &s.broken
	case p.action == routing.Custom:
		list = &s.custom
	case p.action == routing.Allow:
		list = &s.allow
	}
	*list = append(*list, p)
}

// Empty reports whether everybody passes, and there is nothing to tell.
func (s *Set) Empty() bool {
	return len(s.broken)+len(s.custom)+len(s.deny)+len(s.allow)+len(s.audit)+len(s.tried) == 0
}

// A Question is what somebody else is to be asked about: a CUSTOM policy one of
// whose rules holds.
type Question struct {
	Policy routing.PolicyName
	Ask    *routing.ExternalAuth
}

// Custom appends to dst who is to be asked, before Check decides: only what all of
// them let pass may be let pass. Who cannot ask about connections refuses where
// there are questions about one. Where Check refuses whatever the answers are
// there may be none.
func (s *Set) Custom(dst []Question, a *Attributes) []Question {
	if len(s.custom) == 0 || len(s.broken) > 0 {
		return dst
	}
	a.prepare()
	for _, p := range s.custom {
		if p.external != nil && p.holds(a) {
			dst = append(dst, Question{p.name, p.external})
		}
	}
	return dst
}

// A Decision is who may pass, and why not.
type Decision struct {
	Allowed bool
	// Policy is the one that refuses; empty where there are ALLOW policies and
	// none holds.
	Policy routing.PolicyName
	// Broken says why Policy refuses all; empty: one of its rules holds.
	Broken string
	// Unmet are the ALLOW policies of which none holds. The list is the Set's.
	Unmet []routing.PolicyName
	// Audited are the AUDIT policies that hold.
	Audited []routing.PolicyName
	// Tried are policies that are only tried, and would have refused: a DENY
	// policy that holds, the ALLOW policies where none of those that are tried
	// does, and what is broken. Of CUSTOM ones those that would have asked.
	Tried []routing.PolicyName
}

// String says why a client may not pass, for the access log.
func (d *Decision) String() string {
	switch {
	case d.Allowed:
		return "allowed"
	case d.Broken != "":
		return fmt.Sprintf("%s refuses all: %s", d.Policy, d.Broken)
	case d.Policy != "":
		return fmt.Sprintf("%s refuses", d.Policy)
	}
	names := make([]string, len(d.Unmet))
	for i, name := range d.Unmet {
		names[i] = string(name)
	}
	return "no ALLOW policy holds of " + strings.Join(names, ", ")
}

// Check decides about a request, or a connection, of which those who were to be
// asked have said that it may pass.
func (s *Set) Check(a *Attributes) (d Decision) {
	a.prepare()
	for _, p := range s.audit {
		if p.broken != "" || p.holds(a) {
			d.Audited = append(d.Audited, p.name)
		}
	}
	if len(s.tried) > 0 {
		d.Tried = s.try(a)
	}
	s.decide(a, &d)
	return d
}

func (s *Set) decide(a *Attributes, d *Decision) {
	if len(s.broken) > 0 {
		d.Policy, d.Broken = s.broken[0].name, s.broken[0].broken
		return
	}
	for _, p := range s.custom {
		if p.external == nil && p.holds(a) {
			d.Policy, d.Broken = p.name, "there is nobody to ask"
			return
		}
	}
	for _, p := range s.deny {
		if p.holds(a) {
			d.Policy = p.name
			return
		}
	}
	d.Allowed = len(s.allow) == 0
	for _, p := range s.allow {
		if p.holds(a) {
			d.Allowed = true
			return
		}
	}
	if !d.Allowed {
		d.Unmet = s.allows
	}
}

// try returns the names of policies that would have refused.
func (s *Set) try(a *Attributes) (refusing []routing.PolicyName) {
	var unmet []routing.PolicyName
	met := false
	for _, p := range s.tried {
		switch holds := p.broken == "" && p.holds(a); {
		case p.broken != "", holds && p.action != routing.Allow:
			refusing = append(refusing, p.name)
		case holds:
			met = true
		case p.action == routing.Allow:
			unmet = append(unmet, p.name)
		}
	}
	if !met {
		refusing = append(refusing, unmet...)
	}
	return refusing
}

// holds reports whether one of the rules does.
func (p *Policy) holds(a *Attributes) bool {
	for i := range p.rules {
		if p.rules[i].holds(a, p.action) {
			return true
		}
	}
	return false
}

func (r *rule) holds(a *Attributes, action routing.AuthorizationAction) bool {
	if r.scope == ofRequests && a.Request == nil && action == routing.Allow {
		return false
	}
	return anyOf(r.from, a) && anyOf(r.to, a) && r.when.holds(a)
}

func anyOf(clauses []clause, a *Attributes) bool {
	for _, c := range clauses {
		if c.holds(a) {
			return true
		}
	}
	return len(clauses) == 0
}

func (c clause) holds(a *Attributes) bool {
	for i := range c {
		t := &c[i]
		if t.scope == ofRequests && a.Request == nil {
			continue
		}
		if t.in != nil && !t.in.holds(a) || t.out != nil && t.out.holds(a) {
			return false
		}
	}
	return true
}
