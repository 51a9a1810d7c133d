package http2

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	h2 "golang.org/x/net/http2"
)

// A rule is one of the protocol that a client breaks, or comes close to.
type rule struct {
	name string // begins with the section of RFC 9113
	do   func(p *peer)
	want string // the frames that answer, with commas between
}

const ok200 = "HEADERS 1 :status=200 END"

// Answers to mistakes that end the connection, before any request.
const (
	goProtocol  = "GOAWAY 0 PROTOCOL_ERROR, closed"
	goFrameSize = "GOAWAY 0 FRAME_SIZE_ERROR, closed"
	goFlow      = "GOAWAY 0 FLOW_CONTROL_ERROR, closed"
)

var connectionRules = []rule{
	{"4.1: frames of an unknown type are ignored", func(p *peer) {
		p.WriteRawFrame(0xbb, 0xff, 0, []byte("12345678"))
		p.WriteRawFrame(0xbb, 0xff, 7, nil)
		p.headers(1, get...)
	}, ok200},
	{"4.1: undefined flags are ignored", func(p *peer) {
		p.WriteRawFrame(h2.FramePing, 0xfe, 0, []byte("12345678"))
	}, `PING "12345678" ack`},
	{"4.1: the reserved bit of a stream id is ignored", func(p *peer) {
		p.WriteRawFrame(h2.FramePing, 0, 1<<31, []byte("12345678"))
	}, `PING "12345678" ack`},
	{"4.2: a DATA frame of 2^14 bytes", func(p *peer) {
		p.headersOpen(1, post...)
		p.WriteData(1, true, make([]byte, 1<<14))
	}, ok200},
	{"4.2: a DATA frame over SETTINGS_MAX_FRAME_SIZE", func(p *peer) {
		p.headersOpen(1, post...)
		p.WriteData(1, true, make([]byte, 1<<14+1))
	}, "GOAWAY 1 FRAME_SIZE_ERROR, closed"},
	{"4.2: a HEADERS frame over SETTINGS_MAX_FRAME_SIZE", func(p *peer) {
		p.headers(1, with(get, "x", strings.Repeat("a", 1<<15))...)
	}, goFrameSize},
	{"4.3: a header block that is not HPACK", func(p *peer) {
		p.WriteRawFrame(h2.FrameHeaders, h2.FlagHeadersEndHeaders|h2.FlagHeadersEndStream, 1, []byte{0x40})
	}, "GOAWAY 0 COMPRESSION_ERROR, closed"},
	{"4.3: PRIORITY within a header block", func(p *peer) {
		p.WriteRawFrame(h2.FrameHeaders, h2.FlagHeadersEndStream, 1, p.block(get...))
		p.WritePriority(1, h2.PriorityParam{Weight: 1})
	}, goProtocol},
	{"4.3: an unknown frame within a header block", func(p *peer) {
		p.WriteRawFrame(h2.FrameHeaders, h2.FlagHeadersEndStream, 1, p.block(get...))
		p.WriteRawFrame(0xbb, 0, 0, nil)
	}, goProtocol},
	{"4.3: HEADERS of another stream within a header block", func(p *peer) {
		p.WriteRawFrame(h2.FrameHeaders, h2.FlagHeadersEndStream, 1, p.block(get...))
		p.headers(3, get...)
	}, goProtocol},
	{"6.10: a header block in many frames, one of them empty", func(p *peer) {
		b := p.block(get...)
		p.WriteRawFrame(h2.FrameHeaders, h2.FlagHeadersEndStream, 1, b[:1])
		p.WriteContinuation(1, false, b[1:2])
		p.WriteContinuation(1, false, nil)
		p.WriteContinuation(1, true, b[2:])
	}, ok200},
	{"6.10: CONTINUATION of another stream", func(p *peer) {
		p.WriteRawFrame(h2.FrameHeaders, h2.FlagHeadersEndStream, 1, p.block(get...))
		p.WriteContinuation(3, true, nil)
	}, goProtocol},
	{"6.10: CONTINUATION on stream 0", func(p *peer) { p.WriteContinuation(0, true, nil) }, goProtocol},
	{"6.10: CONTINUATION without HEADERS", func(p *peer) { p.WriteContinuation(1, true, p.block(get...)) }, goProtocol},
	{"6.10: CONTINUATION after END_HEADERS", func(p *peer) {
		p.headersOpen(1, post...)
		p.WriteContinuation(1, true, p.block("x", "y"))
	}, "GOAWAY 1 PROTOCOL_ERROR, closed"},
	{"6.10: CONTINUATION after DATA", func(p *peer) {
		p.headersOpen(1, post...)
		p.WriteData(1, true, []byte("body"))
		p.WriteContinuation(1, true, p.block("x", "y"))
	}, ok200 + ", GOAWAY 1 PROTOCOL_ERROR, closed"},
	{"5.1 idle: DATA", func(p *peer) { p.WriteData(1, true, nil) }, goProtocol},
	{"5.1 idle: RST_STREAM", func(p *peer) { p.WriteRSTStream(1, h2.ErrCodeCancel) }, goProtocol},
	{"5.1 idle: WINDOW_UPDATE", func(p *peer) { p.WriteWindowUpdate(1, 100) }, goProtocol},
	{"5.1 idle: PRIORITY is fine", func(p *peer) {
		p.WritePriority(5, h2.PriorityParam{StreamDep: 3})
		p.headers(1, get...)
	}, ok200},
	{"5.1.1: an even stream id", func(p *peer) { p.headers(2, get...) }, goProtocol},
	{"5.1.1: a stream id that was skipped", func(p *peer) {
		p.headers(5, get...)
		p.headers(3, get...)
	}, "HEADERS 5 :status=200 END, GOAWAY 5 PROTOCOL_ERROR, closed"},
	{"5.3.1: PRIORITY of a stream on itself", func(p *peer) {
		p.WritePriority(2, h2.PriorityParam{StreamDep: 2})
	}, goProtocol},
	{"6.1: DATA on stream 0", func(p *peer) { p.WriteData(0, true, []byte("x")) }, goProtocol},
	{"6.1: DATA with more padding than payload", func(p *peer) {
		p.headersOpen(1, post...)
		p.WriteRawFrame(h2.FrameData, h2.FlagDataPadded|h2.FlagDataEndStream, 1, []byte("\x06test"))
	}, "GOAWAY 1 PROTOCOL_ERROR, closed"},
	{"6.1: DATA without its pad length", func(p *peer) {
		p.headersOpen(1, post...)
		p.WriteRawFrame(h2.FrameData, h2.FlagDataPadded, 1, nil)
	}, "GOAWAY 1 FRAME_SIZE_ERROR, closed"},
	{"6.2: HEADERS on stream 0", func(p *peer) { p.headers(0, get...) }, goProtocol},
	{"6.2: HEADERS with padding and priority", func(p *peer) {
		p.WriteHeaders(h2.HeadersFrameParam{StreamID: 1, BlockFragment: p.block(get...), EndStream: true, EndHeaders: true,
			PadLength: 8, Priority: h2.PriorityParam{StreamDep: 3, Weight: 9, Exclusive: true}})
	}, ok200},
	{"6.2: HEADERS with more padding than payload", func(p *peer) {
		p.WriteRawFrame(h2.FrameHeaders, h2.FlagHeadersPadded|h2.FlagHeadersEndHeaders, 1, []byte("\x06test"))
	}, goProtocol},
	{"6.2: HEADERS without its pad length", func(p *peer) {
		p.WriteRawFrame(h2.FrameHeaders, h2.FlagHeadersPadded|h2.FlagHeadersEndHeaders, 1, nil)
	}, goFrameSize},
	{"6.2: HEADERS without its priority", func(p *peer) {
		p.WriteRawFrame(h2.FrameHeaders, h2.FlagHeadersPriority|h2.FlagHeadersEndHeaders, 1, []byte("four"))
	}, goFrameSize},
	{"6.3: PRIORITY on stream 0", func(p *peer) { p.WritePriority(0, h2.PriorityParam{}) }, goProtocol},
	{"6.3: PRIORITY of 4 bytes", func(p *peer) {
		p.WriteRawFrame(h2.FramePriority, 0, 1, make([]byte, 4))
	}, goFrameSize},
	{"6.4: RST_STREAM on stream 0", func(p *peer) { p.WriteRSTStream(0, h2.ErrCodeCancel) }, goProtocol},
	{"6.4: RST_STREAM of 3 bytes", func(p *peer) {
		p.headersOpen(1, post...)
		p.WriteRawFrame(h2.FrameRSTStream, 0, 1, make([]byte, 3))
	}, "GOAWAY 1 FRAME_SIZE_ERROR, closed"},
	{"6.5: SETTINGS are acknowledged", func(p *peer) { p.WriteSettings(h2.Setting{ID: 0xff, Val: 1}) }, "SETTINGS ack"},
	{"6.5: acknowledged SETTINGS with a payload", func(p *peer) {
		p.WriteRawFrame(h2.FrameSettings, h2.FlagSettingsAck, 0, make([]byte, 6))
	}, goFrameSize},
	{"6.5: SETTINGS on a stream", func(p *peer) { p.WriteRawFrame(h2.FrameSettings, 0, 1, nil) }, goProtocol},
	{"6.5: SETTINGS of 3 bytes", func(p *peer) { p.WriteRawFrame(h2.FrameSettings, 0, 0, make([]byte, 3)) }, goFrameSize},
	{"6.5.2: SETTINGS_ENABLE_PUSH of 2", func(p *peer) { p.WriteSettings(h2.Setting{ID: h2.SettingEnablePush, Val: 2}) }, goProtocol},
	{"6.5.2: SETTINGS_ENABLE_PUSH of 1", func(p *peer) { p.WriteSettings(h2.Setting{ID: h2.SettingEnablePush, Val: 1}) }, "SETTINGS ack"},
	{"6.5.2: SETTINGS_INITIAL_WINDOW_SIZE over 2^31-1", func(p *peer) {
		p.WriteSettings(h2.Setting{ID: h2.SettingInitialWindowSize, Val: 1 << 31})
	}, goFlow},
	{"6.5.2: SETTINGS_MAX_FRAME_SIZE too small", func(p *peer) {
		p.WriteSettings(h2.Setting{ID: h2.SettingMaxFrameSize, Val: 1<<14 - 1})
	}, goProtocol},
	{"6.5.2: SETTINGS_MAX_FRAME_SIZE too large", func(p *peer) {
		p.WriteSettings(h2.Setting{ID: h2.SettingMaxFrameSize, Val: 1 << 24})
	}, goProtocol},
	{"RFC 8441 3: SETTINGS_ENABLE_CONNECT_PROTOCOL of 2", func(p *peer) {
		p.WriteSettings(h2.Setting{ID: h2.SettingEnableConnectProtocol, Val: 2})
	}, goProtocol},
	{"6.7: PING is answered", func(p *peer) { p.WritePing(false, [8]byte{'p'}) }, `PING "p\x00\x00\x00\x00\x00\x00\x00" ack`},
	{"6.7: an answer that nobody asked for is ignored", func(p *peer) { p.WritePing(true, [8]byte{}) }, ""},
	{"6.7: PING on a stream", func(p *peer) { p.WriteRawFrame(h2.FramePing, 0, 1, make([]byte, 8)) }, goProtocol},
	{"6.7: PING of 6 bytes", func(p *peer) { p.WriteRawFrame(h2.FramePing, 0, 0, make([]byte, 6)) }, goFrameSize},
	{"6.8: GOAWAY on a stream", func(p *peer) { p.WriteRawFrame(h2.FrameGoAway, 0, 1, make([]byte, 8)) }, goProtocol},
	{"6.8: GOAWAY of 7 bytes", func(p *peer) { p.WriteRawFrame(h2.FrameGoAway, 0, 0, make([]byte, 7)) }, goFrameSize},
	{"7: GOAWAY with an unknown code changes nothing", func(p *peer) {
		p.WriteGoAway(0, 0xff, nil)
		p.headers(1, get...)
	}, ok200},
	{"7: RST_STREAM with an unknown code is one like others", func(p *peer) {
		p.headersOpen(1, post...)
		p.WriteRSTStream(1, 0xff)
		p.WritePing(false, [8]byte{})
	}, `PING "\x00\x00\x00\x00\x00\x00\x00\x00" ack`},
	{"6.9: WINDOW_UPDATE of 3 bytes", func(p *peer) { p.WriteRawFrame(h2.FrameWindowUpdate, 0, 0, make([]byte, 3)) }, goFrameSize},
	{"6.9: WINDOW_UPDATE by 0 on the connection", func(p *peer) { p.WriteWindowUpdate(0, 0) }, goProtocol},
	{"6.9.1: the connection's window over 2^31-1", func(p *peer) {
		p.WriteWindowUpdate(0, 1<<31-1)
	}, goFlow},
	{"8.4: PUSH_PROMISE from a client", func(p *peer) {
		p.WritePushPromise(h2.PushPromiseParam{StreamID: 1, PromiseID: 2, BlockFragment: p.block(get...), EndHeaders: true})
	}, goProtocol},
}

// Each rule is tried with all bytes at once and with one at a time: what
// comes of them must not depend on it.
func (r rule) test(t *testing.T, p func(*peer)) {
	t.Run(r.name, func(t *testing.T) {
		for _, drip := range []bool{false, true} {
			c := client(t, Limits{})
			p(c)
			c.drip = drip
			r.do(c)
			c.send()
			if got := strings.ReplaceAll(c.got(), "\n", ", "); got != r.want {
				t.Errorf("byte by byte %v: got\n  %s\nwant\n  %s", drip, got, r.want)
			}
			if got, want := fmt.Sprint(c.counted), r.counted(); got != want {
				t.Errorf("counted %s, want %s", got, want)
			}
		}
	})
}

// answering makes the handler answer each request at its end.
func answering(p *peer) {
	p.greet()
	p.onRequest = func(x *exchange) { x.atEnd = func() { x.answer(200) } }
}

// counted is what a rule's answer is counted as.
func (r rule) counted() string {
	switch {
	case strings.Contains(r.want, "GOAWAY"):
		return "[connection_error]"
	case strings.Contains(r.want, "RST_STREAM"):
		return "[stream_error]"
	}
	return "[]"
}

func TestServerKeepsTheRulesOfAConnection(t *testing.T) {
	for _, r := range connectionRules {
		r.test(t, answering)
	}
}

// What the rules below find: stream 1 is a POST whose body is still to come,
// stream 3 a GET that waits for its response, 5 was answered, 7 was reset by
// the client, 9 by us.
func openStreams(p *peer) {
	p.greet()
	p.onRequest = func(x *exchange) {
		switch len(p.exchanges) {
		case 3:
			x.answer(200)
		case 5:
			x.ServerStream.Abort(nil)
		}
	}
	p.headersOpen(1, post...)
	p.headers(3, get...)
	p.headers(5, get...)
	p.headersOpen(7, post...)
	p.WriteRSTStream(7, h2.ErrCodeCancel)
	p.headersOpen(9, post...)
	p.send()
	p.got()
}

var streamRules = []rule{
	{"5.1 half-closed (remote): DATA", func(p *peer) { p.WriteData(3, true, []byte("x")) }, "RST_STREAM 3 STREAM_CLOSED"},
	{"5.1 half-closed (remote): HEADERS", func(p *peer) { p.headers(3, "x", "y") }, "RST_STREAM 3 STREAM_CLOSED"},
	{"5.1 half-closed (remote): WINDOW_UPDATE and PRIORITY are fine", func(p *peer) {
		p.WriteWindowUpdate(3, 1)
		p.WritePriority(3, h2.PriorityParam{StreamDep: 1})
	}, ""},
	{"5.1 half-closed (remote): RST_STREAM is fine", func(p *peer) { p.WriteRSTStream(3, h2.ErrCodeCancel) }, ""},
	{"5.1 closed: DATA after END_STREAM", func(p *peer) { p.WriteData(5, true, []byte("x")) }, "GOAWAY 9 STREAM_CLOSED, closed"},
	{"5.1 closed: HEADERS after END_STREAM", func(p *peer) { p.headers(5, get...) }, "GOAWAY 9 STREAM_CLOSED, closed"},
	{"5.1 closed: WINDOW_UPDATE, PRIORITY and RST_STREAM are fine", func(p *peer) {
		p.WriteWindowUpdate(5, 1)
		p.WritePriority(5, h2.PriorityParam{StreamDep: 1})
		p.WriteRSTStream(5, h2.ErrCodeCancel)
	}, ""},
	{"5.1 closed: DATA after the client's RST_STREAM", func(p *peer) { p.WriteData(7, true, []byte("x")) }, "GOAWAY 9 STREAM_CLOSED, closed"},
	{"5.1 closed: HEADERS after the client's RST_STREAM", func(p *peer) { p.headers(7, "x", "y") }, "GOAWAY 9 STREAM_CLOSED, closed"},
	{"5.1 closed: what crossed our RST_STREAM is ignored", func(p *peer) {
		p.WriteData(9, false, []byte("x"))
		p.headers(9, "x", "y")
		p.WriteRSTStream(9, h2.ErrCodeCancel)
		p.WriteWindowUpdate(9, 1)
	}, ""},
	{"5.3.1: HEADERS that make their stream depend on itself", func(p *peer) {
		p.WriteHeaders(h2.HeadersFrameParam{StreamID: 11, BlockFragment: p.block(get...), EndStream: true, EndHeaders: true,
			Priority: h2.PriorityParam{StreamDep: 11}})
	}, "RST_STREAM 11 PROTOCOL_ERROR"},
	{"5.3.1: trailers that make their stream depend on itself", func(p *peer) {
		p.WriteHeaders(h2.HeadersFrameParam{StreamID: 1, BlockFragment: p.block("x", "y"), EndStream: true, EndHeaders: true,
			Priority: h2.PriorityParam{StreamDep: 1}})
	}, "RST_STREAM 1 PROTOCOL_ERROR"},
	{"5.3.1: PRIORITY that makes a stream depend on itself", func(p *peer) {
		p.WritePriority(1, h2.PriorityParam{StreamDep: 1})
	}, "RST_STREAM 1 PROTOCOL_ERROR"},
	{"6.9: WINDOW_UPDATE by 0 on a stream", func(p *peer) { p.WriteWindowUpdate(1, 0) }, "RST_STREAM 1 PROTOCOL_ERROR"},
	{"6.9.1: a stream's window over 2^31-1", func(p *peer) { p.WriteWindowUpdate(1, 1<<31-1) }, "RST_STREAM 1 FLOW_CONTROL_ERROR"},
	{"6.9.2: SETTINGS make a window larger than 2^31-1", func(p *peer) {
		p.WriteWindowUpdate(1, 1<<30)
		p.WriteSettings(h2.Setting{ID: h2.SettingInitialWindowSize, Val: 1<<31 - 1})
	}, "GOAWAY 9 FLOW_CONTROL_ERROR, closed"},
	{"6.9.1: DATA over the stream's window", func(p *peer) {
		p.exchanges[0].hold = true
		for range 17 {
			p.WriteData(1, false, make([]byte, 16000))
		}
	}, "RST_STREAM 1 FLOW_CONTROL_ERROR"},
	{"8.1: trailers without END_STREAM", func(p *peer) { p.headersOpen(1, "x", "y") }, "RST_STREAM 1 PROTOCOL_ERROR"},
	{"8.1: trailers with a pseudo-field", func(p *peer) { p.headers(1, ":path", "/") }, "RST_STREAM 1 PROTOCOL_ERROR"},
	{"8.2.1: trailers with a name in upper case", func(p *peer) { p.headers(1, "X", "y") }, "RST_STREAM 1 PROTOCOL_ERROR"},
	{"8.2.2: trailers with a connection-specific field", func(p *peer) { p.headers(1, "connection", "close") }, "RST_STREAM 1 PROTOCOL_ERROR"},
	{"8.1: trailers with a content-length say nothing by it", func(p *peer) {
		p.WriteData(1, false, []byte("body"))
		p.headers(1, "x", "y", "content-length", "99")
	}, ""},
}

func TestServerKeepsTheRulesOfStreams(t *testing.T) {
	for _, r := range streamRules {
		r.test(t, openStreams)
	}
}

func TestConnectionPreface(t *testing.T) {
	const hello = "SETTINGS MAX_CONCURRENT_STREAMS=128 INITIAL_WINDOW_SIZE=262144 MAX_HEADER_LIST_SIZE=65536 " +
		"ENABLE_CONNECT_PROTOCOL=1 NO_RFC7540_PRIORITIES=1\nWINDOW_UPDATE 983041"
	tests := []struct{ name, send, want string }{
		{"3.4: the server speaks at once", "", hello},
		{"3.4: the preface alone", h2.ClientPreface, hello},
		{"3.4: not the preface", "GET / HTTP/1.1\r\n\r\n", hello + "\nGOAWAY 0 PROTOCOL_ERROR\nclosed"},
		{"3.4: wrong in its last byte", h2.ClientPreface[:23] + "x", hello + "\nGOAWAY 0 PROTOCOL_ERROR\nclosed"},
		{"3.4: PING before SETTINGS", h2.ClientPreface + "\x00\x00\x08\x06\x00\x00\x00\x00\x0012345678", hello + "\nGOAWAY 0 PROTOCOL_ERROR\nclosed"},
		{"3.4: acknowledged SETTINGS before SETTINGS", h2.ClientPreface + "\x00\x00\x00\x04\x01\x00\x00\x00\x00", hello + "\nGOAWAY 0 PROTOCOL_ERROR\nclosed"},
		{"3.4: SETTINGS", h2.ClientPreface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00", hello + "\nSETTINGS ack"},
	}
	for _, tt := range tests {
		for _, drip := range []bool{false, true} {
			p := client(t, Limits{})
			p.drip = drip
			p.out.WriteString(tt.send)
			p.send()
			if got := p.got(); got != tt.want {
				t.Errorf("%s (byte by byte %v): got\n%s\nwant\n%s", tt.name, drip, got, tt.want)
			}
		}
	}
}

// RFC 9113 section 4.3: a block that is not used has still changed the table.
func TestRefusedStreamsKeepTheHeaderTableInStep(t *testing.T) {
	p := client(t, Limits{MaxStreams: 1}).greet()
	p.headersOpen(1, post...)
	p.headers(3, with(get, "x-a", "1")...) // refused
	p.WriteRSTStream(1, h2.ErrCodeCancel)
	p.headers(5, with(get, "x-a", "1")...) // by the index that 3 made
	p.send()
	p.want("RST_STREAM 3 REFUSED_STREAM")
	p.wantSaw(1, "GET http shop.example /, x-a: 1; end")
	if want := []Kind{Concurrency}; len(p.counted) != 1 || p.counted[0] != want[0] {
		t.Errorf("counted %v, want %v", p.counted, want)
	}
}

func TestBodiesComeWithoutTheirPadding(t *testing.T) {
	p := client(t, Limits{}).greet()
	p.drip = true
	p.headersOpen(1, post...)
	p.WriteDataPadded(1, false, []byte("bo"), make([]byte, 5))
	p.WriteDataPadded(1, false, []byte(""), make([]byte, 200))
	p.WriteDataPadded(1, true, []byte("dy"), nil)
	p.send()
	p.wantSaw(0, `POST http shop.example /; "body"; end`)
}

func TestFramesKeepNoCopyOfBodies(t *testing.T) {
	p := client(t, Limits{}).greet()
	p.headersOpen(1, post...)
	p.WriteData(1, true, bytes.Repeat([]byte("b"), 16384))
	b := bytes.Clone(p.out.Bytes())
	p.out.Reset()
	for i := 0; i < len(b); i += 1000 {
		p.srv.Data(b[i:min(i+1000, len(b))])
		if n := len(p.srv.in.partial); n > 200 {
			t.Fatalf("%d bytes kept after %d, want no body bytes among them", n, i)
		}
	}
	if got := len(p.exchanges[0].body); got != 16384 {
		t.Errorf("%d bytes came, want 16384", got)
	}
}
