package proxy

import (
	"testing"
	"time"

	"fairway.dev/gateway/message"
	"fairway.dev/routing"
)

func TestRequestTimeout(t *testing.T) {
	tests := []struct {
		when   string
		setup  func(*stage)
		status int // 0: the response is broken off
	}{
		{"before the response", func(s *stage) {}, 504},
		{"during the response", func(s *stage) { s.only().head(200, false) }, 0},
		{"while a retry waits", func(s *stage) { s.only().reply(503, "") }, 504},
	}
	for _, tt := range tests {
		t.Run(tt.when, func(t *testing.T) {
			a := to("a")
			a.Timeouts.Request = 500 * time.Millisecond
			a.Retry = &routing.Retry{Attempts: 1, Codes: []int{503}, Backoff: time.Second}
			s := newStage(t, a)
			c := s.get("/")
			tt.setup(s)
			s.pass(499 * time.Millisecond)
			if c.done() {
				t.Fatal("over before its time")
			}
			s.pass(time.Millisecond)
			if tt.status == 0 {
				if c.aborted == nil {
					t.Error("the response was not broken off")
				}
				tt.status = 200
			}
			s.want(c, tt.status, "UT")
		})
	}
}

// HTTPRouteTimeouts.backendRequest covers one try, from when the request is
// first sent to when the full response has been received.
func TestBackendTimeout(t *testing.T) {
	a := to("a")
	a.Timeouts.Backend = 500 * time.Millisecond
	s := newStage(t, a)
	c := s.get("/")
	b := s.only()
	s.pass(500 * time.Millisecond)
	if b.aborted == nil {
		t.Error("the try goes on")
	}
	s.want(c, 504, "UT")
}

func TestBackendTimeoutDuringTheResponse(t *testing.T) {
	a := to("a")
	a.Timeouts.Backend = 500 * time.Millisecond
	s := newStage(t, a)
	c := s.get("/")
	s.only().head(200, false)
	s.pass(500 * time.Millisecond)
	if c.aborted == nil {
		t.Error("the response was not broken off")
	}
	s.want(c, 200, "UT")
}

func TestStreamIdle(t *testing.T) {
	tests := []struct {
		name   string
		begin  func(*stage) *client
		status int
	}{
		{"the client does not send", func(s *stage) *client { return s.request("POST", "/").open() }, 408},
		{"the backend does not answer", func(s *stage) *client { return s.get("/") }, 504},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newStageWith(t, Options{StreamIdle: time.Minute}, routing.Rule{Action: to("a")})
			c := tt.begin(s)
			s.pass(59 * time.Second)
			s.only().head(103, false) // something moved
			s.pass(59 * time.Second)
			if c.done() {
				t.Fatal("over while something moved")
			}
			s.pass(time.Second)
			s.want(c, tt.status, "SI")
		})
	}
}

// Law 10: health is the endpoint's own. Clients that do not send what they
// announced must not put backends out that wait for it.
func TestSlowClientsEjectNobody(t *testing.T) {
	tests := []struct {
		name    string
		queued  int // of the body: the backend does not take it
		bound   func(*routing.Timeouts)
		ejected bool
	}{
		{"the whole exchange", 0, func(b *routing.Timeouts) { b.Request = time.Second }, false},
		{"one try", 0, func(b *routing.Timeouts) { b.Backend = time.Second }, false},
		{"standing still", 0, func(*routing.Timeouts) {}, false},
		{"one try, while the backend takes nothing", 1, func(b *routing.Timeouts) { b.Backend = time.Second }, true},
	}
	for _, tt := range tests {
		a := retrying(&routing.Retry{})
		tt.bound(&a.Timeouts)
		s := newStageWith(t, Options{StreamIdle: time.Minute}, routing.Rule{Action: a})
		cluster := *s.set.Cluster("a").Spec()
		cluster.Ejection = routing.Ejection{Consecutive: 3}
		s.set.Put(&cluster)
		for range 12 {
			s.request("POST", "/").open().upload("some")
			s.calls[len(s.calls)-1].queued = tt.queued
			s.pass(time.Minute)
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

// Who asks for another protocol has said all: it is the backend's turn.
func TestUpgradeThatNobodyAnswersIsTheBackends(t *testing.T) {
	s := newStageWith(t, Options{StreamIdle: time.Minute}, routing.Rule{Action: to("a")})
	c := s.request("GET", "/", "Upgrade: websocket").send()
	s.pass(time.Minute)
	s.want(c, 504, "SI")
}

func TestNoIdleTimeouts(t *testing.T) {
	s := newStageWith(t, Options{StreamIdle: -1, TunnelIdle: -1}, routing.Rule{Action: to("a")})
	stream := s.get("/")
	s.pass(24 * time.Hour)
	s.calls[0].reply(200, "")
	tunnel := s.request("GET", "/", "Upgrade: websocket").send()
	s.calls[1].head(101, false)
	s.pass(24 * time.Hour)
	if stream.resp.Status != 200 || tunnel.done() {
		t.Errorf("status %d, tunnel over %v, want 200, false", stream.resp.Status, tunnel.done())
	}
	tunnel.leave(message.Gone)
}

func TestStreamIdleDuringTheResponse(t *testing.T) {
	s := newStage(t, to("a"))
	c := s.get("/")
	s.only().head(200, false)
	s.pass(5 * time.Minute)
	if c.aborted == nil {
		t.Error("the response was not broken off")
	}
	s.want(c, 200, "SI")
}
