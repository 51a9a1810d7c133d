package upstream

import (
	"net/netip"
	"strings"
	"time"

	"fairway.dev/gateway/loop"
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
// a waypoint, authority and source are what that was told.
type client struct {
	remote, local     netip.AddrPort
	use               Use
	host              string
	authority, source string
}

// maxHostPools bounds the hosts that one loop has connections to an endpoint for.
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

// poolOf returns the connections to ep on l that are a client's alone.
func (ep *Endpoint) poolOf(l *loop.Loop, key client) *pool {
	if p := ep.private[l.Index()][key]; p != nil {
		return p
	}
	return ep.newPoolOf(l, key)
}

func (ep *Endpoint) newPoolOf(l *loop.Loop, key client) *pool {
	key.host, key.authority, key.source = strings.Clone(key.host), strings.Clone(key.authority), strings.Clone(key.source)
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
