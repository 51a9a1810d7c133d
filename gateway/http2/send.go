package http2

import (
	h2 "golang.org/x/net/http2"

	"fairway.dev/gateway/message"
)

// A readyList has the streams that have something to send and a window to
// send it, in the order in which it is their turn. All wait for the same: the
// connection's window, or room in the socket.
type readyList struct{ first, last *stream }

func (l *readyList) push(s *stream) {
	if s.inReady {
		return
	}
	s.inReady, s.nextReady, s.prevReady = true, nil, l.last
	if l.last == nil {
		l.first = s
	} else {
		l.last.nextReady = s
	}
	l.last = s
}

func (l *readyList) remove(s *stream) {
	if !s.inReady {
		return
	}
	if s.prevReady == nil {
		l.first = s.nextReady
	} else {
		s.prevReady.nextReady = s.nextReady
	}
	if s.nextReady == nil {
		l.last = s.prevReady
	} else {
		s.nextReady.prevReady = s.prevReady
	}
	s.inReady, s.nextReady, s.prevReady = false, nil, nil
}

// full reports whether enough waits for the socket already. It is over
// HighWater then, so that Drained will come.
func (c *conn) full() bool { return c.wire.Queued() > message.HighWater }

// Data sends body bytes: at once where nothing is in their way, else when it
// is the stream's turn.
func (s *stream) Data(p []byte) {
	c := s.c
	if s.userDone || s.localDone || len(p) == 0 {
		return
	}
	if s.queue.Len() == 0 && c.ready.first == nil {
		for len(p) > 0 && s.sendWindow > 0 && c.sendWindow > 0 && !c.full() {
			n := min(int64(len(p)), maxFrame, s.sendWindow, c.sendWindow)
			s.writeData(p[:n], int(n) < len(p))
			p = p[n:]
		}
		if len(p) == 0 {
			return
		}
	}
	if s.queue.Len() == 0 {
		s.moved = true // as of now: a whole deadline is to pass before it is stuck
	}
	s.queue.Push(c.loop, p)
	s.high = s.high || s.queue.Len() > message.HighWater
	if s.sendWindow > 0 {
		c.ready.push(s)
	}
	c.armStall()
}

// dribble is the size under which a DATA frame that the window cut short is
// no reason for the peer to send anything but a larger window.
const dribble = 1 << 10

// writeData writes a DATA frame and pays for it. more says that there was more
// to send.
func (s *stream) writeData(p []byte, more bool) {
	c := s.c
	c.writeData(s.id, p, false)
	s.sendWindow -= int64(len(p))
	c.sendWindow -= int64(len(p))
	c.returnable += 2 * int64(len(p))
	s.moved, c.moved = true, true
	if !more || len(p) >= dribble {
		// A peer answers DATA with WINDOW_UPDATE, and some with PING. One that
		// has its data by the byte (CVE-2019-9511) gets no credit for it.
		c.budgets.earn(FloodWindowUpdates, 4)
		c.budgets.earn(FloodControl, 2)
	}
}

// Queued returns how many bytes wait to be sent.
func (s *stream) Queued() int { return s.queue.Len() }

// pump sends what waits, a frame a stream and turn, as far as the windows and
// the socket take it. It is called from events only, as it calls receivers.
func (c *conn) pump() {
	for c.ready.first != nil && c.sendWindow > 0 && !c.full() && !c.closed {
		s := c.ready.first
		c.ready.remove(s)
		p := s.queue.Front()
		p = p[:min(int64(len(p)), maxFrame, s.sendWindow, c.sendWindow)]
		s.writeData(p, len(p) < s.queue.Len())
		s.queue.Drop(c.loop, len(p))
		switch {
		case s.queue.Len() == 0 && s.userDone:
			s.writeEnd()
			continue // the stream may be closed
		case s.queue.Len() > 0 && s.sendWindow > 0:
			c.ready.push(s)
		}
		if s.high && s.queue.Len() < message.LowWater {
			s.high = false
			if !s.over {
				s.recv.Drained()
			}
		}
	}
}

// gaveBack reports whether a WINDOW_UPDATE by n gives back what DATA of ours
// took, and not by the byte: it is no flood. net/http's client sends one for
// each 4 KiB, of a stream and of the connection, a thousand in a row after a
// window of megabytes.
func (c *conn) gaveBack(n int64) bool {
	if n < dribble || n > c.returnable {
		return false
	}
	c.returnable -= n
	return true
}

// onWindowUpdate takes more window (section 6.9).
func (c *conn) onWindowUpdate(h header, p []byte) {
	if len(p) != 4 {
		c.fail(h2.ErrCodeFrameSize, "WINDOW_UPDATE: want 4 bytes")
		return
	}
	n := int64(be31(p))
	if !c.gaveBack(n) && !c.charge(FloodWindowUpdates) {
		return
	}
	if h.id == 0 {
		c.sendWindow += n
		switch {
		case n == 0:
			c.fail(h2.ErrCodeProtocol, "WINDOW_UPDATE by 0")
		case c.sendWindow > maxWindow:
			c.fail(h2.ErrCodeFlowControl, "the connection's window: want at most 2^31-1")
		}
		c.pump()
		return
	}
	s := c.streams.get(h.id)
	switch {
	case s == nil:
		if c.side.idle(h.id) {
			c.fail(h2.ErrCodeProtocol, "WINDOW_UPDATE on an idle stream")
		}
	case n == 0:
		s.reset(h2.ErrCodeProtocol, errNoIncrement)
	case s.sendWindow+n > maxWindow:
		s.reset(h2.ErrCodeFlowControl, errLargeWindow)
	default:
		s.sendWindow += n
		if s.queue.Len() > 0 && s.sendWindow > 0 {
			c.ready.push(s)
			c.pump()
		}
	}
}

var (
	errNoIncrement = malformed("WINDOW_UPDATE by 0")
	errLargeWindow = malformed("a stream's window over 2^31-1")
)

// setPeerWindow honours SETTINGS_INITIAL_WINDOW_SIZE, which changes the
// windows of all open streams, perhaps below 0 (section 6.9.2).
func (c *conn) setPeerWindow(n int64) bool {
	change := n - c.peerWindow
	c.peerWindow = n
	for s := c.streams.first(); s != nil; s = c.streams.after(s) {
		s.sendWindow += change
		if s.sendWindow > maxWindow {
			c.fail(h2.ErrCodeFlowControl, "SETTINGS_INITIAL_WINDOW_SIZE makes a window larger than 2^31-1")
			return false
		}
		if s.sendWindow <= 0 {
			c.ready.remove(s)
		} else if s.queue.Len() > 0 {
			c.ready.push(s)
		}
	}
	return true
}
