package feed

import (
	"slices"
	"sync"
)

// A collection is a set of resources that subscribers follow. It remembers the
// order in which they last changed, so that what a subscriber has missed is
// found without a walk over the rest, and each resource is in it once, however
// often it changed.
//
// A resource is for all subscribers, or for those of one scope: then the others
// see neither it nor that it changed, and may have another one of its name.
type collection struct {
	mu      sync.RWMutex      // guards all that follows; changes are made under Lock
	entries map[string]*entry // by key
	log     []change          // by number; those that a later change has outdated are skipped
	number  uint64            // of the last change
	live    int               // entries that are there
	digest  digest            // of those that are for all
	scopes  map[string]digest
	full    int // the length at which the log is compacted
	readers map[*subscription]struct{}

	common  *collection // what subscribers may have besides; nil: none. It has no other
	follows bool        // they have
}

// An entry is a resource, or that it is gone, for those who do not know yet.
type entry struct {
	name     string
	scope    string // empty: for all
	changed  uint64
	resource *resource // nil: gone
}

// A change is a place in the log.
type change struct {
	number uint64
	entry  *entry
}

func newCollection() *collection {
	return &collection{entries: map[string]*entry{}, full: 64, scopes: map[string]digest{}, readers: map[*subscription]struct{}{}}
}

// keyOf is where a resource of a scope is among the entries. Names begin with
// their kind, and have no space.
func keyOf(scope, name string) string {
	if scope == "" {
		return name
	}
	return scope + " " + name
}

// put puts a resource for all in the place of the one of its name. One of the
// same version changes nothing.
func (c *collection) put(r *resource) { c.putFor("", r) }

// putFor does so with a resource for a scope.
func (c *collection) putFor(scope string, r *resource) {
	key := keyOf(scope, r.message.Name)
	e := c.entries[key]
	switch {
	case e == nil:
		e = &entry{name: r.message.Name, scope: scope}
		c.entries[key] = e
		c.live++
	case e.resource == nil:
		c.live++
	case e.resource.version() == r.version():
		return
	default:
		c.sum(scope, c.of(scope).minus(e.resource.digest))
	}
	e.resource = r
	c.sum(scope, c.of(scope).plus(r.digest))
	c.record(e)
}

// remove takes a resource for all out.
func (c *collection) remove(name string) { c.removeFor("", name) }

// removeFor takes out one for a scope.
func (c *collection) removeFor(scope, name string) {
	e := c.entries[keyOf(scope, name)]
	if e == nil || e.resource == nil {
		return
	}
	c.sum(scope, c.of(scope).minus(e.resource.digest))
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
		known = min(known, *s.cursorIn(c))
	}
	c.log = slices.DeleteFunc(c.log, func(l change) bool {
		if l.entry.changed != l.number {
			return true
		}
		if l.entry.resource == nil && l.number <= known {
			delete(c.entries, keyOf(l.entry.scope, l.entry.name))
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

// of returns the digest of what is for a scope alone, or for all.
func (c *collection) of(scope string) digest {
	if scope == "" {
		return c.digest
	}
	return c.scopes[scope]
}

func (c *collection) sum(scope string, d digest) {
	switch {
	case scope == "":
		c.digest = d
	case d == digest{}:
		delete(c.scopes, scope)
	default:
		c.scopes[scope] = d
	}
}

// followed returns what subscribers have besides, or nil.
func (c *collection) followed() *collection {
	if c.follows {
		return c.common
	}
	return nil
}

// digestFor returns the digest of all that a subscriber of a scope sees.
func (c *collection) digestFor(scope string) digest {
	sum := c.digest.plus(c.scopes[scope])
	if common := c.followed(); common != nil {
		sum = sum.plus(common.digest)
	}
	return sum
}

// current returns a resource for all, or nil.
func (c *collection) current(name string) *resource {
	if e := c.entries[name]; e != nil && e.resource != nil {
		return e.resource
	}
	if common := c.followed(); common != nil {
		return common.current(name)
	}
	return nil
}

// currentFor returns what a subscriber of a scope sees of a name.
func (c *collection) currentFor(scope, name string) *resource {
	if r := c.current(name); r != nil || scope == "" {
		return r
	}
	return c.current(keyOf(scope, name))
}

// join adds a reader. It is woken by every change from now on.
func (c *collection) join(s *subscription) {
	if c.common != nil {
		c.common.mu.Lock()
		defer c.common.mu.Unlock()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.readers[s] = struct{}{}
	if common := c.followed(); common != nil {
		common.readers[s] = struct{}{}
	}
}

func (c *collection) leave(s *subscription) {
	if c.common != nil {
		c.common.mu.Lock()
		defer c.common.mu.Unlock()
		delete(c.common.readers, s)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.readers, s)
}

// hold locks the collection, and what subscribers have besides, for reading: that
// one first, as whoever changes them does.
func (c *collection) hold() {
	if c.common != nil {
		c.common.mu.RLock()
	}
	c.mu.RLock()
}

// release ends hold.
func (c *collection) release() {
	c.mu.RUnlock()
	if c.common != nil {
		c.common.mu.RUnlock()
	}
}

// wake is called without the lock, after changes.
func (c *collection) wake() {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for s := range c.readers {
		s.wake()
	}
}
