package convert

import (
	"regexp"
	"strings"
)

// A pathKind is how a path compares. In the order of precedence.
type pathKind uint8

const (
	exact pathKind = iota
	regex
	glued  // value and more, but no '/' next: "/shop[^/].*"
	below  // value, a '/', and whatever: "/shop/.*"
	branch // the same as under, where it has to come before another expression: "/shop(/.*)?"
	under  // value, or what is below: a PathPrefix, without '/' at its end; "" is every path
)

// A path is a set of paths. All but regex are either within one another, or
// have nothing in common.
type path struct {
	kind  pathKind
	value string
	lead  string // what all begins with that the expression of a regex matches
}

// everyPath holds for all.
var everyPath = path{kind: under}

// plain is what Gateway API takes in Exact and PathPrefix.
var plain = regexp.MustCompile(`^(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2})+$`)

func isPlain(s string) bool {
	if !plain.MatchString(s) || s[0] != '/' || strings.HasSuffix(s, "/..") || strings.HasSuffix(s, "/.") {
		return false
	}
	for _, bad := range []string{"//", "/./", "/../", "%2f", "%2F"} {
		if strings.Contains(s, bad) {
			return false
		}
	}
	return true
}

func exactPath(s string) path {
	if isPlain(s) {
		return path{kind: exact, value: s}
	}
	return regexPath(regexp.QuoteMeta(s))
}

// underPath is a prefix by segments.
func underPath(prefix string) path {
	prefix = strings.TrimSuffix(prefix, "/")
	if prefix == "" || isPlain(prefix) {
		return path{kind: under, value: prefix}
	}
	return regexPath(regexp.QuoteMeta(prefix) + "(/.*)?")
}

// textPrefix is a prefix by bytes; none where no path can have it.
func textPrefix(prefix string) []path {
	rest, slash := strings.CutSuffix(prefix, "/")
	switch {
	case rest == "":
		return []path{everyPath}
	case prefix[0] != '/':
		return nil
	case slash:
		return []path{{kind: below, value: rest}}
	}
	return []path{underPath(prefix), {kind: glued, value: prefix}}
}

func regexPath(expr string) path {
	switch expr {
	case ".*", "/.*":
		return everyPath
	}
	return path{kind: regex, value: expr, lead: literal(expr)}
}

// expression is how it is written, as Exact, PathPrefix or RegularExpression.
func (p path) expression() string {
	switch p.kind {
	case glued:
		return regexp.QuoteMeta(p.value) + "[^/].*"
	case below:
		return regexp.QuoteMeta(p.value) + "/.*"
	case branch:
		return regexp.QuoteMeta(p.value) + "(/.*)?"
	case under:
		if p.value == "" {
			return "/"
		}
	}
	return p.value
}

// isRegex reports whether it is written as a RegularExpression.
func (p path) isRegex() bool { return p.kind != exact && p.kind != under }

// has reports whether a path falls under p.
func (p path) has(s string) bool {
	switch p.kind {
	case exact:
		return s == p.value
	case regex:
		return wholly(p.value, s)
	}
	return p.hasAll(s, s)
}

// hasAll reports whether all paths between two are in p, which is no expression:
// those that begin with a text and go on somehow, of which the shortest is given.
func (p path) hasAll(text, shortest string) bool {
	rest, ok := strings.CutPrefix(text, p.value)
	switch {
	case !ok:
		return false
	case rest == "":
		return p.kind >= branch && shortest == p.value
	case p.kind == glued:
		return rest[0] != '/'
	}
	return rest[0] == '/'
}

// wholly reports whether an expression matches all of s.
func wholly(expr, s string) bool {
	re, err := regexp.Compile("^(?:" + expr + ")$")
	return err == nil && re.MatchString(s)
}

// A relation is what two sets have in common.
type relation uint8

const (
	nothing relation = iota
	something
	unclear // nobody can say, with expressions
)

// and returns what p and q have in common.
func (p path) and(q path) (path, relation) {
	switch {
	case p == q, q == everyPath:
		return p, something
	case p == everyPath:
		return q, something
	case p.kind == exact:
		return p, truth(q.has(p.value))
	case q.kind == exact:
		return q, truth(p.has(q.value))
	case p.kind == regex && q.kind == regex:
		a, b := p.lead, q.lead
		if !strings.HasPrefix(a, b) && !strings.HasPrefix(b, a) {
			return p, nothing
		}
		return p, unclear
	case p.kind == regex:
		return p, q.meets(p.lead)
	case q.kind == regex:
		return q, p.meets(q.lead)
	case q.within(p):
		return q, something
	case p.within(q):
		return p, something
	}
	return p, nothing
}

// within reports whether all of p is in q; neither is exact or an expression.
func (p path) within(q path) bool {
	if p.value == q.value {
		return p.kind == q.kind || p.kind != glued && q.kind >= branch
	}
	return q.hasAll(p.value, p.value)
}

// meets says what p has of what begins with a text.
func (p path) meets(text string) relation {
	switch {
	case p.hasAll(text, ""):
		return something // all of it
	case strings.HasPrefix(p.value, text):
		return unclear
	}
	return nothing
}

// literal is what all that an expression matches begins with.
func literal(expr string) string {
	re, err := regexp.Compile(expr)
	if err != nil {
		return ""
	}
	text, _ := re.LiteralPrefix()
	return text
}

func truth(b bool) relation {
	if b {
		return something
	}
	return nothing
}
