package http2

import (
	h2 "golang.org/x/net/http2"

	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
)

// A stream is one exchange: a message.ServerStream on a server, a
// message.Stream on a client.
//
// It is on the wire until both directions have ended or one side has reset
// it (closed). Its memory is used again when, besides that, the user has made
// its last call and the receiver has heard its own.
type stream struct {
	c     *conn
	recv  message.Receiver
	heads message.ClientReceiver // recv, on a client
	req   *message.Request       // on a server; kept for the next exchange
	peer  *message.Peer          // on a server

	next                 *stream // in a chain of streams, or of conn.retired
	nextReady, prevReady *stream
	queue                loop.Backlog // body bytes that wait for a window or for the socket
	trailers             []byte       // a header block that follows queue

	sendWindow int64 // what the peer takes
	expect     int64 // body bytes that content-length leaves to come, or -1
	recvWindow int32 // what the peer may still send
	recvCredit int32 // consumed and not yet given back
	window     int32 // recvWindow, recvCredit and unconsumed together
	unconsumed int32 // delivered and not yet consumed
	id         uint32

	inReady    bool
	high       bool // Queued has been over HighWater
	moved      bool // bytes went out since the last look (conn.stalled)
	headed     bool // the head of what we receive is behind us
	answered   bool // a final response head was sent
	noBody     bool // the response has none: HEAD, 204, 304
	headOnly   bool // the request's method is HEAD
	upgrade    bool // an extended CONNECT
	connect    bool // a CONNECT (RFC 9113 section 8.5)
	tunnel     bool // upgrade or connect, which was accepted: both directions end on their own
	unused     bool // nothing came back on a connection that was used before
	localDone  bool // END_STREAM was sent
	remoteDone bool // END_STREAM has come
	closed     bool // the stream is off the wire
	heardEnd   bool // the receiver has heard End
	userDone   bool // the user has ended or aborted
	over       bool // the receiver hears nothing more
	free       bool // given back, or about to be

	interims uint8 // 1xx heads that have come

	accept [28]byte // on a client: the Sec-WebSocket-Accept that the request asks for; zero if none
}

// newStream returns a stream that is not on the wire yet.
func (c *conn) newStream(id uint32) *stream {
	s := c.shared.stream()
	*s = stream{
		c: c, id: id, req: s.req, trailers: s.trailers[:0],
		sendWindow: c.peerWindow, recvWindow: c.lim.streamWindow(), window: c.lim.streamWindow(), expect: -1,
	}
	return s
}

// open puts a new stream on the wire.
func (c *conn) open(s *stream) {
	c.streams.add(s)
	c.budgets.earn(FloodControl, 1)
	c.budgets.earn(FloodPriority, 4)
	c.budgets.earn(FloodWindowUpdates, 4)
}

// close takes the stream off the wire.
func (s *stream) close() {
	c := s.c
	s.closed, s.localDone, s.remoteDone = true, true, true
	c.streams.remove(s)
	c.ready.remove(s)
	s.queue.Clear(c.loop)
	if c.in.data == s {
		c.in.data = nil
	}
	if !c.many && s.unconsumed > 0 {
		c.credit(int(s.unconsumed))
	}
	c.spare += s.window - c.lim.streamWindow()
	s.unconsumed = 0
	if c.side != nil {
		c.side.streamClosed()
	}
}

// settle takes the stream off the wire, and gives its memory back, once
// nothing keeps it.
func (s *stream) settle() {
	if !s.closed && s.localDone && s.remoteDone {
		s.close()
	}
	if !s.closed || !s.userDone || !s.over && !s.heardEnd || s.free {
		return
	}
	s.free, s.over = true, true
	if s.c.busy {
		s.next = s.c.retired
		s.c.retired = s
		return
	}
	s.recycle()
}

func (s *stream) recycle() {
	if s.req != nil {
		s.req.Reset()
	}
	sh := s.c.shared
	s.c, s.recv, s.heads, s.peer, s.next = nil, nil, nil, nil, nil
	sh.takeBackStream(s)
}

// remoteEnd is the end of what the peer sends.
func (s *stream) remoteEnd(trailers message.Fields) {
	s.remoteDone = true
	if !s.over {
		s.heardEnd = true
		s.recv.End(trailers)
	}
	s.settle()
}

// End ends what we send, behind what is queued.
func (s *stream) End(trailers message.Fields) {
	if s.userDone {
		return
	}
	s.userDone = true
	if !s.c.client && !s.tunnel {
		s.over = true
	}
	if s.connect && (s.tunnel || s.c.client) {
		trailers = nil // a tunnel has DATA only
	}
	if s.closed {
		s.settle()
		return
	}
	if s.queue.Len() > 0 {
		// The encoder's table may be another by the time that these go out.
		s.trailers = standalone(s.trailers[:0], trailers)
		return
	}
	if len(trailers) == 0 {
		s.writeEnd()
		return
	}
	w := s.c.shared.space()
	w.out = s.c.encoder.fields(s.c.encoder.begin(frameRoom(w.out)), trailers)
	s.c.writeHeaders(s.id, w.out, true)
	s.c.shared.takeBack(w)
	s.sentLast()
}

// writeEnd ends what we send, now that the queue is empty: with the trailers
// that were put off, if there are any.
func (s *stream) writeEnd() {
	if len(s.trailers) == 0 {
		s.c.writeData(s.id, nil, true)
	} else {
		w := s.c.shared.space()
		w.out = append(s.c.encoder.begin(frameRoom(w.out)), s.trailers...)
		s.c.writeHeaders(s.id, w.out, true)
		s.c.shared.takeBack(w)
	}
	s.sentLast()
}

// sentLast follows END_STREAM. A server that has answered lets a client that
// is still sending know that it need not go on (RFC 9113 section 8.1).
func (s *stream) sentLast() {
	s.localDone = true
	s.c.budgets.earn(FloodResets, 1)
	s.c.budgets.earn(FloodErrors, 1)
	if !s.c.client && !s.remoteDone && !s.tunnel {
		s.c.writeReset(s.id, h2.ErrCodeNo)
		s.c.resets.add(s.id)
		s.close()
	}
	s.settle()
}

// Abort gives the exchange up.
func (s *stream) Abort(err error) {
	if s.free || s.userDone && s.over {
		return
	}
	s.userDone, s.over = true, true
	if !s.closed {
		s.c.writeReset(s.id, s.abortCode(err))
		s.c.resets.add(s.id)
		s.close()
	}
	s.settle()
}

// abortCode says in HTTP/2's words why our side gives up.
func (s *stream) abortCode(err error) h2.ErrCode {
	if s.c.client {
		return h2.ErrCodeCancel
	}
	e, _ := err.(*message.Error)
	switch {
	case s.tunnel && s.connect && s.localDone:
		return h2.ErrCodeNo // all was said, and no more is taken
	case s.tunnel && s.connect:
		return h2.ErrCodeConnect // RFC 9113 section 8.5: the TCP connection was reset
	case e == nil:
		return h2.ErrCodeInternal
	case e.Reason == message.Refused && !s.answered:
		return h2.ErrCodeRefusedStream
	case e.Reason == message.Cancelled:
		return h2.ErrCodeCancel
	}
	return h2.ErrCodeInternal
}

// reset ends the stream for a mistake of the peer (RFC 9113 section 5.4.2).
// A client that makes many of them costs us as much as one that resets its
// streams itself (CVE-2025-8671).
func (s *stream) reset(code h2.ErrCode, err *message.Error) {
	c := s.c
	if err.Reason == message.Malformed {
		c.lim.count(StreamError)
	}
	c.writeReset(s.id, code)
	c.resets.add(s.id)
	s.die(err)
	if !c.client && !c.closed {
		c.charge(FloodErrors)
	}
}

// die ends the stream, which is off the wire for a reason that the receiver
// has to hear.
func (s *stream) die(err error) {
	s.close()
	if !s.over {
		s.over = true
		s.recv.Abort(err)
	}
	s.settle()
}
