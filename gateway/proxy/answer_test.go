package proxy

import (
	"strings"
	"testing"
	"time"

	"fairway.dev/gateway/message"
	"fairway.dev/routing"
)

// The table of answers in the package's documentation.
func TestAnswers(t *testing.T) {
	none := func(*stage) {}
	tests := []struct {
		name   string
		action routing.Action
		path   string
		setup  func(*stage)
		status int
		grpc   string
		flags  string
	}{
		{"no rule", to("a"), "/elsewhere", none, 404, "12", "NR"},
		{"an encoded NUL", to("a"), "/is/a%00.png", none, 400, "13", "DPE"},
		{"a reference to nothing", to("nowhere"), "/is", none, 500, "2", "NC"},
		{"a status", routing.Action{Status: 403}, "/is", none, 403, "7", ""},
		{"no endpoint", to("empty"), "/is", none, 503, "14", "UH"},
		{"too many requests", to("b"), "/is", func(s *stage) { s.get("/is"); s.get("/is") }, 503, "14", "UO"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newStageWith(t, Options{}, routing.Rule{
				Matches: []routing.Match{{Path: routing.PathMatch{Value: "/is"}}}, Action: tt.action,
			})
			tt.setup(s)
			c := s.get(tt.path)
			if c.resp.Status != tt.status || c.body == "" || c.resp.Length != int64(len(c.body)) || !c.ended {
				t.Errorf("status %d, length %d, body %q, ended %v, want %d and a text",
					c.resp.Status, c.resp.Length, c.body, c.ended, tt.status)
			}
			if c.field("server") != "fairway" || c.field("content-type") != plainText {
				t.Errorf("fields %v", c.resp.Fields)
			}
			head := s.request("HEAD", tt.path).send()
			if head.resp.Status != tt.status || head.body != "" {
				t.Errorf("HEAD: status %d, body %q, want %d and none", head.resp.Status, head.body, tt.status)
			}
			call := s.request("POST", tt.path, "Content-Type: application/grpc+proto").open()
			if call.resp.Status != 200 || call.field("grpc-status") != tt.grpc || call.body != "" {
				t.Errorf("gRPC: status %d, grpc-status %s, body %q, want 200, %s, none",
					call.resp.Status, call.field("grpc-status"), call.body, tt.grpc)
			}
			if call.field("content-type") != "application/grpc" || call.field("grpc-message") == "" {
				t.Errorf("gRPC: fields %v", call.resp.Fields)
			}
			for _, b := range s.calls {
				b.reply(200, "")
			}
			n := 0
			for _, r := range s.records() {
				if r.Flags == tt.flags && (r.Status == tt.status || r.Status == 200) {
					n++
				}
			}
			if n < 3 {
				t.Errorf("%d records with flags %q, want 3", n, tt.flags)
			}
		})
	}
}

// HTTPDirectResponse: the author's body, and the rule's header changes.
func TestDirectResponse(t *testing.T) {
	type header = routing.Header
	tests := []struct {
		name   string
		action routing.Action
		body   string
		kind   string // content type
		grpc   string // message
	}{
		{"a body", routing.Action{Status: 503, Body: "down for maintenance"}, "down for maintenance", plainText, "down for maintenance"},
		{"none", routing.Action{Status: 418}, "I'm a teapot\n", plainText, "I'm a teapot"},
		{"500 of its own", routing.Action{Status: 500, Body: "oops"}, "oops", plainText, "oops"},
		{"no content", routing.Action{Status: 204, Body: "dropped"}, "", "", ""},
		{"its own type", routing.Action{Status: 200, Body: "{}", Response: routing.HeaderChange{
			Set: []header{{Name: "Content-Type", Value: "application/json"}},
		}}, "{}", "application/json", "{}"},
		{"its own type, added", routing.Action{Status: 200, Body: "{}", Response: routing.HeaderChange{
			Add: []header{{Name: "content-type", Value: "application/json"}},
		}}, "{}", "application/json", "{}"},
		{"no type", routing.Action{Status: 200, Body: "x", Response: routing.HeaderChange{Remove: []string{"content-type"}}}, "x", "", "x"},
		{"more than a line", routing.Action{Status: 200, Body: "one\r\ntw\u00f6 100%"}, "one\r\ntw\u00f6 100%", plainText, "one%0D%0Atw%C3%B6 100%25"},
	}
	for _, tt := range tests {
		s := newStage(t, tt.action)
		c := s.get("/")
		if c.resp.Status != tt.action.Status || c.body != tt.body || c.field("content-type") != tt.kind {
			t.Errorf("%s: %d %q, content type %q, want %d %q, %q", tt.name, c.resp.Status, c.body, c.field("content-type"),
				tt.action.Status, tt.body, tt.kind)
		}
		head := s.request("HEAD", "/").send()
		if head.body != "" || head.resp.Length != int64(len(tt.body)) {
			t.Errorf("%s: HEAD: body %q, length %d, want none, %d", tt.name, head.body, head.resp.Length, len(tt.body))
		}
		if tt.kind == plainText { // a content type of the author's counts before gRPC's
			call := s.request("POST", "/", "Content-Type: application/grpc").open()
			if call.resp.Status != 200 || call.field("grpc-message") != tt.grpc || call.body != "" {
				t.Errorf("%s: gRPC: %d %v", tt.name, call.resp.Status, call.resp.Fields)
			}
		}
		for _, r := range s.records() {
			if r.Flags != "" {
				t.Errorf("%s: flags %s, want none: it is what the author said", tt.name, r.Flags)
			}
		}
	}
}

func TestLongDirectResponseIsNotKept(t *testing.T) {
	s := newStage(t, routing.Action{Status: 200, Body: strings.Repeat("x", 1<<20)})
	if c := s.get("/"); len(c.body) != 1<<20 {
		t.Errorf("%d bytes, want 1 MiB", len(c.body))
	}
	if n := cap(s.handler.(*local).scratch); n > 2*replayLimit {
		t.Errorf("the loop keeps %d bytes", n)
	}
}

// A share whose destination is not there answers with the status that its
// dialect has for that (503 of a VirtualService), as Envoy does: NC.
func TestShareWithoutADestinationAnswersItsStatus(t *testing.T) {
	s := newStage(t, routing.Action{Backends: []routing.Backend{{Weight: 1, Status: 503, Reason: routing.BackendNotFound}}})
	c := s.get("/")
	s.want(c, 503, "NC")
}

func TestClusterThatIsNotThereYet(t *testing.T) {
	s := newStage(t, to("a"))
	s.set.Remove("a")
	l := listener
	snap, _ := routing.Compile(specOn([]*routing.Listener{&l}, routing.Rule{Action: to("a")}))
	s.proxy.Prepare(snap)
	s.proxy.Publish(snap)
	c := s.get("/")
	s.want(c, 500, "NC")
}

func TestAnswersWithoutBody(t *testing.T) {
	for _, status := range []int{204, 304} {
		s := newStage(t, routing.Action{Status: status})
		if c := s.get("/"); c.resp.Status != status || c.body != "" || c.field("content-type") != "" {
			t.Errorf("status %d, body %q, fields %v, want %d and none", c.resp.Status, c.body, c.resp.Fields, status)
		}
	}
}

func TestNothingIsServedBeforePublish(t *testing.T) {
	s := newStage(t, to("a"))
	h := New(Options{Clusters: s.set}).Handler(s.loop)
	c := s.request("GET", "/")
	h.Exchange(c, c.req, true)
	if c.resp.Status != 404 {
		t.Errorf("status %d, want 404", c.resp.Status)
	}
}

func TestPortThatIsServedNoLonger(t *testing.T) {
	s := newStage(t, to("a"))
	c := s.request("GET", "/")
	c.peer.Listener = &Bind{Key: routing.PortKey{Port: 81}}
	c.send()
	s.want(c, 404, "NR")
}

func TestPortThatLeavesKeepsItsRulesForItsConnections(t *testing.T) {
	s := newStage(t, to("a"))
	s.bind.Keep(s.proxy.snap.Load())
	for range 2 { // and keeps them over every change that comes after
		none, _ := routing.Compile(&routing.Spec{})
		s.proxy.Publish(none)
		c := s.request("GET", "/").send()
		s.calls[len(s.calls)-1].head(204, true)
		if c.resp.Status != 204 {
			t.Errorf("status %d, want 204", c.resp.Status)
		}
	}
}

func TestGRPCStatusIsRecorded(t *testing.T) {
	tests := []struct {
		name string
		do   func(*client, *call)
		want int
	}{
		{"in trailers", func(c *client, b *call) { b.head(200, false); b.end("grpc-status: 5") }, 5},
		{"in the head", func(c *client, b *call) { b.head(200, true, "grpc-status: 3") }, 3},
		{"nowhere", func(c *client, b *call) { b.head(200, true) }, 2},
		{"nonsense", func(c *client, b *call) { b.head(200, true, "grpc-status: x") }, 2},
		{"status of HTTP", func(c *client, b *call) { b.head(429, true) }, 14},
		{"client gone", func(c *client, b *call) { c.leave(message.Reset) }, 1},
	}
	for _, tt := range tests {
		s := newStage(t, to("a"))
		c := s.request("POST", "/p.S/M", "Content-Type: application/grpc").send()
		tt.do(c, s.only())
		if r := s.record(); r.GRPC == nil || *r.GRPC != tt.want {
			t.Errorf("%s: grpc status %v recorded, want %d", tt.name, r.GRPC, tt.want)
		}
	}
}

// RFC 9110 section 15.5.20: a request for a host of another listener than the
// one whose certificate the client was shown.
func TestMisdirectedRequest(t *testing.T) {
	s := newTLSStage(t)
	c := s.request("GET", "/", "Host: b.example")
	c.peer.TLS.ServerName = "A.example"
	c.send()
	s.want(c, 421, "NR")
}

func TestServerNameAndHostOfOneListener(t *testing.T) {
	s := newTLSStage(t)
	c := s.request("GET", "/", "Host: B.example:443")
	c.peer.TLS.ServerName = "b.example"
	c.send()
	s.only().reply(200, "")
	s.want(c, 200, "")
}

func TestRetryBeyondTheDeadline(t *testing.T) {
	a := retrying(&routing.Retry{Attempts: 3, Codes: []int{503}, Backoff: time.Minute})
	a.Timeouts.Request = time.Second
	s := newStage(t, a)
	c := s.get("/")
	s.only().reply(503, "")
	s.pass(time.Hour)
	s.only()
	s.want(c, 504, "UT")
}
