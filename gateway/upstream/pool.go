package upstream

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
)

// A pool is one loop's connections to an endpoint, for one use. All of it
// happens on the loop.
type pool struct {
	endpoint *Endpoint
	loop     *loop.Loop
	use      Use
	client   *client     // whose they are alone; nil: anybody's
	way      *way        // of all connections but those that are draining
	tls      *tls.Config // way's, with a session cache of the endpoint's own

	free  []*conn // have room; the last is used first, so that the rest can become idle
	conns []*conn
	dials []*dial
	room  int // exchanges that a connection carries at a time; 0 while not known

	queue
	patience loop.Timer // of the first in the queue
	serving  bool       // serveNow is deferred
	serveNow func()     // serve, made a value once
	starving *places    // in whose queue it is, or nil
	kept     int        // exchanges since another pool began to starve
}

func newPool(ep *Endpoint, l *loop.Loop, use Use) *pool {
	p := &pool{endpoint: ep, loop: l, use: use}
	p.patience.Fire = p.losePatience
	p.serveNow = p.serve
	return p
}

func (p *pool) config() *config { return p.endpoint.cluster.view.Load().config }

func (p *pool) now() instant { return p.endpoint.cluster.set.instant(p.loop.Now()) }

// follow sees to it that the pool talks the way that the cluster says.
func (p *pool) follow() {
	w := p.config().way.of(p.use)
	if p.way == w {
		return
	}
	p.way, p.room, p.tls = w, w.room(p.use), nil
	if p.toGateway() {
		p.room = 0
	}
	if w.tls != nil {
		p.tls = w.tls.Clone()
		// Sessions are cached by server name: one endpoint's would be
		// offered to all others, which know nothing of it.
		p.tls.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		if w.named && p.client != nil {
			p.tls.ServerName = p.client.host
		}
	}
	p.retireAll()
	for _, d := range p.dials {
		d.cancel()
		p.vacate()
	}
	p.dials = nil
	for err := p.unusable(); err != nil && p.first != nil; {
		p.fail(err) // a way that is none has no settings: a dial would be plain
	}
	p.grow()
}

// errNoName says that the server's name is to be the request's host, and that
// there is none.
var errNoName = errors.New("no host in the request: want a name to verify the endpoint by")

// unusable returns why the pool opens no connections, nil where it does.
func (p *pool) unusable() error {
	if err := p.endpoint.noTunnel(p.tls); err != nil {
		return err
	}
	if p.tls != nil && p.tls.ServerName == "" && !p.tls.InsecureSkipVerify {
		return errNoName
	}
	return p.way.err
}

// drain ends the connections of an endpoint that is used no more, each with
// its last exchange. Who waits still gets one.
func (p *pool) drain() { p.retireAll() }

func (p *pool) retireAll() {
	for _, cn := range slices.Clone(p.conns) {
		p.retire(cn)
	}
}

// A conn is a connection in a pool.
type conn struct {
	pool    *pool
	client  message.Client
	idle    loop.Timer
	served  int64   // requests
	dies    instant // when it is to be retired
	listed  bool    // in pool.free
	retired bool    // takes no more requests
	ended   bool
}

// take returns a connection that has room, nil if there is none.
func (p *pool) take() *conn {
	for n := len(p.free); n > 0; n-- {
		cn := p.free[n-1]
		p.free[n-1] = nil
		p.free = p.free[:n-1]
		cn.listed = false
		switch {
		case cn.old():
			p.retire(cn)
		case cn.client.Free() > 0:
			return cn
		default:
			p.loop.Disarm(&cn.idle)
		}
	}
	return nil
}

// hand gives cn, which is not listed, to a waiter.
func (p *pool) hand(cn *conn, w Waiter) {
	room := cn.client.Free()
	w.Connected(cn.client, cn.served > 0)
	if cn.client.Free() < room {
		cn.served++
		if cn.served >= p.config().requestsOnConn {
			p.retire(cn)
		}
	}
	p.list(cn)
}

// list makes cn available if it has room.
func (p *pool) list(cn *conn) {
	if cn.listed || cn.retired || cn.ended {
		return
	}
	if cn.client.Free() == 0 {
		p.loop.Disarm(&cn.idle)
		return
	}
	cn.listed = true
	p.free = append(p.free, cn)
	cn.rest()
}

func (p *pool) unlist(cn *conn) {
	if !cn.listed {
		return
	}
	cn.listed = false
	i := slices.Index(p.free, cn)
	p.free = slices.Delete(p.free, i, i+1)
}

// freed tells that an exchange on the connection has ended.
func (cn *conn) freed() {
	p := cn.pool
	if cn.retired || cn.ended {
		return
	}
	if p.owes() || cn.old() {
		p.retire(cn)
		return
	}
	if cn.listed {
		cn.rest()
	}
	p.list(cn)
	if p.waiting > 0 && !p.serving {
		// Later in this round, when the codec has come to rest.
		p.serving = true
		p.loop.Defer(p.serveNow)
	}
}

// serve gives connections to who waits for one.
func (p *pool) serve() {
	p.serving = false
	for p.waiting > 0 {
		cn := p.take()
		if cn == nil {
			break
		}
		w := p.first
		p.leave(w)
		p.hand(cn, w.Waiter)
	}
	if p.waiting == 0 && p.endpoint.gone.Load() {
		p.retireAll()
	}
	p.grow()
}

// retire lets cn finish what it carries, and no more.
func (p *pool) retire(cn *conn) {
	if cn.retired || cn.ended {
		return
	}
	cn.retired = true
	p.unlist(cn)
	cn.client.Drain()
}

// old reports whether the connection has reached the age to retire at.
func (cn *conn) old() bool { return cn.dies != forever && cn.dies <= cn.pool.now() }

// rest begins a time in which the connection may be idle.
func (cn *conn) rest() {
	d := cn.pool.idleTimeout()
	if cn.dies != forever {
		d = min(d, max(time.Duration(cn.dies-cn.pool.now()), 0))
	}
	cn.pool.loop.Arm(&cn.idle, d)
}

// rested tells that for the idle timeout no exchange has begun or ended on
// the connection: one that goes on may do so to its end.
func (cn *conn) rested() { cn.pool.retire(cn) }

// closed tells that the connection is gone. One that dies unused is nobody's
// concern.
func (cn *conn) closed(error) {
	if cn.ended {
		return
	}
	cn.ended = true
	p := cn.pool
	p.unlist(cn)
	p.loop.Drop(&cn.idle)
	i := slices.Index(p.conns, cn)
	p.conns = slices.Delete(p.conns, i, i+1)
	p.vacate()
	p.grow()
	p.forgetIfEmpty()
}

// A dial is a connection that is being opened.
type dial struct {
	pool   *pool
	way    *way
	begun  instant
	cancel func()
	by     client // whose the connection is, if it turns out to be a tunnel
}

// grow opens as many connections as those who wait need, within the limit.
func (p *pool) grow() {
	for len(p.dials) < p.needed() && p.reserve() {
		p.dial()
	}
}

// needed returns how many connections must be on their way.
func (p *pool) needed() int {
	switch {
	case p.waiting == 0:
		return 0
	case p.room == 0:
		return 1 // the first tells what is spoken
	}
	return (p.waiting + p.room - 1) / p.room
}

func (p *pool) dial() {
	d := &dial{pool: p, way: p.way, begun: p.now()}
	p.dials = append(p.dials, d)
	d.cancel = d.open()
}

func (d *dial) done(c Conn, alpn string, err error) {
	p := d.pool
	i := slices.Index(p.dials, d)
	p.dials = slices.Delete(p.dials, i, i+1)
	if err != nil {
		p.dialFailed(d, err)
		return
	}
	p.endpoint.reachable(p.loop)
	if p.use.isStream() {
		p.handOver(c)
		return
	}
	p.add(c, d.way.proto(alpn))
	p.serve()
}

// add takes a new connection in.
func (p *pool) add(c Conn, proto message.Proto) {
	cfg := p.config()
	cn := &conn{pool: p, dies: forever}
	if cfg.connectionAge > 0 {
		cn.dies = p.now() + instant(cfg.connectionAge)
	}
	cn.idle.Fire = cn.rested
	cn.client = p.endpoint.cluster.set.o.NewClient(c, proto, ClientEvents{
		Free: cn.freed, Closed: cn.closed, HTTP2: cfg.http2, Gateway: p.toGateway(),
	})
	p.conns = append(p.conns, cn)
	p.room = max(1, cn.client.Free())
	p.list(cn)
}

// dialFailed fails those who waited for the connection.
func (p *pool) dialFailed(d *dial, err error) {
	n := p.concerned(d)
	p.endpoint.connectFailed(p.loop, err, n)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = fmt.Errorf("%w: %w", ErrTimeout, err)
	}
	p.vacate()
	for ; n > 0 && p.first != nil && p.first.since <= d.begun; n-- {
		p.fail(err)
	}
	p.grow()
	p.forgetIfEmpty()
}

// concerned returns how many of the first in the queue fail with a dial that
// is over: those who have waited since it was begun, but not more than it
// would have carried, nor those whom the other dials will carry.
func (p *pool) concerned(d *dial) (n int) {
	most := p.waiting - len(p.dials)*p.room
	if p.room > 0 {
		most = min(most, p.room)
	}
	for w := p.first; w != nil && n < most && w.since <= d.begun; w = w.next {
		n++
	}
	return n
}
