package upstream

import (
	"net/netip"
	"time"

	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
	"fairway.dev/gateway/proxyproto"
)

// A connection that began with a PROXY protocol header is its client's: what
// another client asks for must not go over it. So each client's connection has
// pools of its own at the endpoints of such a cluster.

// privateIdle is how long a connection in such a pool may be idle, at most:
// nobody tells when the client has left.
const privateIdle = 15 * time.Second

// A client is one connection from a client, and the use that it makes of its pool.
type client struct {
	remote, local netip.AddrPort
	use           Use
}

// privates are the pools of clients on one loop.
type privates map[client]*pool

// privatePool returns the connections to ep on l that are peer's alone.
func (ep *Endpoint) privatePool(l *loop.Loop, use Use, peer *message.Peer) *pool {
	key := client{peer.Remote, peer.Local, use}
	own := &ep.private[l.Index()]
	p := (*own)[key]
	if p == nil {
		p = newPool(ep, l, use)
		p.client = &key
		if *own == nil {
			*own = privates{}
		}
		(*own)[key] = p
	}
	return p
}

// forgetIfEmpty lets go of a client's pool that has nothing left.
func (p *pool) forgetIfEmpty() {
	if p.client != nil && p.waiting+len(p.dials)+len(p.conns) == 0 {
		delete(p.endpoint.private[p.loop.Index()], *p.client)
	}
}

// opening says how the pool's connections begin.
func (p *pool) opening() loop.Opening {
	return loop.Opening{First: p.way.header(p.client), TLS: p.tls, KeepAlive: p.config().keepAlive}
}

// header returns what a connection for a client begins with. One of our own,
// where there is no client, says so.
func (w *way) header(c *client) []byte {
	if w.proxy == 0 {
		return nil
	}
	var h proxyproto.Header
	if c != nil {
		h = proxyproto.Header{Source: c.remote, Destination: c.local}
	}
	return proxyproto.Append(nil, w.proxy, h)
}

func (p *pool) idleTimeout() time.Duration {
	d := p.config().idleTimeout
	if p.client != nil {
		d = min(d, privateIdle)
	}
	return d
}
