package loop

import (
	"crypto/tls"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A TLSHandler hears how a TLS handshake ended, on the loop: with the
// connection's state, or with the error, after which the socket is closed.
type TLSHandler func(state tls.ConnectionState, err error)

// ServeTLS makes s a TLS server: done is called when the handshake has ended.
// Bytes that were read from s before are first. Handlers are set in done.
func (s *Socket) ServeTLS(config *tls.Config, first []byte, timeout time.Duration, done TLSHandler) {
	t := &tlsLayer{s: s}
	t.conn = tls.Server(t, config)
	s.shakeHands(t, first, timeout, done)
}

// ClientRoots returns the roots (PEM) that the certificate leads to which the
// other end showed in the handshake; nil where it showed none, or none that
// was verified.
func (s *Socket) ClientRoots() []byte {
	if s.tls == nil {
		return nil
	}
	return s.tls.clientRoots
}

// connectTLS makes s a TLS client.
func (s *Socket) connectTLS(config *tls.Config, timeout time.Duration, done TLSHandler) {
	t := &tlsLayer{s: s}
	t.conn = tls.Client(t, config)
	s.shakeHands(t, nil, timeout, done)
	t.startWorker() // the client speaks first
}

func (s *Socket) shakeHands(t *tlsLayer, first []byte, timeout time.Duration, done TLSHandler) {
	l := s.loop
	if l.cipher == nil {
		l.cipher = make([]byte, cipherSize)
	}
	h := &handshake{fd: s.fd, events: make(chan struct{}, 1), first: first}
	t.shake = h
	s.tls = t
	s.state = shaking
	s.timer.Fire = func() {
		h.timedOut.Store(true)
		if h.started {
			h.notify()
			return
		}
		s.endHandshake(os.ErrDeadlineExceeded, done)
	}
	l.Arm(&s.timer, timeout)
	h.run = func(h *handshake) {
		err := t.conn.Handshake()
		if !l.Post(func() { s.endHandshake(err, done) }) {
			unix.Close(h.fd) // the loop has ended: nobody else has it
		}
	}
	if len(first) > 0 || s.readable { // who looked at the connection may have left bytes
		t.startWorker()
	}
}

// endHandshake takes the connection back from the worker.
func (s *Socket) endHandshake(err error, done TLSHandler) {
	t := s.tls
	if s.state != shaking {
		return
	}
	gone := t.shake.gone.Load()
	left := t.shake.first
	t.shake = nil
	s.state = open
	s.loop.Disarm(&s.timer)
	if gone {
		s.release()
		return
	}
	if err != nil {
		s.release()
		done(tls.ConnectionState{}, fmt.Errorf("TLS handshake: %w", err))
		return
	}
	t.in = left
	done(t.conn.ConnectionState(), nil)
	if s.state != open {
		return
	}
	s.readable = true // the worker may have read past the handshake
	s.pumpLater()
}

// handshakers run handshakes. A goroutine that has run one has a stack that
// has grown for it, so it stays a while for the next.
type handshakers struct {
	jobs chan *handshake
}

var workers = handshakers{jobs: make(chan *handshake)}

const workerIdle = 5 * time.Second

func (w *handshakers) start(h *handshake) {
	select {
	case w.jobs <- h:
	default:
		go w.work(h)
	}
}

func (w *handshakers) work(h *handshake) {
	idle := time.NewTimer(workerIdle)
	defer idle.Stop()
	for {
		h.run(h)
		idle.Reset(workerIdle)
		select {
		case h = <-w.jobs:
		case <-idle.C:
			return
		}
	}
}
