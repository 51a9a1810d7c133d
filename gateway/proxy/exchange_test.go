package proxy

import (
	"strings"
	"testing"
	"time"

	"fairway.dev/gateway/message"
	"fairway.dev/routing"
)

func TestForwardsRequestAndResponse(t *testing.T) {
	s := newStage(t, to("a"))
	c := s.get("/cart?id=7", "Accept: */*", "User-Agent: curl")
	b := s.only()
	if got := b.req.Method + " " + b.req.Authority + b.req.Path + b.req.Query; got != "GET shop.example/cart?id=7" {
		t.Errorf("the backend got %s, want GET shop.example/cart?id=7", got)
	}
	if !b.ended || b.header("accept") != "*/*" {
		t.Errorf("ended %v, accept %q, want true, */*", b.ended, b.header("accept"))
	}
	s.pass(3 * time.Millisecond)
	b.head(200, false, "Content-Type: text/html", "ETag: x")
	b.data("<p>")
	s.pass(time.Millisecond)
	b.end()
	if c.resp.Status != 200 || c.body != "<p>" || !c.ended || c.field("ETag") != "x" {
		t.Errorf("the client got %d %q, ended %v, ETag %q", c.resp.Status, c.body, c.ended, c.field("ETag"))
	}
	r := s.record()
	want := line{
		Method: "GET", Authority: "shop.example", Path: "/cart", Endpoint: addr(b.port).String(), Cluster: "a",
		Listener: "ns/gw/http", Status: 200, Out: 3, Duration: 4, Upstream: 3, Attempts: 1,
		RequestID: b.header("x-request-id"), UserAgent: "curl",
	}
	if r != want {
		t.Errorf("record %+v, want %+v", r, want)
	}
}

// RFC 9110 section 6.6.1: who forwards a response without a Date adds one.
func TestDate(t *testing.T) {
	s := newStage(t, to("a"))
	c := s.get("/")
	s.pass(1500 * time.Millisecond)
	s.call(0).reply(200, "")
	if got := c.field("date"); got != "Sat, 21 Nov 2026 12:00:01 GMT" {
		t.Errorf("Date %q, want now", got)
	}
	s.pass(500 * time.Millisecond)
	c = s.get("/")
	s.call(1).head(200, true, "Date: then")
	if got := c.field("date"); got != "then" {
		t.Errorf("Date %q, want the backend's", got)
	}
	s.serve(routing.Rule{Action: routing.Action{Status: 404}})
	if got := s.get("/").field("date"); got != "Sat, 21 Nov 2026 12:00:02 GMT" {
		t.Errorf("Date %q of our own answer, want now", got)
	}
}

func TestBodyStreamsBothWays(t *testing.T) {
	s := newStage(t, to("a"))
	c := s.request("POST", "/").open()
	b := s.only()
	c.upload("one")
	if b.body != "one" || b.ended {
		t.Fatalf("after the first part the backend has %q, ended %v", b.body, b.ended)
	}
	b.head(200, false)
	b.data("eins")
	c.upload("two")
	if c.body != "eins" || b.body != "onetwo" {
		t.Fatalf("the client has %q, the backend %q", c.body, b.body)
	}
	c.finish("Checksum: 7")
	b.end("Took: 1ms")
	if got, _ := b.trailers.Value("checksum"); got != "7" {
		t.Errorf("request trailers %v, want Checksum: 7", b.trailers)
	}
	if got, _ := c.trailers.Value("took"); got != "1ms" {
		t.Errorf("response trailers %v, want Took: 1ms", c.trailers)
	}
	if r := s.record(); r.In != 6 || r.Out != 4 {
		t.Errorf("record of %d bytes in, %d out, want 6, 4", r.In, r.Out)
	}
}

func TestBodyWaitsForConnection(t *testing.T) {
	s := newStage(t, to("a"))
	c := s.request("POST", "/")
	c.req.Length = message.Unknown
	recv := s.handler.Exchange(c, c.req, false) // the dial ends in a later event
	recv.Data([]byte("early"))
	if c.consumed != 0 {
		t.Errorf("%d bytes consumed before there is a connection, want 0", c.consumed)
	}
	recv.End(fields("T: 1"))
	s.loop.Settle()
	b := s.only()
	if b.body != "early" || !b.ended || c.consumed != 5 || len(b.trailers) != 1 {
		t.Errorf("the backend got %q, ended %v, trailers %v; %d consumed", b.body, b.ended, b.trailers, c.consumed)
	}
	b.reply(200, "")
}

func TestSlowBackendHoldsTheClientBack(t *testing.T) {
	s := newStage(t, to("a"))
	c := s.request("POST", "/").open()
	b := s.only()
	c.upload("abc")
	if c.consumed != 3 {
		t.Fatalf("%d consumed while nothing waits, want 3", c.consumed)
	}
	b.queued = message.HighWater + 1
	c.upload("defg")
	c.upload("h")
	if c.consumed != 3 {
		t.Errorf("%d consumed while the backend does not take them, want 3", c.consumed)
	}
	b.queued = message.LowWater - 1
	b.recv.Drained()
	if c.consumed != 8 {
		t.Errorf("%d consumed after the backend took them, want 8", c.consumed)
	}
	b.reply(200, "")
}

func TestSlowClientHoldsTheBackendBack(t *testing.T) {
	s := newStage(t, to("a"))
	c := s.get("/")
	b := s.only()
	b.head(200, false)
	b.data("abc")
	if b.consumed != 3 {
		t.Fatalf("%d consumed while nothing waits, want 3", b.consumed)
	}
	c.queued = message.HighWater + 1
	b.data("defg")
	if b.consumed != 3 {
		t.Errorf("%d consumed while the client does not take them, want 3", b.consumed)
	}
	c.queued = 0
	c.recv.Drained()
	if b.consumed != 7 {
		t.Errorf("%d consumed after the client took them, want 7", b.consumed)
	}
	b.end()
}

// RFC 9110 section 15.2: a proxy forwards 1xx responses.
func TestForwardsInterimResponses(t *testing.T) {
	s := newStage(t, to("a"))
	c := s.request("POST", "/", "Expect: 100-continue").open()
	b := s.only()
	if b.header("expect") != "100-continue" {
		t.Errorf("Expect %q went to the backend, want 100-continue", b.header("expect"))
	}
	b.head(100, false)
	b.head(103, false, "Link: </a.css>")
	c.upload("x")
	c.finish()
	b.reply(201, "")
	if len(c.interim) != 2 || c.interim[0] != 100 || c.interim[1] != 103 || c.resp.Status != 201 {
		t.Errorf("the client got %v and %d, want [100 103] and 201", c.interim, c.resp.Status)
	}
}

// RFC 9110 section 15.2: never to a client of HTTP/1.0.
func TestInterimResponsesAreNotForHTTP10(t *testing.T) {
	s := newStage(t, to("a"))
	c := s.request("GET", "/")
	c.req.Proto = message.HTTP10
	c.send()
	s.only().head(103, false)
	s.only().reply(200, "")
	if len(c.interim) != 0 || c.resp.Status != 200 {
		t.Errorf("the client got %v and %d, want none and 200", c.interim, c.resp.Status)
	}
}

func TestEndlessInterimResponsesAreRefused(t *testing.T) {
	s := newStage(t, to("a"))
	c := s.get("/")
	for range maxInterim + 1 {
		s.only().head(102, false)
	}
	s.want(c, 502, "UPE")
}

func TestSwitchThatNobodyAskedForIsRefused(t *testing.T) {
	s := newStage(t, to("a"))
	c := s.get("/")
	s.only().head(101, false)
	s.want(c, 502, "UPE")
}

func TestEarlyResponseEndsTheRequest(t *testing.T) {
	s := newStage(t, to("a"))
	c := s.request("POST", "/").open()
	c.upload("some")
	b := s.only()
	b.head(413, true)
	if !c.ended || c.resp.Status != 413 {
		t.Errorf("the client got %d, ended %v, want 413, true", c.resp.Status, c.ended)
	}
	if !isReason(b.aborted, message.Cancelled) {
		t.Errorf("the request that nobody reads was aborted with %v, want cancelled", b.aborted)
	}
	if r := s.record(); r.Status != 413 || r.Flags != "" || r.In != 4 {
		t.Errorf("record %+v, want 413 without flags, 4 bytes in", r)
	}
}

func TestRequestGoesOnDuringTheResponse(t *testing.T) {
	s := newStage(t, to("a"))
	c := s.request("POST", "/").open()
	b := s.only()
	b.head(200, false)
	c.upload("x")
	c.finish()
	if b.body != "x" || !b.ended {
		t.Errorf("the backend got %q, ended %v, want x, true", b.body, b.ended)
	}
	b.end()
}

func TestClientThatLeavesCancelsTheTry(t *testing.T) {
	tests := []struct {
		when  string
		setup func(*stage, *client)
	}{
		{"while connecting", func(s *stage, c *client) {}},
		{"before the response", func(s *stage, c *client) {}},
		{"during the response", func(s *stage, c *client) { s.only().head(200, false) }},
		{"while a retry waits", func(s *stage, c *client) { s.only().reply(503, "") }},
	}
	for _, tt := range tests {
		t.Run(tt.when, func(t *testing.T) {
			a := to("a")
			a.Retry = &routing.Retry{Attempts: 1, Codes: []int{503}}
			s := newStage(t, a)
			if tt.when == "while connecting" {
				for port := range uint16(4) {
					s.hang[port] = true
				}
			}
			c := s.request("GET", "/").send()
			tt.setup(s, c)
			status := c.resp.Status
			c.leave(message.Gone)
			for _, b := range s.calls {
				if !b.over {
					t.Error("the backend's exchange goes on")
				}
			}
			s.pass(time.Minute)
			if r := s.record(); r.Status != status || r.Flags != "DC" {
				t.Errorf("record has status %d, flags %s, want %d, DC", r.Status, r.Flags, status)
			}
		})
	}
}

// Of HTTP/2 (RFC 9113 section 6.4) a stream is reset and its connection goes on.
func TestResetByTheClientIsRecordedAsSuch(t *testing.T) {
	s := newStage(t, to("a"))
	s.get("/").leave(message.Reset)
	if r := s.record(); r.Status != 0 || r.Flags != "DR" {
		t.Errorf("record has status %d, flags %s, want 0, DR", r.Status, r.Flags)
	}
}

func TestClientThatBreaksTheProtocolIsRecorded(t *testing.T) {
	tests := []struct {
		why    message.Reason
		status int
	}{
		{message.Malformed, 400},
		{message.Slow, 408},
		{message.TooLarge, 413},
	}
	for _, tt := range tests {
		s := newStage(t, to("a"))
		c := s.request("POST", "/").open()
		c.leave(tt.why)
		if s.only().aborted == nil {
			t.Errorf("%v: the backend's exchange goes on", tt.why)
		}
		if r := s.record(); r.Status != tt.status || r.Flags != "DPE" {
			t.Errorf("%v: record has status %d, flags %s, want %d, DPE", tt.why, r.Status, r.Flags, tt.status)
		}
	}
}

func TestBrokenResponseNeverEndsClean(t *testing.T) {
	tests := []struct {
		why   message.Error
		flags string
	}{
		{message.Error{Reason: message.Gone}, "UC"},
		{message.Error{Reason: message.Reset}, "UR"},
		{message.Error{Reason: message.Malformed}, "UPE"},
	}
	for _, tt := range tests {
		s := newStage(t, to("a"))
		c := s.get("/")
		b := s.only()
		b.head(200, false)
		b.data("ha")
		b.abort(&tt.why)
		if c.ended || c.aborted == nil {
			t.Errorf("%v: ended %v, aborted with %v, want false and an error", tt.why.Reason, c.ended, c.aborted)
		}
		if r := s.record(); r.Status != 200 || r.Flags != tt.flags {
			t.Errorf("%v: record has status %d, flags %s, want 200, %s", tt.why.Reason, r.Status, r.Flags, tt.flags)
		}
	}
}

func TestHEADHasNoBody(t *testing.T) {
	s := newStage(t, to("a"))
	c := s.request("HEAD", "/").send()
	s.only().head(200, true, "Content-Type: text/html")
	if !c.ended || c.body != "" || c.field("content-type") != "text/html" {
		t.Errorf("ended %v, body %q, content type %q", c.ended, c.body, c.field("content-type"))
	}
}

func TestOverloadShedsNewWork(t *testing.T) {
	s := newStageWith(t, Options{MaxExchanges: 1}, routing.Rule{Action: to("a")})
	first := s.get("/")
	second := s.get("/")
	if second.resp.Status != 503 {
		t.Errorf("the second got %d, want 503", second.resp.Status)
	}
	if n := s.proxy.Active(); n != 1 {
		t.Errorf("%d active, want 1", n)
	}
	s.only().reply(200, "")
	if first.resp.Status != 200 {
		t.Errorf("the first got %d, want 200", first.resp.Status)
	}
	if r := s.records(); len(r) != 2 || r[0].Flags != "OM" || r[1].Flags != "" {
		t.Errorf("records %+v, want OM, then none", r)
	}
}

func TestWeights(t *testing.T) {
	s := newStage(t, routing.Action{Backends: []routing.Backend{
		{Cluster: "a", Weight: 90}, {Cluster: "empty", Weight: 0}, {Cluster: "b", Weight: 10},
	}})
	n := map[bool]int{}
	for range 5000 {
		c := s.get("/")
		b := s.calls[0]
		n[b.port > 10]++
		b.reply(200, "")
		s.calls = s.calls[:0]
		if c.resp.Status != 200 {
			t.Fatalf("status %d, want 200", c.resp.Status)
		}
		s.loop.Settle()
	}
	if n[true] < 400 || n[true] > 600 {
		t.Errorf("10%% of 5000 went %d times to b, want 400 to 600", n[true])
	}
}

func TestSnapshotIsTheOneThatTheExchangeBeganWith(t *testing.T) {
	s := newStage(t, to("a"))
	c := s.get("/")
	s.serve(routing.Rule{Action: routing.Action{Status: 418}})
	s.only().reply(200, "")
	if c.resp.Status != 200 {
		t.Errorf("the exchange under way got %d, want 200", c.resp.Status)
	}
	if c := s.get("/"); c.resp.Status != 418 {
		t.Errorf("the next got %d, want 418", c.resp.Status)
	}
}

// What no rule takes is logged with the listener whose hostname covers it.
func TestUnmatchedRequestsNameTheirListener(t *testing.T) {
	s := newTLSStage(t)
	l := listener
	l.Hostname = "*.example"
	match := routing.Match{Path: routing.PathMatch{Value: "/shop"}}
	s.tls = false
	s.serveOn([]*routing.Listener{&l}, routing.Rule{Matches: []routing.Match{match}, Action: to("a")})
	s.serveOn([]*routing.Listener{&l}, routing.Rule{Matches: []routing.Match{match}, Action: to("b")})
	s.get("/")
	s.get("/", "Host: shop.other")
	if n := len(*s.proxy.lost.Load()); n != 1 {
		t.Errorf("%d listeners are kept for requests that no rule takes, want the one in force", n)
	}
	list := s.records()
	if len(list) != 2 || list[0].Listener != string(l.Name) || list[1].Listener != "" {
		t.Errorf("records %+v, want %s for the first and none for the second", list, l.Name)
	}
}

// What a try tells about its endpoint is how its response began.
func TestOutcomesFeedHealth(t *testing.T) {
	tests := []struct {
		name    string
		end     func(*stage, *client, *call)
		ejected bool
	}{
		{"a bad gateway", func(s *stage, c *client, b *call) { b.reply(502, "") }, true},
		{"no response in time", func(s *stage, c *client, b *call) { s.pass(time.Second) }, true},
		{"a reset", func(s *stage, c *client, b *call) { b.abort(&message.Error{Reason: message.Reset}) }, true},
		{"an error of the application", func(s *stage, c *client, b *call) { b.reply(500, "") }, false},
		{"a slow response", func(s *stage, c *client, b *call) { b.head(200, false); s.pass(time.Second) }, false},
		{"a client that leaves", func(s *stage, c *client, b *call) { c.leave(message.Gone) }, false},
		{"a client that leaves a bad gateway", func(s *stage, c *client, b *call) { b.head(502, false); c.leave(message.Gone) }, true},
		{"a kept connection that was closed", func(s *stage, c *client, b *call) {
			b.abort(&message.Error{Reason: message.Gone, Unused: true})
		}, false},
	}
	for _, tt := range tests {
		a := retrying(&routing.Retry{})
		a.Timeouts.Request = time.Second
		s := newStage(t, a)
		c := *s.set.Cluster("a").Spec()
		c.Ejection = routing.Ejection{Consecutive: 3}
		s.set.Put(&c)
		for range 12 {
			client := s.get("/")
			tt.end(s, client, s.calls[len(s.calls)-1])
			s.loop.Settle()
		}
		n := 0
		for _, ep := range s.set.Stats()[0].Endpoints {
			n += ep.Ejections
		}
		if ejected := n > 0; ejected != tt.ejected {
			t.Errorf("%s: %d ejections, want some: %v", tt.name, n, tt.ejected)
		}
	}
}

func TestBodyIsKeptNoLongerThanNeeded(t *testing.T) {
	s := newStage(t, to("a"))
	c := s.request("PUT", "/").open()
	e := c.recv.(*exchange)
	c.upload("for another try")
	if string(e.body) != "for another try" {
		t.Errorf("%q is kept for another try", e.body)
	}
	s.only().head(200, false)
	c.upload("x")
	if e.body != nil {
		t.Errorf("%q is kept after the response began", e.body)
	}
	s.only().end()

	s = newStage(t, retrying(&routing.Retry{}))
	c = s.request("PUT", "/")
	c.req.Length = message.Unknown
	c.recv = s.handler.Exchange(c, c.req, false)
	c.recv.Data([]byte("early"))
	s.loop.Settle()
	if body := c.recv.(*exchange).body; body != nil {
		t.Errorf("%q is kept though there is no other try", body)
	}
	s.only().reply(200, "")
}

func TestLongBodyIsNotKept(t *testing.T) {
	s := newStage(t, to("a"))
	c := s.request("PUT", "/").open()
	b := s.only()
	part := strings.Repeat("x", 1<<10)
	for range 2 * replayLimit / len(part) {
		c.upload(part)
	}
	if c.consumed != 2*replayLimit || len(b.body) != 2*replayLimit {
		t.Errorf("%d consumed, %d at the backend, want %d", c.consumed, len(b.body), 2*replayLimit)
	}
	c.finish()
	b.reply(200, "")
}
