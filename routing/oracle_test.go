package routing

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A verdict is what the specification says about a request, in names.
type verdict struct {
	Listener    ListenerName
	Route       RouteName
	Rule, Match int
	Prefix      string
	Misdirected bool
}

// judge reads Gateway API slowly and literally. It takes Specs whose parts are
// valid, but for regular expressions.
func judge(s *Spec, key PortKey, r *Request) verdict {
	on := judgeListeners(s, key)
	l := judgeListener(on, r.Host)
	if l == nil {
		return verdict{}
	}
	if l.Protocol != HTTP && judgeListener(on, r.SNI) != l {
		return verdict{Listener: l.Name, Misdirected: true}
	}
	var best *holding
	for _, route := range s.Routes {
		for _, h := range judgeRoute(route, l, r) {
			if best == nil || h.precedes(best) {
				best = &h
			}
		}
	}
	v := verdict{Listener: l.Name}
	if best != nil {
		v.Route, v.Rule, v.Match = best.route.Name, best.rule, best.index
		if best.match.Path.Kind == PathPrefix {
			v.Prefix = strings.TrimSuffix(best.match.Path.Value, "/")
		}
	}
	return v
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
	host        string
	rule, index int
	match       *Match
}

// judgeRoute returns the matches of a route that hold on a listener.
func judgeRoute(route *Route, l *Listener, r *Request) (list []holding) {
	for _, a := range route.Attached {
		for _, host := range a.Hosts {
			if a.Listener != l.Name || !judgeHost(host, r.Host) {
				continue
			}
			for i := range route.Rules {
				matches := route.Rules[i].Matches
				if len(matches) == 0 {
					matches = []Match{{}}
				}
				if !slices.ContainsFunc(matches, broken) {
					for j := range matches {
						if judgeMatch(&matches[j], r) {
							list = append(list, holding{route, host, i, j, &matches[j]})
						}
					}
				}
			}
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

func judgeMatch(m *Match, r *Request) bool {
	if m.Method != "" && m.Method != r.Method {
		return false
	}
	for _, h := range distinct(m.Headers) {
		value, ok := r.Header.Value(h.Name)
		if !ok || !judgeValue(h, value) {
			return false
		}
	}
	for _, q := range distinct(m.Query) {
		value, ok := judgeQuery(r.Query, q.Name)
		if !ok || !judgeValue(q, value) {
			return false
		}
	}
	return judgePath(m.Path, r.Path)
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

func judgeValue(v ValueMatch, value string) bool {
	if v.Kind == TextRegex {
		return wholly(v.Value, value)
	}
	return value == v.Value
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
	switch p.Kind {
	case PathExact:
		return path == p.Value
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

// precedes goes down the list of HTTPRouteSpec.hostnames and
// HTTPRouteRule.matches, "continuing on ties".
func (h *holding) precedes(k *holding) bool {
	named := func(h *holding) int {
		if strings.HasPrefix(h.host, "*") {
			return 0
		}
		return len(h.host)
	}
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
	object := func(h *holding) string { return strings.SplitN(string(h.route.Name), "/", 2)[1] }
	switch {
	case named(h) != named(k):
		return named(h) > named(k)
	case len(h.host) != len(k.host):
		return len(h.host) > len(k.host)
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
	case h.route.Created.IsZero() != k.route.Created.IsZero():
		return k.route.Created.IsZero()
	case !h.route.Created.Equal(k.route.Created):
		return h.route.Created.Before(k.route.Created)
	case object(h) != object(k):
		return object(h) < object(k)
	case h.route.Name != k.route.Name:
		return h.route.Name < k.route.Name
	case h.rule != k.rule:
		return h.rule < k.rule
	}
	return h.index < k.index
}

// verdictOf tells what Match found in the same words.
func verdictOf(p *Port, r *Request) verdict {
	if p == nil {
		return verdict{}
	}
	res := p.Match(r)
	v := verdict{Match: res.Match, Prefix: res.Prefix, Misdirected: res.Misdirected}
	if res.Listener != nil {
		v.Listener = res.Listener.Name
	}
	if res.Target != nil {
		v.Route, v.Rule = res.Target.Route.Name, res.Target.Index
	}
	return v
}

// compareWithJudge judges every request of the small grammar.
func compareWithJudge(t *testing.T, s *Spec, requests []Request) {
	t.Helper()
	snap, _ := Compile(s)
	p := snap.Port(port80)
	for i := range requests {
		r := &requests[i]
		if fast, slow := verdictOf(p, r), judge(s, port80, r); fast != slow {
			t.Fatalf("%s sni %q %s%s%s %v:\nfast   %+v\noracle %+v\n%s", r.Method, r.SNI, r.Host, r.Path, r.Query, r.Header, fast, slow, dump(snap))
		}
		if p != nil {
			checkExplanation(t, p, r)
		}
	}
}

// checkExplanation holds Explain to what Match says.
func checkExplanation(t *testing.T, p *Port, r *Request) {
	t.Helper()
	e := p.Explain(r)
	if e.String() == "" {
		t.Fatal("an explanation without a word")
	}
	if e.Result != p.Match(r) || (e.taken == nil) != (e.Result.Target == nil) {
		t.Fatalf("Explain found %+v, Match %+v", e.Result, p.Match(r))
	}
	if e.taken != nil && (e.taken.target != e.Result.Target || e.taken.index != e.Result.Match) {
		t.Fatalf("Explain took %s, Match %+v", e.taken, e.Result)
	}
	for _, passed := range e.Passed {
		if passed.Why == "" {
			t.Fatalf("%s passed over without a reason", passed.candidate)
		}
	}
}

func dump(s *Snapshot) string {
	var b strings.Builder
	if err := s.Dump(&b); err != nil {
		panic(err)
	}
	return b.String()
}

// TestEveryMatchAlone judges each match of the small grammar by itself.
func TestEveryMatchAlone(t *testing.T) {
	for _, path := range somePaths {
		for _, method := range []string{"", "GET"} {
			for _, headers := range someValues {
				compareWithJudge(t, oneListener(route("r", "*.a", Match{Path: path, Method: method, Headers: headers})), someRequests)
			}
			for _, query := range someValues {
				compareWithJudge(t, oneListener(route("r", "*.a", Match{Path: path, Method: method, Query: query})), someRequests)
			}
		}
	}
}

// TestEveryPair judges all pairs of matches, hosts and ages of the small
// grammar.
func TestEveryPair(t *testing.T) {
	var matches []Match
	for _, path := range somePaths {
		matches = append(matches, Match{Path: path}, Match{Path: path, Method: "GET"}, Match{Path: path, Headers: someValues[2]}, Match{Path: path, Query: someValues[1]})
	}
	requests := []Request{}
	for _, path := range someOfPaths {
		requests = append(requests, Request{Host: "x.a", Path: path, Method: "GET", Header: fields{"k": "1", "l": "2"}, Query: "?k=1"})
	}
	for i, one := range matches {
		for j, other := range matches {
			a, b := route("a", "x.a", one), route("b", "x.a", other)
			b.Created = someCreated[(i+j)%3]
			a.Created = someCreated[i%3]
			compareWithJudge(t, oneListener(a, b), requests)
		}
	}
	for _, one := range someHosts {
		for _, other := range someHosts {
			for _, path := range somePaths {
				compareWithJudge(t, oneListener(route("a", one, Match{Path: path}), route("b", other, prefix("/p"))), someRequests[:90])
			}
		}
	}
}

func TestRandomSpecs(t *testing.T) {
	for seed := range uint64(300) {
		compareWithJudge(t, (&dice{randomBytes(seed, 200)}).spec(), someRequests)
	}
}

func FuzzMatch(f *testing.F) {
	for seed := range uint64(4) {
		f.Add(randomBytes(seed, 200))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d := &dice{data}
		compareWithJudge(t, d.spec(), d.requests())
	})
}
