package http1

import "fairway.dev/gateway/message"

// A call is the message.Stream of the exchange under way.
type call struct {
	c     *Client
	recv  message.ClientReceiver // nil once it is to hear nothing more
	asked asked

	sending  bool // the user has still to end the request
	begun    bool // a byte of a response has come
	answered bool // the response has ended
	reuse    bool // the connection goes on afterwards
	interim  int  // 1xx responses so far

	inEnded, outEnded bool // each direction, after a 101

	unconsumed int
}

// Queued returns how many bytes wait to be sent.
func (x *call) Queued() int { return x.c.conn.Queued() }

// Consumed tells that n bytes are held no longer.
func (x *call) Consumed(n int) {
	x.unconsumed = max(0, x.unconsumed-n)
	if !x.c.feeding {
		x.c.regulate()
	}
}

// Data sends body bytes.
func (x *call) Data(p []byte) {
	c := x.c
	switch {
	case c.phase == switched && !x.outEnded:
		c.out.data(p)
	case c.phase != exchanging || !x.sending:
	case x.asked.upgrade != "" || !c.out.data(p):
		// Before a 101 nothing may follow a request for it.
		c.end(&message.Error{Reason: message.Cancelled, Err: errFraming}, nil)
	}
}

// End ends the request.
func (x *call) End(trailers message.Fields) {
	c := x.c
	switch {
	case c.phase == switched:
		x.outEnded = true
		if x.inEnded {
			c.finish()
			return
		}
		c.conn.CloseWrite()
	case c.phase != exchanging || !x.sending:
	case x.asked.upgrade != "":
		x.sending, x.outEnded = false, true
		c.endCall()
	case !c.out.end(trailers):
		c.end(&message.Error{Reason: message.Cancelled, Err: errFraming}, nil)
	default:
		x.sending = false
		c.endCall()
	}
}

// Abort gives the exchange up, and with it the connection, unless all of it
// is over on the wire.
func (x *call) Abort(error) {
	c := x.c
	switch {
	case c.phase == exchanging && x.answered && x.asked.upgrade != "":
		x.sending = false
		c.endCall()
	case c.phase == exchanging || c.phase == switched:
		x.recv = nil
		c.end(nil, nil)
	case c.phase == over:
		x.recv = nil
	}
}

// refuse ends an exchange whose request cannot be sent. Nothing was written,
// so the connection goes on.
func (x *call) refuse() {
	c := x.c
	x.sending = false
	c.loop.Defer(func() {
		if c.phase != exchanging {
			return
		}
		recv := x.recv
		x.recv = nil
		c.phase, c.freed = idle, true
		if recv != nil {
			recv.Abort(&message.Error{Reason: message.Malformed, Err: errUnsendable})
		}
		c.tellFree()
	})
}
