package hop

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"fairway.dev/gateway/http2"
	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
)

// A wire keeps what is written until the test hands it on.
type wire struct {
	loop *loop.Loop
	out  []byte
}

func (w *wire) Loop() *loop.Loop { return w.loop }
func (w *wire) Write(p []byte)   { w.out = append(w.out, p...) }
func (w *wire) Flush()           {}
func (w *wire) Queued() int      { return 0 }
func (w *wire) Pause()           {}
func (w *wire) Resume()          {}
func (w *wire) CloseWrite()      {}
func (w *wire) Finish()          {}
func (w *wire) Abort()           {}
func (w *wire) Close()           {}
func (w *wire) Reset()           {}

// handTo hands on what was written.
func (w *wire) handTo(h loop.Handler) {
	h.Data(w.out)
	w.out = w.out[:0]
}

// A line is a Client and a Server with two wires between them.
type line struct {
	client   *Client
	server   *Server
	out, in  wire
	response message.Response
}

func newLine() *line {
	l := loop.NewManual(time.Unix(1e9, 0))
	x := &line{out: wire{loop: l}, in: wire{loop: l}, response: message.Response{Status: 200}}
	peer := &message.Peer{TLS: &tls.ConnectionState{PeerCertificates: []*x509.Certificate{certificate(edgeID)}, NegotiatedProtocol: Native}}
	x.client = NewClient(&x.out, http2.ClientOptions{})
	x.server = NewServer(&x.in, peer, ServerOptions{Host: x})
	x.pass()
	return x
}

func (x *line) pass() {
	x.out.handTo(x.server)
	x.in.handTo(x.client)
}

func (x *line) Generation() uint64 { return 1 }
func (x *line) Tunnel(*loop.Loop, *Arrival) (func(*Conn), error) {
	return func(c *Conn) {
		c.Handle(echo{conn: c})
		c.Accept()
	}, nil
}
func (x *line) Exchange(_ *loop.Loop, a *Arrival) (*message.Peer, message.Handler, error) {
	return &message.Peer{Identity: a.Source}, (*answerer)(x), nil
}

// answerer answers every request with the same.
type answerer line

func (x *answerer) Exchange(s message.ServerStream, req *message.Request, last bool) message.Receiver {
	s.Head(&x.response, true)
	return nothing{}
}

// An echo sends back what comes.
type echo struct {
	nothing
	conn *Conn
}

func (e echo) Data(p []byte) { e.conn.Write(p) }
func (e echo) EOF()          {}
func (e echo) Closed(error)  {}

// A quiet one takes responses.
type quiet struct{ nothing }

func (quiet) Head(*message.Response, bool) {}

// Who a request is for, and whose it is, costs nothing once it was said.
func TestNativeRequestsDoNotAllocate(t *testing.T) {
	x := newLine()
	req := &message.Request{
		Method: "GET", Scheme: "http", Authority: "cart.shop", Path: "/", Fields: append(make(message.Fields, 0, 8), fields("accept", "*/*")...),
		Hop: message.Hop{Target: cart, Source: cartID, Client: aClient},
	}
	exchange := func() {
		x.client.Open(req, true, quiet{})
		x.pass()
		if x.client.Streams() > 0 || len(req.Fields) != 1 {
			t.Fatal("the exchange did not end")
		}
	}
	exchange()
	if n := testing.AllocsPerRun(100, exchange); n != 0 {
		t.Errorf("a native request allocates %v times, want 0", n)
	}
}

// Bytes on their way through a tunnel cost nothing but their copies.
func TestTunnelBytesDoNotAllocate(t *testing.T) {
	x := newLine()
	c := &Conn{loop: x.out.loop}
	c.stream = x.client.Client.Open(&message.Request{Method: "CONNECT", Authority: cart, Length: message.Unknown}, false, (*incoming)(c))
	x.pass()
	back := &taken{}
	c.Handle(back)
	p := make([]byte, 64<<10)
	turn := func() {
		c.Write(p)
		for range 8 { // with what windows there are
			x.pass()
		}
	}
	turn()
	before := back.n
	if n := testing.AllocsPerRun(50, turn); n != 0 {
		t.Errorf("%d bytes there and back allocate %v times, want 0", len(p), n)
	}
	if got := back.n - before; got != 51*len(p) { // AllocsPerRun has one turn more, to warm up
		t.Errorf("%d bytes came back, want %d", got, 51*len(p))
	}
}

// A taken one counts what comes.
type taken struct {
	nothing
	n int
}

func (k *taken) Data(p []byte) { k.n += len(p) }
func (k *taken) EOF()          {}
func (k *taken) Closed(error)  {}

// BenchmarkNative is what a native request costs both codecs, without TLS and
// sockets, of so many clients that take turns.
func BenchmarkNative(b *testing.B) {
	for _, clients := range []int{1, 1000, 5000} {
		b.Run(fmt.Sprintf("%d clients", clients), func(b *testing.B) {
			x := newLine()
			req := &message.Request{
				Method: "GET", Scheme: "http", Authority: "cart.shop", Path: "/", Fields: append(make(message.Fields, 0, 8), fields("accept", "*/*")...),
				Hop: message.Hop{Target: cart, Source: cartID},
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				req.Hop.Client = netip.AddrPortFrom(aClient.Addr(), uint16(1024+i%clients))
				x.client.Open(req, true, quiet{})
				x.pass()
			}
		})
	}
}
