package http2

import (
	"errors"
	"fmt"

	h2 "golang.org/x/net/http2"

	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
)

// A conn is what both sides of a connection have in common.
type conn struct {
	wire   loop.Conn
	loop   *loop.Loop
	side   side
	lim    *Limits
	shared *shared
	client bool // we are the client
	many   bool // streams are those of many clients: none keeps back another's bytes

	in      input
	decoder decoder
	encoder encoder

	streams streams
	ready   readyList
	retired *stream // to be used again once no event is under way
	resets  resetRing
	budgets budgets

	sendWindow int64 // what the peer takes on all streams together
	peerWindow int64 // its SETTINGS_INITIAL_WINDOW_SIZE
	recvWindow int32 // what it may still send on all streams together
	recvCredit int32 // taken from it and not yet given back
	spare      int32 // by which streams' windows may still grow, all together
	returnable int64 // body bytes that it may give back, of the streams' windows and of the connection's

	busy    bool // inside an event of the connection
	settled bool // the peer's first SETTINGS have come
	traffic bool // DATA or HEADERS have come since a client last asked with PING
	paused  bool // reading is, as the peer does not read
	closed  bool // we take and send no more
	err     error

	owed    loop.Timer // the peer owes us a preface, or the rest of a header block
	stall   loop.Timer // the peer has to take something
	ping    pinger
	moved   bool // since stall was armed, DATA was written
	wasFull bool // when stall was armed, the socket took nothing
	// scratch is where frames of a few bytes are put together.
	scratch [headerLen + 8]byte
}

// A side is what a server and a client do differently.
type side interface {
	// headers takes a whole header block. The peer may have made the stream
	// depend on itself.
	headers(id uint32, last, dependsOnItself bool, w *workspace)
	// idle reports whether nobody has opened the stream id yet.
	idle(id uint32) bool
	// setting takes one of the peer's settings that both sides do not share.
	setting(id h2.SettingID, v uint32)
	// pinged hears that the peer has answered a PING with this payload.
	pinged(payload []byte)
	// goAway hears that the peer takes no streams above last.
	goAway(last uint32)
	// streamClosed hears that a stream has left the wire.
	streamClosed()
	// lastID is the last stream of the peer that was taken in.
	lastID() uint32
	// gone hears that the connection is over. It is the last call.
	gone(err error)
}

// pauseAt is how much may wait for the socket before we stop reading, as what
// we read makes us write: acknowledgements, responses without a body.
const pauseAt = 4 * message.HighWater

var standardLimits Limits

func (c *conn) begin(wire loop.Conn, s side, lim *Limits) {
	if lim == nil {
		lim = &standardLimits
	}
	c.wire, c.loop, c.side, c.lim = wire, wire.Loop(), s, lim
	c.shared = perLoop.Of(c.loop)
	c.many = c.client || lim.ManyClients
	c.budgets = newBudgets(c.loop.Now(), lim.ManyClients)
	if lim.maxStreamWindow() > lim.streamWindow() {
		c.spare = lim.connWindow()
	}
	c.encoder.max = maxDynamicTable
	c.decoder.dynamic.max = maxDynamicTable
	c.sendWindow, c.peerWindow = firstWindow, firstWindow
	c.owed.Fire, c.stall.Fire = c.owedTooLong, c.stalled
	c.loop.Arm(&c.owed, lim.headTimeout())
	c.ping.c = c
}

// leave ends an event: what ended in it can be used again now.
func (c *conn) leave() {
	c.busy = false
	for c.retired != nil {
		s := c.retired
		c.retired = s.next
		s.recycle()
	}
	if c.closed {
		return
	}
	if c.wire.Queued() > pauseAt && !c.paused {
		c.paused = true
		c.wire.Pause()
		c.armStall()
	}
}

// Drained lets what waits for room in the socket go on.
func (c *conn) Drained() {
	if c.closed {
		return
	}
	c.busy = true
	if c.paused {
		c.paused = false
		c.wire.Resume()
	}
	c.pump()
	c.leave()
}

// EOF tells that the peer is gone: HTTP/2 has no use for half a connection.
func (c *conn) EOF() {
	if !c.closed {
		c.busy = true
		c.shut(&message.Error{Reason: message.Gone})
		c.leave()
	}
}

// Closed tells that the connection is gone.
func (c *conn) Closed(err error) {
	c.busy = true
	if !c.closed {
		c.err = &message.Error{Reason: message.Gone, Err: err}
		c.closed = true
		c.abortAll(c.err)
	}
	c.over()
	c.leave()
}

// over tells the owner, once.
func (c *conn) over() {
	c.loop.Drop(&c.owed)
	c.loop.Drop(&c.stall)
	c.loop.Drop(&c.ping.timer)
	if c.side != nil {
		s := c.side
		c.side = nil
		s.gone(c.err)
	}
}

// A connError is a mistake of the peer that ends the connection (RFC 9113
// section 5.4.1).
type connError struct {
	code h2.ErrCode
	what string
}

func (e *connError) Error() string { return fmt.Sprintf("%s (%s)", e.what, e.code) }

// fail ends the connection for a mistake of the peer.
func (c *conn) fail(code h2.ErrCode, what string) {
	c.end(code, what, ConnectionError, message.Malformed)
}

// calm ends the connection for a flood.
func (c *conn) calm(k Kind) {
	c.end(h2.ErrCodeEnhanceYourCalm, k.String(), k, message.TooLarge)
}

func (c *conn) end(code h2.ErrCode, what string, k Kind, reason message.Reason) {
	if c.closed {
		return
	}
	c.lim.count(k)
	c.writeGoAway(c.side.lastID(), code, what)
	c.shut(&message.Error{Reason: reason, Err: &connError{code, what}})
}

// charge takes one from a flood's budget, or ends the connection.
func (c *conn) charge(k Kind) bool {
	if c.budgets.spend(k, c.loop.Now()) {
		return true
	}
	c.calm(k)
	return false
}

// shut aborts what is under way and closes once what is queued has been sent.
func (c *conn) shut(err error) {
	c.closed, c.err = true, err
	c.abortAll(err)
	c.wire.Finish()
	c.loop.Drop(&c.stall)
	c.owed.Fire = c.cut
	c.loop.Arm(&c.owed, c.lim.writeStall())
}

// kill closes at once.
func (c *conn) kill(err error) {
	c.closed, c.err = true, err
	c.wire.Close()
	c.abortAll(err)
	c.over()
}

// Close ends the connection at once; exchanges under way are aborted, from a
// later event.
func (c *conn) Close() {
	if c.side == nil {
		return
	}
	c.closed = true
	c.wire.Close()
	c.loop.Defer(func() {
		c.busy = true
		c.abortAll(&message.Error{Reason: message.Cancelled})
		c.over()
		c.leave()
	})
}

// cut closes a connection whose peer does not take our last words.
func (c *conn) cut() {
	c.wire.Close()
	c.over()
}

// abortAll tells the receivers of all streams that they end here.
func (c *conn) abortAll(err error) {
	unused := err
	if e, ok := err.(*message.Error); ok && e.Reason == message.Gone && e != errSilent {
		unused = &message.Error{Reason: e.Reason, Unused: true, Err: e.Err}
	}
	for {
		s := c.streams.first()
		if s == nil {
			return
		}
		why := err
		if s.unused {
			why = unused
		}
		s.die(why)
	}
}

// owedTooLong ends a connection whose peer leaves us waiting in the middle.
func (c *conn) owedTooLong() {
	c.busy = true
	c.end(h2.ErrCodeNo, SlowHead.String(), SlowHead, message.Slow)
	c.leave()
}

// awaitRest arms the deadline for what the peer has begun and not ended.
// progress says that a frame has been completed since the last call.
func (c *conn) awaitRest(progress bool) {
	switch {
	case !c.settled:
	case !c.in.midway():
		c.loop.Disarm(&c.owed)
	case progress || !c.owed.Armed():
		c.loop.Arm(&c.owed, c.lim.headTimeout())
	}
}

// armStall begins to watch that the peer takes what we have for it.
func (c *conn) armStall() {
	if !c.stall.Armed() {
		c.moved, c.wasFull = false, c.wire.Queued() > message.LowWater
		c.loop.Arm(&c.stall, c.lim.writeStall())
	}
}

// stalled looks at what has moved since the last time. Streams to which the
// peer has given no window since then are reset; a socket that has taken
// nothing ends the connection (CVE-2019-9511, CVE-2019-9517).
func (c *conn) stalled() {
	c.busy = true
	full := c.wire.Queued() > message.LowWater
	if full && c.wasFull && !c.moved {
		c.lim.count(SlowReader)
		c.kill(errSlowReader)
		c.leave()
		return
	}
	pending := full || c.paused
	var stuck []uint32
	for s := c.streams.first(); s != nil; s = c.streams.after(s) {
		switch {
		case s.queue.Len() == 0:
		case s.moved || full:
			s.moved, pending = false, true
		default:
			stuck = append(stuck, s.id)
		}
	}
	for _, id := range stuck {
		if s := c.streams.get(id); s != nil {
			c.lim.count(SlowReader)
			c.writeReset(id, h2.ErrCodeCancel)
			c.resets.add(id)
			s.die(errSlowReader)
		}
	}
	if pending && !c.closed {
		c.armStall()
	}
	c.leave()
}

var errSlowReader = &message.Error{Reason: message.Slow, Err: errors.New("the peer takes nothing of what we send")}
