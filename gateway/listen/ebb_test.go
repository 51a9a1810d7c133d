package listen

import (
	"io"
	"net"
	"testing"
	"time"

	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
)

// leaving is a codec that tells when it is asked to leave.
type leaving struct {
	*greeter
	asked chan<- time.Time
}

func (l *leaving) Drain() {
	l.asked <- l.conn.Loop().Now()
	l.greeter.Drain()
}

func TestEbbAsksSomeAtATime(t *testing.T) {
	const n, over = 40, 200 * time.Millisecond
	asked := make(chan time.Time, n+1)
	s := startSet(t, 1, func(o *Options) {
		o.HTTP1 = func(c loop.Conn, _ *message.Peer) Codec { return &leaving{&greeter{"http1", c}, asked} }
	})
	addr := apply(t, s, Port{Addr: anyPort})
	clients := make([]net.Conn, n)
	for i := range clients {
		clients[i] = dial(t, addr)
		say(t, clients[i], "x")
	}
	s.Ebb(over)
	first := <-asked // who comes from now on is no part of it
	newcomer := dial(t, addr)
	if got := say(t, newcomer, "y"); got != "http1:y\n" {
		t.Errorf("got %q while others leave, want an answer", got)
	}
	var last time.Time
	for range n - 1 {
		last = <-asked
	}
	if took := last.Sub(first); took < over/2 {
		t.Errorf("all were asked to leave within %v, want that spread over %v", took, over)
	}
	for _, c := range clients {
		if _, err := io.ReadAll(c); err != nil {
			t.Errorf("a connection ended with %v, want a clean end", err)
		}
	}
	if got := say(t, newcomer, "z"); got != "http1:z\n" {
		t.Errorf("got %q from who came later, want an answer", got)
	}
	s.Drain()
	if _, err := io.ReadAll(newcomer); err != nil {
		t.Errorf("the last connection ended with %v, want a clean end", err)
	}
}

func TestEbbOfNothing(t *testing.T) {
	s := startSet(t, 1, nil)
	addr := apply(t, s, Port{Addr: anyPort})
	s.Ebb(time.Millisecond)
	if got := say(t, dial(t, addr), "x"); got != "http1:x\n" {
		t.Errorf("got %q, want an answer", got)
	}
}
