package routing

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// An Explanation says why a request goes where it goes.
type Explanation struct {
	Request Request
	Port    *Port
	Result  Result
	// Host is the pattern under which Result.Target was found.
	Host string
	// Passed are the matches that have precedence over the one that was taken,
	// and do not hold; in their order.
	Passed []Passed

	taken *candidate
	ended string // the pattern that ended the search, as it has an ordered route
}

// A Passed is a match that would have come first, had it held.
type Passed struct {
	Host   string // the pattern under which it stands
	Target *Target
	Match  int    // its index in Target.Rule.Matches
	Why    string // the first thing that does not hold
	Path   bool   // its path holds

	candidate *candidate
}

// Explain does what Match does, slowly, and tells about it.
func (p *Port) Explain(r *Request) *Explanation {
	e := &Explanation{Request: *r, Port: p, Result: p.Match(r)}
	host := absolute(r.Host)
	b, _ := p.bound.find(host, fromExact)
	if b == nil || e.Result.Misdirected || e.Result.Shut {
		return e
	}
	for _, pattern := range b.hosts.patterns() {
		if !covers(pattern, host) {
			continue
		}
		table := b.hosts.get(pattern)
		for _, c := range table.candidates() {
			why := c.why(r)
			if why == "" {
				e.Host, e.taken = pattern, c
				return e
			}
			e.Passed = append(e.Passed, Passed{pattern, c.target, c.index, why, c.holdsPath(r), c})
		}
		if table.ordered != nil {
			e.ended = pattern
			return e
		}
	}
	return e
}

// covers reports whether a host falls under a pattern.
func covers(pattern, host string) bool {
	if pattern == anyHost {
		return true
	}
	suffix, wild := strings.CutPrefix(pattern, "*")
	if !wild {
		return host == pattern
	}
	return len(host) <= maxHost && len(host) > len(suffix) && strings.HasSuffix(host, suffix)
}

// why returns the first reason why c does not take r, or nothing.
func (c *candidate) why(r *Request) string {
	if !c.holdsPath(r) {
		return fmt.Sprintf("path is %q, want %s", r.Path, c.pathText())
	}
	if c.method != "" && c.method != r.Method {
		return fmt.Sprintf("method is %s, want %s", r.Method, c.method)
	}
	for i := range c.header {
		if t := &c.header[i]; !t.holdsHeader(r) {
			value, ok := r.field(t.name)
			return t.why("header", value, ok)
		}
	}
	for i := range c.query {
		if t := &c.query[i]; !t.holdsQuery(r) {
			raw, ok := queryValue(r.Query, t.name)
			return t.why("query parameter", string(appendDecoded(nil, raw)), ok)
		}
	}
	if c.rare != nil {
		return c.rare.why(r)
	}
	return ""
}

func (t *valueTest) why(what, value string, ok bool) string {
	if !ok {
		return fmt.Sprintf("no %s %s, want %s", what, t.name, t.wantText(t.not))
	}
	return fmt.Sprintf("%s %s is %q, want %s", what, t.name, value, t.wantText(t.not))
}

func (t *rareTests) why(r *Request) string {
	if !within(r.Source, t.sources) {
		return fmt.Sprintf("source is %s, want %s", r.Source, prefixesText(t.sources))
	}
	if !within(r.Destination, t.destinations) {
		return fmt.Sprintf("destination is %s, want %s", r.Destination, prefixesText(t.destinations))
	}
	if !t.holdsNamespace(r) {
		return fmt.Sprintf("namespace of the client is %q, want %s", namespaceOf(r.Identity), strings.Join(t.namespaces, " or "))
	}
	for i := range t.claims {
		c := &t.claims[i]
		if c.holdsClaim(r) {
			continue
		}
		// Not its value: it is the token's, and may be a secret.
		if len(r.claim(c.path)) == 0 {
			return fmt.Sprintf("no claim %s, want %s", c.name(), c.wantText(c.not))
		}
		return fmt.Sprintf("claim %s has another value, want %s", c.name(), c.wantText(c.not))
	}
	return ""
}

func (t *claimTest) name() string { return strings.Join(t.path, ".") }

// wantText says which texts hold or, with not, which do not.
func (t *textTest) wantText(not bool) string {
	var text string
	switch t.kind {
	case TextPresent:
		if not {
			return "none"
		}
		return "any"
	case TextPrefix:
		text = fmt.Sprintf("a text that begins with %q", t.text)
	case TextRegex:
		text = fmt.Sprintf("a match of %q", t.text)
	default:
		text = fmt.Sprintf("%q", t.text)
	}
	if not {
		return "not " + text
	}
	return text
}

// prefixesText is for prefixes of addresses.
func prefixesText(list []netip.Prefix) string {
	texts := make([]string, len(list))
	for i, p := range list {
		texts[i] = p.String()
	}
	return strings.Join(texts, " or ")
}

func (c *candidate) pathText() string {
	var text string
	switch c.kind {
	case PathExact:
		text = fmt.Sprintf("exactly %q", c.path)
	case PathRegex:
		return fmt.Sprintf("a match of %q", c.path)
	case PathMethod:
		return fmt.Sprintf("gRPC method %q of any service", c.rpc)
	case PathTextPrefix:
		text = fmt.Sprintf("text prefix %q", c.path)
	default:
		text = fmt.Sprintf("prefix %q", cmp.Or(c.path, "/"))
	}
	if c.fold {
		text += " in either case"
	}
	return text
}

// String returns what a match asks for, as Dump and Explain show it.
func (c *candidate) String() string {
	parts := []string{c.pathText()}
	if c.method != "" {
		parts = append(parts, "method "+c.method)
	}
	for i := range c.header {
		parts = append(parts, "header "+c.header[i].name+" "+c.header[i].wantText(c.header[i].not))
	}
	for i := range c.query {
		parts = append(parts, "query parameter "+c.query[i].name+" "+c.query[i].wantText(c.query[i].not))
	}
	if c.rare != nil {
		parts = c.rare.appendText(parts)
	}
	return strings.Join(parts, ", ")
}

func (t *rareTests) appendText(parts []string) []string {
	if len(t.sources) > 0 {
		parts = append(parts, "source "+prefixesText(t.sources))
	}
	if len(t.destinations) > 0 {
		parts = append(parts, "destination "+prefixesText(t.destinations))
	}
	if len(t.namespaces) > 0 {
		parts = append(parts, "namespace of the client "+strings.Join(t.namespaces, " or "))
	}
	for i := range t.claims {
		parts = append(parts, "claim "+t.claims[i].name()+" "+t.claims[i].wantText(t.claims[i].not))
	}
	return parts
}

// where names a match: its object and field and, where it has one, its file.
func (c *candidate) where() string {
	o := c.target.Rule.Origin
	if o == (Origin{}) {
		return fmt.Sprintf("%s rules[%d].matches[%d]", c.target.Route.Name, c.target.Index, c.index)
	}
	if len(c.target.Rule.Matches) > 1 && o.Field != "" {
		o.Field += fmt.Sprintf(".matches[%d]", c.index)
	}
	if place := o.Place(); place != "" {
		return fmt.Sprintf("%s (%s)", o, place)
	}
	return o.String()
}

// maxMisses is how many matches String shows whose paths do not even hold.
const maxMisses = 20

// String returns the explanation as lines of text for people.
func (e *Explanation) String() string {
	var b strings.Builder
	r := &e.Request
	fmt.Fprintf(&b, "%s %s%s%s on %s\n", r.Method, r.Host, r.Path, r.queryText(), e.Port.Key)
	if !e.writeListener(&b) {
		return b.String()
	}
	shown := e.near()
	for i, p := range e.Passed {
		if p.Path || slices.Contains(shown, i) {
			fmt.Fprintf(&b, "passed over: %s, host %s: %s\n", p.candidate.where(), p.Host, p.text())
		}
	}
	if hidden := e.misses() - len(shown); hidden > 0 {
		fmt.Fprintf(&b, "passed over: %d more for other paths\n", hidden)
	}
	if t := e.Result.Target; t != nil && e.taken == nil {
		fmt.Fprintf(&b, "no route is attached, all requests: %s\naction: %s\n", e.Result.Listener.To, details(t.Action))
		return b.String()
	}
	if e.taken == nil && e.ended != "" && e.ended != anyHost {
		fmt.Fprintf(&b, "no rule takes it, and after the ordered rules of host %s no less specific one counts: 404\n", e.ended)
		return b.String()
	}
	if e.taken == nil {
		b.WriteString("no rule takes it: 404\n")
		return b.String()
	}
	fmt.Fprintf(&b, "taken: %s, host %s: %s\n", e.taken.where(), e.Host, e.taken)
	fmt.Fprintf(&b, "action: %s\n", details(e.taken.target.Action))
	return b.String()
}

// queryText returns the query with its '?'.
func (r *Request) queryText() string {
	if query := strings.TrimPrefix(r.Query, "?"); query != "" {
		return "?" + query
	}
	return ""
}

// text says why, and what the match asks for where that is not the same.
func (p *Passed) text() string {
	if !p.Path {
		return p.Why
	}
	return fmt.Sprintf("%s: %s", p.candidate, p.Why)
}

// writeListener tells about the listener; it reports whether a rule is looked
// for on it.
func (e *Explanation) writeListener(b *strings.Builder) bool {
	r, l := &e.Request, e.Result.Listener
	switch {
	case l == nil:
		fmt.Fprintf(b, "no listener covers the host: 404\n")
		for _, l := range e.Port.listeners {
			fmt.Fprintf(b, "passed over: listener %s, which covers %s\n", l.Name, l.pattern())
		}
	case e.Result.Misdirected:
		of := "no listener"
		if l := e.Port.ListenerFor(r.SNI); l != nil {
			of = "listener " + string(l.Name)
		}
		fmt.Fprintf(b, "the connection is for %q, of %s; the host is of listener %s: 421\n", r.SNI, of, l.Name)
	case e.Result.Shut:
		fmt.Fprintf(b, "listener %s, which covers %s, lets nobody in: its problems say why: 500\n", l.Name, l.pattern())
	case l.RedirectHTTPS && r.Scheme != "https":
		fmt.Fprintf(b, "listener %s, which covers %s, sends all requests to https: 301\n", l.Name, l.pattern())
	default:
		fmt.Fprintf(b, "listener %s, which covers %s\n", l.Name, l.pattern())
		return true
	}
	return false
}

// misses counts the matches whose paths do not hold.
func (e *Explanation) misses() (n int) {
	for i := range e.Passed {
		n += truth(!e.Passed[i].Path)
	}
	return n
}

// near returns the indexes of the misses that come nearest to the path.
func (e *Explanation) near() []int {
	var list []int
	for i := range e.Passed {
		if !e.Passed[i].Path {
			list = append(list, i)
		}
	}
	slices.SortStableFunc(list, func(i, j int) int {
		return common(e.Passed[j].candidate.path, e.Request.Path) - common(e.Passed[i].candidate.path, e.Request.Path)
	})
	return list[:min(len(list), maxMisses)]
}

// common returns the length of what a and b begin with.
func common(a, b string) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}
