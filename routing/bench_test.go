package routing

import (
	"fmt"
	"testing"
)

// oneListener is a Spec with an HTTP listener on port 80 for any host, a
// cluster "b", and routes.
func oneListener(routes ...*Route) *Spec {
	s := &Spec{
		Listeners: map[ListenerName]*Listener{"ns/gw/http": {Name: "ns/gw/http", Port: 80, Protocol: HTTP}},
		Clusters:  map[ClusterName]*Cluster{"b": {Name: "b"}},
		Routes:    map[RouteName]*Route{},
	}
	for _, r := range routes {
		s.Routes[r.Name] = r
	}
	return s
}

// route returns a route on that listener for a host, with a rule for each match.
func route(name, host string, matches ...Match) *Route {
	r := &Route{
		Name:     RouteName("HTTPRoute/ns/" + name),
		Origin:   Origin{Kind: "HTTPRoute", Namespace: "ns", Name: name},
		Attached: []Attachment{{Listener: "ns/gw/http", Hosts: []string{host}}},
	}
	for i, m := range matches {
		r.Rules = append(r.Rules, Rule{
			Origin:  r.Origin.At(fmt.Sprintf("spec.rules[%d]", i)),
			Matches: []Match{m},
			Action:  Action{Backends: []Backend{{Cluster: "b", Weight: 1}}},
		})
	}
	return r
}

func prefix(path string) Match { return Match{Path: PathMatch{Kind: PathPrefix, Value: path}} }
func exact(path string) Match  { return Match{Path: PathMatch{Kind: PathExact, Value: path}} }
func regex(expr string) Match  { return Match{Path: PathMatch{Kind: PathRegex, Value: expr}} }

var port80 = PortKey{Port: 80}

// hosts5000 has 5,000 routes, each for a host of its own.
func hosts5000() *Spec {
	var routes []*Route
	for i := range 5000 {
		routes = append(routes, route(fmt.Sprintf("r%d", i), fmt.Sprintf("h%d.example.com", i), prefix("/")))
	}
	return oneListener(routes...)
}

// paths5000 has 5,000 routes for one host, each for a path of its own.
func paths5000() *Spec {
	var routes []*Route
	for i := range 5000 {
		routes = append(routes, route(fmt.Sprintf("r%d", i), "shop.example.com", prefix(fmt.Sprintf("/api/v1/p%d", i))))
	}
	return oneListener(routes...)
}

// asOrdered makes all routes of a Spec ordered, and their prefixes texts.
func asOrdered(s *Spec) *Spec {
	for _, r := range s.Routes {
		r.Ordered = true
		for i := range r.Rules {
			r.Rules[i].Matches[0].Path.Kind = PathTextPrefix
		}
	}
	return s
}

// rules1000 is an ordered route with 1,000 rules, each for a path of its own.
func rules1000() *Route {
	var matches []Match
	for i := range 1000 {
		m := textPrefix(fmt.Sprintf("/api/v1/p%d/", i))
		m.Headers = []ValueMatch{{Name: "k", Kind: TextPresent}}
		matches = append(matches, m)
	}
	return ordered("r", "shop.example.com", matches...)
}

// benchmarkMatch goes through the requests, so that no table stays in the
// first cache by itself.
func benchmarkMatch(b *testing.B, spec *Spec, request func(i int) Request) {
	snap, _ := Compile(spec)
	var requests [5000]Request
	for i := range requests {
		requests[i] = request(i * 2654435761 % len(requests))
		if snap.Port(port80).Match(&requests[i]).Target == nil {
			b.Fatal("no target")
		}
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		snap.Port(port80).Match(&requests[i%len(requests)])
	}
}

func BenchmarkMatch1(b *testing.B) {
	spec := oneListener(route("r", "shop.example.com", prefix("/")))
	benchmarkMatch(b, spec, func(int) Request { return get("shop.example.com", "/api/v1/p4711/x") })
}

func BenchmarkMatch5000Hosts(b *testing.B) {
	benchmarkMatch(b, hosts5000(), func(i int) Request {
		return get(fmt.Sprintf("h%d.example.com", i), "/api/v1/p4711/x")
	})
}

func BenchmarkMatch5000Paths(b *testing.B) {
	benchmarkMatch(b, paths5000(), func(i int) Request {
		return get("shop.example.com", fmt.Sprintf("/api/v1/p%d/x", i))
	})
}

func BenchmarkMatch5000OrderedHosts(b *testing.B) {
	benchmarkMatch(b, asOrdered(hosts5000()), func(i int) Request {
		return get(fmt.Sprintf("h%d.example.com", i), "/api/v1/p4711/x")
	})
}

func BenchmarkMatch1000OrderedRules(b *testing.B) {
	source := fields{"k": "1"}
	benchmarkMatch(b, oneListener(rules1000()), func(i int) Request {
		r := get("shop.example.com", fmt.Sprintf("/api/v1/p%d/x", i%1000))
		r.Header = source
		return r
	})
}

func benchmarkUpdate(b *testing.B, spec *Spec) {
	snap, _ := Compile(spec)
	old := spec.Routes["HTTPRoute/ns/r4711"]
	edited := *old
	edited.Rules = []Rule{old.Rules[0]}
	edited.Rules[0].Action.Backends = []Backend{{Cluster: "b", Weight: 9}}
	deltas := []*Delta{{Routes: []*Route{&edited}}, {Routes: []*Route{old}}}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		snap, _ = snap.Update(deltas[i%2])
	}
}

func BenchmarkUpdateOneOf5000Hosts(b *testing.B) { benchmarkUpdate(b, hosts5000()) }

func BenchmarkUpdateOneOf5000Paths(b *testing.B) { benchmarkUpdate(b, paths5000()) }

func BenchmarkUpdateOneOf5000OrderedHosts(b *testing.B) { benchmarkUpdate(b, asOrdered(hosts5000())) }

func BenchmarkUpdateOneOf5000OrderedPaths(b *testing.B) { benchmarkUpdate(b, asOrdered(paths5000())) }

func BenchmarkCompile5000Ordered(b *testing.B) {
	spec := asOrdered(hosts5000())
	b.ReportAllocs()
	for b.Loop() {
		Compile(spec)
	}
}

func BenchmarkCompile5000(b *testing.B) {
	spec := hosts5000()
	b.ReportAllocs()
	for b.Loop() {
		Compile(spec)
	}
}
