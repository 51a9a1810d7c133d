package routing

import (
	"cmp"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"time"
)

// A candidate is one match of a rule in force, compiled.
type candidate struct {
	target *Target
	index  int // of the match in the rule
	kind   PathKind
	fold   bool   // the path is compared in either case
	all    bool   // it takes every request
	path   string // what is matched; of a prefix without '/' at its end, of a method empty
	rpc    string // the last segment, of PathMethod
	regex  *regexp.Regexp
	method string
	header []valueTest
	query  []valueTest
	rare   *rareTests // nil: none
	age    routeAge
}

// A routeAge orders the routes whose matches are equals.
type routeAge struct {
	created time.Time
	object  string // "namespace/name"
	route   RouteName
}

// compare puts the candidate with precedence first, as HTTPRouteRule.matches
// has it. It is a total order, so a table has one shape whatever its history.
func (c *candidate) compare(d *candidate) int {
	if a, b := c.target.Route.Ordered, d.target.Route.Ordered; a && b {
		return c.compareOrdered(d)
	} else if a != b {
		return cmp.Compare(truth(a), truth(b))
	}
	return cmp.Or(
		cmp.Compare(pathRank(c.kind), pathRank(d.kind)),
		c.comparePath(d),
		cmp.Compare(truth(d.method != ""), truth(c.method != "")),
		cmp.Compare(len(d.header), len(c.header)),
		cmp.Compare(len(d.query), len(c.query)),
		c.age.compare(d.age),
		cmp.Compare(c.target.Index, d.target.Index),
		cmp.Compare(c.index, d.index),
	)
}

// compareOrdered does it for candidates of ordered routes: what takes every
// request comes last, and the author's order counts (Route.Ordered).
func (c *candidate) compareOrdered(d *candidate) int {
	switch {
	case c.all != d.all:
		return cmp.Compare(truth(c.all), truth(d.all))
	case c.target.Route != d.target.Route:
		return c.age.compare(d.age)
	case c.target.Index != d.target.Index:
		return cmp.Compare(c.target.Index, d.target.Index)
	}
	return cmp.Compare(c.index, d.index)
}

// comparePath puts the longer prefix or expression first. Where two exact
// paths, or two prefixes of one length, differ, no request falls under both:
// the order of the alphabet is for people.
func (c *candidate) comparePath(d *candidate) int {
	switch c.kind {
	case PathExact:
		return cmp.Compare(c.path, d.path)
	case PathRegex:
		return cmp.Compare(len(d.path), len(c.path))
	}
	return cmp.Or(
		cmp.Compare(len(d.path), len(c.path)),
		cmp.Compare(len(d.rpc), len(c.rpc)),
		cmp.Compare(c.path, d.path),
		cmp.Compare(c.rpc, d.rpc),
	)
}

// pathRank is the place of a kind of path match in the order of precedence.
func pathRank(k PathKind) int {
	switch k {
	case PathExact:
		return 0
	case PathRegex:
		return 1
	}
	return 2
}

func truth(b bool) int {
	if b {
		return 1
	}
	return 0
}

// compare puts the older route first, one without an age last.
func (a routeAge) compare(b routeAge) int {
	return cmp.Or(
		compareAge(a.created, b.created),
		cmp.Compare(a.object, b.object),
		cmp.Compare(a.route, b.route),
	)
}

// compareAge puts the older time first; the zero time is the youngest.
func compareAge(a, b time.Time) int {
	if a.IsZero() || b.IsZero() {
		return cmp.Compare(truth(a.IsZero()), truth(b.IsZero()))
	}
	return a.Compare(b)
}

// age returns what orders r among equals.
func (r *Route) age() routeAge {
	_, object, _ := strings.Cut(string(r.Name), "/")
	return routeAge{r.Created, object, r.Name}
}

// compileMatch makes a candidate of a match.
func compileMatch(m *Match, t *Target, index int) (*candidate, error) {
	c := &candidate{target: t, index: index, method: m.Method, age: t.Route.age()}
	if err := c.compilePath(m.Path); err != nil {
		return nil, fmt.Errorf("path: %w", err)
	}
	if m.Method != "" && !isToken(m.Method) {
		return nil, fmt.Errorf("method %q: want a token", m.Method)
	}
	var err error
	if c.header, err = compileTests(m.Headers, t.Route.Ordered); err != nil {
		return nil, fmt.Errorf("header %w", err)
	}
	for i := range c.header {
		if err := checkFieldName(c.header[i].name); err != nil {
			return nil, err
		}
	}
	if c.query, err = compileTests(m.Query, t.Route.Ordered); err != nil {
		return nil, fmt.Errorf("query parameter %w", err)
	}
	if c.rare, err = compileRare(m); err != nil {
		return nil, err
	}
	c.all = c.everyPath() && c.method == "" && len(c.header) == 0 && len(c.query) == 0 && c.rare == nil
	return c, nil
}

// checkFieldName says what is wrong with the name of a ValueMatch of a header.
func checkFieldName(name string) error {
	if name[0] == ':' {
		if !slices.Contains(pseudoFields, name) {
			return fmt.Errorf("header %q: want one of %q", name, pseudoFields)
		}
		return nil
	}
	if !isToken(name) || name != strings.ToLower(name) {
		return fmt.Errorf("header %q: want a token in lower case", name)
	}
	return nil
}

// everyPath reports whether the path of c holds for all requests.
func (c *candidate) everyPath() bool {
	switch c.kind {
	case PathPrefix:
		return c.path == ""
	case PathTextPrefix:
		return c.path == "/"
	case PathRegex:
		return c.path == ".*"
	}
	return false
}

func (c *candidate) compilePath(p PathMatch) error {
	c.kind, c.fold, c.path = p.Kind, p.IgnoreCase, p.Value
	if (p.IgnoreCase || p.Kind == PathTextPrefix) && !c.target.Route.Ordered {
		return fmt.Errorf("%s %q of a route that is not ordered: nothing says which of it and others is the more specific", p.Kind, p.Value)
	}
	switch p.Kind {
	case PathRegex, PathMethod:
		if p.IgnoreCase {
			return fmt.Errorf("%s %q in either case: want a prefix or an exact path", p.Kind, p.Value)
		}
	}
	switch p.Kind {
	case PathRegex:
		var err error
		c.regex, err = compileRegexp(p.Value)
		return err
	case PathPrefix:
		if p.Value == "" {
			return nil // the zero PathMatch
		}
		c.path = strings.TrimSuffix(p.Value, "/")
	case PathExact, PathTextPrefix:
	case PathMethod:
		// It stands with the prefix "/" in the tree.
		c.path, c.rpc = "", p.Value
		if p.Value == "" || strings.Contains(p.Value, "/") {
			return fmt.Errorf("method %q: want a name without '/'", p.Value)
		}
		return nil
	default:
		return fmt.Errorf("kind %d: want prefix, exact, regular expression, method or text prefix", p.Kind)
	}
	if p.Value == "" || p.Value[0] != '/' {
		return fmt.Errorf("%q: want '/' in front", p.Value)
	}
	if p.IgnoreCase {
		c.path = foldASCII(c.path)
	}
	return nil
}

// maxProgram bounds a compiled expression, in instructions of the matcher: the
// time of a match grows with it. An ordinary character takes one.
const maxProgram = 5000

// CheckExpression says what keeps a regular expression from being used.
func CheckExpression(expr string) error {
	_, err := compileRegexp(expr)
	return err
}

// compileRegexp compiles an RE2 expression that has to match a whole value.
func compileRegexp(expr string) (*regexp.Regexp, error) {
	if err := checkProgram(expr); err != nil {
		return nil, err
	}
	return regexp.Compile("^(?:" + expr + ")$")
}

// checkProgram says what is wrong with an expression by itself: "a)|(b" becomes
// valid in parentheses.
func checkProgram(expr string) error {
	tree, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return err
	}
	prog, err := syntax.Compile(tree.Simplify())
	if err != nil {
		return err
	}
	if n := len(prog.Inst); n > maxProgram {
		return fmt.Errorf("regular expression of %d instructions: want at most %d", n, maxProgram)
	}
	return nil
}
