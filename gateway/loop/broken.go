package loop

import "golang.org/x/sys/unix"

// failLater reports a failure of a call that the handler made: from a later
// event, as Conn promises.
func (s *Socket) failLater(err error) {
	if s.broken == nil {
		s.broken = err
		s.loop.Defer(func() { s.lost(err) })
	}
}

// lost ends a connection that is broken, after what came before: the kernel
// keeps that, and a peer that answers half a request and closes resets the
// connection behind its answer.
func (s *Socket) lost(err error) {
	s.broken = err
	nobody := s.eof || s.state != open
	if nobody || s.paused && (s.Queued() > 0 || !s.unread()) {
		s.fail(err)
		return
	}
	s.readable, s.hangup = true, true
	s.pump()
}

// unread reports whether bytes have come that were not handed on.
func (s *Socket) unread() bool {
	n, err := unix.IoctlGetInt(s.fd, unix.SIOCINQ)
	return s.readable || err == nil && n > 0
}

// fail closes and tells the handler why.
func (s *Socket) fail(err error) {
	if s.state == closed {
		return
	}
	s.release()
	if s.handler != nil {
		s.handler.Closed(err)
	}
}

// socketError returns the error that the kernel keeps for a socket.
func socketError(fd int) error {
	errno, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && errno != 0 {
		return unix.Errno(errno)
	}
	return err
}
