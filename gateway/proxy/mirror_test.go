package proxy

import (
	"strings"
	"testing"
	"time"

	"fairway.dev/gateway/message"
	"fairway.dev/gateway/telemetry"
	"fairway.dev/routing"
)

// mirrored is an action that mirrors all requests to cluster "b".
func mirrored() routing.Action {
	a := to("a")
	a.Mirrors = []routing.Mirror{{Cluster: "b", Numerator: 1, Denominator: 1}}
	return a
}

// split returns the call to cluster "a" and the mirror's.
func (s *stage) split() (main, mirror *call) {
	s.t.Helper()
	for _, b := range s.calls {
		if b.port == 11 {
			mirror = b
		} else {
			main = b
		}
	}
	if main == nil || mirror == nil || len(s.calls) != 2 {
		s.t.Fatalf("%d calls, want one to the backend and one to the mirror", len(s.calls))
	}
	return main, mirror
}

func (s *stage) mirrors() int { return s.handler.(*local).mirrored }

func TestMirrorGetsACopy(t *testing.T) {
	a := mirrored()
	a.Request = routing.HeaderChange{Set: []routing.Header{{Name: "X-A", Value: "1"}}}
	s := newStage(t, a)
	c := s.request("POST", "/p?q=1", "Expect: 100-continue").open()
	main, mirror := s.split()
	r := mirror.req
	if r.Method+" "+r.Authority+r.Path+r.Query != "POST shop.example/p?q=1" || mirror.header("x-a") != "1" {
		t.Errorf("the mirror got %s %s%s%s, X-A %q", r.Method, r.Authority, r.Path, r.Query, mirror.header("x-a"))
	}
	if mirror.header("expect") != "" || main.header("expect") == "" {
		t.Error("the mirror was asked for its consent, or the backend was not")
	}
	c.upload("body")
	c.finish("T: 1")
	if mirror.body != "body" || !mirror.ended || len(mirror.trailers) != 1 {
		t.Errorf("the mirror got %q, ended %v, trailers %v", mirror.body, mirror.ended, mirror.trailers)
	}
	main.reply(200, "from the backend")
	mirror.head(500, false)
	mirror.data("from the mirror")
	if mirror.consumed != len("from the mirror") {
		t.Errorf("%d bytes of the mirror's response were consumed, want all", mirror.consumed)
	}
	mirror.end()
	if c.body != "from the backend" || s.mirrors() != 0 {
		t.Errorf("the client got %q, %d mirrors left", c.body, s.mirrors())
	}
	if r := s.record(); r.Status != 200 {
		t.Errorf("record of %d, want 200", r.Status)
	}
}

func TestMirrorOutlivesTheExchange(t *testing.T) {
	s := newStage(t, mirrored())
	s.get("/long/path", "X-A: 1")
	main, mirror := s.split()
	main.reply(200, "")
	if mirror.req.Path != "/long/path" || mirror.header("x-a") != "1" || !mirror.ended {
		t.Errorf("the mirror got %s, X-A %q, ended %v", mirror.req.Path, mirror.header("x-a"), mirror.ended)
	}
	mirror.reply(200, "x")
	if s.mirrors() != 0 {
		t.Errorf("%d mirrors left, want 0", s.mirrors())
	}
}

func TestMirrorThatConnectsLate(t *testing.T) {
	s := newStage(t, mirrored())
	// The backend has a connection already, the mirror has none.
	s.serve(routing.Rule{Action: to("a")})
	for i := range 3 {
		s.get("/")
		s.call(i).reply(200, "")
		s.loop.Settle()
	}
	s.serve(routing.Rule{Action: mirrored()})
	s.calls = nil
	c := s.request("POST", "/late", "X-A: 1")
	c.req.Length = message.Unknown
	c.recv = s.handler.Exchange(c, c.req, false)
	c.recv.Data([]byte("body"))
	c.sent = true
	c.recv.End(nil)
	s.only().reply(200, "")
	if !c.ended {
		t.Fatal("the exchange waits for its mirror")
	}
	s.loop.Settle()
	_, mirror := s.split()
	if mirror.req.Path != "/late" || mirror.header("x-a") != "1" || mirror.body != "body" || !mirror.ended {
		t.Errorf("the mirror got %s %q, ended %v", mirror.req.Path, mirror.body, mirror.ended)
	}
	mirror.reply(200, "")
}

func TestMirrorHarmsNobody(t *testing.T) {
	tests := []struct {
		name string
		harm func(s *stage, c *client, mirror *call)
	}{
		{"breaks off", func(s *stage, c *client, m *call) { m.abort(&message.Error{Reason: message.Gone}) }},
		{"does not read", func(s *stage, c *client, m *call) {
			m.queued = mirrorLag + 1
			c.upload("x")
			if m.aborted == nil {
				t.Error("the mirror goes on")
			}
		}},
		{"answers early", func(s *stage, c *client, m *call) { m.reply(200, "x") }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newStage(t, mirrored())
			c := s.request("POST", "/").open()
			main, mirror := s.split()
			tt.harm(s, c, mirror)
			c.upload("body")
			c.finish()
			main.reply(200, "ok")
			if !strings.HasSuffix(main.body, "body") || c.body != "ok" || s.mirrors() != 0 {
				t.Errorf("the backend got %q, the client %q, %d mirrors left", main.body, c.body, s.mirrors())
			}
		})
	}
}

func TestMirrorWithoutEndpointOrConnection(t *testing.T) {
	for _, cluster := range []routing.ClusterName{"empty", "b"} {
		a := to("a")
		a.Mirrors = []routing.Mirror{{Cluster: cluster, Numerator: 1, Denominator: 1}}
		s := newStage(t, a)
		s.down[11] = errRefused
		c := s.get("/")
		s.only().reply(200, "")
		s.want(c, 200, "")
		if s.mirrors() != 0 {
			t.Errorf("%s: %d mirrors left, want 0", cluster, s.mirrors())
		}
	}
}

func TestMirrorOfARequestThatIsBrokenOff(t *testing.T) {
	s := newStage(t, mirrored())
	c := s.request("POST", "/").open()
	_, mirror := s.split()
	c.leave(message.Gone)
	if mirror.aborted == nil || s.mirrors() != 0 {
		t.Errorf("the mirror was aborted with %v, %d left", mirror.aborted, s.mirrors())
	}
}

func TestMirrorThatNeverAnswers(t *testing.T) {
	s := newStage(t, mirrored())
	s.get("/")
	main, mirror := s.split()
	main.reply(200, "")
	s.pass(mirrorTime)
	if mirror.aborted == nil || s.mirrors() != 0 {
		t.Errorf("the mirror was aborted with %v, %d left", mirror.aborted, s.mirrors())
	}
}

func TestMirrorThatNeverConnects(t *testing.T) {
	s := newStage(t, mirrored())
	s.hang[11] = true
	c := s.request("POST", "/").open()
	part := strings.Repeat("x", 64<<10)
	for range mirrorLag/len(part) + 1 { // more than waits for a mirror
		c.upload(part)
	}
	c.finish()
	s.only().reply(200, "")
	if s.mirrors() != 0 {
		t.Errorf("%d mirrors left, want 0", s.mirrors())
	}
}

func TestMirrorPercentage(t *testing.T) {
	a := to("a")
	a.Mirrors = []routing.Mirror{
		{Cluster: "b", Numerator: 20, Denominator: 100}, {Cluster: "b", Numerator: 0, Denominator: 100},
	}
	s := newStage(t, a)
	n := 0
	for range 2000 {
		s.get("/")
		for _, b := range s.calls {
			if b.port == 11 {
				n++
			}
			b.reply(200, "")
		}
		s.calls = s.calls[:0]
		s.loop.Settle()
	}
	if n < 330 || n > 470 {
		t.Errorf("20%% of 2000 requests were mirrored %d times, want 330 to 470", n)
	}
}

func TestMirrorsAreBounded(t *testing.T) {
	s := newStage(t, mirrored())
	s.handler.(*local).mirrored = maxMirrors
	s.get("/")
	s.only().reply(200, "")
	if n := s.metrics.Limits.Total(telemetry.LimitMirrors); n != 1 {
		t.Errorf("the limit was counted %d times, want 1", n)
	}
}

func TestUpgradesAreNotMirrored(t *testing.T) {
	s := newStage(t, mirrored())
	c := s.request("GET", "/", "Upgrade: websocket").send()
	s.only()
	c.leave(message.Gone)
}

func TestMirrorsOfRuleAndBackend(t *testing.T) {
	a := mirrored()
	a.Backends[0].Mirrors = a.Mirrors
	s := newStage(t, a)
	s.get("/")
	if len(s.calls) != 3 {
		t.Fatalf("%d calls, want 3", len(s.calls))
	}
	for _, b := range s.calls {
		b.reply(200, "")
	}
	s.pass(time.Second)
}

// HTTPSettings.useClientProtocol: also what is copied is sent as it came.
func TestBackendsAreSpokenToAsTheClientSpeaks(t *testing.T) {
	for _, proto := range []message.Proto{message.HTTP11, message.HTTP2} {
		a := to("a")
		a.Mirrors = []routing.Mirror{{Cluster: "b", Numerator: 1_000_000, Denominator: 1_000_000}}
		s := newStage(t, a)
		for _, name := range []routing.ClusterName{"a", "b"} {
			c := *s.set.Cluster(name).Spec()
			c.Protocol = routing.UpstreamClient
			s.set.Put(&c)
		}
		c := s.request("GET", "/")
		c.req.Proto = proto
		c.send()
		if len(s.spoke) != 2 || s.spoke[0] != proto || s.spoke[1] != proto {
			t.Errorf("a client of %v: backends are spoken to in %v", proto, s.spoke)
		}
		for _, b := range s.calls {
			b.reply(200, "")
		}
	}
}

// HTTPMirrorPolicy.percentage: shares as small as a millionth.
func TestMirrorOfASmallShare(t *testing.T) {
	const n = 10_000
	a := to("a")
	a.Mirrors = []routing.Mirror{{Cluster: "b", Numerator: 2_500, Denominator: 1_000_000}}
	s := newStage(t, a)
	copies := 0
	for range n {
		s.get("/")
		for _, b := range s.calls {
			if b.port == 11 {
				copies++
			}
			b.reply(200, "")
		}
		s.calls = nil
	}
	if copies < 3 || copies > 80 { // 25 are to be expected
		t.Errorf("%d of %d requests are mirrored, want about a quarter of a percent", copies, n)
	}
}
