package feed

// What gateways have in common through which workloads call, doors at which they
// reach all that is enrolled and what these lead to, is in one view, for all of
// their pods: with a hundred waypoints and five thousand Services, lists in each
// view would be most of what control holds. A view that follows it has nothing of
// its own that is there, so that the digests of the two add up.

// follow has the subscribers have what is in the common collection, or no longer.
// It is called with both locks.
func (c *collection) follow(on bool) {
	c.follows = on
	c.number++ // there is something to look at, though nothing of it has changed
	for s := range c.readers {
		if s.commonCursor = 0; on {
			c.common.readers[s] = struct{}{}
		} else {
			delete(c.common.readers, s)
		}
	}
	if on {
		return
	}
	for name := range c.common.entries { // is gone, but for what comes back
		e := c.entries[name]
		if e == nil {
			e = &entry{name: name}
			c.entries[name] = e
		}
		if e.resource == nil {
			c.record(e)
		}
	}
}

// calls counts an HBONE listener of a view whose Gateway workloads call through,
// or one less.
func (w *world) calls(v *view, n int) {
	before := v.callers
	v.callers += n
	if (before > 0) == (v.callers > 0) {
		return
	}
	w.touch(v)
	v.follow(v.callers > 0)
	for name := range w.views.common.entries {
		if n := w.nodes[name]; n != nil && n.common && n.heldBy(v) {
			w.show(v, n)
		}
	}
}

// inCommon notes that the common view has a node, or no longer: then the views
// that follow it have none, or one, of their own.
func (w *world) inCommon(n *node, is bool) {
	n.common = is
	for _, h := range n.holders {
		if h.view.follows {
			w.show(h.view, n)
		}
	}
}
