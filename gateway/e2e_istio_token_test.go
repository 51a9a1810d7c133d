package main

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"testing"
	"time"
)

// A tokenIssuer signs tokens (RFC 7519) with RS256.
type tokenIssuer struct {
	t   *testing.T
	key *rsa.PrivateKey
}

func newTokenIssuer(t *testing.T) *tokenIssuer {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return &tokenIssuer{t, key}
}

func encoded(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// keys is the issuer's JSON Web Key Set (RFC 7517).
func (i *tokenIssuer) keys() string {
	encode := base64.RawURLEncoding.EncodeToString
	return fmt.Sprintf(`{"keys": [{"kty": "RSA", "kid": "1", "alg": "RS256", "n": %q, "e": %q}]}`,
		encode(i.key.N.Bytes()), encode(big.NewInt(int64(i.key.E)).Bytes()))
}

func (i *tokenIssuer) sign(alg string, claims map[string]any) string {
	text := encoded(map[string]string{"alg": alg, "kid": "1", "typ": "JWT"}) + "." + encoded(claims)
	if alg == "none" {
		return text + "."
	}
	sum := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(rand.Reader, i.key, crypto.SHA256, sum[:])
	if err != nil {
		i.t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// security.istio.io/v1 RequestAuthentication, and routing by the claims that it
// has proved (networking.istio.io/v1 HTTPMatchRequest.headers).
func TestTokens(t *testing.T) {
	t.Parallel()
	ours, theirs := newTokenIssuer(t), newTokenIssuer(t)
	r := startRig(t, map[string]any{"KEYS": ours.keys()}, map[string]string{
		"edge.yaml": istioEdge,
		"a.yaml":    service("a", startBackend(t, told("a"))), "b.yaml": service("b", startBackend(t, told("b"))),
		"jwt.yaml": `
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: users, namespace: istio-system}
spec:
  jwtRules:
  - issuer: https://issuer.test
    audiences: [shop]
    jwks: '{{.KEYS}}'
    outputClaimToHeaders: [{header: x-user, claim: sub}]
`,
		"vs.yaml": virtualService("a", "a.test", rules(
			`{match: [{headers: {"@request.auth.claims.group": {exact: admin}}}], `+destination("b")+"}",
			destination("a"))),
	})
	now := time.Now().Unix()
	claims := func(change map[string]any) map[string]any {
		all := map[string]any{"iss": "https://issuer.test", "aud": "shop", "sub": "anna", "iat": now, "exp": now + 600}
		for k, v := range change {
			all[k] = v
		}
		return all
	}
	bearer := func(token string) []string { return []string{"Authorization: Bearer " + token} }
	for name, tt := range map[string]struct {
		headers []string
		want    string // the backend, or the status
		user    string // what the backend sees of X-User
	}{
		"no token":                         {[]string{"X-User: liar"}, "a", ""},
		"a token":                          {append(bearer(ours.sign("RS256", claims(nil))), "X-User: liar"), "a", "anna"},
		"a token whose claim is matched":   {bearer(ours.sign("RS256", claims(map[string]any{"group": "admin"}))), "b", "anna"},
		"a claim that is a list":           {bearer(ours.sign("RS256", claims(map[string]any{"group": []string{"dev", "admin"}}))), "b", "anna"},
		"another's claim":                  {bearer(ours.sign("RS256", claims(map[string]any{"group": "dev"}))), "a", "anna"},
		"expired (RFC 7519 section 4.1.4)": {bearer(ours.sign("RS256", claims(map[string]any{"exp": now - 600}))), "401", ""},
		"for another (section 4.1.3)":      {bearer(ours.sign("RS256", claims(map[string]any{"aud": "bank"}))), "401", ""},
		"of an issuer that is not known":   {bearer(ours.sign("RS256", claims(map[string]any{"iss": "https://other.test"}))), "401", ""},
		"signed by another":                {bearer(theirs.sign("RS256", claims(nil))), "401", ""},
		"alg none (RFC 8725 section 3.1)":  {bearer(ours.sign("none", claims(nil))), "401", ""},
		"nonsense":                         {bearer("nonsense"), "401", ""},
	} {
		a := r.ask(r.client(), "a.test", "GET /", tt.headers...)
		got := fmt.Sprint(a.StatusCode)
		if a.StatusCode == 200 {
			got = a.Header.Get("X-Backend")
		}
		if got != tt.want || a.Header.Get("Saw-X-User") != tt.user {
			t.Errorf("%s: %s, user %q; want %s, %q: %s", name, got, a.Header.Get("Saw-X-User"), tt.want, tt.user, a.body)
		}
	}
}
