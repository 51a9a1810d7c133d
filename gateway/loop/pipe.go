package loop

import "fairway.dev/gateway/message"

// Pipe returns the two ends of a connection in memory, for tests. What one
// end writes is handed to the other's handler in the loop's next settling.
// Who reads is set with Handle; what comes before waits for it.
func Pipe(l *Loop) (a, b *PipeConn) {
	a, b = &PipeConn{loop: l}, &PipeConn{loop: l}
	a.peer, b.peer = b, a
	return a, b
}

// A PipeConn is one end of a Pipe.
type PipeConn struct {
	loop    *Loop
	peer    *PipeConn
	handler Handler

	out      []byte // written, not yet taken by the peer
	blocked  bool   // the peer does not read
	over     bool   // Queued was over HighWater
	paused   bool
	eof      bool // CloseWrite or Finish came after what is in out
	eofSent  bool
	finished bool
	aborted  bool // finished, and the end is a reset
	closed   bool
	moving   bool
}

// Handle sets who hears of events.
func (c *PipeConn) Handle(h Handler) {
	c.handler = h
	c.peer.move() // what came before somebody took it
}

// Loop returns the loop.
func (c *PipeConn) Loop() *Loop { return c.loop }

// Write queues p for the other end.
func (c *PipeConn) Write(p []byte) {
	if c.closed || c.eof {
		return
	}
	c.out = append(c.out, p...)
	c.over = c.over || len(c.out) > message.HighWater
	c.move()
}

// Flush does nothing: what is written moves when the loop settles.
func (c *PipeConn) Flush() {}

// Queued returns what the other end has not taken.
func (c *PipeConn) Queued() int { return len(c.out) }

// Pause stops Data.
func (c *PipeConn) Pause() { c.paused = true }

// Resume lets Data go on.
func (c *PipeConn) Resume() {
	c.paused = false
	c.peer.move()
}

// CloseWrite sends the end of the stream.
func (c *PipeConn) CloseWrite() {
	c.eof = true
	c.move()
}

// Finish sends the end of the stream and then closes.
func (c *PipeConn) Finish() {
	c.finished = true
	c.CloseWrite()
}

// Abort hands over what is queued, then closes so that the other end hears of
// a reset.
func (c *PipeConn) Abort() {
	c.aborted = true
	c.Finish()
}

// Close closes both directions at once: what was not taken is lost, as with a reset.
func (c *PipeConn) Close() {
	if c.closed {
		return
	}
	c.closed = true
	c.out = nil
	p := c.peer
	c.loop.Defer(func() {
		if !p.closed {
			p.closed = true
			if p.handler != nil {
				p.handler.Closed(&message.Error{Reason: message.Gone})
			}
		}
	})
}

// Reset closes as Close does.
func (c *PipeConn) Reset() { c.Close() }

// Closed reports whether this end is closed.
func (c *PipeConn) Closed() bool { return c.closed }

// Block keeps the other end from taking bytes, like a peer that does not read,
// until Unblock.
func (c *PipeConn) Block() { c.blocked = true }

// Unblock undoes Block.
func (c *PipeConn) Unblock() {
	c.blocked = false
	c.move()
}

// move hands what is queued to the peer, soon.
func (c *PipeConn) move() {
	if c.moving {
		return
	}
	c.moving = true
	c.loop.Defer(c.deliver)
}

func (c *PipeConn) deliver() {
	c.moving = false
	p := c.peer
	if c.closed || p.closed || c.blocked || p.handler == nil {
		return
	}
	if p.paused && !(c.aborted && len(c.out) == 0) { // a reset is heard of in any case
		return
	}
	if out := c.out; len(out) > 0 {
		c.out = nil
		if p.handler != nil && !p.finished {
			p.handler.Data(out)
		}
		if c.over && !c.closed {
			c.over = false
			if c.handler != nil && !c.finished {
				c.handler.Drained()
			}
		}
		c.move()
		return
	}
	if c.eof && !c.eofSent || c.aborted {
		c.eofSent = true
		switch {
		case p.closed:
		case c.aborted:
			p.closed = true
			p.handler.Closed(&message.Error{Reason: message.Gone})
		case !p.finished:
			p.handler.EOF()
		}
	}
	if c.eofSent && c.finished && !c.closed {
		c.closed = true
		if c.handler != nil {
			c.handler.Closed(nil)
		}
	}
}
