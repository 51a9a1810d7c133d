package routing

import "strings"

// An orderedTable holds the candidates of ordered routes on one host of one
// listener. Their order does not come of their paths, so all that hold for a
// path are found by it, in one walk, and the first of them counts. It is
// immutable, as a pathTable is.
type orderedTable struct {
	routes  int      // that are attached to the host, with candidates or without
	texts   textNode // of all but expressions
	folded  textNode // of paths in either case, in lower case
	regexes []*candidate
}

// edit returns o with c put in or taken out.
func (o orderedTable) edit(c *candidate, change listChange) *orderedTable {
	switch {
	case c.kind == PathRegex:
		o.regexes = change(o.regexes, c)
	case c.fold:
		o.folded = o.folded.edit(c.path, c, change)
	default:
		o.texts = o.texts.edit(c.path, c, change)
	}
	return &o
}

// match returns the first candidate that takes r, or nil.
func (o *orderedTable) match(r *Request) *candidate {
	best := o.texts.first(r, false, nil)
	if !o.folded.empty() {
		best = o.folded.first(r, true, best)
	}
	for _, c := range o.regexes {
		if best != nil && best.compareOrdered(c) < 0 {
			break
		}
		if c.holds(r) && c.regex.MatchString(r.Path) {
			return c
		}
	}
	return best
}

func (o *orderedTable) collect(list *[]*candidate) {
	*list = append(*list, o.regexes...)
	o.texts.collect(list)
	o.folded.collect(list)
}

// A textNode stands for a text that paths begin with: the root for none, each
// child for its parent's text and its own label behind it. No two children
// begin with the same byte, and none but the root has neither candidates nor
// two children: a radix tree.
type textNode struct {
	label    string
	list     []*candidate // for this text, whether it is all of the path or not; in order
	children []*textNode  // in no order
	begins   string       // the first bytes of the children's labels
}

func (n *textNode) empty() bool { return len(n.list) == 0 && len(n.children) == 0 }

// edit returns n with the list of the text that is still to go changed.
func (n textNode) edit(rest string, c *candidate, change listChange) textNode {
	if rest == "" {
		n.list = change(n.list, c)
		return n
	}
	i := strings.IndexByte(n.begins, rest[0])
	if i < 0 {
		return n.withChild(&textNode{label: rest, list: change(nil, c)})
	}
	child := *n.children[i]
	shared := common(child.label, rest)
	if shared < len(child.label) {
		child = child.split(shared)
	}
	child = child.edit(rest[shared:], c, change)
	switch {
	case child.empty():
		return n.withoutChild(i)
	case len(child.list) == 0 && len(child.children) == 1:
		only := *child.children[0]
		only.label = child.label + only.label
		child = only
	}
	n.children = append([]*textNode(nil), n.children...)
	n.children[i] = &child
	return n
}

// split returns the node of the first bytes of n's label, with the rest below it.
func (n textNode) split(at int) textNode {
	above := textNode{label: n.label[:at]}
	n.label = n.label[at:]
	return above.withChild(&n)
}

func (n textNode) withChild(child *textNode) textNode {
	n.children = append(n.children[:len(n.children):len(n.children)], child)
	n.begins += child.label[:1]
	return n
}

func (n textNode) withoutChild(i int) textNode {
	children := append([]*textNode(nil), n.children[:i]...)
	n.children = append(children, n.children[i+1:]...)
	n.begins = n.begins[:i] + n.begins[i+1:]
	return n
}

// first returns the first candidate below n that takes r, or best where that
// comes before it.
func (n *textNode) first(r *Request, fold bool, best *candidate) *candidate {
	for rest := r.Path; ; {
		for _, c := range n.list {
			if best != nil && best.compareOrdered(c) < 0 {
				break
			}
			if c.covers(rest) && c.holds(r) {
				best = c
				break
			}
		}
		if rest == "" {
			return best
		}
		begin := rest[0]
		if fold {
			begin = foldByte(begin)
		}
		i := strings.IndexByte(n.begins, begin)
		if i < 0 {
			return best
		}
		n = n.children[i]
		var ok bool
		if rest, ok = cutPath(rest, n.label, fold); !ok {
			return best
		}
	}
}

func (n *textNode) collect(list *[]*candidate) {
	*list = append(*list, n.list...)
	for _, child := range n.children {
		child.collect(list)
	}
}

// cutPath cuts what path begins with off it. With fold, begin is in lower case
// and path in any.
func cutPath(path, begin string, fold bool) (rest string, ok bool) {
	if !fold {
		return strings.CutPrefix(path, begin)
	}
	if len(path) < len(begin) {
		return path, false
	}
	for i := range len(begin) {
		if foldByte(path[i]) != begin[i] {
			return path, false
		}
	}
	return path[len(begin):], true
}

// foldByte returns c in lower case if it is an ASCII letter.
func foldByte(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + ('a' - 'A')
	}
	return c
}

// foldASCII returns s with its ASCII letters in lower case.
func foldASCII(s string) string {
	b := []byte(s)
	for i := range b {
		b[i] = foldByte(b[i])
	}
	return string(b)
}
