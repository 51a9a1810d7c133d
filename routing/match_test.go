package routing

import (
	"strings"
	"testing"
	"time"
)

// took returns the name of the route that takes a request on port 80, or "".
func took(t *testing.T, spec *Spec, r Request) string {
	t.Helper()
	snap, problems := Compile(spec)
	for _, p := range problems {
		t.Errorf("problem: %v", p)
	}
	res := snap.Port(port80).Match(&r)
	if res.Target == nil {
		return ""
	}
	return strings.TrimPrefix(string(res.Target.Route.Name), "HTTPRoute/ns/")
}

func get(host, path string) Request { return Request{Method: "GET", Host: host, Path: path} }

// headers is a match of the root with headers.
func headers(list ...ValueMatch) Match { return Match{Headers: list} }

func query(list ...ValueMatch) Match { return Match{Query: list} }

// HTTPRouteSpec.hostnames: "largest number of characters in a matching
// non-wildcard hostname".
func TestExactHostnamePrecedesWildcard(t *testing.T) {
	spec := oneListener(route("exact", "x.example.com", prefix("/")), route("a-wildcard", "*.example.com", exact("/cart")))
	if got := took(t, spec, get("x.example.com", "/cart")); got != "exact" {
		t.Errorf("took %q, want exact", got)
	}
}

// HTTPRouteSpec.hostnames: "largest number of characters in a matching hostname".
func TestLongerWildcardHostnamePrecedes(t *testing.T) {
	spec := oneListener(route("long", "*.x.example.com", prefix("/")), route("a-short", "*.example.com", prefix("/")), route("b-any", "*", prefix("/")))
	for host, want := range map[string]string{
		"y.x.example.com":   "long",
		"z.y.x.example.com": "long", // "*." covers several labels
		"x.example.com":     "a-short",
		"example.com":       "b-any",
	} {
		if got := took(t, spec, get(host, "/")); got != want {
			t.Errorf("%s: took %q, want %s", host, got, want)
		}
	}
}

// Precedence is given "to rules": one that does not match has none.
func TestUnmatchedRequestGoesOnToLessSpecificHostname(t *testing.T) {
	spec := oneListener(route("exact", "x.example.com", prefix("/cart")), route("any", "*", prefix("/")))
	if got := took(t, spec, get("x.example.com", "/other")); got != "any" {
		t.Errorf("took %q, want any", got)
	}
}

// HTTPRouteRule.matches: the list of criteria, one row for each.
func TestMatchPrecedence(t *testing.T) {
	one, two := ValueMatch{Name: "k", Value: "1"}, ValueMatch{Name: "l", Value: "2"}
	request := Request{Method: "GET", Host: "h", Path: "/shop/cart", Header: fields{"k": "1", "l": "2"}, Query: "?k=1&l=2"}
	tests := []struct {
		name          string
		winner, loser Match
	}{
		{"exact path", exact("/shop/cart"), Match{Path: prefix("/shop/cart").Path, Method: "GET"}},
		{"expression before prefix", regex("/shop/.*"), prefix("/shop/cart")},
		{"longer expression", regex("/shop/c.*"), regex("/shop/.*")},
		{"longer prefix", prefix("/shop/cart"), Match{Path: prefix("/shop").Path, Method: "GET"}},
		{"method", Match{Method: "GET"}, headers(one, two)},
		{"more headers", headers(one, two), Match{Headers: []ValueMatch{one}, Query: []ValueMatch{one, two}}},
		{"more query parameters", query(one, two), query(one)},
	}
	for _, tt := range tests {
		// The loser has the older route and the better name.
		winner, loser := route("winner", "h", tt.winner), route("a-loser", "h", tt.loser)
		loser.Created = time.Unix(1, 0)
		if got := took(t, oneListener(winner, loser), request); got != "winner" {
			t.Errorf("%s: took %q", tt.name, got)
		}
	}
}

// "The oldest Route based on creation timestamp."
func TestOlderRoutePrecedes(t *testing.T) {
	old, young, ageless := route("c-old", "h", prefix("/")), route("b-young", "h", prefix("/")), route("a-ageless", "h", prefix("/"))
	old.Created, young.Created = time.Unix(1, 0), time.Unix(2, 0)
	if got := took(t, oneListener(old, young, ageless), get("h", "/")); got != "c-old" {
		t.Errorf("took %q, want c-old", got)
	}
	if got := took(t, oneListener(young, ageless), get("h", "/")); got != "b-young" {
		t.Errorf("took %q, want b-young", got)
	}
}

// "The Route appearing first in alphabetical order by {namespace}/{name}",
// whatever its kind.
func TestFirstNamePrecedes(t *testing.T) {
	a, b := route("a", "h", prefix("/")), route("b", "h", prefix("/"))
	b.Name = "GRPCRoute/ns/b"
	if got := took(t, oneListener(a, b), get("h", "/")); got != "a" {
		t.Errorf("took %q, want a", got)
	}
}

// "The FIRST matching rule (in list order) with a match meeting the above
// criteria."
func TestFirstRuleOfRoutePrecedes(t *testing.T) {
	snap, _ := Compile(oneListener(route("r", "h", query(ValueMatch{Name: "k", Value: "1"}), prefix("/"), prefix("/"))))
	r := get("h", "/")
	if res := snap.Port(port80).Match(&r); res.Target.Index != 1 {
		t.Errorf("rule %d, want 1", res.Target.Index)
	}
}

func TestPrefixMatchesWholeSegments(t *testing.T) {
	tests := []struct {
		prefix, path string
		want         bool
	}{
		{"/", "/any/thing", true},
		{"", "*", true}, // OPTIONS *
		{"/shop", "/shop", true},
		{"/shop", "/shop/", true},
		{"/shop", "/shop/cart", true},
		{"/shop", "/shopping", false},
		{"/shop", "/Shop", false},
		{"/shop/", "/shop", true}, // a '/' at the end means nothing
		{"/shop/", "/shopping", false},
		{"/shop/cart", "/shop", false},
		{"/shop", "//shop", false},
	}
	for _, tt := range tests {
		got := took(t, oneListener(route("r", "h", prefix(tt.prefix))), get("h", tt.path)) != ""
		if got != tt.want {
			t.Errorf("prefix %q, path %q: %v, want %v", tt.prefix, tt.path, got, tt.want)
		}
	}
}

func TestResultHasPrefixToReplace(t *testing.T) {
	tests := []struct {
		match Match
		want  string
	}{
		{prefix("/shop"), "/shop"},
		{prefix("/shop/"), "/shop"},
		{prefix("/"), ""},
		{exact("/shop/cart"), ""},
	}
	for _, tt := range tests {
		snap, _ := Compile(oneListener(route("r", "h", tt.match)))
		r := get("h", "/shop/cart")
		if res := snap.Port(port80).Match(&r); res.Target == nil || res.Prefix != tt.want {
			t.Errorf("%+v: prefix %q, want %q", tt.match.Path, res.Prefix, tt.want)
		}
	}
}

// "Only the first entry with an equivalent name MUST be considered for a match."
func TestFirstOfEqualHeaderNamesCounts(t *testing.T) {
	spec := oneListener(route("r", "h", headers(ValueMatch{Name: "k", Value: "1"}, ValueMatch{Name: "k", Value: "2"})))
	r := get("h", "/")
	r.Header = fields{"k": "1"}
	if got := took(t, spec, r); got != "r" {
		t.Errorf("took %q, want r", got)
	}
}

func TestHeaderMatchWithoutHeaders(t *testing.T) {
	if got := took(t, oneListener(route("r", "h", headers(ValueMatch{Name: "k"}))), get("h", "/")); got != "" {
		t.Errorf("took %q, want none", got)
	}
}

func TestQueryParameters(t *testing.T) {
	tests := []struct {
		match ValueMatch
		query string
		want  bool
	}{
		{ValueMatch{Name: "k", Value: "a b"}, "?k=a+b", true},
		{ValueMatch{Name: "k", Value: "a b"}, "?k=a%20b", true},
		{ValueMatch{Name: "k", Value: "a+b"}, "?k=a+b", false},
		{ValueMatch{Name: "k", Value: "1"}, "?%6B=%31", true},
		{ValueMatch{Name: "k", Value: "1"}, "?K=1", false},
		{ValueMatch{Name: "k", Value: "1"}, "?k=2&k=1", false}, // the first value counts
		{ValueMatch{Name: "k", Value: "100%"}, "?k=100%", true},
		{ValueMatch{Name: "k", Value: "100%zz"}, "?k=100%zz", true},
		{ValueMatch{Name: "k", Value: ""}, "?k", true},
		{ValueMatch{Name: "k", Value: ""}, "?kk=1", false},
		{ValueMatch{Name: "k", Value: "a.c", Kind: TextRegex}, "?k=a%20c", true},
		{ValueMatch{Name: "k", Value: "a.c", Kind: TextRegex}, "?k=abcd", false}, // the whole value
	}
	for _, tt := range tests {
		r := get("h", "/")
		r.Query = tt.query
		if got := took(t, oneListener(route("r", "h", query(tt.match))), r) != ""; got != tt.want {
			t.Errorf("%+v, query %q: %v, want %v", tt.match, tt.query, got, tt.want)
		}
	}
}

func TestHostLongerThanDNSNameIsUnderAnyHostOnly(t *testing.T) {
	spec := oneListener(route("wild", "*.example.com", prefix("/")), route("any", "*", prefix("/")))
	if got := took(t, spec, get(strings.Repeat("a.", 200)+"example.com", "/")); got != "any" {
		t.Errorf("took %q, want any", got)
	}
}

// twoListeners has a listener for a wildcard and one for a name under it.
func twoListeners(p Protocol) *Spec {
	s := oneListener()
	s.Listeners = map[ListenerName]*Listener{
		"ns/gw/any":  {Name: "ns/gw/any", Port: 80, Protocol: p, TLS: &ListenerTLS{}},
		"ns/gw/wild": {Name: "ns/gw/wild", Port: 80, Protocol: p, TLS: &ListenerTLS{}, Hostname: "*.example.com"},
		"ns/gw/name": {Name: "ns/gw/name", Port: 80, Protocol: p, TLS: &ListenerTLS{}, Hostname: "x.example.com"},
	}
	r := route("r", "*", prefix("/any"))
	r.Attached = []Attachment{{"ns/gw/any", []string{"*"}}}
	s.Routes[r.Name] = r
	return s
}

// Listener isolation: "requests SHOULD match at most one Listener".
func TestRoutesOfOtherListenersDoNotCount(t *testing.T) {
	snap, _ := Compile(twoListeners(HTTP))
	for host, want := range map[string]ListenerName{
		"x.example.com": "ns/gw/name", "y.example.com": "ns/gw/wild", "example.com": "ns/gw/any",
	} {
		r := get(host, "/any")
		res := snap.Port(port80).Match(&r)
		if res.Listener.Name != want || (res.Target != nil) != (want == "ns/gw/any") {
			t.Errorf("%s: listener %s, target %v; want listener %s, a target on ns/gw/any only", host, res.Listener.Name, res.Target, want)
		}
	}
}

// RFC 9110 section 15.5.20, as Listener.hostname asks for it.
func TestMisdirectedRequests(t *testing.T) {
	snap, _ := Compile(twoListeners(HTTPS))
	tests := []struct {
		sni, host string
		want      bool
	}{
		{"x.example.com", "x.example.com", false},
		{"x.example.com", "y.example.com", true},
		{"y.example.com", "z.example.com", false}, // both are the wildcard's
		{"y.example.com", "x.example.com", true},
		{"x.example.com", "other.org", true},
		{"other.org", "another.org", false},
		{"", "other.org", false}, // no name: the listener without hostname
		{"", "x.example.com", true},
	}
	for _, tt := range tests {
		r := Request{SNI: tt.sni, Host: tt.host, Path: "/any", Method: "GET"}
		res := snap.Port(port80).Match(&r)
		if res.Misdirected != tt.want || res.Misdirected && res.Target != nil {
			t.Errorf("sni %q, host %q: misdirected %v, target %v; want %v", tt.sni, tt.host, res.Misdirected, res.Target, tt.want)
		}
	}
	if r := get("h", "/"); (&Port{}).Match(&r) != (Result{}) {
		t.Error("a port without listeners has a result")
	}
}

func TestListenerFor(t *testing.T) {
	snap, _ := Compile(twoListeners(HTTPS))
	p := snap.Port(port80)
	for sni, want := range map[string]ListenerName{
		"x.example.com": "ns/gw/name", "a.b.example.com": "ns/gw/wild", "": "ns/gw/any",
	} {
		if got := p.ListenerFor(sni); got.Name != want {
			t.Errorf("ListenerFor(%q) = %s, want %s", sni, got.Name, want)
		}
	}
	if got := new(Port).ListenerFor("x"); got != nil {
		t.Errorf("ListenerFor without listeners = %v, want nil", got)
	}
}

func TestMatchDoesNotAllocate(t *testing.T) {
	all := Match{
		Path: prefix("/p").Path, Method: "GET",
		Headers: []ValueMatch{{Name: "k", Value: "[0-9]+", Kind: TextRegex}, {Name: "l", Value: "2"}},
		Query:   []ValueMatch{{Name: "k", Value: "3.3", Kind: TextRegex}, {Name: "l", Value: "4 4"}},
	}
	snap, _ := Compile(oneListener(route("r", "*.a", all, regex("/q.*")), route("s", "x.a", prefix("/s"))))
	p := snap.Port(port80)
	var source HeaderSource = fields{"k": "17", "l": "2"}
	r := &Request{Host: "x.a", Path: "/p/q", Query: "?k=3%203&l=4+4", Method: "GET", Header: source}
	if p.Match(r).Target == nil {
		t.Fatal("no target")
	}
	if n := testing.AllocsPerRun(100, func() { p.Match(r) }); n != 0 {
		t.Errorf("Match allocates %v times, want 0", n)
	}
}
