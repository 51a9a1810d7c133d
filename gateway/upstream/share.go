package upstream

import "fairway.dev/gateway/loop"

// The limit of connections to an endpoint holds over all loops, and each loop
// has connections of its own. So a loop that may open none, and has none that
// would become free, starves until another gives one up.

// keepWhileOthersStarve is how many exchanges a loop's connections serve its
// own tries, once another loop starves, before one of them is given up.
const keepWhileOthersStarve = 32

// reserve counts a connection that is about to be opened, if the limit allows.
func (p *pool) reserve() bool {
	limit := p.config().connections
	if p.count(limit) {
		p.fed()
		return true
	}
	if p.starving || len(p.conns)+len(p.dials) > 0 {
		return false
	}
	p.starving = true
	p.endpoint.starved.Add(1)
	if p.count(limit) { // one was given up before we were counted
		p.fed()
		return true
	}
	p.others((*pool).giveUp)
	return false
}

func (p *pool) count(limit int64) bool {
	conns := &p.endpoint.conns
	for {
		n := conns.Load()
		if n >= limit {
			return false
		}
		if conns.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// forget counts a connection off that is gone, or was not made.
func (p *pool) forget() {
	p.endpoint.conns.Add(-1)
	if p.endpoint.starved.Load() > 0 {
		p.others((*pool).grow)
	}
}

// fed tells that the pool starves no more.
func (p *pool) fed() {
	if p.starving {
		p.starving = false
		p.endpoint.starved.Add(-1)
	}
}

// owes reports whether the connection that has just become free is to be
// given up for another loop.
func (p *pool) owes() bool {
	if p.endpoint.starved.Load() == 0 {
		p.kept = 0
		return false
	}
	if p.waiting == 0 && p.room == 1 {
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
	if n := len(p.free); n > 0 && p.waiting == 0 {
		p.retire(p.free[0])
	}
}

// others runs f for the endpoint's pools on other loops, each there.
func (p *pool) others(f func(*pool)) {
	ep := p.endpoint
	for i, l := range ep.cluster.set.o.Loops {
		if i != p.loop.Index() {
			postFor(l, ep, i, f)
		}
	}
}

func postFor(l *loop.Loop, ep *Endpoint, index int, f func(*pool)) {
	l.Post(func() {
		if p := ep.pools[index]; p != nil {
			f(p)
		}
	})
}
