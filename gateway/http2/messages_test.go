package http2

import (
	"crypto/tls"
	"strings"
	"testing"

	h2 "golang.org/x/net/http2"

	"fairway.dev/gateway/message"
)

// pseudo is a request head with some of its fields replaced: an empty value
// leaves one out.
func pseudo(replaced ...string) []string {
	var out []string
	for i := 0; i < len(get); i += 2 {
		value := get[i+1]
		for j := 0; j < len(replaced); j += 2 {
			if replaced[j] == get[i] {
				value = replaced[j+1]
			}
		}
		if value != "" {
			out = append(out, get[i], value)
		}
	}
	return out
}

func TestRequestHeads(t *testing.T) {
	const malformed = "" // answered by RST_STREAM
	tests := []struct {
		name   string
		fields []string
		want   string // what the handler sees
	}{
		{"a GET", get, "GET http shop.example /; end"},
		{"path and query", pseudo(":path", "/a/b?c=d?e"), "GET http shop.example /a/b?c=d?e; end"},
		{"OPTIONS *", pseudo(":method", "OPTIONS", ":path", "*"), "OPTIONS http shop.example *; end"},
		{"the scheme is the connection's", pseudo(":scheme", "https"), "GET http shop.example /; end"},
		{"8.3.1: Host without :authority", with(pseudo(":authority", ""), "host", "b.example"), "GET http b.example /; end"},
		{"8.3.1: Host that agrees", with(get, "host", "SHOP.example"), "GET http shop.example /; end"},
		{"8.3.1: Host that differs", with(get, "host", "evil.example"), malformed},
		{"8.3.1: Host twice", with(get, "host", "shop.example", "host", "shop.example"), malformed},
		{"8.3.1: neither Host nor :authority", pseudo(":authority", ""), malformed},
		{"8.3.1: :authority with user information", pseudo(":authority", "me@shop.example"), malformed},
		{"8.3.1: :authority with a space", pseudo(":authority", "shop example"), malformed},
		{"8.3: an unknown pseudo-field", with(get, ":color", "red"), malformed},
		{"8.3: a response's pseudo-field", with(get, ":status", "200"), malformed},
		{"8.3: a pseudo-field after others", []string{":method", "GET", ":scheme", "http", ":path", "/", "x", "y", ":authority", "a"}, malformed},
		{"8.3.1: an empty :path", []string{":method", "GET", ":scheme", "http", ":path", "", ":authority", "a"}, malformed},
		{"8.3.1: no :method", pseudo(":method", ""), malformed},
		{"8.3.1: no :scheme", pseudo(":scheme", ""), malformed},
		{"8.3.1: no :path", pseudo(":path", ""), malformed},
		{"8.3: :method twice", with(get[:2], get...), malformed},
		{"8.3: :path twice", with([]string{":path", "/"}, get...), malformed},
		{"8.3: :scheme twice", with([]string{":scheme", "http"}, get...), malformed},
		{"8.3: :authority twice", with([]string{":authority", "shop.example"}, get...), malformed},
		{"8.3.1: * with GET", pseudo(":path", "*"), malformed},
		{"8.3.1: a relative :path", pseudo(":path", "cart"), malformed},
		{"8.3.1: a :path with a space", pseudo(":path", "/ HTTP/1.1"), malformed},
		{"8.3.1: a :path with a fragment", pseudo(":path", "/#a"), malformed},
		{"8.3.1: a :path with a line end", pseudo(":path", "/\r\nx: y"), malformed},
		{"8.3.1: a :method that is no token", pseudo(":method", "GET /"), malformed},
		{"8.3.1: a :scheme that is not HTTP's", pseudo(":scheme", "ftp"), malformed},
		{"8.2.1: a name in upper case", with(get, "X-Shop", "1"), malformed},
		{"8.2.1: a name with a space", with(get, "x shop", "1"), malformed},
		{"8.2.1: a name with a colon", with(get, "x:shop", "1"), malformed},
		{"8.2.1: an empty name", with(get, "", "1"), malformed},
		{"8.2.1: a value with CR", with(get, "x", "a\rb"), malformed},
		{"8.2.1: a value with LF", with(get, "x", "a\nb"), malformed},
		{"8.2.1: a value with NUL", with(get, "x", "a\x00b"), malformed},
		{"8.2.1: a value with white space before it", with(get, "x", " a"), malformed},
		{"8.2.1: a value with white space behind it", with(get, "x", "a\t"), malformed},
		{"a value with UTF-8", with(get, "x", "\u00e4 b"), "GET http shop.example /, x: \u00e4 b; end"},
		{"8.2.2: connection", with(get, "connection", "keep-alive"), malformed},
		{"8.2.2: keep-alive", with(get, "keep-alive", "5"), malformed},
		{"8.2.2: proxy-connection", with(get, "proxy-connection", "close"), malformed},
		{"8.2.2: transfer-encoding", with(get, "transfer-encoding", "chunked"), malformed},
		{"8.2.2: upgrade", with(get, "upgrade", "h2c"), malformed},
		{"8.2.2: http2-settings is left out", with(get, "http2-settings", "AAMAAABk"), "GET http shop.example /; end"},
		{"8.2.2: te: trailers", with(get, "te", "trailers"), "GET http shop.example /; end"},
		{"8.2.2: te with anything else", with(get, "te", "trailers, deflate;q=0.5"), malformed},
		{"8.2.3: crumbs are one cookie", with(get, "cookie", "a=b", "x", "y", "cookie", "c=d", "cookie", "e=f"),
			"GET http shop.example /, cookie: a=b; c=d; e=f, x: y; end"},
		{"8.1.1: content-length of a request without a body", with(get, "content-length", "1"), malformed},
		{"8.1.1: content-length 0", with(get, "content-length", "0"), "GET http shop.example /; end"},
		{"8.1.1: content-length twice", with(get, "content-length", "0", "content-length", "0"), malformed},
		{"8.1.1: a list of lengths", with(get, "content-length", "0, 0"), malformed},
		{"8.1.1: a negative length", with(get, "content-length", "-1"), malformed},
		{"8.1.1: a length with a sign", with(get, "content-length", "+0"), malformed},
		{"8.1.1: a length over 63 bits", with(get, "content-length", "99999999999999999999"), malformed},
		{"RFC 9218: priority is passed on", with(get, "priority", "u=1, i"), "GET http shop.example /, priority: u=1, i; end"},
		{"RFC 8441 4: :protocol without CONNECT", with(get, ":protocol", "websocket"), malformed},
		{"3.1: h2c", with(pseudo(":method", "CONNECT"), ":protocol", "H2C"), malformed},
		{"RFC 8441 4: CONNECT without :path", with(pseudo(":method", "CONNECT", ":path", ""), ":protocol", "websocket"), malformed},
		{"8.5: CONNECT with :path", pseudo(":method", "CONNECT"), malformed},
	}
	for _, tt := range tests {
		p := client(t, Limits{}).greet()
		p.onRequest = func(x *exchange) { x.answer(200) }
		p.headers(1, tt.fields...)
		p.headers(3, get...) // other streams go on
		p.send()
		first, saw := "HEADERS 1 :status=200 END", 0
		if tt.want == malformed {
			first, saw = "RST_STREAM 1 PROTOCOL_ERROR", -1
		} else if got := p.saw(0); got != tt.want {
			t.Errorf("%s: the handler saw %s, want %s", tt.name, got, tt.want)
		}
		if got, want := p.got(), first+"\nHEADERS 3 :status=200 END"; got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", tt.name, got, want)
		}
		if saw < 0 && len(p.exchanges) != 1 {
			t.Errorf("%s: the handler saw %s", tt.name, p.saw(0))
		}
	}
}

func TestSchemeIsTheConnections(t *testing.T) {
	p := client(t, Limits{}).greet()
	p.srv.peer.TLS = &tls.ConnectionState{}
	p.headers(1, get...)
	p.send()
	p.wantSaw(0, "GET https shop.example /; end")
}

func TestTrailersAreWantedByTE(t *testing.T) {
	p := client(t, Limits{}).greet()
	p.headers(1, with(get, "te", "Trailers")...)
	p.send()
	if req := p.exchanges[0].request; !req.Trailers || req.Proto != message.HTTP2 || req.Length != 0 {
		t.Errorf("Trailers %v, Proto %v, Length %d; want true, HTTP/2, 0", req.Trailers, req.Proto, req.Length)
	}
}

// RFC 9113 section 8.1.1: content-length and DATA agree.
func TestRequestBodies(t *testing.T) {
	tests := []struct {
		name   string
		length string
		body   func(p *peer)
		want   string // what the handler sees
		answer string
	}{
		{"unknown length", "", func(p *peer) { p.WriteData(1, true, []byte("body")) }, `"body"; end`, ""},
		{"in two frames", "4", func(p *peer) {
			p.WriteData(1, false, []byte("bo"))
			p.WriteData(1, true, []byte("dy"))
		}, `"body"; end`, ""},
		{"with trailers", "4", func(p *peer) {
			p.WriteData(1, false, []byte("body"))
			p.headers(1, "x-sum", "1", "cookie", "a=b")
		}, `"body"; end, x-sum: 1`, ""},
		{"none", "0", func(p *peer) { p.WriteData(1, true, nil) }, `end`, ""},
		{"too short", "5", func(p *peer) { p.WriteData(1, true, []byte("body")) },
			`"body"; abort malformed message`, "RST_STREAM 1 PROTOCOL_ERROR"},
		{"too short, with trailers", "5", func(p *peer) {
			p.WriteData(1, false, []byte("body"))
			p.headers(1, "x-sum", "1")
		}, `"body"; abort malformed message`, "RST_STREAM 1 PROTOCOL_ERROR"},
		{"too long", "3", func(p *peer) { p.WriteData(1, true, []byte("body")) },
			`abort malformed message`, "RST_STREAM 1 PROTOCOL_ERROR"},
		{"too long in the second frame", "3", func(p *peer) {
			p.WriteData(1, false, []byte("bo"))
			p.WriteData(1, true, []byte("dy"))
		}, `"bo"; abort malformed message`, "RST_STREAM 1 PROTOCOL_ERROR"},
		{"given up", "", func(p *peer) {
			p.WriteData(1, false, []byte("bo"))
			p.WriteRSTStream(1, h2.ErrCodeCancel)
		}, `"bo"; abort stream reset`, ""},
		{"cut off", "", func(p *peer) {
			p.WriteData(1, false, []byte("bo"))
			p.send()
			p.end.CloseWrite()
		}, `"bo"; abort connection closed`, "closed"},
	}
	for _, tt := range tests {
		p := client(t, Limits{}).greet()
		fields := post
		want := "POST http shop.example /; " + tt.want
		if tt.length != "" {
			fields = with(post, "content-length", tt.length)
		}
		p.headersOpen(1, fields...)
		tt.body(p)
		p.send()
		if got := p.got(); got != tt.answer {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.answer)
		}
		if got := p.saw(0); got != want {
			t.Errorf("%s: the handler saw %s, want %s", tt.name, got, want)
		}
	}
}

func TestResponses(t *testing.T) {
	tests := []struct {
		name   string
		answer func(x *exchange)
		want   string
	}{
		{"head alone", func(x *exchange) { x.answer(204) }, "HEADERS 1 :status=204 END"},
		{"body", func(x *exchange) {
			x.Head(&message.Response{Status: 200, Length: 5}, false)
			x.send("hello")
			x.end()
		}, "HEADERS 1 :status=200 content-length=5\nDATA 1 \"hello\"\nDATA 1 \"\" END"},
		{"trailers", func(x *exchange) {
			x.head(200, "content-type", "application/grpc")
			x.send("hello")
			x.end("grpc-status", "0", "Grpc-Message", "fine")
		}, "HEADERS 1 :status=200 content-type=application/grpc\nDATA 1 \"hello\"\nHEADERS 1 grpc-status=0 grpc-message=fine END"},
		{"15.2 of RFC 9110: interim responses", func(x *exchange) {
			x.head(103, "link", "</a.css>")
			x.head(100)
			x.answer(200)
		}, "HEADERS 1 :status=103 link=</a.css>\nHEADERS 1 :status=100\nHEADERS 1 :status=200 END"},
		{"abort", func(x *exchange) {
			x.head(200)
			x.ServerStream.Abort(&message.Error{Reason: message.Gone})
		}, "HEADERS 1 :status=200\nRST_STREAM 1 INTERNAL_ERROR"},
		{"abort for no reason", func(x *exchange) { x.ServerStream.Abort(nil) }, "RST_STREAM 1 INTERNAL_ERROR"},
		{"8.7: refused before anything was done", func(x *exchange) {
			x.ServerStream.Abort(&message.Error{Reason: message.Refused})
		}, "RST_STREAM 1 REFUSED_STREAM"},
		{"refused too late", func(x *exchange) {
			x.head(200)
			x.ServerStream.Abort(&message.Error{Reason: message.Refused})
		}, "HEADERS 1 :status=200\nRST_STREAM 1 INTERNAL_ERROR"},
		{"cancelled", func(x *exchange) {
			x.ServerStream.Abort(&message.Error{Reason: message.Cancelled})
		}, "RST_STREAM 1 CANCEL"},
		{"nothing after the end", func(x *exchange) {
			x.answer(200)
			x.answer(500)
			x.send("more")
			x.end()
			x.ServerStream.Abort(nil)
			x.Consumed(5)
		}, "HEADERS 1 :status=200 END"},
	}
	for _, tt := range tests {
		p := client(t, Limits{}).greet()
		p.onRequest = tt.answer
		p.headers(1, get...)
		p.send()
		if got := p.got(); got != tt.want {
			t.Errorf("%s: got\n%s\nwant\n%s", tt.name, got, tt.want)
		}
		if p.srv.streams.n != 0 {
			t.Errorf("%s: the stream is still open", tt.name)
		}
	}
}

// RFC 9110 sections 9.3.2, 15.3.5 and 15.4.5: a body that is sent all the
// same goes nowhere.
func TestResponsesWithoutABody(t *testing.T) {
	tests := []struct {
		method string
		status int
		want   string
	}{
		{"HEAD", 200, "HEADERS 1 :status=200 content-length=5 END"},
		{"GET", 204, "HEADERS 1 :status=204 END"},
		{"GET", 304, "HEADERS 1 :status=304 content-length=5 END"},
	}
	for _, tt := range tests {
		p := client(t, Limits{}).greet()
		p.headers(1, pseudo(":method", tt.method)...)
		p.send()
		x := p.exchanges[0]
		x.Head(&message.Response{Status: tt.status, Length: 5}, false)
		x.send("hello")
		x.end("x", "y")
		p.want(tt.want)
		if p.srv.streams.n != 0 {
			t.Errorf("%s, %d: the stream is still open", tt.method, tt.status)
		}
	}
}

// RFC 9113 section 8.1: an answer that does not wait for the request.
func TestEarlyResponses(t *testing.T) {
	p := client(t, Limits{}).greet()
	p.onRequest = func(x *exchange) { x.answer(404) }
	p.headersOpen(1, post...)
	p.send()
	p.want("HEADERS 1 :status=404 END", "RST_STREAM 1 NO_ERROR")
	p.WriteData(1, false, []byte("too late"))
	p.headers(1, "x", "y")
	p.send()
	p.want()
	p.wantSaw(0, "POST http shop.example /; ")
}

// An early answer that waits for window: the rest of the request is dropped,
// and its bytes are given back.
func TestEarlyResponsesDropTheRequest(t *testing.T) {
	p := client(t, Limits{ConnWindow: 64 << 10, StreamWindow: 64 << 10}).greet(h2.Setting{ID: h2.SettingInitialWindowSize, Val: 3})
	p.onRequest = func(x *exchange) {
		x.head(200)
		x.send("hello")
		x.end("x-sum", "1")
	}
	p.headersOpen(1, post...)
	for range 3 {
		p.WriteData(1, false, make([]byte, 16<<10))
	}
	p.send()
	p.want("HEADERS 1 :status=200", `DATA 1 "hel"`, "WINDOW_UPDATE 32768")
	p.WriteWindowUpdate(1, 10)
	p.send()
	p.want(`DATA 1 "lo"`, "HEADERS 1 x-sum=1 END", "RST_STREAM 1 NO_ERROR")
	p.wantSaw(0, "POST http shop.example /; ")
}

// gRPC: both sides stream, in turns, and the response ends with trailers.
func TestStreamingBothWays(t *testing.T) {
	p := client(t, Limits{}).greet()
	p.headersOpen(1, with(post, "te", "trailers", "content-type", "application/grpc")...)
	p.send()
	x := p.exchanges[0]
	x.head(200, "content-type", "application/grpc")
	p.want("HEADERS 1 :status=200 content-type=application/grpc")
	for range 3 {
		p.WriteData(1, false, []byte("ping"))
		p.send()
		x.send("pong")
		p.want(`DATA 1 "pong"`)
	}
	p.WriteData(1, true, nil)
	p.send()
	x.end("grpc-status", "0")
	p.want("HEADERS 1 grpc-status=0 END")
	p.wantSaw(0, `POST http shop.example /, content-type: application/grpc; "pingpingping"; end`)
}

// RFC 9110 section 9.3.6: a gateway is no tunnel for CONNECT.
func TestPlainCONNECTIsNotImplemented(t *testing.T) {
	p := client(t, Limits{}).greet()
	p.headersOpen(1, ":method", "CONNECT", ":authority", "db:5432")
	p.send()
	p.want("HEADERS 1 :status=501 content-length=0 END", "RST_STREAM 1 NO_ERROR")
	if len(p.exchanges) != 0 {
		t.Errorf("the handler saw %s", p.saw(0))
	}
}

func TestWebSocketFromClient(t *testing.T) {
	connect := []string{":method", "CONNECT", ":protocol", "websocket", ":scheme", "https", ":path", "/chat", ":authority", "shop.example",
		"sec-websocket-version", "13"}
	p := client(t, Limits{}).greet()
	p.headersOpen(1, connect...)
	p.send()
	x := p.exchanges[0]
	if key, _ := x.request.Fields.Get(message.SecWebSocketKey); len(key) != 24 {
		t.Errorf("RFC 8441 5: Sec-WebSocket-Key: %q, want 16 bytes in base64", key)
	}
	if x.request.Method != "GET" || x.request.Upgrade != "websocket" || x.request.Length != message.Unknown {
		t.Errorf("RFC 8441 4: %s, upgrade %q, length %d", x.request.Method, x.request.Upgrade, x.request.Length)
	}
	x.head(101, "sec-websocket-accept", "abc", "sec-websocket-protocol", "chat")
	p.want("HEADERS 1 :status=200 sec-websocket-protocol=chat")
	p.WriteData(1, false, []byte("ping"))
	p.send()
	x.send("pong")
	x.end() // one direction
	p.want(`DATA 1 "pong"`, `DATA 1 "" END`)
	p.WriteData(1, false, []byte("more"))
	p.WriteData(1, true, nil)
	p.send()
	p.want()
	if got := string(x.body) + " " + strings.Join(x.events, " "); got != "pingmore end" {
		t.Errorf("the handler saw %q", got)
	}
	if p.srv.streams.n != 0 {
		t.Errorf("the stream is still open")
	}
}

func TestWebSocketThatIsRefused(t *testing.T) {
	for status, want := range map[int]string{403: "403", 200: "502"} { // 200 would open the tunnel
		p := client(t, Limits{}).greet()
		p.onRequest = func(x *exchange) { x.answer(status) }
		p.headersOpen(1, ":method", "CONNECT", ":protocol", "websocket", ":scheme", "https", ":path", "/chat", ":authority", "shop.example")
		p.send()
		p.want("HEADERS 1 :status="+want+" END", "RST_STREAM 1 NO_ERROR")
	}
}

// An upgrade is never handed on as its own end.
func TestWebSocketThatEndsAtOnce(t *testing.T) {
	p := client(t, Limits{}).greet()
	p.onRequest = func(x *exchange) {
		if len(x.events) != 0 {
			t.Errorf("the upgrade came as the last of its message")
		}
	}
	p.headers(1, ":method", "CONNECT", ":protocol", "websocket", ":scheme", "https", ":path", "/chat", ":authority", "shop.example")
	p.send()
	if got := p.exchanges[0].events; len(got) != 1 || got[0] != "end" {
		t.Errorf("after the head came %v, want the end", got)
	}
}

// A head over the limits is answered; the connection goes on.
func TestLargeHeads(t *testing.T) {
	large := func(n, size int) []string {
		f := get
		for range n {
			f = with(f, "x", strings.Repeat("v", size))
		}
		return f
	}
	tests := []struct {
		name   string
		fields []string
		want   string
		kind   []Kind
	}{
		{"100 fields", large(96, 1), "HEADERS 1 :status=200 END", nil},
		{"101 fields", large(97, 1), "HEADERS 1 :status=431 content-length=0 END", []Kind{HeaderCount}},
		{"60 KiB", large(1, 60<<10), "HEADERS 1 :status=200 END", nil},
		{"65 KiB", large(1, 65<<10), "HEADERS 1 :status=431 content-length=0 END", []Kind{HeaderSize}},
	}
	for _, tt := range tests {
		p := client(t, Limits{}).greet()
		p.onRequest = func(x *exchange) { x.answer(200) }
		b := p.block(tt.fields...)
		p.WriteRawFrame(h2.FrameHeaders, h2.FlagHeadersEndStream, 1, b[:9])
		for b = b[9:]; len(b) > 16384; b = b[16384:] {
			p.WriteContinuation(1, false, b[:16384])
		}
		p.WriteContinuation(1, true, b)
		p.headers(3, get...)
		p.send()
		if got, want := p.got(), tt.want+"\nHEADERS 3 :status=200 END"; got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", tt.name, got, want)
		}
		if len(p.counted) != len(tt.kind) || len(tt.kind) > 0 && p.counted[0] != tt.kind[0] {
			t.Errorf("%s: counted %v, want %v", tt.name, p.counted, tt.kind)
		}
	}
}

func TestTrailersOverTheLimitsResetTheStream(t *testing.T) {
	p := client(t, Limits{HeaderFields: 6}).greet()
	p.headersOpen(1, post...)
	p.headers(1, "a", "1", "b", "1", "c", "1", "d", "1", "e", "1", "f", "1", "g", "1")
	p.send()
	p.want("RST_STREAM 1 ENHANCE_YOUR_CALM")
	p.wantSaw(0, "POST http shop.example /; abort limit exceeded")
}

// A header block of ours that does not fit a frame goes on in CONTINUATION.
func TestLargeResponseHeads(t *testing.T) {
	p := client(t, Limits{}).greet()
	value := strings.Repeat("v", 40000)
	p.onRequest = func(x *exchange) {
		x.head(200, "x", value)
		x.end("y", value)
	}
	p.headers(1, get...)
	p.send()
	p.want("HEADERS 1 :status=200 x="+value, "HEADERS 1 y="+value+" END")
}
