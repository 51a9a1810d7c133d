package convert

import (
	"cmp"
	"slices"
)

// A match is what an HTTPRouteMatch holds for.
type match struct {
	path    path
	method  string // empty: any
	headers []value
	query   []value
	// origin is the text prefix that the author wrote, which a rewrite replaces;
	// empty where he wrote none.
	origin string
}

// A value is what a header, or a query parameter, has to be. Lists of them are
// in the order of their names, each of which is there once.
type value struct {
	name  string // of a header in lower case
	regex bool
	text  string
}

// anyValue is the expression for what is there at all.
const anyValue = ".*"

func (m match) equal(n match) bool {
	return m.path == n.path && m.method == n.method && slices.Equal(m.headers, n.headers) && slices.Equal(m.query, n.query)
}

// everything reports whether no request falls outside.
func (m match) everything() bool {
	return m.path == everyPath && m.method == "" && len(m.headers)+len(m.query) == 0
}

// and returns what falls under both. It keeps the origin of m.
func (m match) and(n match) (match, relation) {
	var of [4]relation
	both := match{origin: m.origin}
	both.path, of[0] = m.path.and(n.path)
	both.method, of[1] = m.method, truth(m.method == n.method || m.method == "" || n.method == "")
	if m.method == "" {
		both.method = n.method
	}
	both.headers, of[2] = andValues(m.headers, n.headers)
	both.query, of[3] = andValues(m.query, n.query)
	worst := something
	for _, r := range of {
		if r == nothing {
			return both, nothing
		}
		worst = max(worst, r)
	}
	return both, worst
}

func andValues(a, b []value) ([]value, relation) {
	all := slices.Clone(a)
	worst := something
	for _, v := range b {
		i, found := slices.BinarySearchFunc(all, v, func(a, b value) int { return cmp.Compare(a.name, b.name) })
		if !found {
			all = slices.Insert(all, i, v)
			continue
		}
		both, r := all[i].and(v)
		if r == nothing {
			return nil, nothing
		}
		all[i], worst = both, max(worst, r)
	}
	return all, worst
}

func (v value) and(w value) (value, relation) {
	switch {
	case v == w, w.regex && w.text == anyValue:
		return v, something
	case v.regex && v.text == anyValue:
		return w, something
	case v.regex && w.regex:
		return v, unclear
	case v.regex:
		return w, truth(wholly(v.text, w.text))
	case w.regex:
		return v, truth(wholly(w.text, v.text))
	}
	return v, nothing
}

// covers reports whether all that falls under n falls under m, for certain.
func (m match) covers(n match) bool {
	both, r := m.and(n)
	return r == something && both.equal(n)
}

// compare puts first what has precedence in Gateway API (HTTPRouteRule.matches).
// Of expressions it says nothing; Fairway puts them between exact paths and
// prefixes, the longer first.
func (m match) compare(n match) int {
	return cmp.Or(
		cmp.Compare(m.path.rank(), n.path.rank()),
		cmp.Compare(len(n.path.expression()), len(m.path.expression())),
		cmp.Compare(any01(n.method != ""), any01(m.method != "")),
		cmp.Compare(len(n.headers), len(m.headers)),
		cmp.Compare(len(n.query), len(m.query)),
	)
}

func any01(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (p path) rank() int {
	switch {
	case p.kind == exact:
		return 0
	case p.isRegex():
		return 1
	}
	return 2
}

// sortValues puts values in order, and takes those out that are there already.
func sortValues(list []value) []value {
	slices.SortStableFunc(list, func(a, b value) int { return cmp.Compare(a.name, b.name) })
	return slices.CompactFunc(list, func(a, b value) bool { return a.name == b.name })
}
