package routing

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// ordered returns an ordered route on oneListener's listener.
func ordered(name, host string, matches ...Match) *Route {
	r := route(name, host, matches...)
	r.Ordered = true
	return r
}

func textPrefix(path string) Match { return Match{Path: PathMatch{Kind: PathTextPrefix, Value: path}} }

// wantRules fails the test unless requests for these paths of host h are taken
// by these rules, "route index" or "".
func wantRules(t *testing.T, spec *Spec, want map[string]string) {
	t.Helper()
	snap, problems := Compile(spec)
	for _, p := range problems {
		t.Errorf("problem: %v", p)
	}
	for path, rule := range want {
		r, got := get("h", path), ""
		if res := snap.Port(port80).Match(&r); res.Target != nil {
			got = fmt.Sprintf("%s %d", strings.TrimPrefix(string(res.Target.Route.Name), "HTTPRoute/ns/"), res.Target.Index)
		}
		if got != rule {
			t.Errorf("%s: taken by %q, want %q", path, got, rule)
		}
	}
}

// VirtualService.http: "The first rule matching an incoming request is used."
func TestOrderedRulesAreTriedInTheAuthorsOrder(t *testing.T) {
	wantRules(t, oneListener(ordered("r", "h", textPrefix("/a"), exact("/a/b"), regex("/c.*"), textPrefix("/c/d"), prefix("/e"), textPrefix("/e/f"))), map[string]string{
		"/a/b": "r 0", "/a": "r 0", "/c/d": "r 2", "/e/f": "r 4", "/ef": "", "/": "",
	})
}

// Law 4: Gateway API's rules come first on a host, whatever they match.
func TestUnorderedRulesComeFirst(t *testing.T) {
	old := ordered("a-old", "h", exact("/a"), textPrefix("/"))
	old.Created = time.Unix(1, 0)
	wantRules(t, oneListener(old, route("r", "h", prefix("/a"))), map[string]string{"/a": "r 0", "/a/b": "r 0", "/ab": "a-old 1"})
}

// On a gateway the rules of several VirtualServices of one host are joined,
// those of the older one first, and what takes every request comes last.
func TestOrderedRoutesOfOneHostAreJoined(t *testing.T) {
	old, young := ordered("z-old", "h", textPrefix("/a"), Match{}), ordered("young", "h", textPrefix("/a/b"), textPrefix("/c"), textPrefix("/"))
	old.Created, young.Created = time.Unix(1, 0), time.Unix(2, 0)
	wantRules(t, oneListener(old, young), map[string]string{"/a/b": "z-old 0", "/c": "young 1", "/d": "z-old 1"})
	a, b := ordered("a", "h", textPrefix("/a")), ordered("b", "h", textPrefix("/a"), Match{})
	wantRules(t, oneListener(a, b), map[string]string{"/a": "a 0", "/b": "b 1"})
}

// A rule that takes every request hides the rest of its own VirtualService,
// although it comes after those of others.
func TestNothingOfARouteComesAfterWhatTakesEveryRequest(t *testing.T) {
	for _, all := range []Match{{}, prefix("/"), textPrefix("/"), regex(".*")} {
		wantRules(t, oneListener(ordered("a", "h", textPrefix("/a"), all, textPrefix("/b"), Match{})), map[string]string{"/a": "a 0", "/b": "a 1"})
	}
	two := ordered("two", "h", textPrefix("/a"), textPrefix("/b"))
	two.Rules[0].Matches = append(two.Rules[0].Matches, Match{}) // of any match of a rule
	wantRules(t, oneListener(two), map[string]string{"/a": "two 0", "/b": "two 0"})
	// What has a condition is not for every request.
	wantRules(t, oneListener(ordered("a", "h", Match{Method: "POST"}, textPrefix("/b"))), map[string]string{"/b": "a 1"})
}

// A virtual host of Envoy answers 404 to what none of its routes takes, also
// where no rule of them is in force.
func TestOrderedRouteEndsTheSearch(t *testing.T) {
	any := route("any", "*", prefix("/"))
	snap, _ := Compile(oneListener(any, ordered("r", "h", textPrefix("/a")), ordered("bad", "bad", regex("(")), ordered("wild", "*.w", Match{}), route("x", "x.w", prefix("/x"))))
	for _, tt := range []struct{ host, path, want string }{
		{"h", "/a", "HTTPRoute/ns/r"},
		{"h", "/b", ""},
		{"bad", "/", ""},
		{"other", "/b", "HTTPRoute/ns/any"},
		{"x.w", "/b", "HTTPRoute/ns/wild"}, // only an ordered route ends it
	} {
		r, got := get(tt.host, tt.path), ""
		if res := snap.Port(port80).Match(&r); res.Target != nil {
			got = string(res.Target.Route.Name)
		}
		if got != tt.want {
			t.Errorf("%s%s: taken by %q, want %q", tt.host, tt.path, got, tt.want)
		}
	}
	var gone Delta
	gone.Removed.Routes = []RouteName{"HTTPRoute/ns/bad"}
	next, _ := snap.Update(&gone)
	if r := get("bad", "/"); next.Port(port80).Match(&r).Target == nil {
		t.Error("a host whose ordered route is gone still ends the search")
	}
}

// StringMatch.prefix of a VirtualService, HTTPMatchRequest.ignoreUriCase.
func TestPathsOfOrderedRoutes(t *testing.T) {
	fold := func(m Match) Match { m.Path.IgnoreCase = true; return m }
	tests := []struct {
		match Match
		path  string
		want  bool
	}{
		{textPrefix("/foo"), "/foobar", true},
		{textPrefix("/foo/"), "/foo", false},
		{textPrefix("/foo"), "/Foo", false},
		{fold(textPrefix("/fOO")), "/Foobar", true},
		{fold(textPrefix("/foo")), "/fo", false},
		{fold(exact("/Foo")), "/foO", true},
		{fold(exact("/foo")), "/foo/", false},
		{fold(prefix("/Foo")), "/fOO/bar", true},
		{fold(prefix("/foo")), "/FOOBAR", false},
		{fold(exact("/ä")), "/Ä", false}, // ASCII only
		{prefix("/foo"), "/foobar", false},
	}
	for _, tt := range tests {
		// Beside others, so that there is a tree.
		spec := oneListener(ordered("r", "h", textPrefix("/foo/x"), fold(textPrefix("/fo/x")), tt.match))
		if got := took(t, spec, get("h", tt.path)) != ""; got != tt.want {
			t.Errorf("%s %q, in either case %v, of %q: %v, want %v", tt.match.Path.Kind, tt.match.Path.Value, tt.match.Path.IgnoreCase, tt.path, got, tt.want)
		}
	}
}

func TestTextKinds(t *testing.T) {
	tests := []struct {
		match ValueMatch
		query string
		want  bool
	}{
		{ValueMatch{Kind: TextPrefix, Value: "a b"}, "k=a%20bc", true},
		{ValueMatch{Kind: TextPrefix, Value: "ab"}, "k=a", false},
		{ValueMatch{Kind: TextPresent}, "k", true},
		{ValueMatch{Kind: TextPresent}, "k=%20", true},
		{ValueMatch{Kind: TextPresent}, "l=1", false},
		{ValueMatch{Kind: TextPresent, Not: true}, "l=1", true},
		{ValueMatch{Kind: TextPresent, Not: true}, "k", false},
		{ValueMatch{Kind: TextExact, Value: "1", Not: true}, "l=1", true}, // there is no such value
		{ValueMatch{Kind: TextExact, Value: "1", Not: true}, "k=1", false},
		{ValueMatch{Kind: TextRegex, Value: "[12]", Not: true}, "k=3", true},
		{ValueMatch{Kind: TextRegex, Value: "[12]", Not: true}, "k=%31", false},
	}
	for _, tt := range tests {
		tt.match.Name = "k"
		r := get("h", "/")
		r.Query = tt.query
		if got := took(t, oneListener(route("r", "h", query(tt.match))), r) != ""; got != tt.want {
			t.Errorf("%+v, query %q: %v, want %v", tt.match, tt.query, got, tt.want)
		}
		if strings.ContainsAny(tt.query, "%l") {
			continue
		}
		key, value, _ := strings.Cut(tt.query, "=")
		r.Header = fields{key: value}
		if got := took(t, oneListener(route("r", "h", headers(tt.match))), r) != ""; got != tt.want {
			t.Errorf("%+v, header %q: %v, want %v", tt.match, tt.query, got, tt.want)
		}
	}
}

// withoutHeaders and headers of one name both count; of Gateway API's the
// first does.
func TestTwoTestsOfOneHeader(t *testing.T) {
	m := headers(ValueMatch{Name: "k", Kind: TextPresent}, ValueMatch{Name: "k", Value: "1", Not: true})
	r := get("h", "/")
	r.Header = fields{"k": "1"}
	if got := took(t, oneListener(ordered("r", "h", m)), r); got != "" {
		t.Errorf("ordered: taken by %q, want none", got)
	}
	if got := took(t, oneListener(route("r", "h", m)), r); got != "r" {
		t.Errorf("not ordered: taken by %q, want r", got)
	}
}

// HTTPMatchRequest.scheme, method and authority compare as headers do.
func TestPseudoHeaders(t *testing.T) {
	r := Request{Host: "h", Path: "/", Method: "GET", Scheme: "https", Authority: "H:8443"}
	tests := map[ValueMatch]bool{
		{Name: ":method", Kind: TextRegex, Value: "GET|HEAD"}: true,
		{Name: ":scheme", Value: "http"}:                      false,
		{Name: ":scheme", Value: "https"}:                     true,
		{Name: ":authority", Value: "H:8443"}:                 true, // as it was sent
		{Name: ":authority", Value: "h"}:                      false,
		{Name: ":authority", Kind: TextPrefix, Value: "H"}:    true,
	}
	for m, want := range tests {
		if got := took(t, oneListener(ordered("r", "h", headers(m))), r) != ""; got != want {
			t.Errorf("%+v: %v, want %v", m, got, want)
		}
	}
}

// L4MatchAttributes.destinationSubnets and sourceSubnet.
func TestAddresses(t *testing.T) {
	tests := []struct {
		prefix, addr string
		want         bool
	}{
		{"10.0.0.0/8", "10.1.2.3", true},
		{"10.0.0.0/8", "::ffff:10.1.2.3", true}, // of a socket for both families
		{"::ffff:10.0.0.0/104", "10.1.2.3", true},
		{"10.0.0.0/8", "11.1.2.3", false},
		{"10.1.2.3/8", "10.9.9.9", true}, // bits behind the prefix mean nothing
		{"::/0", "10.1.2.3", false},
		{"fe80::/10", "fe80::1%eth0", true},
	}
	for _, tt := range tests {
		p, addr := netip.MustParsePrefix(tt.prefix), netip.MustParseAddr(tt.addr)
		r := get("h", "/")
		r.Source = addr
		if got := took(t, oneListener(ordered("r", "h", Match{Sources: []netip.Prefix{p}})), r) != ""; got != tt.want {
			t.Errorf("source %s in %s: %v, want %v", tt.addr, tt.prefix, got, tt.want)
		}
		r = get("h", "/")
		r.Destination = addr
		if got := took(t, oneListener(ordered("r", "h", Match{Destinations: []netip.Prefix{p}})), r) != ""; got != tt.want {
			t.Errorf("destination %s in %s: %v, want %v", tt.addr, tt.prefix, got, tt.want)
		}
	}
	if r := get("h", "/"); took(t, oneListener(ordered("r", "h", Match{Sources: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}})), r) != "" {
		t.Error("no address is in a prefix")
	}
}

// HTTPMatchRequest.sourceNamespace: of an identity, as SPIFFE writes it.
func TestNamespaces(t *testing.T) {
	tests := []struct {
		identity string
		want     bool
	}{
		{"spiffe://cluster.local/ns/shop/sa/cart", true},
		{"spiffe://other.example/ns/web/sa/cart", true},
		{"spiffe://cluster.local/ns/shopping/sa/cart", false},
		{"spiffe://cluster.local/ns/bazaar/sa/shop", false},
		{"spiffe://cluster.local/x/ns/shop/sa/cart", false}, // "ns" comes first
		{"spiffe://cluster.local/ns/shop", false},           // no account
		{"https://cluster.local/ns/shop/sa/cart", false},
		{"", false}, // nobody knows who it is
	}
	for _, tt := range tests {
		r := get("h", "/")
		r.Identity = tt.identity
		if got := took(t, oneListener(ordered("r", "h", Match{Namespaces: []string{"shop", "web"}})), r) != ""; got != tt.want {
			t.Errorf("%q of shop or web: %v, want %v", tt.identity, got, tt.want)
		}
	}
	if _, problems := Compile(oneListener(ordered("r", "h", Match{Namespaces: []string{""}}))); len(problems) != 1 {
		t.Errorf("a namespace without a name: problems %v, want one", problems)
	}
}

// "@request.auth.claims" in HTTPMatchRequest.headers and withoutHeaders.
func TestClaims(t *testing.T) {
	token := claims{"group": {"dev", "admin"}, "realm.role": {"r1"}}
	tests := []struct {
		match  ClaimMatch
		claims ClaimSource
		want   bool
	}{
		{ClaimMatch{Path: []string{"group"}, Value: "admin"}, token, true}, // one element of a list
		{ClaimMatch{Path: []string{"group"}, Value: "adm"}, token, false},
		{ClaimMatch{Path: []string{"group"}, Kind: TextPrefix, Value: "adm"}, token, true},
		{ClaimMatch{Path: []string{"realm", "role"}, Kind: TextRegex, Value: "r."}, token, true},
		{ClaimMatch{Path: []string{"realm"}, Kind: TextPresent}, token, false},
		{ClaimMatch{Path: []string{"group"}, Value: "admin", Not: true}, token, false},
		{ClaimMatch{Path: []string{"group"}, Value: "x", Not: true}, token, true},
		{ClaimMatch{Path: []string{"group"}, Value: "admin"}, nil, false}, // there is no token
		{ClaimMatch{Path: []string{"group"}, Value: "admin", Not: true}, nil, true},
	}
	for _, tt := range tests {
		r := get("h", "/")
		r.Claims = tt.claims
		if got := took(t, oneListener(ordered("r", "h", Match{Claims: []ClaimMatch{tt.match}})), r) != ""; got != tt.want {
			t.Errorf("%+v of %v: %v, want %v", tt.match, tt.claims, got, tt.want)
		}
	}
}

// HTTPRewrite.uri: what a prefix has matched is replaced, or else all.
func TestResultSaysWhatWasMatched(t *testing.T) {
	tests := []struct {
		match Match
		path  string
		want  string
	}{
		{textPrefix("/foo"), "/foobar", "/foo"},
		{Match{Path: PathMatch{PathTextPrefix, "/FOO", true}}, "/foobar", "/foo"},
		{textPrefix("/"), "/foobar", "/"},
		{Match{}, "/foobar", "/"},
		{prefix("/foo"), "/foo/bar", "/foo"},
		{prefix("/foo/"), "/foo", "/foo"},
		{exact("/foobar"), "/foobar", "/foobar"},
		{regex("/foo.*"), "/foobar", "/foobar"},
		{Match{Path: PathMatch{Kind: PathMethod, Value: "Get"}}, "/shop/Get", "/shop/Get"},
	}
	for _, tt := range tests {
		snap, _ := Compile(oneListener(ordered("r", "h", tt.match)))
		r := get("h", tt.path)
		if res := snap.Port(port80).Match(&r); res.Target == nil || tt.path[:res.Matched] != tt.want {
			t.Errorf("%+v of %s: matched %d bytes, want %q", tt.match.Path, tt.path, res.Matched, tt.want)
		}
	}
}

// An Istio server's hosts are listeners of one group.
func TestListenersOfOneGroupAreNotMisdirected(t *testing.T) {
	s := twoListeners(HTTPS)
	for _, l := range s.Listeners {
		l.Gateway = "ns/gw"
	}
	s.Listeners["ns/gw/name"].Group, s.Listeners["ns/gw/wild"].Group = "server", "server"
	match := func(sni, host string) bool {
		snap, _ := Compile(s)
		return snap.Port(port80).Match(&Request{SNI: sni, Host: host, Path: "/", Method: "GET"}).Misdirected
	}
	if match("x.example.com", "y.example.com") || match("y.example.com", "x.example.com") {
		t.Error("a request for another host of the server is misdirected")
	}
	if !match("x.example.com", "other.org") || !match("other.org", "x.example.com") {
		t.Error("a request for another server is not misdirected")
	}
	s.Listeners["ns/gw/wild"].Gateway = "ns/other"
	if !match("x.example.com", "y.example.com") {
		t.Error("a group is of two Gateways")
	}
}

// L4MatchAttributes: the rules of a VirtualService's tcp and tls.
func TestStreamsByAddress(t *testing.T) {
	r := stream("r", 1, Attachment{"l", []string{"*"}})
	r.Ordered = true
	inside := r.Rules[0]
	inside.Matches = []Match{{Sources: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Destinations: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}}
	r.Rules = []Rule{inside, r.Rules[0]}
	snap, problems := Compile(streamSpec([]*Listener{{Name: "l", Protocol: TCP}}, r))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	for _, tt := range []struct {
		source, destination string
		want                int
	}{{"10.1.1.1", "192.0.2.1", 0}, {"10.1.1.1", "192.0.3.1", 1}, {"11.1.1.1", "192.0.2.1", 1}} {
		res := snap.Port(port443).MatchStream("", "", netip.MustParseAddr(tt.source), netip.MustParseAddr(tt.destination))
		if res.Target == nil || res.Target.Index != tt.want {
			t.Errorf("%s to %s: %+v, want rule %d", tt.source, tt.destination, res.Target, tt.want)
		}
	}
}

func TestOrderedMatchDoesNotAllocate(t *testing.T) {
	all := Match{
		Path:    PathMatch{PathTextPrefix, "/P", true},
		Headers: []ValueMatch{{Name: ":authority", Kind: TextPrefix, Value: "x"}, {Name: "k", Value: "1", Not: true}},
		Query:   []ValueMatch{{Name: "k", Kind: TextPrefix, Value: "3 "}, {Name: "l", Kind: TextPresent}},
		Sources: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
		Claims:  []ClaimMatch{{Path: []string{"group"}, Value: "admin"}},
	}
	snap, _ := Compile(oneListener(ordered("r", "x.a", regex("/no.*"), exact("/p"), textPrefix("/pp"), all), ordered("s", "x.a", Match{})))
	p := snap.Port(port80)
	var source HeaderSource = fields{"k": "17"}
	r := &Request{
		Host: "x.a", Path: "/p/q", Query: "?k=3%203&l", Method: "GET", Authority: "x.a", Header: source,
		Source: netip.MustParseAddr("::ffff:10.0.0.1"), Claims: claims{"group": {"dev", "admin"}},
	}
	if res := p.Match(r); res.Target == nil || res.Target.Index != 3 {
		t.Fatalf("target %+v, want rule 3", res.Target)
	}
	if n := testing.AllocsPerRun(100, func() { p.Match(r) }); n != 0 {
		t.Errorf("Match allocates %v times, want 0", n)
	}
}

// A counter is a HeaderSource that counts how often it is asked.
type counter struct{ n int }

func (c *counter) Value(string) (string, bool) { c.n++; return "", true }

// The rules of one VirtualService are found by their paths, and not one by one.
func TestThousandRulesAreNoWalk(t *testing.T) {
	snap, _ := Compile(oneListener(rules1000()))
	for i := range 1000 {
		asked := &counter{}
		r := get("shop.example.com", fmt.Sprintf("/api/v1/p%d/x", i))
		r.Header = asked
		res := snap.Port(port80).Match(&r)
		if res.Target == nil || res.Target.Index != i || asked.n != 1 {
			t.Fatalf("%s: rule %+v, %d looked at; want rule %d alone", r.Path, res.Target, asked.n, i)
		}
	}
}

// checkTextTree holds a tree to its invariants and to a plain list.
func checkTextTree(t *testing.T, d *dice) {
	t.Helper()
	var root textNode
	var list []*candidate
	target := &Target{Route: &Route{Ordered: true}}
	text := func() string {
		b := []byte{'/'}
		for range d.pick(6) {
			b = append(b, "ab/"[d.pick(3)])
		}
		return string(b)
	}
	for i := range 40 {
		if len(list) > 0 && d.pick(3) == 0 {
			at := d.pick(len(list))
			root = root.edit(list[at].path, list[at], remove)
			list = slices.Delete(list, at, at+1)
		} else {
			c := &candidate{target: target, index: i, kind: choose(d, []PathKind{PathTextPrefix, PathExact, PathPrefix}), path: text()}
			root = root.edit(c.path, c, insert)
			list = append(list, c)
		}
		var all []*candidate
		root.collect(&all)
		if len(all) != len(list) {
			t.Fatalf("the tree has %d candidates, want %d", len(all), len(list))
		}
		checkTextNode(t, &root, true)
		r := get("h", text())
		var want *candidate
		for _, c := range list {
			if c.holdsPath(&r) && (want == nil || c.index < want.index) {
				want = c
			}
		}
		if got := root.first(&r, false, nil); got != want {
			t.Fatalf("%s: the tree finds %v, the list %v", r.Path, got, want)
		}
	}
}

func checkTextNode(t *testing.T, n *textNode, root bool) {
	t.Helper()
	if !root && len(n.list) == 0 && len(n.children) < 2 {
		t.Fatalf("node %q has no candidates and %d children", n.label, len(n.children))
	}
	for i, child := range n.children {
		if child.label == "" || n.begins[i] != child.label[0] || strings.IndexByte(n.begins, n.begins[i]) != i {
			t.Fatalf("children %q of %q, one of them %q", n.begins, n.label, child.label)
		}
		checkTextNode(t, child, false)
	}
	if len(n.begins) != len(n.children) {
		t.Fatalf("%d children begin with %q", len(n.children), n.begins)
	}
}

func TestTextTree(t *testing.T) {
	for seed := range uint64(200) {
		checkTextTree(t, &dice{randomBytes(seed, 600)})
	}
}

func FuzzTextTree(f *testing.F) {
	for seed := range uint64(4) {
		f.Add(randomBytes(seed, 600))
	}
	f.Fuzz(func(t *testing.T, data []byte) { checkTextTree(t, &dice{data}) })
}
