package stream

import (
	"errors"
	"slices"
	"time"

	"fairway.dev/gateway/hop"
	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
	"fairway.dev/gateway/proxy"
	"fairway.dev/gateway/telemetry"
	"fairway.dev/gateway/upstream"
	"fairway.dev/routing"
)

// maxTries bounds the endpoints that are tried for one stream.
const maxTries = 3

// A pair is a stream: a client's connection and an endpoint's.
type pair struct {
	owner *TCP
	on    *perLoop
	peer  *message.Peer
	to    proxy.Destination
	rec   telemetry.StreamRecord

	client  side
	backend side // has no connection before one is had
	idle    loop.Timer
	leaving loop.Timer
	age     loop.Timer    // armed where the cluster bounds how long streams last
	patient time.Duration // what idle is armed for; 0: it is not

	wait   upstream.Wait
	want   upstream.Want
	tried  [maxTries]*upstream.Endpoint
	ep     *upstream.Endpoint // picked; nil before and after
	dialed time.Time
	early  []byte // of the client, from before there was a backend
	over   bool

	seeking func() // ends the search for the addresses of the client's name; nil: there is none
	sought  bool   // there was one

	prev, next *pair
}

// A side is one of the two connections, whose Handler it is.
type side struct {
	pair   *pair
	other  *side
	conn   loop.Conn
	ended  bool // its EOF was heard
	closed bool
}

func newPair(t *TCP, a Arrival) *pair {
	l := a.Conn.Loop()
	p := &pair{owner: t, on: &t.loops[l.Index()], peer: a.Peer, to: a.To}
	p.rec = telemetry.StreamRecord{
		Kind: a.Kind, Start: l.Now(), Name: a.Name, Remote: a.Peer.Remote, TLS: a.Peer.Secure(), Source: a.Peer.Identity, Policy: a.To.Policy, Ends: a.To.Ends,
	}
	p.client = side{pair: p, other: &p.backend, conn: a.Conn}
	p.backend = side{pair: p, other: &p.client}
	p.wait.Stream, p.wait.Client = p, a.Peer
	p.wait.Use = upstream.Streams
	p.wait.Authority, p.wait.Source, p.wait.Within = a.To.Hop.Target, a.To.Hop.Source, a.To.Hop.Within
	p.want.Here = a.Peer.Abroad
	p.want.Host, p.wait.Host = a.Name, a.Name
	if d := a.To.Listener; d != nil && d.TLS != nil && d.TLS.Passthrough {
		p.wait.Use = upstream.Opaque
	}
	if a.To.Sealed {
		p.wait.Use = upstream.Sealed
	}
	p.idle.Fire = func() { p.cut(telemetry.StreamIdle) }
	p.leaving.Fire = func() { p.cut(0) }
	p.patient = max(t.o.Idle, 0)
	if c := a.To.Cluster; c != nil {
		p.follow(c.Spec())
	}
	return p
}

// follow takes over how long the cluster lets streams stand still, and last.
func (p *pair) follow(c *routing.Cluster) {
	if c.IdleTimeout != 0 {
		p.patient = max(c.IdleTimeout, 0)
	}
	if c.ConnectionAge > 0 {
		p.age.Fire = p.outlived
		p.on.loop.Arm(&p.age, c.ConnectionAge)
	}
}

// outlived ends a stream that has lasted as long as it may: with a reset, as
// what it carried is not whole, behind what was passed on.
func (p *pair) outlived() {
	switch {
	case p.backend.conn == nil:
		p.cut(telemetry.DurationTimeout)
		return
	case p.client.ended && p.backend.ended:
		return // it is about to end whole
	}
	p.rec.Flags |= telemetry.DurationTimeout
	for _, s := range []*side{&p.client, &p.backend} {
		if !s.closed {
			s.conn.Abort()
		}
	}
}

// begin looks for an endpoint. The stream may be over when it returns.
func (p *pair) begin() {
	p.on.add(p)
	p.client.conn.Pause()
	switch {
	case p.to.Cluster == nil:
		p.refuse(p.to.Flags)
	case !p.to.Cluster.Begin():
		p.to.Cluster = nil
		p.refuse(telemetry.UpstreamOverflow)
	default:
		p.want.Hash, p.want.HasHash = p.to.Cluster.Hash(&message.Request{}, p.peer)
		p.dialed = p.on.loop.Now()
		p.dial()
	}
}

// dial asks for a connection to an endpoint that was not tried before.
func (p *pair) dial() {
	l := p.on.loop
	ep, err := p.to.Cluster.Pick(l, &p.want)
	if err != nil {
		p.lacks(err)
		return
	}
	if slices.Contains(p.want.Tried, ep) {
		ep.Done(l, upstream.Abandoned)
		p.refuse(telemetry.UpstreamFailure)
		return
	}
	p.ep = ep
	p.rec.Attempts++
	p.rec.Endpoint = ep.AddrFor(p.peer)
	if far := ep.Far(); far != nil {
		p.wait.Authority, p.wait.Within = far.Authority, far.Within
	}
	p.to.Cluster.Connect(l, ep, &p.wait)
}

// lacks goes on without an endpoint: to one whose address is to be found first,
// or to the end.
func (p *pair) lacks(err error) {
	none := errors.Is(err, upstream.ErrNoEndpoints)
	switch {
	case errors.Is(err, upstream.ErrUnresolved) && !p.sought:
		p.sought = true
		p.seeking = p.to.Cluster.Resolve(p.on.loop, p.want.Host, p.found)
	case errors.Is(err, upstream.ErrOverflow):
		p.refuse(telemetry.UpstreamOverflow)
	case none && errors.Is(err, upstream.ErrNoAddress):
		p.refuse(telemetry.NoHealthyUpstream | telemetry.NameFailure)
	case none:
		p.rec.Policy = proxy.Absent(p.to.Cluster.Spec().Name)
		p.refuse(telemetry.NoHealthyUpstream)
	default:
		p.refuse(telemetry.NameFailure)
	}
}

// found hears what came of the search for the addresses of the client's name.
func (p *pair) found(err error) {
	p.seeking = nil
	if err != nil {
		p.lacks(err)
		return
	}
	p.dial()
}

// ConnectFailed tries another endpoint. It implements upstream.StreamWaiter.
func (p *pair) ConnectFailed(err error) {
	ep := p.ep
	p.done(upstream.NoConnection)
	if flags, final := verdict(err); final {
		p.refuse(flags)
		return
	}
	n := len(p.want.Tried)
	p.tried[n] = ep
	p.want.Tried = p.tried[:n+1]
	if n+1 == maxTries {
		p.refuse(telemetry.UpstreamFailure)
		return
	}
	p.dial()
}

// verdict returns why no other endpoint is tried, where that is so: another pod
// of a waypoint would answer the same.
func verdict(err error) (flags telemetry.Flags, final bool) {
	var no *hop.Refusal
	switch {
	case errors.Is(err, upstream.ErrOverflow):
		return telemetry.UpstreamOverflow, true
	case !errors.As(err, &no) || no.Status == 503:
		return 0, false
	case no.Status == 401 || no.Status == 403:
		return telemetry.Unauthorized, true
	}
	return telemetry.UpstreamFailure, true
}

// Opened joins the two sides. It implements upstream.StreamWaiter.
func (p *pair) Opened(conn upstream.Conn) {
	p.backend.conn = conn
	p.rec.Ends = p.to.Reached(p.rec.Endpoint)
	p.to.Tell.OpenStream(p.on.loop.Index(), &p.rec)
	conn.Handle(&p.backend)
	p.rec.Connect = p.on.loop.Now().Sub(p.dialed)
	if tunnel, ok := p.client.conn.(interface{ Accept() }); ok {
		tunnel.Accept()
	}
	p.moved()
	early := p.early
	p.early = nil
	p.client.pass(early)
	if p.client.ended {
		conn.CloseWrite()
	}
	p.client.resume()
	p.splice(conn)
}

// splice leaves bulk between plain connections to the kernel.
func (p *pair) splice(conn upstream.Conn) {
	client, ok := p.client.conn.(*loop.Socket)
	backend, both := conn.(*loop.Socket)
	if ok && both {
		client.Splice(backend)
		backend.Splice(client)
	}
}

// Data passes bytes on. Those that come before there is a backend were read
// with the ClientHello, or a PROXY protocol header: the client is paused.
func (s *side) Data(b []byte) {
	p := s.pair
	switch {
	case p.over:
	case s.other.conn == nil:
		p.early = append(p.early, b...)
	default:
		p.moved()
		s.pass(b)
	}
}

// pass sends what came from s to the other side, and holds s back where the
// other takes less than s sends.
func (s *side) pass(b []byte) {
	s.count(len(b))
	s.other.conn.Write(b)
	if s.other.conn.Queued() > message.HighWater {
		s.conn.Pause()
	}
}

// Spliced counts what the kernel passes on.
func (s *side) Spliced(n int) {
	s.pair.moved()
	s.count(n)
}

func (s *side) count(bytes int) {
	p, n := s.pair, int64(bytes)
	if s == &p.client {
		p.rec.BytesReceived += n
		p.to.Tell.StreamBytes(p.on.loop.Index(), &p.rec, n, 0)
	} else {
		p.rec.BytesSent += n
		p.to.Tell.StreamBytes(p.on.loop.Index(), &p.rec, 0, n)
	}
}

// resume lets s send, unless the other side has not taken yet what it has sent.
func (s *side) resume() {
	if s.other.conn.Queued() <= message.HighWater {
		s.conn.Resume()
	}
}

// Drained lets the other side send again.
func (s *side) Drained() {
	if s.pair.over || s.other.conn == nil {
		return
	}
	s.pair.moved()
	s.other.conn.Resume()
}

// EOF passes the end of one direction on, behind the bytes before it. The
// other direction goes on.
func (s *side) EOF() {
	p := s.pair
	s.ended = true
	if p.over || s.other.conn == nil {
		return
	}
	p.moved()
	s.other.conn.CloseWrite()
	if s.other.ended {
		s.conn.Finish()
		s.other.conn.Finish()
	}
}

// Closed passes the end of the stream on: a failure as a reset, behind what
// came before it.
func (s *side) Closed(err error) {
	p := s.pair
	if p.over {
		return
	}
	s.close()
	if err != nil {
		if s == &p.client {
			p.rec.Flags |= telemetry.DownstreamClosed
		} else {
			p.rec.Flags |= telemetry.UpstreamClosed
		}
	}
	switch {
	case s.other.conn == nil: // the client has left before there was a backend
		p.wait.Cancel()
		p.end()
	case s.other.closed:
		p.end()
	case err != nil:
		s.other.conn.Abort()
	}
}

// close marks a side whose connection is closed.
func (s *side) close() {
	s.closed = true
	if s == &s.pair.backend {
		s.pair.wait.Release()
	}
}

// refuse closes a client for which there is no backend.
func (p *pair) refuse(flags telemetry.Flags) {
	p.rec.Flags |= flags
	p.client.conn.Close()
	p.end()
}

// cut resets both sides.
func (p *pair) cut(flags telemetry.Flags) {
	p.rec.Flags |= flags
	p.wait.Cancel()
	for _, s := range []*side{&p.client, &p.backend} {
		if s.conn != nil && !s.closed {
			s.conn.Reset()
			s.close()
		}
	}
	p.end()
}

// leave gives the stream a while to come to its end, from the first time on.
func (p *pair) leave() {
	if !p.over && !p.leaving.Armed() {
		p.on.loop.Arm(&p.leaving, p.owner.o.Leave)
	}
}

// moved puts off the end of a stream on which nothing moves.
func (p *pair) moved() {
	if p.patient > 0 {
		p.on.loop.Arm(&p.idle, p.patient)
	}
}

// end tells of the stream, and lets go of all that it holds.
func (p *pair) end() {
	l, i := p.on.loop, p.on.loop.Index()
	p.over = true
	p.early = nil
	if p.seeking != nil {
		p.seeking()
	}
	p.on.remove(p)
	l.Drop(&p.idle)
	l.Drop(&p.leaving)
	l.Drop(&p.age)
	p.done(p.outcome())
	if p.to.Cluster != nil {
		p.to.Cluster.End()
	}
	p.rec.Duration = l.Now().Sub(p.rec.Start)
	if p.backend.conn == nil {
		p.to.Tell.OpenStream(i, &p.rec) // it ends before it was known where it goes
	}
	p.to.Tell.CloseStream(i, &p.rec)
	p.owner.o.AccessLog.AppendStream(i, p.to.Tell, &p.rec)
}

// done ends the use of the endpoint.
func (p *pair) done(o upstream.Outcome) {
	if p.ep != nil {
		p.ep.Done(p.on.loop, o)
		p.ep = nil
	}
}

// outcome is what a stream says about its endpoint. One that took the
// connection and reset it without a word has failed.
func (p *pair) outcome() upstream.Outcome {
	switch {
	case p.backend.conn == nil:
		return upstream.Abandoned
	case p.rec.BytesSent > 0 || p.backend.ended:
		return upstream.Success
	case p.rec.Flags&telemetry.UpstreamClosed != 0:
		return upstream.Reset
	}
	return upstream.Abandoned
}
