package http2

import (
	h2 "golang.org/x/net/http2"

	"fairway.dev/gateway/message"
)

// beginData admits a DATA frame by its header (RFC 9113 section 6.1). All of
// its payload counts against the windows, padding too (section 6.9.1).
func (c *conn) beginData(h header) {
	if h.id == 0 {
		c.fail(h2.ErrCodeProtocol, "DATA on stream 0")
		return
	}
	if h.has(h2.FlagDataPadded) && h.length == 0 {
		c.fail(h2.ErrCodeFrameSize, "DATA without its pad length")
		return
	}
	if h.length > int(c.recvWindow) {
		c.fail(h2.ErrCodeFlowControl, "DATA over the connection's window")
		return
	}
	c.recvWindow -= int32(h.length)
	c.traffic = true
	in := &c.in
	in.left, in.pad, in.padded = h.length, 0, h.has(h2.FlagDataPadded)
	in.dataID, in.dataLast = h.id, h.has(h2.FlagDataEndStream)
	in.data = c.streams.get(h.id)
	if in.data == nil {
		c.closedStream(h.id, "DATA")
	} else {
		in.data.admit(h.length)
	}
	if h.length == 0 && !c.closed {
		if !in.dataLast && !c.charge(FloodEmpty) {
			return
		}
		c.endData()
	}
}

// admit judges a DATA frame by the state of its stream.
func (s *stream) admit(n int) {
	switch {
	case s.remoteDone:
		s.reset(h2.ErrCodeStreamClosed, errAfterEnd)
	case !s.headed:
		s.reset(h2.ErrCodeProtocol, errBodyFirst)
	case n > int(s.recvWindow):
		s.reset(h2.ErrCodeFlowControl, errOverWindow)
	default:
		s.recvWindow -= int32(n)
	}
}

var (
	errAfterEnd   = malformed("a frame after the end of the stream")
	errBodyFirst  = malformed("DATA before a final response")
	errOverWindow = malformed("DATA over the stream's window")
)

// readData passes on what p has of the DATA frame under way.
func (c *conn) readData(p []byte) []byte {
	in := &c.in
	if in.padded {
		in.padded = false
		in.left--
		in.pad = int(p[0])
		p = p[1:]
		if in.pad > in.left {
			c.fail(h2.ErrCodeProtocol, "DATA with more padding than payload")
			return nil
		}
		c.giveBack(in.data, in.pad+1)
		if in.left == in.pad && !in.dataLast && !c.charge(FloodEmpty) {
			return nil
		}
	}
	n := min(len(p), in.left)
	body := p[:min(n, in.left-in.pad)]
	in.left -= n
	in.pad = min(in.pad, in.left)
	if len(body) > 0 {
		if in.data == nil {
			c.credit(len(body))
		} else {
			in.data.take(body)
		}
	}
	if in.left == 0 && !c.closed {
		c.endData()
	}
	return p[n:]
}

// giveBack returns what padding took of the windows.
func (c *conn) giveBack(s *stream, n int) {
	c.credit(n)
	if s != nil {
		s.credit(n)
	}
}

// endData ends a DATA frame.
func (c *conn) endData() {
	s := c.in.data
	c.in.data = nil
	if s == nil || !c.in.dataLast {
		return
	}
	if s.expect > 0 {
		s.reset(h2.ErrCodeProtocol, errLength)
		return
	}
	s.remoteEnd(nil)
}

// take hands body bytes to the receiver.
func (s *stream) take(p []byte) {
	c := s.c
	if s.expect >= 0 {
		if int64(len(p)) > s.expect {
			c.credit(len(p))
			if s.noBody {
				s.reset(h2.ErrCodeProtocol, errNoBody)
			} else {
				s.reset(h2.ErrCodeProtocol, errLength)
			}
			return
		}
		s.expect -= int64(len(p))
	}
	c.budgets.earn(FloodEmpty, 1)
	if c.many || s.over {
		// Exchanges of many clients share the connection to a backend, and that
		// from a gateway: one that is slow must not keep the others' bytes back.
		// The stream's own window bounds what it holds.
		c.credit(len(p))
	}
	if s.over {
		return
	}
	s.unconsumed += int32(len(p))
	s.recv.Data(p)
}

// Consumed lets the peer send as many bytes again.
func (s *stream) Consumed(n int) {
	taken := min(int32(n), s.unconsumed)
	if taken <= 0 {
		return
	}
	s.unconsumed -= taken
	if !s.c.many {
		s.c.credit(int(taken))
	}
	if !s.remoteDone {
		s.credit(int(taken))
	}
}

// credit gives n bytes of the stream's window back, once half of it has
// gathered.
func (s *stream) credit(n int) {
	s.recvCredit += int32(n)
	if s.closed || s.recvCredit < s.window/2 {
		return
	}
	s.resize()
	if s.recvCredit == 0 {
		return
	}
	s.c.writeUint32(h2.FrameWindowUpdate, s.id, uint32(s.recvCredit))
	s.recvWindow += s.recvCredit
	s.recvCredit = 0
}

// resize makes the window larger of a stream whose receiver keeps up, so that
// it carries more in a round trip, and small again where it does not: as much
// as the window may have to be held.
func (s *stream) resize() {
	c := s.c
	first, most := c.lim.streamWindow(), c.lim.maxStreamWindow()
	var by int32
	switch {
	case s.unconsumed == 0 && s.window < most:
		by = min(s.window, most-s.window, c.spare)
	case s.unconsumed > message.LowWater && s.window > first:
		by = -min(s.window-first, s.recvCredit)
	}
	s.window += by
	s.recvCredit += by
	c.spare -= by
}

// credit is the same for the connection.
func (c *conn) credit(n int) {
	c.recvCredit += int32(n)
	if c.closed || c.recvCredit < c.lim.connWindow()/2 {
		return
	}
	c.writeUint32(h2.FrameWindowUpdate, 0, uint32(c.recvCredit))
	c.recvWindow += c.recvCredit
	c.recvCredit = 0
}
