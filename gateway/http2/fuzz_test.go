package http2

import (
	"fmt"
	"strings"
	"testing"

	h2 "golang.org/x/net/http2"

	"fairway.dev/gateway/message"
)

// outcome is what became of some input: all that does not depend on how its
// bytes arrived. Windows are given back as bytes are consumed, and so do.
func (p *peer) outcome(told []string) string {
	var b strings.Builder
	for _, line := range strings.Split(p.got(), "\n") {
		if !strings.HasPrefix(line, "WINDOW_UPDATE") {
			b.WriteString(line + "\n")
		}
	}
	return b.String() + strings.Join(told, "\n")
}

// FuzzServer gives a Server any bytes, at once and in two kinds of pieces.
func FuzzServer(f *testing.F) {
	seed := func(before func(*peer), r rule) {
		p := client(f, Limits{})
		before(p)
		r.do(p)
		p.send()
		f.Add(p.sent[len(h2.ClientPreface):], uint16(3))
	}
	for _, r := range connectionRules {
		seed(answering, r)
	}
	for _, r := range streamRules {
		seed(openStreams, r)
	}
	seed(answering, rule{do: func(p *peer) {
		for id := uint32(1); id < 11; id += 2 {
			p.headersOpen(id, connect...)
			p.WriteData(id, id == 5, []byte("tunnel"))
		}
	}})
	f.Fuzz(func(t *testing.T, in []byte, piece uint16) {
		run := func(piece int) string {
			p := client(t, Limits{HeaderBytes: 4 << 10, StreamWindow: 64 << 10, ConnWindow: 64 << 10, MaxStreamWindow: 128 << 10, MaxStreams: 8, Tunnels: true})
			p.onRequest = func(x *exchange) {
				switch n := len(p.exchanges); n % 5 {
				case 0:
					x.answer(200)
				case 1:
					x.hold = true
					x.head(200)
					x.send(strings.Repeat("x", 100*n))
				case 2:
					x.atEnd = func() { x.head(200); x.send("hello"); x.end("x", "y") }
				case 3:
					x.ServerStream.Abort(nil)
				}
			}
			p.out.WriteString(h2.ClientPreface)
			p.out.Write(in)
			p.sendIn(piece)
			var told []string
			for i := range p.exchanges {
				told = append(told, p.saw(i))
			}
			return p.outcome(told)
		}
		sameInPieces(t, run, int(piece))
	})
}

// FuzzClient gives a Client any bytes, likewise.
func FuzzClient(f *testing.F) {
	for _, r := range connectionRules {
		p := backend(f, ClientOptions{})
		p.WriteSettings()
		r.do(p)
		f.Add(p.out.Bytes(), uint16(5))
	}
	p := backend(f, ClientOptions{})
	p.WriteSettings(h2.Setting{ID: h2.SettingMaxConcurrentStreams, Val: 3})
	p.headersOpen(1, ":status", "103", "link", "</a>")
	p.headersOpen(1, ":status", "200", "content-length", "4")
	p.WriteData(1, true, []byte("body"))
	p.headersOpen(3, ":status", "200")
	p.WriteDataPadded(3, false, []byte("body"), make([]byte, 3))
	p.headers(3, "grpc-status", "0")
	p.WriteWindowUpdate(5, 10)
	p.headersOpen(7, ":status", "200", "content-length", "2")
	p.WriteData(7, true, []byte("tunnel"))
	p.WriteGoAway(3, h2.ErrCodeNo, nil)
	f.Add(p.out.Bytes(), uint16(1))
	f.Fuzz(func(t *testing.T, in []byte, piece uint16) {
		run := func(piece int) string {
			p := backend(t, ClientOptions{Limits: &Limits{HeaderBytes: 4 << 10, StreamWindow: 64 << 10, ConnWindow: 64 << 10}})
			asked := []*response{
				p.ask(message.Request{}, true), p.ask(message.Request{Method: "HEAD"}, true),
				p.ask(message.Request{Method: "POST", Length: message.Unknown}, false), p.ask(message.Request{Method: "CONNECT"}, false),
			}
			asked[2].Stream.Data(make([]byte, 70000))
			p.out.Write(in)
			p.sendIn(piece)
			var told []string
			for _, r := range asked {
				told = append(told, strings.ReplaceAll(r.saw(), `"; "`, "")) // bodies may come in other pieces
			}
			return p.outcome(append(told, fmt.Sprint(p.cli.Free(), p.closed)))
		}
		sameInPieces(t, run, int(piece))
	})
}

func sameInPieces(t *testing.T, run func(piece int) string, piece int) {
	t.Helper()
	want := run(1 << 20)
	for _, n := range []int{1, max(piece, 2)} {
		if got := run(n); got != want {
			t.Errorf("in pieces of %d:\n%s\nat once:\n%s", n, got, want)
		}
	}
}
