package istio

import (
	"testing"

	networking "istio.io/api/networking/v1alpha3"
)

// HTTPRoute.delegate: a delegate's match has to be one that its root's covers.
func TestRootAdmits(t *testing.T) {
	exact := func(v string) *networking.StringMatch {
		return &networking.StringMatch{MatchType: &networking.StringMatch_Exact{Exact: v}}
	}
	prefix := func(v string) *networking.StringMatch {
		return &networking.StringMatch{MatchType: &networking.StringMatch_Prefix{Prefix: v}}
	}
	regex := func(v string) *networking.StringMatch {
		return &networking.StringMatch{MatchType: &networking.StringMatch_Regex{Regex: v}}
	}
	present := &networking.StringMatch{}
	texts := []struct {
		root, own *networking.StringMatch
		want      bool
	}{
		{nil, exact("/a"), true},
		{exact("/a"), nil, true},
		{present, regex("/a"), true},
		{present, present, true},
		{nil, present, true},
		{exact("/a"), present, false}, // wider
		{prefix("/a"), present, false},
		{exact("/a"), exact("/a"), true},
		{exact("/a"), exact("/b"), false},
		{exact("/a"), prefix("/a"), false}, // wider
		{prefix("/a"), prefix("/a/b"), true},
		{prefix("/a/b"), prefix("/a"), false},
		{prefix("/a"), exact("/ab"), true}, // by bytes
		{prefix("/a"), exact("/b"), false},
		{prefix("/a"), regex("/a.*"), false}, // expressions are not compared
		{regex("/a.*"), exact("/a"), false},
		{regex("/a"), regex("/a"), false},
	}
	for _, tt := range texts {
		if got := textAdmits(tt.root, tt.own); got != tt.want {
			t.Errorf("textAdmits(%v, %v) = %t, want %t", tt.root, tt.own, got, tt.want)
		}
	}
	header := func(v string) map[string]*networking.StringMatch {
		return map[string]*networking.StringMatch{"x": exact(v)}
	}
	matches := []struct {
		name      string
		root, own matchSource
		want      bool
	}{
		{"nothing", matchSource{}, matchSource{}, true},
		{"another header", matchSource{headers: header("1")}, matchSource{without: header("1")}, true},
		{"the same header", matchSource{headers: header("1")}, matchSource{headers: header("2")}, false},
		{"a query parameter", matchSource{query: header("1")}, matchSource{query: header("2")}, false},
		{"a header to be without", matchSource{without: header("1")}, matchSource{without: header("2")}, false},
		{"case", matchSource{ignoreCase: true}, matchSource{}, false},
		{"a port", matchSource{port: 80}, matchSource{port: 81}, false},
		{"a port left open", matchSource{port: 80}, matchSource{}, true},
		{"a Gateway", matchSource{gateways: []string{"a/b"}}, matchSource{gateways: []string{"a/c"}}, false},
		{"fewer Gateways", matchSource{gateways: []string{"a/b", "a/c"}}, matchSource{gateways: []string{"a/c"}}, true},
		{"a label", matchSource{sourceLabels: map[string]string{"a": "b"}}, matchSource{sourceLabels: map[string]string{"a": "c"}}, false},
		{"a namespace", matchSource{sourceNamespace: "a"}, matchSource{sourceNamespace: "b"}, false},
	}
	for _, tt := range matches {
		if got := tt.root.admits(&tt.own); got != tt.want {
			t.Errorf("%s: %t, want %t", tt.name, got, tt.want)
		}
	}
}
