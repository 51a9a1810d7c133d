package loop

import (
	"errors"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// events tells what a connection's Handler hears, in order.
type events struct {
	s     *Socket
	heard chan any
}

type heardEOF struct{}

func (h *events) Data(p []byte)    { h.heard <- string(p) }
func (h *events) EOF()             { h.heard <- heardEOF{} }
func (h *events) Drained()         {}
func (h *events) Closed(err error) { h.heard <- err }

// connected returns a socket of l that hears events, and its peer.
func connected(t *testing.T, l *Loop) (*events, *net.TCPConn) {
	t.Helper()
	h := &events{heard: make(chan any, 16)}
	accepted := make(chan struct{})
	addr := serve(t, l, func(s *Socket) {
		h.s = s
		s.Handle(h)
		close(accepted)
	})
	c, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	<-accepted
	return h, c.(*net.TCPConn)
}

// hold keeps l from seeing what happens until the function returned is called.
func hold(l *Loop) (release func()) {
	held, freed := make(chan struct{}), make(chan struct{})
	l.Post(func() { close(held); <-freed })
	<-held
	return func() { close(freed) }
}

// answerAndReset is what a peer does that answers without reading all.
func answerAndReset(t *testing.T, c *net.TCPConn) {
	t.Helper()
	if _, err := c.Write([]byte("answer")); err != nil {
		t.Fatal(err)
	}
	c.SetLinger(0)
	c.Close()
}

func TestBytesBeforeAResetAreHandedOn(t *testing.T) {
	tests := []struct {
		what   string
		before func(s *Socket) // on the loop, before the peer's answer
		after  func(s *Socket) // on the loop, with the reset there
	}{
		{"reading", func(*Socket) {}, func(*Socket) {}},
		{"writing", func(*Socket) {}, func(s *Socket) { s.Write(make([]byte, directWrite)) }},
		{"paused", (*Socket).Pause, func(s *Socket) { s.loop.Defer(s.Resume) }},
	}
	for _, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			l := startLoop(t)
			h, c := connected(t, l)
			release := hold(l)
			l.Post(func() { tt.after(h.s) })
			tt.before(h.s) // the loop stands still
			answerAndReset(t, c)
			release()
			if got := <-h.heard; got != "answer" {
				t.Fatalf("heard %v, want the answer", got)
			}
			if err, _ := (<-h.heard).(error); !errors.Is(err, unix.ECONNRESET) {
				t.Errorf("then heard %v, want the reset", err)
			}
		})
	}
}

func TestResetOfAPausedSocketIsHeardWhereNothingCameBefore(t *testing.T) {
	l := startLoop(t)
	h, c := connected(t, l)
	release := hold(l)
	h.s.Pause()
	c.SetLinger(0)
	c.Close()
	release()
	if err, _ := (<-h.heard).(error); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("heard %v, want the reset", err)
	}
}

func TestFinishAfterCloseWriteEnds(t *testing.T) {
	l := startLoop(t)
	h, c := connected(t, l)
	l.Post(h.s.CloseWrite)
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Fatal("read a byte, want the end of the stream")
	}
	c.CloseWrite()
	if got := <-h.heard; got != (heardEOF{}) {
		t.Fatalf("heard %v, want EOF", got)
	}
	began := time.Now()
	l.Post(h.s.Finish)
	if got := <-h.heard; got != nil || time.Since(began) > finishWithin/2 {
		t.Errorf("heard %v after %v, want nil at once", got, time.Since(began))
	}
}
