package loop

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// An Underlay is a connection that has no Handler yet: a tunnel, on which TLS is
// to begin.
type Underlay interface {
	Conn
	Handle(Handler)
}

// An Inner is TLS on a connection that is no socket. It is a [Conn], as a TLS
// Socket is: records gather what was written in a round, and an end without
// close_notify is a failure.
type Inner struct {
	under   Underlay
	handler Handler
	conn    *tls.Conn
	shake   *innerShake // while a worker has the tls.Conn
	done    func(c *Inner, alpn string, err error)

	in      []byte // ciphertext that has come and was not taken
	plain   []byte // written and not sealed: a chunk of the loop's
	answers int    // bytes of what crypto/tls writes by itself, that may not be sent yet

	reading bool // what crypto/tls writes answers what it reads
	pumping bool
	sealing bool // sealNow is deferred
	paused  bool
	fin     bool // the connection below has ended
	cut     bool // and crypto/tls knows
	eof     bool // EOF was told
	shut    bool // our direction has ended
	closed  bool
}

// maxShaken is how much may have come that the handshake has not taken before no
// more is read: all of a handshake that crypto/tls takes is less.
const maxShaken = 256 << 10

var _ Underlay = (*Inner)(nil)

// SecureInner begins TLS on conn, as its client. done is called once, on the
// loop, from a later event: with the connection, whose Handler it sets, or with an
// error, after which conn is reset. It is never called after cancel, which resets
// conn: who waits no longer calls it.
func SecureInner(conn Underlay, config *tls.Config, done func(c *Inner, alpn string, err error)) (cancel func()) {
	i := &Inner{under: conn, done: done}
	i.shake = &innerShake{of: i}
	i.shake.come.L = &i.shake.mu
	i.conn = tls.Client((*innerWire)(i), config)
	conn.Handle((*innerEvents)(i))
	h := i.shake
	workers.start(&handshake{run: func(*handshake) {
		err := i.conn.Handshake()
		conn.Loop().Post(func() { i.shaken(h, err) })
	}})
	return i.cancel
}

func (i *Inner) cancel() {
	if i.shake == nil || i.closed {
		return
	}
	i.closed = true
	i.shake.end(errHandshakeGone)
	i.under.Reset()
}

// shaken takes the connection back from the worker.
func (i *Inner) shaken(h *innerShake, err error) {
	if i.closed {
		return
	}
	i.shake = nil
	if err != nil {
		i.closed = true
		i.under.Reset()
		i.done(nil, "", fmt.Errorf("TLS handshake in the tunnel: %w", err))
		return
	}
	i.in, i.fin = h.in, h.err != nil
	i.under.Resume()
	i.done(i, i.conn.ConnectionState().NegotiatedProtocol, nil)
}

// Handle sets who hears of events. What came before waits for it.
func (i *Inner) Handle(h Handler) {
	i.handler = h
	i.Loop().Defer(i.pump)
}

// Loop returns the loop.
func (i *Inner) Loop() *Loop { return i.under.Loop() }

// Write queues a copy of p.
func (i *Inner) Write(p []byte) {
	if i.closed || i.shut || len(p) == 0 {
		return
	}
	if i.plain = i.Loop().extend(i.plain, p); len(i.plain) >= flushAt {
		i.seal()
	} else if !i.sealing {
		i.sealing = true
		i.Loop().Defer(i.sealNow)
	}
}

func (i *Inner) sealNow() {
	i.sealing = false
	i.seal()
}

// seal encrypts what was written since the last time.
func (i *Inner) seal() {
	if len(i.plain) == 0 || i.closed {
		return
	}
	plain := i.plain
	i.plain = nil
	if _, err := i.conn.Write(plain); err != nil {
		i.Loop().Defer(func() { i.fail(err) })
	}
	i.Loop().release(plain)
}

// Flush sends what is queued now.
func (i *Inner) Flush() {
	i.seal()
	i.under.Flush()
}

// Queued returns how many bytes are not sent yet.
func (i *Inner) Queued() int { return len(i.plain) + i.under.Queued() }

// Pause stops Data.
func (i *Inner) Pause() {
	i.paused = true
	i.under.Pause()
}

// Resume lets Data go on.
func (i *Inner) Resume() {
	i.paused = false
	i.under.Resume()
	i.Loop().Defer(i.pump) // crypto/tls may hold records
}

// CloseWrite sends what is queued, then close_notify and the end of the stream.
func (i *Inner) CloseWrite() {
	if i.endOurs() {
		i.under.CloseWrite()
	}
}

func (i *Inner) endOurs() bool {
	if i.closed || i.shut {
		return false
	}
	i.seal()
	i.conn.CloseWrite() // an alert that cannot be queued tells nobody anything
	i.shut = true
	return true
}

// Finish sends what is queued, then the end of the stream, and closes.
func (i *Inner) Finish() {
	i.endOurs()
	i.under.Finish()
}

// Abort sends what is queued, then resets.
func (i *Inner) Abort() {
	i.seal()
	i.under.Abort()
}

// Close closes at once, with a reset if bytes were left unsent.
func (i *Inner) Close() {
	if len(i.plain) > 0 {
		i.Reset()
		return
	}
	i.release()
	i.under.Close()
}

// Reset closes at once, so that the peer sees an error.
func (i *Inner) Reset() {
	i.release()
	i.under.Reset()
}

func (i *Inner) release() {
	i.closed = true
	if i.plain != nil {
		i.Loop().release(i.plain)
		i.plain = nil
	}
	i.in = nil
}

// takes reports whether the Handler hears of what has come.
func (i *Inner) takes() bool {
	return !i.closed && !i.paused && !i.eof && i.handler != nil
}

// pump hands on what has come, record by record. What it reads into is the
// loop's for as long as it does: the connection below may have read into the one
// that sockets share.
func (i *Inner) pump() {
	if i.pumping || !i.takes() {
		return
	}
	i.pumping = true
	l := i.Loop()
	chunk := l.chunk(largeChunk)
	p := chunk[:cap(chunk)]
	for i.takes() {
		i.reading = true
		n, err := i.conn.Read(p)
		i.reading = false
		if n > 0 {
			i.handler.Data(p[:n])
		}
		if err == nil && i.answers > maxAnswers {
			err = errDeaf
		}
		if err == errAgain {
			break
		}
		if err != nil {
			i.ended(err)
		}
	}
	l.release(chunk)
	i.pumping = false
}

// ended tells how the peer has ended.
func (i *Inner) ended(err error) {
	switch {
	case i.closed:
	case err == io.EOF && i.cut: // RFC 8446 section 6.1: it may be cut short
		i.fail(io.ErrUnexpectedEOF)
	case err == io.EOF:
		i.eof = true
		i.handler.EOF()
	default:
		i.fail(err)
	}
}

func (i *Inner) fail(err error) {
	if i.closed {
		return
	}
	i.Reset()
	if i.handler != nil {
		i.handler.Closed(err)
	}
}

// innerEvents is an Inner as the connection below sees it.
type innerEvents Inner

func (e *innerEvents) Data(p []byte) {
	i := (*Inner)(e)
	switch {
	case i.closed:
	case i.shake != nil:
		if i.shake.take(p) > maxShaken {
			i.under.Pause()
		}
	default:
		held := len(i.in) > 0
		if held {
			p = append(i.in, p...)
		}
		i.in = p
		i.pump()
		if !held && len(i.in) > 0 { // it must outlive the call
			i.in = append([]byte(nil), i.in...)
		}
	}
}

func (e *innerEvents) EOF() {
	i := (*Inner)(e)
	if i.shake != nil {
		i.shake.end(io.EOF)
		return
	}
	i.fin = true
	i.pump()
}

func (e *innerEvents) Drained() {
	if i := (*Inner)(e); !i.closed && i.handler != nil {
		i.handler.Drained()
	}
}

func (e *innerEvents) Closed(err error) {
	i := (*Inner)(e)
	switch {
	case i.closed:
	case i.shake != nil:
		if err == nil {
			err = io.EOF
		}
		i.shake.end(err)
	default:
		i.release()
		if i.handler != nil {
			i.handler.Closed(err)
		}
	}
}

// innerWire is an Inner as crypto/tls sees it: a net.Conn that never blocks, but
// during the handshake.
type innerWire Inner

func (w *innerWire) Read(p []byte) (int, error) {
	i := (*Inner)(w)
	switch {
	case i.shake != nil:
		return i.shake.read(p)
	case len(i.in) > 0:
		n := copy(p, i.in)
		i.in = i.in[n:]
		return n, nil
	case i.fin:
		i.cut = true
		return 0, io.EOF
	}
	return 0, errAgain
}

func (w *innerWire) Write(p []byte) (int, error) {
	i := (*Inner)(w)
	if i.shake != nil {
		return i.shake.write(p)
	}
	if i.reading {
		if i.under.Queued() == 0 {
			i.answers = 0
		}
		i.answers += len(p)
	}
	i.under.Write(p)
	return len(p), nil
}

// The rest of net.Conn.
func (w *innerWire) Close() error                     { return nil }
func (w *innerWire) LocalAddr() net.Addr              { return tunnelAddr{} }
func (w *innerWire) RemoteAddr() net.Addr             { return tunnelAddr{} }
func (w *innerWire) SetDeadline(time.Time) error      { return nil }
func (w *innerWire) SetReadDeadline(time.Time) error  { return nil }
func (w *innerWire) SetWriteDeadline(time.Time) error { return nil }

// tunnelAddr is where an Inner is: nowhere of its own.
type tunnelAddr struct{}

func (tunnelAddr) Network() string { return "tunnel" }
func (tunnelAddr) String() string  { return "tunnel" }

// innerShake is what the loop and the worker that shakes hands share.
type innerShake struct {
	of   *Inner
	mu   sync.Mutex
	come sync.Cond // in, or err
	in   []byte
	out  []byte
	sent bool  // send is posted
	err  error // there is no more to come, and why
}

// take has the worker read p, and returns how much waits for it.
func (h *innerShake) take(p []byte) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.in = append(h.in, p...)
	h.come.Signal()
	return len(h.in)
}

// end has the worker read no more behind what has come.
func (h *innerShake) end(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.err = err
	h.come.Signal()
}

func (h *innerShake) read(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(h.in) == 0 && h.err == nil {
		h.come.Wait()
	}
	if len(h.in) == 0 {
		return 0, h.err
	}
	n := copy(p, h.in)
	h.in = h.in[n:]
	return n, nil
}

func (h *innerShake) write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.out = append(h.out, p...)
	if !h.sent {
		h.sent = true
		if !h.of.Loop().Post(h.send) {
			return 0, net.ErrClosed
		}
	}
	return len(p), nil
}

// send passes on what the worker has written.
func (h *innerShake) send() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sent = false
	if !h.of.closed {
		h.of.under.Write(h.out)
	}
	h.out = nil
}
