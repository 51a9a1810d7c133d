package proxy

import (
	"net/netip"
	"testing"

	"fairway.dev/gateway/message"
	"fairway.dev/routing"
)

// AuthorizationPolicy.rules.to.operation and .from.source at a proxy: paths without
// their query and however they are written, hosts in any case, the client behind
// trusted proxies. Who is refused hears what Istio's clients do.
func TestWhatPoliciesSee(t *testing.T) {
	operation := func(o routing.AuthorizationOperation) []routing.AuthorizationRule {
		return []routing.AuthorizationRule{{To: []routing.AuthorizationOperation{o}}}
	}
	admin := operation(routing.AuthorizationOperation{Paths: routing.Patterns{In: []string{"/admin", "/admin/*"}}})
	source := func(s routing.AuthorizationSource) []routing.AuthorizationRule {
		return []routing.AuthorizationRule{{From: []routing.AuthorizationSource{s}}}
	}
	block := routing.Prefixes{In: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}}
	local := routing.Prefixes{In: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}
	const forwarded = "X-Forwarded-For: 198.51.100.1, 203.0.113.9"
	for _, tt := range []struct {
		what, target, line string
		rules              []routing.AuthorizationRule
		hops               int
		denied             bool
	}{
		{"paths", "/admin", "", admin, 0, true},
		{"paths, with a query", "/admin?a=b", "", admin, 0, true},
		{"another path", "/administrator", "", admin, 0, false},
		{"a path in another case", "/ADMIN", "", admin, 0, false},
		{"dot segments", "/a/../admin", "", admin, 0, true},
		{"encoded dot segments", "/a/%2e%2E/admin", "", admin, 0, true},
		{"an encoded letter", "/%61dmin", "", admin, 0, true},
		{"an encoded letter below", "/a%64min/x", "", admin, 0, true},
		{"a letter that is encoded twice is none", "/%2561dmin", "", admin, 0, false},
		{"backslashes", `/a\..\admin`, "", admin, 0, true},
		{"an encoded slash is none", "/admin%2Fx", "", admin, 0, false}, // MeshConfig.pathNormalization: BASE
		{"two slashes are two", "//admin", "", admin, 0, false},
		{"hosts", "/", "Host: SHOP.example:80", operation(routing.AuthorizationOperation{Hosts: routing.Patterns{In: []string{"shop.example"}}}), 0, true},
		{"methods", "/", "", operation(routing.AuthorizationOperation{Methods: routing.Patterns{In: []string{"GET"}}}), 0, true},
		{"ipBlocks", "/", forwarded, source(routing.AuthorizationSource{IPBlocks: local}), 1, true},
		{"ipBlocks are not the client's", "/", forwarded, source(routing.AuthorizationSource{IPBlocks: block}), 1, false},
		{"remoteIpBlocks behind a proxy", "/", forwarded, source(routing.AuthorizationSource{RemoteIPBlocks: block}), 1, true},
		{"remoteIpBlocks that the client makes up", "/", forwarded, source(routing.AuthorizationSource{RemoteIPBlocks: block}), 0, false},
		{"remoteIpBlocks of the peer", "/", "", source(routing.AuthorizationSource{RemoteIPBlocks: local}), 0, true},
	} {
		s := newStageWith(t, Options{TrustedHops: tt.hops}, routing.Rule{Action: to("a")})
		s.guard("", to("a"), authorization("p", routing.Authorization{Action: routing.Deny, Rules: tt.rules}))
		var lines []string
		if tt.line != "" {
			lines = append(lines, tt.line)
		}
		c := s.getAs(message.Peer{Remote: netip.MustParseAddrPort("192.0.2.7:1"), RemoteIP: "192.0.2.7"}, tt.target, lines...)
		if len(s.calls) == 0 != tt.denied {
			t.Errorf("%s: denied %v, want %v", tt.what, len(s.calls) == 0, tt.denied)
		}
		for _, b := range s.calls {
			b.reply(200, "ok")
		}
		if tt.denied && (c.resp.Status != 403 || c.body != "RBAC: access denied") {
			t.Errorf("%s: %d %q, want 403 as Istio answers", tt.what, c.resp.Status, c.body)
		}
	}
}
