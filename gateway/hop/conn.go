package hop

import (
	"errors"
	"time"

	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
)

const (
	// finishWithin bounds the time in which a tunnel that was given up still
	// sends what is queued, and lingerFor is how often Finish looks whether that
	// has come to an end: the far end has as long to end its direction.
	finishWithin = 30 * time.Second
	lingerFor    = 2 * time.Second
	// abortWithin and abortPoll are the same of Abort.
	abortWithin = time.Second
	abortPoll   = 10 * time.Millisecond
)

// A Conn is one end of a tunnel: a loop.Conn over a stream of HTTP/2. What the
// far end may send is bounded by the stream's window, so that Pause holds it
// back; END_STREAM is the end of one direction, and RST_STREAM a reset (RFC 9113
// section 8.5).
//
// That of a server is a question first. Accept, Write, CloseWrite, Finish and
// Abort answer it with 200; Close and Reset before any of them with 503. The far
// end sends nothing until it is answered.
type Conn struct {
	loop    *loop.Loop
	peer    *message.Peer
	stream  message.Stream
	answer  message.ServerStream // that is to be answered; else nil
	opening asker                // that is not answered; else nil
	handler loop.Handler
	held    loop.Backlog // has come and was not taken
	timer   loop.Timer
	until   time.Time // of Finish and Abort
	broken  error     // what Closed tells once what came before was taken
	state   state

	paused     bool
	full       bool // something was queued when last we looked: an abort empties the queue before it is told
	later      bool // deliver is on its way
	localDone  bool // END_STREAM is sent, or queued
	remoteDone bool // END_STREAM has come
	eof        bool // and was told
	over       bool // the stream may be another's by now
}

// An asker is who waits for the answer to a CONNECT.
type asker interface {
	answered(resp *message.Response)
	lost(err error)
}

type state uint8

const (
	open      state = iota
	finishing       // sends what is left, and discards until the far end has ended
	aborting        // sends what is left, then resets
	closed          // the Handler hears nothing more
)

var (
	_ Conner                 = (*Conn)(nil)
	_ message.ClientReceiver = (*incoming)(nil)

	errReset  = &message.Error{Reason: message.Reset, Err: errors.New("the connection at the tunnel's end was reset")}
	errClosed = &message.Error{Reason: message.Cancelled, Err: errors.New("the connection at the tunnel's end was closed")}
)

// accepted opens a tunnel, and unreachable does not.
var (
	accepted    = &message.Response{Status: 200, Length: message.Unknown}
	unreachable = &message.Response{Status: 503, Length: message.Unknown}
)

// Peer describes the other end of the HBONE connection.
func (c *Conn) Peer() *message.Peer { return c.peer }

// Handle sets who hears of events. What came before waits for it.
func (c *Conn) Handle(h loop.Handler) {
	c.handler = h
	c.deliverLater()
}

// Loop returns the loop.
func (c *Conn) Loop() *loop.Loop { return c.loop }

// Accept tells the far end that the tunnel is open, where that was not done.
func (c *Conn) Accept() {
	if s := c.answer; s != nil {
		c.answer = nil
		s.Head(accepted, false)
	}
}

// Write queues a copy of p.
func (c *Conn) Write(p []byte) {
	if c.state != open || c.localDone || c.over || len(p) == 0 {
		return
	}
	c.Accept()
	c.stream.Data(p)
	c.full = c.stream.Queued() > 0
}

// Flush does nothing: what is written goes out at the end of the round, with
// what others of the connection wrote.
func (c *Conn) Flush() {}

// Queued returns how many bytes wait for the window of the tunnel, or for their
// turn on its connection.
func (c *Conn) Queued() int {
	if c.over {
		return 0
	}
	return c.stream.Queued()
}

// Pause stops Data: what comes is held, and the far end may send no more.
func (c *Conn) Pause() {
	c.paused = true
	c.full = c.Queued() > 0
}

// Resume lets Data go on.
func (c *Conn) Resume() {
	c.paused = false
	c.deliverLater()
}

// CloseWrite sends what is queued, then the end of the direction.
func (c *Conn) CloseWrite() {
	if c.state == open {
		c.endOurs()
	}
}

func (c *Conn) endOurs() {
	if c.localDone || c.over {
		return
	}
	c.Accept()
	c.localDone = true
	c.over = c.remoteDone
	c.stream.End(nil)
}

// Finish sends what is queued, then the end of the direction, discards what the
// far end still sends for a short while, and closes.
func (c *Conn) Finish() {
	if c.state != open {
		return
	}
	c.endOurs()
	c.state = finishing
	c.discard()
	c.until = c.loop.Now().Add(finishWithin)
	c.timer.Fire = c.linger
	if c.over {
		c.loop.Defer(c.timer.Fire)
	} else {
		c.loop.Arm(&c.timer, lingerFor)
	}
}

// linger ends a tunnel whose far end does not end it.
func (c *Conn) linger() {
	if c.state != finishing {
		return
	}
	if c.Queued() > 0 && c.loop.Now().Before(c.until) {
		c.loop.Arm(&c.timer, lingerFor)
		return
	}
	c.drop(errClosed)
	c.tellClosed(nil)
}

// Abort sends what is queued, for a short while, and resets.
func (c *Conn) Abort() {
	if c.state != open {
		return
	}
	c.Accept()
	c.state = aborting
	c.discard()
	c.until = c.loop.Now().Add(abortWithin)
	c.timer.Fire = c.abortOnceSent
	c.loop.Defer(c.timer.Fire)
}

func (c *Conn) abortOnceSent() {
	if c.state != aborting {
		return
	}
	if c.Queued() > 0 && c.loop.Now().Before(c.until) {
		c.loop.Arm(&c.timer, abortPoll)
		return
	}
	c.drop(errReset)
	c.tellClosed(nil)
}

// Close closes at once, with a reset if bytes were left unsent or unread. Else
// the far end sees the end of the stream, and may send on, which is reset then,
// as with TCP: nobody takes it.
func (c *Conn) Close() {
	if c.answer != nil || c.held.Len() > 0 || c.Queued() > 0 || c.broken != nil {
		c.Reset()
		return
	}
	if c.state == closed {
		return
	}
	c.state = closed
	c.endOurs()
	if c.over {
		c.loop.Drop(&c.timer)
		return
	}
	c.timer.Fire = func() { c.drop(errClosed) }
	c.loop.Arm(&c.timer, finishWithin)
}

// Reset closes at once, so that the far end sees an error.
func (c *Conn) Reset() {
	c.state = closed
	c.discard()
	c.drop(errReset)
}

// drop gives the stream up.
func (c *Conn) drop(why error) {
	c.loop.Drop(&c.timer)
	if c.over {
		return
	}
	c.over = true
	if s := c.answer; s != nil {
		c.answer = nil
		s.Head(unreachable, true)
		return
	}
	c.stream.Abort(why)
}

// discard lets go of what was held.
func (c *Conn) discard() {
	n := c.held.Len()
	c.held.Clear(c.loop)
	c.consumed(n)
}

// consumed lets the far end send as much again.
func (c *Conn) consumed(n int) {
	if n > 0 && !c.over {
		c.stream.Consumed(n)
	}
}

// deliverLater has what waits for the Handler be told from a later event.
func (c *Conn) deliverLater() {
	waits := c.held.Len() > 0 || c.remoteDone && !c.eof || c.broken != nil
	if waits && !c.later && c.state == open {
		c.later = true
		c.loop.Defer(c.deliver)
	}
}

func (c *Conn) deliver() {
	c.later = false
	for c.takes() && c.held.Len() > 0 {
		k := c.held.Take()
		n := len(k.Bytes())
		c.handler.Data(k.Bytes())
		c.loop.Return(k)
		c.consumed(n)
	}
	c.tellEnd()
}

// takes reports whether the Handler hears of what has come.
func (c *Conn) takes() bool { return c.state == open && !c.paused && c.handler != nil }

// tellEnd tells how the far end has ended, once all before that was taken.
func (c *Conn) tellEnd() {
	if c.takes() && c.held.Len() == 0 && c.remoteDone && !c.eof {
		c.eof = true
		c.handler.EOF()
	}
	if c.takes() && c.held.Len() == 0 && c.broken != nil {
		c.tellClosed(c.broken)
	}
}

func (c *Conn) tellClosed(err error) {
	c.state = closed
	c.held.Clear(c.loop)
	c.loop.Drop(&c.timer)
	if c.handler != nil {
		c.handler.Closed(err)
	}
}

// incoming is a Conn as the codec sees it.
type incoming Conn

// Head takes the answer to a CONNECT of ours.
func (in *incoming) Head(resp *message.Response, last bool) {
	if in.opening != nil {
		in.opening.answered(resp)
	}
}

// Data takes bytes of the far end.
func (in *incoming) Data(p []byte) {
	c := (*Conn)(in)
	switch {
	case c.over:
	case c.state == closed:
		c.drop(errReset)
	case c.state != open || c.opening != nil:
		c.consumed(len(p))
	case !c.takes() || c.held.Len() > 0:
		c.held.Push(c.loop, p)
		c.full = c.stream.Queued() > 0
	default:
		c.handler.Data(p)
		c.consumed(len(p))
	}
}

// End takes the end of what the far end sends.
func (in *incoming) End(message.Fields) {
	c := (*Conn)(in)
	c.remoteDone = true
	c.over = c.over || c.localDone
	switch {
	case c.opening != nil:
	case c.state == finishing:
		c.tellClosed(nil)
	case c.state == closed:
		c.loop.Drop(&c.timer)
	default:
		c.tellEnd()
	}
}

// Drained tells that there is room for more.
func (in *incoming) Drained() {
	c := (*Conn)(in)
	c.full = false
	if c.state == open && c.handler != nil {
		c.handler.Drained()
	}
}

// Abort hears that the tunnel is lost.
func (in *incoming) Abort(err error) {
	c := (*Conn)(in)
	if !c.over && !c.localDone {
		c.stream.Abort(err) // the last call, with which the codec has its memory back
	}
	c.over, c.answer = true, nil
	switch {
	case c.opening != nil:
		c.opening.lost(err)
	case c.state == closed:
		c.loop.Drop(&c.timer)
	case c.state != open, c.paused && (c.full || c.held.Len() == 0):
		c.tellClosed(err)
	default:
		c.broken = err
		c.tellEnd()
	}
}
