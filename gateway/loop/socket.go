package loop

import (
	"io"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"fairway.dev/gateway/message"
)

const (
	// scratchSize is the most that one read takes, and one Data hands over.
	scratchSize = 128 << 10
	// roundShare is the most that one socket reads in a round, so that a fast
	// sender does not keep the others waiting.
	roundShare = 4 * scratchSize
	// directWrite is the size from which bytes are offered to the kernel at
	// once instead of being copied to the queue first: more than a frame of
	// HTTP/2 or a record of TLS brings, four of which cost less in one call.
	directWrite = 32 << 10
	// flushAt is how much may gather in a round before it is sent.
	flushAt = 64 << 10
	// finishWithin bounds the time that Finish takes to send what is queued:
	// nobody else watches a connection that is given up.
	finishWithin = 30 * time.Second
	// lingerFor is how long Finish reads on, so that a peer that is still
	// sending gets the answer and not a reset.
	lingerFor = 2 * time.Second
)

// A Socket is a TCP connection on a loop, plain or TLS. It is a [Conn].
type Socket struct {
	loop    *Loop
	handler Handler
	tls     *tlsLayer // nil on a plain connection
	out     []byte    // from the loop's chunks; out[sent:] waits to be sent
	sent    int
	fd      int
	remote  netip.AddrPort
	relay   *relay // takes bulk that is read; mostly nil
	feeder  *relay // brings bulk to be sent
	timer   Timer  // connecting, the TLS handshake, or lingering
	onClose func()
	broken  error // why the connection is lost, while what came before is handed on
	state   state

	readable bool // the kernel may have bytes for us
	hangup   bool // the peer's FIN has been seen: read until the end
	paused   bool
	over     bool // Queued has been over HighWater
	dirty    bool // in loop.dirty
	queued   bool // in loop.again
	eof      bool // EOF was told
	shutting bool // CloseWrite was called
	shut     bool // and the FIN is sent
}

type state uint8

const (
	connecting state = iota
	shaking          // in a TLS handshake, which a worker drives
	open
	finishing // sends what is left, then discards until the peer closes
	aborting  // sends what is left, then resets
	closed
)

// newSocket takes a connected or connecting descriptor.
func (l *Loop) newSocket(fd int, remote netip.AddrPort) (*Socket, error) {
	s := &Socket{loop: l, fd: fd, remote: remote}
	if err := l.poll.add(fd, socketEvents, s); err != nil {
		unix.Close(fd)
		return nil, err
	}
	l.sockets.Add(1)
	return s, nil
}

// Handle sets who hears of events, from now on.
func (s *Socket) Handle(h Handler) { s.handler = h }

// OnClose has f called when the socket is closed, however that comes about.
func (s *Socket) OnClose(f func()) { s.onClose = f }

// Loop returns the loop.
func (s *Socket) Loop() *Loop { return s.loop }

// Remote returns the peer's address.
func (s *Socket) Remote() netip.AddrPort { return s.remote }

// Local returns our end's address.
func (s *Socket) Local() netip.AddrPort {
	local, _ := sysName(unix.SYS_GETSOCKNAME, s.fd)
	return local
}

func (s *Socket) ready(events uint32) {
	if events&(unix.EPOLLRDHUP|unix.EPOLLHUP) != 0 {
		s.hangup = true
	}
	switch s.state {
	case connecting:
		s.finishConnect(events)
		return
	case shaking:
		s.tls.wakeWorker(events)
		return
	}
	if events&unix.EPOLLERR != 0 {
		if err := socketError(s.fd); err != nil {
			s.lost(err)
			return
		}
	}
	if events&unix.EPOLLOUT != 0 {
		s.writable()
	}
	if events&^unix.EPOLLOUT != 0 {
		s.readable = true
		s.pump()
	}
}

// writable goes on with what waits to be sent.
func (s *Socket) writable() {
	switch {
	case s.Queued() > 0:
		s.Flush()
	case s.feeder != nil && s.feeder.held > 0:
		s.feeder.goOn()
	}
}

// pump reads and hands on what there is, until the kernel has no more, the
// handler pauses, or the socket's share of the round is used up.
func (s *Socket) pump() {
	for share := roundShare; s.readable && s.wantsBytes(); {
		if share <= 0 {
			s.pumpLater()
			return
		}
		n, err := s.take()
		share -= n
		if err != nil {
			s.endOfInput(err)
			return
		}
		if n == 0 {
			break
		}
	}
	if s.broken != nil && !s.readable {
		s.fail(s.broken)
	}
}

// take reads once, and hands on what it was.
func (s *Socket) take() (int, error) {
	if r := s.relay; r != nil && s.state == open && r.takes() {
		return r.read()
	}
	n, err := s.read(s.loop.scratch)
	if n > 0 && s.state == open {
		s.handler.Data(s.loop.scratch[:n])
		if s.relay != nil {
			s.relay.began(n == scratchSize)
		}
	}
	return n, err
}

// wantsBytes reports whether somebody takes what is read: the handler, or
// nobody in particular while the socket finishes.
func (s *Socket) wantsBytes() bool {
	return !s.eof && (s.state == finishing || s.state == open && !s.paused)
}

func (s *Socket) pumpLater() {
	if !s.queued {
		s.queued = true
		s.loop.again = append(s.loop.again, s)
	}
}

// read fills p and clears readable once the kernel has no more. It returns
// io.EOF at the end of the stream, which may come with bytes.
func (s *Socket) read(p []byte) (int, error) {
	if s.tls != nil {
		return s.tls.read(p)
	}
	return s.readKernel(p)
}

// readKernel reads from the descriptor. A read that does not fill p has
// emptied the socket's buffer, unless the peer's FIN stands behind it.
func (s *Socket) readKernel(p []byte) (int, error) {
	n, errno := sysRead(s.fd, p)
	switch {
	case errno == unix.EAGAIN:
		s.readable = false
		return 0, nil
	case errno != 0:
		return 0, errno
	case n == 0:
		return 0, io.EOF
	}
	if n < len(p) && !s.hangup {
		s.readable = false
	}
	return n, nil
}

func (s *Socket) endOfInput(err error) {
	s.readable = false
	if s.state == closed {
		return
	}
	if err == io.EOF && s.broken != nil && s.broken != unix.EPIPE {
		err = s.broken // what ended the stream was no FIN; EPIPE is a reset behind one
	}
	if err != io.EOF {
		s.Flush() // crypto/tls may have queued an alert that says what is wrong
		s.fail(err)
		return
	}
	s.eof = true
	if s.state == open {
		s.handler.EOF()
	} else if s.shut {
		s.fail(nil)
	}
	if s.broken != nil {
		s.fail(s.broken)
	}
}

// Write queues p, or sends it at once where it is large and nothing waits.
func (s *Socket) Write(p []byte) {
	if s.state != open || s.shutting || s.broken != nil || len(p) == 0 {
		return
	}
	switch {
	case s.tls != nil:
		s.tls.write(p)
	case len(p) >= directWrite && s.Queued() == 0:
		n, err := s.send(p)
		if err != nil {
			s.failLater(err)
			return
		}
		if n == len(p) {
			return
		}
		s.enqueue(p[n:])
	default:
		s.enqueue(p)
	}
	if s.Queued() > message.HighWater {
		s.over = true
	}
	if s.Queued() >= flushAt {
		s.Flush()
	}
	s.markDirty()
}

// enqueue copies p behind what waits, over what is sent where that makes room.
func (s *Socket) enqueue(p []byte) {
	if s.sent > 0 && len(s.out)+len(p) > cap(s.out) {
		s.out = s.out[:copy(s.out, s.out[s.sent:])]
		s.sent = 0
	}
	s.out = s.loop.extend(s.out, p)
}

func (s *Socket) markDirty() {
	if !s.dirty {
		s.dirty = true
		s.loop.dirty = append(s.loop.dirty, s)
	}
}

// Queued returns how many bytes wait to be sent.
func (s *Socket) Queued() int {
	n := len(s.out) - s.sent
	if s.tls != nil {
		n += len(s.tls.plain)
	}
	return n
}

// Flush sends what waits, as far as the kernel takes it.
func (s *Socket) Flush() {
	if s.state != open && s.state != finishing && s.state != aborting || s.broken != nil {
		return
	}
	if s.tls != nil {
		if err := s.tls.seal(); err != nil {
			s.failLater(err)
			return
		}
	}
	if err := s.sendQueued(); err != nil {
		s.failLater(err)
		return
	}
	s.settle()
}

// sendQueued offers what waits to the kernel.
func (s *Socket) sendQueued() error {
	if s.sent == len(s.out) {
		return nil
	}
	n, err := s.send(s.out[s.sent:])
	if s.sent += n; s.sent == len(s.out) {
		s.out, s.sent = s.out[:0], 0
	}
	return err
}

// send offers p to the kernel and returns how much it took.
func (s *Socket) send(p []byte) (int, error) {
	n, errno := sysWrite(s.fd, p)
	switch errno {
	case 0:
		return n, nil
	case unix.EAGAIN:
		return 0, nil
	}
	return 0, errno
}

// settle does what was waiting for the queue to shrink.
func (s *Socket) settle() {
	if s.sent == len(s.out) && s.out != nil {
		s.loop.release(s.out)
		s.out, s.sent = nil, 0
	}
	queued := s.Queued()
	if s.over && queued < message.LowWater {
		s.over = false
		if s.state == open {
			s.loop.Defer(s.tellDrained)
		}
	}
	if queued > 0 || !s.shutting || s.shut {
		return
	}
	s.shut = true
	if s.state != finishing || !s.eof { // else closing says the same
		unix.Shutdown(s.fd, unix.SHUT_WR)
	}
	if s.state == finishing {
		s.linger()
	}
}

func (s *Socket) tellDrained() {
	if s.state == open {
		s.handler.Drained()
	}
}

// Pause stops Data.
func (s *Socket) Pause() { s.paused = true }

// Resume lets Data go on.
func (s *Socket) Resume() {
	s.paused = false
	if s.readable && s.state == open {
		s.pumpLater()
	}
}

// CloseWrite sends what is queued and then the end of the stream.
func (s *Socket) CloseWrite() {
	if s.state != open || s.shutting {
		return
	}
	if s.tls != nil {
		s.tls.closeNotify()
	}
	s.shutting = true
	s.markDirty()
}

// Finish sends what is queued, then the end of the stream, and closes when
// the peer has, or after a while.
func (s *Socket) Finish() {
	if s.state != open {
		return
	}
	s.CloseWrite()
	s.state = finishing
	s.markDirty()
	s.timer.Fire = s.finished
	s.loop.Arm(&s.timer, finishWithin)
	if s.shut {
		s.linger()
	}
}

// linger reads on after our FIN: closing with bytes unread would reset the
// connection and could take the answer back from the peer (RFC 9112 section 9.6).
func (s *Socket) linger() {
	if s.eof {
		s.loop.Defer(s.finished)
		return
	}
	s.loop.Arm(&s.timer, lingerFor)
	if s.readable {
		s.pumpLater()
	}
}

func (s *Socket) finished() { s.fail(nil) }

// Close closes the connection at once. The handler hears nothing more.
func (s *Socket) Close() {
	if s.state == closed {
		return
	}
	if s.state == shaking {
		s.tls.abandon()
		return
	}
	if s.Queued() > 0 {
		// What was queued is not the whole message: say so with a reset.
		s.Reset()
		return
	}
	s.release()
}

// Reset closes the connection at once, so that the peer sees an error and not
// the end of the stream.
func (s *Socket) Reset() {
	switch s.state {
	case closed:
	case shaking:
		s.tls.abandon()
	default:
		s.resetOnClose()
		s.release()
	}
}

func (s *Socket) release() {
	s.state = closed
	l := s.loop
	l.poll.forget(s.fd)
	unix.Close(s.fd)
	l.sockets.Add(-1)
	l.Drop(&s.timer)
	if s.out != nil {
		l.release(s.out)
		s.out = nil
	}
	if s.tls != nil {
		s.tls.release()
	}
	if s.relay != nil {
		s.relay.close()
	}
	if s.feeder != nil {
		s.feeder.close()
	}
	if s.onClose != nil {
		s.onClose()
	}
}
