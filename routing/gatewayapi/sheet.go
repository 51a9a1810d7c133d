package gatewayapi

import (
	"reflect"
	"slices"

	"fairway.dev/routing"
)

// A sheet works as a spreadsheet does: a cell holds the result of a formula
// and knows which cells its formula read. When an object changes, the formulas
// that read it run again; where a result comes out as before, nothing that
// reads it runs.
//
// Kinds of cells are ranked: a formula reads only kinds before its own, so one
// pass over the ranks settles everything, and each formula runs at most once.
type sheet struct {
	formula func(*reading) outcome
	get     func(routing.ObjectKey) any
	// changed is told of each new value, before the next rank runs.
	changed func(c cellID, value any)
	// settle, if not nil, runs before the cells of a rank do.
	settle func(rank cellKind)

	cells map[cellID]*cell
	due   [cellKinds][]*cell
	idle  []*cell // to be dropped at the end, if nobody reads them then
	rank  cellKind
	stamp uint64
	out   output
}

// A cellKind says which formula a cell has, and its rank.
type cellKind uint8

const (
	objectCell cellKind = iota // an object of the world; part is its kind

	// Bags hold what cells of a lower rank than their readers have given them.
	grantsIn          // the ReferenceGrants of a namespace
	slicesOf          // the EndpointSlices of a Service
	policiesOn        // the BackendTLSPolicies that target a Service
	trafficPoliciesOn // the XBackendTrafficPolicies that target a Service
	stakesIn          // the objects with listeners on a port of a Gateway, in order of rank
	bidsFor           // the listeners that want a hostname on a port of a Gateway
	bidsUnder         // of the TLS ones, those that a wider hostname would cover
	claimsOn          // the Gateways that want a port, or a hostname on it
	routesAt          // the listeners of a holder, as often as a route is attached
	setsOf            // of a Gateway: what its ListenerSets let it count
	usersOf           // the Gateways that send requests to a Service

	classCell              // GatewayClass
	grantCell              // ReferenceGrant
	permitCell             // may one kind in a namespace name an object in another
	sliceCell              // EndpointSlice
	keyPairCell            // Secret
	policyCell             // BackendTLSPolicy: what it asks for
	policyOrderCell        // of a Service: which policy counts for which port
	trafficPolicyCell      // XBackendTrafficPolicy: what it asks for
	serviceCell            // Service: its annotations, and the policies on it
	endpointsCell          // of a cluster
	clusterCell            // a cluster: Service, port, mark
	backendCell            // what a backendRef comes to
	gatewayCell            // Gateway: what stands in it
	frameCell              // of a Gateway: what holds for all its listeners
	validationCell         // of a Gateway: how clients are checked, by port
	identityCell           // of a Gateway: what it shows to backends
	setCell                // ListenerSet: what stands in it
	ownerCell              // of a Gateway: whose word on a port counts
	socketCell             // of a Gateway: what a port speaks
	hostnameCell           // of a Gateway: who has a hostname on a port
	standingCell           // of a holder: its listeners beside those of its Gateway
	portCell               // a port, or a hostname on it: which Gateway has it
	doorsCell              // of a holder: what matters to routes
	listenersCell          // of a holder: what comes of them
	openCell               // of a holder: the listeners that are in force
	rulesCell              // of a route
	attachCell             // of a route: its parents
	routeCell              // a route: its part and its report
	setStateCell           // ListenerSet: its report
	gatewayStateCell       // Gateway: its report
	policyStateCell        // BackendTLSPolicy: its report
	trafficPolicyStateCell // XBackendTrafficPolicy: its report

	cellKinds
)

// A cellID names a cell. Cells of one kind use as much of it as they need.
type cellID struct {
	kind           cellKind
	ns, name, part string
}

// A cell is a result and how it hangs together with others.
type cell struct {
	id      cellID
	now     outcome
	bag     *bag // of bags
	reads   []*cell
	readers []*cell
	stamp   uint64
	root    bool // is kept though nobody reads it
	due     bool
	fresh   bool // has not run yet
}

// An outcome is what a formula makes. Nothing in it changes afterwards.
type outcome struct {
	value  any     // for the formulas that read the cell
	parts  []any   // for the Spec: pointers to its parts
	report *Report // for people
	gifts  []gift  // for bags
	gone   bool    // the object that the cell is for is no more
}

// A gift is an item, comparable, for a bag.
type gift struct {
	to   cellID
	item any
}

// A bag holds what cells have given it. What is ordered is found in order, so
// that whoever wants the first of many need not look at the others.
type bag struct {
	items map[any]int // and how many gave each
	order []ordered
}

// An ordered item comes before others of its bag, or after them.
type ordered interface{ before(ordered) bool }

// A reading is one run of a formula: what is read through it is what the cell
// depends on.
type reading struct {
	s       *sheet
	id      cellID
	planted bool // the cell is there for an object, not only for its readers
	reads   []*cell
}

func objectID(k routing.ObjectKey) cellID {
	return cellID{kind: objectCell, ns: k.Namespace, name: k.Name, part: k.Kind}
}

// object returns an object of the world, or nil.
func object[T any](r *reading, kind, ns, name string) *T {
	k := routing.ObjectKey{Kind: kind, Namespace: ns, Name: name}
	r.reads = append(r.reads, r.s.cell(objectID(k)))
	o, _ := r.s.get(k).(*T)
	return o
}

// value returns the value of another cell, which is made if it is not there.
func (r *reading) value(id cellID) any {
	c := r.s.cell(id)
	if c.fresh {
		r.s.run(c)
	}
	if c.due {
		panic("bug: a cell is read before it has run again")
	}
	r.reads = append(r.reads, c)
	return c.now.value
}

// bag returns the items in a bag. The caller does not change it.
func (r *reading) bag(id cellID) map[any]int {
	c := r.s.cell(id)
	r.reads = append(r.reads, c)
	if c.bag == nil {
		return nil
	}
	return c.bag.items
}

// order returns the ordered items in a bag. The caller does not change it.
func (r *reading) order(id cellID) []ordered {
	c := r.s.cell(id)
	r.reads = append(r.reads, c)
	if c.bag == nil {
		return nil
	}
	return c.bag.order
}

func (s *sheet) cell(id cellID) *cell {
	c := s.cells[id]
	if c == nil {
		c = &cell{id: id, fresh: id.kind >= classCell}
		s.cells[id] = c
		s.idle = append(s.idle, c)
	}
	return c
}

// plant makes a cell that stays until its formula says that it is gone.
func (s *sheet) plant(id cellID) {
	if c := s.cell(id); !c.root {
		c.root = true
		s.enqueue(c)
	}
}

// touch says that an object changed.
func (s *sheet) touch(k routing.ObjectKey) {
	if c := s.cells[objectID(k)]; c != nil {
		s.enqueueReaders(c)
	}
}

func (s *sheet) enqueue(c *cell) {
	if c.due {
		return
	}
	if c.id.kind < s.rank {
		panic("bug: a cell is due after its rank has run")
	}
	c.due = true
	s.due[c.id.kind] = append(s.due[c.id.kind], c)
}

func (s *sheet) enqueueReaders(c *cell) {
	for _, r := range c.readers {
		s.enqueue(r)
	}
}

// recalculate runs what is due, and drops what nobody reads any longer.
func (s *sheet) recalculate() {
	for s.rank = 0; s.rank < cellKinds; s.rank++ {
		if s.settle != nil {
			s.settle(s.rank)
		}
		for i := 0; i < len(s.due[s.rank]); i++ {
			if c := s.due[s.rank][i]; c.due {
				s.run(c)
			}
		}
		s.due[s.rank] = s.due[s.rank][:0]
	}
	s.rank = 0
	for len(s.idle) > 0 {
		c := s.idle[len(s.idle)-1]
		s.idle = s.idle[:len(s.idle)-1]
		s.drop(c)
	}
}

// run runs a cell's formula and passes on what came out differently.
func (s *sheet) run(c *cell) {
	c.due, c.fresh = false, false
	r := &reading{s: s, id: c.id, planted: c.root}
	next := s.formula(r)
	s.rewire(c, r.reads)

	was := c.now
	if reflect.DeepEqual(was.value, next.value) {
		next.value = was.value
	} else {
		s.changed(c.id, next.value)
		s.enqueueReaders(c)
	}
	next.parts = s.out.parts(was.parts, next.parts)
	if reflect.DeepEqual(was.report, next.report) {
		next.report = was.report
	} else {
		s.out.report(was.report, next.report)
	}
	if !slices.Equal(was.gifts, next.gifts) {
		s.give(was.gifts, -1)
		s.give(next.gifts, +1)
	}
	c.now = next
	if next.gone {
		c.root = false
		s.idle = append(s.idle, c)
	}
}

// rewire replaces what a cell reads. A stamp tells in one pass what was there
// before and what is there now; one cell may have many readers.
func (s *sheet) rewire(c *cell, reads []*cell) {
	s.stamp += 2
	before, now := s.stamp-1, s.stamp
	for _, from := range c.reads {
		from.stamp = before
	}
	kept := reads[:0]
	for _, from := range reads {
		if from.stamp == now {
			continue
		}
		if from.stamp != before {
			from.readers = append(from.readers, c)
		}
		from.stamp = now
		kept = append(kept, from)
	}
	for _, from := range c.reads {
		if from.stamp == before {
			s.unread(from, c)
		}
	}
	c.reads = append(c.reads[:0], kept...)
}

// unread takes a reader out.
func (s *sheet) unread(from, reader *cell) {
	i := slices.Index(from.readers, reader)
	last := len(from.readers) - 1
	from.readers[i] = from.readers[last]
	from.readers[last] = nil
	from.readers = from.readers[:last]
	if last == 0 {
		s.idle = append(s.idle, from)
	}
}

// give puts gifts into their bags, or with -1 takes them out. A bag that comes
// out as before the run costs its readers a run, which then changes nothing.
func (s *sheet) give(gifts []gift, n int) {
	for _, g := range gifts {
		b := s.cell(g.to)
		if b.bag == nil {
			b.bag = &bag{items: map[any]int{}}
		}
		b.bag.add(g.item, n)
		if len(b.bag.items) == 0 {
			b.bag = nil
			s.idle = append(s.idle, b)
		}
		s.enqueueReaders(b)
	}
}

func (b *bag) add(item any, n int) {
	was := b.items[item]
	if b.items[item] = was + n; was+n == 0 {
		delete(b.items, item)
	}
	o, ok := item.(ordered)
	if !ok || was != 0 && was+n != 0 {
		return
	}
	i, found := slices.BinarySearchFunc(b.order, o, func(a, b ordered) int {
		switch {
		case a == b:
			return 0
		case a.before(b):
			return -1
		}
		return 1
	})
	if found {
		b.order = slices.Delete(b.order, i, i+1)
	} else {
		b.order = slices.Insert(b.order, i, o)
	}
}

// drop forgets a cell that nobody reads.
func (s *sheet) drop(c *cell) {
	if c.root || len(c.readers) > 0 || c.bag != nil || s.cells[c.id] != c {
		return
	}
	if len(c.now.gifts) > 0 {
		panic("bug: a cell is dropped while its gifts are in use")
	}
	delete(s.cells, c.id)
	for _, from := range c.reads {
		s.unread(from, c)
	}
	s.out.parts(c.now.parts, nil)
	s.out.report(c.now.report, nil)
}
