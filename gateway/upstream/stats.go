package upstream

import (
	"net/netip"

	"fairway.dev/routing"
)

// A Health says whether an endpoint is used.
type Health string

const (
	Healthy   Health = "healthy"
	Returning Health = "returning" // used less than its weight, more with time
	Ejected   Health = "ejected"   // left out after failures, for a while
	Refusing  Health = "refusing"  // left out until a probe can connect
)

// ClusterStats tell how a cluster does, for /debug and metrics.
type ClusterStats struct {
	Name      routing.ClusterName
	Active    int // exchanges under way
	Pending   int // tries that wait for a connection
	Endpoints []EndpointStats
}

// EndpointStats tell how an endpoint does.
type EndpointStats struct {
	Addr        netip.AddrPort
	Workload    string
	Zone        string
	Usable      bool // the cluster sends to it while it is healthy
	Health      Health
	InFlight    int // tries under way
	Connections int // open or being opened
	Ejections   int // since it came
}

// Stats returns the state of all clusters, in the order of their names. It
// takes no lock that a loop takes.
func (s *Set) Stats() []ClusterStats { return nil }
