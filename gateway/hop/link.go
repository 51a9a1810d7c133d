package hop

import (
	"fmt"
	"net/netip"
	"slices"

	"fairway.dev/gateway/http2"
	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
)

// links are the connections of a Dialer on one loop, and are touched there only.
type links struct {
	dialer *Dialer
	loop   *loop.Loop
	limits *http2.Limits
	peers  map[peerKey]*peer
}

// A peerKey is who is asked for tunnels.
type peerKey struct {
	addr     netip.AddrPort
	identity string
	outer    bool // its tunnels have others within
}

// A peer has the connections to it. It is there as long as there are any, or
// are to be.
type peer struct {
	on     *links
	key    peerKey
	native bool // the last connection said so
	links  []*link
	dials  []*connecting
}

func (on *links) peer(key peerKey) *peer {
	p := on.peers[key]
	if p == nil {
		p = &peer{on: on, key: key}
		on.peers[key] = p
	}
	return p
}

func (p *peer) forgetIfEmpty() {
	if len(p.links) == 0 && len(p.dials) == 0 {
		delete(p.on.peers, p.key)
	}
}

func (on *links) drain() {
	for _, p := range on.peers {
		for _, k := range p.links {
			k.retire()
		}
	}
}

func (on *links) close() {
	for _, p := range on.peers {
		for _, k := range p.links {
			k.client.Close() // and its tunnels are aborted
		}
		for _, c := range slices.Clone(p.dials) {
			c.cancel()
			c.ended(errDialerClosed)
		}
	}
}

// room returns a connection that takes one more tunnel for source, or nil.
func (p *peer) room(source string) *link {
	for _, k := range p.links {
		if !k.retired && (k.native || k.source == source) && k.client.Free() > 0 {
			return k
		}
	}
	return nil
}

// onItsWay returns a connection that will have room for one more tunnel for
// source, as far as is known, or nil.
func (p *peer) onItsWay(source string) *connecting {
	for _, c := range p.dials {
		given := p.native && c.waiters[0].to.Requests // to the first alone
		if !given && (p.native || c.source == source) && len(c.waiters) < p.on.dialer.opt.Streams {
			return c
		}
	}
	return nil
}

// A link is a connection that carries tunnels.
type link struct {
	peer    *peer
	client  *http2.Client
	about   *message.Peer
	source  string // whose tunnels it carries, where the peer is a stranger
	native  bool
	used    bool // a tunnel was answered
	retired bool
	idle    loop.Timer
}

func (p *peer) add(conn Conner, source string, native bool) {
	on, opt := p.on, &p.on.dialer.opt
	k := &link{peer: p, source: source, native: native}
	k.about = &message.Peer{Remote: p.key.addr, RemoteIP: p.key.addr.Addr().String(), Identity: p.key.identity}
	k.idle.Fire = k.rested
	k.client = http2.NewClient(conn, http2.ClientOptions{
		OnFree:     func(*http2.Client) { k.rest() },
		OnClosed:   func(*http2.Client, error) { k.closed() },
		MaxStreams: opt.Streams, PingAfter: opt.PingAfter, PingTimeout: opt.PingTimeout, PingAlways: true, Limits: on.limits,
	})
	conn.Handle(k.client)
	p.links = append(p.links, k)
	k.rest()
}

// rest begins a time in which the connection may be idle.
func (k *link) rest() {
	if k.client.Streams() == 0 {
		k.peer.on.loop.Arm(&k.idle, k.peer.on.dialer.opt.Idle)
	}
}

func (k *link) rested() {
	if k.client.Streams() == 0 {
		k.retire()
	}
}

// retire lets the connection end with its last tunnel.
func (k *link) retire() {
	if !k.retired {
		k.retired = true
		k.client.Drain()
	}
}

func (k *link) closed() {
	p := k.peer
	p.on.loop.Drop(&k.idle)
	p.links = slices.DeleteFunc(p.links, func(o *link) bool { return o == k })
	p.forgetIfEmpty()
}

// A connecting is a connection that is being opened, and who waits for it. It is
// the first one's.
type connecting struct {
	peer    *peer
	source  string
	waiters []*opening
	cancel  func()
}

// connect opens a connection for o.
func (p *peer) connect(o *opening) {
	c := &connecting{peer: p, source: o.to.Source}
	p.dials = append(p.dials, c)
	c.join(o)
	d := p.on.dialer
	how, err := d.opened(p.key)
	if err != nil {
		over := false
		c.cancel = func() { over = true }
		p.on.loop.Defer(func() {
			if !over {
				c.ended(err)
			}
		})
		return
	}
	c.cancel = d.opt.Dial(p.on.loop, p.key.addr, how, o.timeout, c.done)
}

func (c *connecting) join(o *opening) {
	c.waiters = append(c.waiters, o)
	o.awaits = c
}

// part takes one out who waits no more. With the last one the connection is given up.
func (c *connecting) part(o *opening) {
	c.waiters = slices.DeleteFunc(c.waiters, func(x *opening) bool { return x == o })
	if len(c.waiters) == 0 {
		c.cancel()
		c.remove()
		c.peer.forgetIfEmpty()
	}
}

func (c *connecting) remove() {
	p := c.peer
	p.dials = slices.DeleteFunc(p.dials, func(o *connecting) bool { return o == c })
}

// released returns who waited, who do so no more.
func (c *connecting) released() []*opening {
	waiters := c.waiters
	c.waiters = nil
	for _, o := range waiters {
		o.awaits = nil
	}
	return waiters
}

// done hears how the dial ended.
func (c *connecting) done(conn Conner, alpn string, err error) {
	if err == nil && alpn != Native && alpn != "h2" {
		conn.Close()
		err = fmt.Errorf("TLS agreed on protocol %q: want %s or h2", alpn, Native)
	}
	if err != nil {
		c.ended(err)
		return
	}
	p := c.peer
	c.remove()
	p.native = alpn == Native
	waiters := c.released()
	if first := waiters[0]; p.native && first.to.Requests {
		waiters = waiters[1:]
		first.end(conn, true, nil)
	} else {
		p.add(conn, c.source, p.native)
	}
	for _, o := range waiters {
		if !o.ended { // by what was told to the others
			o.place()
		}
	}
	p.forgetIfEmpty()
}

// ended fails those who wait.
func (c *connecting) ended(err error) {
	c.remove()
	waiters := c.released()
	c.peer.forgetIfEmpty()
	for _, o := range waiters {
		o.giveUp(err)
	}
}
