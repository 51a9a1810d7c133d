package upstream

import (
	"time"

	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
	"fairway.dev/routing"
)

// A Waiter takes a connection.
type Waiter interface {
	// Connected hands over a connection for one request: the waiter calls
	// conn.Open before it returns, or leaves the connection alone. reused
	// says that it has carried requests before, and may have been closed by
	// the backend in this moment.
	Connected(conn message.Client, reused bool)
	// ConnectFailed says that there is none, and that nothing was sent. The
	// error wraps ErrOverflow, ErrTimeout or loop.ErrRefused where it is one
	// of these.
	ConnectFailed(err error)
}

// A Wait is a Waiter's place in the queue for a connection. It is part of
// what waits, so that waiting allocates nothing; it may be used again once
// the Waiter has heard, or Cancel was called.
type Wait struct {
	Waiter Waiter       // of a request
	Stream StreamWaiter // of a stream: exactly one of the two
	Use    Use
	// Proto is the protocol of the client's request: a cluster whose protocol is
	// routing.UpstreamClient speaks the same, HTTP/2 or HTTP/1.1.
	Proto message.Proto
	// Client is who the connection is for, where clusters may ask for PROXY
	// protocol headers, or endpoints are at the port that it has dialled. If nil,
	// the gateway itself.
	Client *message.Peer
	// Host is the authority of the request, or the name that a stream's client
	// asked for: the name of the server, where the cluster says so.
	Host string

	// Authority is what a waypoint is asked for (routing.Hop), and Source whom
	// the gateway vouches for there. They are for clusters of waypoints, and
	// requests say the same in their Hop. Within is who has to be reached through
	// the far end (hop.Target).
	Authority, Source, Within string
	// Inside is what the backends speak that are behind a waypoint: requests go
	// to them so where the waypoint takes nothing but tunnels.
	Inside routing.Upstream

	pool       *pool // in whose queue it stands, or nil
	held       *pool // whose place the connection has that Opened handed over
	next, prev *Wait
	since      instant
	until      instant
}

// Cancel takes the waiter back: it hears nothing more. After it has heard,
// Cancel does nothing.
func (w *Wait) Cancel() {
	if p := w.pool; p != nil {
		p.leave(w)
		p.forgetIfEmpty()
	}
}

// Connect gets a connection to ep for w, on l. w hears of it once: before
// Connect returns where there is a connection to reuse, or where the pool
// overflows; later otherwise, unless it is cancelled first.
func (c *Cluster) Connect(l *loop.Loop, ep *Endpoint, w *Wait) {
	c = ep.cluster // a part of c, where that has one for each host
	cfg := c.view.Load().config
	use := w.Use
	switch {
	case use == Upgrades && cfg.way.upgrade == nil:
		use = Requests
	case use == Requests && cfg.way.second != nil && w.Proto == message.HTTP2:
		use = seconds
	}
	var p *pool
	switch {
	case use == Sealed && !ep.tunnels():
		w.fail(errUnsealed)
		return
	case use == Sealed:
		p = ep.pool(l, use)
	case ep.waypoint && w.Authority == "":
		w.fail(errNoAuthority)
		return
	case ep.waypoint:
		p = ep.waypointPool(l, w)
	case ep.anyPort() && (w.Client == nil || w.Client.Local.Port() == 0):
		w.fail(errNoPort)
		return
	case ep.anyPort():
		p = ep.portPool(l, use, w)
	case cfg.way.proxy != 0 && w.Client != nil || cfg.way.named && use != Opaque:
		p = ep.privatePool(l, use, cfg.way, w)
	default:
		p = ep.pool(l, use)
	}
	if p == nil {
		c.overflow(LimitConnections)
		w.fail(ErrOverflow)
		return
	}
	p.follow()
	if p.waiting == 0 {
		if cn := p.take(); cn != nil {
			p.hand(cn, w.Waiter)
			return
		}
	}
	if err := p.unusable(); err != nil {
		w.fail(err)
		p.forgetIfEmpty()
		return
	}
	if c.pending.Add(1) > cfg.pending {
		c.pending.Add(-1)
		c.overflow(LimitPending)
		w.fail(ErrOverflow)
		return
	}
	p.join(w, cfg.connectTimeout+dialGrace)
	p.grow()
	if len(p.dials) < p.needed() {
		c.overflow(LimitConnections)
	}
}

// dialGrace is how much longer than the connect timeout a try waits: where a
// dial times out, that is what it shall hear.
const dialGrace = 100 * time.Millisecond

// A queue is the tries that wait for a connection, the first to come first.
type queue struct {
	first, last *Wait
	waiting     int
}

func (q *queue) push(w *Wait) {
	w.prev, w.next = q.last, nil
	if q.last == nil {
		q.first = w
	} else {
		q.last.next = w
	}
	q.last = w
	q.waiting++
}

// insert puts w where it would stand had it come here at once: before whoever
// has more patience.
func (q *queue) insert(w *Wait) {
	after := q.last
	for after != nil && after.until > w.until {
		after = after.prev
	}
	w.prev = after
	if after == nil {
		w.next, q.first = q.first, w
	} else {
		w.next, after.next = after.next, w
	}
	if w.next == nil {
		q.last = w
	} else {
		w.next.prev = w
	}
	q.waiting++
}

func (q *queue) remove(w *Wait) {
	if w.prev == nil {
		q.first = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		q.last = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.prev, w.next = nil, nil
	q.waiting--
}

// join puts w at the end of the queue, where it waits for as long as patience.
func (p *pool) join(w *Wait, patience time.Duration) {
	w.pool, w.since = p, p.now()
	w.until = w.since + int64(patience)
	p.push(w)
	if !p.patience.Armed() {
		p.armPatience()
	}
}

// leave takes w out of the queue, wherever it stands.
func (p *pool) leave(w *Wait) {
	p.part(w)
	p.endpoint.cluster.pending.Add(-1)
}

// part is leave for who goes on waiting elsewhere.
func (p *pool) part(w *Wait) {
	w.pool = nil
	p.remove(w)
	if p.waiting == 0 {
		p.loop.Disarm(&p.patience)
		p.fed()
	}
}

// fail tells the first in the queue that there is no connection for it.
func (p *pool) fail(err error) {
	w := p.first
	p.leave(w)
	w.fail(err)
}

func (w *Wait) fail(err error) {
	if w.Stream != nil {
		w.Stream.ConnectFailed(err)
	} else {
		w.Waiter.ConnectFailed(err)
	}
}

// armPatience arms the timer for the first in the queue, who is also the
// first to lose patience.
func (p *pool) armPatience() {
	p.loop.Arm(&p.patience, time.Duration(p.first.until-p.now()))
}

// losePatience fails those that have waited long enough.
func (p *pool) losePatience() {
	for p.first != nil && p.first.until <= p.now() {
		if len(p.dials) < p.needed() {
			p.endpoint.cluster.overflow(LimitWait)
		} else if p.endpoint.waypoint {
			p.endpoint.suspect(p.loop)
		} else if !p.endpoint.anyPort() {
			p.endpoint.failed(p.loop)
		}
		p.fail(ErrTimeout)
	}
	if p.first != nil && !p.patience.Armed() {
		p.armPatience()
	}
	p.forgetIfEmpty()
}
