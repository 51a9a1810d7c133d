package http2

import (
	"fmt"
	"strings"
	"testing"
	"time"

	h2 "golang.org/x/net/http2"

	"fairway.dev/gateway/message"
)

// Each flood ends with ENHANCE_YOUR_CALM within so many frames; what a client
// in good faith does does not.
func TestFloods(t *testing.T) {
	tests := []struct {
		name   string
		kind   Kind
		within int
		frame  func(p *peer, id uint32) // id is a new stream's
	}{
		{"rapid reset", FloodResets, 201, func(p *peer, id uint32) {
			p.headers(id, get...)
			p.WriteRSTStream(id, h2.ErrCodeCancel)
		}},
		{"resets that we are made to send", FloodErrors, 101, func(p *peer, id uint32) {
			p.headersOpen(id, post...)
			p.WriteWindowUpdate(id, 0)
		}},
		{"requests that are malformed", FloodErrors, 101, func(p *peer, id uint32) { p.headers(id, with(get, "X", "y")...) }},
		{"DATA over content-length", FloodErrors, 101, func(p *peer, id uint32) {
			p.headersOpen(id, with(post, "content-length", "1")...)
			p.WriteData(id, true, []byte("ab"))
		}},
		{"heads over the limits", FloodErrors, 101, func(p *peer, id uint32) {
			p.headers(id, with(get, "a", strings.Repeat("a", 9000), "b", strings.Repeat("b", 9000))...)
		}},
		{"SETTINGS", FloodControl, 199, func(p *peer, id uint32) { p.WriteSettings() }},
		{"acknowledged SETTINGS", FloodControl, 199, func(p *peer, id uint32) { p.WriteSettingsAck() }},
		{"PING", FloodControl, 199, func(p *peer, id uint32) { p.WritePing(false, [8]byte{}) }},
		{"answers to no PING", FloodControl, 199, func(p *peer, id uint32) { p.WritePing(true, [8]byte{}) }},
		{"unknown frames", FloodControl, 199, func(p *peer, id uint32) { p.WriteRawFrame(0xbb, 0, 0, nil) }},
		{"GOAWAY", FloodControl, 199, func(p *peer, id uint32) { p.WriteGoAway(0, 0, nil) }},
		{"PRIORITY", FloodPriority, 201, func(p *peer, id uint32) { p.WritePriority(id, h2.PriorityParam{}) }},
		{"PRIORITY_UPDATE", FloodPriority, 201, func(p *peer, id uint32) { p.WriteRawFrame(0x10, 0, 0, []byte("\x00\x00\x00\x01u=1")) }},
		{"HEADERS on a stream that we reset", FloodErrors, 101, func(p *peer, id uint32) { p.headers(1, with(get, "X", "y")...) }},
		{"WINDOW_UPDATE", FloodWindowUpdates, 501, func(p *peer, id uint32) { p.WriteWindowUpdate(0, 1) }},
		{"WINDOW_UPDATE on a closed stream", FloodWindowUpdates, 501, func(p *peer, id uint32) {
			if id == 1 {
				p.headers(1, get...)
				p.WriteRSTStream(1, h2.ErrCodeCancel)
			}
			p.WriteWindowUpdate(1, 1)
		}},
		{"WINDOW_UPDATE by a byte where much waits", FloodWindowUpdates, 502, func(p *peer, id uint32) {
			if id == 1 {
				p.WriteSettings(h2.Setting{ID: h2.SettingInitialWindowSize, Val: 0})
				p.onRequest = func(x *exchange) { x.head(200); x.ServerStream.Data(make([]byte, 50000)) }
				p.headers(1, get...)
				return
			}
			p.WriteWindowUpdate(1, 1)
		}},
		{"RST_STREAM on a closed stream", FloodControl, 201, func(p *peer, id uint32) {
			if id == 1 {
				p.headers(1, get...)
			}
			p.WriteRSTStream(1, h2.ErrCodeCancel)
		}},
		{"empty DATA", FloodEmpty, 101, func(p *peer, id uint32) {
			if id == 1 {
				p.headersOpen(1, post...)
			}
			p.WriteData(1, false, nil)
		}},
		{"DATA of padding", FloodEmpty, 101, func(p *peer, id uint32) {
			if id == 1 {
				p.headersOpen(1, post...)
			}
			p.WriteDataPadded(1, false, nil, make([]byte, 3))
		}},
		{"DATA of no padding", FloodEmpty, 101, func(p *peer, id uint32) {
			if id == 1 {
				p.headersOpen(1, post...)
			}
			p.WriteDataPadded(1, false, nil, []byte{})
		}},
		{"CONTINUATION without end", FloodContinuation, 33, func(p *peer, id uint32) {
			if id == 1 {
				p.WriteRawFrame(h2.FrameHeaders, 0, 1, p.block(get...))
			}
			p.WriteContinuation(1, false, []byte{0x82})
		}},
		{"CONTINUATION with nothing in them", FloodEmpty, 106, func(p *peer, id uint32) {
			if (id/2)%20 == 0 {
				p.WriteRawFrame(h2.FrameHeaders, 0, id, p.block(get...)[:1])
			} else if (id/2)%20 == 19 {
				p.WriteContinuation(id-38, true, nil)
				return
			}
			p.WriteContinuation(id-2*((id/2)%20), false, nil)
		}},
		{"CONTINUATION of many bytes", FloodContinuation, 3, func(p *peer, id uint32) {
			if id == 1 {
				p.WriteRawFrame(h2.FrameHeaders, 0, 1, p.block(get...))
			}
			p.WriteContinuation(1, false, make([]byte, 16384))
		}},
		{"HEADERS with nothing in them", FloodEmpty, 101, func(p *peer, id uint32) {
			p.WriteRawFrame(h2.FrameHeaders, 0, id, nil)
			p.WriteContinuation(id, true, p.block(get...))
		}},
	}
	for _, tt := range tests {
		p := client(t, Limits{HeaderBytes: 16 << 10}).greet()
		n := 0
		for ; n < 2*tt.within && !p.srv.closed; n++ {
			tt.frame(p, uint32(2*n+1))
			p.send()
		}
		if n != tt.within {
			t.Errorf("%s: it went on for %d frames, want %d", tt.name, n, tt.within)
		}
		if got := p.got(); !strings.Contains(got, "ENHANCE_YOUR_CALM\nclosed") {
			t.Errorf("%s: got\n%s\nwant GOAWAY with ENHANCE_YOUR_CALM in the end", tt.name, got[max(0, len(got)-200):])
		}
		if last := p.counted[len(p.counted)-1]; last != tt.kind {
			t.Errorf("%s: counted %v, want %v", tt.name, last, tt.kind)
		}
		for i, x := range p.exchanges {
			if !strings.Contains(p.saw(i), "abort") {
				t.Errorf("%s: exchange %d of %d was not aborted: %v", tt.name, i, len(p.exchanges), x.events)
				break
			}
		}
	}
}

func TestKindsHaveLabels(t *testing.T) {
	seen := map[string]bool{}
	for i, label := range Kinds() {
		if label == "" || seen[label] || Kind(i).String() != label {
			t.Errorf("kind %d has the label %q", i, label)
		}
		seen[label] = true
	}
}

// What an answer or a second gives back is enough for clients in good faith.
func TestGoodFaithIsNoFlood(t *testing.T) {
	p := client(t, Limits{}).greet()
	p.onRequest = func(x *exchange) {
		if len(p.exchanges)%2 == 0 {
			x.head(200)
			x.send("hello")
			x.end()
		}
	}
	id := uint32(1)
	for range 1000 { // every other request is given up
		p.headers(id, get...)
		p.WriteRSTStream(id, h2.ErrCodeCancel)
		p.headers(id+2, get...)
		p.WriteWindowUpdate(id+2, 5)
		p.WriteWindowUpdate(0, 5)
		p.WritePing(false, [8]byte{}) // to measure the bandwidth
		p.WritePriority(id+2, h2.PriorityParam{})
		p.send()
		id += 4
	}
	for range 200 { // a keepalive that is eager, on an idle connection
		p.WritePing(false, [8]byte{})
		p.send()
		p.loop.Advance(time.Second)
	}
	if p.srv.closed {
		t.Errorf("closed: %v, counted %v", p.srv.err, p.counted)
	}
}

// net/http's client gives a window of 4 MiB back by 4 KiB, of the stream and
// of the connection, and all in a row where it was slow to read.
func TestWindowsGivenBackAreNoFlood(t *testing.T) {
	const window, piece = 4 << 20, 4 << 10
	for _, tt := range []struct {
		name   string
		update uint32 // bytes a frame
		closed bool
	}{{"what was sent", piece, false}, {"more than was sent", 2 * piece, true}, {"by the byte", 1, true}} {
		p := client(t, Limits{}).greet(h2.Setting{ID: h2.SettingInitialWindowSize, Val: window})
		p.WriteWindowUpdate(0, window)
		p.onRequest = func(x *exchange) {
			x.head(200)
			for range window / (64 << 10) {
				x.ServerStream.Data(make([]byte, 64<<10))
			}
		}
		p.headers(1, get...)
		p.send()
		for range window / piece {
			p.WriteWindowUpdate(1, tt.update)
			p.WriteWindowUpdate(0, tt.update)
			p.send()
		}
		if p.srv.closed != tt.closed {
			t.Errorf("%s: closed %v, want %v: counted %v", tt.name, p.srv.closed, tt.closed, p.counted)
		}
	}
}

func TestPeersThatOweUsSomething(t *testing.T) {
	tests := []struct {
		name string
		send func(p *peer)
		want string
	}{
		{"no preface", func(p *peer) {}, "GOAWAY 0 NO_ERROR\nclosed"},
		{"half a preface", func(p *peer) { p.out.WriteString(h2.ClientPreface[:12]) }, "GOAWAY 0 NO_ERROR\nclosed"},
		{"no SETTINGS", func(p *peer) { p.out.WriteString(h2.ClientPreface) }, "GOAWAY 0 NO_ERROR\nclosed"},
		{"half a frame", func(p *peer) {
			p.greet()
			p.headers(1, get...)
			p.out.Truncate(20)
		}, "GOAWAY 0 NO_ERROR\nclosed"},
		{"half a header block", func(p *peer) {
			p.greet()
			p.headersOpen(1, post...)
			p.WriteRawFrame(h2.FrameHeaders, 0, 3, p.block(get...))
		}, "GOAWAY 1 NO_ERROR\nclosed"},
		{"a body may take its time", func(p *peer) {
			p.greet()
			p.headersOpen(1, post...)
			p.WriteData(1, false, []byte("body"))
			p.out.Truncate(p.out.Len() - 1)
		}, ""},
	}
	for _, tt := range tests {
		p := client(t, Limits{HeadTimeout: 3 * time.Second})
		p.got()
		tt.send(p)
		p.send()
		p.loop.Advance(2900 * time.Millisecond)
		if got := p.got(); got != "" {
			t.Errorf("%s: before the deadline got %s", tt.name, got)
		}
		p.loop.Advance(200 * time.Millisecond)
		if got := p.got(); got != tt.want {
			t.Errorf("%s: after the deadline got\n%s\nwant\n%s", tt.name, got, tt.want)
		}
	}
}

// A stream of small pieces, each of them cut somewhere, owes nothing for long.
func TestProgressMovesTheDeadline(t *testing.T) {
	p := client(t, Limits{HeadTimeout: 3 * time.Second}).greet()
	p.onRequest = func(x *exchange) { x.answer(204) }
	for id := uint32(1); id < 20; id += 2 {
		p.headers(id, get...)
		b := append([]byte(nil), p.out.Bytes()...)
		p.out.Reset()
		p.out.Write(b[:len(b)-1])
		p.send()
		p.loop.Advance(2 * time.Second)
		p.out.Write(b[len(b)-1:])
		p.headers(id+2, get...)
		id += 2
		p.send()
	}
	if p.srv.closed {
		t.Errorf("closed: %v", p.srv.err)
	}
}

func TestIdleConnectionsAreClosed(t *testing.T) {
	p := client(t, Limits{IdleTimeout: time.Minute}).greet()
	p.headers(1, get...)
	p.send()
	p.loop.Advance(5 * time.Minute) // not idle: a request is under way
	p.want()
	p.exchanges[0].answer(200)
	p.want("HEADERS 1 :status=200 END")
	p.loop.Advance(59 * time.Second)
	p.want()
	p.loop.Advance(2 * time.Second)
	p.want("GOAWAY 1 NO_ERROR", "closed")
	if got := fmt.Sprint(p.counted); got != "[idle_time]" {
		t.Errorf("counted %s", got)
	}
}

func TestTooManyStreamsAreRefused(t *testing.T) {
	p := client(t, Limits{MaxStreams: 2}).greet()
	for id := uint32(1); id <= 5; id += 2 {
		p.headers(id, get...)
	}
	p.send()
	p.want("RST_STREAM 5 REFUSED_STREAM")
	p.exchanges[0].answer(200)
	p.headers(7, get...)
	p.send()
	p.want("HEADERS 1 :status=200 END")
	if len(p.exchanges) != 3 {
		t.Errorf("%d requests taken in, want 3", len(p.exchanges))
	}
}

// Resets of streams from long ago are forgotten; nothing bad is said of them.
func TestManyResetStreams(t *testing.T) {
	p := client(t, Limits{}).greet()
	p.onRequest = func(x *exchange) { x.answer(200) }
	for id := uint32(1); id < 1000; id += 2 {
		p.headersOpen(id, post...)
	}
	p.send()
	p.got()
	p.WriteData(1, true, []byte("late"))
	p.WriteData(999, true, []byte("late"))
	p.send()
	p.want()
}

// RFC 9113 section 6.8: GOAWAY in two steps; what was begun is finished.
func TestDrain(t *testing.T) {
	p := client(t, Limits{}).greet()
	p.headers(1, get...)
	p.send()
	p.srv.Drain()
	p.srv.Drain()
	p.want("GOAWAY 2147483647 NO_ERROR", `PING "draining"`)
	p.headers(3, get...) // was on its way
	p.WritePing(true, [8]byte{'d', 'r', 'a', 'i', 'n', 'i', 'n', 'g'})
	p.headers(5, get...) // came too late
	p.send()
	p.want("GOAWAY 3 NO_ERROR", "RST_STREAM 5 REFUSED_STREAM")
	p.exchanges[0].answer(200)
	p.want("HEADERS 1 :status=200 END")
	p.exchanges[1].answer(200)
	p.want("HEADERS 3 :status=200 END", "closed")
	if len(p.exchanges) != 2 {
		t.Errorf("%d requests taken in, want 2", len(p.exchanges))
	}
}

func TestDrainOfAClientThatDoesNotAnswer(t *testing.T) {
	p := client(t, Limits{}).greet()
	p.srv.Drain()
	p.want("GOAWAY 2147483647 NO_ERROR", `PING "draining"`)
	p.loop.Advance(drainGrace)
	p.want("GOAWAY 0 NO_ERROR", "closed")
}

func TestLastRequestOfAConnection(t *testing.T) {
	p := client(t, Limits{MaxRequests: 2}).greet()
	p.onRequest = func(x *exchange) { x.answer(200) }
	p.headers(1, get...)
	p.headers(3, get...)
	p.send()
	p.want("HEADERS 1 :status=200 END", "HEADERS 3 :status=200 END", "GOAWAY 2147483647 NO_ERROR", `PING "draining"`)
	if got := fmt.Sprint(p.counted); got != "[connection_requests]" {
		t.Errorf("counted %s", got)
	}
}

// Our last words wait for a peer that does not read, but not for ever.
func TestFinishingHasADeadline(t *testing.T) {
	p := client(t, Limits{WriteStall: 10 * time.Second}).greet()
	p.far.Block()
	p.WriteData(1, true, nil)
	p.send()
	p.loop.Advance(9 * time.Second)
	if p.far.Closed() {
		t.Fatal("closed before the deadline")
	}
	p.loop.Advance(2 * time.Second)
	if !p.far.Closed() {
		t.Error("still open after the deadline")
	}
}

func TestCloseAbortsWhatIsUnderWay(t *testing.T) {
	p := client(t, Limits{}).greet()
	p.headers(1, get...)
	p.send()
	p.srv.Close()
	p.srv.Close()
	p.wantSaw(0, "GET http shop.example /; end") // not from inside the call
	p.want("closed")
	p.wantSaw(0, "GET http shop.example /; end; abort "+message.Cancelled.String())
	p.srv.Data([]byte("nobody listens"))
	p.srv.Drain()
	p.srv.Drained()
	p.srv.EOF()
	p.want()
}
