package routing

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A verdict is what the specification says about a request, in names.
type verdict struct {
	Listener    ListenerName
	Route       RouteName
	Rule, Match int
	Prefix      string
	Matched     int
	Misdirected bool
	Shut        bool
}

// judge reads Gateway API slowly and literally. It takes Specs whose parts are
// valid, but for regular expressions.
func judge(s *Spec, key PortKey, r *Request) verdict {
	on := judgeListeners(s, key)
	l := judgeListener(on, r.Host)
	if l == nil {
		return verdict{}
	}
	if of := judgeListener(on, r.SNI); l.Protocol != HTTP && of != l && (of == nil || of.Group != l.Group || l.Group == "") {
		return verdict{Listener: l.Name, Misdirected: true}
	}
	if l.TLS != nil && l.TLS.Client != nil { // without a certificate in the small grammar
		return verdict{Listener: l.Name, Shut: true}
	}
	for _, host := range judgeHosts(s, l, r.Host) {
		var best *holding
		for _, h := range judgeRoutes(s, l, host, r, false) {
			if best == nil || h.precedes(best) {
				best = &h
			}
		}
		ordered := judgeOrdered(s, l, host, r)
		if best == nil && len(ordered) > 0 {
			best = &ordered[0]
		}
		if best != nil {
			return best.verdict(l, r)
		}
		if len(attachedHere(s, l, host, true)) > 0 {
			break
		}
	}
	return verdict{Listener: l.Name}
}

func (h *holding) verdict(l *Listener, r *Request) verdict {
	v := verdict{Listener: l.Name, Route: h.route.Name, Rule: h.rule, Match: h.index, Matched: len(r.Path)}
	path := h.match.Path
	switch path.Kind {
	case PathPrefix:
		v.Prefix, v.Matched = strings.TrimSuffix(path.Value, "/"), 1
		if path.IgnoreCase {
			v.Prefix = strings.ToLower(v.Prefix)
		}
		if v.Prefix != "" {
			v.Matched = len(v.Prefix)
		}
	case PathTextPrefix:
		v.Matched = len(path.Value)
	}
	return v
}

// judgeHosts returns the hosts that routes have on a listener and a request is
// for, the most specific one first.
func judgeHosts(s *Spec, l *Listener, host string) (list []string) {
	for _, route := range s.Routes {
		for _, a := range route.Attached {
			for _, h := range a.Hosts {
				if a.Listener == l.Name && judgeHost(h, host) && !slices.Contains(list, h) {
					list = append(list, h)
				}
			}
		}
	}
	slices.SortFunc(list, func(a, b string) int { return specific(b) - specific(a) })
	return list
}

// attachedHere returns the routes, ordered or not, that are attached to a host
// of a listener, the older one first, then by name.
func attachedHere(s *Spec, l *Listener, host string, ordered bool) (list []*Route) {
	for _, route := range s.Routes {
		on := slices.ContainsFunc(route.Attached, func(a Attachment) bool {
			return a.Listener == l.Name && slices.Contains(a.Hosts, host)
		})
		if on && route.Ordered == ordered {
			list = append(list, route)
		}
	}
	slices.SortFunc(list, func(a, b *Route) int {
		if older := (&holding{route: a}).older(&holding{route: b}); older {
			return -1
		}
		return 1
	})
	return list
}

// judgeOrdered reads Route.Ordered literally: it writes the rules of all routes
// down, one match a line, and moves what takes every request to the end. It
// returns the lines that hold.
func judgeOrdered(s *Spec, l *Listener, host string, r *Request) (list []holding) {
	var rest, last []holding
	for _, route := range attachedHere(s, l, host, true) {
		for _, h := range judgeLines(route) {
			if everything(h.match) {
				last = append(last, h)
				break // nothing of the route comes after it
			}
			rest = append(rest, h)
		}
	}
	for _, h := range append(rest, last...) {
		if judgeMatch(h.match, r, true) {
			list = append(list, h)
		}
	}
	return list
}

// everything reports whether a match takes every request, as Istio tells it.
func everything(m *Match) bool {
	path := m.Path.Value
	any := m.Path.Kind == PathPrefix && (path == "" || path == "/") || m.Path.Kind == PathTextPrefix && path == "/" ||
		m.Path.Kind == PathRegex && path == ".*"
	return any && m.Method == "" && len(m.Headers)+len(m.Query)+len(m.Sources)+len(m.Destinations)+len(m.Namespaces)+len(m.Claims) == 0
}

// judgeListeners returns who gets a port: by age and name, one protocol, one
// listener to a hostname.
func judgeListeners(s *Spec, key PortKey) []*Listener {
	var all, on []*Listener
	for _, l := range s.Listeners {
		mine := len(l.Addresses) == 0 && !key.Addr.IsValid() || slices.Contains(l.Addresses, key.Addr)
		if mine && l.Port == key.Port && (l.Protocol == UDP) == key.UDP {
			all = append(all, l)
		}
	}
	slices.SortFunc(all, func(a, b *Listener) int {
		if !a.Created.Equal(b.Created) {
			if b.Created.IsZero() || !a.Created.IsZero() && a.Created.Before(b.Created) {
				return -1
			}
			return 1
		}
		return strings.Compare(string(a.Name), string(b.Name))
	})
	secure := func(p Protocol) bool { return p == HTTPS || p == TLS }
	for _, l := range all {
		ok := true
		for _, other := range on {
			if l.Hostname == other.Hostname || secure(l.Protocol) != secure(other.Protocol) {
				ok = false
			}
		}
		if ok {
			on = append(on, l)
		}
	}
	return on
}

// judgeListener returns the listener with the most specific hostname.
func judgeListener(on []*Listener, host string) *Listener {
	var best *Listener
	for _, l := range on {
		pattern := l.Hostname
		if pattern == "" {
			pattern = "*"
		}
		if !judgeHost(pattern, host) {
			continue
		}
		if best == nil || specific(pattern) > specific(best.Hostname) {
			best = l
		}
	}
	return best
}

// specific grows with how specific a hostname is.
func specific(pattern string) int {
	if strings.HasPrefix(pattern, "*") {
		return len(pattern)
	}
	return len(pattern) * 1000
}

// judgeHost splits names into labels: an asterisk stands for one or more, and
// for a character at least.
func judgeHost(pattern, host string) bool {
	if pattern == "*" {
		return true
	}
	host = strings.TrimSuffix(host, ".")
	p, h := strings.Split(pattern, "."), strings.Split(host, ".")
	if p[0] != "*" {
		return slices.Equal(p, h)
	}
	return len(host) >= len(pattern) && len(h) >= len(p) && slices.Equal(p[1:], h[len(h)-len(p)+1:])
}

// A holding is a match that holds for a request.
type holding struct {
	route       *Route
	rule, index int
	match       *Match
}

// judgeRoutes returns the matches of the routes on a host that hold.
func judgeRoutes(s *Spec, l *Listener, host string, r *Request, ordered bool) (list []holding) {
	for _, route := range attachedHere(s, l, host, ordered) {
		for _, h := range judgeLines(route) {
			if judgeMatch(h.match, r, ordered) {
				list = append(list, h)
			}
		}
	}
	return list
}

// judgeLines returns the matches of a route's rules, in the author's order, but
// for rules one of whose matches is broken.
func judgeLines(route *Route) (list []holding) {
	for i := range route.Rules {
		matches := route.Rules[i].Matches
		if len(matches) == 0 {
			matches = []Match{{}}
		}
		if slices.ContainsFunc(matches, broken) {
			continue
		}
		for j := range matches {
			list = append(list, holding{route, i, j, &matches[j]})
		}
	}
	return list
}

// broken reports whether a match has an expression that does not compile.
func broken(m Match) bool {
	bad := func(expr string) bool { _, err := regexp.Compile(expr); return err != nil }
	for _, v := range slices.Concat(m.Headers, m.Query) {
		if v.Kind == TextRegex && bad(v.Value) {
			return true
		}
	}
	return m.Path.Kind == PathRegex && bad(m.Path.Value)
}

func judgeMatch(m *Match, r *Request, ordered bool) bool {
	headers, query := m.Headers, m.Query
	if !ordered {
		headers, query = distinct(headers), distinct(query)
	}
	if m.Method != "" && m.Method != r.Method {
		return false
	}
	for _, h := range headers {
		all := fields{":method": r.Method, ":scheme": r.Scheme, ":authority": r.Authority}
		value, ok := all.Value(h.Name)
		if !strings.HasPrefix(h.Name, ":") {
			value, ok = r.Header.Value(h.Name)
		}
		if ok = ok && judgeText(h.Kind, h.Value, value); ok == h.Not {
			return false
		}
	}
	for _, q := range query {
		value, ok := judgeQuery(r.Query, q.Name)
		if ok = ok && judgeText(q.Kind, q.Value, value); ok == q.Not {
			return false
		}
	}
	for _, c := range m.Claims {
		var values []string
		if r.Claims != nil {
			values = r.Claims.Claim(c.Path)
		}
		ok := slices.ContainsFunc(values, func(v string) bool { return judgeText(c.Kind, c.Value, v) })
		if ok == c.Not {
			return false
		}
	}
	if len(m.Namespaces) > 0 && !slices.ContainsFunc(m.Namespaces, func(ns string) bool {
		return regexp.MustCompile("^spiffe://[^/]*/ns/" + regexp.QuoteMeta(ns) + "/").MatchString(r.Identity)
	}) {
		return false
	}
	return judgeAddress(m.Sources, r.Source) && judgeAddress(m.Destinations, r.Destination) && judgePath(m.Path, r.Path)
}

// judgeAddress compares bit by bit.
func judgeAddress(prefixes []netip.Prefix, addr netip.Addr) bool {
	if len(prefixes) == 0 {
		return true
	}
	bits := func(a netip.Addr) (s string) {
		for _, b := range a.Unmap().AsSlice() {
			s += fmt.Sprintf("%08b", b)
		}
		return s
	}
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool {
		want, got := bits(p.Addr()), bits(addr)
		return len(want) == len(got) && want[:p.Bits()] == got[:p.Bits()]
	})
}

// distinct keeps the first of equal names.
func distinct(list []ValueMatch) (kept []ValueMatch) {
	for _, v := range list {
		if !slices.ContainsFunc(kept, func(k ValueMatch) bool { return k.Name == v.Name }) {
			kept = append(kept, v)
		}
	}
	return kept
}

func judgeText(kind TextKind, want, value string) bool {
	switch kind {
	case TextRegex:
		return wholly(want, value)
	case TextPrefix:
		return len(value) >= len(want) && value[:len(want)] == want
	case TextPresent:
		return true
	}
	return value == want
}

// wholly reports whether all of text matches, by trying: the longest match has
// to be all of it.
func wholly(expr, text string) bool {
	re := regexp.MustCompile(expr)
	re.Longest()
	return slices.ContainsFunc(re.FindAllStringIndex(text, -1), func(at []int) bool {
		return at[0] == 0 && at[1] == len(text)
	})
}

var percent = regexp.MustCompile("%[0-9a-fA-F]{2}")

func judgeQuery(query, name string) (string, bool) {
	decode := func(s string) string {
		return percent.ReplaceAllStringFunc(strings.ReplaceAll(s, "+", " "), func(code string) string {
			n, _ := strconv.ParseUint(code[1:], 16, 8)
			return string([]byte{byte(n)})
		})
	}
	for _, param := range strings.Split(strings.TrimPrefix(query, "?"), "&") {
		key, value, _ := strings.Cut(param, "=")
		if param != "" && decode(key) == name {
			return decode(value), true
		}
	}
	return "", false
}

// judgePath compares path elements; a '/' at the end of a prefix is ignored.
func judgePath(p PathMatch, path string) bool {
	if p.IgnoreCase {
		p.Value, path = strings.ToLower(p.Value), strings.ToLower(path)
	}
	switch p.Kind {
	case PathExact:
		return path == p.Value
	case PathTextPrefix:
		return strings.HasPrefix(path, p.Value)
	case PathRegex:
		return wholly(p.Value, path)
	}
	prefix := strings.Split(strings.TrimSuffix(p.Value, "/"), "/")
	elements := strings.Split(path, "/")
	if p.Kind == PathMethod {
		return len(elements) == 3 && elements[0] == "" && elements[1] != "" && elements[2] == p.Value
	}
	return len(prefix) == 1 || len(prefix) <= len(elements) && slices.Equal(prefix, elements[:len(prefix)])
}

// precedes goes down the list of HTTPRouteRule.matches, "continuing on ties".
func (h *holding) precedes(k *holding) bool {
	kind := func(h *holding, kind PathKind) bool { return h.match.Path.Kind == kind }
	length := func(h *holding) int {
		switch h.match.Path.Kind {
		case PathPrefix:
			return len(strings.TrimSuffix(h.match.Path.Value, "/"))
		case PathRegex:
			return len(h.match.Path.Value)
		}
		return 0
	}
	method := func(h *holding) int {
		if h.match.Path.Kind == PathMethod {
			return len(h.match.Path.Value)
		}
		return 0
	}
	switch {
	case kind(h, PathExact) != kind(k, PathExact):
		return kind(h, PathExact)
	case kind(h, PathRegex) != kind(k, PathRegex):
		return kind(h, PathRegex)
	case length(h) != length(k):
		return length(h) > length(k)
	case method(h) != method(k):
		return method(h) > method(k)
	case (h.match.Method != "") != (k.match.Method != ""):
		return h.match.Method != ""
	case len(distinct(h.match.Headers)) != len(distinct(k.match.Headers)):
		return len(distinct(h.match.Headers)) > len(distinct(k.match.Headers))
	case len(distinct(h.match.Query)) != len(distinct(k.match.Query)):
		return len(distinct(h.match.Query)) > len(distinct(k.match.Query))
	case h.route != k.route:
		return h.older(k)
	case h.rule != k.rule:
		return h.rule < k.rule
	}
	return h.index < k.index
}

// older compares age, then "namespace/name", then the name with its kind.
func (h *holding) older(k *holding) bool {
	object := func(h *holding) string { return strings.SplitN(string(h.route.Name), "/", 2)[1] }
	switch {
	case h.route.Created.IsZero() != k.route.Created.IsZero():
		return k.route.Created.IsZero()
	case !h.route.Created.Equal(k.route.Created):
		return h.route.Created.Before(k.route.Created)
	case object(h) != object(k):
		return object(h) < object(k)
	}
	return h.route.Name < k.route.Name
}
