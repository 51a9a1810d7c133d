package upstream

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"fairway.dev/gateway/message"
	"fairway.dev/routing"
)

// ConsistentHashLB.httpCookie: a client without the cookie is given one, and
// its next requests go where the first went.
func TestGiveCookie(t *testing.T) {
	for _, tt := range []struct {
		cookie routing.HashCookie
		want   string
	}{
		{routing.HashCookie{}, `^user=[0-9a-f]{16}; HttpOnly$`},
		{routing.HashCookie{TTL: 90 * time.Second}, `^user=[0-9a-f]{16}; Max-Age=90; HttpOnly$`},
		{routing.HashCookie{TTL: time.Hour, Path: "/shop", Attributes: []routing.Header{{Name: "SameSite", Value: "Lax"}, {Name: "Secure"}}},
			`^user=[0-9a-f]{16}; Max-Age=3600; Path=/shop; SameSite=Lax; Secure; HttpOnly$`},
	} {
		s := newStage(t, 1)
		c := s.cluster(routing.Cluster{Balance: routing.Balance{Kind: routing.RingHash, HashOn: "cookie:user", Cookie: &tt.cookie}}, 1, 2, 3)
		given := map[string]bool{}
		for range 100 {
			hash, set := c.GiveCookie(s.loops[0])
			if !regexp.MustCompile(tt.want).MatchString(set) {
				t.Fatalf("Set-Cookie: %s, want %s", set, tt.want)
			}
			req := &message.Request{}
			pair, _, _ := strings.Cut(set, ";")
			req.Fields.Append("cookie", pair)
			if next, ok := c.Hash(req, &message.Peer{}); !ok || next != hash {
				t.Errorf("%s: hash %d, %v with the cookie, want %d as without", pair, next, ok, hash)
			}
			given[pair] = true
		}
		if len(given) != 100 {
			t.Errorf("%d cookies for 100 clients, want one for each", len(given))
		}
	}
}

func TestGiveCookieOnlyWhereItIsAskedFor(t *testing.T) {
	for _, b := range []routing.Balance{
		{Kind: routing.RingHash, HashOn: "cookie:user"},
		{Kind: routing.RingHash, HashOn: "header:user", Cookie: &routing.HashCookie{}},
		{Kind: routing.LeastRequest, HashOn: "cookie:user", Cookie: &routing.HashCookie{}},
	} {
		s := newStage(t, 1)
		c := s.cluster(routing.Cluster{Balance: b}, 1)
		if _, got := c.GiveCookie(s.loops[0]); got != "" {
			t.Errorf("%+v: Set-Cookie: %s, want none", b, got)
		}
	}
}
