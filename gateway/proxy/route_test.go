package proxy

import (
	"testing"

	"fairway.dev/routing"
)

// VirtualService matches that only they have: a prefix by bytes in either case,
// the scheme, the authority with its port, a header that is not there.
func TestRequestsGoByWhatTheySay(t *testing.T) {
	text := func(name string, kind routing.TextKind, value string, not bool) []routing.ValueMatch {
		return []routing.ValueMatch{{Name: name, Kind: kind, Value: value, Not: not}}
	}
	tests := []struct {
		name  string
		match routing.Match
		takes []string // lines of a request that the match takes
		not   []string // and of one that it does not
	}{
		{"scheme", routing.Match{Headers: text(":scheme", routing.TextExact, "https", false)},
			[]string{"X-Forwarded-Proto: https"}, nil},
		{"authority", routing.Match{Headers: text(":authority", routing.TextExact, "shop.example:8080", false)},
			[]string{"Host: shop.example:8080"}, []string{"Host: shop.example"}},
		{"withoutHeaders", routing.Match{Headers: text("x-debug", routing.TextPresent, "", true)},
			nil, []string{"X-Debug: 1"}},
	}
	for _, tt := range tests {
		s := newStageWith(t, Options{TrustedHops: 1}, routing.Rule{Matches: []routing.Match{tt.match}, Action: to("b")}, routing.Rule{Action: to("a")})
		s.get("/", tt.takes...)
		s.get("/", tt.not...)
		if s.call(0).port != 11 || s.call(1).port == 11 {
			t.Errorf("%s: ports %d and %d, want 11 and another", tt.name, s.call(0).port, s.call(1).port)
		}
		for _, b := range s.calls {
			b.reply(200, "")
		}
	}
	a := to("a")
	a.Rewrite = &routing.Rewrite{Path: routing.PathEdit{Matched: ptr("/new")}}
	s := newStage(t, a)
	s.order = true
	s.serve(routing.Rule{
		Matches: []routing.Match{{Path: routing.PathMatch{Kind: routing.PathTextPrefix, Value: "/Shop", IgnoreCase: true}}}, Action: a,
	})
	s.get("/sHoPping?q=1")
	if b := s.only(); b.req.Path+b.req.Query != "/newping?q=1" {
		t.Errorf("becomes %s%s, want /newping?q=1: the prefix's bytes are replaced", b.req.Path, b.req.Query)
	}
	s.only().reply(200, "")
}

// GEP-91: what came in before its listener asked for certificates, or asked by
// other roots, is not served by it any more.
func TestConnectionsShowWhatTheirListenerAsksNow(t *testing.T) {
	ours, others := root(t, "ours"), root(t, "others")
	tests := []struct {
		name  string
		ask   *routing.ClientValidation
		shown []byte // the roots that the connection's certificate was verified against
		want  int
	}{
		{"nobody is asked", nil, nil, 200},
		{"nobody is asked any more", nil, ours, 200},
		{"verified", &routing.ClientValidation{Roots: ours}, ours, 200},
		{"not verified", &routing.ClientValidation{Roots: ours}, nil, 421},
		{"verified against the roots before", &routing.ClientValidation{Roots: ours}, others, 421},
		{"not verified, with no roots", &routing.ClientValidation{}, nil, 421},
		{"not verified, where that is allowed", &routing.ClientValidation{Roots: ours, AllowInsecure: true}, nil, 200},
		{"none, where it is optional", &routing.ClientValidation{Roots: ours, Optional: true}, nil, 200},
		{"verified, before names were asked for", &routing.ClientValidation{Roots: ours, SANs: []string{"a"}}, ours, 421},
	}
	for _, tt := range tests {
		s := newTLSStage(t)
		l := listener
		l.Protocol, l.TLS = routing.HTTPS, &routing.ListenerTLS{Client: tt.ask}
		s.serveOn([]*routing.Listener{&l}, routing.Rule{Action: routing.Action{Status: 200}})
		c := s.request("GET", "/")
		c.peer.ClientRoots = tt.shown
		if c.send(); c.resp.Status != tt.want {
			t.Errorf("%s: status %d, want %d", tt.name, c.resp.Status, tt.want)
		}
	}
}
