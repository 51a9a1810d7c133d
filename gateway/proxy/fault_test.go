package proxy

import (
	"testing"
	"time"

	"fairway.dev/gateway/message"
	"fairway.dev/routing"
)

var all = routing.Share{Numerator: 100, Denominator: 100}

// failing is the action that sends everything to cluster "a", but for what f does.
func failing(f routing.Fault) routing.Action {
	a := to("a")
	a.Fault = &f
	return a
}

// HTTPFaultInjection.abort, with the text that Envoy has.
func TestFaultAborts(t *testing.T) {
	tests := []struct {
		name   string
		fault  routing.Fault
		status int
		grpc   string
	}{
		{"httpStatus", routing.Fault{Status: 418, AbortShare: all}, 418, "2"},
		{"httpStatus that gRPC knows", routing.Fault{Status: 503, AbortShare: all}, 503, "14"},
		{"grpcStatus", routing.Fault{GRPC: 14, AbortShare: all}, 503, "14"},
		{"grpcStatus of the client", routing.Fault{GRPC: 3, AbortShare: all}, 400, "3"},
		{"grpcStatus that is none", routing.Fault{GRPC: 99, AbortShare: all}, 500, "2"},
	}
	for _, tt := range tests {
		s := newStage(t, failing(tt.fault))
		c := s.get("/")
		if c.resp.Status != tt.status || c.body != "fault filter abort" {
			t.Errorf("%s: %d %q, want %d and the text of the fault", tt.name, c.resp.Status, c.body, tt.status)
		}
		call := s.request("POST", "/", "Content-Type: application/grpc").open()
		if call.resp.Status != 200 || call.field("grpc-status") != tt.grpc || !call.ended || call.body != "" {
			t.Errorf("%s: gRPC: %d, grpc-status %s, want Trailers-Only with %s", tt.name, call.resp.Status, call.field("grpc-status"), tt.grpc)
		}
		if len(s.calls) != 0 {
			t.Errorf("%s: the backend was asked", tt.name)
		}
		for _, r := range s.records() {
			if r.Flags != "FI" || r.Attempts != 0 {
				t.Errorf("%s: record %+v, want FI", tt.name, r)
			}
		}
	}
}

func TestFaultWithoutAShareDoesNothing(t *testing.T) {
	for _, f := range []routing.Fault{
		{Delay: time.Hour, Status: 500},
		{Delay: time.Hour, Status: 500, DelayShare: routing.Share{Denominator: 100}, AbortShare: routing.Share{Denominator: 100}},
	} {
		s := newStage(t, failing(f))
		c := s.get("/")
		s.only().reply(200, "")
		s.want(c, 200, "")
	}
}

// HTTPFaultInjection.delay: the request goes on once it is over, with what of
// its body has come by then.
func TestFaultDelays(t *testing.T) {
	s := newStage(t, failing(routing.Fault{Delay: 7 * time.Second, DelayShare: all}))
	c := s.request("POST", "/").open()
	c.upload("bo")
	c.upload("dy")
	c.finish()
	s.pass(7*time.Second - time.Millisecond)
	if len(s.calls) != 0 {
		t.Fatal("the backend was asked before the delay was over")
	}
	if c.consumed != 0 {
		t.Errorf("%d bytes were taken that nobody has room for", c.consumed)
	}
	s.pass(time.Millisecond)
	b := s.only()
	if b.body != "body" || !b.ended {
		t.Errorf("the backend got %q, ended %v", b.body, b.ended)
	}
	b.reply(200, "late")
	s.want(c, 200, "DI")
}

// Both are drawn, the delay comes first.
func TestFaultDelaysThenAborts(t *testing.T) {
	s := newStage(t, failing(routing.Fault{Delay: time.Second, DelayShare: all, Status: 500, AbortShare: all}))
	c := s.get("/")
	if c.ended {
		t.Fatal("answered before the delay was over")
	}
	s.pass(time.Second)
	r := s.record()
	if r.Status != 500 || r.Flags != "DI,FI" || r.Duration != 1000 {
		t.Errorf("record %+v, want 500, DI,FI after 1 s", r)
	}
}

func TestFaultsAreDrawnIndependently(t *testing.T) {
	half := routing.Share{Numerator: 500_000, Denominator: 1_000_000}
	s := newStage(t, failing(routing.Fault{Delay: time.Millisecond, DelayShare: half, Status: 500, AbortShare: half}))
	const n = 400
	for range n {
		s.get("/")
		s.pass(time.Millisecond)
		for _, b := range s.calls {
			b.reply(200, "")
		}
		s.calls = nil
	}
	count := map[string]int{}
	for _, r := range s.records() {
		count[r.Flags]++
	}
	for _, flags := range []string{"", "DI", "FI", "DI,FI"} {
		if k := count[flags]; k < n/8 || k > n*3/8 { // a quarter each
			t.Errorf("%d of %d requests have flags %q, want about %d", k, n, flags, n/4)
		}
	}
}

// Istio: "timeouts or retries will not be enabled when faults are enabled".
func TestFaultedRequestHasNoTimeoutsAndNoRetries(t *testing.T) {
	a := failing(routing.Fault{Delay: 10 * time.Second, DelayShare: all})
	a.Timeouts = routing.Timeouts{Request: time.Second, Backend: time.Second}
	a.Retry = &routing.Retry{Attempts: 3, Codes: []int{503}}
	s := newStage(t, a)
	c := s.get("/")
	s.pass(10 * time.Second)
	s.pass(time.Minute)
	s.only().reply(503, "mine")
	if c.body != "mine" {
		t.Errorf("the client got %d %q, want what the backend said", c.resp.Status, c.body)
	}
	s.want(c, 503, "DI")
}

// What a gRPC client says of its own patience is no timeout of the rule's.
func TestFaultLeavesTheClientsDeadline(t *testing.T) {
	s := newStage(t, failing(routing.Fault{Delay: 10 * time.Second, DelayShare: all}))
	c := s.request("POST", "/", "Content-Type: application/grpc", "Grpc-Timeout: 1S").open()
	s.pass(time.Second)
	if c.field("grpc-status") != "4" {
		t.Errorf("grpc-status %q after the client's deadline, want 4", c.field("grpc-status"))
	}
}

func TestClientThatLeavesADelayEndsIt(t *testing.T) {
	s := newStage(t, failing(routing.Fault{Delay: time.Hour, DelayShare: all}))
	s.get("/").leave(message.Gone)
	if n := s.proxy.Active(); n != 0 {
		t.Errorf("%d exchanges go on without a client", n)
	}
	s.pass(time.Hour)
	if len(s.calls) != 0 {
		t.Error("the backend was asked for a client that has left")
	}
	if r := s.record(); r.Flags != "DC,DI" {
		t.Errorf("flags %s, want DC,DI", r.Flags)
	}
}

// A delay has an end of its own, however long: it is not standing still.
func TestDelayIsNotStandingStill(t *testing.T) {
	s := newStage(t, failing(routing.Fault{Delay: time.Hour, DelayShare: all}))
	c := s.get("/")
	s.pass(time.Hour)
	s.only().reply(200, "")
	s.want(c, 200, "DI")
}

// As in Istio faults come after who may pass, and before all that the rule does.
func TestFaultsComeBeforeRedirectsAndPreflights(t *testing.T) {
	f := &routing.Fault{Status: 500, AbortShare: all}
	cors := &routing.CORS{AllowOrigins: []string{app}}
	for name, a := range map[string]routing.Action{
		"redirect":  {Redirect: &routing.Redirect{Status: 301}, Fault: f, CORS: cors},
		"status":    {Status: 200, Fault: f, CORS: cors},
		"preflight": {Backends: to("a").Backends, Fault: f, CORS: cors},
	} {
		s := newStage(t, a)
		c := s.request("OPTIONS", "/", "Origin: "+app, "Access-Control-Request-Method: GET").send()
		if got := c.field("access-control-allow-origin"); got != app {
			t.Errorf("%s: the script may not read why: %v", name, c.resp.Fields)
		}
		s.want(c, 500, "FI")
	}
}
