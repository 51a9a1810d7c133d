package proxy

import (
	"fmt"
	"strings"
	"testing"

	"fairway.dev/gateway/message"
	"fairway.dev/routing"
)

// text prints fields as lines.
func text(f message.Fields) string {
	var b strings.Builder
	for _, x := range f {
		fmt.Fprintf(&b, "%s: %s\n", x.Text, x.Value)
	}
	return b.String()
}

func TestEdits(t *testing.T) {
	h := func(pairs ...string) (list []routing.Header) {
		for _, p := range pairs {
			name, value, _ := strings.Cut(p, ": ")
			list = append(list, routing.Header{Name: name, Value: value})
		}
		return list
	}
	tests := []struct {
		name   string
		change routing.HeaderChange
		in     string
		want   string
	}{
		// The examples of HTTPHeaderFilter.
		{"set", routing.HeaderChange{Set: h("my-header: bar")}, "my-header: foo\n", "my-header: bar\n"},
		{"add", routing.HeaderChange{Add: h("my-header: bar,baz")}, "my-header: foo\n", "my-header: foo\nmy-header: bar,baz\n"},
		{"remove", routing.HeaderChange{Remove: []string{"my-header1", "my-header3"}},
			"my-header1: foo\nmy-header2: bar\nmy-header3: baz\n", "my-header2: bar\n"},

		{"set one of several", routing.HeaderChange{Set: h("X: 3")}, "x: 1\na: b\nX: 2\n", "a: b\nX: 3\n"},
		{"set what is not there", routing.HeaderChange{Set: h("X: 3")}, "a: b\n", "a: b\nX: 3\n"},
		{"set a known name", routing.HeaderChange{Set: h("User-Agent: me")}, "user-agent: you\n", "User-Agent: me\n"},
		{"remove a known name", routing.HeaderChange{Remove: []string{"cookie"}}, "Cookie: 1\nCookie: 2\n", ""},
		{"names have no case", routing.HeaderChange{Remove: []string{"x-thing"}}, "X-Thing: 1\n", ""},
		{"set, then add, then remove", routing.HeaderChange{Set: h("x: 1", "y: 1"), Add: h("x: 2"), Remove: []string{"y"}},
			"x: 0\n", "x: 1\nx: 2\n"},
	}
	for _, tt := range tests {
		f := fields(strings.Split(strings.TrimSuffix(tt.in, "\n"), "\n")...)
		newEdits(tt.change, routing.HeaderChange{}).apply(&f)
		if got := text(f); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestHeaderChangesOfRuleAndBackend(t *testing.T) {
	add := func(v string) routing.HeaderChange {
		return routing.HeaderChange{Add: []routing.Header{{Name: "X-By", Value: v}}}
	}
	a := to("a")
	a.Request, a.Response = add("rule"), add("rule")
	a.Backends[0].Request, a.Backends[0].Response = add("backend"), add("backend")
	s := newStage(t, a)
	c := s.get("/", "X-By: client")
	b := s.only()
	if got := b.header("x-by"); got != "client, rule, backend" {
		t.Errorf("the backend got X-By %q, want the rule's before the backend's", got)
	}
	b.head(200, true, "X-By: server")
	if got := c.field("x-by"); got != "server, backend, rule" {
		t.Errorf("the client got X-By %q, want the backend's before the rule's", got)
	}
}

func TestSettingHostRewritesTheAuthority(t *testing.T) {
	a := to("a")
	a.Request = routing.HeaderChange{Set: []routing.Header{{Name: "Host", Value: "inner.example"}}, Remove: []string{"host"}}
	s := newStage(t, a)
	s.get("/")
	b := s.only()
	if b.req.Authority != "inner.example" || b.req.Fields.Has(message.Host) {
		t.Errorf("authority %q, fields %v, want inner.example and no Host", b.req.Authority, b.req.Fields)
	}
	b.reply(200, "")
	if r := s.record(); r.Authority != "shop.example" {
		t.Errorf("record of %q, want the client's shop.example", r.Authority)
	}
}
