package upstream

import (
	"sync/atomic"
	"time"

	"fairway.dev/gateway/loop"
	"fairway.dev/routing"
)

// A budget is a routing.RetryBudget with what has been sent under it. Each
// loop counts its own, without a lock; they are added up where a retry is
// asked for, which is seldom. So loops that ask at the same moment may pass it
// by one retry each.
type budget struct {
	spec  routing.RetryBudget
	loops []budgetCounts
}

type budgetCounts struct {
	requests window // retries among them
	retries  window
	least    window // retries, over the spec's LeastInterval
	_        [64]byte
}

// newBudget returns the budget that c asks for: old where it is the same, with
// what it has counted.
func (s *Set) newBudget(c *routing.Cluster, old *budget) *budget {
	switch {
	case c.Retries == nil:
		return nil
	case old != nil && old.spec == *c.Retries:
		return old
	}
	b := &budget{spec: *c.Retries, loops: make([]budgetCounts, len(s.o.Loops))}
	for i := range b.loops {
		n := &b.loops[i]
		n.requests.width = slotWidth(b.spec.Interval)
		n.retries.width = n.requests.width
		n.least.width = slotWidth(b.spec.LeastInterval)
	}
	return b
}

// request counts a request that is no retry.
func (b *budget) request(loop int, now instant) { b.loops[loop].requests.add(now) }

// retry counts a retry, if there may be another.
func (b *budget) retry(loop int, now instant) bool {
	var requests, retries, least int
	for i := range b.loops {
		c := &b.loops[i]
		requests += c.requests.sum(now)
		retries += c.retries.sum(now)
		least += c.least.sum(now)
	}
	if (retries+1)*100 > (requests+1)*b.spec.Percent && least >= b.spec.Least {
		return false
	}
	c := &b.loops[loop]
	c.requests.add(now)
	c.retries.add(now)
	c.least.add(now)
	return true
}

// windowSlots is how many parts a window moves on in.
const windowSlots = 10

// A window counts what happened in the time before now, to a tenth of it. One
// loop adds, any may sum.
type window struct {
	width instant // of a slot
	// slots hold the number of the slot's time in the upper half, and the
	// count in the lower one.
	slots [windowSlots]atomic.Uint64
}

func slotWidth(d time.Duration) instant { return max(1, instant(d)/windowSlots) }

// at is the number of the time that now is in.
func (w *window) at(now instant) uint32 { return uint32(now / w.width) }

func (w *window) add(now instant) {
	at := w.at(now)
	slot := &w.slots[at%windowSlots]
	count := slot.Load()
	if uint32(count>>32) != at {
		count = uint64(at) << 32
	}
	slot.Store(count + 1)
}

func (w *window) sum(now instant) int {
	at, n := w.at(now), 0
	for i := range w.slots {
		count := w.slots[i].Load()
		if age := at - uint32(count>>32); age < windowSlots {
			n += int(uint32(count))
		}
	}
	return n
}

// CountRequest counts a request that is about to have its first try, on l,
// for the cluster's retry budget, if it has one.
func (c *Cluster) CountRequest(l *loop.Loop) {
	if b := c.view.Load().config.budget; b != nil {
		b.request(l.Index(), c.set.instant(l.Now()))
	}
}

// SpendRetry counts one more try of a request, on l, if the cluster's retry
// budget lets it through. It has none where budgeted is false.
func (c *Cluster) SpendRetry(l *loop.Loop) (ok, budgeted bool) {
	b := c.view.Load().config.budget
	if b == nil {
		return false, false
	}
	return b.retry(l.Index(), c.set.instant(l.Now())), true
}
