package proxy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
	"fairway.dev/routing"
)

// limit is a policy of one rule, so many requests a minute.
func limit(name routing.PolicyName, requests uint32, by ...string) *routing.Policy {
	return &routing.Policy{Name: name, RateLimit: &routing.RateLimit{Rules: []routing.RateLimitRule{{Name: "each", Requests: requests, Per: time.Minute, By: by}}}}
}

// limiting is an action of cluster "a" with policies of its own.
func limiting(names ...routing.PolicyName) routing.Action {
	a := to("a")
	a.Policies = names
	return a
}

// limit puts an action in force, with policies of which the listener has some.
func (s *stage) limit(on []routing.PolicyName, action routing.Action, policies ...*routing.Policy) {
	l := listener
	l.Policies = on
	spec := specOn([]*routing.Listener{&l}, routing.Rule{Action: action})
	spec.Policies = map[routing.PolicyName]*routing.Policy{}
	for _, p := range policies {
		spec.Policies[p.Name] = p
	}
	s.put(spec)
}

// statuses sends GETs, each with a field or none, and has all be answered that come
// to a backend.
func (s *stage) statuses(requests ...string) (got []int) {
	s.t.Helper()
	for _, line := range requests {
		n := len(s.calls)
		var lines []string
		if line != "" {
			lines = []string{line}
		}
		c := s.get("/", lines...)
		if len(s.calls) > n {
			s.call(n).reply(200, "")
		}
		got = append(got, c.resp.Status)
	}
	return got
}

func (s *stage) wantStatuses(what string, want []int, requests ...string) {
	s.t.Helper()
	if got := s.statuses(requests...); fmt.Sprint(got) != fmt.Sprint(want) {
		s.t.Errorf("%s: statuses %v, want %v", what, got, want)
	}
}

// RateLimitPolicy.rules: a request over one of them is answered with 429 (RFC 6585
// section 4), Retry-After (RFC 9110 section 10.2.3) and the fields of
// draft-ietf-httpapi-ratelimit-headers-03.
func TestRequestsOverALimitAreRefused(t *testing.T) {
	s := newGuardedStage(t, "", limit("RateLimitPolicy/ns/p", 2))
	for left := range 2 {
		c := s.get("/")
		s.call(left).head(200, true)
		if got := c.field("x-ratelimit-limit") + "; " + c.field("x-ratelimit-remaining"); got != fmt.Sprintf("2, 2;w=60; %d", 1-left) || c.field("retry-after") != "" {
			t.Errorf("request %d passed with %s", left, got)
		}
	}
	c := s.get("/")
	if c.resp.Status != 429 || c.body != "too many requests\n" || c.field("retry-after") != "30" || c.field("x-ratelimit-remaining") != "0" || c.field("x-ratelimit-reset") != "60" {
		t.Errorf("the third got %d %v %q", c.resp.Status, c.resp.Fields, c.body)
	}
	s.pass(30 * time.Second)
	s.wantStatuses("after half a minute", []int{200, 429}, "", "")
	if r := s.records()[2]; r.Status != 429 || r.Flags != "RL" || r.Cluster != "a" || !strings.Contains(s.lines.String(), `"policy":"RateLimitPolicy/ns/p each"`) {
		t.Errorf("record %+v in %s", r, s.lines.String())
	}
}

// gRPC clients try again on UNAVAILABLE, which gRPC's mapping has for 429: over a
// limit they get RESOURCE_EXHAUSTED.
func TestCallsOverALimitAreRefused(t *testing.T) {
	for _, tt := range []struct {
		closed bool
		status string
	}{{false, "8"}, {true, "14"}} {
		p := limit("p", 1)
		if p.RateLimit.FailClosed = tt.closed; tt.closed {
			p.RateLimit.Rules[0].Requests = 0 // it cannot be had
		}
		s := newGuardedStage(t, "", p)
		s.statuses("")
		n := len(s.calls)
		c := s.request("POST", "/s/m", "Content-Type: application/grpc").send()
		if c.field("grpc-status") != tt.status || len(s.calls) != n {
			t.Errorf("grpc-status %q, want %s", c.field("grpc-status"), tt.status)
		}
		if r := s.records(); r[len(r)-1].Flags != "RL" {
			t.Errorf("record %+v, want RL", r)
		}
	}
}

// Policies of a listener and of a rule add up, and one that is on both counts once.
func TestLimitsOfListenerAndRule(t *testing.T) {
	wide, narrow := limit("wide", 3), limit("narrow", 2, "header:X-User")
	for _, tt := range []struct {
		name   string
		on     []routing.PolicyName
		action routing.Action
		want   []int
	}{
		{"of a listener", []routing.PolicyName{"wide"}, to("a"), []int{200, 200, 200, 429}},
		{"of a rule", nil, limiting("narrow"), []int{200, 200, 429, 200}},
		{"of both", []routing.PolicyName{"wide"}, limiting("narrow"), []int{200, 200, 429, 200}}, // who is refused counts nowhere
		{"the same on both", []routing.PolicyName{"wide"}, limiting("wide"), []int{200, 200, 200, 429}},
		{"one that is not there", nil, limiting("gone"), []int{403, 403, 403, 403}},
		{"one that is no rate limit", nil, limiting("deny"), []int{403, 403, 403, 403}},
		{"one that is there and one that is not", []routing.PolicyName{"wide"}, limiting("narrow", "gone"), []int{403, 403, 403, 403}},
	} {
		s := newStage(t, to("a"))
		s.limit(tt.on, tt.action, wide, narrow, authorization("deny", routing.Authorization{Action: routing.Deny}))
		s.wantStatuses(tt.name, tt.want, "X-User: me", "X-User: me", "X-User: me", "X-User: you")
	}
}

// Who is not let in, asks for what nobody serves or only asks whether he may is not
// counted.
func TestWhatIsNotCounted(t *testing.T) {
	action := limiting("p")
	action.CORS = &routing.CORS{AllowOrigins: []string{app}}
	deny := authorization("deny", routing.Authorization{Action: routing.Deny, Rules: []routing.AuthorizationRule{
		{To: []routing.AuthorizationOperation{{Paths: routing.Patterns{In: []string{"/secret"}}}}},
	}})
	s := newStage(t, to("a"))
	s.limit([]routing.PolicyName{"deny", "p"}, action, limit("p", 1), deny)
	for range 3 {
		if c := s.get("/secret"); c.resp.Status != 403 || c.field("x-ratelimit-limit") != "" {
			t.Errorf("a request that is denied got %d %v", c.resp.Status, c.resp.Fields)
		}
		if c := s.request("OPTIONS", "/", "Origin: "+app, "Access-Control-Request-Method: GET").send(); c.resp.Status != 200 {
			t.Errorf("a preflight got %d", c.resp.Status)
		}
	}
	s.wantStatuses("then", []int{200, 429}, "", "")
}

// A script may read that it is over a limit, and the backend's own fields stay.
func TestFieldsOfLimits(t *testing.T) {
	action := limiting("p")
	action.CORS = &routing.CORS{AllowOrigins: []string{app}}
	s := newStage(t, to("a"))
	s.limit(nil, action, limit("p", 1))
	c := s.get("/", "Origin: "+app)
	s.only().head(200, true, "X-RateLimit-Limit: 7", "X-RateLimit-Remaining: 6")
	if c.field("x-ratelimit-limit") != "7" || c.field("x-ratelimit-remaining") != "6" || c.field("x-ratelimit-reset") != "" {
		t.Errorf("the client got %v, want the backend's fields", c.resp.Fields)
	}
	if c = s.get("/", "Origin: "+app); c.resp.Status != 429 || c.field("access-control-allow-origin") != app {
		t.Errorf("over the limit a script got %d %v", c.resp.Status, c.resp.Fields)
	}
}

// Counts outlast what is put in force besides, and an edited policy begins anew.
func TestLimitsOutlastGenerations(t *testing.T) {
	p, other := limit("p", 1), limit("other", 9)
	s := newStage(t, to("a"))
	s.limit(nil, limiting("p"), p)
	s.wantStatuses("at first", []int{200, 429}, "", "")
	s.limit([]routing.PolicyName{"other"}, limiting("p"), p, other)
	s.limit([]routing.PolicyName{"other"}, limiting("p"), p, other)
	s.wantStatuses("with others put in force", []int{429}, "")
	s.limit(nil, limiting("p"), limit("p", 2))
	s.wantStatuses("with another in its place", []int{200, 200, 429}, "", "", "")
	s.limit(nil, to("a"))
	s.wantStatuses("without it", []int{200, 200}, "", "")
	s.limit(nil, to("a"))
	s.limit(nil, limiting("p"), p)
	s.wantStatuses("once it was forgotten", []int{200, 429}, "", "")
}

// A policy that was forgotten and comes again begins anew, for rules and listeners
// that have stayed.
func TestForgottenLimitsComeAgain(t *testing.T) {
	for _, action := range []routing.Action{to("a"), limiting("p")} {
		s := newStage(t, to("a"))
		l, p := listener, limit("p", 1)
		if action.Policies == nil {
			l.Policies = []routing.PolicyName{"p"}
		}
		spec := specOn([]*routing.Listener{&l}, routing.Rule{Action: action})
		spec.Policies = map[routing.PolicyName]*routing.Policy{"p": p}
		s.put(spec)
		s.wantStatuses("at first", []int{200, 429}, "", "")
		snap := s.proxy.snap.Load()
		var gone, back routing.Delta
		gone.Removed.Policies, back.Policies = []routing.PolicyName{"p"}, []*routing.Policy{p}
		for _, d := range []*routing.Delta{&gone, {}, &back} {
			snap, _ = snap.Update(d)
			s.proxy.Prepare(snap)
			s.proxy.Publish(snap)
		}
		s.wantStatuses("then", []int{200, 429}, "", "")
	}
}

// RateLimitRule.by claim:NAME: of a token that was proved, whatever the listener's
// other policies.
func TestLimitsByClaim(t *testing.T) {
	s := newStage(t, to("a"))
	l := listener
	rule := withKeys()
	rule.Issuer = "https://issuer.example"
	l.JWT = []routing.JWTRule{rule}
	spec := specOn([]*routing.Listener{&l}, routing.Rule{Action: limiting("p")})
	spec.Policies = map[routing.PolicyName]*routing.Policy{"p": limit("p", 1, "claim:sub")}
	s.put(spec)
	ann, bob := "Authorization: Bearer "+signed(`,"sub":"ann"`), "Authorization: Bearer "+signed(`,"sub":"bob"`)
	s.wantStatuses("by claim", []int{200, 429, 200, 200, 200}, ann, ann, bob, "", "")
}

// A redisEnd is a store that counts all under one key.
type redisEnd struct {
	quiet
	conn  *loop.PipeConn
	count int
	mute  bool
}

func (r *redisEnd) Data(p []byte) {
	for range strings.Count(string(p), "INCR") {
		if r.count++; !r.mute {
			r.conn.Write(fmt.Appendf(nil, ":%d\r\n:1\r\n", r.count))
		}
	}
}

// SharedRateLimit.redis, and RateLimitPolicySpec.failClosed.
func TestLimitsInRedis(t *testing.T) {
	for _, tt := range []struct {
		name   string
		mute   bool
		closed bool
		want   []int
		log    string
	}{
		{"a store that counts", false, true, []int{200, 200, 429}, `"policy":"p each"`},
		{"a store that says nothing", true, false, []int{200, 200, 200}, `"audit":"p has not counted it"`},
		{"a store that says nothing, of a closed policy", true, true, []int{503, 503, 503}, `"policy":"p"`},
	} {
		s := newStage(t, to("a"))
		s.redis = map[uint16]*redisEnd{11: {mute: tt.mute}}
		p := limit("p", 2)
		p.RateLimit.FailClosed = tt.closed
		p.RateLimit.Shared = &routing.SharedLimit{Cluster: "b", Redis: true, Timeout: 50 * time.Millisecond}
		s.limit(nil, limiting("p"), p)
		for i, want := range tt.want {
			n := len(s.calls)
			c := s.get("/")
			s.pass(49 * time.Millisecond)
			if tt.mute && c.done() {
				t.Errorf("%s: answered before the time is up", tt.name)
			}
			s.pass(time.Millisecond)
			if len(s.calls) > n {
				s.call(n).reply(200, "")
			}
			if c.resp.Status != want {
				t.Errorf("%s: request %d got %d, want %d", tt.name, i, c.resp.Status, want)
			}
		}
		if s.records(); !strings.Contains(s.lines.String(), tt.log) {
			t.Errorf("%s: the log has %s, want %s", tt.name, s.lines.String(), tt.log)
		}
	}
}

// A client that leaves while its request is counted is not waited for.
func TestClientsLeaveWhileTheyAreCounted(t *testing.T) {
	s := newStage(t, to("a"))
	s.redis = map[uint16]*redisEnd{11: {mute: true}}
	p := limit("p", 2)
	p.RateLimit.Shared = &routing.SharedLimit{Cluster: "b", Redis: true}
	s.limit(nil, limiting("p"), p)
	c := s.request("POST", "/").open()
	c.upload("body")
	c.leave(message.Gone)
	s.pass(time.Second)
	if len(s.calls) != 0 || c.consumed != 0 {
		t.Errorf("%d calls, %d bytes consumed after the client left", len(s.calls), c.consumed)
	}
	if r := s.record(); r.Flags != "DC" {
		t.Errorf("flags %q, want DC", r.Flags)
	}
}
