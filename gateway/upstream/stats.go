package upstream

import (
	"maps"
	"net/netip"
	"slices"

	"fairway.dev/routing"
)

// A Health says whether an endpoint is used.
type Health string

const (
	Healthy   Health = "healthy"
	Returning Health = "returning" // takes less than its share, more with time
	Ejected   Health = "ejected"   // left out after failures, for a while
	Refusing  Health = "refusing"  // left out until a connection succeeds
	Unhealthy Health = "unhealthy" // left out until its health checks pass
)

// ClusterStats tell how a cluster does, for /debug and metrics.
type ClusterStats struct {
	Name      routing.ClusterName
	Active    int   // exchanges under way
	Pending   int   // tries that wait for a connection
	Err       error // why the cluster is closed: TLS settings that cannot work
	Endpoints []EndpointStats
}

// EndpointStats tell how an endpoint does.
type EndpointStats struct {
	Addr        netip.AddrPort
	Identity    string // who has to answer there; empty: nobody in particular
	Workload    string
	Zone        string
	Near        Nearness // comes before those that are less near
	Used        bool     // requests go to it while it is healthy
	Health      Health
	InFlight    int    // tries under way
	Connections int    // open or being opened
	Ejections   int    // since it came
	Check       string // why its last health check failed; empty: it did not
}

// Stats returns the state of all clusters, in the order of their names. It
// takes no lock that a loop takes.
func (s *Set) Stats() []ClusterStats {
	clusters := s.all()
	now := s.instant(s.o.Now())
	stats := make([]ClusterStats, len(clusters))
	for i, c := range clusters {
		stats[i] = c.stats(now)
	}
	return stats
}

func (c *Cluster) stats(now instant) ClusterStats {
	v := c.view.Load()
	list := v.stats(now)
	if known := c.hosts.Load(); known != nil {
		for _, host := range slices.Sorted(maps.Keys(*known)) {
			list = append(list, (*known)[host].view.Load().stats(now)...)
		}
	}
	return ClusterStats{
		Name: c.name, Active: int(c.active.Load()), Pending: int(c.pending.Load()),
		Err: v.config.way.err, Endpoints: list,
	}
}

func (v *view) stats(now instant) []EndpointStats {
	used := make(map[*member]bool, len(v.usable))
	for _, m := range v.usable {
		used[m] = true
	}
	list := make([]EndpointStats, len(v.all))
	for i := range v.all {
		m := &v.all[i]
		list[i] = EndpointStats{
			Addr: m.ep.addr, Identity: m.ep.who, Workload: m.spec.Workload, Zone: m.spec.Zone, Near: v.at.nearness(&m.spec), Used: used[m],
			Health:      m.ep.health.state(now),
			InFlight:    int(m.ep.inFlight.Load()),
			Connections: int(m.ep.places.taken.Load()),
			Ejections:   int(m.ep.health.total.Load()),
			Check:       m.ep.lastCheck(),
		}
	}
	return list
}

func (ep *Endpoint) lastCheck() string {
	if text := ep.checkErr.Load(); text != nil {
		return *text
	}
	return ""
}

// state is share in words. It changes nothing.
func (h *health) state(now instant) Health {
	out := h.outUntil.Load()
	switch {
	case out == forever:
		return Refusing
	case out > now:
		return Ejected
	case h.sick.Load():
		return Unhealthy
	case h.steady(now):
		return Healthy
	}
	return Returning
}
