package loop

import (
	"time"

	"golang.org/x/sys/unix"
)

const (
	// abortWithin bounds the time that Abort takes until the peer has
	// acknowledged what was sent.
	abortWithin = time.Second
	// abortPoll is how often it looks: the kernel tells nobody.
	abortPoll = 10 * time.Millisecond
)

// Abort sends what is queued and then resets the connection. A reset makes
// both kernels drop what is on its way, so it waits for a while until the peer
// has it all.
func (s *Socket) Abort() {
	if s.state != open {
		return
	}
	s.state = aborting
	until := s.loop.now.Add(abortWithin)
	s.timer.Fire = func() { s.abortOnceSent(until) }
	s.loop.Defer(s.timer.Fire)
}

func (s *Socket) abortOnceSent(until time.Time) {
	s.Flush()
	if s.state != aborting || s.broken != nil {
		return
	}
	if s.Queued() == 0 && !s.unacknowledged() || !s.loop.now.Before(until) {
		s.resetOnClose()
		s.fail(nil)
		return
	}
	s.loop.Arm(&s.timer, abortPoll)
}

// unacknowledged reports whether the kernel holds bytes that the peer's has
// not got yet.
func (s *Socket) unacknowledged() bool {
	n, err := unix.IoctlGetInt(s.fd, unix.SIOCOUTQ)
	return err == nil && n > 0
}

// resetOnClose makes the close of the descriptor a reset.
func (s *Socket) resetOnClose() {
	unix.SetsockoptLinger(s.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
}
