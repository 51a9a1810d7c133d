package proxy

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
	"time"

	"fairway.dev/gateway/http1"
	"fairway.dev/gateway/http2"
	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
	"fairway.dev/gateway/upstream"
	"fairway.dev/routing"
)

// These tests join a Proxy to the real codecs on both sides, over pipes.

// A wire is a client connection and a Proxy in front of one backend.
type wire struct {
	*stage
	client  message.Client
	pipe    *loop.PipeConn // the client's end
	backend backend
}

func newWire(t *testing.T, front, back message.Proto, action routing.Action) *wire {
	w := &wire{stage: newStage(t, action)}
	w.set = upstream.NewSet(upstream.Options{Loops: []*loop.Loop{w.loop}, Now: w.loop.Now, Dial: w.dial(back)})
	proto := routing.UpstreamHTTP1
	if back == message.HTTP2 {
		proto = routing.UpstreamHTTP2
	}
	w.set.Put(&routing.Cluster{Name: "a", Protocol: proto})
	w.set.PutEndpoints(&routing.Endpoints{Cluster: "a", List: []routing.Endpoint{{Addr: addr(1), Ready: true, Serving: true}}})
	w.proxy.o.Clusters = w.set
	l := listener
	snap, _ := routing.Compile(specOn([]*routing.Listener{&l}, routing.Rule{Action: action}))
	w.proxy.Prepare(snap)
	w.proxy.Publish(snap)
	w.connect(front)
	return w
}

// connect opens a connection to the proxy.
func (w *wire) connect(proto message.Proto) {
	ours, theirs := loop.Pipe(w.loop)
	peer := &message.Peer{Remote: netip.MustParseAddrPort("192.0.2.7:5000"), RemoteIP: "192.0.2.7", Listener: w.bind}
	w.pipe = ours
	if proto == message.HTTP2 {
		theirs.Handle(http2.NewServer(theirs, peer, w.handler, nil))
		c := http2.NewClient(ours, http2.ClientOptions{})
		ours.Handle(c)
		w.client = c
		w.loop.Settle() // lets SETTINGS come
		return
	}
	theirs.Handle(http1.NewServer(theirs, peer, w.handler, nil))
	c := http1.NewClient(ours, http1.ClientOptions{})
	ours.Handle(c)
	w.client = c
}

func (w *wire) dial(proto message.Proto) upstream.DialFunc {
	return func(l *loop.Loop, _ netip.AddrPort, _ loop.Opening, _ time.Duration,
		done func(upstream.Conn, string, error)) func() {
		l.Defer(func() {
			ours, theirs := loop.Pipe(l)
			if proto == message.HTTP2 {
				theirs.Handle(http2.NewServer(theirs, &message.Peer{}, &w.backend, nil))
			} else {
				theirs.Handle(http1.NewServer(theirs, &message.Peer{}, &w.backend, nil))
			}
			w.backend.conns = append(w.backend.conns, theirs)
			done(ours, "", nil)
		})
		return func() {}
	}
}

// A backend answers by the path of a request: /hello with "hello", /echo with
// the request's body and trailers, /ws by echoing what comes after a 101,
// /early before it has the body, /broken with a part of what it announces,
// /silent never, anything else with 404.
type backend struct {
	conns   []*loop.PipeConn
	seen    int
	aborted int
}

func (b *backend) Exchange(s message.ServerStream, req *message.Request, last bool) message.Receiver {
	b.seen++
	r := &served{b: b, s: s, path: req.Path}
	resp := &message.Response{Status: 200, Length: message.Unknown}
	switch req.Path {
	case "/hello":
		resp.Length = 5
		s.Head(resp, false)
		s.Data([]byte("hello"))
		s.End(nil)
	case "/echo":
		s.Head(resp, false)
		if last {
			s.End(nil)
		}
	case "/ws":
		resp.Status = 101
		s.Head(resp, false)
	case "/early":
		resp.Status, resp.Length = 403, 0
		s.Head(resp, true)
	case "/broken":
		resp.Length = 100
		s.Head(resp, false)
		s.Data([]byte("part"))
	case "/silent":
	default:
		resp.Status, resp.Length = 404, 0
		s.Head(resp, true)
	}
	return r
}

// served is an exchange at the backend.
type served struct {
	b    *backend
	s    message.ServerStream
	path string
	owed int
}

func (r *served) Data(p []byte) {
	if r.path == "/silent" {
		return
	}
	r.s.Data(p)
	r.owed += len(p)
	if r.s.Queued() <= message.HighWater {
		r.Drained()
	}
}

func (r *served) Drained() {
	r.s.Consumed(r.owed)
	r.owed = 0
}

func (r *served) End(trailers message.Fields) {
	if r.path == "/echo" || r.path == "/ws" {
		r.s.End(trailers)
	}
}

func (r *served) Abort(err error) {
	r.b.aborted++
	r.s.Abort(err)
}

// A fetch is an exchange at the client.
type fetch struct {
	stream   message.Stream
	status   int
	fields   message.Fields
	body     bytes.Buffer
	trailers string
	ended    bool
	aborted  error
	slow     bool // does not say Consumed
	owed     int
}

func (f *fetch) Head(resp *message.Response, last bool) {
	f.status, f.ended = resp.Status, last
	for _, x := range resp.Fields {
		f.fields.Append(strings.Clone(x.Text), strings.Clone(x.Value))
	}
}

func (f *fetch) Data(p []byte) {
	f.body.Write(p)
	f.owed += len(p)
	if !f.slow {
		f.catchUp()
	}
}

func (f *fetch) catchUp() {
	f.stream.Consumed(f.owed)
	f.owed = 0
}

func (f *fetch) End(trailers message.Fields) { f.ended, f.trailers = true, text(trailers) }
func (f *fetch) Abort(err error)             { f.aborted = err }
func (f *fetch) Drained()                    {}

func (w *wire) open(method, path, upgrade string, last bool) *fetch {
	f := &fetch{}
	req := &message.Request{
		Method: method, Scheme: "http", Authority: "shop.example", Path: path, Upgrade: upgrade, Proto: message.HTTP11,
		Trailers: true,
	}
	if !last && upgrade == "" {
		req.Length = message.Unknown
	}
	f.stream = w.client.Open(req, last, f)
	w.loop.Settle()
	return f
}

// wires runs a test for all pairs of protocols.
func wires(t *testing.T, action routing.Action, f func(*testing.T, *wire)) {
	for _, front := range []message.Proto{message.HTTP11, message.HTTP2} {
		for _, back := range []message.Proto{message.HTTP11, message.HTTP2} {
			t.Run(front.String()+" to "+back.String(), func(t *testing.T) {
				w := newWire(t, front, back, action)
				f(t, w)
				w.pipe.Close()
				w.loop.Settle()
			})
		}
	}
}

func TestWireGET(t *testing.T) {
	wires(t, to("a"), func(t *testing.T, w *wire) {
		for range 3 { // on one connection
			f := w.open("GET", "/hello", "", true)
			if f.status != 200 || f.body.String() != "hello" || !f.ended {
				t.Fatalf("status %d, body %q, ended %v", f.status, f.body.String(), f.ended)
			}
		}
		if f := w.open("GET", "/nothing", "", true); f.status != 404 || !f.ended {
			t.Errorf("status %d, ended %v, want 404, true", f.status, f.ended)
		}
		if len(w.backend.conns) != 1 {
			t.Errorf("%d connections to the backend, want 1", len(w.backend.conns))
		}
	})
}

func TestWireStreams(t *testing.T) {
	wires(t, to("a"), func(t *testing.T, w *wire) {
		f := w.open("POST", "/echo", "", false)
		for _, part := range []string{"one", "two", "three"} {
			before := f.body.String()
			f.stream.Data([]byte(part))
			w.loop.Settle()
			if got := f.body.String(); got != before+part {
				t.Fatalf("after %q the echo is %q", part, got)
			}
		}
		f.stream.End(fields("Checksum: 7"))
		w.loop.Settle()
		if !f.ended || !strings.EqualFold(f.trailers, "Checksum: 7\n") {
			t.Errorf("ended %v, trailers %q", f.ended, f.trailers)
		}
	})
}

func TestWireLargeBodyAndSlowReader(t *testing.T) {
	wires(t, to("a"), func(t *testing.T, w *wire) {
		f := w.open("POST", "/echo", "", false)
		f.slow = true
		part := bytes.Repeat([]byte("0123456789abcdef"), 1<<10)
		sent := 0
		for i := 0; i < 1000 && f.stream.Queued() <= message.HighWater; i++ {
			f.stream.Data(part)
			sent += len(part)
			w.loop.Settle()
		}
		if sent > 4<<20 {
			t.Errorf("%d bytes were taken from a client that reads nothing", sent)
		}
		f.slow = false
		for i := 0; i < 1000 && f.body.Len() < sent; i++ {
			f.catchUp()
			w.loop.Settle()
		}
		f.stream.End(nil)
		w.loop.Settle()
		if f.body.Len() != sent || !f.ended || !bytes.HasSuffix(f.body.Bytes(), part) {
			t.Errorf("%d of %d bytes came back, ended %v", f.body.Len(), sent, f.ended)
		}
	})
}

func TestWireTunnel(t *testing.T) {
	wires(t, to("a"), func(t *testing.T, w *wire) {
		f := w.open("GET", "/ws", "websocket", false)
		if f.status != 101 {
			t.Fatalf("status %d, want 101", f.status)
		}
		f.stream.Data([]byte("ping"))
		w.loop.Settle()
		f.stream.End(nil)
		w.loop.Settle()
		if f.body.String() != "ping" || !f.ended {
			t.Errorf("echo %q, ended %v", f.body.String(), f.ended)
		}
	})
}

func TestWireRefusedUpgrade(t *testing.T) {
	wires(t, to("a"), func(t *testing.T, w *wire) {
		// Not with 200, which over HTTP/2 is consent (RFC 8441 section 5).
		f := w.open("GET", "/nothing", "websocket", false)
		if f.status != 404 || !f.ended {
			t.Errorf("status %d, ended %v, want 404, true", f.status, f.ended)
		}
	})
}

func TestWireEarlyResponse(t *testing.T) {
	wires(t, to("a"), func(t *testing.T, w *wire) {
		f := w.open("POST", "/early", "", false)
		if f.status != 403 || !f.ended {
			t.Errorf("status %d, ended %v, want 403, true", f.status, f.ended)
		}
	})
}

func TestWireBrokenResponse(t *testing.T) {
	wires(t, to("a"), func(t *testing.T, w *wire) {
		f := w.open("GET", "/broken", "", true)
		w.backend.conns[0].Close()
		w.loop.Settle()
		if f.ended || f.aborted == nil || f.body.String() != "part" {
			t.Errorf("ended %v, aborted with %v, body %q", f.ended, f.aborted, f.body.String())
		}
	})
}

func TestWireClientThatLeaves(t *testing.T) {
	wires(t, to("a"), func(t *testing.T, w *wire) {
		f := w.open("POST", "/silent", "", false)
		f.stream.Abort(errCancelled)
		w.loop.Settle()
		if w.backend.aborted != 1 {
			t.Errorf("the backend heard of %d aborts, want 1", w.backend.aborted)
		}
	})
}

// A backend may close a kept connection in the moment in which it is used.
func TestWireStaleConnection(t *testing.T) {
	wires(t, to("a"), func(t *testing.T, w *wire) {
		w.open("GET", "/hello", "", true)
		stale := w.backend.conns[0]
		stale.Close() // the gateway hears of it in a later event
		f := &fetch{}
		f.stream = w.client.Open(&message.Request{
			Method: "GET", Scheme: "http", Authority: "shop.example", Path: "/hello", Proto: message.HTTP11,
		}, true, f)
		w.pass(time.Second)
		if f.status != 200 || f.body.String() != "hello" {
			t.Errorf("status %d, body %q, want 200, hello", f.status, f.body.String())
		}
	})
}

func TestWireTimeout(t *testing.T) {
	a := to("a")
	a.Timeouts.Request = time.Second
	wires(t, a, func(t *testing.T, w *wire) {
		f := w.open("GET", "/silent", "", true)
		w.pass(time.Second)
		if f.status != 504 || !f.ended || w.backend.aborted != 1 {
			t.Errorf("status %d, ended %v, %d aborts at the backend", f.status, f.ended, w.backend.aborted)
		}
	})
}
