package istio

import (
	"net/http"
	"slices"

	networking "istio.io/api/networking/v1alpha3"

	"fairway.dev/routing"
	"fairway.dev/routing/analysis"
)

// An httpSource is a rule of http, perhaps a delegate's with what it has of its
// root.
type httpSource struct {
	at      routing.Origin
	name    string
	matches []matchSource // none: every request
	route   *networking.HTTPRoute
	root    *networking.HTTPRoute // of a delegate's rule; nil for others
	rootAt  routing.Origin
}

// inherit returns what a rule says, and the root's word where a delegate leaves
// it open (HTTPRoute.delegate).
func inherit[T any](s *httpSource, of func(*networking.HTTPRoute) *T) *T {
	if v := of(s.route); v != nil || s.root == nil {
		return v
	}
	return of(s.root)
}

// http translates the rules for HTTP and HTTPS listeners.
func (b *virtualServiceBuilder) http() {
	sources := b.httpSources()
	if len(b.o.Spec.Http) == 0 {
		return
	}
	doors := b.doorsFor("http", "HTTP, HTTPS, HTTP2 or GRPC", func(d door) bool {
		return d.protocol == routing.HTTP || d.protocol == routing.HTTPS
	})
	list := groups(doors, views(sources), func(d door) []routing.Rule {
		t := &httpTranslation{b: b, door: d, before: coverage{}}
		for i := range sources {
			t.rule(&sources[i])
		}
		return t.rules
	})
	b.add("", list, func(d door) []string { return d.hosts })
}

// doorsFor returns the doors that a kind of rules is for, and remarks where
// there is none.
func (b *virtualServiceBuilder) doorsFor(field, want string, is func(door) bool) []door {
	doors := slices.DeleteFunc(slices.Clone(b.doors), func(d door) bool { return !is(d) })
	if len(doors) == 0 {
		b.remarks.warn(b.origin("spec."+field), reasonNoMatchingServer, "add such a server to its Gateway, or take the rules out",
			"no server of its Gateways with one of its hosts is for %s rules, which are for %s", field, want)
	}
	return doors
}

// views returns what of a door can make a difference to rules.
func views(sources []httpSource) func(door) view {
	var ports, gateways bool
	for i := range sources {
		s := &sources[i]
		for j := range s.matches {
			ports = ports || s.matches[j].port != 0
			gateways = gateways || len(s.matches[j].gateways) > 0
		}
		s.destinations(func(d *networking.Destination) { ports = ports || d.GetPort() == nil })
	}
	return viewOf(ports, gateways)
}

// viewOf leaves out of a view what makes no difference.
func viewOf(ports, gateways bool) func(door) view {
	return func(d door) view {
		v := view{client: clientOf(d)}
		if ports {
			v.port = d.port
		}
		if gateways {
			v.gateway = d.gateway
		}
		return v
	}
}

// destinations yields all that the rule sends to.
func (s *httpSource) destinations(yield func(*networking.Destination)) {
	for _, r := range s.route.Route {
		yield(r.GetDestination())
	}
	for _, m := range s.mirrors() {
		yield(m.to)
	}
}

// An httpTranslation makes rules of sources for one door.
type httpTranslation struct {
	b      *virtualServiceBuilder
	door   door
	rules  []routing.Rule
	before coverage
	ended  routing.Origin // the match that takes every request; zero: there is none yet
}

// A matched is a match that is in force.
type matched struct {
	routing.Match
	at   routing.Origin
	name string
}

// rule translates a source. A match that takes every request stands by itself,
// without any, as it comes after all others on its host.
func (t *httpTranslation) rule(s *httpSource) {
	var list []matched
	if len(s.matches) == 0 {
		list = t.take(list, matched{at: s.at})
	}
	for i := range s.matches {
		m := &s.matches[i]
		if match, ok := t.match(m); ok {
			list = t.take(list, matched{match, m.at, m.name})
		}
	}
	chunks := split(list)
	for _, c := range chunks {
		r := t.ruleOf(s, c)
		if len(chunks) > 1 {
			r.Origin = c[0].at
		}
		t.rules = append(t.rules, r)
	}
}

// split parts matches that cannot be of one rule: with other names, and those
// that take every request.
func split(list []matched) (chunks [][]matched) {
	for i := range list {
		if i > 0 && list[i].name == list[i-1].name && !takesAll(&list[i].Match) {
			last := len(chunks) - 1
			chunks[last] = append(chunks[last], list[i])
			continue
		}
		chunks = append(chunks, list[i:i+1:i+1])
	}
	return chunks
}

// take adds a match that a request can get to. What comes behind one that takes
// every request is left out: it would come before that otherwise.
func (t *httpTranslation) take(list []matched, m matched) []matched {
	if t.ended != (routing.Origin{}) {
		t.b.reached.note(m.at, unreachable(t.ended))
		return list
	}
	covered, by := t.before.add(&m.Match, m.at)
	if covered {
		t.b.reached.note(m.at, unreachable(by))
	} else {
		t.b.reached.note(m.at, obstacle{})
	}
	if takesAll(&m.Match) {
		t.ended = m.at
	}
	return append(list, m)
}

// ruleOf makes a rule of some matches of a source.
func (t *httpTranslation) ruleOf(s *httpSource, list []matched) routing.Rule {
	r := routing.Rule{Name: s.name, Origin: s.at}
	first := &list[0]
	if first.name != "" {
		r.Name += "." + first.name
	}
	// Of an expression that takes every path the whole one is rewritten.
	whole := takesAll(&first.Match) && first.Path.Kind == routing.PathRegex
	if !takesAll(&first.Match) {
		for i := range list {
			r.Matches = append(r.Matches, list[i].Match)
		}
	}
	r.Action = t.action(s, whole)
	if err := routing.CheckAction(&r); err != nil {
		t.b.remarks.wrong(s.at, routing.InvalidAction, "correct it: until then the rule answers 500", "%w", err)
		r.Action = routing.Action{Status: http.StatusInternalServerError}
	}
	return r
}

// match translates a match for the door. It reports false where it does not
// apply there, or to nothing at all.
func (t *httpTranslation) match(m *matchSource) (routing.Match, bool) {
	found := &t.b.remarks
	if m.statPrefix != "" {
		found.note(m.at.At(m.at.Field+".statPrefix"), analysis.UnsupportedField, "use the rule's name, which metrics and logs have",
			"statistics have the names of routes and clusters, and no prefix")
	}
	if len(m.sourceLabels) > 0 {
		found.labelsUnknown(m.at)
		return routing.Match{}, false
	}
	if o := elsewhere(m.gateways, m.port, t.door); o != (obstacle{}) {
		t.b.reached.note(m.at, o)
		return routing.Match{}, false
	}
	namespaces, applies := sourceOf(m.sourceNamespace, t.door)
	if !applies {
		t.b.reached.note(m.at, unknownSource(t.door))
		return routing.Match{}, false
	}
	out, flaw := m.translate()
	out.Namespaces = namespaces
	if flaw != nil {
		found.wrong(m.at.At(m.at.Field+"."+flaw.field), flaw.reason, flaw.fix, "%w", flaw.err)
		return routing.Match{}, false
	}
	if len(out.Claims) > 0 && !t.b.r.provesTokens(t.door) {
		found.warn(m.at, reasonClaimsUnproved, "add a RequestAuthentication for the Gateway's pods",
			"claims of a token are matched, but no RequestAuthentication says at %s how tokens are proved: no request has any", t.door.fleet)
	}
	return out, true
}

// provesTokens reports whether a RequestAuthentication is about the pods that
// serve a door.
func (r *reading) provesTokens(d door) bool {
	p := postOf(d, nil)
	switch f := r.fleet(p.at); {
	case d.inside != nil && !d.inside.Own, d.inside == nil && f == nil:
		return false
	case d.inside == nil:
		p.labels = f.labels
	}
	return slices.ContainsFunc(policiesOn[*authentication](r, authenticationsIn, authenticationCell, p),
		func(a *authentication) bool { return len(a.rules) > 0 })
}

// unknownSource is why a match of who sends does not apply at a door.
func unknownSource(d door) obstacle {
	if d.inside != nil {
		return obstacle{reasonNeverMatches, "name the namespace in exportTo", "it is not for workloads of that namespace"}
	}
	return obstacle{reasonSourceUnknown, "take sourceNamespace out, or match what the request says",
		"who sends is not known at a gateway that is not a waypoint: the match holds for nobody"}
}

// elsewhere is why a match with those gateways and that port does not apply at
// a door; zero: it does.
func elsewhere(gateways []string, port uint32, d door) obstacle {
	switch {
	case len(gateways) > 0 && !slices.Contains(gateways, d.gateway):
		return obstacle{reasonNeverMatches, "name the Gateway in spec.gateways too",
			"no Gateway of the VirtualService with one of its hosts is one of the match's"}
	case port != 0 && port != d.port:
		return obstacle{reasonNeverMatches, "write the port of a server of its Gateways",
			"no server of its Gateways with one of its hosts has port " + itoa(int(port))}
	}
	return obstacle{}
}
