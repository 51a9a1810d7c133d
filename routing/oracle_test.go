package routing

import (
	"slices"
	"strings"
	"testing"
)

// verdictOf tells what Match found in the same words.
func verdictOf(p *Port, r *Request) verdict {
	if p == nil {
		return verdict{}
	}
	res := p.Match(r)
	v := verdict{Match: res.Match, Prefix: res.Prefix, Matched: res.Matched, Misdirected: res.Misdirected, Shut: res.Shut}
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
			t.Fatalf("%+v:\nfast   %+v\noracle %+v\n%s", r, fast, slow, dump(snap))
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

// TestEveryOrderedMatchAlone does it for ordered routes, whose matches may have
// more.
func TestEveryOrderedMatchAlone(t *testing.T) {
	ordered := func(m Match) *Spec {
		r := route("r", "*.a", m)
		r.Ordered = true
		return oneListener(r)
	}
	for _, path := range append(someTexts, somePaths...) {
		compareWithJudge(t, ordered(Match{Path: path}), someRequests)
	}
	for _, values := range append(someTests, someValues...) {
		compareWithJudge(t, ordered(Match{Headers: values}), someRequests)
		if !slices.ContainsFunc(values, func(v ValueMatch) bool { return v.Name[0] == ':' }) {
			compareWithJudge(t, ordered(Match{Query: values}), someRequests)
		}
	}
	for _, m := range someRare {
		compareWithJudge(t, ordered(m), someRequests)
	}
}

// TestEveryOrderedPair judges all pairs of paths in ordered routes: of one
// route in both orders, and of two.
func TestEveryOrderedPair(t *testing.T) {
	var requests []Request
	for _, path := range someOfPaths {
		requests = append(requests, Request{Host: "x.a", Path: path, Method: "GET", Header: fields{"k": "1"}})
	}
	matches := []Match{{}, {Headers: someValues[1]}, {Path: prefix("/").Path, Method: "POST"}}
	for _, path := range append(someTexts, somePaths...) {
		matches = append(matches, Match{Path: path})
	}
	for i, one := range matches {
		for _, other := range matches {
			both := route("both", "x.a", one, other)
			both.Ordered = true
			compareWithJudge(t, oneListener(both), requests)
			a, b := route("a", "x.a", one), route("b", "x.a", other)
			a.Ordered, b.Ordered, b.Created = true, true, someCreated[i%3]
			compareWithJudge(t, oneListener(a, b), requests)
			compareWithJudge(t, oneListener(a, route("b", "x.a", prefix("/p"))), requests)
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
