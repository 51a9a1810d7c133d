package upstream

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"fairway.dev/routing"
)

// A Set is all clusters of the process, shared by all loops. Its methods may
// be called by any goroutine.
type Set struct {
	o     Options
	epoch time.Time // what instants count from
	picks []chooser // by loop
	desks []desk    // the same

	mu       sync.Mutex // guards changes; no loop takes it
	at       *Place     // never changes: another takes its place
	clusters map[routing.ClusterName]*Cluster
	early    map[routing.ClusterName]*routing.Endpoints // of clusters that are yet to come
}

// NewSet returns an empty Set.
func NewSet(o Options) *Set {
	if o.Dial == nil {
		o.Dial = dialLoop
	}
	if o.Forbidden != nil {
		o.Dial = guarded(o.Dial, o.Forbidden)
	}
	if o.NewClient == nil {
		o.NewClient = o.newClient
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Set{
		o: o, epoch: o.Now(), at: &o.Place, picks: make([]chooser, len(o.Loops)), desks: make([]desk, len(o.Loops)),
		clusters: map[routing.ClusterName]*Cluster{},
		early:    map[routing.ClusterName]*routing.Endpoints{},
	}
	for i := range s.picks {
		s.picks[i].rng.Seed(rand.Uint64(), rand.Uint64())
	}
	return s
}

// Put creates or changes a cluster. Endpoints, their health and connections
// stay; connections made with another TLS or protocol than c asks for are
// drained.
func (s *Set) Put(c *routing.Cluster) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if known := s.clusters[c.Name]; known != nil {
		known.configure(c)
		return
	}
	created := newCluster(s, c)
	s.clusters[c.Name] = created
	if e := s.early[c.Name]; e != nil {
		delete(s.early, c.Name)
		created.putEndpoints(e.List)
	}
}

// PutEndpoints replaces a cluster's endpoints. Those whose address stays keep
// health and connections; the others' connections are drained: what is under
// way on them ends in its own time. Endpoints may come before their cluster.
func (s *Set) PutEndpoints(e *routing.Endpoints) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.clusters[e.Cluster]; c != nil {
		c.putEndpoints(e.List)
		return
	}
	s.early[e.Cluster] = e
}

// Remove takes a cluster and its endpoints out and drains it. Who still holds
// it may use it to the end of the exchange.
func (s *Set) Remove(name routing.ClusterName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.early, name)
	c := s.clusters[name]
	if c == nil {
		return
	}
	delete(s.clusters, name)
	c.removed = true
	c.unfollow()
	for host, h := range c.asked {
		c.forgetHost(host, h)
	}
	c.retire(c.view.Load().endpoints())
}

// DrainMesh has the connections to endpoints of the mesh end with the last request
// that they carry, and others be made for those to come: for a gateway whose
// certificate, or whose trust, is another. Streams go on.
func (s *Set) DrainMesh() {
	for _, c := range s.all() {
		c.eachPool(slices.DeleteFunc(c.view.Load().endpoints(), func(ep *Endpoint) bool { return !ep.Meshed() }), (*pool).drain)
	}
}

// Cluster returns a cluster, nil where there is none. It stays the same while
// the name is not removed: callers keep it.
func (s *Set) Cluster(name routing.ClusterName) *Cluster {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clusters[name]
}

// all returns the clusters in the order of their names.
func (s *Set) all() []*Cluster {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*Cluster, 0, len(s.clusters))
	for _, c := range s.clusters {
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b *Cluster) int { return cmp.Compare(a.name, b.name) })
	return list
}

// An instant is a time in nanoseconds since the Set's epoch: it compares in
// one instruction and is kept in atomics.
type instant = int64

func (s *Set) instant(t time.Time) instant { return int64(t.Sub(s.epoch)) }
