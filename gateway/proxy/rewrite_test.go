package proxy

import (
	"testing"

	"fairway.dev/routing"
)

func ptr(s string) *string { return &s }

func TestRewritePath(t *testing.T) {
	tests := []struct {
		prefix string // of the rule's match
		edit   routing.PathEdit
		path   string
		want   string
	}{
		// The table of HTTPPathModifier.replacePrefixMatch.
		{"/foo", routing.PathEdit{Prefix: ptr("/xyz")}, "/foo/bar", "/xyz/bar"},
		{"/foo", routing.PathEdit{Prefix: ptr("/xyz/")}, "/foo/bar", "/xyz/bar"},
		{"/foo/", routing.PathEdit{Prefix: ptr("/xyz")}, "/foo/bar", "/xyz/bar"},
		{"/foo/", routing.PathEdit{Prefix: ptr("/xyz/")}, "/foo/bar", "/xyz/bar"},
		{"/foo", routing.PathEdit{Prefix: ptr("/xyz")}, "/foo", "/xyz"},
		{"/foo", routing.PathEdit{Prefix: ptr("/xyz")}, "/foo/", "/xyz/"},
		{"/foo", routing.PathEdit{Prefix: ptr("")}, "/foo/bar", "/bar"},
		{"/foo", routing.PathEdit{Prefix: ptr("")}, "/foo/", "/"},
		{"/foo", routing.PathEdit{Prefix: ptr("")}, "/foo", "/"},
		{"/foo", routing.PathEdit{Prefix: ptr("/")}, "/foo/", "/"},
		{"/foo", routing.PathEdit{Prefix: ptr("/")}, "/foo", "/"},

		{"/", routing.PathEdit{Prefix: ptr("/xyz")}, "/bar", "/xyz/bar"},
		{"/foo", routing.PathEdit{Prefix: ptr("xyz")}, "/foo/bar", "/xyz/bar"}, // a path begins with '/'
		{"/foo", routing.PathEdit{Full: ptr("/one")}, "/foo/bar", "/one"},
		{"/foo", routing.PathEdit{Full: ptr("")}, "/foo/bar", "/"},
		{"/foo", routing.PathEdit{}, "/foo/bar", "/foo/bar"},
	}
	for _, tt := range tests {
		a := to("a")
		a.Rewrite = &routing.Rewrite{Path: tt.edit}
		s := newStageWith(t, Options{}, routing.Rule{
			Matches: []routing.Match{{Path: routing.PathMatch{Value: tt.prefix}}}, Action: a,
		})
		s.get(tt.path + "?q=1")
		b := s.only()
		if b.req.Path != tt.want || b.req.Query != "?q=1" {
			t.Errorf("prefix %s, %s becomes %s%s, want %s?q=1", tt.prefix, tt.path, b.req.Path, b.req.Query, tt.want)
		}
		b.reply(200, "")
		if r := s.record(); r.Path != tt.path {
			t.Errorf("record of %s, want what the client asked for, %s", r.Path, tt.path)
		}
	}
}

// RFC 9112 section 3.2.4: OPTIONS * has no path that could be another.
func TestTheServerAsAWholeIsNotRewritten(t *testing.T) {
	for _, edit := range []routing.PathEdit{{Full: ptr("/x")}, {Prefix: ptr("/x")}, {Prefix: ptr("/")}} {
		a := to("a")
		a.Rewrite = &routing.Rewrite{Path: edit}
		s := newStage(t, a)
		s.request("OPTIONS", "*").send()
		if got := s.only().req.Path; got != "*" {
			t.Errorf("OPTIONS * became OPTIONS %s", got)
		}
		s.only().reply(200, "")
	}
}

func TestRewriteHost(t *testing.T) {
	a := to("a")
	a.Rewrite = &routing.Rewrite{Host: "inner.example"}
	s := newStage(t, a)
	s.get("/x", "Host: shop.example:8080")
	b := s.only()
	if b.req.Authority != "inner.example" || b.req.Path != "/x" || b.header("x-forwarded-host") != "shop.example:8080" {
		t.Errorf("the backend got %s%s, X-Forwarded-Host %q", b.req.Authority, b.req.Path, b.header("x-forwarded-host"))
	}
	b.reply(200, "")
}

func TestBackendsRewriteCountsMore(t *testing.T) {
	a := to("a")
	a.Rewrite = &routing.Rewrite{Host: "rule.example", Path: routing.PathEdit{Full: ptr("/rule")}}
	a.Backends[0].Rewrite = &routing.Rewrite{Path: routing.PathEdit{Full: ptr("/backend")}}
	s := newStage(t, a)
	s.get("/")
	if b := s.only(); b.req.Authority+b.req.Path != "rule.example/backend" {
		t.Errorf("the backend got %s%s, want rule.example/backend", b.req.Authority, b.req.Path)
	}
	s.only().reply(200, "")
}
