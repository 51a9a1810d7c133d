package stream

import (
	"errors"
	"net/netip"
	"syscall"
	"time"

	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
	"fairway.dev/gateway/proxy"
	"fairway.dev/gateway/telemetry"
	"fairway.dev/gateway/upstream"
)

// A udpSession is what one client sends to one of our addresses, and what the
// endpoint that takes it sends back.
type udpSession struct {
	table *udpTable
	path  loop.UDPPath
	to    proxy.Destination
	last  time.Time // something was sent

	ep       *upstream.Endpoint // nil together with conn
	conn     udpConn
	answered bool // ep has
	avoid    [1]*upstream.Endpoint

	rec           telemetry.StreamRecord
	list          *sessionList // nil until there is an endpoint, and after the end
	before, after *udpSession
}

// A udpConn is *loop.UDPConn.
type udpConn interface {
	Send(p []byte) error
	Close()
}

// dialUDP is Loop.DialUDP.
type dialUDP func(l *loop.Loop, addr netip.AddrPort, h loop.UDPHandler) (udpConn, error)

func dialLoop(l *loop.Loop, addr netip.AddrPort, h loop.UDPHandler) (udpConn, error) {
	c, err := l.DialUDP(addr, h)
	if err != nil {
		return nil, err // not a nil *UDPConn in an interface
	}
	return c, nil
}

func newUDPSession(t *udpTable, path *loop.UDPPath, to proxy.Destination) *udpSession {
	now := t.loop.Now()
	return &udpSession{
		table: t, path: *path, to: to, last: now,
		rec: telemetry.StreamRecord{Kind: telemetry.StreamUDP, Start: now, Remote: path.Remote},
	}
}

// arrivalOn is what decides where a session goes.
func arrivalOn(path *loop.UDPPath) proxy.Arrival {
	return proxy.Arrival{Source: path.Remote.Addr(), Destination: path.Local}
}

// holds reports whether the route still sends sessions to s's cluster.
func (s *udpSession) holds() bool {
	return s.table.owner.o.Proxy.Holds(s.table.bind(), arrivalOn(&s.path), &s.to)
}

// forward sends p to the session's endpoint; where that is unreachable, or is
// none of the cluster any more, to another. Flags say that there is none.
func (s *udpSession) forward(p []byte) telemetry.Flags {
	if s.ep != nil && s.ep.Gone() {
		s.leave(upstream.Success)
	}
	for range 2 {
		if s.conn == nil {
			if err := s.connect(); errors.Is(err, loop.ErrUnreachable) {
				continue
			} else if err != nil {
				return s.refused(err)
			}
		}
		err := s.conn.Send(p)
		if err == nil {
			s.sent(p)
			return 0
		}
		if !errors.Is(err, loop.ErrUnreachable) {
			s.table.drop(dropFor(err))
			return 0
		}
		s.leave(upstream.Unreachable)
	}
	return s.refused(loop.ErrUnreachable)
}

// refused drops a datagram for which no endpoint was had, and returns why in
// the words of the access log.
func (s *udpSession) refused(err error) telemetry.Flags {
	s.table.drop(dropFor(err))
	if errors.Is(err, upstream.ErrNoEndpoints) {
		return telemetry.NoHealthyUpstream
	}
	return telemetry.UpstreamFailure
}

// sent notes a datagram of the client's.
func (s *udpSession) sent(p []byte) {
	t := s.table
	s.rec.DatagramsReceived++
	s.rec.BytesReceived += int64(len(p))
	if s.rec.DatagramsSent > 0 && s.list == &t.fresh {
		s.list.remove(s)
		t.proven.push(s)
	}
	t.touch(s)
}

// connect picks an endpoint and opens a socket to it.
func (s *udpSession) connect() error {
	t, cluster := s.table, s.to.Cluster
	want := upstream.Want{Tried: s.avoid[:]}
	want.Hash, want.HasHash = cluster.Hash(&message.Request{}, &message.Peer{Remote: s.path.Remote})
	ep, err := cluster.Pick(t.loop, &want)
	if err != nil {
		return err
	}
	s.rec.Attempts++
	s.rec.Endpoint = ep.Addr()
	if ep.Meshed() {
		ep.Done(t.loop, upstream.Abandoned)
		return errMeshed
	}
	conn, err := t.owner.dial(t.loop, ep.Addr(), s)
	if isExhausted(err) && t.evict(s) {
		conn, err = t.owner.dial(t.loop, ep.Addr(), s)
	}
	if err != nil {
		outcome := upstream.Abandoned
		if errors.Is(err, loop.ErrUnreachable) {
			outcome = upstream.Unreachable
		}
		ep.Done(t.loop, outcome)
		s.avoid[0] = ep
		return err
	}
	s.ep, s.conn, s.answered = ep, conn, false
	if s.list == nil {
		t.add(s)
	}
	return nil
}

// errMeshed says that an endpoint has to prove who it is, which nobody can who is
// sent datagrams.
var errMeshed = errors.New("datagrams for an endpoint of the mesh, which takes connections only")

// isExhausted reports whether the process, or the machine, has no descriptor
// for one more socket.
func isExhausted(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// leave lets go of the session's endpoint; the next datagram goes to another.
func (s *udpSession) leave(o upstream.Outcome) {
	if o == upstream.Success && !s.answered {
		o = upstream.Abandoned
	}
	s.conn.Close()
	s.ep.Done(s.table.loop, o)
	s.avoid[0] = s.ep
	s.ep, s.conn = nil, nil
}

// Datagram sends the client an answer. It implements loop.UDPHandler.
func (s *udpSession) Datagram(p []byte) {
	t := s.table
	if !s.holds() {
		t.end(s, 0)
		return
	}
	s.answered = true
	t.touch(s)
	if err := t.socket.Send(&s.path, p); err != nil {
		t.drop(dropFor(err))
		return
	}
	t.count(telemetry.ToClients, p)
	s.rec.DatagramsSent++
	s.rec.BytesSent += int64(len(p))
}

// Failed lets go of an endpoint where nobody listens. It implements
// loop.UDPHandler.
func (s *udpSession) Failed(error) { s.leave(upstream.Unreachable) }

func dropFor(err error) telemetry.UDPDrop {
	switch {
	case errors.Is(err, upstream.ErrNoEndpoints):
		return telemetry.DropNoEndpoint
	case errors.Is(err, loop.ErrUnreachable):
		return telemetry.DropUnreachable
	case errors.Is(err, loop.ErrQueueFull):
		return telemetry.DropSendQueue
	}
	return telemetry.DropError
}

// close lets go of all that the session holds, and tells of it.
func (s *udpSession) close(flags telemetry.Flags) {
	t := s.table
	if s.conn != nil {
		s.leave(upstream.Success)
	} else if flags == 0 {
		flags = telemetry.UpstreamFailure // its last datagrams did not arrive
	}
	s.rec.Flags |= flags
	s.rec.Duration = s.last.Sub(s.rec.Start)
	t.owner.o.AccessLog.AppendStream(t.loop.Index(), s.to.Tell, &s.rec)
}
