package routing

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// fields is a HeaderSource.
type fields map[string]string

func (f fields) Value(lower string) (string, bool) { v, ok := f[lower]; return v, ok }

// The small grammar: what requests and matches are made of.
var (
	someHosts    = []string{"*", "*.a", "*.b.a", "x.a", "x.b.a", "a"}
	someOfPaths  = []string{"/", "/p", "/p/", "/pp", "/p/q", "/p/q/r", "/q", "//p", "*", "/p//q"}
	somePaths    = append(somePathMatches(PathExact, "/", "/p", "/p/", "/p/q"), append(somePathMatches(PathPrefix, "", "/", "/p", "/p/", "/p/q", "//", "/p//"), append(somePathMatches(PathRegex, "/p.*", "/.*q", "/p", "/q|/p/q", "("), somePathMatches(PathMethod, "q", "p", "r")...)...)...)
	someValues   = [][]ValueMatch{nil, {{Name: "k", Value: "1"}}, {{Name: "k", Value: "1"}, {Name: "l", Value: "2"}}, {{Name: "k", Value: "2"}, {Name: "k", Value: "1"}}, {{Name: "k", Value: "1|3 3", Kind: TextRegex}}}
	someFields   = []fields{{}, {"k": "1"}, {"k": "2"}, {"k": "3 3", "l": "2"}, {"k": "1", "l": "2"}}
	someQueries  = []string{"", "?k=1", "?k=2&k=1", "?l=2&%6b=3+3", "l=2&&k=%31", "?k", "?k=%3"}
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
		TLS:      choose(d, []*ListenerTLS{{}, {}, {Client: &ClientValidation{Roots: []byte("no PEM")}}}),
	}
}

func (d *dice) match() Match {
	return Match{
		Path:    choose(d, somePaths),
		Method:  choose(d, []string{"", "", "GET", "POST"}),
		Headers: choose(d, someValues),
		Query:   choose(d, someValues),
	}
}

func (d *dice) route(i int) *Route {
	r := route(fmt.Sprintf("r%d", i%3), "*") // some names meet in both kinds
	r.Created = choose(d, someCreated)
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
			rule.Matches = append(rule.Matches, d.match())
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
