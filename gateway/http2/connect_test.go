package http2

import (
	"strings"
	"testing"
	"time"

	h2 "golang.org/x/net/http2"

	"fairway.dev/gateway/message"
)

var connect = []string{":method", "CONNECT", ":authority", "10.96.0.5:80"}

func TestTunnelFromClient(t *testing.T) {
	p := client(t, Limits{Tunnels: true}).greet()
	p.headersOpen(1, with(connect, "forwarded", "for=192.0.2.7")...)
	p.send()
	x := p.exchanges[0]
	if x.request.Length != message.Unknown || x.request.Upgrade != "" {
		t.Errorf("the request has Length %d and Upgrade %q, want Unknown and none", x.request.Length, x.request.Upgrade)
	}
	p.want()
	x.head(200)
	x.send("hello")
	p.want("HEADERS 1 :status=200", `DATA 1 "hello"`)
	p.WriteData(1, true, []byte("bye")) // RFC 9113 section 8.5: END_STREAM is a FIN, of one direction
	p.send()
	x.send("more")
	x.end("x", "y")
	p.want(`DATA 1 "more"`, `DATA 1 "" END`)
	p.wantSaw(0, `CONNECT http 10.96.0.5:80, forwarded: for=192.0.2.7; "bye"; end`)
	if p.srv.streams.n != 0 {
		t.Error("the stream is still open")
	}
}

func TestTunnelThatTheServerEndsFirst(t *testing.T) {
	p := client(t, Limits{Tunnels: true}).greet()
	p.headersOpen(1, connect...)
	p.send()
	x := p.exchanges[0]
	x.head(200)
	x.end()
	p.want("HEADERS 1 :status=200", `DATA 1 "" END`)
	p.WriteData(1, false, []byte("still"))
	p.WriteData(1, true, []byte(" here"))
	p.send()
	p.want()
	p.wantSaw(0, `CONNECT http 10.96.0.5:80; "still here"; end`)
}

// RFC 9113 section 8.5: an error of the connection behind is CONNECT_ERROR.
func TestTunnelsAreResetWithTheirOwnError(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(x *exchange)
		want []string
	}{
		{"before it is open", func(x *exchange) { x.ServerStream.Abort(nil) }, []string{"RST_STREAM 1 INTERNAL_ERROR"}},
		{"open", func(x *exchange) { x.head(200); x.ServerStream.Abort(nil) }, []string{"HEADERS 1 :status=200", "RST_STREAM 1 CONNECT_ERROR"}},
		{"ended on our side", func(x *exchange) { x.head(200); x.end(); x.ServerStream.Abort(nil) },
			[]string{"HEADERS 1 :status=200", `DATA 1 "" END`, "RST_STREAM 1 NO_ERROR"}},
		{"refused", func(x *exchange) { x.answer(503) }, []string{"HEADERS 1 :status=503 END", "RST_STREAM 1 NO_ERROR"}},
		{"a 204 opens it too", func(x *exchange) { x.head(204); x.send("."); x.ServerStream.Abort(nil) },
			[]string{"HEADERS 1 :status=204", `DATA 1 "."`, "RST_STREAM 1 CONNECT_ERROR"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := client(t, Limits{Tunnels: true}).greet()
			p.headersOpen(1, connect...)
			p.send()
			tt.do(p.exchanges[0])
			p.want(tt.want...)
		})
	}
}

// RFC 9110 section 9.3.6: no length with a 2xx to CONNECT.
func TestTunnelsHaveNoLength(t *testing.T) {
	p := client(t, Limits{Tunnels: true}).greet()
	p.headersOpen(1, connect...)
	p.send()
	p.exchanges[0].Head(&message.Response{Status: 200, Length: 5}, false)
	p.want("HEADERS 1 :status=200")

	c := backend(t, ClientOptions{}).greet()
	r := c.ask(message.Request{Method: "CONNECT"}, false)
	c.headersOpen(1, ":status", "200", "content-length", "3")
	c.WriteData(1, true, []byte("hello"))
	c.send()
	c.wantSeen(r, `200; "hello"; end`)
}

func TestWhatIsNoCONNECT(t *testing.T) {
	const malformed, open = "RST_STREAM 1 PROTOCOL_ERROR", ""
	for _, tt := range []struct {
		name   string
		fields []string
		want   string
	}{
		{"8.5: as it is to be", connect, open},
		{"8.5: with :path", with(connect, ":path", "/"), malformed},
		{"8.5: with :scheme", with(connect, ":scheme", "http"), malformed},
		{"8.5: Host in place of :authority", []string{":method", "CONNECT", "host", "a:80"}, malformed},
		{"8.5: no authority", []string{":method", "CONNECT"}, malformed},
		{"8.5: an authority with user information", []string{":method", "CONNECT", ":authority", "u@a:80"}, malformed},
		{"RFC 9110 9.3.6: with a length", with(connect, "content-length", "0"), malformed},
		{"8.2.2: with connection", with(connect, "connection", "close"), malformed},
	} {
		for _, drip := range []bool{false, true} {
			p := client(t, Limits{Tunnels: true}).greet()
			p.drip = drip
			p.headersOpen(1, tt.fields...)
			p.send()
			if got := p.got(); got != tt.want {
				t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
			}
		}
	}
}

// RFC 9113 section 8.5: other frames than DATA on the stream of a tunnel.
func TestNoHeadersInTunnels(t *testing.T) {
	p := client(t, Limits{Tunnels: true}).greet()
	p.headersOpen(1, connect...)
	p.send()
	p.exchanges[0].head(200)
	p.headers(1, "x", "y")
	p.send()
	p.want("HEADERS 1 :status=200", "RST_STREAM 1 PROTOCOL_ERROR")
	p.wantSaw(0, "CONNECT http 10.96.0.5:80; abort malformed message")

	c := backend(t, ClientOptions{}).greet()
	r := c.ask(message.Request{Method: "CONNECT"}, false)
	c.got()
	c.headersOpen(1, ":status", "200")
	c.headers(1, "x", "y")
	c.send()
	c.want("RST_STREAM 1 PROTOCOL_ERROR")
	c.wantSeen(r, "200; abort malformed message")
}

func TestCONNECTIsNeverTheLastOfItsMessage(t *testing.T) {
	p := client(t, Limits{Tunnels: true}).greet()
	p.headers(1, connect...)
	p.send()
	p.wantSaw(0, "CONNECT http 10.96.0.5:80; end")
	p.exchanges[0].head(200)
	p.exchanges[0].send("hello")
	p.exchanges[0].end()
	p.want("HEADERS 1 :status=200", `DATA 1 "hello"`, `DATA 1 "" END`)

	c := backend(t, ClientOptions{}).greet()
	r := c.ask(message.Request{Method: "CONNECT"}, true)
	c.want("HEADERS 1 :method=CONNECT :authority=backend")
	c.headers(1, ":status", "200")
	c.send()
	c.wantSeen(r, "200; end")
}

func TestTunnelToBackend(t *testing.T) {
	p := backend(t, ClientOptions{}).greet()
	r := p.ask(message.Request{Method: "CONNECT", Length: message.Unknown, Trailers: true, Fields: message.Fields{{Text: "x-fairway-source", Value: "me"}}}, false)
	p.want("HEADERS 1 :method=CONNECT :authority=backend x-fairway-source=me")
	p.headersOpen(1, ":status", "103")
	p.headersOpen(1, ":status", "200")
	p.WriteData(1, false, []byte("hello"))
	p.send()
	r.Stream.Data([]byte("ping"))
	r.Stream.End(message.Fields{{Text: "x", Value: "y"}})
	p.want(`DATA 1 "ping"`, `DATA 1 "" END`)
	p.WriteData(1, true, []byte("bye"))
	p.send()
	p.wantSeen(r, `103; 200; "hello"; "bye"; end`)
	if p.cli.streams.n != 0 {
		t.Error("the stream is still open")
	}

	r = p.ask(message.Request{Method: "CONNECT"}, false)
	p.headers(3, ":status", "503")
	p.send()
	p.wantSeen(r, "503, last")
	r.Stream.Abort(nil)
	p.want("HEADERS 3 :method=CONNECT :authority=backend", "RST_STREAM 3 CANCEL")
}

// Many tunnels that open and are reset are no flood (CVE-2023-44487): each was
// answered.
func TestTunnelsThatWereOpenMayBeReset(t *testing.T) {
	p := client(t, Limits{Tunnels: true}).greet()
	p.onRequest = func(x *exchange) { x.head(200) }
	for id := uint32(1); id < 2000; id += 2 {
		p.headersOpen(id, connect...)
		p.WriteRSTStream(id, h2.ErrCodeConnect)
	}
	p.send()
	if len(p.counted) > 0 {
		t.Errorf("counted %v", p.counted)
	}
}

// A gateway's connection has many clients' streams, and their resets.
func TestManyClientsMayReset(t *testing.T) {
	resets := func(lim Limits) []Kind {
		p := client(t, lim).greet()
		for id := uint32(1); id < 2000; id += 2 {
			p.headersOpen(id, get...)
			p.WriteRSTStream(id, h2.ErrCodeCancel)
		}
		p.send()
		return p.counted
	}
	if got := resets(Limits{}); len(got) == 0 || got[0] != FloodResets {
		t.Errorf("of one client, counted %v, want %v", got, FloodResets)
	}
	if got := resets(Limits{ManyClients: true}); len(got) > 0 {
		t.Errorf("of many clients, counted %v", got)
	}
}

// The connection's window does not wait for the one that is slow.
func TestManyClientsShareTheWindow(t *testing.T) {
	p := client(t, Limits{ManyClients: true, StreamWindow: 64 << 10, ConnWindow: 64 << 10}).greet()
	p.onRequest = func(x *exchange) { x.hold = true }
	p.headersOpen(1, post...)
	for range 3 {
		p.WriteData(1, false, make([]byte, 16<<10))
	}
	p.send()
	p.want("WINDOW_UPDATE 32768")
	p.exchanges[0].Consumed(48 << 10)
	p.want("WINDOW_UPDATE 1 49152")
}

func TestWindowsGrowForReceiversThatKeepUp(t *testing.T) {
	p := client(t, Limits{ManyClients: true, StreamWindow: 64 << 10, MaxStreamWindow: 1 << 20, ConnWindow: 1 << 20}).greet()
	p.headersOpen(1, post...)
	window := func() int32 {
		s := p.srv.streams.get(1)
		if s.recvWindow+s.recvCredit+s.unconsumed != s.window {
			t.Fatalf("%d may come, %d were consumed and %d were not: want %d together", s.recvWindow, s.recvCredit, s.unconsumed, s.window)
		}
		return s.window
	}
	feed := func(kib int) {
		for range kib / 16 {
			p.WriteData(1, false, make([]byte, 16<<10))
			p.send()
		}
		p.got()
	}
	feed(32)
	if got := window(); got != 128<<10 {
		t.Errorf("after half of it the window is %d, want twice as much", got)
	}
	feed(4 << 10)
	if got := window(); got != 1<<20 {
		t.Errorf("in the end the window is %d, want all that it may be", got)
	}
	if got := p.srv.spare; got != 64<<10 {
		t.Errorf("others may grow by %d, want what is left", got)
	}
	x := p.exchanges[0]
	x.hold = true
	feed(768)
	x.Consumed(600 << 10)
	if got := window(); got > 600<<10 {
		t.Errorf("the window of one who is slow is %d, want less", got)
	}
	p.WriteRSTStream(1, h2.ErrCodeCancel)
	p.send()
	if got := p.srv.spare; got != 1<<20 {
		t.Errorf("with no streams they may grow by %d, want all", got)
	}
}

func TestServersAskSilentClients(t *testing.T) {
	const ask = `PING "anybody?"`
	p := client(t, Limits{PingAfter: 10 * time.Second, PingTimeout: 20 * time.Second, Tunnels: true, IdleTimeout: time.Hour}).greet()
	p.headersOpen(1, connect...)
	p.send()
	p.exchanges[0].head(200)
	p.got()
	for range 3 {
		p.loop.Advance(10 * time.Second)
		p.want(ask)
		p.WritePing(true, [8]byte([]byte(pingPayload)))
		p.send()
	}
	p.loop.Advance(29 * time.Second)
	p.want(ask)
	p.loop.Advance(time.Second)
	p.want("closed")
	p.wantSaw(0, "CONNECT http 10.96.0.5:80; abort connection closed")
	if len(p.counted) != 1 || p.counted[0] != Silent {
		t.Errorf("counted %v, want %v", p.counted, Silent)
	}
}

// RFC 9113 section 6.8: the answer to another PING does not say that the
// GOAWAY was read.
func TestDrainWaitsForItsOwnPing(t *testing.T) {
	p := client(t, Limits{}).greet()
	p.onRequest = func(x *exchange) { x.answer(200) }
	p.srv.Drain()
	p.WritePing(true, [8]byte([]byte(pingPayload)))
	p.headers(1, get...)
	p.send()
	p.want(`GOAWAY 2147483647 NO_ERROR`, `PING "draining"`, "HEADERS 1 :status=200 END")
	p.WritePing(true, [8]byte([]byte(drainPing)))
	p.send()
	p.want("GOAWAY 1 NO_ERROR", "closed")
}

func TestPeerOfAStreamMayBeSet(t *testing.T) {
	p := client(t, Limits{}).greet()
	who := &message.Peer{RemoteIP: "192.0.2.77"}
	p.onRequest = func(x *exchange) {
		SetPeer(x.ServerStream, who)
		if got := x.Peer(); got != who {
			t.Errorf("Peer() = %v, want the one that was set", got)
		}
		x.answer(200)
	}
	p.headers(1, get...)
	p.send()
	p.onRequest = func(x *exchange) { x.answer(200) }
	p.headers(3, get...) // checks that it is the connection's own again
	p.send()
	if got := p.got(); strings.Count(got, "200") != 2 {
		t.Errorf("got %s, want two answers", got)
	}
}

// RFC 8441 section 3, but for backends of which it is known.
func TestExtendedCONNECTThatNeedsNoSETTINGS(t *testing.T) {
	p := backend(t, ClientOptions{Connects: true})
	p.got()
	p.ask(message.Request{Upgrade: "websocket", Length: message.Unknown}, false)
	p.want("HEADERS 1 :method=CONNECT :protocol=websocket :scheme=http :authority=backend :path=/")
}
