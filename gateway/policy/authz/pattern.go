package authz

import (
	"strings"

	"fairway.dev/gateway/message"
	"fairway.dev/routing"
)

// A pattern holds for some texts.
type pattern struct {
	kind kind
	text string
}

type kind uint8

const (
	exact kind = iota
	prefix
	suffix
	present
)

// newPattern reads a pattern. A star in front decides, whatever is at the end.
func newPattern(s string) pattern {
	switch {
	case s == "*":
		return pattern{kind: present}
	case s[0] == '*':
		return pattern{suffix, s[1:]}
	case s[len(s)-1] == '*':
		return pattern{prefix, s[:len(s)-1]}
	}
	return pattern{exact, s}
}

func newPatterns(list []string) patterns {
	var ps patterns
	for _, s := range list {
		ps = append(ps, newPattern(s))
	}
	return ps
}

func (p *pattern) holds(s string) bool {
	switch p.kind {
	case exact:
		return s == p.text
	case prefix:
		return strings.HasPrefix(s, p.text)
	case suffix:
		return strings.HasSuffix(s, p.text)
	}
	return s != ""
}

// holdsFold is holds in any case of ASCII letters. The pattern is in lower case.
func (p *pattern) holdsFold(s string) bool {
	n := len(p.text)
	switch {
	case p.kind == present:
		return s != ""
	case len(s) < n:
		return false
	case p.kind == prefix:
		s = s[:n]
	case p.kind == suffix:
		s = s[len(s)-n:]
	}
	return message.EqualFold(p.text, s)
}

type patterns []pattern

func (ps patterns) any(s string) bool {
	for i := range ps {
		if ps[i].holds(s) {
			return true
		}
	}
	return false
}

// A template is a pattern of a path with operators. At most one of them is
// "{**}", and none comes after it.
type template struct {
	head []string // texts, and between each two of them one segment
	tail string   // behind "{**}"
	open bool     // there is a "{**}" between head and tail
}

func newTemplate(s string) template {
	var t template
	s, t.tail, t.open = strings.Cut(s, routing.AnySegments)
	t.head = strings.Split(s, routing.OneSegment)
	return t
}

func (t *template) holds(path string) bool {
	for i, text := range t.head {
		if i > 0 {
			end := strings.IndexByte(path, '/')
			if end < 0 {
				end = len(path)
			}
			if end == 0 {
				return false
			}
			path = path[end:]
		}
		var ok bool
		if path, ok = strings.CutPrefix(path, text); !ok {
			return false
		}
	}
	if t.open {
		return strings.HasSuffix(path, t.tail)
	}
	return path == ""
}
