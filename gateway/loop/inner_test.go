package loop

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"fairway.dev/gateway/loop/looptest"
	"fairway.dev/gateway/message"
)

// An opened is what SecureInner came to.
type opened struct {
	conn *Inner
	alpn string
	err  error
}

// secured begins TLS, as a client, on a socket of l whose peer it returns.
func secured(t *testing.T, l *Loop, client *tls.Config, take func(*Inner)) (peer *net.TCPConn, done chan opened, cancel chan func()) {
	t.Helper()
	done, cancel = make(chan opened, 1), make(chan func(), 1)
	addr := serve(t, l, func(s *Socket) {
		cancel <- SecureInner(s, client, func(c *Inner, alpn string, err error) {
			if err == nil {
				take(c)
			}
			done <- opened{c, alpn, err}
		})
	})
	c, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(10 * time.Second))
	return c.(*net.TCPConn), done, cancel
}

// repeats sends back what comes, and the end.
type repeats struct{ c Conn }

func (h repeats) Data(p []byte) {
	h.c.Write(p)
	if h.c.Queued() > message.HighWater {
		h.c.Pause()
	}
}
func (h repeats) EOF()         { h.c.Finish() }
func (h repeats) Drained()     { h.c.Resume() }
func (h repeats) Closed(error) {}

func TestTLSInAConnection(t *testing.T) {
	server, client := looptest.TLSConfigs(t, "h2")
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		server.MaxVersion = version
		for _, size := range []int{1, 16 << 10, 8 << 20} {
			c, done, _ := secured(t, startLoop(t), client, func(c *Inner) { c.Handle(repeats{c}) })
			peer := tls.Server(c, server)
			sent := bytes.Repeat([]byte("0123456789abcde\n"), size/16+1)[:size]
			wrote := make(chan error, 1)
			go func() {
				_, err := peer.Write(sent)
				wrote <- errors.Join(err, peer.CloseWrite())
			}()
			got, err := io.ReadAll(peer)
			if err = errors.Join(err, <-wrote); err != nil || !bytes.Equal(got, sent) {
				t.Errorf("TLS %x: %d bytes came back, error %v; want the %d that were sent", version, len(got), err, size)
			}
			if o := <-done; o.alpn != "h2" {
				t.Errorf("ALPN %q, want h2", o.alpn)
			}
		}
	}
}

func TestTLSInAConnectionEnds(t *testing.T) {
	server, client := looptest.TLSConfigs(t)
	for _, tt := range []struct {
		what string
		end  func(c *tls.Conn)
		want any // nil: some error
	}{
		{"close_notify", func(c *tls.Conn) { c.CloseWrite() }, heardEOF{}},
		{"close_notify and FIN", func(c *tls.Conn) { c.Close() }, heardEOF{}},
		// RFC 8446 section 6.1: without close_notify it may be cut short.
		{"FIN alone", func(c *tls.Conn) { c.NetConn().(*net.TCPConn).CloseWrite() }, io.ErrUnexpectedEOF},
		{"half a record", func(c *tls.Conn) { c.NetConn().Write([]byte{23, 3, 3, 1}); c.NetConn().Close() }, io.ErrUnexpectedEOF},
		{"no record", func(c *tls.Conn) { c.NetConn().Write(make([]byte, 64)) }, nil},
		{"a reset", func(c *tls.Conn) { c.NetConn().(*net.TCPConn).SetLinger(0); c.NetConn().Close() }, nil},
	} {
		h := &events{heard: make(chan any, 16)}
		c, done, _ := secured(t, startLoop(t), client, func(c *Inner) { c.Handle(h) })
		peer := tls.Server(c, server)
		peer.Write([]byte("all"))
		<-done
		if got := <-h.heard; got != "all" {
			t.Fatalf("%s: heard %v, want what was sent", tt.what, got)
		}
		tt.end(peer)
		got := <-h.heard
		if _, failed := got.(error); got != tt.want && (tt.want != nil || !failed) {
			t.Errorf("%s: heard %v, want %v", tt.what, got, tt.want)
		}
	}
}

func TestHandshakesInAConnectionThatFail(t *testing.T) {
	foreign, _ := looptest.TLSConfigs(t)
	_, client := looptest.TLSConfigs(t)
	for what, speak := range map[string]func(c *net.TCPConn){
		"a certificate that is not trusted": func(c *net.TCPConn) { tls.Server(c, foreign).Handshake() },
		"no TLS":                            func(c *net.TCPConn) { c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) },
		"an end":                            func(c *net.TCPConn) { c.CloseWrite() },
		"a reset":                           func(c *net.TCPConn) { c.SetLinger(0); c.Close() },
		"more than a handshake":             func(c *net.TCPConn) { c.Write(make([]byte, 2*maxShaken)) },
	} {
		c, done, _ := secured(t, startLoop(t), client, func(*Inner) {})
		speak(c)
		if o := <-done; o.err == nil {
			t.Errorf("%s: TLS was agreed on", what)
		}
		if _, err := io.Copy(io.Discard, c); err == nil && what == "no TLS" {
			t.Errorf("%s: the connection has ended as if it were whole", what)
		}
	}
}

// Who waits no longer hears nothing, and the connection is reset.
func TestHandshakeInAConnectionIsGivenUp(t *testing.T) {
	_, client := looptest.TLSConfigs(t)
	l := startLoop(t)
	c, done, cancel := secured(t, l, client, func(*Inner) {})
	giveUp := <-cancel
	l.Post(giveUp)
	if _, err := io.Copy(io.Discard, c); err == nil || errors.Is(err, net.ErrClosed) {
		t.Errorf("the peer sees %v, want a reset", err)
	}
	l.Stop()
	select {
	case o := <-done:
		t.Errorf("heard %v after it was given up", o)
	default:
	}
}
