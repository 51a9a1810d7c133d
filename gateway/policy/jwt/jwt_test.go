package jwt

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"fairway.dev/gateway/message"
	"fairway.dev/routing"
)

var start = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// pair is a key pair of an issuer.
type pair struct {
	id  string
	alg jose.SignatureAlgorithm
	key crypto.Signer
}

// made are key pairs by their algorithm: RSA's take long to make.
var made sync.Map

func newPair(t testing.TB, id string, alg jose.SignatureAlgorithm) pair {
	t.Helper()
	if key, ok := made.Load(id + string(alg)); ok {
		return pair{id, alg, key.(crypto.Signer)}
	}
	var key crypto.Signer
	var err error
	switch alg {
	case jose.ES256:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case jose.ES384:
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case jose.ES512:
		key, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case jose.EdDSA:
		_, key, err = ed25519.GenerateKey(rand.Reader)
	default:
		if rsaKey, ok := made.Load("rsa" + id); ok {
			key = rsaKey.(crypto.Signer)
		} else if key, err = rsa.GenerateKey(rand.Reader, 2048); err == nil {
			made.Store("rsa"+id, key)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	made.Store(id+string(alg), key)
	return pair{id, alg, key}
}

func (p pair) public() jose.JSONWebKey {
	return jose.JSONWebKey{Key: p.key.Public(), KeyID: p.id, Use: "sig"}
}

func set(keys ...jose.JSONWebKey) []byte {
	b, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
	if err != nil {
		panic(err)
	}
	return b
}

// sign makes a token.
func (p pair) sign(t testing.TB, claims any) string {
	t.Helper()
	o := &jose.SignerOptions{}
	if p.id != "" {
		o = o.WithHeader("kid", p.id)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: p.alg, Key: p.key}, o)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(b)
	if err != nil {
		t.Fatal(err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

type m = map[string]any

// good are claims that hold.
func claims(more m) m {
	c := m{"iss": "https://issuer.example", "sub": "ann", "exp": start.Add(time.Hour).Unix()}
	for name, v := range more {
		if c[name] = v; v == nil {
			delete(c, name)
		}
	}
	return c
}

func clock() time.Time { return start }

func request(lines ...string) *message.Request {
	req := &message.Request{Method: "GET", Path: "/"}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		if name == "?" {
			req.Query = "?" + value
			continue
		}
		req.Fields.Append(name, value)
	}
	return req
}

func rulesFor(t testing.TB, list ...routing.JWTRule) *Rules {
	s := NewStore(Options{Now: clock})
	t.Cleanup(s.Close)
	return s.Rules(list)
}

// holds proves the token of a request that waits for nothing.
func holds(t testing.TB, r *Rules, req *message.Request) (*Token, error) {
	t.Helper()
	token, wait, err := r.Prove(req, nil)
	if wait != nil {
		t.Error("keys are to be waited for that the rule has brought")
	}
	return token, err
}

func TestAlgorithms(t *testing.T) {
	for _, alg := range algorithms {
		p := newPair(t, "k1", alg)
		r := rulesFor(t, routing.JWTRule{Issuer: "https://issuer.example", Keys: set(p.public())})
		text := p.sign(t, claims(nil))
		token, err := holds(t, r, request("Authorization: Bearer "+text))
		if token == nil || err != nil {
			t.Errorf("%s: %v, want a token that holds", alg, err)
			continue
		}
		if got := token.Claim([]string{"sub"}); !slices.Equal(got, []string{"ann"}) {
			t.Errorf("%s: sub %v", alg, got)
		}
		head, rest, _ := strings.Cut(text, ".")
		payload, sig, _ := strings.Cut(rest, ".")
		other := base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"https://issuer.example","sub":"eve"}`))
		for name, forged := range map[string]string{
			"other claims": head + "." + other + "." + sig,
			"no signature": head + "." + payload + ".",
			"a cut one":    head + "." + payload + "." + sig[:len(sig)-4],
		} {
			if token, err := holds(t, r, request("Authorization: Bearer "+forged)); token != nil || err == nil {
				t.Errorf("%s with %s holds", alg, name)
			}
		}
	}
}

// RFC 8725 section 3.1: the algorithm is the verifier's to choose.
func TestAlgorithmConfusionIsRefused(t *testing.T) {
	p := newPair(t, "k1", jose.RS256)
	r := rulesFor(t, routing.JWTRule{Issuer: "https://issuer.example", Keys: set(p.public())})
	payload, _ := json.Marshal(claims(nil))
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + base64.RawURLEncoding.EncodeToString(payload) + "."
	// The public key as the secret of a MAC.
	public, _ := json.Marshal(p.public())
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: public}, nil)
	if err != nil {
		t.Fatal(err)
	}
	mac, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	hs256, _ := mac.CompactSerialize()
	// A key that the token brings along.
	own := newPair(t, "own", jose.ES256)
	embedding, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: own.key}, &jose.SignerOptions{EmbedJWK: true})
	if err != nil {
		t.Fatal(err)
	}
	embedded, err := embedding.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	jwk, _ := embedded.CompactSerialize()
	ps := pair{"k1", jose.PS256, p.key}
	for name, text := range map[string]string{
		"none": none, "HS256": hs256, "jwk": jwk, "JSON": mac.FullSerialize(), "nothing": "", "dots": "..", "three": "a.b.c",
		"a line end": strings.Replace(p.sign(t, claims(nil)), ".", ".\r\n", 1),
		"too long":   p.sign(t, claims(m{"x": strings.Repeat("x", maxToken)})),
	} {
		if token, err := holds(t, r, request("Authorization: Bearer "+text)); token != nil || err == nil {
			t.Errorf("%s holds", name)
		}
	}
	// A key that says which algorithm it is for is for no other one.
	strict := p.public()
	strict.Algorithm = string(jose.RS256)
	r = rulesFor(t, routing.JWTRule{Issuer: "https://issuer.example", Keys: set(strict)})
	if token, _ := holds(t, r, request("Authorization: Bearer "+ps.sign(t, claims(nil)))); token != nil {
		t.Error("PS256 holds by a key for RS256")
	}
}

func TestClaimsThatHold(t *testing.T) {
	p := newPair(t, "k1", jose.ES256)
	at := func(d time.Duration) int64 { return start.Add(d).Unix() }
	tests := []struct {
		name string
		aud  []string
		more m
		want bool
	}{
		{"all", nil, nil, true},
		{"another issuer", nil, m{"iss": "https://evil.example"}, false},
		{"no issuer", nil, m{"iss": nil}, false},
		{"an issuer that is no text", nil, m{"iss": 7}, false},
		{"exp", nil, m{"exp": at(-59 * time.Second)}, true}, // clocks differ
		{"exp over", nil, m{"exp": at(-60 * time.Second)}, false},
		{"exp with a fraction", nil, m{"exp": float64(at(time.Hour)) + .5}, true},
		{"exp that is no number", nil, m{"exp": "tomorrow"}, false},
		{"exp in eternity", nil, m{"exp": 1e300}, true},
		{"no exp", nil, m{"exp": nil}, true},
		{"nbf", nil, m{"nbf": at(60 * time.Second)}, true},
		{"nbf ahead", nil, m{"nbf": at(61 * time.Second)}, false},
		{"aud", []string{"shop"}, m{"aud": "shop"}, true},
		{"aud in a list", []string{"x", "shop"}, m{"aud": []string{"a", "shop"}}, true},
		{"aud as a URL", []string{"https://shop.example/"}, m{"aud": "http://shop.example"}, true},
		{"another aud", []string{"shop"}, m{"aud": "bank"}, false},
		{"no aud", []string{"shop"}, nil, false},
		{"nobody asks for aud", nil, m{"aud": "bank"}, true},
	}
	for _, tt := range tests {
		r := rulesFor(t, routing.JWTRule{Issuer: "https://issuer.example", Audiences: tt.aud, Keys: set(p.public())})
		token, err := holds(t, r, request("Authorization: Bearer "+p.sign(t, claims(tt.more))))
		if (token != nil) != tt.want || (err == nil) != tt.want {
			t.Errorf("%s: holds %v (%v), want %v", tt.name, token != nil, err, tt.want)
		}
	}
	r := rulesFor(t, routing.JWTRule{Issuer: "https://issuer.example", Keys: set(p.public())})
	for _, claims := range []any{[]int{1}, nil, "text"} {
		if token, err := holds(t, r, request("Authorization: Bearer "+p.sign(t, claims))); token != nil || err == nil {
			t.Errorf("a payload of %v holds", claims)
		}
	}
}

func TestPlaces(t *testing.T) {
	p := newPair(t, "k1", jose.ES256)
	token := p.sign(t, claims(nil))
	own := routing.JWTRule{
		Headers: []routing.Header{{Name: "X-Token", Value: "Tok "}, {Name: "X-Raw"}}, Params: []string{"jwt"}, Cookies: []string{"session"},
	}
	tests := []struct {
		name  string
		rule  routing.JWTRule
		lines []string
		left  string // of the request, once the token is out
	}{
		{"by default", routing.JWTRule{}, []string{"Authorization: Bearer " + token, "A: 1"}, "A: 1 "},
		{"in another case", routing.JWTRule{}, []string{"authorization: bearer  " + token}, ""},
		{"the parameter", routing.JWTRule{}, []string{"?: a=1&access_token=" + token + "&b=2"}, "?a=1&b=2"},
		{"the only parameter", routing.JWTRule{}, []string{"?: access_token=" + token}, ""},
		{"an encoded parameter", routing.JWTRule{}, []string{"?: access%5Ftoken=" + strings.ReplaceAll(token, ".", "%2E")}, ""},
		{"a header", own, []string{"X-Token: Tok " + token}, ""},
		{"a header without a prefix", own, []string{"x-raw: " + token}, ""},
		{"a parameter", own, []string{"?: jwt=" + token}, ""},
		{"a cookie", own, []string{"Cookie: a=1; session=" + token + "; b=2"}, "Cookie: a=1; b=2 "},
		{"the only cookie", own, []string{"Cookie: session=" + token}, ""},
		{"kept", routing.JWTRule{Keep: true}, []string{"?: access_token=" + token}, "?access_token=" + token},
	}
	for _, tt := range tests {
		tt.rule.Issuer, tt.rule.Keys = "https://issuer.example", set(p.public())
		req := request(tt.lines...)
		found, err := holds(t, rulesFor(t, tt.rule), req)
		if found == nil {
			t.Errorf("%s: %v, want the token", tt.name, err)
			continue
		}
		found.Present(req)
		left := ""
		for _, f := range req.Fields {
			left += f.Text + ": " + f.Value + " "
		}
		if left += req.Query; left != tt.left {
			t.Errorf("%s: the backend sees %q, want %q", tt.name, left, tt.left)
		}
	}
}

// A request without a token has said nothing; one with two may mean the other.
func TestTokensThatAreNotThereOrTwice(t *testing.T) {
	p := newPair(t, "k1", jose.ES256)
	token := p.sign(t, claims(nil))
	plain := routing.JWTRule{Issuer: "https://issuer.example", Keys: set(p.public())}
	own := plain
	own.Headers = []routing.Header{{Name: "X-Token"}}
	for _, tt := range []struct {
		rule  routing.JWTRule
		lines []string
	}{
		{plain, nil}, {plain, []string{"Authorization: Basic YTpi"}}, {plain, []string{"X-Token: " + token}},
		{own, []string{"Authorization: Bearer " + token}}, // places of one's own take the place of the others
	} {
		if token, err := holds(t, rulesFor(t, tt.rule), request(tt.lines...)); token != nil || err != nil {
			t.Errorf("%v: %v, %v, want no token and no error", tt.lines, token, err)
		}
	}
	bearer := "Authorization: Bearer " + token
	for _, lines := range [][]string{
		{bearer, bearer}, {"?: access_token=" + token + "&access_token=x"}, {bearer + ", Bearer x"}, {"Authorization: Bearer "},
	} {
		if token, err := holds(t, rulesFor(t, plain), request(lines...)); token != nil || err == nil {
			t.Errorf("%v holds", lines)
		}
	}
}

// RequestAuthentication: of several rules one is enough.
func TestOneOfSeveralRulesIsEnough(t *testing.T) {
	a, b := newPair(t, "a", jose.ES256), newPair(t, "b", jose.ES384)
	r := rulesFor(t,
		routing.JWTRule{Issuer: "https://issuer.example", Keys: set(a.public())},
		routing.JWTRule{Issuer: "https://b.example", Keys: set(b.public())},
	)
	for name, tt := range map[string]struct {
		text string
		want bool
	}{
		"the first": {a.sign(t, claims(nil)), true}, "the second": {b.sign(t, claims(m{"iss": "https://b.example"})), true},
		"the first's issuer by the second's key": {b.sign(t, claims(nil)), false},
	} {
		if token, err := holds(t, r, request("Authorization: Bearer "+tt.text)); (token != nil) != tt.want {
			t.Errorf("%s: holds %v (%v), want %v", name, token != nil, err, tt.want)
		}
	}
}

func TestClaimsForRoutesAndBackends(t *testing.T) {
	p := newPair(t, "k1", jose.ES256)
	rule := routing.JWTRule{
		Issuer: "https://issuer.example", Keys: set(p.public()), PayloadHeader: "X-Payload", Spaced: []string{"roles"},
		Claims: []routing.ClaimHeader{
			{Header: "X-Sub", Claim: "sub"}, {Header: "X-Level", Claim: "level"}, {Header: "X-Nested", Claim: "a.b"}, {Header: "X-Dotted", Claim: "c.d"},
			{Header: "X-List", Claim: "groups"}, {Header: "X-Evil", Claim: "evil"}, {Header: "X-None", Claim: "none"},
		},
	}
	req := request("Authorization: Bearer " + p.sign(t, claims(m{
		"level": 7, "admin": true, "scope": "read write", "roles": "x y", "name": "Ann B", "groups": []any{"dev", 3, nil, m{}},
		"a": m{"b": "deep"}, "c.d": "dotted", "evil": "a\r\nx-admin: 1", "big": json.Number("12345678901234567890"),
	})))
	token, err := holds(t, rulesFor(t, rule), req)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string][]string{
		"sub": {"ann"}, "level": {"7"}, "admin": {"true"}, "scope": {"read", "write"}, "roles": {"x", "y"}, "name": {"Ann B"},
		"groups": {"dev", "3"}, "a/b": {"deep"}, "c.d": {"dotted"}, "big": {"12345678901234567890"}, "a": nil, "none": nil, "a/x": nil, "sub/x": nil,
	} {
		if got := token.Claim(strings.Split(path, "/")); !slices.Equal(got, want) {
			t.Errorf("claim %s: %v, want %v", path, got, want)
		}
	}
	if token.Claim(nil) != nil {
		t.Error("a claim without a name has values")
	}
	got := map[string]string{}
	for _, x := range token.Present(req) {
		got[x.Name] = x.Value
	}
	payload, err := base64.RawURLEncoding.DecodeString(got["x-payload"])
	if err != nil || !strings.Contains(string(payload), `"sub":"ann"`) {
		t.Errorf("payload %q (%v)", payload, err)
	}
	delete(got, "x-payload")
	want := map[string]string{"x-sub": "ann", "x-level": "7", "x-nested": "deep", "x-dotted": "dotted",
		"x-list": base64.RawURLEncoding.EncodeToString([]byte(`["dev",3,null,{}]`))}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("fields for the backend %v, want %v", got, want)
	}
}

func TestFieldsOfOursAreTakenOutFirst(t *testing.T) {
	r := rulesFor(t, routing.JWTRule{PayloadHeader: "X-Jwt-Payload", Claims: []routing.ClaimHeader{{Header: "X-User", Claim: "sub"}}})
	req := request("X-User: root", "x_user: root", "X_Jwt-Payload: e30", "X-Users: all")
	req.Fields = r.Clean(req.Fields)
	if len(req.Fields) != 1 || req.Fields[0].Text != "X-Users" {
		t.Errorf("fields %v are left, want X-Users", req.Fields)
	}
}

func TestKeySets(t *testing.T) {
	good := newPair(t, "k1", jose.ES256).public()
	encryption := good
	encryption.Use = "enc"
	weakKey, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	weak := jose.JSONWebKey{Key: &weakKey.PublicKey, KeyID: "weak"}
	secret := jose.JSONWebKey{Key: []byte("secret"), KeyID: "oct"}
	private := jose.JSONWebKey{Key: weakKey, KeyID: "private"}
	odd := []byte(`{"keys": [{"kty": "odd"}, 7, {"kty": "RSA"}, ` + string(must(json.Marshal(good))) + `]}`)
	for name, tt := range map[string]struct {
		b    []byte
		want int
	}{
		"one": {set(good), 1}, "for encryption": {set(encryption), 0}, "RSA of 1024 bits": {set(weak), 0}, "symmetric": {set(secret), 0},
		"private": {set(private), 0}, "odd ones": {odd, 1}, "none": {[]byte(`{"keys":[]}`), 0}, "no JSON": {[]byte(`keys`), 0},
		"too many": {set(slices.Repeat([]jose.JSONWebKey{good}, maxKeys+1)...), 0},
	} {
		s, err := parseKeys(tt.b)
		n := 0
		if s != nil {
			n = len(s.keys)
		}
		if n != tt.want || (err == nil) != (n > 0) {
			t.Errorf("%s: %d keys (%v), want %d", name, n, err, tt.want)
		}
	}
	r := rulesFor(t, routing.JWTRule{Issuer: "https://issuer.example", Keys: []byte("broken")})
	if token, err := holds(t, r, request("Authorization: Bearer "+newPair(t, "k1", jose.ES256).sign(t, claims(nil)))); token != nil || !errors.Is(err, errNoKey) {
		t.Errorf("a token holds without keys: %v", err)
	}
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

// FuzzProve never lets anybody in who has not signed, and never panics.
func FuzzProve(f *testing.F) {
	p := pair{"k1", jose.EdDSA, ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))} // the same in all processes
	s := NewStore(Options{Now: clock, Fetch: func(context.Context, string) ([]byte, error) { return nil, errors.New("none") }})
	f.Cleanup(s.Close)
	r := s.Rules([]routing.JWTRule{{Issuer: "https://issuer.example", Keys: set(p.public()), Cookies: []string{"c"}, Params: []string{"q"},
		Headers: []routing.Header{{Name: "H", Value: "B "}}}})
	known := p.sign(f, claims(nil))
	f.Add("B "+known, "q="+known, "c="+known)
	f.Add("B a.b.c", "q=%zz&&q", "c=;;c")
	f.Fuzz(func(t *testing.T, header, query, cookie string) {
		req := request("H: "+header, "Cookie: "+cookie)
		req.Query = "?" + query
		token, wait, err := r.Prove(req, nil)
		if wait != nil || token != nil && err != nil {
			t.Errorf("token %v, wait %v, error %v", token, wait, err)
		}
		if token != nil {
			if !strings.Contains(header+decoded(query)+cookie, strings.Split(known, ".")[1]) {
				t.Error("a token holds that nobody has signed")
			}
			token.Present(req)
			if again, _, _ := r.Prove(req, nil); again != nil && again.place == token.place {
				t.Error("the token is still there")
			}
		}
	})
}

func FuzzKeys(f *testing.F) {
	f.Add(set(newPair(f, "k1", jose.ES256).public()))
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := parseKeys(b); (s == nil) == (err == nil) || s != nil && (len(s.keys) == 0 || len(s.keys) > maxKeys) {
			t.Errorf("key set %v, error %v", s, err)
		}
	})
}
