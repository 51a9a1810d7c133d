package upstream

import (
	"net/netip"
	"strings"
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
// Where a server's name is the host of each request, so that requests for one
// host only share connections, host is that, and the rest is zero unless
// connections are a client's too. Where connections are tunnels to what is behind
// a waypoint, authority and source are what that was told. Connections to a port
// of an endpoint that is at any are shared by who dialled that.
type client struct {
	remote, local     netip.AddrPort
	use               Use
	port              uint16 // dialled, of an endpoint that is at any
	host              string
	authority, source string
	within            string // who is reached through the waypoint
}

// maxHostPools bounds the hosts, or the ports, that one loop has connections to an
// endpoint for.
const maxHostPools = 1024

// privates are the pools of clients on one loop.
type privates map[client]*pool

// privatePool returns the connections to ep on l that are for w's client and host
// alone, as the cluster's way wants it; nil where there are too many hosts.
func (ep *Endpoint) privatePool(l *loop.Loop, use Use, way *way, w *Wait) *pool {
	key := client{use: use}
	if way.proxy != 0 && w.Client != nil {
		key.remote, key.local = w.Client.Remote, w.Client.Local
	}
	if way.named {
		key.host = hostOf(w.Host)
	}
	own := ep.private[l.Index()]
	if own[key] == nil && way.named && len(own) >= maxHostPools {
		return nil
	}
	return ep.poolOf(l, key)
}

// portPool returns the connections on l to the port of ep that w's client has
// dialled; nil where there are too many ports.
func (ep *Endpoint) portPool(l *loop.Loop, use Use, w *Wait) *pool {
	key := client{use: use, port: w.Client.Local.Port()}
	own := ep.private[l.Index()]
	if own[key] == nil && len(own) >= maxHostPools {
		return nil
	}
	return ep.poolOf(l, key)
}

// anyPort reports whether ep is at the port that the client has dialled.
func (ep *Endpoint) anyPort() bool { return ep.addr.Port() == 0 }

// AddrFor returns where ep is for a client.
func (ep *Endpoint) AddrFor(c *message.Peer) netip.AddrPort {
	if !ep.anyPort() || c == nil {
		return ep.addr
	}
	return netip.AddrPortFrom(ep.addr.Addr(), c.Local.Port())
}

// addr returns where the pool's connections lead.
func (p *pool) addr() netip.AddrPort {
	if p.client == nil || p.client.port == 0 {
		return p.endpoint.addr
	}
	return netip.AddrPortFrom(p.endpoint.addr.Addr(), p.client.port)
}

// poolOf returns the connections to ep on l that are a client's alone.
func (ep *Endpoint) poolOf(l *loop.Loop, key client) *pool {
	if p := ep.private[l.Index()][key]; p != nil {
		return p
	}
	return ep.newPoolOf(l, key)
}

func (ep *Endpoint) newPoolOf(l *loop.Loop, key client) *pool {
	key.host, key.authority, key.source = strings.Clone(key.host), strings.Clone(key.authority), strings.Clone(key.source)
	key.within = strings.Clone(key.within)
	p := newPool(ep, l, key.use)
	p.client = &key
	own := &ep.private[l.Index()]
	if *own == nil {
		*own = privates{}
	}
	(*own)[key] = p
	return p
}

// forgetIfEmpty lets go of a client's pool that has nothing left.
func (p *pool) forgetIfEmpty() {
	if p.client == nil || p.waiting+len(p.dials)+len(p.conns) > 0 {
		return
	}
	if own := p.endpoint.private[p.loop.Index()]; own[*p.client] == p { // and not one that came after
		delete(own, *p.client)
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
	if p.client != nil && p.client.remote.IsValid() {
		d = min(d, privateIdle)
	}
	return d
}
