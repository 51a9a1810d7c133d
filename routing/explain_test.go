package routing

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares got with a file in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s:\n%s\nwant\n%s", file, got, want)
	}
}

func TestDump(t *testing.T) {
	s := fullSpec()
	s.Clusters["bad"] = &Cluster{Name: "bad", Origin: Origin{Kind: "Service", Namespace: "ns", Name: "bad"}, Protocol: "SPDY"}
	s.Listeners["ns/gw/tcp"] = &Listener{Name: "ns/gw/tcp", Origin: Origin{Kind: "Gateway", Namespace: "ns", Name: "gw", Field: "spec.listeners[1]"}, Port: 80, Protocol: TCP}
	s.Listeners["ns/gw/https"].Telemetry.Tracing.Cluster = "spans" // a warning
	snap, _ := Compile(s)
	golden(t, "full.dump.golden", dump(snap))
}

func TestExplain(t *testing.T) {
	s := twoListeners(HTTPS)
	one := route("one", "x.example.com", Match{Path: prefix("/shop").Path, Method: "POST"}, exact("/shop/cart"), regex("/shop/[0-9]+"))
	two := route("two", "*.example.com",
		Match{Path: prefix("/").Path, Headers: []ValueMatch{{Name: "x-env", Value: "test"}}, Query: []ValueMatch{{Name: "q", Value: "1"}}},
		Match{Path: prefix("/").Path, Headers: []ValueMatch{{Name: "x-env", Value: "prod.*", Kind: TextRegex}}},
		Match{Path: prefix("/").Path, Query: []ValueMatch{{Name: "q", Value: "1 2"}}},
		Match{Path: prefix("/").Path, Query: []ValueMatch{{Name: "r", Value: "1"}}},
		prefix("/"))
	one.Rules[0].Origin.File, one.Rules[0].Origin.Line = "shop.yaml", 12
	one.Rules[1].Matches = append(one.Rules[1].Matches, exact("/shop/till"))
	two.Rules[4].Origin = Origin{}
	for _, r := range []*Route{one, two} {
		r.Attached[0].Listener = "ns/gw/name"
		s.Routes[r.Name] = r
	}
	snap, _ := Compile(s)
	header := fields{"x-env": "dev"}
	var b strings.Builder
	for _, r := range []Request{
		{Method: "GET", SNI: "x.example.com", Host: "x.example.com", Path: "/shop", Query: "?q=1%203", Header: header},
		{Method: "GET", SNI: "x.example.com", Host: "x.example.com", Path: "/shop/17"},
		{Method: "GET", SNI: "y.example.com", Host: "y.example.com", Path: "/"},
		{Method: "GET", SNI: "y.example.com", Host: "x.example.com", Path: "/"},
	} {
		fmt.Fprintf(&b, "%s\n", snap.Port(port80).Explain(&r))
	}
	var removal Delta
	removal.Removed.Listeners = []ListenerName{"ns/gw/any"}
	gone, _ := snap.Update(&removal)
	for _, r := range []Request{
		{Method: "GET", SNI: "other.org", Host: "other.org", Path: "/"},
		{Method: "GET", SNI: "other.org", Host: "x.example.com", Path: "/"},
	} {
		fmt.Fprintf(&b, "%s\n", gone.Port(port80).Explain(&r))
	}
	golden(t, "explain.golden", b.String())
}

// What has no place among Gateway API's matches is told in the same form.
func TestExplainOrdered(t *testing.T) {
	s := oneListener(route("first", "x.example.com", exact("/api")), route("hidden", "*.example.com", prefix("/")))
	v := ordered("v", "x.example.com",
		Match{Path: PathMatch{PathTextPrefix, "/API", true}, Headers: []ValueMatch{{Name: ":authority", Kind: TextPrefix, Value: "y"}}},
		Match{Path: textPrefix("/api").Path, Headers: []ValueMatch{{Name: "x-a", Kind: TextPresent, Not: true}}},
		Match{Path: textPrefix("/api").Path, Query: []ValueMatch{{Name: "q", Kind: TextPresent}}},
		Match{Sources: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}},
		Match{Destinations: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}},
		Match{Namespaces: []string{"shop", "web"}},
		Match{Claims: []ClaimMatch{{Path: []string{"realm", "role"}, Value: "admin"}}},
		Match{Claims: []ClaimMatch{{Path: []string{"sub"}, Kind: TextRegex, Value: "a.*", Not: true}}},
		textPrefix("/last"))
	s.Routes[v.Name] = v
	snap, _ := Compile(s)
	r := Request{
		Method: "GET", Host: "x.example.com", Authority: "x.example.com", Path: "/api/v1", Header: fields{"x-a": "1"},
		Source: netip.MustParseAddr("192.168.0.1"), Destination: netip.MustParseAddr("192.168.0.2"), Claims: claims{"sub": {"ann"}},
	}
	text := snap.Port(port80).Explain(&r).String() + "\n"
	r.Path = "/lasting"
	golden(t, "explain-ordered.golden", text+snap.Port(port80).Explain(&r).String())
}

// ServerTLSSettings.httpsRedirect: the routes do not count.
func TestExplainRedirectToHTTPS(t *testing.T) {
	s := oneListener(route("r", "h", prefix("/")))
	s.Listeners["ns/gw/http"].RedirectHTTPS = true
	snap, _ := Compile(s)
	r := get("h", "/")
	for scheme, want := range map[string]string{"http": "to https: 301", "https": "taken: HTTPRoute ns/r"} {
		r.Scheme = scheme
		if text := snap.Port(port80).Explain(&r).String(); !strings.Contains(text, want) {
			t.Errorf("%s: no %s in\n%s", scheme, want, text)
		}
	}
}

// With thousands of routes people want those that come near.
func TestExplainShowsTheNearestPaths(t *testing.T) {
	snap, _ := Compile(paths5000())
	r := get("shop.example.com", "/api/v1/p471x")
	text := snap.Port(port80).Explain(&r).String()
	for _, want := range []string{`prefix "/api/v1/p471"`, `prefix "/api/v1/p4711"`, "passed over: 4980 more for other paths", "no rule takes it: 404"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
}

func TestCovers(t *testing.T) {
	tests := []struct {
		pattern, host string
		want          bool
	}{
		{"*", "", true},
		{"a.b", "a.b", true},
		{"a.b", "x.a.b", false},
		{"*.b", "a.b", true},
		{"*.b", "x.a.b", true},
		{"*.b", "b", false},
		{"*.b", ".b", false},
		{"*.b", "ab", false},
		{"*.b", strings.Repeat("a", maxHost) + ".b", false},
	}
	for _, tt := range tests {
		h := hosts[int]{}.with(tt.pattern, new(int))
		v, _ := h.find(tt.host, fromExact)
		if got := covers(tt.pattern, tt.host); got != tt.want || (v != nil) != tt.want {
			t.Errorf("covers(%q, %q) = %v, found %v, want %v", tt.pattern, tt.host, got, v != nil, tt.want)
		}
	}
}
