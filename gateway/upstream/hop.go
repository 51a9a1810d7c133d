package upstream

import (
	"errors"
	"net/netip"
	"slices"
	"time"

	"fairway.dev/gateway/hop"
	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
	"fairway.dev/routing"
)

// A Hopper opens connections by HBONE, as *hop.Dialer does: tunnels, and where a
// gateway of the fleet is asked for Requests, a connection to it. It calls done
// once, on l, from a later event; never after cancel was called.
type Hopper interface {
	Dial(l *loop.Loop, to hop.Target, timeout time.Duration, done func(c hop.Conner, native bool, err error)) (cancel func())
}

var (
	errNoMesh      = errors.New("endpoint of the mesh, and the gateway has no identity there")
	errNoIdentity  = errors.New("pod of a waypoint without an identity: want the one that it has to prove")
	errNoAuthority = errors.New("waypoint asked for nothing: want the address that is behind it")
	errTunnelTLS   = errors.New("TLS in a tunnel of the mesh: want a cluster without TLS, or endpoints outside of the mesh")
	errNoPort      = errors.New("endpoint at any port, and nobody has dialled one")
	errUnsealed    = errors.New("HBONE of the client's own, and nobody takes that at the endpoint: want a waypoint, or a pod of the mesh")
	errWaypointTLS = errors.New("TLS or a PROXY protocol header for a waypoint: want neither, HBONE has its own")
)

// near returns where a connection on the way to ep is made to.
func (ep *Endpoint) near() netip.AddrPort {
	if !ep.tunnels() || ep.waypoint {
		return ep.addr
	}
	return netip.AddrPortFrom(ep.addr.Addr(), routing.HBONEPort)
}

// open connects to addr, a port of ep's, once: for who has no pool.
func (ep *Endpoint) open(l *loop.Loop, addr netip.AddrPort, how loop.Opening, timeout time.Duration,
	done func(conn Conn, alpn string, err error)) (cancel func()) {
	o := &ep.cluster.set.o
	if !ep.tunnels() || ep.waypoint {
		return o.Dial(l, addr, how, timeout, done)
	}
	if o.Hop == nil {
		return failing(l, errNoMesh, done)
	}
	to := hop.Target{Addr: ep.near(), Identity: ep.who, Authority: addr.String()}
	return o.Hop.Dial(l, to, timeout, func(c hop.Conner, _ bool, err error) {
		if err != nil {
			done(nil, "", err)
			return
		}
		c.Write(how.First)
		done(c, "", nil)
	})
}

// Towards a waypoint of the fleet all requests share connections, which carry
// with each what it is for. One that takes tunnels only, somebody else's, knows
// of a tunnel whose it is and where it leads: requests share it that agree in
// that. Which it is, the first connection tells.

// waypointWay is how one talks to pods of waypoints: through HBONE, which has TLS
// and names the client. What is inside of tunnels is as Wait.Inside has it.
func waypointWay(c *routing.Cluster) *way {
	if c.TLS != nil || c.ProxyProtocol != 0 {
		return closedWaypoint
	}
	return openWaypoint
}

var (
	openWaypoint   = &way{protocol: routing.UpstreamHTTP1, second: &way{protocol: routing.UpstreamHTTP2}}
	closedWaypoint = &way{err: errWaypointTLS}
)

// toGateway reports whether the connections of p are to a gateway of the fleet
// and carry requests for anybody.
func (p *pool) toGateway() bool { return p.endpoint.waypoint && p.client == nil }

// waypointPool returns the connections by which w reaches what it wants of a waypoint.
func (ep *Endpoint) waypointPool(l *loop.Loop, w *Wait) *pool {
	if !w.Use.isStream() && !ep.stranger.Load() && w.Within == "" {
		return ep.pool(l, Requests)
	}
	return ep.poolOf(l, w.tunneller())
}

// tunneller is whose a tunnel for w is.
func (w *Wait) tunneller() client {
	key := client{use: w.Use, authority: w.Authority, source: w.Source, within: w.Within}
	if w.Client != nil {
		key.remote = w.Client.Remote
	}
	if !w.Use.isStream() {
		key.use = Requests
		if w.Inside == routing.UpstreamHTTP2 || w.Inside == routing.UpstreamClient && w.Proto == message.HTTP2 {
			key.use = seconds
		}
	}
	return key
}

// target is where d leads.
func (d *dial) target() hop.Target {
	p := d.pool
	ep := p.endpoint
	if !ep.waypoint {
		return hop.Target{Addr: ep.near(), Identity: ep.who, Authority: p.addr().String()}
	}
	if p.client != nil {
		d.by = *p.client
	} else {
		d.by = p.first.tunneller()
	}
	return hop.Target{
		Addr: ep.addr, Identity: ep.who, Authority: d.by.authority, Source: d.by.source, Client: d.by.remote,
		Requests: !p.use.isStream() && d.by.within == "", Within: d.by.within,
	}
}

// tunnelled takes what a dial by HBONE came to.
func (d *dial) tunnelled(c hop.Conner, native bool, err error) {
	p := d.pool
	var refusal *hop.Refusal
	if p.endpoint.waypoint && !p.use.isStream() && d.by.within == "" && native != p.toGateway() && (err == nil || errors.As(err, &refusal)) {
		d.learn(native)
	}
	switch {
	case err != nil:
		d.done(nil, "", err) // not a nil *Conn in an interface
	case native:
		d.done(c, "h2", nil)
	default:
		if first := d.way.header(d.pool.client); len(first) > 0 {
			c.Write(first)
		}
		d.done(c, "", nil)
	}
}

// learn tells what the waypoint is, other than was thought: d, and who waited
// with it, belong to other pools. A refusal is a stranger's too: a gateway of
// ours is not asked for anything before the request.
func (d *dial) learn(native bool) {
	p, ep := d.pool, d.pool.endpoint
	ep.stranger.Store(!native)
	var others []*pool
	for p.first != nil {
		w := p.first
		q := ep.waypointPool(p.loop, w)
		q.follow()
		p.part(w)
		q.welcome(w)
		if !slices.Contains(others, q) {
			others = append(others, q)
		}
	}
	q := ep.pool(p.loop, Requests)
	if !native {
		q = ep.poolOf(p.loop, d.by)
	}
	q.follow()
	p.dials = slices.DeleteFunc(p.dials, func(o *dial) bool { return o == d })
	q.dials = append(q.dials, d)
	d.pool, d.way = q, q.way
	p.forgetIfEmpty()
	for _, o := range others {
		o.grow()
	}
}

// welcome takes who waited in another pool.
func (p *pool) welcome(w *Wait) {
	w.pool = p
	p.insert(w)
	p.armPatience()
}

// turnedAway draws conclusions from a tunnel that ep's far end did not open. It
// is there; but a pod that takes no connections is as one that fails.
func (ep *Endpoint) turnedAway(l *loop.Loop, why *hop.Refusal, tries int) {
	ep.reachable(l)
	if ep.waypoint || why.Status != 503 {
		return
	}
	for range max(tries, 1) {
		ep.failed(l)
	}
}

// suspect finds out whether a waypoint is there that has not opened a tunnel in
// time. It may have waited itself, for what is behind it.
func (ep *Endpoint) suspect(l *loop.Loop) {
	if !ep.suspected.CompareAndSwap(false, true) {
		return
	}
	ep.knock(l, func(err error) {
		ep.suspected.Store(false)
		if err != nil && !isOurs(err) {
			ep.refuse(l)
		}
	})
}

// hopProbeTimeout is how long a waypoint may take for TLS of the mesh, which it
// may have to do with many at once.
const hopProbeTimeout = 3 * time.Second

// knockByHop is knock at a waypoint. It has to speak: for a process that hangs the
// system takes connections nevertheless.
func (ep *Endpoint) knockByHop(l *loop.Loop, done func(error)) {
	to := hop.Target{Addr: ep.addr, Identity: ep.who, Authority: ep.addr.String(), Requests: true}
	ep.cluster.set.o.Hop.Dial(l, to, hopProbeTimeout, func(c hop.Conner, _ bool, err error) {
		var refusal *hop.Refusal
		switch {
		case err == nil:
			c.Close()
		case errors.As(err, &refusal): // a stranger's, whom nothing is asked of but a tunnel
			err = nil
		}
		done(err)
	})
}

// ofOne is what an Outcome says about an endpoint that is many, a waypoint or
// what is at any port: that it is there. Answers, and that there are none, are of
// what is behind it, and others are behind it too.
func ofOne(o Outcome) Outcome {
	switch o {
	case Reset, Timeout, NoConnection, Abandoned, Unreachable:
		return Abandoned
	}
	return Success
}
