package http1

import "fairway.dev/gateway/message"

// An exchange is the message.ServerStream of the exchange under way.
type exchange struct {
	s    *Server
	req  *message.Request
	recv message.Receiver // nil once it is to hear nothing more

	live     bool // the user has still to end it
	head     bool // the request's method is HEAD
	whole    bool // the request has ended
	expects  bool // the client waits for a 100 before it sends the body
	headSent bool // of the final response
	reuse    bool // the connection goes on afterwards

	inEnded, outEnded bool // after a 101

	unconsumed int
	discarded  int64
}

// Peer describes the connection.
func (x *exchange) Peer() *message.Peer { return x.s.peer }

// Queued returns how many bytes wait to be sent.
func (x *exchange) Queued() int { return x.s.conn.Queued() }

// Consumed tells that n bytes are held no longer.
func (x *exchange) Consumed(n int) {
	x.unconsumed = max(0, x.unconsumed-n)
	if !x.s.feeding {
		x.s.regulate()
	}
}

// Head sends a response's head.
func (x *exchange) Head(resp *message.Response, last bool) {
	s := x.s
	b := s.shared.scratch[:0]
	switch {
	case s.phase != exchanging || x.headSent:
		if last {
			x.close()
		}
	case resp.Status == 101:
		x.switchTo(resp)
	case resp.Status >= 100 && resp.Status < 200:
		if x.req.Proto == message.HTTP10 {
			return // it knows of no such thing (RFC 9110 section 15.2)
		}
		if resp.Status == 100 {
			x.expects = false
		}
		s.out.head(appendInterim(b, resp))
	default:
		x.final(resp, last)
	}
}

func (x *exchange) final(resp *message.Response, last bool) {
	s := x.s
	f, ok := frameResponse(resp, last, x.head, x.req.Proto)
	if !ok {
		x.broken()
		return
	}
	// A client that still waits for a 100 may leave the body out now or send
	// it (RFC 9110 section 10.1.1): what it sends next could be either.
	x.reuse = x.reuse && !s.draining && (x.whole || !x.expects) && f.body != openBody
	switch {
	case !x.reuse:
		f.ending = closes
	case x.req.Proto == message.HTTP10:
		f.ending = keepAlive
	}
	x.headSent = true
	if x.whole {
		s.loop.Disarm(&s.timer) // that of a half-closed client
	}
	s.out.begin(f.body, f.length)
	s.out.head(appendResponse(s.shared.scratch[:0], resp, f, s.shared.date(s.loop.Now())))
	if last {
		x.End(nil)
	}
}

// switchTo makes the connection one of the protocol that the client asked for.
func (x *exchange) switchTo(resp *message.Response) {
	s := x.s
	if x.req.Upgrade == "" {
		x.broken()
		return
	}
	x.headSent = true
	s.phase = switched
	s.loop.Disarm(&s.timer)
	s.out.head(appendSwitch(s.shared.scratch[:0], resp, x.req))
	s.out.begin(openBody, 0)
	s.conn.Flush()
	s.resumeLater()
	if s.ended { // while the user made up its mind
		s.loop.Defer(s.EOF)
	}
}

// Data sends body bytes.
func (x *exchange) Data(p []byte) {
	if !x.writes() {
		return
	}
	if !x.s.out.data(p) {
		x.broken()
	}
}

// writes reports whether the user may send something now.
func (x *exchange) writes() bool {
	return x.headSent && !x.outEnded && (x.s.phase == exchanging || x.s.phase == switched)
}

// End ends the response.
func (x *exchange) End(trailers message.Fields) {
	s := x.s
	switch {
	case !x.writes():
		x.Abort(nil)
	case s.phase == switched:
		x.outEnded = true
		if x.inEnded {
			s.finish()
			x.close()
			return
		}
		s.conn.CloseWrite()
	case !s.out.end(trailers):
		x.broken()
	default:
		x.finished()
	}
}

// finished ends an exchange whose response was sent.
func (x *exchange) finished() {
	s := x.s
	length := x.req.Length
	x.unconsumed = 0
	x.close()
	switch {
	case !x.reuse:
		s.finish()
	case x.whole:
		s.next()
	case length > s.lim.discard():
		s.finish()
	default:
		s.phase = discarding
		s.loop.Arm(&s.timer, s.lim.bodyIdle())
		s.resumeLater()
	}
}

// Abort ends the connection, as nothing else tells the client that the
// response is not whole.
func (x *exchange) Abort(error) {
	x.close()
	if x.s.phase == exchanging || x.s.phase == switched {
		x.s.close()
	}
}

// broken ends an exchange whose user sends what its head does not allow. The
// user hears of it later.
func (x *exchange) broken() {
	x.s.close()
	x.s.loop.Defer(func() { x.abort(&message.Error{Reason: message.Cancelled, Err: errFraming}) })
}

// abort tells the user that the exchange is over.
func (x *exchange) abort(err error) {
	if recv := x.recv; recv != nil {
		x.recv = nil
		recv.Abort(err)
	}
}

// close takes the exchange back from its user.
func (x *exchange) close() {
	x.live = false
	x.recv = nil
	x.release()
}

func (x *exchange) release() {
	if x.req != nil {
		x.s.shared.releaseRequest(x.req)
		x.req = nil
	}
}
