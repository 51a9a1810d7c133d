package hop_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"

	h2 "golang.org/x/net/http2"

	"fairway.dev/gateway/hop"
	"fairway.dev/gateway/hop/hoptest"
	"fairway.dev/gateway/http2"
	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
)

const (
	edgeID = "spiffe://cluster.local/ns/edge/sa/gateway"
	shopID = "spiffe://cluster.local/ns/shop/sa/waypoint"
	cartID = "spiffe://cluster.local/ns/shop/sa/cart"
)

// roundTrip sends size bytes and the end, and wants them back.
func roundTrip(c io.ReadWriter, closeWrite func() error, size int) error {
	want := make([]byte, size)
	rnd := rand.NewChaCha8([32]byte{1})
	rnd.Read(want)
	sent := make(chan error, 1)
	go func() {
		_, err := c.Write(want)
		sent <- errors.Join(err, closeWrite())
	}()
	got, err := io.ReadAll(c)
	if err := errors.Join(err, <-sent); err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%d bytes came back of %d, or others", len(got), size)
	}
	return nil
}

func TestTunnelsOverTLS(t *testing.T) {
	for _, protocols := range [][]string{{hop.Native, "h2"}, {"h2"}} {
		t.Run(protocols[0], func(t *testing.T) {
			m, near, far := hoptest.NewMesh(t), hoptest.Loop(t), hoptest.Loop(t)
			at := m.Serve(far, shopID, &hoptest.Relay{}, protocols...)
			to := hop.Target{Addr: at, Identity: shopID, Authority: hoptest.Echo(t).String(), Source: cartID}
			entry := hoptest.Enter(t, near, m.Dialer(edgeID), to)
			c := hoptest.Dial(t, entry)
			if err := roundTrip(c, c.CloseWrite, 16<<20); err != nil {
				t.Error(err)
			}
			var wg sync.WaitGroup
			for range 120 { // more than a connection carries
				c := hoptest.Dial(t, entry)
				wg.Go(func() {
					if err := roundTrip(c, c.CloseWrite, 300<<10); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
		})
	}
}

// A client that does not read holds back who sends to it, through both gateways.
func TestBackPressureOverTLS(t *testing.T) {
	m, near, far := hoptest.NewMesh(t), hoptest.Loop(t), hoptest.Loop(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	const size = 64 << 20
	stuck := make(chan int, 1) // how much was sent when no more went, or all
	go func() {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		sent, p := 0, make([]byte, 64<<10)
		for sent < size {
			c.SetWriteDeadline(time.Now().Add(time.Second))
			n, err := c.Write(p[:min(len(p), size-sent)])
			sent += n
			if err != nil || sent == size {
				select {
				case stuck <- sent:
				default:
				}
			}
		}
	}()
	at := m.Serve(far, shopID, &hoptest.Relay{}, hop.Native)
	entry := hoptest.Enter(t, near, m.Dialer(edgeID), hop.Target{Addr: at, Identity: shopID, Authority: ln.Addr().String()})
	c := hoptest.Dial(t, entry)
	if sent := <-stuck; sent > size/2 {
		t.Errorf("%d bytes were sent to who reads nothing, want it held back", sent)
	}
	if n, err := io.Copy(io.Discard, c); n != size || err != nil {
		t.Errorf("%d of %d bytes came, error %v", n, size, err)
	}
}

func TestResetsOverTLS(t *testing.T) {
	m, near, far := hoptest.NewMesh(t), hoptest.Loop(t), hoptest.Loop(t)
	at := m.Serve(far, shopID, &hoptest.Relay{}, "h2")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	entry := hoptest.Enter(t, near, m.Dialer(edgeID), hop.Target{Addr: at, Identity: shopID, Authority: ln.Addr().String()})
	c := hoptest.Dial(t, entry)
	backend, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	backend.(*net.TCPConn).SetLinger(0)
	backend.Close()
	if n, err := c.Read(make([]byte, 1)); err == nil || err == io.EOF {
		t.Errorf("read %d bytes and %v, want a reset (RFC 9113 section 8.5)", n, err)
	}
	ln.Close() // nobody listens: 503
	again, err := net.DialTimeout("tcp", entry.String(), hoptest.Patience)
	if err != nil {
		return // the reset was that fast
	}
	defer again.Close()
	if n, err := again.Read(make([]byte, 1)); err == nil || err == io.EOF {
		t.Errorf("read %d bytes and %v, want a reset", n, err)
	}
}

// dial waits for what a Dial comes to. A connection is used in use, on its loop.
func dial(t *testing.T, l *loop.Loop, d *hop.Dialer, to hop.Target, use func(c hop.Conner, native bool)) error {
	t.Helper()
	done := make(chan error, 1)
	l.Post(func() {
		d.Dial(l, to, hoptest.Patience, func(c hop.Conner, native bool, err error) {
			if err == nil && use != nil {
				use(c, native)
			}
			done <- err
		})
	})
	return <-done
}

func TestWhoIsNotTheOneIsNotTalkedTo(t *testing.T) {
	m, foreign, l := hoptest.NewMesh(t), hoptest.NewMesh(t), hoptest.Loop(t)
	at := m.Serve(l, shopID, &hoptest.Relay{}, hop.Native, "h2")
	to := hop.Target{Addr: at, Identity: shopID, Authority: hoptest.Echo(t).String()}
	if err := dial(t, l, m.Dialer(edgeID), to, nil); err != nil {
		t.Errorf("who is of the mesh gets %v", err)
	}
	for name, f := range map[string]func() error{
		"another identity there": func() error {
			other := to
			other.Identity = cartID
			return dial(t, l, m.Dialer(edgeID), other, nil)
		},
		"a client of another mesh": func() error {
			d := hop.NewDialer(hop.DialerOptions{TLS: func(string) *tls.Config { return m.Client(foreign.Own(edgeID), shopID) }})
			return dial(t, l, d, to, nil)
		},
		"a server of another mesh": func() error {
			other := to
			other.Addr = foreign.Serve(l, shopID, &hoptest.Relay{}, hop.Native)
			return dial(t, l, m.Dialer(edgeID), other, nil)
		},
	} {
		err := f()
		var why *hop.Refusal
		if err == nil || errors.As(err, &why) {
			t.Errorf("%s: error %v, want one of TLS", name, err)
		}
	}
	to.Addr = netip.MustParseAddrPort("127.0.0.1:1")
	if err := dial(t, l, m.Dialer(edgeID), to, nil); !errors.Is(err, loop.ErrRefused) {
		t.Errorf("nobody there: error %v, want %v", err, loop.ErrRefused)
	}
}

// hello answers requests with whose they are.
type hello struct{}

func (hello) Exchange(s message.ServerStream, req *message.Request, last bool) message.Receiver {
	text := s.Peer().Identity + " by " + s.Peer().Gateway
	s.Head(&message.Response{Status: 200, Length: int64(len(text))}, false)
	s.Data([]byte(text))
	s.End(nil)
	return ignore{}
}

type ignore struct{}

func (ignore) Data([]byte)        {}
func (ignore) End(message.Fields) {}
func (ignore) Abort(error)        {}
func (ignore) Drained()           {}

// A reading tells when a response has ended.
type reading struct {
	ignore
	body string
	done chan error
}

func (r *reading) Head(*message.Response, bool) {}
func (r *reading) Data(p []byte)                { r.body += string(p) }
func (r *reading) End(message.Fields)           { r.done <- nil }
func (r *reading) Abort(err error)              { r.done <- err }

func TestNativeRequestsOverTLS(t *testing.T) {
	m, l, far := hoptest.NewMesh(t), hoptest.Loop(t), hoptest.Loop(t)
	at := m.Serve(far, shopID, &hoptest.Relay{Handler: hello{}}, hop.Native, "h2")
	r := &reading{done: make(chan error, 1)}
	err := dial(t, l, m.Dialer(edgeID), hop.Target{Addr: at, Identity: shopID, Requests: true}, func(conn hop.Conner, native bool) {
		if !native {
			t.Error("the connection is a tunnel")
		}
		c := hop.NewClient(conn, http2.ClientOptions{})
		conn.Handle(c)
		c.Open(&message.Request{Method: "GET", Scheme: "http", Authority: "cart", Path: "/", Hop: message.Hop{Target: "10.96.0.5:80", Source: cartID}}, true, r)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-r.done; err != nil || r.body != cartID+" by "+edgeID {
		t.Errorf("error %v, body %q", err, r.body)
	}
}

// A stranger's client: golang.org/x/net's.
func TestStrangersClient(t *testing.T) {
	m, l := hoptest.NewMesh(t), hoptest.Loop(t)
	at := m.Serve(l, shopID, &hoptest.Relay{Handler: hello{}}, hop.Native, "h2")
	config := m.Client(m.Own(cartID), shopID)
	config.NextProtos = []string{"h2"}
	ctx, cancel := context.WithTimeout(t.Context(), hoptest.Patience)
	defer cancel()
	raw, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	c, err := (&h2.Transport{}).NewClientConn(raw)
	if err != nil {
		t.Fatal(err)
	}
	connect := func(authority string) (*http.Response, *io.PipeWriter) {
		t.Helper()
		r, w := io.Pipe()
		req, err := http.NewRequestWithContext(ctx, http.MethodConnect, "https://"+at.String(), r)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = authority
		resp, err := c.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		return resp, w
	}
	echo := hoptest.Echo(t).String()
	for range 3 {
		resp, w := connect(echo)
		if resp.StatusCode != 200 {
			t.Fatalf("status %d, want 200", resp.StatusCode)
		}
		both := struct {
			io.Reader
			io.Writer
		}{resp.Body, w}
		if err := roundTrip(both, w.Close, 4<<20); err != nil {
			t.Error(err)
		}
	}
	for authority, want := range map[string]int{"127.0.0.1:1": 503, "cart": 400, "cart:80": 400} {
		resp, w := connect(authority)
		if resp.StatusCode != want {
			t.Errorf("CONNECT %s: status %d, want %d", authority, resp.StatusCode, want)
		}
		resp.Body.Close()
		w.Close()
	}
	get, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+at.String()+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.RoundTrip(get)
	if err != nil || resp.StatusCode != 400 {
		t.Errorf("GET: %v, error %v, want 400", resp, err)
	}
}

// A stranger's server: golang.org/x/net's.
func TestStrangersServer(t *testing.T) {
	m, l := hoptest.NewMesh(t), hoptest.Loop(t)
	ln, err := tls.Listen("tcp", "127.0.0.1:0", m.Server(shopID, "h2"))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	heard := make(chan string, 10)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				if c.(*tls.Conn).Handshake() != nil {
					return
				}
				new(h2.Server).ServeConn(c, &h2.ServeConnOpts{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					heard <- r.Method + " " + r.Header.Get("forwarded")
					stranger(w, r)
				})})
			}()
		}
	}()
	at := ln.Addr().(*net.TCPAddr).AddrPort()
	d := m.Dialer(edgeID)
	to := hop.Target{Addr: at, Identity: shopID, Authority: hoptest.Echo(t).String(), Source: cartID, Client: netip.MustParseAddrPort("192.0.2.1:4711"), Requests: true}
	entry := hoptest.Enter(t, l, d, to)
	for range 3 {
		c := hoptest.Dial(t, entry)
		if err := roundTrip(c, c.CloseWrite, 4<<20); err != nil {
			t.Fatal(err)
		}
	}
	if got := <-heard; got != `CONNECT for="192.0.2.1:4711"` {
		t.Errorf("the stranger heard %q", got)
	}
	to.Authority = "127.0.0.1:1"
	err = dial(t, l, d, to, nil)
	var why *hop.Refusal
	if !errors.As(err, &why) || why.Status != 503 {
		t.Errorf("error %v, want a refusal with 503", err)
	}
}

// stranger relays tunnels as any program in Go would.
func stranger(w http.ResponseWriter, r *http.Request) {
	c, err := net.Dial("tcp", r.Host)
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	defer c.Close()
	w.WriteHeader(http.StatusOK)
	w.(http.Flusher).Flush()
	var wg sync.WaitGroup
	wg.Go(func() {
		io.Copy(c, r.Body)
		c.(*net.TCPConn).CloseWrite()
	})
	p := make([]byte, 32<<10)
	for {
		n, err := c.Read(p)
		w.Write(p[:n])
		w.(http.Flusher).Flush()
		if err != nil {
			break
		}
	}
	wg.Wait()
}
