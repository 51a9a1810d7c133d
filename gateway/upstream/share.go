package upstream

import (
	"slices"
	"sync"
	"sync/atomic"
)

// The limits of connections, to an endpoint and to all of a cluster, hold over
// all pools, and each has connections of its own. So a pool that may open none,
// and has none that would become free, starves until another gives one up: its
// place passes on.

// keepWhileOthersStarve is how many exchanges a pool's connections serve its
// own tries, once another pool starves, before one of them is given up.
const keepWhileOthersStarve = 32

// places are how many connections there are, open or being opened, to an
// endpoint or a cluster, and the pools that starve for one.
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

// leave gives a place back, or rather to who starves for one.
func (s *places) leave(limit int64) {
	s.taken.Add(-1)
	// Looking for who starves comes after: see reserve for the other order.
	for s.starved.Load() > 0 && s.take(limit) {
		if next := s.next(); next != nil {
			next.loop.Post(func() { next.inherit(s) })
			return
		}
		s.taken.Add(-1)
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

// A bound is places and how many of them there may be.
type bound struct {
	places *places
	limit  int64
}

// bounds returns where a connection of the pool takes a place.
func (p *pool) bounds() [2]bound {
	cfg := p.config()
	return [2]bound{{&p.endpoint.places, cfg.connections}, {&p.endpoint.cluster.places, cfg.allConnections}}
}

// takePlaces takes all places that a connection needs. Where it cannot it has
// none, and returns what is full.
func (p *pool) takePlaces() (full *places) {
	b := p.bounds()
	if !b[0].places.take(b[0].limit) {
		return b[0].places
	}
	if !b[1].places.take(b[1].limit) {
		b[0].places.leave(b[0].limit)
		return b[1].places
	}
	return nil
}

// reserve takes the places of a connection that is about to be opened.
func (p *pool) reserve() bool {
	full := p.takePlaces()
	if full != nil && len(p.conns)+len(p.dials) > 0 {
		return false
	}
	for full != nil && full != p.starving {
		p.fed()
		p.starving = full
		full.enqueue(p)
		full = p.takePlaces() // one was given up before we stood in the queue
	}
	if full == nil {
		p.fed()
		return true
	}
	p.beg()
	return false
}

// beg has other pools give up a connection that they do not use.
func (p *pool) beg() {
	c := p.endpoint.cluster
	eps := []*Endpoint{p.endpoint}
	if p.starving == &c.places {
		eps = c.view.Load().endpoints()
	}
	c.eachPool(eps, func(q *pool) {
		if q != p {
			q.giveUp()
		}
	})
}

// vacate gives up the places of a connection that is gone, or was not made.
func (p *pool) vacate() {
	for _, b := range p.bounds() {
		b.places.leave(b.limit)
	}
}

// inherit takes over a place from another pool, for who waits.
func (p *pool) inherit(from *places) {
	p.fed()
	mine, other := p.bounds()[0], p.bounds()[1]
	if from == other.places {
		mine, other = other, mine
	}
	if len(p.dials) < p.needed() && other.places.take(other.limit) {
		p.dial()
		return
	}
	mine.places.leave(mine.limit)
	p.grow()
}

// fed tells that the pool starves no more.
func (p *pool) fed() {
	if p.starving != nil {
		p.starving.dequeue(p)
		p.starving = nil
	}
}

// owes reports whether the connection that has just become free is to be
// given up for another pool.
func (p *pool) owes() bool {
	if p.endpoint.places.starved.Load() == 0 && p.endpoint.cluster.places.starved.Load() == 0 {
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
