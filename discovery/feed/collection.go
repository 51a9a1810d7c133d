package feed

import (
	"slices"
	"sync"
)

// A collection is a set of resources that subscribers follow. It remembers the
// order in which they last changed, so that what a subscriber has missed is
// found without a walk over the rest, and each resource is in it once, however
// often it changed.
type collection struct {
	mu      sync.RWMutex // guards all that follows; changes are made under Lock
	entries map[string]*entry
	log     []change // by number; those that a later change has outdated are skipped
	number  uint64   // of the last change
	live    int      // entries that are there
	digest  digest   // of those
	full    int      // the length at which the log is compacted
	readers map[*subscription]struct{}
}

// An entry is a resource, or that it is gone, for those who do not know yet.
type entry struct {
	name     string
	changed  uint64
	resource *resource // nil: gone
}

// A change is a place in the log.
type change struct {
	number uint64
	entry  *entry
}

func newCollection() *collection {
	return &collection{entries: map[string]*entry{}, full: 64, readers: map[*subscription]struct{}{}}
}

// put puts a resource in the place of the one of its name. One of the same
// version changes nothing.
func (c *collection) put(r *resource) {
	name := r.message.Name
	e := c.entries[name]
	switch {
	case e == nil:
		e = &entry{name: name}
		c.entries[name] = e
		c.live++
	case e.resource == nil:
		c.live++
	case e.resource.version() == r.version():
		return
	default:
		c.digest = c.digest.minus(e.resource.digest)
	}
	e.resource = r
	c.digest = c.digest.plus(r.digest)
	c.record(e)
}

// remove takes a resource out.
func (c *collection) remove(name string) {
	e := c.entries[name]
	if e == nil || e.resource == nil {
		return
	}
	c.digest = c.digest.minus(e.resource.digest)
	e.resource = nil
	c.live--
	c.record(e)
}

func (c *collection) record(e *entry) {
	c.number++
	e.changed = c.number
	c.log = append(c.log, change{c.number, e})
	if len(c.log) >= c.full {
		c.compact()
		c.full = 2*len(c.log) + 64 // so that each change pays for a few
	}
}

// compact drops what is outdated, and forgets what is gone when everybody
// knows.
func (c *collection) compact() {
	known := c.number
	for s := range c.readers {
		known = min(known, s.cursor)
	}
	c.log = slices.DeleteFunc(c.log, func(l change) bool {
		if l.entry.changed != l.number {
			return true
		}
		if l.entry.resource == nil && l.number <= known {
			delete(c.entries, l.entry.name)
			return true
		}
		return false
	})
}

// after returns the changes with higher numbers than that.
func (c *collection) after(number uint64) []change {
	i, _ := slices.BinarySearchFunc(c.log, number+1, func(l change, n uint64) int {
		if l.number < n {
			return -1
		}
		return 1
	})
	return c.log[i:]
}

// current returns a resource, or nil.
func (c *collection) current(name string) *resource {
	if e := c.entries[name]; e != nil {
		return e.resource
	}
	return nil
}

// join adds a reader. It is woken by every change from now on.
func (c *collection) join(s *subscription) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.readers[s] = struct{}{}
}

func (c *collection) leave(s *subscription) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.readers, s)
}

// wake is called without the lock, after changes.
func (c *collection) wake() {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for s := range c.readers {
		s.wake()
	}
}
