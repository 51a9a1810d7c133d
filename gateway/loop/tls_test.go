package loop

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"fairway.dev/gateway/loop/looptest"
)

// serveTLS serves TLS to sockets that hear h's events.
func serveTLS(t *testing.T, l *Loop, config *tls.Config, h *events) netip.AddrPort {
	t.Helper()
	return serve(t, l, func(s *Socket) {
		s.ServeTLS(config, nil, 5*time.Second, func(_ tls.ConnectionState, err error) {
			if err != nil {
				t.Error(err)
				return
			}
			h.s = s
			s.Handle(h)
		})
	})
}

func TestTLSEndsWithCloseNotify(t *testing.T) {
	server, client := looptest.TLSConfigs(t)
	tests := []struct {
		what string
		end  func(c *tls.Conn)
		want any
	}{
		{"close_notify", func(c *tls.Conn) { c.CloseWrite() }, heardEOF{}},
		{"close_notify and FIN", func(c *tls.Conn) { c.Close() }, heardEOF{}},
		// RFC 8446 section 6.1: without close_notify it may be cut short.
		{"FIN alone", func(c *tls.Conn) { c.NetConn().Close() }, io.ErrUnexpectedEOF},
	}
	for _, tt := range tests {
		l := startLoop(t)
		h := &events{heard: make(chan any, 16)}
		c, err := tls.Dial("tcp", serveTLS(t, l, server, h).String(), client)
		if err != nil {
			t.Fatal(err)
		}
		c.Write([]byte("all"))
		if got := <-h.heard; got != "all" {
			t.Fatalf("%s: heard %v, want what was sent", tt.what, got)
		}
		tt.end(c)
		if got := <-h.heard; got != tt.want {
			t.Errorf("%s: heard %v, want %v", tt.what, got, tt.want)
		}
		c.Close()
	}
}

// gather sends the first write at once and gathers what follows.
type gather struct {
	*net.TCPConn
	began bool
	rest  []byte
}

func (g *gather) Write(p []byte) (int, error) {
	if g.began {
		g.rest = append(g.rest, p...)
		return len(p), nil
	}
	g.began = true
	return g.TCPConn.Write(p)
}

func TestEndThatComesDuringTheHandshakeIsHeard(t *testing.T) {
	l := startLoop(t)
	server, client := looptest.TLSConfigs(t)
	h := &events{heard: make(chan any, 64)}
	tcp, err := net.Dial("tcp", serveTLS(t, l, server, h).String())
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	g := &gather{TCPConn: tcp.(*net.TCPConn)}
	c := tls.Client(g, client)
	want := bytes.Repeat([]byte("x"), 64<<10)
	if _, err := c.Write(want); err != nil { // behind the handshake's last flight
		t.Fatal(err)
	}
	release := hold(l)
	g.TCPConn.Write(g.rest)
	g.CloseWrite()
	release()
	var got int
	for {
		switch e := heardWithin(t, h).(type) {
		case string:
			got += len(e)
			continue
		case error:
			if !errors.Is(e, io.ErrUnexpectedEOF) || got != len(want) {
				t.Errorf("%d bytes, then %v; want %d and the end", got, e, len(want))
			}
		}
		return
	}
}

// heardWithin returns what h hears next.
func heardWithin(t *testing.T, h *events) any {
	t.Helper()
	select {
	case e := <-h.heard:
		return e
	case <-time.After(5 * time.Second):
		t.Fatal("nothing is heard")
		return nil
	}
}

func TestServerThatSpeaksFirstIsHeard(t *testing.T) {
	l := startLoop(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	h := &events{heard: make(chan any, 16)}
	l.Post(func() {
		l.Dial(ln.Addr().(*net.TCPAddr).AddrPort(), Opening{}, 5*time.Second, func(s *Socket, _ string, err error) {
			if err != nil {
				t.Error(err)
				return
			}
			h.s = s
			s.Handle(h)
		})
		c, err := ln.Accept() // all of it is there when the loop looks
		if err != nil {
			t.Error(err)
			return
		}
		c.Write([]byte("welcome"))
		c.Close()
	})
	if got := heardWithin(t, h); got != "welcome" {
		t.Errorf("heard %v, want what was there with the connection", got)
	}
	if got := heardWithin(t, h); got != (heardEOF{}) {
		t.Errorf("heard %v, want EOF", got)
	}
}

func TestSilentTLSClientCostsNoGoroutine(t *testing.T) {
	l := startLoop(t)
	server, _ := looptest.TLSConfigs(t)
	started := make(chan bool, 1)
	addr := serve(t, l, func(s *Socket) {
		s.ServeTLS(server, nil, 5*time.Second, func(tls.ConnectionState, error) {})
		// The socket's first event comes in the next round, which ends with that function.
		l.Post(func() { l.Post(func() { started <- s.tls.shake.started }) })
	})
	c, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if <-started {
		t.Error("a goroutine shakes hands with a client that says nothing")
	}
}
