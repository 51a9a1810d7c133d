package server

import (
	"time"

	"fairway.dev/routing"
)

// Update puts a change in force and returns why parts of what is asked for
// now are not. When it returns, every new exchange sees the change.
func (s *Server) Update(d *routing.Delta) []*routing.Problem {
	s.mu.Lock()
	defer s.mu.Unlock()
	began := time.Now()
	before := s.inForce.Load()
	snap, problems := before.snapshot.Update(d)

	s.certs.put(d)
	for _, c := range d.Clusters {
		if inForce := snap.Cluster(c.Name); inForce != nil {
			s.clusters.Put(inForce)
		}
	}
	for _, e := range d.Endpoints {
		s.clusters.PutEndpoints(e)
	}
	s.proxy.Prepare(snap)
	listeners := len(d.Listeners)+len(d.Removed.Listeners) > 0 || before.number == 0
	if listeners || len(d.Certificates)+len(d.Removed.Certificates) > 0 {
		s.certs.use(snap)
		s.options.Metrics.Config.Certificates(s.certs.store.Expiry())
	}
	s.keepPorts(before.snapshot, snap)
	s.publish(&generation{number: before.number + 1, snapshot: snap, problems: problems})
	s.recapture(before.snapshot, snap)
	if listeners {
		s.applyPorts()
		if s.opensNone(before.snapshot) != s.opensNone(snap) {
			s.renewHops()
		}
	}
	for _, name := range d.Removed.Clusters {
		if snap.Cluster(name) == nil {
			s.clusters.Remove(name)
		}
	}
	s.applied.Store(true)
	s.options.Metrics.Config.Applied(before.number+1, time.Now(), time.Since(began))
	return s.problems()
}

// keepPorts lets the connections of ports that leave keep their rules.
func (s *Server) keepPorts(before, after *routing.Snapshot) {
	for key, bind := range s.binds {
		if after.Port(key) == nil {
			bind.Keep(before)
		}
	}
	s.keepDoors(before, after)
}

// publish swaps the one pointer that exchanges load.
func (s *Server) publish(g *generation) {
	s.proxy.Publish(g.snapshot)
	s.inForce.Store(g)
}
