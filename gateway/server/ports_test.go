package server

import (
	"context"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"fairway.dev/routing"
)

func TestUpdatesLeaveOneRetry(t *testing.T) {
	s := start(t)
	port, _ := freePort(t) // taken until the end
	s.Update(answering(t, port, "a"))
	s.mu.Lock()
	first := s.retryBinds
	s.mu.Unlock()
	s.Update(answering(t, port, "b"))
	if first.Stop() {
		t.Error("the first Update's retry is still to come behind the second's")
	}
}

func TestUpdateWhileDrainingOpensNoPort(t *testing.T) {
	s := start(t)
	port, release := freePort(t)
	release()
	if err := s.Drain(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	s.Update(answering(t, port, "late"))
	if got := s.Addrs(); len(got) > 0 {
		t.Errorf("%v are bound, want none", got)
	}
}

func TestPortThatAnotherOfOursLeavesIsBoundSoon(t *testing.T) {
	s := start(t)
	rebound := make(chan struct{}, 16)
	s.options.Rebound = func() { rebound <- struct{}{} }
	port, release := freePort(t)
	release()
	d := answering(t, port, "moved")
	d.Listeners[0].Addresses = []netip.Addr{netip.IPv4Unspecified()}
	if problems := s.Update(d); len(problems) > 0 {
		t.Fatal(problems)
	}
	held := make(chan struct{})
	for _, l := range s.loops {
		l.Post(func() { <-held })
	}
	began := time.Now()
	s.Update(&routing.Delta{Listeners: []*routing.Listener{{Name: "l", Gateway: "g", Port: port, Protocol: routing.HTTP}}})
	if len(s.Unbound()) != 1 {
		t.Errorf("unbound: %v, want the port, which the old socket holds", s.Unbound())
	}
	close(held)
	for len(s.Unbound()) > 0 {
		<-rebound
	}
	if took := time.Since(began); took >= retryBind {
		t.Errorf("bound after %v, want sooner than %v", took, retryBind)
	}
	if got := get(t, port); got != "moved" {
		t.Errorf("got %q, want moved", got)
	}
}

// asking is a log that asks whether the server is ready as soon as there is
// something to tell.
type asking struct {
	slog.Handler
	s     *Server
	ready bool
}

func (a *asking) Enabled(context.Context, slog.Level) bool { return true }
func (a *asking) Handle(context.Context, slog.Record) error {
	ready, _ := a.s.Ready()
	a.ready = a.ready || ready
	return nil
}

func TestNotReadyBeforePortsAreOpened(t *testing.T) {
	s := start(t)
	port, _ := freePort(t) // taken: that is logged while ports are opened
	a := &asking{Handler: slog.DiscardHandler, s: s}
	s.options.Log = slog.New(a)
	s.Update(answering(t, port, "x"))
	if a.ready {
		t.Error("ready in the middle of the first Update")
	}
	if ready, _ := s.Ready(); !ready {
		t.Error("not ready after it")
	}
}
