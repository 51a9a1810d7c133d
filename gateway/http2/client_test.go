package http2

import (
	"fmt"
	"strings"
	"testing"
	"time"

	h2 "golang.org/x/net/http2"

	"fairway.dev/gateway/message"
)

func TestClientPreface(t *testing.T) {
	p := backend(t, ClientOptions{})
	p.ask(message.Request{}, true)
	p.want("preface", "SETTINGS ENABLE_PUSH=0 INITIAL_WINDOW_SIZE=262144 MAX_HEADER_LIST_SIZE=65536", "WINDOW_UPDATE 983041",
		"HEADERS 1 :method=GET :scheme=http :authority=backend :path=/ END")
	p.WriteSettings()
	p.send()
	p.want("SETTINGS ack")
}

func TestClientRequests(t *testing.T) {
	p := backend(t, ClientOptions{}).greet()
	r := p.ask(message.Request{Method: "POST", Length: 5}, false)
	r.Stream.Data([]byte("hello"))
	r.Stream.End(nil)
	p.want("HEADERS 1 :method=POST :scheme=http :authority=backend :path=/ content-length=5", `DATA 1 "hello"`, `DATA 1 "" END`)

	r = p.ask(message.Request{Method: "POST", Length: message.Unknown, Trailers: true}, false)
	r.Stream.Data([]byte("hello"))
	var trailers message.Fields
	trailers.Append("x-sum", "1")
	r.Stream.End(trailers)
	p.want("HEADERS 3 :method=POST :scheme=http :authority=backend :path=/ te=trailers", `DATA 3 "hello"`, "HEADERS 3 x-sum=1 END")

	r = p.ask(message.Request{Length: 0}, false)
	r.Stream.Abort(&message.Error{Reason: message.Cancelled})
	p.want("HEADERS 5 :method=GET :scheme=http :authority=backend :path=/ content-length=0", "RST_STREAM 5 CANCEL")
	p.wantSeen(r, "")
}

func TestClientResponses(t *testing.T) {
	const reset = "RST_STREAM 1 PROTOCOL_ERROR"
	tests := []struct {
		name   string
		method string
		do     func(p *peer)
		want   string // what the user sees
		answer string
	}{
		{"head alone", "", func(p *peer) { p.headers(1, ":status", "204", "x", "y") }, "204, x: y, last", ""},
		{"body", "", func(p *peer) {
			p.headersOpen(1, ":status", "200", "content-length", "4")
			p.WriteData(1, true, []byte("body"))
		}, `200, length 4; "body"; end`, ""},
		{"trailers", "", func(p *peer) {
			p.headersOpen(1, ":status", "200")
			p.WriteData(1, false, []byte("body"))
			p.headers(1, "grpc-status", "0")
		}, `200; "body"; end, grpc-status: 0`, ""},
		{"interim responses", "", func(p *peer) {
			p.headersOpen(1, ":status", "103", "link", "</a>")
			p.headersOpen(1, ":status", "100")
			p.headers(1, ":status", "200")
		}, "103, link: </a>; 100; 200, last", ""},
		{"8.1: an interim response that ends the stream", "", func(p *peer) { p.headers(1, ":status", "100") }, "abort malformed message", reset},
		{"8.6: 101", "", func(p *peer) { p.headersOpen(1, ":status", "101") }, "abort malformed message", reset},
		{"8.3.2: no :status", "", func(p *peer) { p.headers(1, "x", "y") }, "abort malformed message", reset},
		{"8.3.2: :status of two digits", "", func(p *peer) { p.headers(1, ":status", "20") }, "abort malformed message", reset},
		{"8.3.2: :status of letters", "", func(p *peer) { p.headers(1, ":status", "2xx") }, "abort malformed message", reset},
		{"8.3.2: :status twice", "", func(p *peer) { p.headers(1, ":status", "200", ":status", "200") }, "abort malformed message", reset},
		{"8.3: :status after others", "", func(p *peer) { p.headers(1, "x", "y", ":status", "200") }, "abort malformed message", reset},
		{"8.3: a request's pseudo-field", "", func(p *peer) { p.headers(1, ":status", "200", ":path", "/") }, "abort malformed message", reset},
		{"8.2.1: a name in upper case", "", func(p *peer) { p.headers(1, ":status", "200", "X", "y") }, "abort malformed message", reset},
		{"8.2.1: a value with a line end", "", func(p *peer) { p.headers(1, ":status", "200", "x", "a\nb") }, "abort malformed message", reset},
		{"8.2.2: transfer-encoding", "", func(p *peer) { p.headers(1, ":status", "200", "transfer-encoding", "chunked") }, "abort malformed message", reset},
		{"8.2.2: connection", "", func(p *peer) { p.headers(1, ":status", "200", "connection", "close") }, "abort malformed message", reset},
		{"8.1.1: content-length without a body", "", func(p *peer) { p.headers(1, ":status", "200", "content-length", "4") }, "abort malformed message", reset},
		{"8.1.1: a body that is too short", "", func(p *peer) {
			p.headersOpen(1, ":status", "200", "content-length", "5")
			p.WriteData(1, true, []byte("body"))
		}, `200, length 5; "body"; abort malformed message`, reset},
		{"8.1.1: a body that is too long", "", func(p *peer) {
			p.headersOpen(1, ":status", "200", "content-length", "3")
			p.WriteData(1, true, []byte("body"))
		}, `200, length 3; abort malformed message`, reset},
		{"8.1.1: content-length twice", "", func(p *peer) {
			p.headers(1, ":status", "200", "content-length", "0", "content-length", "0")
		}, "abort malformed message", reset},
		{"9.3.2 of RFC 9110: the response to HEAD states a length", "HEAD", func(p *peer) {
			p.headers(1, ":status", "200", "content-length", "4")
		}, "200, length 4, last", ""},
		{"and has no body", "HEAD", func(p *peer) {
			p.headersOpen(1, ":status", "200", "content-length", "4")
			p.WriteData(1, true, []byte("body"))
		}, "200, length 4; abort malformed message", reset},
		{"15.4.5 of RFC 9110: nor has 304", "", func(p *peer) { p.headers(1, ":status", "304", "content-length", "4") }, "304, length 4, last", ""},
		{"15.3.5 of RFC 9110: nor 204", "", func(p *peer) {
			p.headersOpen(1, ":status", "204")
			p.WriteData(1, true, []byte("body"))
		}, "204; abort malformed message", reset},
		{"5.3.1: a response that depends on itself", "", func(p *peer) {
			p.WriteHeaders(h2.HeadersFrameParam{StreamID: 1, BlockFragment: p.block(":status", "200"), EndStream: true, EndHeaders: true,
				Priority: h2.PriorityParam{StreamDep: 1}})
		}, "abort malformed message", reset},
		{"8.1: DATA before HEADERS", "", func(p *peer) { p.WriteData(1, true, []byte("body")) }, "abort malformed message", reset},
		{"8.1: DATA after an interim response", "", func(p *peer) {
			p.headersOpen(1, ":status", "100")
			p.WriteData(1, true, []byte("body"))
		}, "100; abort malformed message", reset},
		{"8.1: trailers without END_STREAM", "", func(p *peer) {
			p.headersOpen(1, ":status", "200")
			p.headersOpen(1, "x", "y")
		}, "200; abort malformed message", reset},
		{"5.1: frames after the end", "", func(p *peer) {
			p.headers(1, ":status", "200")
			p.WriteData(1, true, []byte("body"))
		}, "200, last", "GOAWAY 0 STREAM_CLOSED, closed"},
		{"8.7: REFUSED_STREAM", "", func(p *peer) { p.WriteRSTStream(1, h2.ErrCodeRefusedStream) }, "abort stream refused", ""},
		{"5.4.2: another code", "", func(p *peer) { p.WriteRSTStream(1, h2.ErrCodeInternal) }, "abort stream reset", ""},
		{"reset in the middle", "", func(p *peer) {
			p.headersOpen(1, ":status", "200")
			p.WriteRSTStream(1, h2.ErrCodeCancel)
		}, "200; abort stream reset", ""},
		{"gone", "", func(p *peer) {
			p.headersOpen(1, ":status", "200")
			p.send()
			p.end.CloseWrite()
		}, "200; abort connection closed", "closed"},
		{"5.1.1: a stream that nobody opened", "", func(p *peer) { p.headers(3, ":status", "200") }, "abort malformed message", "GOAWAY 0 PROTOCOL_ERROR, closed"},
		{"5.1.1: a stream of the server", "", func(p *peer) { p.headers(2, ":status", "200") }, "abort malformed message", "GOAWAY 0 PROTOCOL_ERROR, closed"},
		{"8.4: PUSH_PROMISE", "", func(p *peer) {
			p.WritePushPromise(h2.PushPromiseParam{StreamID: 1, PromiseID: 2, BlockFragment: p.block(get...), EndHeaders: true})
		}, "abort malformed message", "GOAWAY 0 PROTOCOL_ERROR, closed"},
		{"6.5.2: SETTINGS_ENABLE_PUSH of 1", "", func(p *peer) {
			p.WriteSettings(h2.Setting{ID: h2.SettingEnablePush, Val: 1})
		}, "abort malformed message", "GOAWAY 0 PROTOCOL_ERROR, closed"},
		{"a head over the limits", "", func(p *peer) { p.headers(1, ":status", "200", "a", "1", "b", "2", "c", "3", "d", "4") },
			"abort limit exceeded", "RST_STREAM 1 ENHANCE_YOUR_CALM"},
		{"interim responses without end", "", func(p *peer) {
			for range 17 {
				p.headersOpen(1, ":status", "100")
			}
		}, strings.Repeat("100; ", 16) + "abort limit exceeded", "RST_STREAM 1 ENHANCE_YOUR_CALM"},
	}
	for _, tt := range tests {
		for _, drip := range []bool{false, true} {
			p := backend(t, ClientOptions{Limits: &Limits{HeaderFields: 4}}).greet()
			r := p.ask(message.Request{Method: tt.method}, true)
			p.got()
			p.drip = drip
			tt.do(p)
			p.send()
			if got := strings.ReplaceAll(p.got(), "\n", ", "); got != tt.answer {
				t.Errorf("%s: got %q, want %q", tt.name, got, tt.answer)
			}
			if got := r.saw(); got != tt.want && !drip {
				t.Errorf("%s: the user saw %s, want %s", tt.name, got, tt.want)
			}
			if p.cli.streams.n != 0 {
				t.Errorf("%s: the stream is still open", tt.name)
			}
		}
	}
}

// A backend may answer before it has the whole request.
func TestClientGoesOnSendingAfterTheResponse(t *testing.T) {
	p := backend(t, ClientOptions{}).greet()
	r := p.ask(message.Request{Method: "POST", Length: message.Unknown}, false)
	p.headers(1, ":status", "200")
	p.send()
	p.wantSeen(r, "200, last")
	r.Stream.Data([]byte("more"))
	r.Stream.End(nil)
	p.want("HEADERS 1 :method=POST :scheme=http :authority=backend :path=/", `DATA 1 "more"`, `DATA 1 "" END`)
	if p.cli.streams.n != 0 || p.cli.Free() != 100 {
		t.Errorf("%d streams open, %d free", p.cli.streams.n, p.cli.Free())
	}

	r = p.ask(message.Request{Method: "POST", Length: message.Unknown}, false)
	p.headers(3, ":status", "413")
	p.WriteRSTStream(3, h2.ErrCodeNo) // RFC 9113 section 8.1
	p.send()
	p.wantSeen(r, "413, last; abort stream reset")
	r.Stream.Data([]byte("more"))
	r.Stream.Abort(nil)
	p.want("HEADERS 3 :method=POST :scheme=http :authority=backend :path=/")
}

func TestFreeIsWhatTheBackendAllows(t *testing.T) {
	p := backend(t, ClientOptions{MaxStreams: 10})
	free := func(want int) {
		t.Helper()
		if got := p.cli.Free(); got != want {
			t.Errorf("Free() = %d, want %d", got, want)
		}
	}
	free(10) // before SETTINGS
	p.greet(h2.Setting{ID: h2.SettingMaxConcurrentStreams, Val: 2})
	free(2)
	p.ask(message.Request{}, true)
	p.ask(message.Request{}, true)
	free(0)
	over := p.ask(message.Request{}, true)
	over.Stream.Data([]byte("body"))
	over.Stream.End(nil)
	p.wantSeen(over, "abort stream refused")
	over = p.ask(message.Request{}, true)
	over.Stream.Abort(nil)
	over.Consumed(over.Queued())
	p.wantSeen(over, "")
	p.freed = 0
	p.headers(1, ":status", "200")
	p.headers(3, ":status", "200")
	p.send()
	free(2)
	if p.freed != 1 {
		t.Errorf("OnFree was called %d times in one round, want once", p.freed)
	}
	p.WriteSettings(h2.Setting{ID: h2.SettingMaxConcurrentStreams, Val: 1000})
	p.send()
	free(10)
	if p.freed != 2 {
		t.Errorf("OnFree was called %d times, want another", p.freed)
	}
	p.cli.next = maxStreamID // RFC 9113 section 5.1.1
	free(10)
	p.cli.next += 2
	free(0)
}

// RFC 9113 section 6.8.
func TestGoAway(t *testing.T) {
	p := backend(t, ClientOptions{}).greet()
	first := p.ask(message.Request{}, true)
	second := p.ask(message.Request{}, true)
	p.got()
	p.WriteGoAway(1<<31-1, h2.ErrCodeNo, nil) // the first step of two
	p.send()
	if p.cli.Free() != 0 {
		t.Errorf("Free() = %d after GOAWAY, want 0", p.cli.Free())
	}
	p.WriteGoAway(1, h2.ErrCodeNo, nil)
	p.send()
	p.wantSeen(second, "abort stream refused")
	p.wantSeen(first, "")
	p.want()
	p.headers(1, ":status", "200")
	p.send()
	p.wantSeen(first, "200, last")
	p.want("GOAWAY 0 NO_ERROR", "closed")
	if len(p.closed) != 1 || p.closed[0] != nil {
		t.Errorf("OnClosed was called with %v, want once with nil", p.closed)
	}
}

func TestClientDrain(t *testing.T) {
	p := backend(t, ClientOptions{}).greet()
	r := p.ask(message.Request{}, true)
	p.got()
	p.cli.Drain()
	p.cli.Drain()
	if p.cli.Free() != 0 {
		t.Errorf("Free() = %d after Drain, want 0", p.cli.Free())
	}
	p.want()
	p.headers(1, ":status", "200")
	p.send()
	p.wantSeen(r, "200, last")
	p.want("GOAWAY 0 NO_ERROR", "closed")

	p = backend(t, ClientOptions{}).greet()
	p.cli.Drain()
	p.want("GOAWAY 0 NO_ERROR", "closed")
	if len(p.closed) != 1 {
		t.Errorf("OnClosed was called %d times, want once", len(p.closed))
	}
}

func TestClientClose(t *testing.T) {
	p := backend(t, ClientOptions{}).greet()
	r := p.ask(message.Request{}, true)
	p.got()
	p.cli.Close()
	if r.saw() != "" || len(p.closed) != 0 {
		t.Error("told from inside the call")
	}
	p.wantSeen(r, "abort cancelled")
	p.want("closed")
	if len(p.closed) != 1 || p.closed[0] != nil {
		t.Errorf("OnClosed was called with %v, want once with nil", p.closed)
	}
}

// A request that met a connection in its last moment may be tried again.
func TestUnusedIsToldOfConnectionsThatWereUsed(t *testing.T) {
	p := backend(t, ClientOptions{}).greet()
	p.ask(message.Request{}, true)
	p.headers(1, ":status", "200")
	p.send()
	answered := p.ask(message.Request{}, false)
	p.headersOpen(3, ":status", "200")
	p.send()
	waiting := p.ask(message.Request{}, true)
	p.loop.Settle()
	p.end.Close()
	p.loop.Settle()
	if !waiting.err.Unused || answered.err.Unused {
		t.Errorf("Unused is %v without a response and %v with one, want true and false", waiting.err.Unused, answered.err.Unused)
	}
	if len(p.closed) != 1 || p.closed[0] == nil {
		t.Errorf("OnClosed was called with %v, want once with an error", p.closed)
	}

	p = backend(t, ClientOptions{}).greet()
	first := p.ask(message.Request{}, true)
	p.loop.Settle()
	p.end.Close()
	p.loop.Settle()
	if first.err.Unused {
		t.Error("Unused on a connection's first request")
	}
}

func TestBackendThatSpeaksHTTP1(t *testing.T) {
	p := backend(t, ClientOptions{})
	r := p.ask(message.Request{}, true)
	p.out.WriteString("HTTP/1.1 400 Bad Request\r\n\r\n")
	p.send()
	if got := r.err.Error(); !strings.Contains(got, "the backend answers in HTTP/1") {
		t.Errorf("the error is %q", got)
	}
}

func TestBackendThatSaysNothing(t *testing.T) {
	p := backend(t, ClientOptions{})
	r := p.ask(message.Request{}, true)
	p.loop.Advance(11 * time.Second)
	p.wantSeen(r, "abort deadline passed")
}

func TestWebSocketToBackend(t *testing.T) {
	upgrade := message.Request{Upgrade: "websocket", Length: message.Unknown, Fields: message.Fields{
		{Text: "Sec-WebSocket-Key", ID: message.SecWebSocketKey, Value: "dGhlIHNhbXBsZSBub25jZQ=="}, // RFC 6455 section 1.3
	}}
	p := backend(t, ClientOptions{}).greet()
	r := p.ask(upgrade, false)
	p.wantSeen(r, "abort stream refused") // RFC 8441 section 3
	if !strings.Contains(r.err.Error(), "extended CONNECT") {
		t.Errorf("the error is %q", r.err)
	}

	p = backend(t, ClientOptions{}).greet(h2.Setting{ID: h2.SettingEnableConnectProtocol, Val: 1})
	r = p.ask(upgrade, false)
	p.want("HEADERS 1 :method=CONNECT :protocol=websocket :scheme=http :authority=backend :path=/")
	p.headersOpen(1, ":status", "200", "sec-websocket-protocol", "chat")
	p.WriteData(1, false, []byte("pong"))
	p.send()
	r.Stream.Data([]byte("ping"))
	p.want(`DATA 1 "ping"`)
	p.WriteData(1, true, nil)
	p.send()
	r.Stream.Data([]byte("more"))
	r.Stream.End(nil)
	p.want(`DATA 1 "more"`, `DATA 1 "" END`)
	p.wantSeen(r, `101, sec-websocket-protocol: chat, sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=; "pong"; end`)
	if p.cli.streams.n != 0 {
		t.Error("the stream is still open")
	}

	r = p.ask(upgrade, false)
	p.headers(3, ":status", "403")
	p.send()
	p.wantSeen(r, "403, last")
	r.Stream.End(nil)
	p.want("HEADERS 3 :method=CONNECT :protocol=websocket :scheme=http :authority=backend :path=/", `DATA 3 "" END`)
}

func TestWebSocketThatTheBackendEndsAtOnce(t *testing.T) {
	p := backend(t, ClientOptions{}).greet(h2.Setting{ID: h2.SettingEnableConnectProtocol, Val: 1})
	r := p.ask(message.Request{Upgrade: "websocket", Length: message.Unknown}, false)
	p.headers(1, ":status", "200")
	p.send()
	p.wantSeen(r, "101; end")
	r.Stream.End(nil)
	if p.cli.streams.n != 0 {
		t.Error("the stream is still open")
	}
	r = p.ask(message.Request{Upgrade: "websocket", Length: message.Unknown}, false)
	r.onHead = func() { r.Stream.Abort(nil) }
	p.headers(3, ":status", "200")
	p.send()
	p.wantSeen(r, "101")
}

// One client that is slow must not keep others' responses back: the
// connection's window does not wait for Consumed.
func TestSlowUserDoesNotStopOtherStreams(t *testing.T) {
	p := backend(t, ClientOptions{Limits: &Limits{StreamWindow: 64 << 10, ConnWindow: 64 << 10}}).greet()
	slow := p.ask(message.Request{}, true)
	slow.hold = true
	p.got()
	p.headersOpen(1, ":status", "200")
	for range 4 {
		p.WriteData(1, false, make([]byte, 16000))
	}
	p.send()
	p.want("WINDOW_UPDATE 48000")
	slow.Consumed(48000)
	p.want("WINDOW_UPDATE 1 48000")
}

func TestPingsFindDeadBackends(t *testing.T) {
	const ask = `PING "anybody?"`
	answer := func(p *peer) {
		p.WritePing(true, [8]byte{'a', 'n', 'y', 'b', 'o', 'd', 'y', '?'})
		p.send()
	}
	p := backend(t, ClientOptions{}).greet()
	p.loop.Advance(time.Hour)
	p.want() // nothing to lose on a connection without streams
	r := p.ask(message.Request{}, true)
	p.want("HEADERS 1 :method=GET :scheme=http :authority=backend :path=/ END", ask) // after a long silence
	answer(p)
	p.loop.Advance(10 * time.Second)
	p.want()

	// A long silence is asked for less and less often: a gRPC server counts.
	quiet := 10 * time.Second
	var asked []time.Duration
	for range 1500 {
		p.loop.Advance(time.Second)
		quiet += time.Second
		if p.got() == ask {
			asked = append(asked, quiet)
			quiet = 0
			answer(p)
		}
	}
	if got := fmt.Sprint(asked); got != "[2m0s 8m0s 10m0s]" {
		t.Errorf("it asked after %s", got)
	}
	p.headersOpen(1, ":status", "200")
	p.send()
	p.loop.Advance(11 * time.Minute)
	p.want(ask, "closed")
	p.wantSeen(r, "200; abort connection closed")
	if len(p.closed) != 1 || p.closed[0] != errSilent {
		t.Errorf("OnClosed was called with %v, want %v", p.closed, errSilent)
	}
}

func TestPingsNeedNoAnswerWhereBytesCome(t *testing.T) {
	p := backend(t, ClientOptions{PingAfter: time.Second, PingTimeout: 2 * time.Second}).greet()
	r := p.ask(message.Request{}, true)
	p.headersOpen(1, ":status", "200")
	p.send()
	for range 20 {
		p.loop.Advance(1500 * time.Millisecond)
		p.WriteData(1, false, []byte("."))
		p.send()
	}
	if r.err != nil {
		t.Errorf("aborted: %v", r.err)
	}
}

func TestPingsMayBeOff(t *testing.T) {
	p := backend(t, ClientOptions{PingAfter: -1}).greet()
	p.ask(message.Request{}, true)
	p.got()
	p.loop.Advance(24 * time.Hour)
	p.ask(message.Request{}, true)
	p.want("HEADERS 3 :method=GET :scheme=http :authority=backend :path=/ END")
}

// ConnectionKeepalive: after each interval of silence, and with no streams too.
func TestPingsMayBeAlways(t *testing.T) {
	const ask = `PING "anybody?"`
	p := backend(t, ClientOptions{PingAfter: 30 * time.Second, PingTimeout: 5 * time.Second, PingAlways: true}).greet()
	for range 10 {
		p.loop.Advance(29 * time.Second)
		p.want()
		p.loop.Advance(time.Second)
		p.want(ask)
		p.WritePing(true, [8]byte{'a', 'n', 'y', 'b', 'o', 'd', 'y', '?'})
		p.send()
	}
	p.loop.Advance(30 * time.Second)
	p.want(ask)
	p.loop.Advance(5 * time.Second)
	p.want("closed")
}
