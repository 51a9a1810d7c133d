package http2

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	h2 "golang.org/x/net/http2"

	"fairway.dev/gateway/message"
)

// RFC 9113 section 6.9.1: not a byte over the window.
func TestResponsesKeepTheStreamsWindow(t *testing.T) {
	p := client(t, Limits{}).greet(h2.Setting{ID: h2.SettingInitialWindowSize, Val: 1})
	p.onRequest = func(x *exchange) {
		x.head(200)
		x.send("hello")
		x.end()
	}
	p.headers(1, get...)
	p.send()
	p.want("HEADERS 1 :status=200", `DATA 1 "h"`)
	if got := p.exchanges[0].Queued(); got != 4 {
		t.Errorf("Queued() = %d, want 4", got)
	}
	p.WriteWindowUpdate(1, 2)
	p.send()
	p.want(`DATA 1 "el"`)
	p.WriteWindowUpdate(1, 2)
	p.send()
	p.want(`DATA 1 "lo"`, `DATA 1 "" END`)
}

// RFC 9113 section 6.9.2: SETTINGS change the windows of open streams, also
// to below 0.
func TestSettingsChangeWindows(t *testing.T) {
	window := func(p *peer, n uint32) {
		p.WriteSettings(h2.Setting{ID: h2.SettingInitialWindowSize, Val: n})
		p.send()
	}
	p := client(t, Limits{}).greet(h2.Setting{ID: h2.SettingInitialWindowSize, Val: 3})
	p.onRequest = func(x *exchange) { x.head(200); x.send("hello, world") }
	p.headers(1, get...)
	p.send()
	p.want("HEADERS 1 :status=200", `DATA 1 "hel"`)
	window(p, 5)
	p.want("SETTINGS ack", `DATA 1 "lo"`)
	window(p, 2) // now -3
	p.want("SETTINGS ack")
	p.WriteWindowUpdate(1, 3) // now 0
	p.send()
	p.want()
	p.WriteWindowUpdate(1, 1)
	p.send()
	p.want(`DATA 1 ","`)
	window(p, 100)
	p.want("SETTINGS ack", `DATA 1 " world"`)
}

// RFC 9113 section 6.5.3: values are taken in their order.
func TestSettingsTwiceInOneFrame(t *testing.T) {
	p := client(t, Limits{}).greet(
		h2.Setting{ID: h2.SettingInitialWindowSize, Val: 100}, h2.Setting{ID: h2.SettingInitialWindowSize, Val: 1})
	p.onRequest = func(x *exchange) { x.head(200); x.send("hello") }
	p.headers(1, get...)
	p.send()
	p.want("HEADERS 1 :status=200", `DATA 1 "h"`)
}

// The connection's window is shared out a frame a stream and turn, and nobody
// overtakes.
func TestStreamsTakeTurns(t *testing.T) {
	p := client(t, Limits{}).greet(h2.Setting{ID: h2.SettingInitialWindowSize, Val: 1 << 20})
	p.onRequest = func(x *exchange) {
		x.head(200)
		x.ServerStream.Data(make([]byte, 40000))
	}
	for id := uint32(1); id <= 5; id += 2 {
		p.headers(id, get...)
	}
	p.send()
	p.want("HEADERS 1 :status=200", "DATA 1 16384 bytes", "DATA 1 16384 bytes", "DATA 1 7232 bytes",
		"HEADERS 3 :status=200", "DATA 3 16384 bytes", "DATA 3 9151 bytes", "HEADERS 5 :status=200")
	p.exchanges[0].send("late") // though it has a window, it is not its turn
	p.WriteWindowUpdate(0, 100000)
	p.send()
	p.want("DATA 3 14465 bytes", "DATA 5 16384 bytes", `DATA 1 "late"`, "DATA 5 16384 bytes", "DATA 5 7232 bytes")
}

// A source is paused by Queued and goes on with Drained.
func TestDrainedIsToldOnceTheQueueIsLow(t *testing.T) {
	p := client(t, Limits{}).greet(h2.Setting{ID: h2.SettingInitialWindowSize, Val: 0})
	p.headers(1, get...)
	p.send()
	x := p.exchanges[0]
	x.head(200)
	x.ServerStream.Data(make([]byte, message.HighWater+1))
	if x.Queued() != message.HighWater+1 {
		t.Fatalf("Queued() = %d, want all", x.Queued())
	}
	steps := []struct {
		window uint32
		want   string
	}{{message.HighWater - message.LowWater + 1, "end"}, {1, "end; drained"}, {1 << 20, "end; drained"}}
	p.WriteWindowUpdate(0, 1<<20)
	for _, s := range steps {
		p.WriteWindowUpdate(1, s.window)
		p.send()
		if got := strings.Join(x.events, "; "); got != s.want {
			t.Errorf("with %d bytes queued the receiver heard %s, want %s", x.Queued(), got, s.want)
		}
	}
}

// A peer that does not read: bodies wait in their streams' queues, not in the
// connection's, and take turns when it reads on.
func TestSlowSocketKeepsBodiesInTheirStreams(t *testing.T) {
	p := client(t, Limits{}).greet(h2.Setting{ID: h2.SettingInitialWindowSize, Val: 1 << 20})
	p.WriteWindowUpdate(0, 1<<20)
	p.far.Block()
	p.headers(1, get...)
	p.headers(3, get...)
	p.send()
	for _, x := range p.exchanges {
		x.head(200)
		x.ServerStream.Data(make([]byte, 200000))
	}
	if n := p.far.Queued(); n > message.HighWater+maxFrame+1000 {
		t.Errorf("%d bytes wait for the socket, want about %d", n, message.HighWater)
	}
	p.far.Unblock()
	var order strings.Builder
	for _, line := range strings.Split(p.got(), "\n") {
		if strings.HasPrefix(line, "DATA") {
			order.WriteByte(line[5])
		}
	}
	if got := order.String(); !strings.Contains(got, "1313131313") {
		t.Errorf("frames of the streams came as %s, want turns", got)
	}
	for _, x := range p.exchanges {
		if x.Queued() != 0 {
			t.Errorf("%d bytes are still queued", x.Queued())
		}
	}
}

// What the handler has not consumed is not given back, neither of the
// stream's window nor of the connection's.
func TestConsumedGivesTheWindowBack(t *testing.T) {
	p := client(t, Limits{StreamWindow: 100000, ConnWindow: 150000}).greet()
	p.headersOpen(1, post...)
	p.send()
	x := p.exchanges[0]
	x.hold = true
	for range 6 {
		p.WriteData(1, false, make([]byte, 16000))
	}
	p.send()
	p.want()
	x.Consumed(49999)
	p.want()
	x.Consumed(1)
	p.want("WINDOW_UPDATE 1 50000")
	x.Consumed(30000)
	p.want("WINDOW_UPDATE 80000")
	x.Consumed(1 << 30) // never more than was delivered
	if got := p.srv.recvCredit; got != 16000 {
		t.Errorf("%d bytes of the connection's window to give back, want 16000", got)
	}
}

// A stream that is given up gives its part of the connection's window back.
func TestResetGivesTheConnectionsWindowBack(t *testing.T) {
	p := client(t, Limits{StreamWindow: 64 << 10, ConnWindow: 64 << 10}).greet()
	p.headersOpen(1, post...)
	p.send()
	p.exchanges[0].hold = true
	p.WriteData(1, false, make([]byte, 16<<10))
	p.WriteData(1, false, make([]byte, 16<<10))
	p.WriteRSTStream(1, h2.ErrCodeCancel)
	p.send()
	p.want("WINDOW_UPDATE 32768")
}

// Bytes that cross our RST_STREAM count against the connection's window, and
// are given back.
func TestIgnoredDataGivesTheWindowBack(t *testing.T) {
	p := client(t, Limits{StreamWindow: 64 << 10, ConnWindow: 64 << 10}).greet()
	p.onRequest = func(x *exchange) { x.answer(200) }
	p.headersOpen(1, post...)
	p.WriteDataPadded(1, false, make([]byte, 16<<10-100), make([]byte, 99))
	p.WriteData(1, false, make([]byte, 16<<10))
	p.send()
	p.want("HEADERS 1 :status=200 END", "RST_STREAM 1 NO_ERROR", "WINDOW_UPDATE 32768")
}

// RFC 9113 section 6.9.1: a receiver holds its peer to the connection's window.
func TestDataOverTheConnectionsWindow(t *testing.T) {
	p := client(t, Limits{StreamWindow: 64 << 10, ConnWindow: 64 << 10}).greet()
	p.onRequest = func(x *exchange) { x.hold = true }
	for id := uint32(1); id <= 5; id += 2 {
		p.headersOpen(id, post...)
		for range 2 {
			p.WriteData(id, false, make([]byte, 16<<10))
		}
	}
	p.send()
	p.want("GOAWAY 5 FLOW_CONTROL_ERROR", "closed")
	p.wantSaw(2, "POST http shop.example /; abort malformed message")
}

// Window updates come in time for any size of body.
func TestLargeBodiesBothWays(t *testing.T) {
	const size = 3 << 20
	p := client(t, Limits{}).greet()
	p.headersOpen(1, post...)
	p.send()
	x := p.exchanges[0]
	window, conn := 256<<10, 1<<20
	for sent := 0; sent < size; {
		n := min(16<<10, window, conn, size-sent)
		if n <= 0 {
			t.Fatalf("no window left after %d bytes", sent)
		}
		p.WriteData(1, false, bytes.Repeat([]byte{byte(sent >> 14)}, n))
		p.send()
		sent, window, conn = sent+n, window-n, conn-n
		for _, line := range strings.Split(p.got(), "\n") {
			var a, b int
			if n, _ := fmt.Sscanf(line, "WINDOW_UPDATE %d %d", &a, &b); n == 2 {
				window += b
			} else if n == 1 {
				conn += a
			}
		}
	}
	if len(x.body) != size {
		t.Errorf("%d bytes came, want %d", len(x.body), size)
	}
	x.head(200)
	x.ServerStream.Data(make([]byte, 100000))
	x.end()
	got := 0
	for range 10 {
		for _, line := range strings.Split(p.got(), "\n") {
			var n int
			if k, _ := fmt.Sscanf(line, "DATA 1 %d bytes", &n); k == 1 {
				got += n
			}
		}
		p.WriteWindowUpdate(1, 20000)
		p.WriteWindowUpdate(0, 20000)
		p.send()
	}
	if got != 100000 {
		t.Errorf("%d bytes came back, want 100000", got)
	}
}

// CVE-2019-9511, CVE-2019-9517: a client that asks and gives no window.
func TestStreamsWithoutWindowAreResetInTheEnd(t *testing.T) {
	p := client(t, Limits{WriteStall: 10 * time.Second}).greet(h2.Setting{ID: h2.SettingInitialWindowSize, Val: 0})
	p.onRequest = func(x *exchange) { x.head(200); x.send("hello"); x.end() }
	p.headers(1, get...)
	p.headers(3, get...)
	p.send()
	p.want("HEADERS 1 :status=200", "HEADERS 3 :status=200")
	for range 3 { // a byte now and then is enough
		p.loop.Advance(9 * time.Second)
		p.WriteWindowUpdate(1, 1)
		p.send()
	}
	p.want(`DATA 1 "h"`, `DATA 1 "e"`, "RST_STREAM 3 CANCEL", `DATA 1 "l"`)
	p.loop.Advance(20 * time.Second)
	p.want("RST_STREAM 1 CANCEL")
	if got := fmt.Sprint(p.counted); got != "[write_stall write_stall]" {
		t.Errorf("counted %s", got)
	}
}

// A client that never reads.
func TestFullSocketEndsTheConnection(t *testing.T) {
	p := client(t, Limits{WriteStall: 10 * time.Second}).greet(h2.Setting{ID: h2.SettingInitialWindowSize, Val: 1 << 20})
	p.far.Block()
	p.headers(1, get...)
	p.send()
	x := p.exchanges[0]
	x.head(200)
	p.WriteWindowUpdate(0, 1<<20)
	p.send()
	x.ServerStream.Data(make([]byte, 200000))
	p.loop.Advance(9 * time.Second)
	if p.far.Closed() {
		t.Fatal("closed before the deadline")
	}
	p.loop.Advance(2 * time.Second)
	if !p.far.Closed() {
		t.Error("still open after the deadline")
	}
	p.wantSaw(0, "GET http shop.example /; end; abort deadline passed")
	if got := fmt.Sprint(p.counted); got != "[write_stall]" {
		t.Errorf("counted %s", got)
	}
}

// Responses without a body are not held back by any window: a client that
// sends requests and reads nothing is not read from any more.
func TestReadingPausesWhileThePeerDoesNotRead(t *testing.T) {
	p := client(t, Limits{WriteStall: 10 * time.Second}).greet()
	value := strings.Repeat("v", 8000)
	p.onRequest = func(x *exchange) { x.head(200, "x", value); x.end() }
	p.far.Block()
	id := uint32(1)
	for range 100 {
		p.headers(id, get...)
		p.send()
		id += 2
	}
	if n := p.far.Queued(); n > pauseAt+20000 {
		t.Errorf("%d bytes wait for the socket, want at most about %d", n, pauseAt)
	}
	p.far.Unblock()
	if got := strings.Count(p.got(), "HEADERS"); got != 100 {
		t.Errorf("%d responses came once the client read, want 100", got)
	}
}
