package istio

import (
	"reflect"
	"slices"
	"strings"

	"fairway.dev/routing"
)

// coverage knows the matches of earlier rules, to tell which later ones no
// request gets to. It says so only where it is plain: of two expressions it
// knows no more than whether they are the same.
type coverage struct {
	exact map[string][]covering // by path
	wide  []covering            // by prefix, expression, or any path
}

type covering struct {
	match *routing.Match
	at    routing.Origin
}

// maxCompared bounds the wide matches that each later one is compared with.
const maxCompared = 1000

// add adds a match, and says which earlier one takes all that it would.
func (c *coverage) add(m *routing.Match, at routing.Origin) (covered bool, by routing.Origin) {
	exact := m.Path.Kind == routing.PathExact && !m.Path.IgnoreCase
	lists := [][]covering{c.wide}
	if exact {
		lists = append(lists, c.exact[m.Path.Value])
	}
	for _, list := range lists {
		if i := slices.IndexFunc(list, func(e covering) bool { return matchCovers(e.match, m) }); i >= 0 {
			return true, list[i].at
		}
	}
	if exact {
		if c.exact == nil {
			c.exact = map[string][]covering{}
		}
		c.exact[m.Path.Value] = append(c.exact[m.Path.Value], covering{m, at})
	} else if len(c.wide) < maxCompared {
		c.wide = append(c.wide, covering{m, at})
	}
	return false, routing.Origin{}
}

// unreachable is the obstacle of an earlier match.
func unreachable(by routing.Origin) obstacle {
	return obstacle{reasonUnreachable, "put it before that one, or take it out", "no request gets here: " + by.String() + " takes them all"}
}

// takesAll reports whether a match takes every request. Expressions that do are
// known by their text, as Istio knows them.
func takesAll(m *routing.Match) bool {
	anyPath := m.Path == routing.PathMatch{} || m.Path == routing.PathMatch{Kind: routing.PathRegex, Value: ".*"}
	return anyPath && m.Method == "" && len(m.Headers)+len(m.Query)+len(m.Claims)+len(m.Sources)+len(m.Destinations) == 0
}

// matchCovers reports whether every request that b holds for, a holds for too.
func matchCovers(a, b *routing.Match) bool {
	return pathCovers(a.Path, b.Path) &&
		(a.Method == "" || a.Method == b.Method) &&
		valuesWithin(a.Headers, b.Headers) && valuesWithin(a.Query, b.Query) && claimsWithin(a.Claims, b.Claims) &&
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

// pathCovers reports whether all paths of b are of a too.
func pathCovers(a, b routing.PathMatch) bool {
	switch {
	case a == b, a == routing.PathMatch{}, a.Kind == routing.PathRegex && a.Value == ".*":
		return true
	case a.Kind == routing.PathRegex || b.Kind == routing.PathRegex || b == routing.PathMatch{}:
		return false
	case b.IgnoreCase && !a.IgnoreCase:
		return false
	}
	x, y := a.Value, b.Value
	if a.IgnoreCase {
		x, y = lowerASCII(x), lowerASCII(y)
	}
	if a.Kind == routing.PathExact {
		return b.Kind == routing.PathExact && x == y
	}
	return strings.HasPrefix(y, x)
}

func lowerASCII(s string) string {
	return strings.Map(func(c rune) rune {
		if 'A' <= c && c <= 'Z' {
			return c + 'a' - 'A'
		}
		return c
	}, s)
}
