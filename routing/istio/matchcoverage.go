package istio

import (
	"iter"
	"reflect"
	"slices"

	"fairway.dev/routing"
)

// coverage knows the matches of earlier rules, to tell which later ones no
// request gets to. It says so only where it is plain: of two expressions it
// knows no more than whether they are the same.
type coverage map[routing.PathMatch][]covering // by what their paths are, see plain

type covering struct {
	match *routing.Match
	at    routing.Origin
}

// maxCompared bounds the matches of one path that a later one is compared with.
const maxCompared = 100

// add adds a match, and says which earlier one takes all that it would.
func (c coverage) add(m *routing.Match, at routing.Origin) (covered bool, by routing.Origin) {
	for path := range wider(m.Path) {
		list := c[path]
		if i := slices.IndexFunc(list, func(e covering) bool { return conditionsCover(e.match, m) }); i >= 0 {
			return true, list[i].at
		}
	}
	if key := plain(m.Path); len(c[key]) < maxCompared {
		c[key] = append(c[key], covering{m, at})
	}
	return false, routing.Origin{}
}

// plain is the one form of paths that are the same: that of any path, and lower
// case where case is ignored.
func plain(p routing.PathMatch) routing.PathMatch {
	switch {
	case p.Kind == routing.PathRegex && p.Value == ".*":
		return routing.PathMatch{}
	case p.IgnoreCase:
		p.Value = lowerASCII(p.Value)
	}
	return p
}

// wider yields the plain forms of all paths that cover p, itself among them.
func wider(p routing.PathMatch) iter.Seq[routing.PathMatch] {
	return func(yield func(routing.PathMatch) bool) {
		p = plain(p)
		if !yield(routing.PathMatch{}) || p == (routing.PathMatch{}) || !yield(p) || p.Kind == routing.PathRegex {
			return
		}
		folded := lowerASCII(p.Value)
		if p.Kind == routing.PathExact && !p.IgnoreCase && !yield(routing.PathMatch{Kind: routing.PathExact, Value: folded, IgnoreCase: true}) {
			return
		}
		for i := 1; i <= len(p.Value); i++ {
			if !p.IgnoreCase && !yield(routing.PathMatch{Kind: routing.PathTextPrefix, Value: p.Value[:i]}) ||
				!yield(routing.PathMatch{Kind: routing.PathTextPrefix, Value: folded[:i], IgnoreCase: true}) {
				return
			}
		}
	}
}

// unreachable is the obstacle of an earlier match.
func unreachable(by routing.Origin) obstacle {
	return obstacle{reasonUnreachable, "put it before that one, or take it out", "no request gets here: " + by.String() + " takes them all"}
}

// takesAll reports whether a match takes every request. Expressions that do are
// known by their text, as Istio knows them.
func takesAll(m *routing.Match) bool {
	anyPath := m.Path == routing.PathMatch{} || m.Path == routing.PathMatch{Kind: routing.PathRegex, Value: ".*"}
	return anyPath && m.Method == "" && len(m.Headers)+len(m.Query)+len(m.Claims)+len(m.Sources)+len(m.Destinations)+len(m.Namespaces) == 0
}

// conditionsCover reports whether what a asks for besides its path, b does too.
func conditionsCover(a, b *routing.Match) bool {
	return (a.Method == "" || a.Method == b.Method) &&
		valuesWithin(a.Headers, b.Headers) && valuesWithin(a.Query, b.Query) && claimsWithin(a.Claims, b.Claims) &&
		(len(a.Namespaces) == 0 || slices.Equal(a.Namespaces, b.Namespaces)) &&
		(len(a.Sources) == 0 || slices.Equal(a.Sources, b.Sources)) &&
		(len(a.Destinations) == 0 || slices.Equal(a.Destinations, b.Destinations))
}

func valuesWithin(a, b []routing.ValueMatch) bool {
	return !slices.ContainsFunc(a, func(v routing.ValueMatch) bool { return !slices.Contains(b, v) })
}

func claimsWithin(a, b []routing.ClaimMatch) bool {
	return !slices.ContainsFunc(a, func(c routing.ClaimMatch) bool {
		return !slices.ContainsFunc(b, func(d routing.ClaimMatch) bool { return reflect.DeepEqual(c, d) })
	})
}

func lowerASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
