package authz

import (
	"strings"
	"testing"
	"unicode/utf8"

	"fairway.dev/gateway/message"
	"fairway.dev/routing"
)

// FuzzPatterns compares each kind of pattern with the oracle, whatever people
// write and clients send. What is broken for routing is broken here, and nothing
// else.
func FuzzPatterns(f *testing.F) {
	for _, s := range [][2]string{
		{"/a/{*}/{**}", "/a/b/c"}, {"td/ns/shop/sa/cart", "spiffe://td/ns/shop/sa/cart"}, {"*", "x"}, {"https://iss/*", "https://iss/me"}, {"s*p", "spiffe://td/ns/shop/sa/x"},
		{"[a][b]", "a"}, {"10.0.0.0/8", "10.0.0.1"}, {"shop/cart", "spiffe://td/ns/shop/sa/cart"}, {"o*", "spiffe://old/"},
	} {
		f.Add(s[0], s[1])
	}
	domains := []string{"td", "old"}
	o := oracle{namespace: "shop", domains: domains}
	f.Fuzz(func(t *testing.T, p, value string) {
		if !utf8.ValidString(p) || !utf8.ValidString(value) {
			return // the oracle's expressions are of UTF-8
		}
		iss, sub := value, ""
		if i := strings.LastIndexByte(value, '/'); i >= 0 {
			iss, sub = value[:i], value[i+1:]
		}
		a := &Attributes{
			Peer: &message.Peer{Identity: value}, Request: &message.Request{Method: value}, Path: value,
			Token: claims{"[iss]": {iss}, "[sub]": {sub}, "[a]": {value, sub}},
		}
		a.Request.Fields.Append("x-a", value)
		type src = routing.AuthorizationSource
		tests := []struct {
			rule routing.AuthorizationRule
			want func() bool
		}{
			{from(src{Principals: in(p)}), func() bool { return o.principal(p, value) }},
			{from(src{Namespaces: in(p)}), func() bool { return namespaceMatch(p, value) }},
			{from(src{ServiceAccounts: in(p)}), func() bool { return o.account(p, value) }},
			{from(src{TrustDomains: in(p)}), func() bool { return o.domain(p, value) }},
			{from(src{RequestPrincipals: in(p)}), func() bool { return requestPrincipalMatch(p, a.Token) }},
			{to(routing.AuthorizationOperation{Paths: in(p)}), func() bool { return pathMatch(p, value) }},
			{to(routing.AuthorizationOperation{Methods: in(p)}), func() bool { return full(stringMatch(p), value) }},
			{when("request.headers[x-a]", in(p)), func() bool { return headerMatch(p, "x-a", a) }},
			{when("request.auth.claims[a]", in(p)), func() bool { return claimMatch(p, a.Token, "a") }},
			{when("source.ip", in(p)), func() bool { return false }}, // of a peer without an address
			{when(p, in(value)), nil},
		}
		for _, tt := range tests {
			policy := policy("p", routing.Allow, tt.rule)
			c := Compile(policy, domains)
			if err := policy.Authorization.Check(); (err != nil) != (c.Broken() != "") {
				t.Fatalf("%+v: %v, and broken as %q", tt.rule, err, c.Broken())
			}
			allowed := New([]*routing.Policy{policy}, nil, domains).Check(a).Allowed
			if c.Broken() != "" && allowed {
				t.Fatalf("%+v is broken, and lets pass", tt.rule)
			}
			if c.Broken() == "" && tt.want != nil && allowed != tt.want() {
				t.Fatalf("%+v, identity, path and method %q: %v, oracle: %v", tt.rule, value, allowed, !allowed)
			}
		}
	})
}
