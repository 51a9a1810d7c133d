package upstream

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"fairway.dev/gateway/loop"
)

// Where a node proxy captures what the gateway dials (Options.Captured), it speaks
// HBONE for the gateway, with the gateway's identity. So what would be reached in
// tunnels is dialled as a tunnel would name it: a pod at its own port, and what is
// behind a waypoint at the address that clients dial, for which the node proxy
// knows the waypoint. Whom the gateway would vouch for, nobody hears.

var errNamedAuthority = errors.New("reached by a name alone, and node proxies capture connections to addresses")

// captured reports whether a node proxy speaks HBONE for the gateway.
func (s *Set) captured() bool { return s.o.Captured != nil && s.o.Captured() }

// tunnels reports whether connections to ep are tunnels that the gateway opens.
func (ep *Endpoint) tunnels() bool { return ep.who != "" && !ep.cluster.set.captured() }

// open begins the dial as the endpoint wants it.
func (d *dial) open() (cancel func()) {
	p := d.pool
	o, timeout := &p.endpoint.cluster.set.o, p.config().connectTimeout
	switch {
	case p.use == Sealed:
		return o.Dial(p.loop, p.endpoint.near(), loop.Opening{KeepAlive: p.config().keepAlive}, timeout, d.done)
	case p.endpoint.tunnels() && o.Hop == nil: // it was captured a moment ago
		return failing(p.loop, errNoMesh, d.done)
	case p.endpoint.tunnels():
		return o.Hop.Dial(p.loop, d.target(), timeout, d.tunnelled)
	case p.endpoint.waypoint:
		return d.openBehind(timeout)
	}
	return o.Dial(p.loop, p.addr(), p.opening(), timeout, d.done)
}

// openBehind dials what is behind a waypoint.
func (d *dial) openBehind(timeout time.Duration) (cancel func()) {
	l, authority := d.pool.loop, d.target().Authority
	tunnelled := func(c Conn, _ string, err error) {
		if err != nil {
			d.tunnelled(nil, false, err) // not a nil Conn in an interface
			return
		}
		d.tunnelled(c, false, nil)
	}
	addr, err := netip.ParseAddrPort(authority)
	if err != nil {
		return failing(l, fmt.Errorf("%s: %w", authority, errNamedAuthority), tunnelled)
	}
	return d.pool.endpoint.cluster.set.o.Dial(l, addr, loop.Opening{}, timeout, tunnelled)
}

// failing is a dial that comes to nothing.
func failing(l *loop.Loop, err error, done func(conn Conn, alpn string, err error)) (cancel func()) {
	over := false
	l.Defer(func() {
		if !over {
			done(nil, "", err)
		}
	})
	return func() { over = true }
}

// guarded is a DialFunc that dials no address that must not be.
func guarded(dial DialFunc, forbidden func(netip.AddrPort) error) DialFunc {
	return func(l *loop.Loop, addr netip.AddrPort, how loop.Opening, timeout time.Duration,
		done func(conn Conn, alpn string, err error)) (cancel func()) {
		if err := forbidden(addr); err != nil {
			return failing(l, err, done)
		}
		return dial(l, addr, how, timeout, done)
	}
}

// noTunnel returns why ep, where connections to it are tunnels, cannot be reached
// with TLS settings of its own inside. Who has to prove an identity is not sent
// anything otherwise.
func (ep *Endpoint) noTunnel(inside *tls.Config) error {
	switch {
	case !ep.Meshed() || ep.cluster.set.captured():
		return nil
	case ep.who == "":
		return errNoIdentity
	case ep.cluster.set.o.Hop == nil:
		return errNoMesh
	case inside != nil:
		return errTunnelTLS // loops end and begin TLS on sockets only
	}
	return nil
}
