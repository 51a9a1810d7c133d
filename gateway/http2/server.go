package http2

import (
	"time"

	h2 "golang.org/x/net/http2"

	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
)

// A Server is a connection from a client. It is the loop.Handler of its Conn.
type Server struct {
	conn
	peer    *message.Peer
	handler message.Handler

	last     uint32 // the client's last stream
	opened   uint64 // which of the 64 ids up to last were opened, last in bit 0
	requests int
	drain    drain
	idling   loop.Timer
	draining loop.Timer // the GOAWAY that names the last stream is due
}

// drain is how far a graceful shutdown has come (RFC 9113 section 6.8).
type drain uint8

const (
	serving drain = iota
	warned        // the client knows that the end is near
	ending        // and which stream is its last
)

// drainGrace is how long a client that does not answer the PING behind our
// first GOAWAY may still open streams.
const drainGrace = time.Second

// NewServer speaks HTTP/2 on conn, from the client's preface on, and hands
// its requests to h. If lim is nil, the zero Limits hold. The caller makes the
// Server the connection's Handler.
func NewServer(conn loop.Conn, peer *message.Peer, h message.Handler, lim *Limits) *Server {
	s := &Server{peer: peer, handler: h}
	s.begin(conn, s, lim)
	s.in.preface = h2.ClientPreface
	s.idling.Fire, s.draining.Fire = s.idledOut, s.endDrain
	lim = s.lim
	if lim.PingAfter > 0 {
		s.ping.begin(lim.PingAfter, lim.pingTimeout(), true)
	}
	s.writeSettings(lim.connWindow(),
		h2.Setting{ID: h2.SettingMaxConcurrentStreams, Val: uint32(lim.maxStreams())},
		h2.Setting{ID: h2.SettingInitialWindowSize, Val: uint32(lim.streamWindow())},
		h2.Setting{ID: h2.SettingMaxHeaderListSize, Val: uint32(lim.headerBytes())},
		h2.Setting{ID: h2.SettingEnableConnectProtocol, Val: 1},
		h2.Setting{ID: h2.SettingNoRFC7540Priorities, Val: 1},
	)
	s.loop.Arm(&s.idling, lim.idleTimeout())
	return s
}

// Drain lets the client know that no more requests are taken (GOAWAY in two
// steps, RFC 9113 section 6.8), finishes what was begun, and closes.
func (s *Server) Drain() {
	if s.closed || s.drain != serving {
		return
	}
	s.drain = warned
	s.writeGoAway(maxStreamID, h2.ErrCodeNo, "")
	s.writePing(0, []byte(drainPing))
	s.loop.Arm(&s.draining, drainGrace)
}

// drainPing is the payload of the PING whose answer says that the client has
// read our first GOAWAY.
const drainPing = "draining"

// endDrain names the last stream that is answered.
func (s *Server) endDrain() {
	if s.closed || s.drain != warned {
		return
	}
	s.drain = ending
	s.loop.Disarm(&s.draining)
	s.writeGoAway(s.last, h2.ErrCodeNo, "")
	s.streamClosed()
}

func (s *Server) pinged(payload []byte) {
	if string(payload) == drainPing {
		s.endDrain()
	}
}

// streamClosed closes a connection that is done, or lets it idle.
func (s *Server) streamClosed() {
	if s.streams.n > 0 || s.closed {
		return
	}
	if s.drain == ending {
		s.shut(nil)
		return
	}
	s.loop.Arm(&s.idling, s.lim.idleTimeout())
}

// idledOut ends a connection that nobody has used for long.
func (s *Server) idledOut() {
	s.busy = true
	s.end(h2.ErrCodeNo, Idle.String(), Idle, message.Gone)
	s.leave()
}

func (s *Server) gone(error) {
	s.loop.Drop(&s.idling)
	s.loop.Drop(&s.draining)
}

func (s *Server) lastID() uint32 { return s.last }

func (s *Server) idle(id uint32) bool { return id%2 == 0 || id > s.last }

func (s *Server) setting(h2.SettingID, uint32) {}

func (s *Server) goAway(uint32) {} // we open no streams

// headers takes a header block: a new request, or the trailers of one.
func (s *Server) headers(id uint32, last, dependsOnItself bool, w *workspace) {
	if st := s.streams.get(id); st != nil {
		if dependsOnItself {
			st.reset(h2.ErrCodeProtocol, errDependsOnSelf)
		} else {
			st.takeTrailers(last, w)
		}
		return
	}
	if id%2 == 0 || id <= s.last {
		s.oldStream(id)
		return
	}
	s.opened = s.opened<<((id-s.last+1)/2) | 1
	s.last = id
	switch {
	case dependsOnItself:
		s.lim.count(StreamError)
		s.refuse(id, h2.ErrCodeProtocol)
	case s.drain == ending:
		s.refuse(id, h2.ErrCodeRefusedStream)
	case s.streams.n >= s.lim.maxStreams():
		s.lim.count(Concurrency)
		s.refuse(id, h2.ErrCodeRefusedStream)
	case w.block.excess == tooLong:
		s.lim.count(HeaderSize)
		s.answer(id, 431, last)
	case w.block.excess == tooMany:
		s.lim.count(HeaderCount)
		s.answer(id, 431, last)
	default:
		s.request(id, last, w)
	}
}

// oldStream judges HEADERS on a stream that is not open and cannot be opened
// (section 5.1.1).
func (s *Server) oldStream(id uint32) {
	behind := (s.last - id) / 2
	if id%2 == 0 || behind < 64 && s.opened&(1<<behind) == 0 {
		s.fail(h2.ErrCodeProtocol, "HEADERS: want an odd stream id above all before")
		return
	}
	s.closedStream(id, "HEADERS")
	if !s.closed { // they cost what those of a new stream do
		s.charge(FloodErrors)
	}
}

// refuse resets a stream that was never taken in.
func (s *Server) refuse(id uint32, code h2.ErrCode) {
	s.writeReset(id, code)
	s.resets.add(id)
	s.charge(FloodErrors)
}

// answer answers a request that nobody is to see.
func (s *Server) answer(id uint32, status int, last bool) {
	w := s.shared.space()
	w.out = s.encoder.response(frameRoom(w.out), &message.Response{}, status)
	s.writeHeaders(id, w.out, true)
	s.shared.takeBack(w)
	if !last {
		s.writeReset(id, h2.ErrCodeNo)
		s.resets.add(id)
	}
	s.charge(FloodErrors)
}

// request hands a request on.
func (s *Server) request(id uint32, last bool, w *workspace) {
	st := s.newStream(id)
	if st.req == nil {
		st.req = new(message.Request)
	}
	req := st.req
	if err := w.block.request(req, last); err != nil && !(err == errConnect && s.lim.Tunnels) {
		st.recycle()
		if err == errConnect {
			s.answer(id, 501, last)
		} else {
			s.lim.count(StreamError)
			s.refuse(id, h2.ErrCodeProtocol)
		}
		return
	}
	s.open(st)
	s.loop.Disarm(&s.idling)
	st.peer, st.headed = s.peer, true
	req.Scheme = "http"
	if s.peer.Secure() {
		req.Scheme = "https"
	}
	st.expect, st.upgrade, st.headOnly = req.Length, req.Upgrade != "", req.Method == "HEAD"
	st.connect = req.Method == "CONNECT"
	whole := last && !st.upgrade && !st.connect // what may open a tunnel is never handed on as its own end
	st.remoteDone, st.heardEnd = whole, whole
	st.recv = s.handler.Exchange(st, req, whole)
	if last && !whole {
		st.remoteEnd(nil)
	}
	s.requests++
	if s.requests == s.lim.MaxRequests {
		s.lim.count(Requests)
		s.Drain()
	}
}

// takeTrailers takes a header block on an open stream.
func (st *stream) takeTrailers(last bool, w *workspace) {
	switch {
	case st.remoteDone:
		st.reset(h2.ErrCodeStreamClosed, errAfterEnd)
	case st.connect && (st.tunnel || !st.c.client):
		st.reset(h2.ErrCodeProtocol, errInTunnel)
	case !last:
		st.reset(h2.ErrCodeProtocol, errTrailersOpen)
	case st.expect > 0:
		st.reset(h2.ErrCodeProtocol, errLength)
	case w.block.excess != fits:
		st.c.lim.count(HeaderSize)
		st.reset(h2.ErrCodeEnhanceYourCalm, errTrailersLarge)
	default:
		trailers, err := w.trailers()
		if err != nil {
			st.reset(h2.ErrCodeProtocol, err)
			return
		}
		st.remoteEnd(trailers)
	}
}

// errInTunnel: RFC 9113 section 8.5 has DATA alone on the stream of a tunnel.
var errInTunnel = malformed("HEADERS in a tunnel")

// Peer describes the connection, or whom it was said to be by SetPeer.
func (st *stream) Peer() *message.Peer { return st.peer }

// SetPeer makes p the Peer of a stream of a Server, in place of that of the
// connection: for a Handler that knows whose request it is, and hands it on to
// another.
func SetPeer(s message.ServerStream, p *message.Peer) { s.(*stream).peer = p }

// Head sends a response head.
func (st *stream) Head(resp *message.Response, last bool) {
	if st.userDone || st.localDone {
		return
	}
	status := resp.Status
	switch {
	case st.connect && 200 <= status && status < 300:
		// The request is answered, however long the tunnel lasts and however it ends.
		st.tunnel = true
		st.c.budgets.earn(FloodResets, 1)
		st.c.budgets.earn(FloodErrors, 1)
	case st.upgrade:
		switch {
		case status == 101: // RFC 8441 section 5
			status, st.tunnel = 200, true
		case 200 <= status && status < 300:
			// It would say that the tunnel is open: the backend took the
			// request for an ordinary one.
			status = 502
		}
	}
	w := st.c.shared.space()
	switch {
	case st.tunnel && st.connect:
		w.out = st.c.encoder.connected(frameRoom(w.out), resp)
	case st.tunnel:
		w.out = st.c.encoder.tunnel(frameRoom(w.out), resp)
	default:
		w.out = st.c.encoder.response(frameRoom(w.out), resp, status)
	}
	// A body that the user sends where there is none goes nowhere.
	whole := last || status >= 200 && !st.tunnel && (st.headOnly || status == 204 || status == 304)
	st.c.writeHeaders(st.id, w.out, whole)
	st.c.shared.takeBack(w)
	st.answered = st.answered || status >= 200
	if last {
		st.userDone = true
		st.over = st.over || !st.tunnel
	}
	if whole {
		st.sentLast()
	}
}
