package hop_test

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"fairway.dev/gateway/hop"
	"fairway.dev/gateway/hop/hoptest"
	"fairway.dev/gateway/http1"
	"fairway.dev/gateway/http2"
	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
)

const (
	benchRequest = "GET /shop/cart?item=4711&color=blue HTTP/1.1\r\nHost: shop.example.com\r\n" +
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n" +
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\n" +
		"Accept-Encoding: gzip, deflate, br, zstd\r\nCookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n" +
		"X-Request-Id: 4bf92f35-77b3-4da6-a3ce-929d0e0e4736\r\n\r\n"
	benchHead = "HTTP/1.1 200 OK\r\nDate: Sat, 21 Nov 2026 12:00:00 GMT\r\nServer: shop/1.0\r\nContent-Type: text/html\r\n" +
		"Content-Length: 1024\r\nCache-Control: private, max-age=0\r\nVary: Accept-Encoding\r\n\r\n"
)

// A forwarder sends requests on by the clients that it has: the proxy of these
// benchmarks.
type forwarder struct {
	free []message.Client
	hop  message.Hop // of what it sends
}

// An exchange is one request on its way through a forwarder.
type exchange struct {
	f      *forwarder
	down   message.ServerStream
	up     message.Stream
	client message.Client
}

func (f *forwarder) Exchange(s message.ServerStream, req *message.Request, last bool) message.Receiver {
	n := len(f.free) - 1
	x := &exchange{f: f, down: s, client: f.free[n]}
	if x.client.Free() == 1 { // HTTP/1: one at a time
		f.free = f.free[:n]
	}
	req.Hop = f.hop
	x.up = x.client.Open(req, last, (*answering)(x))
	return (*asking)(x)
}

type asking exchange

func (x *asking) Data(p []byte)        { x.up.Data(p); x.down.Consumed(len(p)) }
func (x *asking) End(t message.Fields) { x.up.End(t) }
func (x *asking) Abort(err error)      { x.up.Abort(err) }
func (x *asking) Drained()             {}

type answering exchange

func (x *answering) Head(resp *message.Response, last bool) {
	x.down.Head(resp, last)
	if last {
		x.ended()
	}
}
func (x *answering) Data(p []byte)        { x.down.Data(p); x.up.Consumed(len(p)) }
func (x *answering) End(t message.Fields) { x.down.End(t); x.ended() }
func (x *answering) Abort(err error)      { x.down.Abort(err) }
func (x *answering) Drained()             {}
func (x *answering) ended() {
	if f := x.f; len(f.free) == 0 || f.free[len(f.free)-1] != x.client {
		f.free = append(f.free, x.client)
	}
}

// toBackend has a forwarder with n connections of HTTP/1.1 to a backend.
func toBackend(b *testing.B, l *loop.Loop, n int) *forwarder {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { ln.Close() })
	answer := []byte(benchHead + strings.Repeat("x", 1024))
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for p, n := make([]byte, 4096), 0; ; {
					m, err := c.Read(p[n:])
					if err != nil {
						return
					}
					if n += m; bytes.HasSuffix(p[:n], []byte("\r\n\r\n")) {
						c.Write(answer)
						n = 0
					}
				}
			}()
		}
	}()
	f := &forwarder{}
	ready := make(chan error, n)
	for range n {
		l.Post(func() {
			l.Dial(ln.Addr().(*net.TCPAddr).AddrPort(), loop.Opening{}, hoptest.Patience, func(s *loop.Socket, _ string, err error) {
				if err == nil {
					c := http1.NewClient(s, http1.ClientOptions{})
					s.Handle(c)
					f.free = append(f.free, c)
				}
				ready <- err
			})
		})
	}
	for range n {
		if err := <-ready; err != nil {
			b.Fatal(err)
		}
	}
	return f
}

// A behind is a Host with one forwarder behind all that it is asked for.
type behind struct{ *forwarder }

func (h behind) Generation() uint64 { return 1 }
func (h behind) Exchange(*loop.Loop, *hop.Arrival) (*message.Peer, message.Handler, error) {
	return &message.Peer{}, h.forwarder, nil
}
func (h behind) Tunnel(*loop.Loop, *hop.Arrival) (func(*hop.Conn), error) {
	return func(c *hop.Conn) {
		c.Handle(http1.NewServer(c, &message.Peer{}, h.forwarder, nil))
		c.Accept()
	}, nil
}

// entrance takes HTTP/1.1 for a forwarder.
func entrance(b *testing.B, l *loop.Loop, f *forwarder) netip.AddrPort {
	return hoptest.Accept(b, l, func(s *loop.Socket) {
		s.Handle(http1.NewServer(s, &message.Peer{Remote: s.Remote(), RemoteIP: "127.0.0.1"}, f, nil))
	})
}

// byHop has a forwarder of n connections through a gateway, or one native one.
func byHop(b *testing.B, l *loop.Loop, n int, native bool) *forwarder {
	m, far := hoptest.NewMesh(b), hoptest.Loop(b)
	at := m.Serve(far, shopID, behind{toBackend(b, far, n)}, hop.Native, "h2")
	d := m.Dialer(edgeID)
	f := &forwarder{hop: message.Hop{Target: "10.96.0.5:80", Source: cartID, Client: netip.MustParseAddrPort("192.0.2.1:4711")}}
	if native {
		n = 1
	}
	ready := make(chan error, n)
	for range n {
		l.Post(func() {
			to := hop.Target{Addr: at, Identity: shopID, Authority: "10.96.0.5:80", Source: cartID, Requests: native}
			d.Dial(l, to, hoptest.Patience, func(c hop.Conner, native bool, err error) {
				switch {
				case err != nil:
				case native:
					client := hop.NewClient(c, http2.ClientOptions{})
					c.Handle(client)
					f.free = append(f.free, client)
				default:
					client := http1.NewClient(c, http1.ClientOptions{})
					c.Handle(client)
					f.free = append(f.free, client)
				}
				ready <- err
			})
		})
	}
	for range n {
		if err := <-ready; err != nil {
			b.Fatal(err)
		}
	}
	return f
}

// BenchmarkRequest is a request of HTTP/1.1 to a backend of HTTP/1.1, over
// sockets: through one gateway, and through two with TLS between them, as a
// request as it is and in a tunnel. cpu-ns is of the whole process, client and
// backend too, and is the same for all of them but for the gateways.
func BenchmarkRequest(b *testing.B) {
	ways := []struct {
		name string
		make func(b *testing.B, l *loop.Loop, n int) *forwarder
	}{
		{"plain", toBackend},
		{"native", func(b *testing.B, l *loop.Loop, n int) *forwarder { return byHop(b, l, n, true) }},
		{"tunnel", func(b *testing.B, l *loop.Loop, n int) *forwarder { return byHop(b, l, n, false) }},
	}
	for _, w := range ways {
		for _, clients := range []int{1, 32} {
			b.Run(w.name+map[int]string{1: "/1 client", 32: "/32 clients"}[clients], func(b *testing.B) {
				l := hoptest.Loop(b)
				requests(b, entrance(b, l, w.make(b, l, clients)), clients)
			})
		}
	}
}

func requests(b *testing.B, at netip.AddrPort, clients int) {
	conns := make(chan net.Conn, clients)
	for range clients {
		c, err := net.Dial("tcp", at.String())
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { c.Close() })
		conns <- c
	}
	request, size := []byte(benchRequest), len(benchHead)+1024
	var failed atomic.Value
	procs := runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1) // for the client and the backend
	defer runtime.GOMAXPROCS(procs)
	tell := countCPU(b)
	b.ReportAllocs()
	b.SetParallelism(clients)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		var c net.Conn
		select {
		case c = <-conns:
		default:
			return // more are started than there are clients
		}
		p := make([]byte, size+512)
		for pb.Next() {
			c.Write(request)
			if err := readResponse(c, p); err != nil {
				failed.Store(err)
				return
			}
		}
	})
	b.StopTimer()
	if err := failed.Load(); err != nil {
		b.Fatal(err)
	}
	tell()
}

// countCPU begins to count, and returns what tells how much it was.
func countCPU(b *testing.B) (tell func()) {
	before := cpuTime()
	return func() { b.ReportMetric(float64(cpuTime()-before)/float64(b.N), "cpu-ns/op") }
}

// cpuTime is what the process has used, in nanoseconds.
func cpuTime() int64 {
	var u unix.Rusage
	unix.Getrusage(unix.RUSAGE_SELF, &u)
	return u.Utime.Nano() + u.Stime.Nano()
}

// readResponse reads a response with a body of 1 KiB.
func readResponse(c io.Reader, p []byte) error {
	for n := 0; ; {
		m, err := c.Read(p[n:])
		if err != nil {
			return err
		}
		n += m
		if head := bytes.Index(p[:n], []byte("\r\n\r\n")); head >= 0 && n == head+4+1024 {
			return nil
		}
	}
}

// BenchmarkTunnelBytes is bulk through two gateways, and through one relay.
func BenchmarkTunnelBytes(b *testing.B) {
	run := func(b *testing.B, at netip.AddrPort, sink net.Listener) {
		got := make(chan int64, 1)
		go func() {
			c, err := sink.Accept()
			if err != nil {
				return
			}
			n, _ := io.Copy(io.Discard, c)
			c.Close()
			got <- n
		}()
		c, err := net.Dial("tcp", at.String())
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		p := make([]byte, 256<<10)
		b.SetBytes(int64(len(p)))
		b.ReportAllocs()
		tell := countCPU(b)
		b.ResetTimer()
		for range b.N {
			if _, err := c.Write(p); err != nil {
				b.Fatal(err)
			}
		}
		c.(*net.TCPConn).CloseWrite()
		n := <-got
		tell()
		if n != int64(b.N)*int64(len(p)) {
			b.Fatalf("%d bytes came, want %d", n, int64(b.N)*int64(len(p)))
		}
	}
	listen := func(b *testing.B) net.Listener {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { ln.Close() })
		return ln
	}
	b.Run("tunnel", func(b *testing.B) {
		sink, m := listen(b), hoptest.NewMesh(b)
		at := m.Serve(hoptest.Loop(b), shopID, &hoptest.Relay{}, hop.Native)
		to := hop.Target{Addr: at, Identity: shopID, Authority: sink.Addr().String()}
		run(b, hoptest.Enter(b, hoptest.Loop(b), m.Dialer(edgeID), to), sink)
	})
	b.Run("plain", func(b *testing.B) {
		sink, l := listen(b), hoptest.Loop(b)
		at := hoptest.Accept(b, l, func(s *loop.Socket) {
			s.Pause()
			l.Dial(sink.Addr().(*net.TCPAddr).AddrPort(), loop.Opening{}, hoptest.Patience, func(to *loop.Socket, _ string, err error) {
				if err != nil {
					s.Reset()
					return
				}
				hoptest.Join(s, to)
				s.Resume()
			})
		})
		run(b, at, sink)
	})
}
