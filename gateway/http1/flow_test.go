package http1

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"fairway.dev/gateway/message"
)

func TestRequestBackpressure(t *testing.T) {
	d := newDesk(Limits{})
	d.far.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n")
	u := d.user(t)
	u.hold = true
	chunk := bytes.Repeat([]byte("x"), 10000)
	for range 100 {
		d.far.send(string(chunk))
	}
	if n := u.body.Len(); n <= message.HighWater || n > message.HighWater+len(chunk) {
		t.Fatalf("%d bytes came that nobody consumed, want little more than %d", n, message.HighWater)
	}
	d.loop.Advance(time.Hour) // the client is not to blame
	u.s.Consumed(u.unsaid - message.LowWater)
	d.loop.Settle()
	before := u.body.Len()
	u.s.Consumed(1)
	u.hold = false
	d.loop.Settle()
	if before > message.HighWater+len(chunk) || u.body.Len() != 100*len(chunk) {
		t.Errorf("%d bytes came before LowWater and %d in all, want none more and all", before, u.body.Len())
	}
}

func TestResponseBackpressure(t *testing.T) {
	d := newDesk(Limits{})
	d.far.send(begun + "\r\n")
	u := d.user(t)
	d.ours.Block()
	u.s.Head(&message.Response{Status: 200, Length: message.Unknown}, false)
	for u.s.Queued() <= message.HighWater {
		u.s.Data(make([]byte, 10000))
	}
	d.loop.Settle()
	if u.drained != 0 {
		t.Fatal("told Drained while the client reads nothing")
	}
	d.ours.Unblock()
	d.loop.Settle()
	if u.drained != 1 || u.s.Queued() != 0 {
		t.Errorf("told Drained %d times, %d bytes wait; want once and none", u.drained, u.s.Queued())
	}
}

func TestResponseBodyBackpressure(t *testing.T) {
	p := newPhone(Limits{})
	u := p.call(get("/"), true)
	u.hold = true
	p.far.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
	for range 100 {
		p.far.send(strings.Repeat("x", 10000))
	}
	if n := u.body.Len(); n <= message.HighWater || n > message.HighWater+10000 {
		t.Fatalf("%d bytes came that nobody consumed, want little more than %d", n, message.HighWater)
	}
	p.loop.Advance(time.Hour)
	u.hold = false
	u.stream.Consumed(u.unsaid)
	p.loop.Settle()
	if u.body.Len() != 1000000 || !u.ended || p.free != 1 {
		t.Errorf("%d bytes came, ended %v, free %d; want all", u.body.Len(), u.ended, p.free)
	}
}

// What one exchange did not consume does not weigh on the next.
func TestPauseEndsWithItsExchange(t *testing.T) {
	p := newPhone(Limits{})
	u := p.call(&message.Request{Method: "PUT", Authority: "a", Path: "/", Length: 2}, false)
	u.hold = true
	p.far.send("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("x", 100000))
	if !u.ended || !p.client.paused {
		t.Fatalf("ended %v, paused %v; want both", u.ended, p.client.paused)
	}
	u.stream.Data([]byte("hi"))
	u.stream.End(nil)
	p.loop.Settle()
	next := p.call(get("/"), true)
	p.far.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	if !next.ended {
		t.Error("the next response is not read")
	}
}

func TestRequestBodyBackpressure(t *testing.T) {
	p := newPhone(Limits{})
	u := p.call(&message.Request{Method: "PUT", Authority: "a", Path: "/", Length: message.Unknown}, false)
	p.ours.Block()
	for u.stream.Queued() <= message.HighWater {
		u.stream.Data(make([]byte, 10000))
	}
	p.loop.Settle()
	before := u.drained
	p.ours.Unblock()
	p.loop.Settle()
	if before != 0 || u.drained != 1 {
		t.Errorf("told Drained %d times early and %d in all, want 0 and 1", before, u.drained)
	}
}
