package proxy

import (
	"testing"
	"time"

	"fairway.dev/gateway/message"
	"fairway.dev/routing"
)

func TestTunnel(t *testing.T) {
	s := newStage(t, to("a"))
	c := s.request("GET", "/ws", "Upgrade: websocket").send()
	c.upload("too early") // RFC 8441 lets a client of HTTP/2 send at once
	b := s.only()
	if b.body != "" || b.req.Upgrade != "websocket" {
		t.Fatalf("the backend got %q, upgrade %q before it switched", b.body, b.req.Upgrade)
	}
	b.head(101, false, "Sec-WebSocket-Accept: x")
	if c.resp.Status != 101 || b.body != "too early" {
		t.Fatalf("status %d, the backend has %q, want 101, too early", c.resp.Status, b.body)
	}
	c.upload("ping")
	b.data("pong")
	if b.body != "too earlyping" || c.body != "pong" {
		t.Errorf("the backend has %q, the client %q", b.body, c.body)
	}
	s.pass(30 * time.Minute) // longer than a stream may be idle
	c.finish()
	if !b.ended || c.ended {
		t.Fatalf("one direction ended: backend %v, client %v, want true, false", b.ended, c.ended)
	}
	b.data("bye")
	b.end()
	if c.body != "pongbye" || !c.ended {
		t.Errorf("the client has %q, ended %v", c.body, c.ended)
	}
	if r := s.record(); r.Status != 101 || r.Flags != "" || r.Path != "/ws" || r.In != 13 || r.Out != 7 {
		t.Errorf("record %+v, want 101 on /ws without flags, 13 in, 7 out", r)
	}
}

func TestTunnelThatTheBackendEndsFirst(t *testing.T) {
	s := newStage(t, to("a"))
	c := s.request("GET", "/ws", "Upgrade: websocket").send()
	b := s.only()
	b.head(101, false)
	b.end()
	if !c.ended || b.ended {
		t.Fatalf("one direction ended: client %v, backend %v, want true, false", c.ended, b.ended)
	}
	c.upload("last words")
	c.finish()
	if b.body != "last words" || !b.ended {
		t.Errorf("the backend got %q, ended %v", b.body, b.ended)
	}
	if r := s.record(); r.Path != "/ws" || r.In != 10 {
		t.Errorf("record %+v, want /ws, 10 bytes in", r)
	}
}

func TestTunnelThatIsAborted(t *testing.T) {
	tests := []struct {
		who   string
		abort func(*client, *call)
		flags string
	}{
		{"client", func(c *client, b *call) { c.leave(message.Gone) }, "DC"},
		{"client after the backend's end", func(c *client, b *call) { b.end(); c.leave(message.Gone) }, "DC"},
		{"backend", func(c *client, b *call) { b.abort(&message.Error{Reason: message.Gone}) }, "UC"},
		{"idle", func(c *client, b *call) { c.s.pass(61 * time.Minute) }, "SI"},
		{"idle after the backend's end", func(c *client, b *call) { b.end(); c.s.pass(61 * time.Minute) }, "SI"},
		{"idle after the client's end", func(c *client, b *call) { c.finish(); c.s.pass(61 * time.Minute) }, "SI"},
	}
	for _, tt := range tests {
		t.Run(tt.who, func(t *testing.T) {
			s := newStage(t, to("a"))
			c := s.request("GET", "/ws", "Upgrade: websocket").send()
			b := s.only()
			b.head(101, false)
			tt.abort(c, b)
			if c.aborted == nil && !c.gone || !b.over {
				t.Errorf("client aborted with %v, backend over %v", c.aborted, b.over)
			}
			if r := s.record(); r.Status != 101 || r.Flags != tt.flags {
				t.Errorf("record has status %d, flags %s, want 101, %s", r.Status, r.Flags, tt.flags)
			}
		})
	}
}

func TestUpgradeThatTheBackendRefuses(t *testing.T) {
	for _, body := range []string{"", "no"} {
		s := newStage(t, to("a"))
		c := s.request("GET", "/ws", "Upgrade: websocket").send()
		b := s.only()
		b.reply(426, body)
		if c.resp.Status != 426 || c.body != body || !c.ended {
			t.Errorf("the client got %d %q, ended %v, want 426 %q", c.resp.Status, c.body, c.ended, body)
		}
		if !b.over {
			t.Error("the backend's exchange is not over")
		}
		s.record()
	}
}

func TestWhatFollowsARefusedUpgradeIsDropped(t *testing.T) {
	s := newStage(t, to("a"))
	c := s.request("GET", "/ws", "Upgrade: websocket").send()
	s.only().head(200, false)
	c.upload("frame")
	c.finish()
	if s.only().body != "" || c.consumed != 5 {
		t.Errorf("the backend got %q, %d bytes consumed, want none, 5", s.only().body, c.consumed)
	}
	s.only().end()
	s.want(c, 200, "")
}

func TestTimeoutsAreNotForTunnels(t *testing.T) {
	a := to("a")
	a.Timeouts = routing.Timeouts{Request: time.Second, Backend: time.Second}
	s := newStage(t, a)
	c := s.request("GET", "/", "Upgrade: websocket").send()
	s.only().head(101, false)
	s.pass(time.Minute)
	if c.done() {
		t.Error("the tunnel was cut")
	}
	c.leave(message.Gone)
}

func TestTunnelThatMayIdleFromAStreamThatMayNot(t *testing.T) {
	s := newStageWith(t, Options{TunnelIdle: -1}, routing.Rule{Action: to("a")})
	c := s.request("GET", "/", "Upgrade: websocket").send()
	s.only().head(101, false)
	s.pass(24 * time.Hour)
	if c.done() {
		t.Error("the tunnel was cut")
	}
	c.leave(message.Gone)
}
