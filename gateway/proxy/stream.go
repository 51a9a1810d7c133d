package proxy

import (
	"net/netip"

	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
	"fairway.dev/gateway/telemetry"
	"fairway.dev/gateway/upstream"
	"fairway.dev/routing"
)

// A Destination is where a connection that is not HTTP, or a session of
// datagrams, goes.
type Destination struct {
	Listener *routing.Listener // nil: no listener of the port has the name
	Cluster  *upstream.Cluster // nil: there is none to send to, and Flags say why
	Flags    telemetry.Flags
	Tell     *telemetry.Exchanges // who hears of it; never nil
	// Hop is what a waypoint is to be told that stands between; zero: none does.
	Hop message.Hop
	// Sealed says that the bytes are HBONE of the client's own, for whoever takes
	// that at the endpoint.
	Sealed bool
	// Policy says who has refused the connection, where Flags are Unauthorized, or
	// which waypoint is missing.
	Policy string
	// Ends are those of the connection while it has reached nobody.
	Ends telemetry.Ends

	drawn  *upstream.Cluster // Cluster, or what is behind the waypoint
	snap   *routing.Snapshot // that said so
	target *routing.Target
	on     *local
}

// An Arrival is what is known of a connection, or a session of datagrams, when
// it is decided where it goes.
type Arrival struct {
	Name                string // in its ClientHello, in lower case; empty without one
	Source, Destination netip.Addr
	Peer                *message.Peer // of a waypoint's clients; nil: nobody is vouched for
}

// match finds the rule that takes a.
func (a *Arrival) match(port *routing.Port) routing.Result {
	return port.MatchStream(a.Name, a.peer().Identity, a.Source.Unmap(), a.Destination.Unmap())
}

// Stream returns where a connection of b goes that has arrived so. The Snapshot
// in force decides, and of a route's backends one is drawn by weight. It is
// called on l, whose Handler was made, and does not allocate.
func (p *Proxy) Stream(l *loop.Loop, b *Bind, a Arrival) Destination {
	snap := p.snap.Load()
	d := Destination{Flags: telemetry.NoRoute, Tell: p.unmatched, snap: snap}
	if snap == nil {
		return d
	}
	port := b.in(snap)
	if port == nil {
		return d
	}
	res := a.match(port)
	if d.Listener = res.Listener; d.Listener == nil || d.Listener.Protocol == routing.HTTPS {
		return d // of HTTPS it is requests that are sent somewhere
	}
	on := p.locals[l.Index()].Load()
	d.on, d.Ends = on, on.ends(d.Listener, a.peer(), false)
	if err := on.passStream(d.Listener, snap, &a); err != nil {
		if tell := p.lostAt(d.Listener); tell != nil {
			d.Tell = tell
		}
		d.Flags, d.Policy = telemetry.Unauthorized, err.Error()
		return d
	}
	if res.Target == nil {
		if tell := p.lostAt(d.Listener); tell != nil {
			d.Tell = tell
		}
		return d
	}
	s := res.Target.Prepared.(*rule).draw(on)
	d.target = res.Target
	d.Tell, d.drawn, d.Flags = s.tell(d.Listener), s.cluster, 0
	if s.cluster == nil {
		d.Flags = telemetry.NoCluster
		return d
	}
	var to routing.ClusterName
	d.Cluster, d.Hop, to = on.towards(s.cluster, d.Listener, a.peer())
	d.Ends.Onward = d.Ends.Door && d.Hop.Target != ""
	if d.Cluster == nil {
		d.Flags, d.Policy = noWaypoint.flags, unguarded(to)
	}
	return d
}

// Reached returns d's Ends where the connection was sent to an address. It is
// called on the loop that asked for d.
func (d *Destination) Reached(at netip.AddrPort) telemetry.Ends {
	ends := d.Ends
	if d.on != nil {
		d.on.server(&ends, at)
	}
	return ends
}

// peer is who a waypoint is told of.
func (a *Arrival) peer() *message.Peer {
	if a.Peer == nil {
		return &nobody
	}
	return a.Peer
}

var nobody message.Peer

// Holds reports whether a stream that goes where d says may go on there: by
// the Snapshot in force now too, new streams of b that arrive so may go to its
// cluster. It costs next to nothing while the Snapshot is the same.
func (p *Proxy) Holds(b *Bind, a Arrival, d *Destination) bool {
	snap := p.snap.Load()
	if snap == d.snap {
		return true
	}
	port := b.in(snap)
	if port == nil {
		return false
	}
	res := a.match(port)
	if res.Target == nil || res.Listener.Name != d.Listener.Name ||
		res.Target != d.target && !res.Target.Prepared.(*rule).sharesWith(d.drawn) {
		return false
	}
	d.snap, d.target = snap, res.Target
	return true
}

// sharesWith reports whether r may send anything to c.
func (r *rule) sharesWith(c *upstream.Cluster) bool {
	before := uint64(0)
	for i := range r.shares {
		if r.shares[i].cluster == c && r.limits[i] > before {
			return true
		}
		before = r.limits[i]
	}
	return false
}
