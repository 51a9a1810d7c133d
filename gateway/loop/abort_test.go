package loop

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestAbortResetsBehindWhatWasWritten(t *testing.T) {
	l := startLoop(t)
	h, c := connected(t, l)
	want := bytes.Repeat([]byte("0123456789abcdef"), 64<<10) // more than the peer's kernel takes at once
	l.Post(func() {
		h.s.Write(want)
		h.s.Abort()
	})
	got, err := io.ReadAll(c)
	if !bytes.Equal(got, want) {
		t.Errorf("the peer has %d bytes, want %d", len(got), len(want))
	}
	if !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("the stream ends with %v, want a reset", err)
	}
	if err := <-h.heard; err != nil {
		t.Errorf("the handler hears %v, want that it is closed", err)
	}
}

func TestAbortDoesNotWaitForeverForAPeerThatDoesNotRead(t *testing.T) {
	l := startLoop(t)
	h, _ := connected(t, l)
	l.Post(func() {
		h.s.Write(make([]byte, 32<<20))
		h.s.Abort()
	})
	began := time.Now()
	if err := <-h.heard; err != nil {
		t.Errorf("the handler hears %v, want that it is closed", err)
	}
	if took := time.Since(began); took < abortWithin/2 {
		t.Errorf("closed after %v, want the peer to have about %v", took, abortWithin)
	}
}

func TestDialSendsFirstBytesBeforeAllElse(t *testing.T) {
	l := startLoop(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	l.Post(func() {
		how := Opening{First: []byte("first ")}
		l.Dial(ln.Addr().(*net.TCPAddr).AddrPort(), how, 5*time.Second, func(s *Socket, _ string, err error) {
			if err != nil {
				t.Error(err)
				return
			}
			s.Handle(&echo{s: s, closed: make(chan error, 1)})
			s.Write([]byte("second"))
			s.Finish()
		})
	})
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got, err := io.ReadAll(c); string(got) != "first second" {
		t.Errorf("got %q, %v; want first second", got, err)
	}
}
