package upstream

import (
	"sync"

	"fairway.dev/routing"
)

// A Set is all clusters of the process, shared by all loops. Its methods may
// be called by any goroutine.
type Set struct {
	o  Options
	mu sync.Mutex // guards changes
	m  map[routing.ClusterName]*Cluster
}

// NewSet returns an empty Set.
func NewSet(o Options) *Set { return &Set{o: o, m: map[routing.ClusterName]*Cluster{}} }

// Put creates or changes a cluster. Endpoints, their health and connections
// stay; connections made with another TLS or protocol than c asks for are
// drained.
func (s *Set) Put(c *routing.Cluster) {}

// PutEndpoints replaces a cluster's endpoints. Those whose address stays keep
// health and connections; the others' connections are drained: what is under
// way on them ends in its own time.
func (s *Set) PutEndpoints(e *routing.Endpoints) {}

// Remove takes a cluster out and drains it. Who still holds it may use it to
// the end of the exchange.
func (s *Set) Remove(name routing.ClusterName) {}

// Cluster returns a cluster, nil where there is none. It stays the same while
// the name is not removed: callers keep it.
func (s *Set) Cluster(name routing.ClusterName) *Cluster {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.m[name]
}
