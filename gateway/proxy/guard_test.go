package proxy

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"fairway.dev/gateway/message"
	"fairway.dev/gateway/telemetry"
	"fairway.dev/routing"
)

// authorization is a policy under a name.
func authorization(name routing.PolicyName, a routing.Authorization) *routing.Policy {
	return &routing.Policy{Name: name, Origin: routing.Origin{Kind: "AuthorizationPolicy", Namespace: "ns", Name: string(name)}, Authorization: &a}
}

// newGuardedStage serves cluster "a" behind policies, of which the listener names
// one that is not there where missing says so.
func newGuardedStage(t *testing.T, missing string, policies ...*routing.Policy) *stage {
	s := newStage(t, to("a"))
	s.guard(missing, to("a"), policies...)
	return s
}

func (s *stage) guard(missing string, action routing.Action, policies ...*routing.Policy) {
	l := listener
	spec := specOn([]*routing.Listener{&l}, routing.Rule{Action: action})
	spec.Policies = map[routing.PolicyName]*routing.Policy{}
	for _, p := range policies {
		spec.Policies[p.Name] = p
		l.Policies = append(l.Policies, p.Name)
	}
	if missing != "" {
		l.Policies = append(l.Policies, routing.PolicyName(missing))
	}
	s.put(spec)
}

// from is who asks.
func from(principals ...string) []routing.AuthorizationRule {
	return []routing.AuthorizationRule{{From: []routing.AuthorizationSource{{Principals: routing.Patterns{In: principals}}}}}
}

// AuthorizationPolicy: DENY before ALLOW, and with ALLOW policies nothing but
// what one of them holds for; the log says which policy it was.
func TestPoliciesDecide(t *testing.T) {
	const cart = "spiffe://cluster.local/ns/shop/sa/cart"
	deny := authorization("deny", routing.Authorization{Action: routing.Deny, Rules: from("cluster.local/ns/shop/sa/cart")})
	allow := authorization("allow", routing.Authorization{Action: routing.Allow, Rules: from("cluster.local/ns/shop/sa/cart")})
	broken := authorization("broken", routing.Authorization{Action: routing.Deny, Broken: "it makes no sense"})
	audit := authorization("audit", routing.Authorization{Action: routing.Audit, Rules: from("cluster.local/ns/shop/sa/cart")})
	tests := []struct {
		name     string
		missing  string
		policies []*routing.Policy
		identity string
		status   int
		log      string
	}{
		{"nobody in the way", "", nil, cart, 200, ""},
		{"denied", "", []*routing.Policy{deny, allow}, cart, 403, `"policy":"deny refuses"`},
		{"allowed", "", []*routing.Policy{allow}, cart, 200, `"source_principal":"` + cart + `"`},
		{"not allowed", "", []*routing.Policy{allow}, "", 403, `"policy":"no ALLOW policy holds of allow"`},
		{"a policy that is not there", "gone", []*routing.Policy{allow}, cart, 403, `"policy":"gone refuses all`},
		{"a policy that cannot be had", "", []*routing.Policy{broken}, cart, 403, `"policy":"broken refuses all: it makes no sense`},
		{"an audit", "", []*routing.Policy{audit}, cart, 200, `"audit":"audit holds"`},
	}
	for _, tt := range tests {
		s := newGuardedStage(t, tt.missing, tt.policies...)
		c := s.getAs(message.Peer{Identity: tt.identity}, "/")
		if tt.status == 200 {
			s.only().reply(200, "ok")
		} else if len(s.calls) != 0 {
			t.Errorf("%s: the backend was called", tt.name)
		}
		if c.resp.Status != tt.status {
			t.Errorf("%s: status %d, want %d", tt.name, c.resp.Status, tt.status)
		}
		s.log.Flush(0)
		if s.records(); !strings.Contains(s.lines.String(), tt.log) {
			t.Errorf("%s: the log has %s, want %s", tt.name, s.lines.String(), tt.log)
		}
	}
}

// A policy that takes another's place holds from the next request on.
func TestPoliciesChange(t *testing.T) {
	s := newGuardedStage(t, "", authorization("p", routing.Authorization{Action: routing.Deny, Rules: []routing.AuthorizationRule{{}}}))
	if c := s.getAs(message.Peer{}, "/"); c.resp.Status != 403 {
		t.Fatalf("status %d, want 403", c.resp.Status)
	}
	s.guard("", to("a"), authorization("p", routing.Authorization{Action: routing.Allow, Rules: []routing.AuthorizationRule{{}}}))
	c := s.getAs(message.Peer{}, "/")
	s.only().reply(200, "ok")
	if c.resp.Status != 200 {
		t.Errorf("status %d, want 200", c.resp.Status)
	}
}

// AuthorizationPolicy.action CUSTOM: who is asked refuses before DENY and ALLOW
// are looked at, and what he lets pass they still may refuse.
func TestCustomPoliciesAreAskedFirst(t *testing.T) {
	custom := authorization("custom", routing.Authorization{
		Action: routing.Custom, Rules: []routing.AuthorizationRule{{}}, External: &routing.ExternalAuth{Cluster: "b"},
	})
	nobody := authorization("nobody", routing.Authorization{Action: routing.Allow})
	for _, tt := range []struct {
		name     string
		policies []*routing.Policy
		answer   int
		status   int
		log      string
	}{
		{"yes", []*routing.Policy{custom}, 200, 200, ""},
		{"no", []*routing.Policy{custom}, 401, 401, `"policy":"custom"`},
		{"yes, and an ALLOW policy without rules", []*routing.Policy{custom, nobody}, 200, 403, `"policy":"no ALLOW policy holds of nobody"`},
	} {
		s := newGuardedStage(t, "", tt.policies...)
		c := s.get("/")
		q := s.only()
		if q.port != 11 {
			t.Fatalf("%s: port %d was asked, want 11", tt.name, q.port)
		}
		q.head(tt.answer, true, "X-User: me")
		s.loop.Settle()
		if tt.status == 200 {
			b := s.call(1)
			if b.header("x-user") != "me" {
				t.Errorf("%s: the backend got %v", tt.name, b.req.Fields)
			}
			b.reply(200, "ok")
		}
		if c.resp.Status != tt.status {
			t.Errorf("%s: status %d, want %d", tt.name, c.resp.Status, tt.status)
		}
		if s.records(); !strings.Contains(s.lines.String(), tt.log) {
			t.Errorf("%s: the log has %s, want %s", tt.name, s.lines.String(), tt.log)
		}
	}
}

// What is a connection to us is decided by what is known of connections.
func TestPoliciesDecideAboutStreams(t *testing.T) {
	allow := authorization("allow", routing.Authorization{Action: routing.Allow, Rules: from("cluster.local/ns/shop/sa/cart")})
	custom := authorization("custom", routing.Authorization{
		Action: routing.Custom, Rules: []routing.AuthorizationRule{{}}, External: &routing.ExternalAuth{Cluster: "b"},
	})
	once := []routing.RateLimitRule{{Requests: 1, Per: time.Hour}}
	limit := &routing.Policy{Name: "limit", RateLimit: &routing.RateLimit{Rules: once}}
	closed := &routing.Policy{Name: "closed", RateLimit: &routing.RateLimit{Rules: once, FailClosed: true}}
	for _, tt := range []struct {
		policies []*routing.Policy
		identity string
		policy   string
	}{
		{[]*routing.Policy{allow}, "spiffe://cluster.local/ns/shop/sa/cart", ""},
		{[]*routing.Policy{allow}, "", "no ALLOW policy holds of allow"},
		{[]*routing.Policy{custom}, "", "custom refuses: a CUSTOM policy is about requests, and these are none"},
		{[]*routing.Policy{allow, limit}, "spiffe://cluster.local/ns/shop/sa/cart", ""},
		{[]*routing.Policy{allow, closed}, "spiffe://cluster.local/ns/shop/sa/cart", "closed refuses: it counts requests, and these are none"},
	} {
		s := newGuardedStage(t, "", tt.policies...)
		d := s.proxy.Stream(s.loop, s.bind, Arrival{Source: netip.MustParseAddr("192.0.2.1"), Peer: &message.Peer{Identity: tt.identity}})
		if d.Policy != tt.policy || (d.Cluster == nil) != (tt.policy != "") || (d.Flags == telemetry.Unauthorized) != (tt.policy != "") {
			t.Errorf("%q: cluster %v, flags %s, policy %q; want %q", tt.identity, d.Cluster, d.Flags, d.Policy, tt.policy)
		}
	}
}

// Law 13: what one gateway sends to a backend goes by the backend's waypoint, and
// what that waypoint sends goes straight there.
func TestRequestsGoByTheWaypoint(t *testing.T) {
	hop := &routing.Hop{Gateway: "shop/waypoint", Cluster: "b", Authority: "10.96.0.5:80"}
	cart := message.Peer{Identity: "spiffe://cluster.local/ns/web/sa/front", Vouch: true, Remote: netip.MustParseAddrPort("10.1.1.1:999")}
	for _, tt := range []struct {
		name    string
		gateway string
		door    bool
		inside  bool // Hop.Inside
		peer    message.Peer
		hops    bool
		source  string
	}{
		{"an edge", "ns/edge", false, false, cart, true, ""},
		{"an edge that is to go straight", "ns/edge", false, true, cart, false, ""},
		{"another waypoint", "web/waypoint", true, false, cart, true, cart.Identity},
		{"another waypoint that does not know its client", "web/waypoint", true, true, message.Peer{}, true, message.Nobody},
		{"the waypoint", "shop/waypoint", true, false, cart, false, ""},
		{"a door that waypoints share", routing.CallingGateways, true, false, cart, true, cart.Identity},
		{"a bound listener of the waypoint", "shop/waypoint", false, false, cart, true, ""},
	} {
		s := newStage(t, to("a"))
		l := listener
		l.Gateway = tt.gateway
		if tt.door {
			l.Inside, l.Addresses = true, []netip.Addr{netip.MustParseAddr("10.96.0.5")}
			s.bind.Key = routing.PortKey{Addr: l.Addresses[0], Port: 80, Inside: true}
		}
		spec := specOn([]*routing.Listener{&l}, routing.Rule{Action: to("a")})
		h := *hop
		h.Inside = tt.inside
		spec.Clusters["a"].Hop = &h
		s.put(spec)
		c := s.getAs(tt.peer, "/")
		call := s.only()
		if (call.port == 11) != tt.hops || call.req.Hop.Source != tt.source || (call.req.Hop.Target != "") != tt.hops {
			t.Errorf("%s: port %d, told %+v; want a hop: %v, source %q", tt.name, call.port, call.req.Hop, tt.hops, tt.source)
		}
		call.reply(200, "ok")
		if c.resp.Status != 200 {
			t.Errorf("%s: status %d, want 200", tt.name, c.resp.Status)
		}
	}
}

// Law 15: without the waypoint nobody passes.
func TestNobodyPassesWithoutTheWaypoint(t *testing.T) {
	s := newStage(t, to("a"))
	l := listener
	spec := specOn([]*routing.Listener{&l}, routing.Rule{Action: to("a")})
	spec.Clusters["a"].Hop = &routing.Hop{Gateway: "shop/waypoint", Cluster: "mesh/shop/waypoint", Authority: "10.96.0.5:80"}
	s.put(spec)
	s.want(s.get("/"), 503, "UH")
}

// A door that waypoints share never leads past policy: where the waypoint that
// enforces it has no door of its own, nobody passes.
func TestSharedDoorsGoNowhereAtTheWaypointItself(t *testing.T) {
	for _, tt := range []struct {
		gateway string // whose pod it is
		status  int
	}{{"web/waypoint", 200}, {"shop/waypoint", 503}} {
		s := newStage(t, to("a"))
		l := listener
		l.Gateway, l.Inside, l.Addresses = routing.CallingGateways, true, []netip.Addr{netip.MustParseAddr("10.96.0.5")}
		s.bind.Key = routing.PortKey{Addr: l.Addresses[0], Port: 80, Inside: true}
		hbone := &routing.Listener{Name: "mesh", Gateway: tt.gateway, Port: 15008, Protocol: routing.HBONE, Mesh: &routing.Mesh{TrustDomains: []string{"cluster.local"}, Calls: true}}
		spec := specOn([]*routing.Listener{&l}, routing.Rule{Action: to("a")})
		spec.Listeners[hbone.Name] = hbone
		spec.Clusters["a"].Hop = &routing.Hop{Gateway: "shop/waypoint", Cluster: "b", Authority: "10.96.0.5:80"}
		s.put(spec)
		c := s.get("/")
		if tt.status == 200 {
			s.only().reply(200, "ok")
		}
		if c.resp.Status != tt.status {
			t.Errorf("at %s: status %d, want %d", tt.gateway, c.resp.Status, tt.status)
		}
	}
}

// Law 11: what a gateway of the fleet says of its client is believed, and nobody
// else.
func TestGatewaysAreBelieved(t *testing.T) {
	for _, tt := range []struct {
		gateway, forwarded, proto string
	}{
		{"", "192.0.2.9", "http"},
		{"spiffe://cluster.local/ns/edge/sa/edge", "203.0.113.5, 198.51.100.2", "https"},
	} {
		s := newStage(t, to("a"))
		s.getAs(message.Peer{Gateway: tt.gateway, Remote: netip.MustParseAddrPort("192.0.2.9:1"), RemoteIP: "192.0.2.9"}, "/",
			"X-Forwarded-For: 203.0.113.5, 198.51.100.2", "X-Forwarded-Proto: https", "X-Fairway-Source: me")
		call := s.only()
		if got := call.header("x-forwarded-for"); got != tt.forwarded {
			t.Errorf("%q: X-Forwarded-For %q, want %q", tt.gateway, got, tt.forwarded)
		}
		if got := call.header("x-forwarded-proto"); got != tt.proto {
			t.Errorf("%q: X-Forwarded-Proto %q, want %q", tt.gateway, got, tt.proto)
		}
		if got := call.header("x-fairway-source"); got != "" {
			t.Errorf("%q: X-Fairway-Source %q, want none", tt.gateway, got)
		}
		call.reply(200, "")
	}
}
