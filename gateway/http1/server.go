package http1

import (
	"time"

	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
)

// A Server is the gateway's end of a client's connection. It is the
// loop.Handler of that connection.
//
// It takes one request at a time: what a client sends ahead (pipelining)
// waits, with reading paused, until the response before it has ended.
//
// A client that ends its side of the connection after a whole request may
// still read the response, and is served; Limits.HalfClose says how long the
// response may take to begin. One that does so in the middle of a request, or
// whose connection fails, is gone.
type Server struct {
	conn    loop.Conn
	loop    *loop.Loop
	shared  *shared
	peer    *message.Peer
	handler message.Handler
	lim     *Limits

	phase    phase
	draining bool
	ended    bool // the client sends no more
	paused   bool
	feeding  bool // Data is under way: it goes on where an exchange ends
	timer    loop.Timer
	goOn     func()
	kept     []byte // arrived ahead of its time

	lines    lineReader
	body     body
	tail     *message.Fields // trailers, while they are read
	out      outgoing
	exchange exchange
}

// phase is what the next byte of a connection belongs to.
type phase uint8

const (
	idle       phase = iota // a request, whose first byte it is
	inHead                  // a request's head
	exchanging              // an exchange's request, or what follows it
	discarding              // a request's body that nobody wants
	switched                // another protocol, after a 101
	over                    // nobody: the connection ends
)

var noLimits Limits

// NewServer returns a Server on conn that hands requests to h. The caller
// makes it the handler of conn; bytes read before that are given to Data.
// Nil limits are the defaults.
func NewServer(conn loop.Conn, peer *message.Peer, h message.Handler, lim *Limits) *Server {
	if lim == nil {
		lim = &noLimits
	}
	l := conn.Loop()
	s := &Server{conn: conn, loop: l, shared: perLoop.Of(l), peer: peer, handler: h, lim: lim}
	s.lines.shared = s.shared
	s.out = outgoing{conn: conn, shared: s.shared, lim: lim}
	s.timer.Fire = s.timeout
	s.out.timer.Fire = s.stall
	s.goOn = s.takeKept
	l.Arm(&s.timer, lim.idleTimeout())
	return s
}

// lastRequest is how long a connection that is asked to leave waits for one more
// request. HTTP/1.1 says that a connection ends in a response: without one the
// client may send while it is closed, and cannot know what became of it (RFC
// 9112, section 9.6).
const lastRequest = time.Second

// Drain ends the connection after the exchange under way, or the next where
// there is none: its response says so where its head is still to come. What
// stays idle ends after a second.
func (s *Server) Drain() {
	s.draining = true
	if s.phase == idle && len(s.kept) == 0 {
		s.loop.Arm(&s.timer, min(lastRequest, s.lim.idleTimeout()))
	}
}

// Data takes what the client sends.
func (s *Server) Data(p []byte) {
	s.feeding = true
	for len(p) > 0 {
		switch s.phase {
		case idle:
			if s.clogged() {
				p = s.keep(p)
				break
			}
			p = s.readHead(p)
		case inHead:
			p = s.readHead(p)
		case exchanging:
			if s.exchange.whole {
				p = s.keep(p)
				break
			}
			p = s.readBody(p)
		case discarding:
			p = s.readBody(p)
		case switched:
			s.deliver(p)
			p = nil
		case over:
			p = nil
		}
	}
	s.feeding = false
	s.regulate()
}

// readHead takes bytes of a head and returns those behind it.
func (s *Server) readHead(p []byte) []byte {
	x := &s.exchange
	if s.phase == idle {
		*x = exchange{s: s, req: s.shared.request()}
		s.lines.start(requestHead, s.lim, &x.req.Fields, x.req)
	}
	n, done, why := s.lines.feed(p)
	switch {
	case why != accepted:
		s.refuse(why)
		return nil
	case done:
		s.beginExchange()
	case s.phase == idle:
		s.phase = inHead
		s.loop.Arm(&s.timer, s.lim.headTimeout())
	}
	return p[n:]
}

// beginExchange hands a request on whose head is complete.
func (s *Server) beginExchange() {
	x := &s.exchange
	body, why := s.lines.request(x.req, s.peer)
	x.head = x.req.Method == "HEAD"
	x.whole = body == noBody
	x.reuse = s.lines.keepsAlive()
	x.expects = s.lines.expectsMore
	s.lines.release()
	if why != accepted {
		s.refuse(why)
		return
	}
	s.phase = exchanging
	x.live = true
	if x.whole {
		s.loop.Disarm(&s.timer)
	} else {
		s.body.begin(body, x.req.Length)
		s.loop.Arm(&s.timer, s.lim.bodyIdle())
	}
	recv := s.handler.Exchange(x, x.req, x.whole && x.req.Upgrade == "")
	if x.live {
		x.recv = recv
	}
}

// readBody takes bytes of a body and its trailers and returns those behind.
func (s *Server) readBody(p []byte) []byte {
	if s.tail != nil {
		return s.readTrailers(p)
	}
	data, n, done, why := s.body.next(p)
	if why != accepted {
		s.refuse(why)
		return nil
	}
	if len(data) > 0 {
		s.deliver(data)
	}
	switch {
	case !done || s.phase == over:
	case s.body.kind == chunkedBody:
		s.tail = s.shared.fields()
		s.lines.start(trailers, s.lim, s.tail, nil)
	default:
		s.endRequest(nil)
	}
	return p[n:]
}

func (s *Server) readTrailers(p []byte) []byte {
	n, done, why := s.lines.feed(p)
	switch {
	case why != accepted:
		s.refuse(why)
		return nil
	case done:
		s.endRequest(*s.tail)
		s.dropTail()
	}
	return p[n:]
}

func (s *Server) dropTail() {
	s.lines.release()
	if s.tail != nil {
		s.shared.releaseFields(s.tail)
		s.tail = nil
	}
}

// deliver hands on what belongs to the exchange, or drops it where there is
// none any more.
func (s *Server) deliver(p []byte) {
	x := &s.exchange
	if s.phase == discarding {
		x.discarded += int64(len(p))
		if x.discarded > s.lim.discard() {
			s.finish()
		}
		return
	}
	x.unconsumed += len(p)
	if s.phase == exchanging {
		x.expects = false
		s.loop.Arm(&s.timer, s.lim.bodyIdle())
	}
	if x.recv != nil {
		x.recv.Data(p)
	}
}

func (s *Server) endRequest(trailers message.Fields) {
	x := &s.exchange
	x.whole = true
	if s.phase == discarding {
		s.next()
		return
	}
	s.loop.Disarm(&s.timer)
	if x.recv != nil {
		x.recv.End(trailers)
	}
}

// clogged reports whether the client leaves so many responses unread that it
// gets no more: its next request waits until Drained.
func (s *Server) clogged() bool { return s.conn.Queued() > message.HighWater }

// keep keeps what arrived ahead of its time; regulate sees to it that nothing
// more arrives. Of p nothing is left.
func (s *Server) keep(p []byte) (rest []byte) {
	if s.kept == nil {
		s.kept = s.shared.buffer()
	}
	s.kept = append(s.kept, p...)
	return nil
}

// takeKept goes on with what was kept, where its time has come.
func (s *Server) takeKept() {
	p := s.kept
	if p == nil || s.phase == exchanging || s.phase == over || s.clogged() {
		return
	}
	s.kept = nil
	s.Data(p)
	s.shared.releaseBuffer(p)
}

// regulate pauses reading while something waits to be used, and resumes it.
func (s *Server) regulate() {
	x := &s.exchange
	switch {
	case s.phase == over:
	case !s.paused && (len(s.kept) > 0 || x.unconsumed > message.HighWater):
		s.paused = true
		s.conn.Pause()
		if s.phase == exchanging && !x.whole {
			s.loop.Disarm(&s.timer)
		}
	case s.paused && len(s.kept) == 0 && x.unconsumed < message.LowWater:
		s.paused = false
		s.conn.Resume()
		if s.phase == exchanging && !x.whole {
			s.loop.Arm(&s.timer, s.lim.bodyIdle())
		}
	}
}

// next makes the connection ready for another request.
func (s *Server) next() {
	if s.ended || s.draining {
		s.finish()
		return
	}
	s.phase = idle
	s.loop.Arm(&s.timer, s.lim.idleTimeout())
	s.resumeLater()
}

// resumeLater goes on reading after what a user's call has changed: not from
// inside the call.
func (s *Server) resumeLater() {
	if s.feeding {
		return
	}
	if len(s.kept) > 0 {
		s.loop.Defer(s.goOn)
		return
	}
	s.regulate()
}

// EOF tells that the client sends no more.
func (s *Server) EOF() {
	x := &s.exchange
	s.ended = true
	switch s.phase {
	case exchanging:
		x.reuse = false
		if !x.whole {
			s.cut(&message.Error{Reason: message.Gone})
			return
		}
		if wait := s.lim.halfClose(); wait > 0 && !x.headSent {
			s.loop.Arm(&s.timer, wait)
		}
	case switched:
		x.inEnded = true
		both := x.outEnded
		if x.recv != nil {
			x.recv.End(nil)
		}
		if both {
			s.finish()
			x.close()
		}
	default:
		s.finish()
	}
}

// Drained tells that what waited to be sent has shrunk.
func (s *Server) Drained() {
	if x := &s.exchange; x.recv != nil {
		x.recv.Drained()
		return
	}
	s.takeKept()
}

// Closed tells that the connection is gone.
func (s *Server) Closed(err error) {
	s.phase = over
	s.dropAll()
	s.loop.Drop(&s.out.timer)
	s.exchange.abort(&message.Error{Reason: message.Gone, Err: err})
}

// timeout is called when what the phase waits for has not come.
func (s *Server) timeout() {
	switch s.phase {
	case inHead:
		s.refuse(HeadSlow)
	case exchanging:
		if s.exchange.whole { // a half-closed client, which has waited long enough
			s.cut(&message.Error{Reason: message.Gone})
			return
		}
		s.refuse(BodySlow)
	default:
		if s.phase == idle && !s.draining {
			s.lim.count(Idled)
		}
		s.finish()
	}
}

// stall is called when the client has had time to take what waits.
func (s *Server) stall() {
	if s.out.stalled() {
		s.lim.count(WriteStalled)
		s.cut(&message.Error{Reason: message.Slow, Err: WriteStalled})
	}
}

// refuse ends the connection because of what the client sent, or did not. It
// is answered unless a response is under way.
func (s *Server) refuse(why Refusal) {
	s.lim.count(why)
	x := &s.exchange
	err := &message.Error{Reason: why.reason(), Err: why}
	switch {
	case s.phase == discarding:
		s.finish()
	case x.headSent:
		s.cut(err)
	default:
		s.out.head(appendRefusal(s.shared.scratch[:0], why, s.shared.date(s.loop.Now())))
		s.finish()
		x.abort(err)
	}
}

// finish ends the connection after what waits to be sent.
func (s *Server) finish() {
	s.phase = over
	s.dropAll()
	s.conn.Finish()
	s.out.watch()
}

// cut ends the connection at once, and the exchange with err.
func (s *Server) cut(err error) {
	s.close()
	s.exchange.abort(err)
}

func (s *Server) close() {
	s.phase = over
	s.dropAll()
	s.loop.Drop(&s.out.timer)
	if s.out.kind == openBody {
		// The end of the stream would be that of the body (RFC 9112 section 6.3).
		s.conn.Reset()
		return
	}
	s.conn.Close()
}

// dropAll gives back what reading has used.
func (s *Server) dropAll() {
	s.loop.Drop(&s.timer)
	if !s.exchange.live {
		s.exchange.release()
	}
	s.dropTail()
	if s.kept != nil {
		s.shared.releaseBuffer(s.kept)
		s.kept = nil
	}
}
