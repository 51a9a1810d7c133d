package routing

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

func TestCheckPolicy(t *testing.T) {
	rule := func(edit func(*AuthorizationRule)) *Policy {
		r := AuthorizationRule{}
		edit(&r)
		return &Policy{Authorization: &Authorization{Action: Deny, Rules: []AuthorizationRule{{}, r}}}
	}
	source := func(s AuthorizationSource) *Policy {
		return rule(func(r *AuthorizationRule) { r.From = []AuthorizationSource{s} })
	}
	path := func(s string) *Policy {
		return rule(func(r *AuthorizationRule) { r.To = []AuthorizationOperation{{Paths: Patterns{In: []string{s}}}} })
	}
	when := func(key string, values ...string) *Policy {
		return rule(func(r *AuthorizationRule) { r.When = []AuthorizationCondition{{key, Patterns{Out: values}}} })
	}
	limit := func(edit func(*RateLimit, *RateLimitRule)) *Policy {
		l := &RateLimit{Rules: []RateLimitRule{{Requests: 10, Per: time.Second}}}
		edit(l, &l.Rules[0])
		return &Policy{RateLimit: l}
	}
	tests := []struct {
		p    *Policy
		want string
	}{
		{&Policy{}, "neither authorization nor a rate limit: want one of them"},
		{&Policy{Authorization: &Authorization{Action: Allow}}, ""},
		{&Policy{Authorization: &Authorization{}}, `action "": want ALLOW, DENY, AUDIT or CUSTOM`},
		{&Policy{Authorization: &Authorization{Action: Deny, Broken: "why"}}, "why"},
		{&Policy{Authorization: &Authorization{Action: Deny, External: &ExternalAuth{}}}, "action DENY with somebody to ask: want CUSTOM"},
		{&Policy{Authorization: &Authorization{Action: Custom}}, ""}, // nobody passes, which is its author's matter

		{source(AuthorizationSource{Principals: Patterns{In: []string{"a*b"}}}), ""}, // a star that is a star
		{source(AuthorizationSource{Namespaces: Patterns{Out: []string{""}}}), "rules[1]: from[0]: namespaces: an empty pattern"},
		{source(AuthorizationSource{ServiceAccounts: Patterns{In: []string{"a/b/c"}}}), `rules[1]: from[0]: service accounts: service account "a/b/c": want NAME or NAMESPACE/NAME, without "*"`},
		{source(AuthorizationSource{ServiceAccounts: Patterns{In: []string{"shop/"}}}), `rules[1]: from[0]: service accounts: service account "shop/": want NAME or NAMESPACE/NAME, without "*"`},
		{source(AuthorizationSource{TrustDomains: Patterns{In: []string{"*", "a*", "*a", "a"}}}), ""},
		{source(AuthorizationSource{TrustDomains: Patterns{In: []string{"a*b"}}}), `rules[1]: from[0]: trust domains: trust domain "a*b": want no "/" in it, and one "*" at most, in front or at the end`},
		{source(AuthorizationSource{TrustDomains: Patterns{In: []string{"a/b"}}}), `rules[1]: from[0]: trust domains: trust domain "a/b": want no "/" in it, and one "*" at most, in front or at the end`},
		{source(AuthorizationSource{RemoteIPBlocks: Prefixes{In: []netip.Prefix{{}}}}), "rules[1]: from[0]: remote IP blocks: an empty block: want an address and how many bits of it count"},

		{path("/a/{*}/b/{**}/c"), ""},
		{path("{**}/c"), ""},
		{path("/a*{b"), ""}, // no template
		{path("{*}/a"), `rules[1]: to[0]: paths: path template "{*}/a": want "/" in front`},
		{path("/{**}/{**}"), `rules[1]: to[0]: paths: path template "/{**}/{**}": want "{**}" to be the last of its operators`},
		{path("/a*/{*}"), `rules[1]: to[0]: paths: path template "/a*/{*}": want "{*}" and "{**}" as whole segments, and no other star or brace`},

		{when("source.ip", "10.0.0.1", "10.0.0.0/8", "fd00::/8"), ""},
		{when("remote.ip", "10.0.0.0/33"), `rules[1]: when[0]: remote.ip: block "10.0.0.0/33": want an address and a number of bits`},
		{when("destination.ip", "fe80::1%eth0"), `rules[1]: when[0]: destination.ip: block "fe80::1%eth0": want an address`},
		{when("destination.port", "0", "65535"), ""},
		{when("destination.port", "65536"), `rules[1]: when[0]: destination.port: port "65536": want 0-65535`},
		{when("source.serviceAccount", "*"), `rules[1]: when[0]: source.serviceAccount: service account "*": want NAME or NAMESPACE/NAME, without "*"`},
		{when("source.trustDomain", "**"), `rules[1]: when[0]: source.trustDomain: trust domain "**": want no "/" in it, and one "*" at most, in front or at the end`},
		{when("connection.sni"), `rules[1]: when[0]: key "connection.sni" without values`},

		{limit(func(*RateLimit, *RateLimitRule) {}), ""},
		{&Policy{RateLimit: &RateLimit{}}, "a rate limit without rules"},
		{limit(func(_ *RateLimit, r *RateLimitRule) { r.Requests = 0 }), "rules[0]: 0 requests: want 1 or more"},
		{limit(func(_ *RateLimit, r *RateLimitRule) { r.Per = time.Millisecond }), "rules[0]: requests per 1ms: want 100ms-24h0m0s"},
		{limit(func(_ *RateLimit, r *RateLimitRule) {
			r.By = []string{"source-ip", "principal", "header:X-A", "claim:sub"}
		}), ""},
		{limit(func(_ *RateLimit, r *RateLimitRule) { r.By = []string{"principal:x"} }), `rules[0]: by "principal:x": want source-ip, principal, header:NAME or claim:NAME`},
		{limit(func(_ *RateLimit, r *RateLimitRule) { r.By = []string{"header:"} }), `rules[0]: by "header:": want source-ip, principal, header:NAME or claim:NAME`},
		{limit(func(_ *RateLimit, r *RateLimitRule) {
			r.Matches = []Match{{}, {Path: PathMatch{Kind: PathRegex, Value: "("}}}
		}),
			"rules[0]: matches[1]: path: error parsing regexp: missing closing ): `(`"},
		{limit(func(_ *RateLimit, r *RateLimitRule) {
			r.Matches = []Match{{Sources: []netip.Prefix{netip.MustParsePrefix("::/0")}}}
		}),
			"rules[0]: matches[0]: sources, destinations or namespaces: want none in a rate limit"},
		{limit(func(l *RateLimit, _ *RateLimitRule) { l.Shared = &SharedLimit{Redis: true} }), "shared: want a cluster where counts are kept"},
		{limit(func(l *RateLimit, _ *RateLimitRule) { l.Shared = &SharedLimit{Cluster: "c"} }), "shared: want a domain for the rate limit service"},
		{limit(func(l *RateLimit, _ *RateLimitRule) {
			l.Shared = &SharedLimit{Cluster: "c", Redis: true, Timeout: time.Minute}
		}), "shared: timeout 1m0s: want 0-1s"},
	}
	for _, tt := range tests {
		got := ""
		if err := checkPolicy(tt.p); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%+v: %s, want %s", tt.p, got, tt.want)
		}
	}
}

func TestSplitCondition(t *testing.T) {
	tests := []struct {
		key, attribute string
		names          []string
	}{
		{"source.ip", "source.ip", nil},
		{"request.headers[User-Agent]", "request.headers", []string{"User-Agent"}},
		{"request.headers[a][b]", "request.headers", []string{"a][b"}},
		{"request.auth.claims[a][b]", "request.auth.claims", []string{"a", "b"}},
		{"request.auth.claims[https://x/[y]", "request.auth.claims", []string{"https://x/[y"}}, // as Istio reads it
		{"request.headers", "", nil},
		{"request.headers[]", "", nil},
		{"request.headersx[a]", "", nil},
		{"request.auth.claims[a]b", "", nil},
		{"source.ip[a]", "", nil},
		{"experimental.envoy.filters.a[b]", "", nil},
		{"", "", nil},
	}
	for _, tt := range tests {
		attribute, names, err := SplitCondition(tt.key)
		if attribute != tt.attribute || !slices.Equal(names, tt.names) || (err != nil) != (tt.attribute == "") {
			t.Errorf("%q: %q %q %v, want %q %q", tt.key, attribute, names, err, tt.attribute, tt.names)
		}
	}
}

// A Matcher says what a route with the match would.
func TestMatcher(t *testing.T) {
	r := &Request{Path: "/cart/1", Method: "GET", Query: "?a=1", Authority: "shop.example"}
	tests := []struct {
		m    Match
		want bool
	}{
		{Match{}, true},
		{Match{Path: PathMatch{Value: "/cart"}}, true},
		{Match{Path: PathMatch{Value: "/car"}}, false},
		{Match{Path: PathMatch{Kind: PathExact, Value: "/cart/1"}}, true},
		{Match{Path: PathMatch{Kind: PathRegex, Value: "/cart/[0-9]"}}, true},
		{Match{Path: PathMatch{Kind: PathMethod, Value: "1"}}, true},
		{Match{Method: "PUT"}, false},
		{Match{Query: []ValueMatch{{Name: "a", Value: "1"}}}, true},
		{Match{Headers: []ValueMatch{{Name: ":authority", Value: "shop.example"}}}, true},
		{Match{Headers: []ValueMatch{{Name: "x-a", Kind: TextPresent}}}, false},
	}
	for _, tt := range tests {
		m, err := NewMatcher(&tt.m)
		if err != nil || m.Holds(r) != tt.want {
			t.Errorf("%+v: %v, want %v", tt.m, err, tt.want)
		}
	}
	if _, err := NewMatcher(&Match{Method: "A B"}); err == nil {
		t.Error("a method that is no token")
	}
}

// A policy with a Problem stays: whoever names it is not to find it gone.
func TestPoliciesThatCannotBeHadStay(t *testing.T) {
	bad := &Policy{Name: "RateLimitPolicy/shop/p", Origin: Origin{Kind: "RateLimitPolicy", Namespace: "shop", Name: "p"}, RateLimit: &RateLimit{Rules: []RateLimitRule{{Per: time.Second}}}}
	s, problems := Compile(&Spec{Policies: map[PolicyName]*Policy{bad.Name: bad}})
	if len(problems) != 1 || problems[0].Reason != InvalidPolicy || problems[0].Error() != "RateLimitPolicy shop/p: rules[0]: 0 requests: want 1 or more" {
		t.Errorf("problems %v, want that it lets no request pass", problems)
	}
	if s.Policy(bad.Name) != bad || !slices.Equal(slices.Collect(s.RateLimits()), []*Policy{bad}) {
		t.Error("the policy is gone")
	}
	good := *bad
	good.RateLimit = &RateLimit{Rules: []RateLimitRule{{Requests: 1, Per: time.Second}}}
	if s, problems = s.Update(&Delta{Policies: []*Policy{&good}}); len(problems) != 0 || s.Policy(bad.Name) != &good {
		t.Errorf("mended: problems %v", problems)
	}
	for _, told := range []*Policy{
		{Name: bad.Name, RateLimit: &RateLimit{}},
		{Name: bad.Name, Authorization: &Authorization{Action: Deny, Broken: "no such provider"}},
	} {
		if s, problems = s.Update(&Delta{Policies: []*Policy{told}}); len(problems) != 0 || s.Policy(bad.Name) != told {
			t.Errorf("%s: problems %v, want none, as its author was told", told, problems)
		}
	}
	var gone Delta
	gone.Removed.Policies = []PolicyName{bad.Name}
	if s, _ = s.Update(&gone); s.Policy(bad.Name) != nil || len(slices.Collect(s.RateLimits())) != 0 {
		t.Error("the policy is still there")
	}
}
