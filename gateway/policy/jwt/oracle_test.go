package jwt

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"fairway.dev/routing"
)

// A shown is a token that somebody shows: what the oracle knows of it without
// reading it.
type shown struct {
	text, issuer, key, audience string
	good                        bool // its form, its algorithm and its time are in order
}

// An asked is a rule as its author wrote it (RequestAuthentication.jwtRules): where
// tokens are, by the names of the places.
type asked struct {
	issuer, key string
	audiences   []string
	places      []string
	keep        bool
}

// places are where tokens can be: fromHeaders, fromParams and fromCookies.
var tokenPlaces = []string{"header Authorization", "param access_token", "header X-Token", "param jwt", "cookie session"}

func (a *asked) rule(keys map[string][]byte) routing.JWTRule {
	r := routing.JWTRule{Issuer: a.issuer, Keys: keys[a.key], Audiences: a.audiences, Keep: a.keep}
	for _, p := range a.places {
		switch kind, name, _ := strings.Cut(p, " "); kind {
		case "header":
			r.Headers = append(r.Headers, routing.Header{Name: name, Value: "Bearer "})
		case "param":
			r.Params = append(r.Params, name)
		default:
			r.Cookies = append(r.Cookies, name)
		}
	}
	return r
}

// judged is what the oracle says: a token that holds, by which rule and at which
// place; none at all; or some, none of which holds.
type judged struct {
	rule    int // -1: none
	place   string
	refused bool
}

// judge reads the rules word by word: "setting any from* replaces the default
// locations"; "a request without a token is accepted"; "valid for any one of the
// rules"; the token's place decides which rules are tried.
func judge(rules []asked, at map[string][]shown) judged {
	seen := false
	for i, r := range rules {
		places := r.places
		if len(places) == 0 {
			places = tokenPlaces[:2]
		}
		// Headers come first, then parameters, then cookies.
		for _, kind := range []string{"header ", "param ", "cookie "} {
			for _, p := range places {
				if !strings.HasPrefix(p, kind) || len(at[p]) == 0 {
					continue
				}
				seen = true
				t := at[p][0]
				if len(at[p]) == 1 && t.good && t.issuer == r.issuer && t.key == r.key && (len(r.audiences) == 0 || slices.Contains(r.audiences, t.audience)) {
					return judged{rule: i, place: p}
				}
			}
		}
	}
	return judged{rule: -1, refused: seen}
}

// Rules by chance decide about tokens by chance as the oracle does, and the backend
// sees the token only where its rule keeps it.
func TestRulesDecideAsTheOracleDoes(t *testing.T) {
	pairs := map[string]pair{"a": newPair(t, "a", jose.ES256), "b": newPair(t, "b", jose.EdDSA)}
	keys := map[string][]byte{"a": set(pairs["a"].public()), "b": set(pairs["b"].public())}
	var tokens []shown
	for _, issuer := range []string{"https://a.example", "https://b.example"} {
		for _, key := range []string{"a", "b"} {
			for _, audience := range []string{"shop", "bank"} {
				c := m{"iss": issuer, "sub": "ann", "aud": audience, "exp": start.Add(time.Hour).Unix(), "n": len(tokens)}
				tokens = append(tokens, shown{pairs[key].sign(t, c), issuer, key, audience, true})
			}
		}
	}
	late := pairs["a"].sign(t, m{"iss": "https://a.example", "aud": "shop", "exp": start.Add(-time.Hour).Unix()})
	header, payload, _ := strings.Cut(tokens[0].text, ".")
	payload, _, _ = strings.Cut(payload, ".")
	tokens = append(tokens, shown{text: late, issuer: "https://a.example", key: "a", audience: "shop"},
		shown{text: "eyJhbGciOiJub25lIn0." + payload + ".", issuer: "https://a.example", key: "a", audience: "shop"}, // {"alg":"none"}
		shown{text: header + "." + payload + ".AAAA", issuer: "https://a.example", key: "a", audience: "shop"}, shown{text: "rubbish"})
	held := map[bool]int{}
	for seed := range uint64(2000) {
		c := rand.New(rand.NewPCG(seed, 0))
		var rules []asked
		var specs []routing.JWTRule
		for range 1 + c.IntN(2) {
			a := asked{issuer: []string{"https://a.example", "https://b.example"}[c.IntN(2)], key: []string{"a", "b"}[c.IntN(2)], keep: c.IntN(3) == 0}
			if c.IntN(2) == 0 {
				a.audiences = []string{"shop"}
			}
			for range c.IntN(3) {
				if p := tokenPlaces[c.IntN(len(tokenPlaces))]; !slices.Contains(a.places, p) {
					a.places = append(a.places, p)
				}
			}
			rules, specs = append(rules, a), append(specs, a.rule(keys))
		}
		at, lines, query := map[string][]shown{}, []string(nil), []string(nil)
		for range c.IntN(4) {
			p, tok := tokenPlaces[c.IntN(len(tokenPlaces))], tokens[c.IntN(len(tokens))]
			at[p] = append(at[p], tok)
			switch kind, name, _ := strings.Cut(p, " "); kind {
			case "header":
				lines = append(lines, name+": Bearer "+tok.text)
			case "param":
				query = append(query, name+"="+tok.text)
			default:
				lines = append(lines, "Cookie: "+name+"="+tok.text)
			}
		}
		if query != nil {
			lines = append(lines, "?: "+strings.Join(query, "&"))
		}
		want, r := judge(rules, at), rulesFor(t, specs...)
		req := request(lines...)
		token, err := holds(t, r, req)
		held[token != nil]++
		switch {
		case (token != nil) != (want.rule >= 0), (err != nil) != want.refused:
			t.Fatalf("seed %d, %+v, %q: %v, %v; oracle: %+v", seed, rules, lines, token, err, want)
		case token == nil:
			continue
		case token.rule != r.list[want.rule]:
			t.Fatalf("seed %d: held by another rule than %d", seed, want.rule)
		}
		token.Present(req)
		text := req.Query
		for _, f := range req.Fields {
			text += " " + f.Text + " " + f.Value
		}
		shownElsewhere := false
		for p, list := range at {
			shownElsewhere = shownElsewhere || p != want.place && slices.ContainsFunc(list, func(s shown) bool { return s.text == at[want.place][0].text })
		}
		if sees := strings.Contains(text, at[want.place][0].text); sees != (rules[want.rule].keep || shownElsewhere) {
			t.Fatalf("seed %d, %+v, %q: the backend sees %q", seed, rules, lines, text)
		}
	}
	if held[true] < 100 || held[false] < 100 {
		t.Errorf("%v: want many that hold, and many that do not", held)
	}
}

// D.6 word for word where a table says more than chance.
func TestTheTokensPlaceDecidesWhichRuleIsTried(t *testing.T) {
	a, b := newPair(t, "a", jose.ES256), newPair(t, "b", jose.EdDSA)
	r := rulesFor(t,
		routing.JWTRule{Issuer: "https://issuer.example", Keys: set(a.public()), Headers: []routing.Header{{Name: "X-A"}}},
		routing.JWTRule{Issuer: "https://b.example", Keys: set(b.public()), Cookies: []string{"b"}},
	)
	ofA, ofB := a.sign(t, claims(nil)), b.sign(t, claims(m{"iss": "https://b.example"}))
	tests := []struct {
		lines         []string
		found, refuse bool
	}{
		{[]string{"X-A: " + ofA}, true, false},
		{[]string{"X-A: " + ofB}, false, true}, // the other rule does not look there
		{[]string{"Cookie: b=" + ofB}, true, false},
		{[]string{"Cookie: b=" + ofA}, false, true},
		{[]string{"Authorization: Bearer " + ofA}, false, false}, // nobody looks there
		{[]string{"X-A: rubbish", "Cookie: b=" + ofB}, true, false},
	}
	for _, tt := range tests {
		token, err := holds(t, r, request(tt.lines...))
		if (token != nil) != tt.found || (err != nil) != tt.refuse {
			t.Errorf("%q: %v, %v; want a token %v, a refusal %v", tt.lines, token, err, tt.found, tt.refuse)
		}
	}
}

// scope and permission are taken apart at spaces without being named.
func TestPermissionsAreTakenApart(t *testing.T) {
	p := newPair(t, "a", jose.ES256)
	token, err := holds(t, rulesFor(t, routing.JWTRule{Issuer: "https://issuer.example", Keys: set(p.public())}),
		request("Authorization: Bearer "+p.sign(t, claims(m{"permission": "read write", "other": "read write"}))))
	if err != nil {
		t.Fatal(err)
	}
	for claim, want := range map[string][]string{"permission": {"read", "write"}, "other": {"read write"}} {
		if got := token.Claim([]string{claim}); !slices.Equal(got, want) {
			t.Errorf("%s is %q, want %q", claim, got, want)
		}
	}
}
