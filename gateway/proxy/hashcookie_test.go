package proxy

import (
	"strings"
	"testing"
	"time"

	"fairway.dev/routing"
)

// ConsistentHashLB.httpCookie: "If the cookie is not present, it will be
// generated", and the request goes where the next ones will.
func TestHashCookieIsGiven(t *testing.T) {
	s := newStage(t, to("a"))
	c := *s.set.Cluster("a").Spec()
	c.Balance = routing.Balance{Kind: routing.RingHash, HashOn: "cookie:user", Cookie: &routing.HashCookie{Path: "/shop", TTL: time.Hour}}
	s.set.Put(&c)
	for range 20 {
		s.calls = nil
		first := s.get("/")
		s.only().head(200, true, "Set-Cookie: its=own")
		var given string
		for _, f := range first.resp.Fields {
			if f.Text == "Set-Cookie" || strings.HasPrefix(f.Value, "user=") {
				given = f.Value
			}
		}
		value, attributes, _ := strings.Cut(strings.TrimPrefix(given, "user="), ";")
		if value == "" || !strings.Contains(attributes, "Path=/shop") || !strings.Contains(attributes, "Max-Age=3600") {
			t.Fatalf("Set-Cookie: %q, want user=VALUE for /shop and an hour", given)
		}
		again := s.get("/", "Cookie: user="+value)
		s.call(1).reply(200, "")
		if s.call(0).port != s.call(1).port {
			t.Errorf("the client comes to port %d, and with its cookie to %d", s.call(0).port, s.call(1).port)
		}
		if got := again.field("set-cookie"); got != "" {
			t.Errorf("a client that has one is given %q", got)
		}
	}
}
