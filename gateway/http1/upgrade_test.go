package http1

import (
	"strings"
	"testing"
	"time"

	"fairway.dev/gateway/message"
)

// RFC 9110 section 7.8: after the 101 both directions carry another protocol,
// and each ends for itself.
func TestUpgrade(t *testing.T) {
	const ask = begun + "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	d := newDesk(Limits{})
	d.far.send(ask + "early")
	u := d.user(t)
	if u.last || u.body.Len() > 0 {
		t.Fatalf("last %v, heard %q before the 101; want false and nothing", u.last, u.body.String())
	}
	u.s.Head(&message.Response{Status: 101}, false)
	u.s.Data([]byte("GET / HTTP/1.1\r\n\r\n"))
	want := "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nGET / HTTP/1.1\r\n\r\n" // RFC 6455 section 1.3
	if got := d.far.take(); got != want || u.body.String() != "early" {
		t.Fatalf("sent %q and heard %q, want %q and early", got, u.body.String(), want)
	}
	d.loop.Advance(time.Hour)
	d.far.send(" late")
	d.far.CloseWrite()
	d.loop.Settle()
	if u.body.String() != "early late" || !u.ended || d.far.over() {
		t.Errorf("heard %q, ended %v, over %v; want that only one direction ended", u.body.String(), u.ended, d.far.over())
	}
	u.s.Data([]byte("still"))
	u.s.End(nil)
	if got := d.far.take(); got != "still" || !d.far.over() || len(d.server.shared.requests) != 1 {
		t.Errorf("sent %q, over %v; want still, true, and the request recycled", got, d.far.over())
	}
}

func TestUpgradeEndedFromOurSideFirst(t *testing.T) {
	d := newDesk(Limits{})
	d.far.send(begun + "Connection: Upgrade\r\nUpgrade: x\r\n\r\n")
	u := d.user(t)
	u.s.Head(&message.Response{Status: 101}, false)
	u.s.End(nil)
	d.loop.Settle()
	if !d.far.eof || d.far.closed {
		t.Fatalf("eof %v, closed %v; want that only our direction ended", d.far.eof, d.far.closed)
	}
	d.far.send("more")
	d.far.Finish()
	d.loop.Settle()
	if u.body.String() != "more" || !u.ended || len(d.server.shared.requests) != 1 {
		t.Errorf("heard %q, ended %v, recycled %d; want more, true, 1", u.body.String(), u.ended, len(d.server.shared.requests))
	}
}

// A client that ends its side before the 101 still reads what comes.
func TestUpgradeOfAHalfClosedClient(t *testing.T) {
	d := newDesk(Limits{})
	d.far.send(begun + "Connection: Upgrade\r\nUpgrade: x\r\n\r\n")
	d.far.CloseWrite()
	d.loop.Settle()
	u := d.user(t)
	u.s.Head(&message.Response{Status: 101}, false)
	u.s.Data([]byte("raw"))
	if u.ended {
		t.Error("told from inside the call")
	}
	d.loop.Settle()
	if !u.ended || d.far.over() {
		t.Fatalf("ended %v, over %v; want true, false", u.ended, d.far.over())
	}
	u.s.End(nil)
	if got := d.far.take(); !strings.HasSuffix(got, "raw") || !d.far.over() {
		t.Errorf("sent %q, over %v", got, d.far.over())
	}
}

// RFC 9110 section 7.8: another answer leaves the connection with HTTP.
func TestUpgradeRefused(t *testing.T) {
	d := newDesk(Limits{})
	d.far.send(begun + "Connection: Upgrade\r\nUpgrade: x\r\n\r\n" + begun + "\r\n")
	d.user(t).ok("no")
	if got := d.far.take(); got != okText("no") || len(d.said) != 2 {
		t.Errorf("sent %q, requests %q; want an answer and the next request", got, d.said)
	}
}

func TestClientUpgrade(t *testing.T) {
	ask := &message.Request{Method: "GET", Authority: "a", Path: "/", Upgrade: "websocket"}
	p := newPhone(Limits{})
	u := p.call(ask, false)
	p.far.take()
	p.far.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX: y\r\n\r\nraw")
	if len(u.heads) != 1 || u.heads[0] != `HTTP/1.1 101 "Switching Protocols" -1 [X: y]` || u.body.String() != "raw" || u.ended {
		t.Fatalf("heads %q, body %q, ended %v", u.heads, u.body.String(), u.ended)
	}
	u.stream.Data([]byte("HTTP"))
	u.stream.End(nil)
	if got := p.far.take(); got != "HTTP" || !p.far.eof || p.far.closed {
		t.Fatalf("sent %q, eof %v, closed %v; want that one direction ended", got, p.far.eof, p.far.closed)
	}
	p.far.send(" more")
	p.far.Finish()
	p.loop.Settle()
	if u.body.String() != "raw more" || !u.ended || p.closed != 1 || p.err != nil || p.free != 0 {
		t.Errorf("body %q, ended %v, closed %d with %v, free %d", u.body.String(), u.ended, p.closed, p.err, p.free)
	}
}

// Either side may end first, and ours even before the backend has agreed.
func TestClientUpgradeEnds(t *testing.T) {
	const agreed = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
	ask := &message.Request{Method: "GET", Authority: "a", Path: "/", Upgrade: "x"}
	t.Run("before the 101", func(t *testing.T) {
		p := newPhone(Limits{})
		u := p.call(ask, false)
		u.stream.End(nil)
		p.loop.Settle()
		early := p.far.eof
		p.far.send(agreed + "raw")
		if early || !p.far.eof || u.body.String() != "raw" || u.ended {
			t.Errorf("our side ended early %v, at last %v; heard %q, ended %v", early, p.far.eof, u.body.String(), u.ended)
		}
	})
	t.Run("the backend first", func(t *testing.T) {
		p := newPhone(Limits{})
		u := p.call(ask, false)
		p.far.send(agreed)
		p.far.take()
		p.far.CloseWrite()
		p.loop.Settle()
		if !u.ended || p.closed != 0 {
			t.Fatalf("ended %v, closed %d; want that only one direction ended", u.ended, p.closed)
		}
		u.stream.Data([]byte("rest"))
		p.ours.Block() // and the backend does not even take that
		u.stream.End(nil)
		p.loop.Settle()
		told := p.closed
		p.loop.Advance(time.Minute)
		if told != 1 || !p.far.closed || u.err != nil {
			t.Errorf("told closed %d times, the connection is closed %v, told %v", told, p.far.closed, u.err)
		}
	})
	t.Run("aborted", func(t *testing.T) {
		p := newPhone(Limits{})
		u := p.call(ask, false)
		p.far.send(agreed)
		u.stream.Abort(nil)
		p.client.Close() // too late to mean anything
		p.loop.Settle()
		if !p.far.closed || p.closed != 1 || u.err != nil {
			t.Errorf("connection closed %v, told closed %d times, told %v", p.far.closed, p.closed, u.err)
		}
	})
}

// RFC 9110 section 7.8: another answer leaves the connection with HTTP; the
// user ends its side of what did not come about, one way or the other.
func TestClientUpgradeRefused(t *testing.T) {
	for _, abort := range []bool{false, true} {
		p := newPhone(Limits{})
		u := p.call(&message.Request{Method: "GET", Authority: "a", Path: "/", Upgrade: "x"}, false)
		p.far.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno")
		if !u.ended || p.free != 0 {
			t.Fatalf("ended %v, free %d; want an answer, and a stream that is not over", u.ended, p.free)
		}
		if abort {
			u.stream.Abort(nil)
		} else {
			u.stream.End(nil)
		}
		p.loop.Settle()
		if p.free != 1 || p.client.Free() != 1 || u.err != nil {
			t.Errorf("free %d, Free %d, told %v; want a free connection", p.free, p.client.Free(), u.err)
		}
	}
}
