package loop

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"fairway.dev/gateway/loop/looptest"
)

// echo sends back what it reads, and the end of the stream.
type echo struct {
	s      *Socket
	closed chan error
}

func (e *echo) Data(p []byte)    { e.s.Write(p) }
func (e *echo) EOF()             { e.s.Finish() }
func (e *echo) Drained()         {}
func (e *echo) Closed(err error) { e.closed <- err }

func startLoop(t *testing.T) *Loop {
	t.Helper()
	l, err := New(0)
	if err != nil {
		t.Fatal(err)
	}
	go l.Run()
	t.Cleanup(l.Stop)
	return l
}

// serve accepts on loopback and hands sockets to take, on the loop.
func serve(t *testing.T, l *Loop, take func(*Socket)) netip.AddrPort {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	file, err := ln.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close(); ln.Close() })
	fd := int(file.Fd()) // Fd makes it blocking
	unix.SetNonblock(fd, true)
	started := make(chan error)
	l.Post(func() {
		_, err := l.Accept(fd, func(fd int, remote netip.AddrPort) {
			s, err := l.Adopt(fd, remote)
			if err != nil {
				t.Error(err)
				return
			}
			take(s)
		}, func(err error) { t.Error(err) })
		started <- err
	})
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	return ln.Addr().(*net.TCPAddr).AddrPort()
}

func exchange(t *testing.T, c net.Conn, size int) {
	t.Helper()
	want := bytes.Repeat([]byte("0123456789abcdef"), size/16)
	sent := make(chan error, 1)
	go func() {
		_, err := c.Write(want)
		if cw, ok := c.(interface{ CloseWrite() error }); ok && err == nil {
			err = cw.CloseWrite()
		}
		sent <- err
	}()
	got, err := io.ReadAll(c)
	if err != nil {
		t.Errorf("read after %d bytes: %v", len(got), err)
	}
	if err := <-sent; err != nil {
		t.Errorf("write: %v", err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("got %d bytes back, want the %d that were sent", len(got), len(want))
	}
}

func TestSocketCarriesBytes(t *testing.T) {
	l := startLoop(t)
	closed := make(chan error, 1)
	addr := serve(t, l, func(s *Socket) { s.Handle(&echo{s, closed}) })
	for _, size := range []int{16, 4 << 10, 4 << 20} {
		c, err := net.Dial("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		exchange(t, c, size)
		c.Close()
		if err := <-closed; err != nil {
			t.Errorf("size %d: closed with %v, want nil after Finish", size, err)
		}
	}
}

// hangUp ends the connection when it hears something, in a way of its own.
type hangUp struct{ end func() }

func (h *hangUp) Data([]byte)  { h.end() }
func (h *hangUp) EOF()         {}
func (h *hangUp) Drained()     {}
func (h *hangUp) Closed(error) {}

func TestResetIsNoEndOfTheStream(t *testing.T) {
	l := startLoop(t)
	tests := []struct {
		what string
		end  func(s *Socket) func()
		want error
	}{
		{"Close", func(s *Socket) func() { return s.Close }, nil},
		{"Reset", func(s *Socket) func() { return s.Reset }, unix.ECONNRESET},
	}
	for _, tt := range tests {
		addr := serve(t, l, func(s *Socket) { s.Handle(&hangUp{tt.end(s)}) })
		c, err := net.Dial("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		c.Write([]byte("go"))
		if _, err := io.ReadAll(c); !errors.Is(err, tt.want) {
			t.Errorf("%s: the peer got %v, want %v", tt.what, err, tt.want)
		}
		c.Close()
	}
}

func TestTLSSocketCarriesBytes(t *testing.T) {
	l := startLoop(t)
	server, client := looptest.TLSConfigs(t)
	closed := make(chan error, 1)
	addr := serve(t, l, func(s *Socket) {
		s.ServeTLS(server, nil, 5*time.Second, func(_ tls.ConnectionState, err error) {
			if err != nil {
				t.Error(err)
				return
			}
			s.Handle(&echo{s, closed})
		})
	})
	for _, size := range []int{16, 4 << 10, 4 << 20} {
		c, err := tls.Dial("tcp", addr.String(), client)
		if err != nil {
			t.Fatal(err)
		}
		exchange(t, c, size)
		c.Close()
		if err := <-closed; err != nil {
			t.Errorf("size %d: closed with %v, want nil after Finish", size, err)
		}
	}
}

// collect gathers what a dialled socket reads until its end.
type collect struct {
	s    *Socket
	got  []byte
	done chan []byte
}

func (c *collect) Data(p []byte) { c.got = append(c.got, p...) }
func (c *collect) EOF()          { c.done <- c.got; c.s.Close() }
func (c *collect) Drained()      {}
func (c *collect) Closed(error)  { close(c.done) }

func TestDialTLS(t *testing.T) {
	l := startLoop(t)
	server, client := looptest.TLSConfigs(t)
	ln, err := tls.Listen("tcp", "127.0.0.1:0", server)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		io.Copy(c, io.LimitReader(c, 5))
		c.Close()
	}()
	done := make(chan []byte, 1)
	l.Post(func() {
		l.Dial(ln.Addr().(*net.TCPAddr).AddrPort(), Opening{TLS: client}, 5*time.Second, func(s *Socket, _ string, err error) {
			if err != nil {
				t.Error(err)
				close(done)
				return
			}
			s.Handle(&collect{s: s, done: done})
			s.Write([]byte("hello"))
		})
	})
	if got := <-done; string(got) != "hello" {
		t.Errorf("got %q, want %q", got, "hello")
	}
}

func TestDialRefused(t *testing.T) {
	l := startLoop(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().(*net.TCPAddr).AddrPort()
	ln.Close()
	failed := make(chan error, 1)
	l.Post(func() {
		l.Dial(addr, Opening{}, time.Second, func(_ *Socket, _ string, err error) { failed <- err })
	})
	if err := <-failed; !errors.Is(err, ErrRefused) {
		t.Errorf("got %v, want ErrRefused", err)
	}
}

func TestHandshakeDeadline(t *testing.T) {
	l := startLoop(t)
	server, _ := looptest.TLSConfigs(t)
	ended := make(chan error, 1)
	addr := serve(t, l, func(s *Socket) {
		s.ServeTLS(server, nil, time.Millisecond, func(_ tls.ConnectionState, err error) { ended <- err })
	})
	c, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var timeout net.Error
	if err := <-ended; !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("a client that says nothing: got %v, want a timeout", err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("the connection is still open")
	}
}

// stuffed writes more than the peer takes and waits to be drained.
type stuffed struct {
	s       *Socket
	stalled chan struct{}
	drained chan int
	left    int
}

func (h *stuffed) Data([]byte) {
	for h.s.Queued() <= 64<<10 && h.left > 0 {
		h.s.Write(make([]byte, 32<<10))
		h.left -= 32 << 10
	}
	if h.left > 0 {
		select {
		case h.stalled <- struct{}{}:
		default:
		}
	}
}
func (h *stuffed) EOF()         {}
func (h *stuffed) Closed(error) {}
func (h *stuffed) Drained() {
	h.drained <- h.s.Queued()
	h.Data(nil)
}

func TestDrainedAfterBackpressure(t *testing.T) {
	l := startLoop(t)
	const total = 64 << 20 // more than the kernel's buffers hold
	stalled, drained := make(chan struct{}, 1), make(chan int, total/(32<<10))
	addr := serve(t, l, func(s *Socket) {
		s.Handle(&stuffed{s: s, stalled: stalled, drained: drained, left: total})
	})
	c, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Write([]byte("go"))
	<-stalled
	if n, err := io.CopyN(io.Discard, c, total); err != nil {
		t.Fatalf("read %d of %d bytes: %v", n, total, err)
	}
	if n := <-drained; n >= 16<<10 {
		t.Errorf("Drained with %d bytes queued, want under 16 KiB", n)
	}
}
