package proxy

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"fairway.dev/gateway/message"
	"fairway.dev/routing"
)

// sticky is an action with a session, and two shares.
func sticky(session routing.Session) routing.Action {
	return routing.Action{
		Backends: []routing.Backend{{Cluster: "a", Weight: 1}, {Cluster: "b", Weight: 1}},
		Session:  &session,
	}
}

// pair returns the name and value of a Set-Cookie, as a client sends it back.
func pair(setCookie string) string {
	p, _, _ := strings.Cut(setCookie, ";")
	return p
}

// visit sends a GET, which the backend answers, and returns the backend's port.
func (s *stage) visit(lines ...string) (*client, uint16) {
	s.t.Helper()
	c := s.get("/shop/x", lines...)
	b := s.calls[len(s.calls)-1]
	b.reply(200, "")
	s.loop.Settle()
	return c, b.port
}

func TestSessionCookie(t *testing.T) {
	s := newStage(t, sticky(routing.Session{Name: "sid", Path: "/shop"}))
	first, port := s.visit()
	cookie := first.field("set-cookie")
	name, rest, _ := strings.Cut(cookie, "=")
	value, attributes, _ := strings.Cut(rest, ";")
	if name != "sid" || attributes != " Path=/shop; HttpOnly; SameSite=Strict" {
		t.Errorf("Set-Cookie: %s", cookie)
	}
	raw, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil || strings.Contains(string(raw), "\x0a\x00\x00\x01") {
		t.Errorf("token %s (%v) shows the endpoint's address", value, err)
	}
	for range 20 {
		c, p := s.visit("Cookie: a=b; " + pair(cookie) + "; c=d")
		if p != port {
			t.Fatalf("the session of port %d went to %d", port, p)
		}
		if c.field("set-cookie") != "" {
			t.Error("a client that knows its session was told again")
		}
	}
	// HTTP/2 may split cookies over fields (RFC 9113 section 8.2.3).
	if _, p := s.visit("Cookie: a=b", "Cookie: "+pair(cookie)); p != port {
		t.Errorf("the session of port %d went to %d", port, p)
	}
}

func TestSessionCookieIsSecureOverTLS(t *testing.T) {
	s := newTLSStage(t)
	l := listener
	l.Protocol, l.TLS = routing.HTTPS, &routing.ListenerTLS{}
	s.serveOn([]*routing.Listener{&l}, routing.Rule{Action: sticky(routing.Session{Name: "sid"})})
	if c, _ := s.visit(); !strings.HasSuffix(c.field("set-cookie"), "; Path=/; HttpOnly; SameSite=Strict; Secure") {
		t.Errorf("Set-Cookie: %s", c.field("set-cookie"))
	}
}

func TestPermanentSession(t *testing.T) {
	s := newStage(t, sticky(routing.Session{Name: "sid", Permanent: true, Absolute: 5 * time.Minute}))
	if c, _ := s.visit(); !strings.Contains(c.field("set-cookie"), "; Max-Age=300;") {
		t.Errorf("Set-Cookie: %s, want Max-Age=300", c.field("set-cookie"))
	}
}

func TestSessionHeader(t *testing.T) {
	s := newStage(t, sticky(routing.Session{Name: "X-Session", Header: true}))
	first, port := s.visit()
	token := first.field("x-session")
	if token == "" {
		t.Fatal("no session was given")
	}
	for range 20 {
		if _, p := s.visit("x-session: " + token); p != port {
			t.Fatalf("the session of port %d went to %d", port, p)
		}
	}
}

// GEP-1619, Traffic Splitting: "the persistence to a single backend MUST be
// maintained across services, even if the weight is set to 0".
func TestSessionOutlivesItsWeight(t *testing.T) {
	s := newStage(t, sticky(routing.Session{Name: "sid"}))
	var cookie string
	for cookie == "" {
		if c, port := s.visit(); port == 11 {
			cookie = pair(c.field("set-cookie"))
		}
	}
	a := sticky(routing.Session{Name: "sid"})
	a.Backends[1].Weight = 0
	s.serve(routing.Rule{Action: a})
	if _, port := s.visit("Cookie: " + cookie); port != 11 {
		t.Errorf("the session of port 11 went to %d", port)
	}
}

func TestSessionMovesWhenItsEndpointIsGone(t *testing.T) {
	s := newStage(t, sticky(routing.Session{Name: "sid"}))
	c, port := s.visit()
	for port == 11 {
		c, port = s.visit()
	}
	var left []routing.Endpoint
	for p := range uint16(4) {
		if p > 0 && p != port {
			left = append(left, routing.Endpoint{Addr: addr(p), Ready: true, Serving: true})
		}
	}
	s.set.PutEndpoints(&routing.Endpoints{Cluster: "a", List: left})
	moved, to := s.visit("Cookie: " + pair(c.field("set-cookie")))
	if to == port || to == 11 || moved.field("set-cookie") == "" {
		t.Errorf("the session of port %d went to %d with Set-Cookie %q", port, to, moved.field("set-cookie"))
	}
	if _, p := s.visit("Cookie: " + pair(moved.field("set-cookie"))); p != to {
		t.Errorf("the session then went to port %d, want %d", p, to)
	}
}

func TestSessionTimeouts(t *testing.T) {
	t.Run("absolute", func(t *testing.T) {
		s := newStage(t, sticky(routing.Session{Name: "sid", Absolute: time.Hour}))
		c, port := s.visit()
		cookie := pair(c.field("set-cookie"))
		s.pass(59 * time.Minute)
		if _, p := s.visit("Cookie: " + cookie); p != port {
			t.Errorf("a session of 59 minutes went to port %d, want %d", p, port)
		}
		s.pass(time.Minute)
		if c, _ := s.visit("Cookie: " + cookie); c.field("set-cookie") == "" {
			t.Error("a session of an hour goes on")
		}
	})
	t.Run("idle", func(t *testing.T) {
		s := newStage(t, sticky(routing.Session{Name: "sid", Idle: time.Minute}))
		c, port := s.visit()
		for range 5 {
			s.pass(50 * time.Second)
			next, p := s.visit("Cookie: " + pair(c.field("set-cookie")))
			if p != port {
				t.Fatalf("the session of port %d went to %d", port, p)
			}
			c = next
		}
		s.pass(time.Minute)
		old := c.field("set-cookie")
		if c, _ := s.visit("Cookie: " + pair(old)); pair(c.field("set-cookie")) == pair(old) {
			t.Error("a session that was idle for a minute goes on")
		}
	})
}

func TestForgedTokensAreNothing(t *testing.T) {
	s := newSession(&routing.Session{Name: "sid"}, "HTTPRoute/ns/r", 0, nil)
	tok := token{endpoint: addr(7), share: 3, born: 100, used: 200}
	text := string(s.seal(nil, tok))
	if len(text) != textSize {
		t.Fatalf("a token of %d characters, want %d", len(text), textSize)
	}
	if got, ok := s.open(text); !ok || got != tok {
		t.Fatalf("open(seal(%+v)) = %+v, %v", tok, got, ok)
	}
	for i := range text {
		b := []byte(text)
		if b[i] == 'A' {
			b[i] = 'B'
		} else {
			b[i] = 'A'
		}
		if got, ok := s.open(string(b)); ok && got != tok {
			t.Errorf("a token that differs at %d opens: %+v", i, got)
		}
	}
	for _, other := range []*session{
		newSession(&routing.Session{Name: "sid"}, "HTTPRoute/ns/r", 1, nil),
		newSession(&routing.Session{Name: "sid"}, "HTTPRoute/ns/other", 0, nil),
		newSession(&routing.Session{Name: "other"}, "HTTPRoute/ns/r", 0, nil),
		newSession(&routing.Session{Name: "sid"}, "HTTPRoute/ns/r", 0, []byte("secret")),
	} {
		if _, ok := other.open(text); ok {
			t.Error("a token opens under another key")
		}
	}
}

func FuzzOpenToken(f *testing.F) {
	s := newSession(&routing.Session{Name: "sid"}, "HTTPRoute/ns/r", 0, nil)
	f.Add(string(s.seal(nil, token{endpoint: addr(7)})))
	f.Add("x")
	f.Fuzz(func(t *testing.T, text string) {
		if tok, ok := s.open(text); ok && len(text) != textSize {
			t.Errorf("%q opens: %+v", text, tok)
		}
	})
}

func TestCookie(t *testing.T) {
	for field, want := range map[string]string{
		"sid=1": "1", "a=b; sid=1": "1", "a=b;sid=1;c": "1", "sid=a=b": "a=b",
		"": "", "sid": "", "sid=": "", "xsid=1": "", "SID=1": "", "a=sid=1": "", ";;": "",
	} {
		if got := cookie(field, "sid"); got != want {
			t.Errorf("cookie(%q) = %q, want %q", field, got, want)
		}
	}
}

// A kept connection that had been closed is not the endpoint's fault: the
// session stays where it is.
func TestSessionStaysThroughARetry(t *testing.T) {
	a := to("a")
	a.Session = &routing.Session{Name: "sid"}
	s := newStage(t, a)
	c, port := s.visit()
	next := s.get("/", "Cookie: "+pair(c.field("set-cookie")))
	b := s.calls[len(s.calls)-1]
	b.abort(&message.Error{Reason: message.Gone, Unused: true})
	s.loop.Settle()
	b = s.calls[len(s.calls)-1]
	b.reply(200, "")
	if b.port != port || next.field("set-cookie") != "" {
		t.Errorf("the session of port %d went to %d, Set-Cookie %q", port, b.port, next.field("set-cookie"))
	}
}
