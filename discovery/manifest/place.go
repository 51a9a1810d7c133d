package manifest

import (
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// place finds the lines of an entry and of its faults in the text that it was
// read from.
func (e *entry) place(t text) {
	e.line = t.line
	if e.item == "" && len(e.faults) == 0 {
		return // the usual case needs no nodes
	}
	n := t.nodes()
	if n == nil {
		return
	}
	e.line = lineOf(n, e.item) - 1
	e.faults = slices.Clone(e.faults) // an entry that was known before shares them
	for i := range e.faults {
		e.faults[i].line = lineOf(n, joinField(e.item, e.faults[i].field)) - 1
	}
}

// lineOf returns the line of a field such as "spec.rules[2].matches[0]" under
// n, or of the closest one around it that is there.
func lineOf(n *yaml.Node, field string) int {
	line := n.Line
	for field != "" {
		for n.Kind == yaml.AliasNode {
			n = n.Alias
		}
		var at int
		switch n.Kind {
		case yaml.MappingNode:
			n, at, field = fieldOf(n, field)
		case yaml.SequenceNode:
			n, at, field = elementOf(n, field)
		default:
			return line
		}
		if n == nil {
			return line
		}
		line, field = at, strings.TrimPrefix(field, ".")
	}
	return line
}

// fieldOf returns the value of the first field that path names, the line of
// its name, and the rest of the path. Names may have dots in them: the longest
// that fits is meant.
func fieldOf(n *yaml.Node, path string) (value *yaml.Node, line int, rest string) {
	name, after, bracket := strings.Cut(strings.TrimPrefix(path, "["), "]")
	bracket = bracket && path[0] == '['
	best := -1
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if bracket && key.Value == name {
			return n.Content[i+1], key.Line, after
		}
		tail, ok := strings.CutPrefix(path, key.Value)
		if ok && !bracket && len(key.Value) > best && (tail == "" || tail[0] == '.' || tail[0] == '[') {
			best = len(key.Value)
			value, line, rest = n.Content[i+1], key.Line, tail
		}
	}
	return value, line, rest
}

// elementOf returns the element of a list that path names: "[2].matches".
func elementOf(n *yaml.Node, path string) (element *yaml.Node, line int, rest string) {
	index, rest, ok := strings.Cut(strings.TrimPrefix(path, "["), "]")
	i, err := strconv.Atoi(index)
	if !ok || err != nil || i < 0 || i >= len(n.Content) {
		return nil, 0, ""
	}
	return n.Content[i], n.Content[i].Line, rest
}

// asked is the document that was asked about last, as nodes.
type asked struct {
	doc   *document
	nodes *yaml.Node
}

// placeIn returns the place of a field of c's object.
func (f *Folder) placeIn(c claim, field string) (string, int) {
	p, line := c.file.parts[c.entry.part], c.line()
	if field == "" {
		return c.file.path, line
	}
	if f.last == nil || f.last.doc != p.doc {
		f.last = &asked{p.doc, f.nodesOf(c.file, p)}
	}
	if n := f.last.nodes; n != nil {
		line = p.line - 1 + lineOf(n, joinField(c.entry.item, field))
	}
	return c.file.path, line
}

// nodesOf reads a document again; nil where it has changed since.
func (f *Folder) nodesOf(fi *file, p filed) *yaml.Node {
	text, err := readFile(fi.path, f.maxFileSize())
	if err != nil || len(text) < p.offset+p.length || sumOfText(p.of(text)) != p.sum {
		return nil
	}
	t, err := parse(p.of(text))
	if err != nil {
		return nil
	}
	return t.nodes()
}
