package istio

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	networking "istio.io/api/networking/v1alpha3"

	"fairway.dev/routing"
	"fairway.dev/routing/dialecttest"
)

// HTTPMatchRequest.headers: claims of a token are written in two ways.
func TestClaimPath(t *testing.T) {
	tests := []struct {
		key  string
		want []string
	}{
		{"@request.auth.claims.admin", []string{"admin"}},
		{"@request.auth.claims.group.id", []string{"group", "id"}},
		{"@request.auth.claims[admin]", []string{"admin"}},
		{"@request.auth.claims[group][id]", []string{"group", "id"}},
		{"@request.auth.claims[https://a.b/c]", []string{"https://a.b/c"}}, // dots are the claim's own
		{"@Request.Auth.Claims.admin", []string{"admin"}},
		{"@request.auth.claims", nil},
		{"@request.auth.claims.", nil},
		{"@request.auth.claims[]", nil},
		{"@request.auth.claims[a", nil},
		{"@request.auth.claims[", nil},
		{"@request.auth.claims[a][]", nil},
		{"@request.auth.claims.a..b", nil},
		{"@request.auth.claims-a", nil},
		{"@request.auth.principal", nil},
		{"x-user", nil},
		{"", nil},
	}
	for _, tt := range tests {
		if got := claimPath(tt.key); !slices.Equal(got, tt.want) {
			t.Errorf("claimPath(%q) = %q, want %q", tt.key, got, tt.want)
		}
	}
}

func FuzzClaimPath(f *testing.F) {
	for _, key := range []string{"@request.auth.claims[a][b]", "@request.auth.claims.a.b", "@request.auth.claims[]", "x"} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		path := claimPath(key)
		if path == nil {
			return
		}
		prefix := key[:len(claimKeys)]
		if key != prefix+"."+strings.Join(path, ".") && key != prefix+"["+strings.Join(path, "][")+"]" {
			t.Errorf("claimPath(%q) = %q, which is not what it says", key, path)
		}
	})
}

// StringMatch: what holds for any value, and what cannot be used.
func TestTextMatch(t *testing.T) {
	exact := func(v string) *networking.StringMatch {
		return &networking.StringMatch{MatchType: &networking.StringMatch_Exact{Exact: v}}
	}
	prefix := func(v string) *networking.StringMatch {
		return &networking.StringMatch{MatchType: &networking.StringMatch_Prefix{Prefix: v}}
	}
	regex := func(v string) *networking.StringMatch {
		return &networking.StringMatch{MatchType: &networking.StringMatch_Regex{Regex: v}}
	}
	tests := []struct {
		in    *networking.StringMatch
		kind  routing.TextKind
		value string
		ok    bool
	}{
		{nil, routing.TextPresent, "", true},
		{&networking.StringMatch{}, routing.TextPresent, "", true},
		{regex("*"), routing.TextPresent, "", true}, // no RE2, but Istio's word for any
		{regex(".*"), routing.TextRegex, ".*", true},
		{exact(""), routing.TextExact, "", true},
		{exact("a"), routing.TextExact, "a", true},
		{prefix("a"), routing.TextPrefix, "a", true},
		{prefix(""), routing.TextPrefix, "", false},
		{regex(""), routing.TextRegex, "", false},
		{regex("("), routing.TextRegex, "(", false},
		{regex("(a{500}){500}"), routing.TextRegex, "(a{500}){500}", false}, // what it costs is bounded
	}
	for _, tt := range tests {
		kind, value, err := textMatch(tt.in)
		if kind != tt.kind || value != tt.value || (err == nil) != tt.ok {
			t.Errorf("textMatch(%v) = %v, %q, %v, want %v, %q, ok %t", tt.in, kind, value, err, tt.kind, tt.value, tt.ok)
		}
	}
}

// A path that one match covers and the other does not would be one of these, or
// be like one.
var coveragePaths = []string{"/", "/a", "/A", "/a/", "/a/b", "/A/B", "/ab", "/b", "/aB"}

func TestPathCoversNoMoreThanItSays(t *testing.T) {
	all := []routing.PathMatch{{}, {Kind: routing.PathRegex, Value: ".*"}, {Kind: routing.PathRegex, Value: "/a.*"}}
	for _, v := range coveragePaths {
		for _, kind := range []routing.PathKind{routing.PathExact, routing.PathTextPrefix} {
			all = append(all, routing.PathMatch{Kind: kind, Value: v}, routing.PathMatch{Kind: kind, Value: v, IgnoreCase: true})
		}
	}
	holds := func(m routing.PathMatch, path string) bool {
		value := m.Value
		if m.IgnoreCase {
			value, path = strings.ToLower(value), strings.ToLower(path)
		}
		switch m.Kind {
		case routing.PathExact:
			return path == value
		case routing.PathRegex:
			return regexp.MustCompile("^(?:" + value + ")$").MatchString(path)
		}
		return strings.HasPrefix(path, value)
	}
	covered := 0
	for _, a := range all {
		for _, b := range all {
			c := coverage{}
			c.add(&routing.Match{Path: a}, routing.Origin{})
			if is, _ := c.add(&routing.Match{Path: b}, routing.Origin{}); !is {
				continue
			}
			covered++
			for _, path := range coveragePaths {
				if holds(b, path) && !holds(a, path) {
					t.Errorf("%v is said to cover %v, but not %s", a, b, path)
				}
			}
		}
	}
	if covered < 2*len(all) {
		t.Errorf("of %d matches only %d pairs cover each other", len(all), covered)
	}
}

// HTTPRewrite.uri replaces what the match took: its prefix, byte by byte, else
// the whole path. A rule without a match, and one for "/", has taken the slash
// in front.
func TestWhatARewriteReplaces(t *testing.T) {
	tests := []struct {
		match string
		path  string
		want  int // bytes; -1: the whole path is replaced whatever was matched
	}{
		{`[{uri: {prefix: /foo}}]`, "/foobar", 4},
		{`[{uri: {prefix: /}}]`, "/foo", 1},
		{`[]`, "/foo", 1},
		{`[{method: {exact: GET}}]`, "/foo", 1},
		{`[{uri: {exact: /foo}}]`, "/foo", 4},
		{`[{uri: {regex: "/f.*"}}]`, "/foobar", 7},
		{`[{uri: {regex: ".*"}}]`, "/foobar", -1},
	}
	for _, tt := range tests {
		w := dialecttest.World{}
		load(t, w, oracleWorld+`
---
kind: Service
metadata: {namespace: shop, name: s}
spec: {ports: [{port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {namespace: shop, name: v}
spec:
  hosts: [a.example.com]
  gateways: [wide]
  http: [{match: `+tt.match+`, rewrite: {uri: /x}, route: [{destination: {host: s}}]}]
`)
		snap, problems := routing.Compile(&translate(w, inCluster).Spec)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		res := snap.Port(routing.PortKey{Port: 80}).Match(&routing.Request{Host: "a.example.com", Path: tt.path, Method: "GET"})
		if res.Target == nil {
			t.Errorf("match %s: nothing takes %s", tt.match, tt.path)
			continue
		}
		edit, x := res.Target.Action.Rewrite.Path, "/x"
		switch {
		case tt.want < 0 && !reflect.DeepEqual(edit, routing.PathEdit{Full: &x}):
			t.Errorf("match %s: %+v, want the whole path replaced", tt.match, edit)
		case tt.want >= 0 && (!reflect.DeepEqual(edit, routing.PathEdit{Matched: &x}) || res.Matched != tt.want):
			t.Errorf("match %s: %+v of %d bytes, want %d bytes of what was matched", tt.match, edit, res.Matched, tt.want)
		}
	}
}
