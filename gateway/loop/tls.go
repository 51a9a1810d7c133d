package loop

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// tlsLayer is TLS on a socket. crypto/tls drives a net.Conn; here it drives
// one that never blocks: it reads from the loop's cipher buffer, says
// errAgain when that is empty, and its records gather in the socket's queue.
//
// The handshake is the one thing that crypto/tls cannot leave and take up
// again, so a worker goroutine runs it (see handshake.go).
type tlsLayer struct {
	s    *Socket
	conn *tls.Conn

	in    []byte // ciphertext read and not yet taken: in the loop's buffer during read, a copy after it
	plain []byte // written by the handler, not yet sealed: a chunk of the loop's, a record at most
	fin   bool   // the peer has sent its FIN

	reading bool // what crypto/tls writes answers what it reads
	enough  bool // the kernel is not asked for more now
	answers int  // bytes of such answers that may not be sent yet

	shake *handshake // while a worker has the connection

	clientRoots []byte
}

const (
	// maxPlaintext is the most that a record carries (RFC 8446 section 5.1), and
	// maxRecord what it takes on the wire at most (section 5.2).
	maxPlaintext = 16 << 10
	maxRecord    = 5 + maxPlaintext + 256
	// cipherSize is the most ciphertext that one read takes. What that and the
	// beginning of a record before it have in them, scratchSize has room for.
	cipherSize = scratchSize - maxRecord
)

// maxAnswers bounds what a peer can have us queue that asks for new keys, again
// and again, and does not read the answers: each is a record of some 30 bytes.
const maxAnswers = 64 << 10

var errDeaf = errors.New("the peer asks for new keys and does not take them")

// errAgain tells crypto/tls that nothing can be read now. That it is
// temporary keeps it from ending the connection.
var errAgain net.Error = again{}

type again struct{}

func (again) Error() string   { return "nothing to read yet" }
func (again) Timeout() bool   { return true }
func (again) Temporary() bool { return true }

// read fills p with plaintext: what the kernel gives at once, as far as it fits.
// To fill p to its end would leave ciphertext over that has to be copied.
func (t *tlsLayer) read(p []byte) (n int, err error) {
	t.reading = true
	n, err = t.readRecords(p)
	t.reading = false
	return n, err
}

func (t *tlsLayer) readRecords(p []byte) (n int, err error) {
	for n < len(p) {
		if t.answers > maxAnswers {
			return n, errDeaf
		}
		t.enough = n > 0
		m, err := t.conn.Read(p[n:])
		n += m
		if err == nil {
			continue
		}
		t.in = nil
		switch {
		case err == errAgain:
			return n, nil
		case err == io.EOF && t.fin && t.s.state == open:
			// A FIN without close_notify is anybody's who can forge a segment: what
			// ends there may be cut short (RFC 8446 section 6.1, RFC 9112 section 9.8).
			return n, io.ErrUnexpectedEOF
		}
		return n, err
	}
	// p is full: much had come with the handshake. There may be more, here or in
	// crypto/tls, whatever the kernel has; what is here must outlive the loop's
	// buffer.
	t.s.readable = true
	if len(t.in) > 0 {
		t.in = append([]byte(nil), t.in...)
	}
	return n, nil
}

// seal encrypts what was written since the last time: one record where it fits.
func (t *tlsLayer) seal() error {
	if len(t.plain) == 0 {
		return nil
	}
	_, err := t.conn.Write(t.plain)
	t.s.loop.release(t.plain)
	t.plain = nil
	return err
}

// write fills records to their end: what is written in many pieces, a frame's
// header and its payload say, would make twice as many of them. Where nothing
// waits whole records are sealed as they are.
func (t *tlsLayer) write(p []byte) {
	for len(p) > 0 {
		n := len(p) &^ (maxPlaintext - 1)
		var err error
		if n > 0 && len(t.plain) == 0 {
			_, err = t.conn.Write(p[:n])
		} else {
			n = min(len(p), maxPlaintext-len(t.plain))
			t.plain = t.s.loop.extend(t.plain, p[:n])
			if len(t.plain) == maxPlaintext {
				err = t.seal()
			}
		}
		if err != nil {
			t.s.failLater(err)
			return
		}
		p = p[n:]
	}
}

func (t *tlsLayer) closeNotify() {
	if t.seal() != nil {
		return // the next Flush tells
	}
	t.conn.CloseWrite() // an alert that cannot be queued tells nobody anything
}

func (t *tlsLayer) release() {
	if t.plain != nil {
		t.s.loop.release(t.plain)
		t.plain = nil
	}
	t.in = nil
}

// ClientVerified keeps the roots that a client's certificate leads to. It
// implements tlsmgr.Verified.
func (t *tlsLayer) ClientVerified(roots []byte) { t.clientRoots = roots }

// Read gives crypto/tls ciphertext, on the loop's goroutine.
func (t *tlsLayer) Read(p []byte) (int, error) {
	if t.shake != nil {
		return t.shake.read(p)
	}
	if len(t.in) == 0 {
		if t.enough || !t.s.readable {
			return 0, errAgain
		}
		n, err := t.s.readKernel(t.s.loop.cipher)
		if err != nil {
			t.fin = err == io.EOF
			return 0, err
		}
		if n == 0 {
			return 0, errAgain
		}
		t.in = t.s.loop.cipher[:n]
	}
	n := copy(p, t.in)
	t.in = t.in[n:]
	return n, nil
}

// Write takes records from crypto/tls.
func (t *tlsLayer) Write(p []byte) (int, error) {
	if t.shake != nil {
		return t.shake.write(p)
	}
	s := t.s
	switch {
	case s.shut:
		return len(p), nil // an answer that nobody waits for
	case t.reading:
		if len(s.out) == s.sent {
			t.answers = 0
		}
		t.answers += len(p)
	}
	if len(s.out)-s.sent+len(p) > largeChunk {
		// Make room in the chunk: a larger buffer would be made for one write.
		if err := s.sendQueued(); err != nil {
			return 0, err
		}
	}
	s.enqueue(p)
	s.markDirty()
	return len(p), nil
}

// The rest of net.Conn. Deadlines are the loop's.
func (t *tlsLayer) Close() error                     { return nil }
func (t *tlsLayer) LocalAddr() net.Addr              { return net.TCPAddrFromAddrPort(t.s.Local()) }
func (t *tlsLayer) RemoteAddr() net.Addr             { return net.TCPAddrFromAddrPort(t.s.remote) }
func (t *tlsLayer) SetDeadline(time.Time) error      { return nil }
func (t *tlsLayer) SetReadDeadline(time.Time) error  { return nil }
func (t *tlsLayer) SetWriteDeadline(time.Time) error { return nil }

// handshake is a TLS handshake that a worker goroutine runs, on its own: the
// loop touches neither the descriptor nor the tls.Conn until it is done, and
// only tells the worker that the descriptor may be ready.
type handshake struct {
	fd       int
	events   chan struct{} // one slot: something may have changed
	gone     atomic.Bool   // the loop gave up
	timedOut atomic.Bool
	started  bool
	first    []byte // read by who looked at the connection before TLS began
	run      func(*handshake)
}

var errHandshakeGone = errors.New("connection given up during the TLS handshake")

func (h *handshake) notify() {
	select {
	case h.events <- struct{}{}:
	default:
	}
}

func (h *handshake) wait() error {
	if h.stopped() {
		return h.stopError()
	}
	<-h.events
	if h.stopped() {
		return h.stopError()
	}
	return nil
}

func (h *handshake) stopped() bool { return h.gone.Load() || h.timedOut.Load() }

func (h *handshake) stopError() error {
	if h.timedOut.Load() {
		return os.ErrDeadlineExceeded
	}
	return errHandshakeGone
}

func (h *handshake) read(p []byte) (int, error) {
	if len(h.first) > 0 {
		n := copy(p, h.first)
		h.first = h.first[n:]
		return n, nil
	}
	for {
		n, errno := sysRead(h.fd, p)
		switch {
		case errno == unix.EAGAIN:
			if err := h.wait(); err != nil {
				return 0, err
			}
			continue
		case errno != 0:
			return 0, errno
		case n == 0:
			return 0, io.EOF
		}
		return n, nil
	}
}

func (h *handshake) write(p []byte) (int, error) {
	sent := 0
	for sent < len(p) {
		n, errno := sysWrite(h.fd, p[sent:])
		switch errno {
		case 0:
			sent += n
		case unix.EAGAIN:
			if err := h.wait(); err != nil {
				return sent, err
			}
		default:
			return sent, errno
		}
	}
	return sent, nil
}

// wakeWorker tells the worker of an event. That bytes may be sent is true of
// every new connection and wakes none: a client that says nothing costs no
// goroutine.
func (t *tlsLayer) wakeWorker(events uint32) {
	switch h := t.shake; {
	case h.started:
		h.notify()
	case events&^unix.EPOLLOUT != 0:
		t.startWorker()
	}
}

func (t *tlsLayer) startWorker() {
	t.shake.started = true
	workers.start(t.shake)
}

// abandon makes the worker give up; the socket is closed when it has.
func (t *tlsLayer) abandon() {
	h := t.shake
	h.gone.Store(true)
	if !h.started {
		t.s.state = open // no worker has it
		t.shake = nil
		t.s.release()
		return
	}
	h.notify()
}
