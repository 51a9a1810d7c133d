package http1

import (
	"strings"
	"testing"
	"time"

	"fairway.dev/gateway/message"
)

func TestKeepAlive(t *testing.T) {
	tests := []struct {
		section string // of RFC 9112
		in      string
		ending  string // the field in the answer
		stays   bool
	}{
		{"9.3", begun + "\r\n", "", true},
		{"9.3", begun + "Connection: keep-alive\r\n\r\n", "", true},
		{"9.6", begun + "Connection: close\r\n\r\n", "Connection: close\r\n", false},
		{"9.6", begun + "Connection: keep-alive, CLOSE\r\n\r\n", "Connection: close\r\n", false},
		{"9.3 HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", "Connection: close\r\n", false},
		{"9.3 HTTP/1.0", "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "Connection: keep-alive\r\n", true},
	}
	for _, tt := range tests {
		d := newDesk(Limits{})
		d.answer = func(u *user) { u.ok("hi") }
		d.far.send(tt.in)
		want := "HTTP/1.1 200 OK\r\n" + noonField + "Content-Length: 2\r\n" + tt.ending + "\r\nhi"
		if got := d.far.take(); got != want || d.far.over() == tt.stays {
			t.Errorf("%s: %q: got %q, over %v; want %q, %v", tt.section, tt.in, got, d.far.over(), want, !tt.stays)
		}
		d.far.send(tt.in)
		if stayed := len(d.said) == 2; stayed != tt.stays {
			t.Errorf("%s: %q: a second request was served: %v, want %v", tt.section, tt.in, stayed, tt.stays)
		}
	}
}

// RFC 9112 section 9.3.2: responses come in the order of the requests.
func TestPipelining(t *testing.T) {
	d := newDesk(Limits{})
	var in strings.Builder
	for _, path := range []string{"/1", "/2", "/3"} {
		in.WriteString("POST " + path + " HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n" + path)
	}
	d.far.send(in.String() + "GET /4 HTTP/1.1\r\nHo")
	for i, path := range []string{"/1", "/2", "/3"} {
		if len(d.users) != i+1 {
			t.Fatalf("%d requests came before response %d, want one at a time", len(d.users), i+1)
		}
		u := d.users[i]
		if !u.ended || u.body.String() != path {
			t.Fatalf("request %d: body %q, ended %v; want %q", i, u.body.String(), u.ended, path)
		}
		u.ok(path)
		if got := d.far.take(); got != okText(path) {
			t.Fatalf("response %d is %q, want %q", i, got, okText(path))
		}
	}
	d.far.send("st: a\r\n\r\n")
	if len(d.said) != 4 || d.said[3] != "HTTP/1.1 GET a /4|  0" {
		t.Fatalf("requests %q, want a fourth", d.said)
	}
	if d.server.kept != nil {
		t.Error("an empty buffer is kept")
	}
}

// Answers that come at once, from inside Exchange, need no detour.
func TestPipeliningAnsweredAtOnce(t *testing.T) {
	d := newDesk(Limits{})
	d.answer = func(u *user) { u.ok(u.req.Path) }
	d.far.send(strings.Repeat("GET /x HTTP/1.1\r\nHost: a\r\n\r\n", 100))
	if got := d.far.take(); got != strings.Repeat(okText("/x"), 100) {
		t.Errorf("answered %d requests with %d bytes", len(d.said), len(got))
	}
}

// While a pipelined request waits, nothing more is read.
func TestPipeliningIsBounded(t *testing.T) {
	d := newDesk(Limits{})
	d.far.send(begun + "\r\n" + begun + "\r\n")
	d.far.send(strings.Repeat("x", 1<<20))
	if n := d.far.Queued(); n != 1<<20 {
		t.Errorf("%d bytes wait at the client, want all", n)
	}
}

// A client that sends requests and reads no responses does not fill our memory.
func TestPipeliningWithoutReading(t *testing.T) {
	const requests = 10000
	d := newDesk(Limits{})
	body := strings.Repeat("x", 1000)
	d.answer = func(u *user) { u.ok(body) }
	d.ours.Block()
	d.far.send(strings.Repeat("GET /x HTTP/1.1\r\nHost: a\r\n\r\n", requests))
	if n := len(d.said) * len(okText(body)); n > 2*message.HighWater {
		t.Fatalf("%d bytes of responses wait, want little more than %d", n, message.HighWater)
	}
	d.ours.Unblock()
	if got := d.far.take(); len(got) != requests*len(okText(body)) || len(d.said) != requests {
		t.Errorf("%d requests served with %d bytes, want all", len(d.said), len(got))
	}
}

// The user may answer from inside any call that it hears.
func TestAnswerFromInside(t *testing.T) {
	for _, from := range []string{"Data", "End"} {
		d := newDesk(Limits{})
		d.answer = func(u *user) {
			once := func() {
				if u.stream != nil {
					u.stream = nil
					u.ok("hi")
				}
			}
			if from == "Data" {
				u.onData = func([]byte) { once() }
			} else {
				u.onEnd = once
			}
		}
		for range 2 {
			d.far.send(chunkedPost + "2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n")
			if got := d.far.take(); got != okText("hi") || d.server.phase != idle {
				t.Errorf("from %s: got %q in phase %d", from, got, d.server.phase)
			}
		}
	}
}

func TestResponses(t *testing.T) {
	const get10 = "GET / HTTP/1.0\r\n\r\n"
	fields := func(pairs ...string) (f message.Fields) {
		for i := 0; i < len(pairs); i += 2 {
			f.Append(pairs[i], pairs[i+1])
		}
		return f
	}
	tests := []struct {
		section string // of RFC 9112, unless it says otherwise
		in      string
		resp    message.Response
		body    string
		last    bool
		tail    message.Fields
		want    string
		stays   bool
	}{
		{"6.2", begun + "\r\n", message.Response{Status: 200, Length: 2}, "hi", false, nil,
			"HTTP/1.1 200 OK\r\n" + noonField + "Content-Length: 2\r\n\r\nhi", true},
		{"6.2 no body", begun + "\r\n", message.Response{Status: 404, Length: 0}, "", true, nil,
			"HTTP/1.1 404 Not Found\r\n" + noonField + "Content-Length: 0\r\n\r\n", true},
		{"6.2 no body after all", begun + "\r\n", message.Response{Status: 200, Length: message.Unknown}, "", true, nil,
			"HTTP/1.1 200 OK\r\n" + noonField + "Content-Length: 0\r\n\r\n", true},
		{"7.1", begun + "\r\n", message.Response{Status: 200, Length: message.Unknown}, "hi", false, nil,
			"HTTP/1.1 200 OK\r\n" + noonField + "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", true},
		{"7.1.2", begun + "\r\n", message.Response{Status: 200, Length: message.Unknown}, "hi", false, fields("x-sum", "1", "content-length", "7"),
			"HTTP/1.1 200 OK\r\n" + noonField + "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-sum: 1\r\n\r\n", true},
		{"6.3 until the end", get10, message.Response{Status: 200, Length: message.Unknown}, "hi", false, nil,
			"HTTP/1.1 200 OK\r\n" + noonField + "Connection: close\r\n\r\nhi", false},
		{"6.3 until the end, though it asked to stay", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", message.Response{Status: 200, Length: message.Unknown}, "hi", false, nil,
			"HTTP/1.1 200 OK\r\n" + noonField + "Connection: close\r\n\r\nhi", false},
		{"RFC 9110 9.3.2 HEAD", "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", message.Response{Status: 200, Length: 5}, "", true, nil,
			"HTTP/1.1 200 OK\r\n" + noonField + "Content-Length: 5\r\n\r\n", true},
		{"RFC 9110 9.3.2 HEAD with a body", "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", message.Response{Status: 200, Length: 5}, "hello", false, nil,
			"HTTP/1.1 200 OK\r\n" + noonField + "Content-Length: 5\r\n\r\n", true},
		{"RFC 9110 9.3.2 HEAD of no known length", "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", message.Response{Status: 200, Length: message.Unknown}, "", true, nil,
			"HTTP/1.1 200 OK\r\n" + noonField + "\r\n", true},
		{"RFC 9110 8.6 204 has no length", begun + "\r\n", message.Response{Status: 204, Length: 0}, "", true, nil,
			"HTTP/1.1 204 No Content\r\n" + noonField + "\r\n", true},
		{"RFC 9110 15.4.5 304", begun + "\r\n", message.Response{Status: 304, Length: 7}, "", true, nil,
			"HTTP/1.1 304 Not Modified\r\n" + noonField + "Content-Length: 7\r\n\r\n", true},
		{"RFC 9110 15.4.5 304 of our own", begun + "\r\n", message.Response{Status: 304}, "", true, nil,
			"HTTP/1.1 304 Not Modified\r\n" + noonField + "\r\n", true},
		{"4 another reason", begun + "\r\n", message.Response{Status: 299, Reason: "Odd \xff"}, "", true, nil,
			"HTTP/1.1 299 Odd \xff\r\n" + noonField + "Content-Length: 0\r\n\r\n", true},
		{"RFC 9110 6.6.1 the origin's Date stays", begun + "\r\n", message.Response{Status: 200, Fields: fields("date", "then")}, "", true, nil,
			"HTTP/1.1 200 OK\r\ndate: then\r\nContent-Length: 0\r\n\r\n", true},
		{"RFC 9110 7.6.1 fields of one hop", begun + "\r\n", message.Response{Status: 200, Fields: fields(
			"X-A", "1", "Connection", "close", "content-length", "9", "transfer-encoding", "chunked", "upgrade", "x", "keep-alive", "1", "Trailer", "X")}, "", true, nil,
			"HTTP/1.1 200 OK\r\nX-A: 1\r\nTrailer: X\r\n" + noonField + "Content-Length: 0\r\n\r\n", true},
	}
	for _, tt := range tests {
		d := newDesk(Limits{})
		d.far.send(tt.in)
		u := d.user(t)
		u.s.Head(&tt.resp, tt.last)
		if !tt.last {
			u.s.Data([]byte(tt.body))
			u.s.Data(nil)
			u.s.End(tt.tail)
		}
		if got := d.far.take(); got != tt.want || d.far.over() == tt.stays {
			t.Errorf("%s: %q\n got  %q, over %v\n want %q, over %v", tt.section, tt.in, got, d.far.over(), tt.want, !tt.stays)
		}
	}
}

// RFC 9112 section 6.3: a body that is not as long as its head said would make
// the client misread what follows.
func TestResponseOfAnotherLength(t *testing.T) {
	tests := []struct {
		what string
		do   func(s message.ServerStream)
	}{
		{"more", func(s message.ServerStream) {
			s.Head(&message.Response{Status: 200, Length: 2}, false)
			s.Data([]byte("hi!"))
		}},
		{"less", func(s message.ServerStream) {
			s.Head(&message.Response{Status: 200, Length: 2}, false)
			s.Data([]byte("h"))
			s.End(nil)
		}},
		{"none", func(s message.ServerStream) { s.Head(&message.Response{Status: 200, Length: 2}, true) }},
		{"a 101 that nobody asked for", func(s message.ServerStream) { s.Head(&message.Response{Status: 101}, false) }},
	}
	for _, tt := range tests {
		d := newDesk(Limits{})
		d.far.send(begun + "\r\n")
		u := d.user(t)
		tt.do(u.s)
		if u.err != nil {
			t.Errorf("%s: told from inside the call", tt.what)
		}
		if got := d.far.take(); !d.far.closed || strings.Contains(got, "!") || u.reason() != message.Cancelled {
			t.Errorf("%s: sent %q, closed %v, told %v", tt.what, got, d.far.closed, u.err)
		}
	}
}

// RFC 9110 section 15.2: any number of interim responses, none to HTTP/1.0.
func TestInterimResponses(t *testing.T) {
	hints := &message.Response{Status: 103}
	hints.Fields.Append("Link", "</a>")
	for _, tt := range []struct{ in, want string }{
		{begun + "Content-Length: 2\r\nExpect: 100-continue\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"},
		{"POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\n", ""},
	} {
		d := newDesk(Limits{})
		d.far.send(tt.in)
		u := d.user(t)
		u.s.Head(hints, false)
		u.s.Head(&message.Response{Status: 100}, false)
		if got := d.far.take(); got != tt.want {
			t.Errorf("%q: sent %q, want %q", tt.in, got, tt.want)
		}
		d.far.send("hi")
		u.ok("ho")
		if got := d.far.take(); !strings.HasSuffix(got, "ho") || u.body.String() != "hi" {
			t.Errorf("%q: sent %q, received %q", tt.in, got, u.body.String())
		}
	}
}

// RFC 9110 section 10.1.1: a client that is answered before it sends the body
// may leave it out, so the connection does not go on.
func TestFinalResponseInsteadOf100(t *testing.T) {
	d := newDesk(Limits{})
	d.far.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
	d.user(t).ok("no")
	want := "HTTP/1.1 200 OK\r\n" + noonField + "Content-Length: 2\r\nConnection: close\r\n\r\nno"
	if got := d.far.take(); got != want || !d.far.over() {
		t.Errorf("got %q, over %v; want %q", got, d.far.over(), want)
	}
}

func TestEarlyResponse(t *testing.T) {
	tests := []struct {
		what        string
		head        string
		first, rest string
		stays       bool
	}{
		{"a body that still comes is dropped", "Content-Length: 10\r\n", "01234", "56789", true},
		{"a chunked one too", "Transfer-Encoding: chunked\r\n", "5\r\n01234\r\n", "5\r\n01234\r\n0\r\nX: y\r\n\r\n", true},
		{"one whose trailers come", "Transfer-Encoding: chunked\r\n", "5\r\n01234\r\n0\r\nX:", "y\r\n\r\n", true},
		{"a body that is too large to drop", "Content-Length: 300000\r\n", "01234", "", false},
		{"a chunked one", "Transfer-Encoding: chunked\r\n", "", "493e0\r\n" + strings.Repeat("x", 300000), false},
		{"a malformed one", "Transfer-Encoding: chunked\r\n", "", "x", false},
	}
	for _, tt := range tests {
		d := newDesk(Limits{})
		d.far.send("POST / HTTP/1.1\r\nHost: a\r\n" + tt.head + "\r\n" + tt.first)
		u := d.user(t)
		u.ok("early")
		if got := d.far.take(); got != okText("early") {
			t.Errorf("%s: answered %q, want %q", tt.what, got, okText("early"))
		}
		heard := u.body.Len()
		d.far.send(tt.rest + begun + "\r\n")
		if u.body.Len() != heard || u.ended || u.err != nil {
			t.Errorf("%s: the user heard more after it had ended the response", tt.what)
		}
		if stayed := len(d.said) == 2 && !d.far.over(); stayed != tt.stays {
			t.Errorf("%s: the connection went on: %v, want %v", tt.what, stayed, tt.stays)
		}
	}
}

// A small message is one write: what a socket would make one system call of.
func TestOneFlushAMessage(t *testing.T) {
	c := newWire()
	d := &desk{loop: c.l}
	s := NewServer(c, plain, d, nil)
	d.answer = func(u *user) { u.ok("hi") }
	s.Data([]byte(begun + "\r\n"))
	if want := []int{len(okText("hi"))}; len(c.flushed) != 1 || c.flushed[0] != want[0] {
		t.Errorf("flushed %v, want %v", c.flushed, want)
	}
}

// RFC 9112 section 6.3: where the end of the connection is the end of the
// body, a body that breaks off must end otherwise.
func TestCutBodyEndsWithReset(t *testing.T) {
	for _, tt := range []struct {
		proto string
		cut   bool
	}{{"1.0", true}, {"1.0", false}, {"1.1", true}} {
		c := newWire()
		d := &desk{loop: c.l}
		s := NewServer(c, plain, d, nil)
		d.answer = func(u *user) {
			u.s.Head(&message.Response{Status: 200, Length: message.Unknown}, false)
			u.s.Data([]byte("hi"))
			if tt.cut {
				u.s.Abort(nil)
			} else {
				u.s.End(nil)
			}
		}
		s.Data([]byte("GET / HTTP/" + tt.proto + "\r\nHost: a\r\n\r\n"))
		if want := tt.cut && tt.proto == "1.0"; c.reset != want { // chunks say it themselves
			t.Errorf("HTTP/%s, cut %v: reset %v, want %v", tt.proto, tt.cut, c.reset, want)
		}
	}
}

func TestClientGoesAway(t *testing.T) {
	const half = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe"
	tests := []struct {
		what string
		in   string
		end  func(d *desk)
		want message.Reason
	}{
		{"closed in the middle of a body", half, func(d *desk) { d.far.CloseWrite() }, message.Gone},
		{"reset in the middle of a body", half, func(d *desk) { d.far.PipeConn.Close() }, message.Gone},
		{"reset while it waits for the response", begun + "\r\n", func(d *desk) { d.far.PipeConn.Close() }, message.Gone},
		{"closed while it waits, and nothing comes", begun + "\r\n", func(d *desk) {
			d.far.CloseWrite()
			d.loop.Advance(2 * time.Second)
		}, message.Gone},
		{"closed while it waits", begun + "\r\n", func(d *desk) {
			d.far.CloseWrite()
			d.loop.Advance(time.Second / 2)
		}, 0},
	}
	for _, tt := range tests {
		d := newDesk(Limits{})
		d.far.send(tt.in)
		u := d.user(t)
		tt.end(d)
		d.loop.Settle()
		if u.reason() != tt.want {
			t.Errorf("%s: told %v, want %q", tt.what, u.err, tt.want)
		}
		u.ok("late") // nobody minds
		u.s.Abort(nil)
		d.loop.Settle()
		if len(d.server.shared.requests) != 1 {
			t.Errorf("%s: the request was not recycled", tt.what)
		}
	}
}

// RFC 9112 section 9.6: a client may end its side and still read.
func TestHalfClose(t *testing.T) {
	d := newDesk(Limits{})
	d.far.send(begun + "\r\n" + begun + "\r\n")
	d.far.CloseWrite()
	d.loop.Settle()
	d.users[0].ok("one")
	if got := d.far.take(); got != okText("one") || len(d.users) != 2 {
		t.Fatalf("got %q, %d requests; want one response and another request", got, len(d.users))
	}
	u := d.users[1]
	u.s.Head(&message.Response{Status: 200, Length: 3}, false)
	d.loop.Advance(time.Minute) // once it has begun, a response takes its time
	u.s.Data([]byte("two"))
	u.s.End(nil)
	want := "HTTP/1.1 200 OK\r\n" + noonField + "Content-Length: 3\r\nConnection: close\r\n\r\ntwo"
	if got := d.far.take(); got != want || !d.far.over() {
		t.Errorf("got %q, over %v; want %q", got, d.far.over(), want)
	}
}

func TestAbortCutsTheConnection(t *testing.T) {
	d := newDesk(Limits{})
	d.far.send(chunkedPost)
	u := d.user(t)
	u.s.Head(&message.Response{Status: 200, Length: message.Unknown}, false)
	u.s.Data([]byte("half"))
	d.loop.Settle()
	u.s.Abort(&message.Error{Reason: message.Gone})
	d.far.send("5\r\nhello\r\n")
	if got := d.far.take(); strings.Contains(got, "\r\n0\r\n") || !d.far.closed || u.err != nil || u.body.Len() > 0 {
		t.Errorf("sent %q, closed %v, told %v and %q; want no end, and nothing told", got, d.far.closed, u.err, u.body.String())
	}
}

// What a client sent ahead goes with the connection.
func TestClosedWithRequestsWaiting(t *testing.T) {
	d := newDesk(Limits{})
	d.far.send(begun + "\r\n" + begun + "\r\n")
	u := d.user(t)
	d.far.PipeConn.Close()
	d.loop.Settle()
	u.ok("")
	d.loop.Settle()
	if len(d.users) != 1 || u.reason() != message.Gone || d.server.kept != nil {
		t.Errorf("%d requests came, told %v, kept %q", len(d.users), u.err, d.server.kept)
	}
}

// Law 12: Connection: close where it can still be said, and no request lost
// that has begun.
func TestDrain(t *testing.T) {
	t.Run("idle", func(t *testing.T) {
		d := newDesk(Limits{})
		d.server.Drain()
		d.loop.Advance(lastRequest - time.Millisecond)
		if d.far.eof {
			t.Error("a request that is on its way is lost")
		}
		d.loop.Advance(2 * time.Millisecond)
		if !d.far.eof {
			t.Error("an idle connection stays")
		}
	})
	t.Run("idle, and a request is on its way", func(t *testing.T) {
		d := newDesk(Limits{})
		d.server.Drain()
		d.loop.Advance(lastRequest / 2)
		d.far.send(begun + "\r\n")
		d.loop.Advance(lastRequest) // the answer may take longer
		d.user(t).ok("hi")
		if got := d.far.take(); !strings.Contains(got, "Connection: close\r\n") || !d.far.eof {
			t.Errorf("got %q, over %v; want Connection: close", got, d.far.eof)
		}
	})
	t.Run("in a head", func(t *testing.T) {
		d := newDesk(Limits{})
		d.far.send(begun)
		d.server.Drain()
		d.far.send("\r\n")
		d.user(t).ok("hi")
		if got := d.far.take(); !strings.Contains(got, "Connection: close\r\n") || !d.far.eof {
			t.Errorf("got %q, over %v; want Connection: close", got, d.far.eof)
		}
	})
	t.Run("in a response", func(t *testing.T) {
		d := newDesk(Limits{})
		d.far.send(begun + "\r\n")
		u := d.user(t)
		u.s.Head(&message.Response{Status: 200, Length: 2}, false)
		d.server.Drain()
		u.s.Data([]byte("hi"))
		u.s.End(nil)
		if got := d.far.take(); got != okText("hi") || !d.far.eof {
			t.Errorf("got %q, over %v; want the response, then the end", got, d.far.eof)
		}
	})
}
