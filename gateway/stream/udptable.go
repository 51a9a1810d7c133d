package stream

import (
	"sync"

	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/proxy"
	"fairway.dev/gateway/telemetry"
)

// udpTable is what one loop has of a port: a socket, and the sessions of the
// clients whose datagrams come to that.
type udpTable struct {
	owner    *UDP
	port     *udpPort
	loop     *loop.Loop
	socket   udpSocket // nil before it listens
	most     int       // sessions
	sessions map[loop.UDPPath]*udpSession
	// Where the client has come back after an answer, and where not yet.
	proven, fresh sessionList

	idle     loop.Timer // fires when the first session may be idle for too long
	quiet    loop.Timer // fires when nothing has been sent for a while
	draining bool
	closed   sync.Once
}

// A udpSocket is *loop.UDPSocket.
type udpSocket interface {
	Send(path *loop.UDPPath, p []byte) error
	Close()
}

func newUDPTable(p *udpPort, l *loop.Loop) *udpTable {
	o := &p.owner.o
	t := &udpTable{
		owner: p.owner, port: p, loop: l, most: max(1, (o.MaxSessions+len(o.Loops)-1)/len(o.Loops)),
		sessions: map[loop.UDPPath]*udpSession{},
	}
	t.idle.Fire = t.expire
	t.quiet.Fire = t.close
	return t
}

// listen begins to take datagrams.
func (t *udpTable) listen(fd int) {
	s, err := t.loop.ListenUDP(fd, t.datagram, t.lost)
	if err != nil {
		t.owner.o.Log.Error("datagrams are not taken", "listener", t.port.addr, "err", err)
		return
	}
	t.socket = s
}

// datagram takes one from a client.
func (t *udpTable) datagram(path *loop.UDPPath, p []byte) {
	t.count(telemetry.FromClients, p)
	s := t.sessions[*path]
	if s != nil && !s.holds() {
		t.end(s, 0)
		s = nil
	}
	if s == nil {
		to := t.owner.o.Proxy.Stream(t.loop, t.bind(), arrivalOn(path))
		if to.Cluster == nil {
			t.drop(telemetry.DropNoRoute)
			return
		}
		s = newUDPSession(t, path, to)
	}
	if flags := s.forward(p); flags != 0 && s.list != nil {
		t.end(s, flags)
	}
}

// lost counts what the kernel dropped.
func (t *udpTable) lost(n uint32) {
	t.owner.o.Metrics.UDP.Dropped.Add(t.loop.Index(), telemetry.DropReceiveQueue, int(n))
}

func (t *udpTable) drop(why telemetry.UDPDrop) {
	t.owner.o.Metrics.UDP.Dropped.Count(t.loop.Index(), why)
}

func (t *udpTable) count(way telemetry.Direction, p []byte) {
	m := t.owner.o.Metrics.UDP
	m.Datagrams.Count(t.loop.Index(), way)
	m.Bytes.Add(t.loop.Index(), way, len(p))
	if t.draining {
		t.loop.Arm(&t.quiet, quiet)
	}
}

func (t *udpTable) bind() *proxy.Bind { return t.port.spec.Load().Bind }

// add takes in a session that has an endpoint.
func (t *udpTable) add(s *udpSession) {
	if len(t.sessions) >= t.most {
		t.evict(s)
	}
	t.sessions[s.path] = s
	t.fresh.push(s)
	if !t.idle.Armed() {
		t.loop.Arm(&t.idle, t.owner.o.Idle)
	}
	if f := t.port.spec.Load().Opened; f != nil {
		f(t.loop.Index())
	}
}

// evict ends the session that was idle for longest, but keep, and reports
// false where there is none.
func (t *udpTable) evict(keep *udpSession) bool {
	for _, list := range [...]*sessionList{&t.fresh, &t.proven} {
		s := list.oldest
		if s != nil && s == keep {
			s = s.after
		}
		if s != nil {
			t.owner.o.Metrics.Limits.Count(t.loop.Index(), telemetry.LimitUDPSessions)
			t.end(s, telemetry.Overload)
			return true
		}
	}
	return false
}

// touch notes that something was sent on s.
func (t *udpTable) touch(s *udpSession) {
	s.last = t.loop.Now()
	if list := s.list; list != nil && list.newest != s {
		list.remove(s)
		list.push(s)
	}
}

// end ends a session, and tells of it.
func (t *udpTable) end(s *udpSession, flags telemetry.Flags) {
	delete(t.sessions, s.path)
	s.list.remove(s)
	s.close(flags)
	if f := t.port.spec.Load().Closed; f != nil {
		f(t.loop.Index())
	}
}

// expire ends the sessions that were idle for too long.
func (t *udpTable) expire() {
	after, now := t.owner.o.Idle, t.loop.Now()
	next := after
	for _, list := range [...]*sessionList{&t.fresh, &t.proven} {
		for list.oldest != nil && now.Sub(list.oldest.last) >= after {
			t.end(list.oldest, 0)
		}
		if s := list.oldest; s != nil {
			next = min(next, after-now.Sub(s.last))
		}
	}
	if len(t.sessions) > 0 {
		t.loop.Arm(&t.idle, next)
	}
}

// drain closes t once nothing was sent for a while.
func (t *udpTable) drain() {
	t.draining = true
	t.loop.Arm(&t.quiet, quiet)
}

// close ends all sessions and takes no more datagrams.
func (t *udpTable) close() {
	if t.socket != nil {
		t.socket.Close()
	}
	for _, s := range t.sessions {
		t.end(s, 0)
	}
	t.loop.Drop(&t.idle)
	t.loop.Drop(&t.quiet)
	t.closed.Do(t.port.left)
}

// A sessionList is sessions in the order in which something was last sent.
type sessionList struct{ oldest, newest *udpSession }

func (l *sessionList) push(s *udpSession) {
	s.list, s.before, s.after = l, l.newest, nil
	if l.newest == nil {
		l.oldest = s
	} else {
		l.newest.after = s
	}
	l.newest = s
}

func (l *sessionList) remove(s *udpSession) {
	if s.before == nil {
		l.oldest = s.after
	} else {
		s.before.after = s.after
	}
	if s.after == nil {
		l.newest = s.before
	} else {
		s.after.before = s.before
	}
	s.list, s.before, s.after = nil, nil, nil
}
