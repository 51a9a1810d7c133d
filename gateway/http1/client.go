package http1

import (
	"errors"

	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
)

// ClientOptions are what a Client's owner wants to know and to bound.
type ClientOptions struct {
	// OnFree, if not nil, is called each time that an exchange has ended and
	// left the connection ready for the next. It never comes from inside a
	// call made on the Client or a Stream. Open may be called in it.
	OnFree func(*Client)
	// OnClosed, if not nil, is called once, when the connection is over and
	// the exchange under way has heard: also after Close and Drain, then with
	// a nil error. It never comes from inside a call made on the Client or a
	// Stream.
	OnClosed func(*Client, error)
	// Limits bound what a backend may send: heads, and WriteStall. How long
	// it may take is for the user to bound. Nil limits are the defaults.
	Limits *Limits
}

// A Client is the gateway's end of a connection to a backend. It is the
// loop.Handler of that connection, and a message.Client.
//
// A backend that sends what no request asked for, or ends a response in a way
// that leaves a doubt about where it ended, is not asked again.
type Client struct {
	conn   loop.Conn
	loop   *loop.Loop
	shared *shared
	opts   ClientOptions
	lim    *Limits

	phase    phase
	draining bool
	served   bool // a request has been answered before
	paused   bool
	feeding  bool           // Data is under way: OnFree waits for its end
	freed    bool           // OnFree is due
	cause    *message.Error // what an exchange hears when the connection is over
	err      error          // what the owner hears

	lines lineReader
	body  body
	resp  *message.Response // while a head is read
	tail  *message.Fields   // trailers, while they are read
	out   outgoing
	call  call
}

var _ message.Client = (*Client)(nil)

// maxInterim is how many 1xx responses may come before a final one.
const maxInterim = 32

var (
	errUnsolicited = errors.New("bytes that no request asked for")
	errUnsendable  = errors.New("request with a method, target or authority that is none")
)

// NewClient returns a Client on conn, which is connected. The caller makes it
// the handler of conn.
func NewClient(conn loop.Conn, opts ClientOptions) *Client {
	lim := opts.Limits
	if lim == nil {
		lim = &noLimits
	}
	l := conn.Loop()
	c := &Client{conn: conn, loop: l, shared: perLoop.Of(l), opts: opts, lim: lim}
	c.lines.shared = c.shared
	c.out = outgoing{conn: conn, shared: c.shared, lim: lim}
	c.out.timer.Fire = c.stall
	return c
}

// Free returns 1 when a request may be sent now, else 0.
func (c *Client) Free() int {
	if c.phase == idle && !c.draining {
		return 1
	}
	return 0
}

// Open sends a request and returns its stream.
func (c *Client) Open(req *message.Request, last bool, r message.ClientReceiver) message.Stream {
	if c.Free() == 0 {
		panic("bug: Open on a connection that is not free")
	}
	x := &c.call
	*x = call{c: c, recv: r, sending: !last, reuse: true}
	x.asked = asked{head: req.Method == "HEAD", upgrade: req.Upgrade}
	c.phase = exchanging
	f, ok := frameRequest(req, last)
	if ok {
		var b []byte
		if b, ok = appendRequest(c.shared.scratch[:0], req, f); ok {
			c.out.head(b)
		}
	}
	if !ok {
		x.refuse()
		return x
	}
	c.out.begin(f.body, f.length)
	if last {
		c.conn.Flush()
		c.out.watch()
	}
	return x
}

// Close ends the connection at once. An exchange under way is aborted, from
// a later event.
func (c *Client) Close() { c.end(&message.Error{Reason: message.Cancelled}, nil) }

// Drain ends the connection after the exchange under way, or now.
func (c *Client) Drain() {
	c.draining = true
	if c.phase == idle {
		c.end(nil, nil)
	}
}

// Data takes what the backend sends.
func (c *Client) Data(p []byte) {
	c.feeding = true
	for len(p) > 0 {
		switch {
		case c.phase == over:
			p = nil
		case c.phase == switched:
			c.deliver(p)
			p = nil
		case c.phase == idle || c.call.answered:
			// It would be taken for the answer to the next request.
			c.fail(&message.Error{Reason: message.Malformed, Err: errUnsolicited})
		case c.body.kind == noBody:
			p = c.readHead(p)
		default:
			p = c.readBody(p)
		}
	}
	c.feeding = false
	c.regulate()
	c.tellFree()
}

// readHead takes bytes of a response's head and returns those behind it.
func (c *Client) readHead(p []byte) []byte {
	c.call.begun = true
	if c.resp == nil {
		c.resp = c.shared.response()
		c.lines.start(responseHead, c.lim, &c.resp.Fields, nil)
	}
	n, done, why := c.lines.feed(p)
	switch {
	case why != accepted:
		c.refuse(why)
		return nil
	case done:
		c.takeHead()
	}
	return p[n:]
}

// takeHead hands a head on that is complete.
func (c *Client) takeHead() {
	x, resp := &c.call, c.resp
	kind, why := c.lines.response(resp, x.asked)
	interim := resp.Status < 200 && resp.Status != 101
	if interim {
		if x.interim++; x.interim > maxInterim {
			why = TooManyInterim
		}
	}
	if why != accepted {
		c.refuse(why)
		return
	}
	switch {
	case interim:
	case resp.Status == 101:
		c.switchTo()
	default:
		x.reuse = c.lines.keepsAlive() && kind != openBody
		x.answered = kind == noBody
		c.body.begin(kind, c.lines.length)
	}
	c.resp = nil // it is ours until Head returns, whatever that does
	if x.recv != nil {
		x.recv.Head(resp, x.answered)
	}
	c.lines.release()
	c.shared.releaseResponse(resp)
	if x.answered {
		c.endCall()
	}
}

// switchTo makes the connection one of the protocol that was asked for.
func (c *Client) switchTo() {
	c.phase = switched
	c.out.begin(openBody, 0)
	if c.call.outEnded {
		c.conn.CloseWrite()
	}
}

// readBody takes bytes of a body and its trailers and returns those behind.
func (c *Client) readBody(p []byte) []byte {
	if c.tail != nil {
		return c.readTrailers(p)
	}
	data, n, done, why := c.body.next(p)
	if why != accepted {
		c.refuse(why)
		return nil
	}
	if len(data) > 0 {
		c.deliver(data)
	}
	switch {
	case !done || c.phase == over:
	case c.body.kind == chunkedBody:
		c.tail = c.shared.fields()
		c.lines.start(trailers, c.lim, c.tail, nil)
	default:
		c.endResponse(nil)
	}
	return p[n:]
}

func (c *Client) readTrailers(p []byte) []byte {
	n, done, why := c.lines.feed(p)
	switch {
	case why != accepted:
		c.refuse(why)
		return nil
	case done:
		tail := c.tail
		c.tail = nil // it is ours until End returns
		c.endResponse(*tail)
		c.lines.release()
		c.shared.releaseFields(tail)
	}
	return p[n:]
}

func (c *Client) deliver(p []byte) {
	x := &c.call
	x.unconsumed += len(p)
	if x.recv != nil {
		x.recv.Data(p)
	}
}

func (c *Client) endResponse(trailers message.Fields) {
	x := &c.call
	x.answered = true
	c.body = body{}
	if x.recv != nil {
		x.recv.End(trailers)
	}
	c.endCall()
}

// endCall makes the connection free when both directions of an exchange have
// ended, or ends it.
func (c *Client) endCall() {
	x := &c.call
	if c.phase != exchanging || !x.answered || x.sending && x.reuse {
		return
	}
	if !x.sending {
		x.recv, x.unconsumed = nil, 0 // it has heard all
	}
	if !x.reuse || c.draining {
		c.end(&message.Error{Reason: message.Gone}, nil)
		return
	}
	c.phase, c.served, c.freed = idle, true, true
	if !c.feeding {
		c.regulate()
		c.loop.Defer(c.tellFree)
	}
}

// tellFree tells the owner that the connection is free, if it still is.
func (c *Client) tellFree() {
	if !c.freed {
		return
	}
	c.freed = false
	if c.phase == idle && c.opts.OnFree != nil {
		c.opts.OnFree(c)
	}
}

// regulate pauses reading while too much waits to be used, and resumes it.
func (c *Client) regulate() {
	switch {
	case c.phase == over:
	case !c.paused && c.call.unconsumed > message.HighWater:
		c.paused = true
		c.conn.Pause()
	case c.paused && c.call.unconsumed < message.LowWater:
		c.paused = false
		c.conn.Resume()
	}
}

// EOF tells that the backend sends no more.
func (c *Client) EOF() {
	x := &c.call
	switch {
	case c.phase == idle:
		c.end(nil, nil)
	case c.phase == switched:
		x.inEnded = true
		both := x.outEnded
		if x.recv != nil {
			x.recv.End(nil)
		}
		if both {
			c.finish()
		}
	case c.phase == exchanging && c.body.kind == openBody:
		c.endResponse(nil)
	default:
		c.gone(nil)
	}
}

// Drained tells that what waited to be sent has shrunk.
func (c *Client) Drained() {
	if recv := c.call.recv; recv != nil {
		recv.Drained()
	}
}

// Closed tells that the connection is gone.
func (c *Client) Closed(err error) {
	c.loop.Drop(&c.out.timer)
	c.gone(err)
}

// gone ends an exchange whose backend has closed the connection.
func (c *Client) gone(err error) {
	c.fail(&message.Error{Reason: message.Gone, Unused: c.served && !c.call.begun, Err: err})
}

// stall is called when the backend has had time to take what waits.
func (c *Client) stall() {
	switch {
	case !c.out.stalled():
	case c.phase == over: // and finishing
		c.conn.Close()
	default:
		c.refuse(WriteStalled)
	}
}

// refuse ends the connection because of what the backend sent, or did not.
func (c *Client) refuse(why Refusal) {
	c.lim.count(why)
	c.fail(&message.Error{Reason: why.reason(), Err: why})
}

func (c *Client) fail(err *message.Error) { c.end(err, err) }

// end ends the connection. In the next event an exchange under way hears
// cause, and the owner err.
func (c *Client) end(cause *message.Error, err error) {
	if c.phase == over {
		return
	}
	c.quit(cause, err)
	c.loop.Drop(&c.out.timer)
	c.conn.Close()
}

// finish ends a connection that became another protocol's, after what waits
// to be sent.
func (c *Client) finish() {
	c.call.recv = nil
	c.quit(nil, nil)
	c.conn.Finish()
	c.out.watch()
}

func (c *Client) quit(cause *message.Error, err error) {
	c.phase, c.cause, c.err = over, cause, err
	c.lines.release()
	if c.resp != nil {
		c.shared.releaseResponse(c.resp)
		c.resp = nil
	}
	if c.tail != nil {
		c.shared.releaseFields(c.tail)
		c.tail = nil
	}
	c.loop.Defer(c.tellClosed)
}

func (c *Client) tellClosed() {
	if recv := c.call.recv; recv != nil {
		c.call.recv = nil
		recv.Abort(c.cause)
	}
	if c.opts.OnClosed != nil {
		c.opts.OnClosed(c, c.err)
	}
}
