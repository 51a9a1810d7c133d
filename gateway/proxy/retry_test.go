package proxy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"fairway.dev/gateway/message"
	"fairway.dev/gateway/telemetry"
	"fairway.dev/gateway/upstream"
	"fairway.dev/routing"
)

// retrying is an action with retries.
func retrying(r *routing.Retry) routing.Action {
	a := to("a")
	a.Retry = r
	return a
}

func TestWhatIsTriedAgain(t *testing.T) {
	gone := &message.Error{Reason: message.Gone}
	unused := &message.Error{Reason: message.Gone, Unused: true}
	refused := &message.Error{Reason: message.Refused}
	malformed := &message.Error{Reason: message.Malformed}
	tests := []struct {
		name   string
		retry  *routing.Retry
		method string
		fail   *message.Error
		again  bool
		status int // what the client gets, where there is no other try
		flags  string
	}{
		{"refused", nil, "POST", refused, true, 0, ""},
		{"refused, no retries", &routing.Retry{}, "GET", refused, false, 503, "UR"},
		{"closed while kept", nil, "GET", unused, true, 0, ""},
		{"closed while kept", nil, "POST", unused, false, 503, "UC"}, // it may have been processed
		{"closed while kept", &routing.Retry{Attempts: 1}, "POST", unused, false, 503, "UC"},
		{"closed", nil, "GET", gone, false, 503, "UC"}, // Istio's default
		{"closed", &routing.Retry{Attempts: 1}, "GET", gone, true, 0, ""},
		{"closed", &routing.Retry{Attempts: 1}, "PUT", gone, true, 0, ""},
		{"closed", &routing.Retry{Attempts: 1}, "POST", gone, false, 503, "UC"},
		{"closed, 503 listed", &routing.Retry{Attempts: 1, Codes: []int{503}}, "POST", gone, true, 0, ""},
		{"malformed, 503 listed", &routing.Retry{Attempts: 1, Codes: []int{503}}, "POST", malformed, false, 502, "UPE"},
		{"malformed, 502 listed", &routing.Retry{Attempts: 1, Codes: []int{502}}, "POST", malformed, true, 0, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name+" "+tt.method, func(t *testing.T) {
			s := newStage(t, retrying(tt.retry))
			c := s.request(tt.method, "/").send()
			s.only().abort(tt.fail)
			s.pass(time.Second)
			if !tt.again {
				s.want(c, tt.status, tt.flags)
				return
			}
			if len(s.calls) != 2 {
				t.Fatalf("%d calls, want 2", len(s.calls))
			}
			s.call(1).reply(200, "")
			s.want(c, 200, "")
		})
	}
}

func TestIdempotencyKeyAllowsARetry(t *testing.T) {
	s := newStage(t, to("a"))
	c := s.request("POST", "/", "Idempotency-Key: 7").send()
	s.only().abort(&message.Error{Reason: message.Gone, Unused: true})
	s.loop.Settle()
	s.call(1).reply(200, "")
	s.want(c, 200, "")
}

// HTTPRouteRetry.attempts: the most times that a request is retried, so there
// is one try more. The last status is what the client gets.
func TestRetryCodes(t *testing.T) {
	s := newStage(t, retrying(&routing.Retry{Attempts: 2, Codes: []int{500, 503}}))
	c := s.request("POST", "/").send()
	s.call(0).reply(503, "busy")
	s.pass(time.Second)
	s.call(1).reply(500, "")
	s.pass(time.Second)
	s.call(2).reply(503, "still busy")
	s.pass(time.Second)
	if len(s.calls) != 3 {
		t.Errorf("%d tries, want 3", len(s.calls))
	}
	if c.body != "still busy" {
		t.Errorf("the client got %q, want the last response", c.body)
	}
	r := s.record()
	if r.Status != 503 || r.Flags != "URX" || r.Attempts != 3 {
		t.Errorf("record %+v, want 503, URX, 3 attempts", r)
	}
	if n := s.metrics.Upstream.Retries.Total(telemetry.RetryStatus); n != 2 {
		t.Errorf("%d retries counted, want 2", n)
	}
}

func TestOnlyListedCodesAreRetried(t *testing.T) {
	s := newStage(t, retrying(&routing.Retry{Attempts: 2, Codes: []int{503}}))
	c := s.get("/")
	s.only().reply(500, "")
	s.want(c, 500, "")
}

func TestRetriesGoToOtherEndpoints(t *testing.T) {
	s := newStage(t, retrying(&routing.Retry{Attempts: 2, Codes: []int{503}}))
	s.get("/")
	ports := map[uint16]bool{}
	for i := range 3 {
		ports[s.call(i).port] = true
		s.call(i).reply(503, "")
		s.pass(time.Second)
	}
	if len(ports) != 3 {
		t.Errorf("3 tries went to %d endpoints, want 3", len(ports))
	}
}

// HTTPRouteRetry.backoff: "unsuccessful backend requests are not retried
// before the configured minimum duration".
func TestBackoff(t *testing.T) {
	for range 20 { // there is jitter
		s := newStage(t, retrying(&routing.Retry{Attempts: 2, Codes: []int{503}, Backoff: 100 * time.Millisecond}))
		c := s.get("/")
		for i, least := range []time.Duration{100 * time.Millisecond, 200 * time.Millisecond} {
			s.call(i).reply(503, "")
			s.pass(least - 1)
			if len(s.calls) != i+1 {
				t.Fatalf("try %d came before %s", i+1, least)
			}
			s.pass(least + 1)
			if len(s.calls) != i+2 {
				t.Fatalf("try %d did not come within %s", i+1, 2*least)
			}
		}
		s.call(2).reply(200, "")
		s.want(c, 200, "")
	}
}

func TestBackoffHasACap(t *testing.T) {
	l := newStage(t, to("a")).handler.(*local)
	e := &exchange{on: l}
	e.rule = &rule{retry: retryPolicy{backoff: time.Second}}
	e.retries = 60
	if d := e.patience(); d < 10*time.Second || d >= 20*time.Second {
		t.Errorf("waits %s before try 60, want 10 to 20 s", d)
	}
}

// Law 10 of the design: as no byte was sent, another endpoint may be picked.
func TestRefusedConnectionPicksAnotherEndpointAtOnce(t *testing.T) {
	s := newStage(t, to("a"))
	s.down[1], s.down[2] = errRefused, errRefused
	for i := range 3 { // wherever round robin begins
		c := s.request("POST", "/").send()
		s.pass(100 * time.Millisecond)
		s.call(i).reply(200, "")
		if c.resp.Status != 200 || s.call(i).port != 3 {
			t.Errorf("the client got %d from port %d, want 200 from 3", c.resp.Status, s.call(i).port)
		}
		s.loop.Settle()
	}
	s.records()
}

func TestRefusedConnectionWaitsForABackoffThatTheRuleNames(t *testing.T) {
	s := newStage(t, retrying(&routing.Retry{Attempts: 2, Backoff: time.Second}))
	s.down[1], s.down[2], s.down[3] = errRefused, errRefused, errRefused
	c := s.get("/")
	clear(s.down)
	s.pass(time.Second - 1)
	if len(s.calls) != 0 {
		t.Error("another try came before its time")
	}
	s.pass(time.Second)
	s.only().reply(200, "")
	s.want(c, 200, "")
}

func TestNoConnection(t *testing.T) {
	tests := []struct {
		name     string
		retry    *routing.Retry
		attempts int
		flags    string
	}{
		{"default", nil, 3, "UF,URX"},
		{"no retries", &routing.Retry{}, 1, "UF"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newStage(t, retrying(tt.retry))
			s.down[1], s.down[2], s.down[3] = errRefused, errRefused, errRefused
			c := s.get("/")
			s.pass(time.Second)
			if c.resp.Status != 503 || len(s.calls) != 0 {
				t.Errorf("the client got %d, %d calls, want 503, 0", c.resp.Status, len(s.calls))
			}
			if r := s.record(); r.Attempts != tt.attempts || r.Flags != tt.flags {
				t.Errorf("%d attempts, flags %s, want %d, %s", r.Attempts, r.Flags, tt.attempts, tt.flags)
			}
		})
	}
}

func TestConnectTimeout(t *testing.T) {
	s := newStage(t, retrying(&routing.Retry{}))
	s.hang[1], s.hang[2], s.hang[3] = true, true, true
	c := s.get("/")
	s.pass(time.Minute)
	s.want(c, 503, "UF")
}

func TestTooManyWaitForAConnection(t *testing.T) {
	s := newStage(t, to("a"))
	c := s.set.Cluster("a").Spec()
	narrow := *c
	narrow.Limits.Pending = 1
	s.set.Put(&narrow)
	s.hang[1], s.hang[2], s.hang[3] = true, true, true
	first := s.get("/")
	second := s.get("/")
	first.leave(message.Gone)
	if second.resp.Status != 503 {
		t.Errorf("the second got %d, want 503", second.resp.Status)
	}
	if r := s.records(); r[0].Flags != "UO" || r[0].Attempts != 1 {
		t.Errorf("record %+v, want UO after 1 attempt", r[0])
	}
}

func TestBackendTimeoutIsTriedAgain(t *testing.T) {
	tests := []struct {
		retry  *routing.Retry
		method string
		again  bool
	}{
		{nil, "GET", false},
		{&routing.Retry{Attempts: 1}, "GET", true},
		{&routing.Retry{Attempts: 1}, "POST", false},
		{&routing.Retry{Attempts: 1, Codes: []int{504}}, "POST", true},
	}
	for _, tt := range tests {
		a := retrying(tt.retry)
		a.Timeouts.Backend = time.Second
		s := newStage(t, a)
		c := s.request(tt.method, "/").send()
		s.pass(1100 * time.Millisecond)
		if again := len(s.calls) == 2; again != tt.again {
			t.Errorf("%s with %+v tried again: %v, want %v", tt.method, tt.retry, again, tt.again)
		}
		if !tt.again {
			s.want(c, 504, "UT")
			continue
		}
		s.pass(800 * time.Millisecond) // the second try has a second of its own
		s.call(1).reply(200, "")
		s.want(c, 200, "")
	}
}

func TestBodyIsReplayed(t *testing.T) {
	s := newStage(t, retrying(&routing.Retry{Attempts: 1, Codes: []int{503}}))
	c := s.request("POST", "/").open()
	c.upload("first,")
	s.call(0).reply(503, "")
	c.upload("between,") // while the next try waits
	s.pass(time.Second)
	c.upload("last")
	c.finish("T: 1")
	b := s.call(1)
	if b.body != "first,between,last" || !b.ended || len(b.trailers) != 1 {
		t.Errorf("the second try got %q, ended %v, trailers %v", b.body, b.ended, b.trailers)
	}
	b.reply(200, "")
	s.want(c, 200, "")
}

func TestWholeBodyIsReplayed(t *testing.T) {
	s := newStage(t, retrying(&routing.Retry{Attempts: 1, Codes: []int{503}}))
	c := s.request("POST", "/").open()
	c.upload("all")
	c.finish("T: 1")
	s.call(0).reply(503, "")
	s.pass(time.Second)
	b := s.call(1)
	if b.body != "all" || !b.ended || len(b.trailers) != 1 {
		t.Errorf("the second try got %q, ended %v, trailers %v", b.body, b.ended, b.trailers)
	}
	b.reply(200, "")
	s.want(c, 200, "")
}

func TestLongBodyIsNotReplayed(t *testing.T) {
	s := newStage(t, retrying(&routing.Retry{Attempts: 1, Codes: []int{503}}))
	c := s.request("PUT", "/").open()
	c.upload(strings.Repeat("x", replayLimit))
	c.upload("x")
	s.only().reply(503, "")
	s.pass(time.Second)
	s.only()
	s.want(c, 503, "")
}

func TestConnectionSurvivesARetriedResponse(t *testing.T) {
	s := newStage(t, retrying(&routing.Retry{Attempts: 1, Codes: []int{503}}))
	c := s.get("/")
	b := s.call(0)
	b.head(503, false)
	s.pass(100 * time.Millisecond)
	b.data("sorry")
	b.end()
	if b.aborted != nil || b.consumed != 5 {
		t.Errorf("the first response was aborted with %v, %d consumed, want nil, 5", b.aborted, b.consumed)
	}
	s.call(1).reply(200, "ok")
	if c.body != "ok" {
		t.Errorf("the client got %q, want ok", c.body)
	}
	s.want(c, 200, "")
}

func TestRetriedResponseIsReadWithinBounds(t *testing.T) {
	tests := []struct {
		name string
		rest func(*stage, *call)
	}{
		{"too long", func(s *stage, b *call) { b.data(strings.Repeat("x", maxRest+1)) }},
		{"too slow", func(s *stage, b *call) { s.pass(restTime) }},
	}
	for _, tt := range tests {
		s := newStage(t, retrying(&routing.Retry{Attempts: 1, Codes: []int{503}}))
		c := s.get("/")
		b := s.call(0)
		b.head(503, false)
		tt.rest(s, b)
		if b.aborted == nil {
			t.Errorf("%s: the first response is still read", tt.name)
		}
		s.pass(time.Second)
		s.call(1).reply(200, "")
		s.want(c, 200, "")
	}
}

func TestRetriedResponseThatBreaksHarmsNothing(t *testing.T) {
	s := newStage(t, retrying(&routing.Retry{Attempts: 1, Codes: []int{503}}))
	c := s.get("/")
	s.call(0).head(503, false)
	s.call(0).abort(&message.Error{Reason: message.Gone})
	s.pass(time.Second)
	s.call(1).reply(200, "")
	s.want(c, 200, "")
}

// Istio's default retries are on gRPC's unavailable and cancelled too.
func TestGRPCUnavailableIsTriedAgain(t *testing.T) {
	tests := []struct {
		status string
		last   bool
		again  bool
	}{
		{"14", true, true},
		{"1", true, true},
		{"5", true, false},
		{"14", false, false}, // not Trailers-Only: more may follow
	}
	for _, tt := range tests {
		s := newStage(t, to("a"))
		c := s.request("POST", "/pkg.Service/Do", "Content-Type: application/grpc").send()
		s.call(0).head(200, tt.last, "grpc-status: "+tt.status)
		if !tt.last {
			s.call(0).end()
		}
		s.pass(time.Second)
		if again := len(s.calls) == 2; again != tt.again {
			t.Errorf("grpc-status %s, last %v, tried again: %v, want %v", tt.status, tt.last, again, tt.again)
		}
		if tt.again {
			s.call(1).head(200, true, "grpc-status: 0")
			s.want(c, 200, "")
		}
	}
}

func TestRetryBudget(t *testing.T) {
	s := newStage(t, retrying(&routing.Retry{Attempts: 1, Codes: []int{503}}))
	var clients []*client
	for range 6 {
		clients = append(clients, s.get("/"))
	}
	for i := range clients {
		s.calls[i].reply(503, "")
	}
	s.pass(time.Second)
	if n := len(s.calls) - 6; n != minRetries {
		t.Errorf("%d of 6 requests were tried again at once, want %d", n, minRetries)
	}
	if n := s.metrics.Limits.Total(telemetry.LimitRetries); n != 3 {
		t.Errorf("the limit was counted %d times, want 3", n)
	}
	for _, b := range s.calls[6:] {
		b.reply(200, "")
	}
	flags := fmt.Sprint(s.records())
	if n := strings.Count(flags, "URX"); n != 3 {
		t.Errorf("%d records have URX, want 3", n)
	}
}

// Law 10: an endpoint that refuses costs no request that finds it out, however
// many do at once.
func TestAllWhoAreRefusedAreSentElsewhere(t *testing.T) {
	s := newStage(t, to("a"))
	s.down[1] = errRefused
	const many = 4 * minRetries
	var clients []*client
	for range 3 * many { // all at once, before the endpoint has refused anybody
		c := s.request("GET", "/")
		c.sent = true
		c.recv = s.handler.Exchange(c, c.req, true)
		clients = append(clients, c)
	}
	s.loop.Settle()
	for _, b := range s.calls {
		b.reply(200, "ok")
	}
	refused := 0
	for _, c := range clients {
		if c.resp.Status != 200 {
			t.Errorf("status %d, want 200", c.resp.Status)
		}
	}
	for _, r := range s.records() {
		if r.Attempts > 1 {
			refused++
		}
	}
	if refused <= minRetries {
		t.Fatalf("%d requests were refused, want more than %d at once", refused, minRetries)
	}
}

func TestAvoidedEndpointsAreBounded(t *testing.T) {
	e := &exchange{}
	for range 20 {
		e.last = &upstream.Endpoint{}
		e.avoid()
		if n := len(e.want.Tried); n == 0 || n > len(e.tried) || e.want.Tried[n-1] != e.last {
			t.Fatalf("%d endpoints avoided, the last of them not among them", n)
		}
	}
}
