package routing

import (
	"slices"
	"strings"
)

// A pathTable holds the candidates of one host of one listener: exact paths
// and prefixes in a tree of path segments, expressions in a list. It is
// immutable; with and without return a changed one that shares the rest.
type pathTable struct {
	root    pathNode
	regexes []*candidate // in order of precedence
	// ordered are those of ordered routes, which come after the others; nil
	// where no ordered route is attached to the host.
	ordered *orderedTable
}

// A listChange puts a candidate into a list, or takes it out: insert and remove.
type listChange func([]*candidate, *candidate) []*candidate

// A pathNode stands for a path: "" is the root, "/shop" its child "shop",
// "/shop/" that one's child "".
type pathNode struct {
	exact    []*candidate // for this path; in order of precedence
	prefix   []*candidate // for this path and all below it
	children trie[string, *pathNode]
}

func (n *pathNode) empty() bool {
	return len(n.exact) == 0 && len(n.prefix) == 0 && n.children.n == 0
}

func (t *pathTable) empty() bool {
	return len(t.regexes) == 0 && t.root.empty() && t.ordered == nil
}

// edit returns t with c put in or taken out, or nil where nothing is left. t
// may be nil.
func (t *pathTable) edit(c *candidate, change listChange) *pathTable {
	var changed pathTable
	if t != nil {
		changed = *t
	}
	switch {
	case c.target.Route.Ordered:
		changed.ordered = changed.ordered.edit(c, change)
	case c.kind == PathRegex:
		changed.regexes = change(changed.regexes, c)
	default:
		changed.root = changed.root.edit(c.path, c, change)
	}
	if changed.empty() {
		return nil
	}
	return &changed
}

// withOrdered returns t with one ordered route more that is attached to the
// host. t may be nil. The route's candidates are put in after it, and taken out
// before withoutOrdered.
func (t *pathTable) withOrdered() *pathTable {
	var changed pathTable
	var ordered orderedTable
	if t != nil {
		changed = *t
		if t.ordered != nil {
			ordered = *t.ordered
		}
	}
	ordered.routes++
	changed.ordered = &ordered
	return &changed
}

// withoutOrdered returns t with one ordered route less, or nil where nothing
// is left.
func (t *pathTable) withoutOrdered() *pathTable {
	changed, ordered := *t, *t.ordered
	if ordered.routes--; ordered.routes > 0 {
		changed.ordered = &ordered
	} else if changed.ordered = nil; changed.empty() {
		return nil
	}
	return &changed
}

// edit returns n with the list of the path that is still to go changed.
func (n pathNode) edit(rest string, c *candidate, change listChange) pathNode {
	if rest == "" {
		if c.kind == PathExact {
			n.exact = change(n.exact, c)
		} else {
			n.prefix = change(n.prefix, c)
		}
		return n
	}
	segment, rest := cutSegment(rest)
	var child pathNode
	if old, ok := n.children.get(segment); ok {
		child = *old
	}
	child = child.edit(rest, c, change)
	if child.empty() {
		n.children = n.children.without(segment)
	} else {
		n.children = n.children.with(segment, &child)
	}
	return n
}

// cutSegment cuts "/shop/cart" into "shop" and "/cart".
func cutSegment(path string) (segment, rest string) {
	if i := strings.IndexByte(path[1:], '/'); i >= 0 {
		return path[1 : i+1], path[i+1:]
	}
	return path[1:], ""
}

// insert returns a new list with c at its place.
func insert(list []*candidate, c *candidate) []*candidate {
	i, _ := slices.BinarySearchFunc(list, c, (*candidate).compare)
	changed := make([]*candidate, 0, len(list)+1)
	changed = append(changed, list[:i]...)
	changed = append(changed, c)
	return append(changed, list[i:]...)
}

// remove returns a new list without c.
func remove(list []*candidate, c *candidate) []*candidate {
	i := slices.Index(list, c)
	if i < 0 {
		panic("bug: candidate not in its table")
	}
	if len(list) == 1 {
		return nil
	}
	changed := make([]*candidate, 0, len(list)-1)
	return append(append(changed, list[:i]...), list[i+1:]...)
}

// match returns the candidate that takes r, or nil.
func (t *pathTable) match(r *Request) *candidate {
	if c := t.below(&t.root, r.Path, r); c != nil || t.ordered == nil {
		return c
	}
	return t.ordered.match(r)
}

// below looks in the subtree of n, where rest of the path is still to go:
// first for an exact path at its end, then among the expressions, then for
// prefixes on the way back. Recursion is as deep as the longest path of the
// configuration.
func (t *pathTable) below(n *pathNode, rest string, r *Request) *candidate {
	var deeper *pathNode
	if rest == "" {
		if c := first(n.exact, r); c != nil {
			return c
		}
	} else if rest[0] == '/' && n.children.n > 0 {
		segment, after := cutSegment(rest)
		if deeper, _ = n.children.get(segment); deeper != nil {
			if c := t.below(deeper, after, r); c != nil {
				return c
			}
		}
	}
	if deeper == nil && len(t.regexes) > 0 {
		if c := t.matchRegex(r); c != nil {
			return c
		}
	}
	return first(n.prefix, r)
}

func (t *pathTable) matchRegex(r *Request) *candidate {
	for _, c := range t.regexes {
		if c.regex.MatchString(r.Path) && c.holds(r) {
			return c
		}
	}
	return nil
}

// first returns the first candidate for whose path r is that takes it.
func first(list []*candidate, r *Request) *candidate {
	for _, c := range list {
		if c.holds(r) {
			return c
		}
	}
	return nil
}

// candidates returns all of t in order of precedence.
func (t *pathTable) candidates() []*candidate {
	list := slices.Clone(t.regexes)
	t.root.collect(&list)
	if t.ordered != nil {
		t.ordered.collect(&list)
	}
	slices.SortFunc(list, (*candidate).compare)
	return list
}

func (n *pathNode) collect(list *[]*candidate) {
	*list = append(*list, n.exact...)
	*list = append(*list, n.prefix...)
	for child := range n.children.values() {
		child.collect(list)
	}
}
