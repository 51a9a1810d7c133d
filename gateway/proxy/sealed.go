package proxy

import (
	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/telemetry"
)

// Sealed returns where a tunnel of another network goes that has HBONE of the
// client's own inside: to the waypoint of what the door of b is for, where policy
// is, or to the pods themselves where there is none. Routes do not count: nobody
// but the far end sees a request. It is called on l, whose Handler was made.
func (p *Proxy) Sealed(l *loop.Loop, b *Bind, a Arrival) Destination {
	snap := p.snap.Load()
	d := Destination{Flags: telemetry.NoRoute, Tell: p.unmatched, snap: snap, Sealed: true}
	port := b.in(snap)
	if port == nil {
		return d
	}
	door := port.Listeners()[0]
	d.Listener = door
	if tell := p.lostAt(door); tell != nil {
		d.Tell = tell
	}
	local := p.locals[l.Index()].Load()
	if err := local.passStream(door, snap, &a); err != nil {
		d.Flags, d.Policy = telemetry.Unauthorized, err.Error()
		return d
	}
	c := local.cluster(door.To)
	if c == nil {
		d.Flags = telemetry.NoCluster
		return d
	}
	d.Flags, d.drawn = 0, c
	via, _, to := local.towards(c, door, a.peer())
	if d.Cluster = via; via == nil {
		d.Flags, d.Policy = noWaypoint.flags, unguarded(to)
	}
	return d
}
