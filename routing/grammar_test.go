package routing

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"time"
)

// fields is a HeaderSource.
type fields map[string]string

func (f fields) Value(lower string) (string, bool) { v, ok := f[lower]; return v, ok }

// claims is a ClaimSource, by paths with dots.
type claims map[string][]string

func (c claims) Claim(path []string) []string { return c[strings.Join(path, ".")] }

// The small grammar: what requests and matches are made of.
var (
	someHosts   = []string{"*", "*.a", "*.b.a", "x.a", "x.b.a", "a"}
	someOfPaths = []string{"/", "/p", "/p/", "/pp", "/p/q", "/p/q/r", "/q", "//p", "*", "/p//q", "/P", "/P/q", "/ppp", "/p/q/"}
	somePaths   = append(somePathMatches(PathExact, "/", "/p", "/p/", "/p/q"), append(somePathMatches(PathPrefix, "", "/", "/p", "/p/", "/p/q", "//", "/p//"), append(somePathMatches(PathRegex, "/p.*", "/.*q", "/p", "/q|/p/q", "("), somePathMatches(PathMethod, "q", "p", "r")...)...)...)
	someValues  = [][]ValueMatch{nil, {{Name: "k", Value: "1"}}, {{Name: "k", Value: "1"}, {Name: "l", Value: "2"}}, {{Name: "k", Value: "2"}, {Name: "k", Value: "1"}}, {{Name: "k", Value: "1|3 3", Kind: TextRegex}}}
	someFields  = []fields{{}, {"k": "1"}, {"k": "2"}, {"k": "3 3", "l": "2"}, {"k": "1", "l": "2"}}
	someQueries = []string{"", "?k=1", "?k=2&k=1", "?l=2&%6b=3+3", "l=2&&k=%31", "?k", "?k=%3"}
	// Only for ordered routes.
	someTexts = append(somePathMatches(PathTextPrefix, "/", "/p", "/p/", "/pp", "/q", "/p/q/"), []PathMatch{
		{PathTextPrefix, "/P", true}, {PathTextPrefix, "/p/Q", true}, {PathExact, "/P/Q", true}, {PathPrefix, "/P", true}, {PathPrefix, "", true}, {PathRegex, ".*", false},
	}...)
	someTests = [][]ValueMatch{
		{{Name: "k", Kind: TextPrefix, Value: "3"}}, {{Name: "k", Kind: TextPresent}}, {{Name: "k", Kind: TextPresent, Not: true}},
		{{Name: "k", Value: "1", Not: true}}, {{Name: "k", Kind: TextPrefix, Value: "1"}, {Name: "k", Kind: TextRegex, Value: "1|2", Not: true}},
		{{Name: ":scheme", Value: "https"}}, {{Name: ":authority", Kind: TextPrefix, Value: "x.a:"}}, {{Name: ":method", Value: "GET", Not: true}},
	}
	someRare = []Match{
		{Sources: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fe80::/10")}},
		{Sources: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}}, {Destinations: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32")}},
		{Namespaces: []string{"shop", "web"}},
		{Claims: []ClaimMatch{{Path: []string{"group"}, Value: "a"}}}, {Claims: []ClaimMatch{{Path: []string{"group"}, Value: "b", Not: true}}},
		{Claims: []ClaimMatch{{Path: []string{"realm", "role"}, Kind: TextPrefix, Value: "ad"}, {Path: []string{"group"}, Kind: TextPresent}}},
	}
	someAddrs  = []netip.Addr{{}, netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("::ffff:10.0.0.2"), netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("fe80::1%eth0")}
	someClaims = []ClaimSource{nil, claims{}, claims{"group": {"a", "b"}}, claims{"group": {"c"}, "realm.role": {"user", "admin"}}}

	someCreated  = []time.Time{{}, time.Unix(1000, 0), time.Unix(2000, 0)}
	someRequests = allRequests()
)

func somePathMatches(kind PathKind, values ...string) (list []PathMatch) {
	for _, v := range values {
		list = append(list, PathMatch{Kind: kind, Value: v})
	}
	return list
}

// allRequests has every path with every host, and every condition with some
// paths.
func allRequests() (list []Request) {
	for _, host := range []string{"a", "x.a", "y.a", "x.a.", "x.b.a", "y.y.b.a", ".a", "c", ""} {
		for _, path := range someOfPaths {
			list = append(list, Request{Host: host, SNI: host, Path: path, Method: "GET", Header: fields{}})
		}
	}
	for _, path := range []string{"/p", "/p/q"} {
		for _, method := range []string{"GET", "POST"} {
			for _, f := range someFields {
				for _, q := range someQueries {
					list = append(list, Request{Host: "x.a", SNI: "y.a", Path: path, Method: method, Header: f, Query: q})
				}
			}
		}
	}
	for _, addr := range someAddrs {
		for _, claims := range someClaims {
			list = append(list, Request{Host: "x.a", SNI: "x.a", Path: "/p", Method: "GET", Scheme: "https", Authority: "x.a:80", Header: fields{}, Source: addr, Destination: addr, Claims: claims})
		}
	}
	for _, ns := range []string{"shop", "bazaar"} {
		list = append(list, Request{Host: "x.a", SNI: "x.a", Path: "/p", Method: "GET", Header: fields{}, Identity: "spiffe://cluster.local/ns/" + ns + "/sa/a"})
	}
	return list
}

// A dice makes choices from bytes; when they are used up, the first one.
type dice struct{ data []byte }

func (d *dice) pick(n int) int {
	if len(d.data) == 0 {
		return 0
	}
	c := d.data[0]
	d.data = d.data[1:]
	return int(c) % n
}

func choose[T any](d *dice, list []T) T { return list[d.pick(len(list))] }

func (d *dice) listener(i int) *Listener {
	return &Listener{
		Name:     ListenerName(fmt.Sprintf("ns/gw/l%d", i)),
		Created:  choose(d, someCreated),
		Port:     80,
		Protocol: choose(d, []Protocol{HTTP, HTTP, HTTPS, TLS}),
		Hostname: strings.TrimPrefix(choose(d, append(someHosts, "", "")), "*"),
		Group:    choose(d, []string{"", "", "one"}),
		TLS:      choose(d, []*ListenerTLS{{}, {}, {Client: &ClientValidation{Roots: []byte("no PEM")}}}),
	}
}

func (d *dice) match(ordered bool) Match {
	m := Match{
		Path:    choose(d, somePaths),
		Method:  choose(d, []string{"", "", "GET", "POST"}),
		Headers: choose(d, someValues),
		Query:   choose(d, someValues),
	}
	if !ordered {
		return m
	}
	switch d.pick(5) {
	case 0:
		m = choose(d, someRare)
	case 1:
		m.Headers = choose(d, someTests)
	case 2:
		m.Query = choose(d, someTests[:5])
	}
	if d.pick(2) == 0 {
		m.Path = choose(d, someTexts)
	}
	return m
}

func (d *dice) route(i int) *Route {
	r := route(fmt.Sprintf("r%d", i%3), "*") // some names meet in both kinds
	r.Created = choose(d, someCreated)
	r.Ordered = d.pick(3) == 2
	r.Name = RouteName(choose(d, []string{"HTTPRoute/", "GRPCRoute/"})) + r.Name[len("HTTPRoute/"):]
	r.Attached = nil
	for range d.pick(3) + 1 {
		r.Attached = append(r.Attached, Attachment{
			Listener: ListenerName(fmt.Sprintf("ns/gw/l%d", d.pick(3))),
			Hosts:    []string{choose(d, someHosts), choose(d, someHosts)},
		})
	}
	for range d.pick(3) + 1 {
		var rule Rule
		for range d.pick(3) {
			rule.Matches = append(rule.Matches, d.match(r.Ordered))
		}
		for range d.pick(3) {
			rule.Action.Backends = append(rule.Action.Backends, Backend{Cluster: choose(d, []ClusterName{"b", "c", "d"}), Weight: uint32(d.pick(3))})
		}
		r.Rules = append(r.Rules, rule)
	}
	return r
}

// requests are a few of the small grammar's: fuzzing lives of quick rounds.
func (d *dice) requests() (list []Request) {
	for range 8 {
		list = append(list, someRequests[(d.pick(256)<<8|d.pick(256))%len(someRequests)])
	}
	return list
}

func (d *dice) spec() *Spec {
	s := oneListener()
	s.Listeners = map[ListenerName]*Listener{}
	for i := range 3 {
		l := d.listener(i)
		l.Hostname = fixHostname(l.Hostname)
		s.Listeners[l.Name] = l
	}
	for i := range d.pick(6) + 1 {
		r := d.route(i)
		s.Routes[r.Name] = r
	}
	return s
}

// fixHostname makes a listener's hostname of what is left of a host pattern.
func fixHostname(h string) string {
	if strings.HasPrefix(h, ".") {
		return "*" + h
	}
	return h
}

// randomBytes is n bytes of data for a dice, the same for the same seed.
func randomBytes(seed uint64, n int) []byte {
	r := rand.NewPCG(seed, 0)
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint64())
	}
	return b
}
