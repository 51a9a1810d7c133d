package proxy

import (
	"strings"
	"testing"

	"fairway.dev/routing"
)

// HTTPRewrite.uri: of a match by prefix the prefix's bytes are replaced, of any
// other the whole path.
func TestRewriteMatched(t *testing.T) {
	tests := []struct {
		took, with string
		path, want string
	}{
		{"/foo", "/bar", "/foo", "/bar"},
		{"/foo", "/bar", "/foobar", "/barbar"},
		{"/a", "/", "/a/x", "//x"},
		{"/a/", "/", "/a/x", "/x"},
		{"/", "/v2", "/x", "/v2x"},
		{"/", "/v2/", "/x", "/v2/x"},
		{"/a", "", "/a", "/"},
		{"/a", "", "/ab", "/b"}, // a path begins with '/'
	}
	for _, tt := range tests {
		e := newPathEdit(routing.PathEdit{Matched: &tt.with})
		if got := string(e.appendPath(nil, tt.path, took{bytes: len(tt.took)})); got != tt.want {
			t.Errorf("%s with %s for %s becomes %s, want %s", tt.path, tt.with, tt.took, got, tt.want)
		}
	}
	for _, kind := range []routing.PathKind{routing.PathExact, routing.PathRegex} {
		a := to("a")
		a.Rewrite = &routing.Rewrite{Path: routing.PathEdit{Matched: ptr("/new")}}
		s := newStageWith(t, Options{}, routing.Rule{
			Matches: []routing.Match{{Path: routing.PathMatch{Kind: kind, Value: "/the/path"}}}, Action: a,
		})
		s.get("/the/path?q=1")
		if b := s.only(); b.req.Path+b.req.Query != "/new?q=1" {
			t.Errorf("path kind %d: becomes %s%s, want /new?q=1", kind, b.req.Path, b.req.Query)
		}
		s.only().reply(200, "")
	}
}

// HTTPRewrite.uriRegexRewrite: the path alone, each time, with RE2's groups.
func TestRewriteByExpression(t *testing.T) {
	tests := []struct{ pattern, with, path, out string }{
		{`^/service/([^/]+)(/.*)$`, `\2/instance/\1`, "/service/foo/v1/api", "/v1/api/instance/foo"},
		{`one`, `two`, "/xxx/one/yyy/one/zzz", "/xxx/two/yyy/two/zzz"},
		{`^(.*?)one(.*)$`, `\1two\2`, "/xxx/one/yyy/one/zzz", "/xxx/two/yyy/one/zzz"},
		{`(?i)/xxx/`, `/yyy/`, "/aaa/XxX/bbb", "/aaa/yyy/bbb"},
		{`/(x+)`, `\0\0`, "/xx", "/xx/xx"},
		{`b`, `$1${2}`, "/abc", "/a$1${2}c"}, // nothing but "\\" means anything
		{`b`, `\\1`, "/abc", `/a\1c`},        // not a group
		{`^/api`, ``, "/api", "/"},           // a path begins with '/'
		{`^/`, ``, "/api", "/api"},
		{`nothing`, `x`, "/api", "/api"},
	}
	for _, tt := range tests {
		a := to("a")
		a.Rewrite = &routing.Rewrite{Path: routing.PathEdit{Regex: &routing.RegexEdit{Pattern: tt.pattern, With: tt.with}}}
		s := newStage(t, a)
		s.get(tt.path + "?q=one")
		if b := s.only(); b.req.Path != tt.out || b.req.Query != "?q=one" {
			t.Errorf("%s with %s: %s becomes %s%s, want %s?q=one", tt.pattern, tt.with, tt.path, b.req.Path, b.req.Query, tt.out)
		}
		s.only().reply(200, "")
	}
}

// FuzzTemplate judges substitutions by the letter of RE2's Rewrite.
func FuzzTemplate(f *testing.F) {
	for _, with := range []string{`\2/\1`, `$1`, `${1}`, `\\1`, `\`, `\x`, `\9`, `\$0`, ``} {
		f.Add(with)
	}
	f.Fuzz(func(t *testing.T, with string) {
		groups := []string{"/ab", "a", "b", "", "", "", "", "", "", ""}
		want := ""
		for i := 0; i < len(with); i++ {
			switch {
			case with[i] != '\\':
				want += with[i : i+1]
			case i+1 == len(with):
			default:
				if i++; with[i] >= '0' && with[i] <= '9' {
					want += groups[with[i]-'0']
				} else {
					want += with[i : i+1]
				}
			}
		}
		if want == "" || want[0] != '/' {
			want = "/" + want
		}
		e := newPathEdit(routing.PathEdit{Regex: &routing.RegexEdit{Pattern: `^/(a)(b)$`, With: with}})
		if got := string(e.appendPath(nil, "/ab", took{})); got != want && len(want) <= maxEditedPath {
			t.Errorf("%q makes %q, want %q", with, got, want)
		}
	})
}

// An expression may put in more than it takes out, but not without end.
func TestExpressionDoesNotBlowPathsUp(t *testing.T) {
	a := to("a")
	edit := routing.PathEdit{Regex: &routing.RegexEdit{Pattern: `.`, With: strings.Repeat("x", 1000)}}
	a.Rewrite = &routing.Rewrite{Path: edit}
	for _, a := range []routing.Action{a, {Redirect: &routing.Redirect{Status: 302, Path: edit}}} {
		s := newStage(t, a)
		c := s.get("/" + strings.Repeat("a", 1000))
		s.want(c, 414, "DPE")
		if cap(s.handler.(*local).scratch) > 4*maxEditedPath {
			t.Errorf("the loop keeps %d bytes", cap(s.handler.(*local).scratch))
		}
	}
}

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
