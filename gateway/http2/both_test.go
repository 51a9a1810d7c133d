package http2

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
)

func newLoop() *loop.Loop { return loop.NewManual(time.Unix(1e9, 0)) }

// pair is a Client and a Server that talk to each other.
func pair(t testing.TB, l *loop.Loop, h message.Handler, server, client Limits) (*Client, *Server, [2]*loop.PipeConn) {
	a, b := loop.Pipe(l)
	peer := &message.Peer{RemoteIP: "192.0.2.1"}
	srv := NewServer(b, peer, h, &server)
	b.Handle(srv)
	cli := NewClient(a, ClientOptions{Limits: &client, MaxStreams: 50})
	a.Handle(cli)
	l.Settle()
	return cli, srv, [2]*loop.PipeConn{a, b}
}

// An echo answers each request with its own body, and holds it back as a
// proxy does: it lets the client send on once it has sent what came.
type echo struct {
	s    message.ServerStream
	owed int
}

func (e *echo) Exchange(s message.ServerStream, req *message.Request, last bool) message.Receiver {
	x := &echo{s: s}
	s.Head(&message.Response{Status: 200, Length: req.Length}, last)
	return x
}

func (e *echo) Data(p []byte) {
	e.s.Data(p)
	e.owed += len(p)
	if e.s.Queued() <= message.HighWater {
		e.Drained()
	}
}

func (e *echo) Drained() {
	owed := e.owed
	e.owed = 0
	e.s.Consumed(owed)
}
func (e *echo) End(trailers message.Fields) { e.s.End(trailers) }
func (e *echo) Abort(err error)             { e.s.Abort(err) }

// An asker sends a body in pieces and takes what comes back, slowly at times.
type asker struct {
	message.Stream
	sent, got []byte
	owed      int
	trailers  string
	ended     bool
	aborted   error
	gaveUp    bool
}

func (a *asker) Head(resp *message.Response, last bool) { a.ended = last }
func (a *asker) Data(p []byte)                          { a.got = append(a.got, p...); a.owed += len(p) }
func (a *asker) End(trailers message.Fields)            { a.ended, a.trailers = true, lines(trailers) }
func (a *asker) Abort(err error)                        { a.aborted = err }
func (a *asker) Drained()                               {}

// TestRandomExchanges runs exchanges of all sizes at once, over windows of all
// sizes and sockets that stop now and then: every byte comes back in order,
// and in the end every window is as large as it was.
func TestRandomExchanges(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { randomExchanges(t, rand.New(rand.NewPCG(seed, 1))) })
	}
}

func randomExchanges(t *testing.T, rnd *rand.Rand) {
	limits := func() Limits {
		return Limits{StreamWindow: 1 << (16 + rnd.IntN(3)), ConnWindow: 1 << (16 + rnd.IntN(5)), WriteStall: time.Hour}
	}
	l := newLoop()
	cli, srv, ends := pair(t, l, &echo{}, limits(), limits())
	var all, open []*asker
	start := func() {
		a := &asker{}
		a.Stream = cli.Open(&message.Request{Method: "POST", Scheme: "http", Authority: "a", Path: "/", Length: message.Unknown}, false, a)
		all, open = append(all, a), append(open, a)
	}
	step := func() {
		if len(open) == 0 {
			return
		}
		i := rnd.IntN(len(open))
		a := open[i]
		switch rnd.IntN(20) {
		case 0:
			var trailers message.Fields
			trailers.Append("x-sum", fmt.Sprint(len(a.sent)))
			a.Stream.End(trailers)
			open = append(open[:i], open[i+1:]...)
		case 1:
			if rnd.IntN(4) == 0 {
				a.gaveUp = true
				a.Stream.Abort(nil)
				open = append(open[:i], open[i+1:]...)
			}
		default:
			if a.Stream.Queued() > message.HighWater {
				return
			}
			p := bytes.Repeat([]byte{byte(rnd.Uint32())}, rnd.IntN(1<<rnd.IntN(18)))
			a.sent = append(a.sent, p...)
			a.Stream.Data(p)
		}
	}
	consume := func(a *asker) {
		owed := a.owed
		if a.owed = 0; owed > 0 && !a.gaveUp {
			a.Stream.Consumed(owed)
		}
	}
	for range 3000 {
		switch {
		case len(open) < 20 && cli.Free() > 0 && rnd.IntN(10) == 0 && len(all) < 200:
			start()
		case rnd.IntN(50) == 0:
			ends[rnd.IntN(2)].Block()
		case rnd.IntN(20) == 0:
			ends[rnd.IntN(2)].Unblock()
		case rnd.IntN(5) == 0 && len(all) > 0:
			consume(all[rnd.IntN(len(all))])
		default:
			step()
		}
		if rnd.IntN(3) == 0 {
			l.Settle()
		}
		l.Advance(10 * time.Millisecond)
	}
	for _, a := range open {
		a.Stream.End(nil)
	}
	ends[0].Unblock()
	ends[1].Unblock()
	for range 300 {
		l.Settle()
		for _, a := range all {
			consume(a)
		}
	}
	for i, a := range all {
		switch {
		case a.aborted != nil && !a.gaveUp:
			t.Fatalf("exchange %d of %d was aborted: %v", i, len(all), a.aborted)
		case a.gaveUp:
		case !a.ended || !bytes.Equal(a.got, a.sent):
			t.Fatalf("exchange %d: %d bytes of %d came back, ended %v", i, len(a.got), len(a.sent), a.ended)
		}
	}
	checkRest(t, &cli.conn, &srv.conn)
	checkRest(t, &srv.conn, &cli.conn)
}

// checkRest checks the state of a connection that has nothing under way: from
// is the sending end, to the receiving one.
func checkRest(t *testing.T, from, to *conn) {
	t.Helper()
	if from.closed || from.streams.n != 0 || from.ready.first != nil || from.retired != nil {
		t.Errorf("closed %v (%v), %d streams, ready %v, retired %v", from.closed, from.err, from.streams.n, from.ready.first, from.retired)
	}
	if int32(from.sendWindow) != to.recvWindow {
		t.Errorf("the sender has a window of %d, the receiver one of %d", from.sendWindow, to.recvWindow)
	}
	if got := to.recvWindow + to.recvCredit; got != to.lim.connWindow() {
		t.Errorf("of the connection's window of %d came back %d", to.lim.connWindow(), got)
	}
}

// A small is an exchange of fixed content that allocates nothing.
type small struct {
	s    message.ServerStream
	resp message.Response
	body []byte
}

func (h *small) Exchange(s message.ServerStream, req *message.Request, last bool) message.Receiver {
	h.s = s
	if last {
		h.End(nil)
	}
	return h
}
func (h *small) Data(p []byte) { h.s.Consumed(len(p)) }
func (h *small) End(message.Fields) {
	h.s.Head(&h.resp, false)
	h.s.Data(h.body)
	h.s.End(nil)
}
func (h *small) Abort(err error) { h.s.Abort(err) }
func (h *small) Drained()        {}

type sink struct {
	message.Stream
	n, ended int
}

func (a *sink) Head(*message.Response, bool) {}
func (a *sink) Data(p []byte)                { a.n += len(p); a.Consumed(len(p)) }
func (a *sink) End(message.Fields)           { a.ended++ }
func (a *sink) Abort(err error)              { panic(err) }
func (a *sink) Drained()                     {}

func newSmall() (*small, *message.Request) {
	h := &small{resp: message.Response{Status: 200, Length: 1024}, body: make([]byte, 1024)}
	h.resp.Fields.Append("Server", "backend")
	h.resp.Fields.Append("Content-Type", "text/plain; charset=utf-8")
	h.resp.Fields.Append("Date", "Sat, 21 Nov 2026 10:00:00 GMT")
	req := &message.Request{Method: "GET", Scheme: "https", Authority: "shop.example", Path: "/cart", Query: "?id=1"}
	req.Fields.Append("user-agent", "h2load nghttp2/1.52.0")
	req.Fields.Append("accept", "*/*")
	req.Fields.Append("x-forwarded-for", "192.0.2.1")
	return h, req
}

// A wire is one end of a connection that moves bytes when it is told to, and
// allocates nothing.
type wire struct {
	l      *loop.Loop
	out    []byte
	taking []byte
}

func (w *wire) Loop() *loop.Loop { return w.l }
func (w *wire) Write(p []byte)   { w.out = append(w.out, p...) }
func (w *wire) Flush()           {}
func (w *wire) Queued() int      { return len(w.out) }
func (w *wire) Pause()           {}
func (w *wire) Resume()          {}
func (w *wire) CloseWrite()      {}
func (w *wire) Finish()          {}
func (w *wire) Close()           {}
func (w *wire) Reset()           {}
func (w *wire) Abort()           {}

// to hands what was written to h.
func (w *wire) to(h loop.Handler) bool {
	if len(w.out) == 0 {
		return false
	}
	w.out, w.taking = w.taking[:0], w.out
	h.Data(w.taking)
	return true
}

func wires(l *loop.Loop, h message.Handler) (*Client, *Server, func()) {
	a, b := &wire{l: l}, &wire{l: l}
	srv := NewServer(b, &message.Peer{RemoteIP: "192.0.2.1"}, h, nil)
	cli := NewClient(a, ClientOptions{})
	settle := func() {
		for a.to(srv) || b.to(cli) {
		}
		l.Settle()
	}
	settle()
	return cli, srv, settle
}

func TestExchangesAllocateNothing(t *testing.T) {
	h, req := newSmall()
	cli, _, settle := wires(newLoop(), h)
	r := &sink{}
	one := func() {
		r.Stream = cli.Open(req, true, r)
		settle()
	}
	one() // tables and pools
	if n := testing.AllocsPerRun(2000, one); n != 0 {
		t.Errorf("an exchange allocates %v times, want 0", n)
	}
	upload := &message.Request{Method: "POST", Scheme: "https", Authority: "shop.example", Path: "/cart", Length: message.Unknown}
	body := make([]byte, 8<<10)
	var trailers message.Fields
	trailers.Append("x-sum", "1")
	if n := testing.AllocsPerRun(2000, func() {
		r.Stream = cli.Open(upload, false, r)
		r.Stream.Data(body)
		settle()
		r.Stream.End(trailers)
		settle()
	}); n != 0 {
		t.Errorf("an upload with trailers allocates %v times, want 0", n)
	}
	if r.ended != 2*2002-1 {
		t.Errorf("%d exchanges ended, want %d", r.ended, 2*2002-1)
	}
}

// BenchmarkExchange is a request and its response of 1 KiB through a Client
// and a Server, 32 at a time.
func BenchmarkExchange(b *testing.B) {
	h, req := newSmall()
	cli, _, settle := wires(newLoop(), h)
	r := &sink{}
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		r.Stream = cli.Open(req, true, r)
		if n%32 == 31 {
			settle()
		}
	}
}

// BenchmarkServer is the server's part of it.
func BenchmarkServer(b *testing.B) {
	h, req := newSmall()
	l := newLoop()
	w := &wire{l: l}
	srv := NewServer(w, &message.Peer{RemoteIP: "192.0.2.1"}, h, nil)
	p := newPeer(b)
	p.out.WriteString("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	p.WriteSettings()
	p.WriteWindowUpdate(0, 1<<31-1-1<<20)
	srv.Data(p.out.Bytes())
	var e encoder
	e.max = maxDynamicTable
	var in []byte
	id := uint32(1)
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		start := len(in)
		in = append(in, make([]byte, headerLen)...)
		in = e.request(in, req, true)
		appendHeader(in[:start], len(in)-start-headerLen, 1, 5, id)
		id += 2
		if n%32 == 31 {
			w.out = w.out[:0]
			srv.conn.sendWindow = 1 << 30
			srv.Data(in)
			in = in[:0]
		}
	}
}

// BenchmarkBodies is 1 MiB from a backend.
func BenchmarkBodies(b *testing.B) {
	h, req := newSmall()
	h.body = make([]byte, 1<<20)
	h.resp.Length = 1 << 20
	cli, srv, settle := wires(newLoop(), h)
	r := &sink{}
	b.ReportAllocs()
	b.SetBytes(1 << 20)
	for b.Loop() {
		r.Stream = cli.Open(req, true, r)
		for done := r.ended; r.ended == done; {
			settle()
			srv.Drained()
		}
	}
}

// An idle connection holds little: no buffers, no streams, small tables.
func TestIdleConnectionsAreSmall(t *testing.T) {
	const n = 500
	l := newLoop()
	h, req := newSmall()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var clients [n]*Client
	var servers [n]*Server
	for i := range n {
		cli, srv, settle := wires(l, h)
		r := &sink{}
		for range 3 {
			r.Stream = cli.Open(req, true, r)
			settle()
		}
		*cli.wire.(*wire), *srv.wire.(*wire) = wire{l: l}, wire{l: l} // as the loop's sockets do
		clients[i], servers[i] = cli, srv
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := (after.HeapAlloc - before.HeapAlloc) / (2 * n)
	if each > 5<<10 {
		t.Errorf("an idle connection holds %d bytes, want at most 5 KiB", each)
	}
	runtime.KeepAlive(clients)
	runtime.KeepAlive(servers)
}
