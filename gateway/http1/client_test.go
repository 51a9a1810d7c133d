package http1

import (
	"strings"
	"testing"

	"fairway.dev/gateway/message"
)

func TestRequests(t *testing.T) {
	post := func(length int64) message.Request {
		return message.Request{Method: "POST", Authority: "a", Path: "/", Length: length}
	}
	with := func(r message.Request, pairs ...string) message.Request {
		for i := 0; i < len(pairs); i += 2 {
			r.Fields.Append(pairs[i], pairs[i+1])
		}
		return r
	}
	trailing := post(message.Unknown)
	trailing.Trailers = true
	upgrade := message.Request{Method: "GET", Authority: "a", Path: "/", Upgrade: "websocket"}
	tests := []struct {
		section string // of RFC 9112, unless it says otherwise
		req     message.Request
		body    string
		last    bool
		tail    string
		want    string
	}{
		{"3", message.Request{Method: "GET", Authority: "a:81", Path: "/b", Query: "?c", Proto: message.HTTP2}, "", true, "",
			"GET /b?c HTTP/1.1\r\nHost: a:81\r\n\r\n"},
		{"3.2 no authority", message.Request{Method: "GET", Path: "/", Proto: message.HTTP10}, "", true, "",
			"GET / HTTP/1.1\r\nHost: \r\n\r\n"},
		{"3.2.4", message.Request{Method: "OPTIONS", Authority: "a", Path: "*"}, "", true, "",
			"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"6.2", post(2), "hi", false, "", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"},
		{"RFC 9110 8.6 content is expected", post(0), "", true, "", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"},
		{"6.2 nothing comes after all", post(0), "", false, "", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"},
		{"7.1", post(message.Unknown), "hi", false, "", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"},
		{"7.1.2", trailing, "hi", false, "x-sum", "POST / HTTP/1.1\r\nHost: a\r\nConnection: TE\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-sum: 1\r\n\r\n"},
		{"RFC 9110 7.8", upgrade, "", false, "", "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"},
		{"RFC 9110 7.6.1 fields of one hop", with(post(0), "x-a", "1", "connection", "x", "host", "b", "content-length", "1", "transfer-encoding", "x", "te", "x"), "", true, "",
			"POST / HTTP/1.1\r\nHost: a\r\nx-a: 1\r\nContent-Length: 0\r\n\r\n"},
	}
	for _, tt := range tests {
		p := newPhone(Limits{})
		u := p.call(&tt.req, tt.last)
		if !tt.last {
			if tt.body != "" {
				u.stream.Data([]byte(tt.body))
			}
			var tail message.Fields
			if tt.tail != "" {
				tail.Append(tt.tail, "1")
			}
			u.stream.End(tail)
		}
		if got := p.far.take(); got != tt.want {
			t.Errorf("%s:\n got  %q\n want %q", tt.section, got, tt.want)
		}
		p.far.send("HTTP/1.1 204 No Content\r\n\r\n")
		if !u.ended || p.free != 1 || p.client.Free() != 1 {
			t.Errorf("%s: ended %v, free %d, Free %d; want an answer and a free connection", tt.section, u.ended, p.free, p.client.Free())
		}
	}
}

func TestResponsesOfBackends(t *testing.T) {
	head := get("/")
	head.Method = "HEAD"
	tests := []struct {
		section string // of RFC 9112, unless it says otherwise
		req     *message.Request
		in      string
		head    string
		body    string
		tail    string
		stays   bool
	}{
		{"6.2", get("/"), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: y\r\n\r\nhi", `HTTP/1.1 200 "OK" 2 [X: y]`, "hi", "", true},
		{"6.2 nothing", get("/"), "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", `HTTP/1.1 200 "OK" 0 `, "", "", true},
		{"4 no reason", get("/"), "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", `HTTP/1.1 200 "" 0 `, "", "", true},
		{"4 nor a space", get("/"), "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", `HTTP/1.1 200 "" 0 `, "", "", true},
		{"7.1", get("/"), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX: y\r\n\r\n", `HTTP/1.1 200 "OK" -1 `, "hi", "[X: y]", true},
		{"9.6", get("/"), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi", `HTTP/1.1 200 "OK" 2 `, "hi", "", false},
		{"9.3 HTTP/1.0", get("/"), "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", `HTTP/1.0 200 "OK" 2 `, "hi", "", false},
		{"9.3 HTTP/1.0 that stays", get("/"), "HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nhi", `HTTP/1.0 200 "OK" 2 `, "hi", "", true},
		{"6.3 HEAD", head, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", `HTTP/1.1 200 "OK" 9 `, "", "", true},
		{"6.3 HEAD, chunked", head, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", `HTTP/1.1 200 "OK" -1 `, "", "", true},
		{"6.3 204", get("/"), "HTTP/1.1 204 No Content\r\n\r\n", `HTTP/1.1 204 "No Content" -1 `, "", "", true},
		{"6.3 204 with a length that says nothing", get("/"), "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", `HTTP/1.1 204 "No Content" 0 `, "", "", true},
		{"6.3 204 with a length", get("/"), "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n", `HTTP/1.1 204 "No Content" 2 `, "", "", false},
		{"6.3 304", get("/"), "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", `HTTP/1.1 304 "Not Modified" 9 `, "", "", true},
		{"RFC 9110 7.6.1 fields of one hop", get("/"), "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: x-one\r\nX-One: 1\r\nX-Two: 2\r\nKeep-Alive: 5\r\nUpgrade: h2\r\n\r\n", `HTTP/1.1 200 "OK" 0 [X-Two: 2]`, "", "", true},
	}
	for _, tt := range tests {
		p := newPhone(Limits{})
		u := p.call(tt.req, true)
		p.far.send(tt.in)
		if len(u.heads) != 1 || u.heads[0] != tt.head || u.body.String() != tt.body || u.tail != tt.tail || !u.ended || u.err != nil {
			t.Errorf("%s: %q came as %q, body %q, trailers %q, ended %v, error %v\n want %q, %q, %q", tt.section, tt.in, u.heads, u.body.String(), u.tail, u.ended, u.err, tt.head, tt.body, tt.tail)
		}
		if p.far.over() == tt.stays || (p.free == 1) != tt.stays || (p.closed == 1) == tt.stays || p.err != nil {
			t.Errorf("%s: %q: over %v, told free %d and closed %d with %v; want that it stays: %v", tt.section, tt.in, p.far.over(), p.free, p.closed, p.err, tt.stays)
		}
	}
}

// RFC 9112 section 6.3: without any other sign the body ends with the
// connection.
func TestBodyUntilTheEnd(t *testing.T) {
	p := newPhone(Limits{})
	u := p.call(get("/"), true)
	p.far.send("HTTP/1.1 200 OK\r\n\r\nhi ")
	p.far.send("there")
	if u.ended {
		t.Fatal("ended before the connection")
	}
	p.far.Finish()
	p.loop.Settle()
	if u.body.String() != "hi there" || !u.ended || u.err != nil || p.closed != 1 || p.free != 0 {
		t.Errorf("body %q, ended %v, error %v, closed %d; want all of it", u.body.String(), u.ended, u.err, p.closed)
	}
	p = newPhone(Limits{})
	u = p.call(get("/"), true)
	p.far.send("HTTP/1.1 200 OK\r\n\r\nhi")
	p.far.PipeConn.Close()
	p.loop.Settle()
	if u.ended || u.reason() != message.Gone {
		t.Errorf("after a reset: ended %v, error %v; want Gone", u.ended, u.err)
	}
}

func TestRefusedResponses(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\n"
	tests := []struct {
		section string // of RFC 9112, unless it says otherwise
		in      string
		want    Refusal
		reason  message.Reason
	}{
		{"2.2 bare LF", "HTTP/1.1 200 OK\nContent-Length: 0\n\n", BadLineEnd, message.Malformed},
		{"2.2 bare LF", ok + "Content-Length: 0\n\r\n", BadLineEnd, message.Malformed},
		{"2.2 bare CR", ok + "X: a\rSet-Cookie: b\r\n\r\n", BadLineEnd, message.Malformed},
		{"2.2 an empty line before", "\r\n" + ok + "\r\n", BadStartLine, message.Malformed},
		{"2.3", "HTTP/2.0 200 OK\r\n\r\n", BadVersion, message.Malformed},
		{"2.3", "HTTP/1.10 200 OK\r\n\r\n", BadStartLine, message.Malformed},
		{"4 not HTTP", "SSH-2.0-OpenSSH\r\n", BadStartLine, message.Malformed},
		{"4 no status", "HTTP/1.1 OK\r\n\r\n", BadStartLine, message.Malformed},
		{"4 two digits", "HTTP/1.1 20 OK\r\n\r\n", BadStartLine, message.Malformed},
		{"4 four digits", "HTTP/1.1 2000 OK\r\n\r\n", BadStartLine, message.Malformed},
		{"4 two spaces", "HTTP/1.1  200 OK\r\n\r\n", BadStartLine, message.Malformed},
		{"4 a control character in the reason", "HTTP/1.1 200 O\x00K\r\n\r\n", BadStartLine, message.Malformed},
		{"4 bare CR in the reason", "HTTP/1.1 200 O\rK\r\n\r\n", BadStartLine, message.Malformed},
		{"RFC 9110 15", "HTTP/1.1 2x0 Odd\r\n\r\n", BadStatus, message.Malformed},
		{"RFC 9110 15", "HTTP/1.1 099 Odd\r\n\r\n", BadStatus, message.Malformed},
		{"RFC 9110 15", "HTTP/1.1 600 Odd\r\n\r\n", BadStatus, message.Malformed},
		{"RFC 9110 7.8 an upgrade that nobody asked for", "HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", BadStatus, message.Malformed},
		{"5.1", ok + "X : y\r\n\r\n", BadName, message.Malformed},
		{"5.1", ok + "X\r\n\r\n", BadName, message.Malformed},
		{"5.2", ok + "X: y\r\n z\r\n\r\n", FoldedLine, message.Malformed},
		{"RFC 9110 5.5", ok + "X: \x00\r\n\r\n", BadValue, message.Malformed},
		{"6.1", ok + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", BothLengths, message.Malformed},
		{"6.1", ok + "Transfer-Encoding: gzip, chunked\r\n\r\n", UnknownCoding, message.Malformed},
		{"6.1", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", BadCoding, message.Malformed},
		{"6.3", ok + "Transfer-Encoding: gzip\r\n\r\n", BadCoding, message.Malformed},
		{"6.3", ok + "Content-Length: 5\r\nContent-Length: 6\r\n\r\n", SeveralLengths, message.Malformed},
		{"6.3", ok + "Content-Length: 5, 5\r\n\r\n", SeveralLengths, message.Malformed},
		{"6.3", ok + "Content-Length: -1\r\n\r\n", BadLength, message.Malformed},
		{"7.1", ok + "Transfer-Encoding: chunked\r\n\r\n5 \r\nhello", BadChunk, message.Malformed},
		{"7.1.2", ok + "Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 1\r\n\r\n", BadTrailer, message.Malformed},
		{"a large head", ok + "X: " + strings.Repeat("a", 1<<20) + "\r\n\r\n", HeadTooLarge, message.TooLarge},
		{"a large head in parts", ok + strings.Repeat("X: "+strings.Repeat("a", 1000)+"\r\n", 100), HeadTooLarge, message.TooLarge},
		{"a long status line", "HTTP/1.1 200 " + strings.Repeat("a", 1<<20), LineTooLong, message.TooLarge},
		{"many fields", ok + strings.Repeat("X: y\r\n", 10000), TooManyFields, message.TooLarge},
		{"many interim responses", strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 1000), TooManyInterim, message.TooLarge},
	}
	for _, tt := range tests {
		p := newPhone(Limits{})
		u := p.call(get("/"), true)
		p.far.send(tt.in)
		if len(p.refused) != 1 || p.refused[0] != tt.want.String() || u.reason() != tt.reason || u.ended {
			t.Errorf("%s: %.80q: refused as %v, ended %v, error %v; want %s, %s", tt.section, tt.in, p.refused, u.ended, u.err, tt.want, tt.reason)
		}
		if !p.far.closed || p.closed != 1 || p.err == nil || p.client.Free() != 0 || p.free != 0 {
			t.Errorf("%s: %.80q: the connection is not over", tt.section, tt.in)
		}
	}
}

// RFC 9112 section 9.2, and response splitting: what comes behind a response
// must not answer the next request.
func TestUnsolicitedBytes(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
	t.Run("behind a response", func(t *testing.T) {
		p := newPhone(Limits{})
		u := p.call(get("/"), true)
		p.far.send(ok + ok)
		if !u.ended || u.err != nil || len(u.heads) != 1 || p.free != 0 || p.closed != 1 || p.err == nil {
			t.Errorf("heads %q, error %v, free %d, closed %d with %v; want one head and a closed connection", u.heads, u.err, p.free, p.closed, p.err)
		}
	})
	t.Run("while idle", func(t *testing.T) {
		p := newPhone(Limits{})
		p.far.send("HTTP/1.1 408 Request Timeout\r\n\r\n")
		if p.closed != 1 || p.err == nil || p.client.Free() != 0 {
			t.Errorf("closed %d with %v, Free %d; want a closed connection", p.closed, p.err, p.client.Free())
		}
	})
}

func TestInterimResponsesOfBackends(t *testing.T) {
	p := newPhone(Limits{})
	u := p.call(&message.Request{Method: "PUT", Authority: "a", Path: "/", Length: 2}, false)
	p.far.send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
	u.stream.Data([]byte("hi"))
	u.stream.End(nil)
	p.far.send("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
	want := `HTTP/1.1 100 "Continue" -1 ; HTTP/1.1 103 "Early Hints" -1 [Link: </a>]; HTTP/1.1 201 "Created" 0 `
	if got := strings.Join(u.heads, "; "); got != want || !u.ended || p.free != 1 {
		t.Errorf("heads %q, ended %v, free %d; want %q", got, u.ended, p.free, want)
	}
}

func TestBackendGoesAway(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
	tests := []struct {
		what   string
		served int // requests before
		answer string
		end    func(p *phone)
		unused bool
	}{
		{"closed, on a new connection", 0, "", func(p *phone) { p.far.Finish() }, false},
		{"reset, on a new connection", 0, "", func(p *phone) { p.far.PipeConn.Close() }, false},
		{"closed, on one that was used", 1, "", func(p *phone) { p.far.Finish() }, true},
		{"reset, on one that was used", 2, "", func(p *phone) { p.far.PipeConn.Close() }, true},
		{"one byte of a response came", 1, "H", func(p *phone) { p.far.Finish() }, false},
		{"a head came", 1, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nh", func(p *phone) { p.far.Finish() }, false},
		{"a chunked body lacks its end", 1, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nh\r\n", func(p *phone) { p.far.Finish() }, false},
	}
	for _, tt := range tests {
		p := newPhone(Limits{})
		for range tt.served {
			p.call(get("/"), true)
			p.far.send(ok)
		}
		u := p.call(get("/"), true)
		p.far.send(tt.answer)
		tt.end(p)
		p.loop.Settle()
		err, _ := u.err.(*message.Error)
		if err == nil || err.Reason != message.Gone || err.Unused != tt.unused || u.ended {
			t.Errorf("%s: ended %v, error %+v; want Gone with Unused %v", tt.what, u.ended, err, tt.unused)
		}
		if p.closed != 1 || p.client.Free() != 0 {
			t.Errorf("%s: told closed %d times, Free %d", tt.what, p.closed, p.client.Free())
		}
	}
}

func TestIdleBackendCloses(t *testing.T) {
	p := newPhone(Limits{})
	p.far.Finish()
	p.loop.Settle()
	if p.closed != 1 || p.err != nil || p.client.Free() != 0 {
		t.Errorf("closed %d with %v, Free %d; want once, nil, 0", p.closed, p.err, p.client.Free())
	}
}

// RFC 9112 section 9.5: a backend may answer before it has the whole request.
func TestResponseBeforeTheRequestEnded(t *testing.T) {
	const ok = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n"
	post := &message.Request{Method: "POST", Authority: "a", Path: "/", Length: 4}
	t.Run("the request ends", func(t *testing.T) {
		p := newPhone(Limits{})
		u := p.call(post, false)
		p.far.send(ok + "\r\n")
		if !u.ended || p.free != 0 || p.client.Free() != 0 {
			t.Fatalf("ended %v, free %d; want a response, and no free connection", u.ended, p.free)
		}
		u.stream.Data([]byte("body"))
		u.stream.End(nil)
		if p.free != 0 {
			t.Error("told free from inside a call")
		}
		p.loop.Settle()
		if p.free != 1 || p.client.Free() != 1 {
			t.Errorf("free %d, Free %d; want 1, 1", p.free, p.client.Free())
		}
	})
	t.Run("the request is given up", func(t *testing.T) {
		p := newPhone(Limits{})
		u := p.call(post, false)
		p.far.send(ok + "\r\n")
		u.stream.Abort(nil)
		p.loop.Settle()
		if p.free != 0 || p.closed != 1 || u.err != nil {
			t.Errorf("free %d, closed %d, told %v; want a closed connection and nothing told", p.free, p.closed, u.err)
		}
	})
	t.Run("the backend closes", func(t *testing.T) {
		p := newPhone(Limits{})
		u := p.call(post, false)
		p.far.send(ok + "Connection: close\r\n\r\n")
		u.stream.Data([]byte("body"))
		u.stream.End(nil)
		p.loop.Settle()
		if !u.ended || u.reason() != message.Gone || p.free != 0 || p.closed != 1 {
			t.Errorf("ended %v, told %v, free %d, closed %d", u.ended, u.err, p.free, p.closed)
		}
	})
}

// A body that is not as long as its head said, or a head that cannot be sent,
// never reaches the backend as something else.
func TestUnsendableRequests(t *testing.T) {
	tests := []struct {
		what string
		req  message.Request
		last bool
		data string
		want message.Reason
		sent string
	}{
		{"a space in the target", message.Request{Method: "GET", Authority: "a", Path: "/a b"}, true, "", message.Malformed, ""},
		{"a line in the target", message.Request{Method: "GET", Authority: "a", Path: "/a", Query: "?\r\nX: y"}, true, "", message.Malformed, ""},
		{"a line in the method", message.Request{Method: "GET\r\n", Authority: "a", Path: "/"}, true, "", message.Malformed, ""},
		{"a line in the host", message.Request{Method: "GET", Authority: "a\r\nX: y", Path: "/"}, true, "", message.Malformed, ""},
		{"no path", message.Request{Method: "GET", Authority: "a"}, true, "", message.Malformed, ""},
		{"a length and no body", message.Request{Method: "GET", Authority: "a", Path: "/", Length: 1}, true, "", message.Malformed, ""},
		{"too long a body", message.Request{Method: "PUT", Authority: "a", Path: "/", Length: 1}, false, "hi", message.Cancelled, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n"},
		{"too short a body", message.Request{Method: "PUT", Authority: "a", Path: "/", Length: 3}, false, "hi", message.Cancelled, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nhi"},
		{"a body where an upgrade was asked for", message.Request{Method: "GET", Authority: "a", Path: "/", Upgrade: "x"}, false, "hi", message.Cancelled, "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"},
	}
	for _, tt := range tests {
		p := newPhone(Limits{})
		u := &user{}
		u.stream = p.client.Open(&tt.req, tt.last, u)
		p.ours.Flush()
		if !tt.last {
			p.loop.Settle()
			u.stream.Data([]byte(tt.data))
			p.loop.Settle()
			u.stream.End(nil)
		}
		if tt.want == message.Malformed && u.err != nil {
			t.Errorf("%s: told from inside Open", tt.what)
		}
		if got := p.far.take(); got != tt.sent || u.reason() != tt.want {
			t.Errorf("%s: sent %q and told %v, want %q and %s", tt.what, got, u.err, tt.sent, tt.want)
		}
		if stays := p.free == 1 && p.client.Free() == 1; stays != (tt.sent == "") {
			t.Errorf("%s: the connection goes on: %v, want %v", tt.what, stays, tt.sent == "")
		}
	}
}

func TestClientCloseAndDrain(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
	t.Run("close, idle", func(t *testing.T) {
		p := newPhone(Limits{})
		p.client.Close()
		told := p.closed
		p.loop.Settle()
		if told != 0 || p.closed != 1 || p.err != nil || !p.far.closed {
			t.Errorf("told %d times at once, %d in all with %v", told, p.closed, p.err)
		}
	})
	t.Run("close, busy", func(t *testing.T) {
		p := newPhone(Limits{})
		u := p.call(get("/"), true)
		p.client.Close()
		early := u.err
		p.loop.Settle()
		if early != nil || u.reason() != message.Cancelled || p.closed != 1 || p.err != nil {
			t.Errorf("told %v at once, %v in all; closed %d with %v", early, u.err, p.closed, p.err)
		}
	})
	t.Run("drain, idle", func(t *testing.T) {
		p := newPhone(Limits{})
		p.client.Drain()
		p.loop.Settle()
		if p.closed != 1 || p.err != nil || p.client.Free() != 0 {
			t.Errorf("closed %d with %v, Free %d", p.closed, p.err, p.client.Free())
		}
	})
	t.Run("drain, busy", func(t *testing.T) {
		p := newPhone(Limits{})
		u := p.call(get("/"), true)
		p.client.Drain()
		p.far.send(ok)
		if !u.ended || u.err != nil || p.closed != 1 || p.err != nil || p.free != 0 {
			t.Errorf("ended %v, told %v, closed %d with %v, free %d", u.ended, u.err, p.closed, p.err, p.free)
		}
	})
	t.Run("abort", func(t *testing.T) {
		p := newPhone(Limits{})
		u := p.call(get("/"), true)
		u.stream.Abort(nil)
		p.far.send(ok)
		if u.err != nil || len(u.heads) > 0 || p.closed != 1 || !p.far.closed {
			t.Errorf("heard %q, told %v, closed %d", u.heads, u.err, p.closed)
		}
	})
	t.Run("abort of what could not be sent", func(t *testing.T) {
		p := newPhone(Limits{})
		u := &user{}
		u.stream = p.client.Open(&message.Request{Method: "GET", Path: "/ "}, true, u)
		u.stream.Abort(nil)
		p.loop.Settle()
		if u.err != nil || p.closed != 1 || p.free != 0 {
			t.Errorf("told %v, closed %d, free %d", u.err, p.closed, p.free)
		}
	})
	t.Run("abort before hearing of a broken body", func(t *testing.T) {
		p := newPhone(Limits{})
		u := p.call(&message.Request{Method: "PUT", Authority: "a", Path: "/", Length: 1}, false)
		u.stream.Data([]byte("hi"))
		u.stream.Abort(nil)
		p.loop.Settle()
		if u.err != nil || p.closed != 1 || p.free != 0 {
			t.Errorf("told %v, closed %d, free %d", u.err, p.closed, p.free)
		}
	})
	t.Run("abort from inside Head", func(t *testing.T) {
		p := newPhone(Limits{})
		u := p.call(get("/"), true)
		u.onHead = func(*message.Response, bool) { u.stream.Abort(nil) }
		p.far.send(ok)
		if u.err != nil || p.closed != 1 || p.free != 0 {
			t.Errorf("told %v, closed %d, free %d", u.err, p.closed, p.free)
		}
	})
}

// The owner may send the next request from inside OnFree.
func TestOpenInOnFree(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
	p := newPhone(Limits{})
	second := &user{}
	p.client.opts.OnFree = func(c *Client) {
		if p.free++; p.free == 1 {
			second.stream = c.Open(get("/2"), true, second)
		}
	}
	p.call(get("/1"), true)
	p.far.send(ok)
	if got := p.far.take(); !strings.HasPrefix(got, "GET /1 ") || !strings.Contains(got, "GET /2 ") {
		t.Fatalf("sent %q, want both requests", got)
	}
	p.far.send(ok)
	if !second.ended || p.free != 2 {
		t.Errorf("second ended %v, free %d; want true, 2", second.ended, p.free)
	}
}
