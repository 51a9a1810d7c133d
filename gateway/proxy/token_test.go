package proxy

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"testing"
	"time"

	"fairway.dev/gateway/message"
	"fairway.dev/gateway/policy/jwt"
	"fairway.dev/routing"
)

var (
	issuerKey  = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	issuerKeys = fmt.Sprintf(`{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k","x":%q}]}`,
		base64.RawURLEncoding.EncodeToString(issuerKey.Public().(ed25519.PublicKey)))
)

// signed makes a token with claims, of which the issuer's name is one.
func signed(claims string) string {
	text := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"EdDSA","kid":"k"}`)) + "." +
		base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"https://issuer.example"`+claims+`}`))
	return text + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(issuerKey, []byte(text)))
}

// newTokenStage serves cluster "b" to those whose token has the role "admin", and
// "a" to all others, on a listener with a rule. Keys are fetched by what goes is
// given.
func newTokenStage(t *testing.T, rule routing.JWTRule, goes func(func())) *stage {
	store := jwt.NewStore(jwt.Options{
		Now: func() time.Time { return start }, Go: goes,
		Fetch: func(_ context.Context, url string) ([]byte, error) {
			if url == "https://issuer.example/keys" {
				return []byte(issuerKeys), nil
			}
			return nil, errors.New("nothing there")
		},
	})
	s := newStageWith(t, Options{Tokens: store})
	l := listener
	rule.Issuer = "https://issuer.example"
	l.JWT = []routing.JWTRule{rule}
	admins := routing.Rule{Action: to("b"), Matches: []routing.Match{{
		Claims: []routing.ClaimMatch{{Path: []string{"realm", "role"}, Value: "admin"}},
	}}}
	others := to("a")
	others.CORS = &routing.CORS{AllowOrigins: []string{app}}
	s.serveOn([]*routing.Listener{&l}, admins, routing.Rule{Action: others})
	return s
}

func withKeys() routing.JWTRule { return routing.JWTRule{Keys: []byte(issuerKeys)} }

// "@request.auth.claims" of a VirtualService: a token is proved before the
// request is routed by what it claims.
func TestRequestsGoByTheirClaims(t *testing.T) {
	for claims, port := range map[string]uint16{
		`,"realm":{"role":"admin"}`: 11, `,"realm":{"role":["user","admin"]}`: 11, `,"realm":{"role":"user"}`: 1, `,"role":"admin"`: 1,
	} {
		s := newTokenStage(t, withKeys(), nil)
		c := s.get("/", "Authorization: Bearer "+signed(claims))
		b := s.only()
		if (b.port == 11) != (port == 11) || b.header("authorization") != "" {
			t.Errorf("%s: port %d, Authorization %q, want port %d and no token", claims, b.port, b.header("authorization"), port)
		}
		b.reply(200, "")
		s.want(c, 200, "")
	}
}

// RequestAuthentication: who has no token has said nothing, and matches no claim.
func TestRequestWithoutATokenPasses(t *testing.T) {
	s := newTokenStage(t, withKeys(), nil)
	c := s.get("/", "Authorization: Basic YTpi")
	if b := s.only(); b.port == 11 || b.header("authorization") != "Basic YTpi" {
		t.Errorf("port %d, Authorization %q", b.port, b.header("authorization"))
	}
	s.only().reply(200, "")
	s.want(c, 200, "")
}

// RFC 6750 section 3.1.
func TestTokenThatDoesNotHold(t *testing.T) {
	for text, body := range map[string]string{
		"a.b.c": "token does not hold\n", signed(`,"realm":{"role":"admin"}`) + "x": "token does not hold\n", signed(`,"exp":7`): "token is over\n",
	} {
		s := newTokenStage(t, withKeys(), nil)
		c := s.get("/", "Authorization: Bearer "+text)
		if c.field("www-authenticate") != `Bearer error="invalid_token"` || c.body != body {
			t.Errorf("%s: %v %q, want %q", text, c.resp.Fields, c.body, body)
		}
		call := s.request("POST", "/", "Content-Type: application/grpc", "Authorization: Bearer "+text).open()
		if call.field("grpc-status") != "16" {
			t.Errorf("%s: grpc-status %q, want UNAUTHENTICATED", text, call.field("grpc-status"))
		}
		if r := s.records()[0]; r.Status != 401 || r.Flags != "UAEX" || r.Listener != string(listener.Name) || len(s.calls) != 0 {
			t.Errorf("%s: record %+v after %d calls", text, r, len(s.calls))
		}
	}
}

// outputClaimToHeaders and outputPayloadToHeader: what the client says there is
// taken out, with a token or without, as a field or as a trailer.
func TestFieldsOfClaimsAreOursAlone(t *testing.T) {
	rule := withKeys()
	rule.Claims = []routing.ClaimHeader{{Header: "X-User", Claim: "sub"}}
	for _, with := range []string{"", "Bearer " + signed(`,"sub":"ann"`)} {
		s := newTokenStage(t, rule, nil)
		c := s.request("POST", "/", "X-User: root", "x_user: root", "Authorization: "+with).open()
		c.finish("X-User: root")
		b := s.only()
		want := ""
		if with != "" {
			want = "ann"
		}
		if b.header("x-user") != want || b.header("x_user") != "" || len(b.trailers) != 0 {
			t.Errorf("the backend sees X-User %q, x_user %q, trailers %v, want %q alone", b.header("x-user"), b.header("x_user"), b.trailers, want)
		}
		b.reply(200, "")
	}
}

func TestPreflightsNeedNoToken(t *testing.T) {
	s := newTokenStage(t, withKeys(), nil)
	c := s.request("OPTIONS", "/", "Origin: "+app, "Access-Control-Request-Method: GET", "Authorization: Bearer x").send()
	if c.field("access-control-allow-origin") != app {
		t.Errorf("%d %v", c.resp.Status, c.resp.Fields)
	}
	s.want(c, 200, "")
}

// A request waits for keys, with what comes of its body.
func TestRequestWaitsForKeys(t *testing.T) {
	var fetch func()
	s := newTokenStage(t, routing.JWTRule{URL: "https://issuer.example/keys"}, func(f func()) { fetch = f })
	c := s.request("POST", "/", "Authorization: Bearer "+signed(`,"realm":{"role":"admin"}`)).open()
	gone := s.get("/", "Authorization: Bearer "+signed(""))
	c.upload("body")
	if c.done() || len(s.calls) != 0 {
		t.Fatal("something was done before there are keys")
	}
	gone.leave(message.Gone)
	c.finish()
	fetch()
	s.loop.Settle()
	b := s.only()
	if b.port != 11 || b.body != "body" || !b.ended {
		t.Errorf("port %d got %q, ended %v", b.port, b.body, b.ended)
	}
	b.reply(200, "")
	if c.resp.Status != 200 {
		t.Errorf("status %d, want 200", c.resp.Status)
	}
}

// What cannot be proved does not pass.
func TestWithoutKeysNobodyPasses(t *testing.T) {
	var fetch func()
	s := newTokenStage(t, routing.JWTRule{URL: "https://issuer.example/nothing"}, func(f func()) { fetch = f })
	c := s.get("/", "Authorization: Bearer "+signed(""))
	fetch()
	s.loop.Settle()
	s.want(c, 401, "UAEX")
}

// Rules live as long as their listeners, and what they fetched with them.
func TestTokenRulesLeaveWithTheirListeners(t *testing.T) {
	s := newTokenStage(t, withKeys(), nil)
	count := func() (n int) {
		s.proxy.tokens.Range(func(any, any) bool { n++; return true })
		return n
	}
	s.get("/", "Authorization: Bearer "+signed(""))
	s.only().reply(200, "")
	if n := count(); n != 1 {
		t.Errorf("%d listeners have rules, want 1", n)
	}
	s.serve(routing.Rule{Action: to("a")}) // while the one before is still in force
	s.serve(routing.Rule{Action: to("b")})
	if n := count(); n != 0 {
		t.Errorf("%d listeners have rules, want none once the last is gone", n)
	}
}
