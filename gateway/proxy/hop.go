package proxy

import (
	"cmp"
	"slices"
	"strings"

	"fairway.dev/gateway/message"
	"fairway.dev/gateway/telemetry"
	"fairway.dev/gateway/upstream"
	"fairway.dev/routing"
)

// noWaypoint says that the waypoint which enforces policy for the backend is
// not there: then nobody passes.
var noWaypoint = answer{503, telemetry.NoHealthyUpstream, "no waypoint in front of the backend\n"}

// towards returns where what a listener sends to c goes: to c itself, or to
// the waypoint of its endpoints, or the gateway of their network, with what that
// is to be told. It is nil where there is no such waypoint, whose cluster would be
// to. Only a waypoint's doors go on from there: its bound listeners, if it has
// any, do not ask the policies there.
func (l *local) towards(c *upstream.Cluster, from *routing.Listener, peer *message.Peer) (via *upstream.Cluster, told message.Hop, to routing.ClusterName) {
	by, straight := l.next(c, from, peer)
	switch {
	case straight && c.Spreads():
		return c, telling(from, peer), "" // what is asked for, aim says
	case straight:
		return c, message.Hop{}, ""
	}
	if from.Shared() && slices.ContainsFunc(l.proxy.snap.Load().Waypoints(), c.Spec().Hop.Serves) {
		return nil, message.Hop{}, by.Cluster // where policy is, at a door of its own, or nowhere
	}
	told = telling(from, peer)
	if told.Target, told.Within = by.Authority, by.Within; told.Target == "" {
		told.Target = peer.Local.String()
	}
	return l.cluster(by.Cluster), told, by.Cluster
}

// telling is what a gateway is told of a client of a listener.
func telling(from *routing.Listener, peer *message.Peer) message.Hop {
	told := message.Hop{Client: peer.Remote}
	switch {
	case !from.Inside: // an edge speaks for those outside of the mesh
	case peer.Vouch:
		told.Source = peer.Identity
	default:
		told.Source = message.Nobody
	}
	return told
}

// aim has hop ask for what ep stands for, if that is far.
func aim(hop *message.Hop, ep *upstream.Endpoint) {
	if far := ep.Far(); far != nil {
		hop.Target, hop.Within = far.Authority, far.Within
	}
}

// next returns the gateways by which a listener reaches c, and what they are asked
// for, or that it goes straight there.
func (l *local) next(c *upstream.Cluster, from *routing.Listener, peer *message.Peer) (to routing.FarHop, straight bool) {
	hop := c.Spec().Hop
	if hop == nil {
		return to, true
	}
	home := from.Inside && hop.Serves(from.Gateway)
	switch {
	case home && hop.Canary != nil && peer.Vouch && peer.Gateway == "":
		// It comes from a workload whose own waypoint this is: nobody has chosen yet.
		gateway, cluster := l.draw(hop)
		if gateway != from.Gateway {
			return routing.FarHop{Cluster: cluster, Authority: hop.Authority}, false
		}
	case !home && (from.Inside || !hop.Inside):
		_, cluster := l.draw(hop)
		return routing.FarHop{Cluster: cluster, Authority: hop.Authority, Within: hop.Within}, false
	}
	if hop.Beyond == nil {
		return to, true
	}
	return *hop.Beyond, false
}

// unguarded says in the access log why nobody goes further, where towards returns
// nothing but to.
func unguarded(to routing.ClusterName) string {
	return cmp.Or(Absent(to), "no waypoint of the backend is there")
}

// draw chooses between the waypoint of a hop and its canary.
func (l *local) draw(hop *routing.Hop) (gateway string, cluster routing.ClusterName) {
	if k := hop.Canary; k != nil && l.below(100) < uint64(k.Percent) {
		return k.Gateway, routing.WaypointCluster(k.Gateway)
	}
	return hop.Gateway, hop.Cluster
}

// Absent says in the access log who is missing where policy is enforced: the
// gateways whose cluster is that, without which nobody gets further. It is empty
// for other clusters.
func Absent(c routing.ClusterName) string {
	gateway, ok := c.Waypoint()
	if !ok {
		return ""
	}
	if network, far := strings.CutPrefix(gateway, "~/"); far {
		return "no gateway of network " + network + " is there"
	}
	return "no pod of waypoint " + gateway + " is there"
}

// fill says in w what a waypoint is to know; inside is what the backends speak
// that are behind it.
func fill(w *upstream.Wait, hop *message.Hop, inside *upstream.Cluster) {
	w.Authority, w.Source, w.Within = hop.Target, hop.Source, hop.Within
	if hop.Target != "" {
		w.Inside = inside.Spec().Protocol
	}
}

// known are clusters by their names, as of a Snapshot: Set.Cluster is for those
// who are not on a loop.
type known struct {
	snap     *routing.Snapshot
	clusters map[routing.ClusterName]*upstream.Cluster
}

func (l *local) cluster(name routing.ClusterName) *upstream.Cluster {
	if snap := l.proxy.snap.Load(); l.known.snap != snap {
		l.known = known{snap, map[routing.ClusterName]*upstream.Cluster{}}
	}
	c, known := l.known.clusters[name]
	if !known {
		c = l.proxy.o.Clusters.Cluster(name)
		l.known.clusters[name] = c
	}
	return c
}
