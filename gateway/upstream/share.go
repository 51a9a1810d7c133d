package upstream

import (
	"slices"
	"sync"
	"sync/atomic"
)

// The limit of connections to an endpoint holds over all pools, and each has
// connections of its own. So a pool that may open none, and has none that
// would become free, starves until another gives one up: its place passes on.

// keepWhileOthersStarve is how many exchanges a pool's connections serve its
// own tries, once another pool starves, before one of them is given up.
const keepWhileOthersStarve = 32

// places are how many connections to an endpoint there are, open or being
// opened, and the pools that starve for one.
type places struct {
	taken   atomic.Int64
	starved atomic.Int32 // len(queue), for a look without the lock

	mu    sync.Mutex
	queue []*pool // the first to starve first
}

// take takes a place if fewer than limit are taken.
func (s *places) take(limit int64) bool {
	for {
		n := s.taken.Load()
		if n >= limit {
			return false
		}
		if s.taken.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (s *places) enqueue(p *pool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue = append(s.queue, p)
	s.starved.Store(int32(len(s.queue)))
}

func (s *places) dequeue(p *pool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.queue, p); i >= 0 {
		s.queue = slices.Delete(s.queue, i, i+1)
		s.starved.Store(int32(len(s.queue)))
	}
}

// next takes the first pool out of the queue.
func (s *places) next() *pool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		return nil
	}
	p := s.queue[0]
	s.queue = slices.Delete(s.queue, 0, 1)
	s.starved.Store(int32(len(s.queue)))
	return p
}

// reserve takes a place for a connection that is about to be opened.
func (p *pool) reserve() bool {
	limit := p.config().connections
	places := &p.endpoint.places
	if places.take(limit) {
		p.fed()
		return true
	}
	if p.starving || len(p.conns)+len(p.dials) > 0 {
		return false
	}
	p.starving = true
	places.enqueue(p)
	if places.take(limit) { // one was given up before we stood in the queue
		p.fed()
		return true
	}
	p.endpoint.cluster.eachPool([]*Endpoint{p.endpoint}, func(q *pool) {
		if q != p {
			q.giveUp()
		}
	})
	return false
}

// vacate gives up the place of a connection that is gone, or was not made.
func (p *pool) vacate() {
	places := &p.endpoint.places
	places.taken.Add(-1)
	// Looking for who starves comes after: see reserve for the other order.
	for places.starved.Load() > 0 && places.take(p.config().connections) {
		if next := places.next(); next != nil {
			next.loop.Post(next.inherit)
			return
		}
		places.taken.Add(-1)
	}
}

// inherit takes over a place from another pool, for who waits.
func (p *pool) inherit() {
	p.starving = false
	if len(p.dials) < p.needed() {
		p.dial()
		return
	}
	p.vacate()
}

// fed tells that the pool starves no more.
func (p *pool) fed() {
	if p.starving {
		p.starving = false
		p.endpoint.places.dequeue(p)
	}
}

// owes reports whether the connection that has just become free is to be
// given up for another pool.
func (p *pool) owes() bool {
	if p.endpoint.places.starved.Load() == 0 {
		p.kept = 0
		return false
	}
	if p.waiting == 0 {
		return true
	}
	if p.kept++; p.kept < keepWhileOthersStarve {
		return false
	}
	p.kept = 0
	return true
}

// giveUp gives up a connection that nobody waits for.
func (p *pool) giveUp() {
	if len(p.free) > 0 && p.waiting == 0 {
		p.retire(p.free[0])
	}
}
