package dialect

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"

	"fairway.dev/routing"
)

// A Sheet works as a spreadsheet does: a cell holds the result of a formula
// and knows which cells its formula read. When an object changes, the formulas
// that read it run again; where a result comes out as before, nothing that
// reads it runs.
//
// Kinds of cells are ranked: a formula reads only kinds before its own, so one
// pass over the ranks settles everything, and each formula runs at most once.
// It belongs to one goroutine at a time.
type Sheet struct {
	get     func(routing.ObjectKey) any
	plants  map[string][]func(routing.ObjectKey) []ID // by kind of object
	columns map[Kind]*column
	ranks   []*column // in their order
	cells   map[ID]*cell
	idle    []*cell // to be dropped at the end, if nobody reads them then
	rank    Kind
	stamp   uint64
	out     output
	trace   func(ID)
}

// A column is what all cells of a kind have in common.
type column struct {
	kind    Kind
	formula Formula
	settle  func()
	watch   func(ID, any)
	due     []*cell
}

// A Formula makes what a cell holds. It reads nothing but through the Reading.
type Formula func(*Reading) Outcome

// NewSheet returns a Sheet without formulas, of a world that get reads: it
// returns the object, which never changes, or nil.
func NewSheet(get func(routing.ObjectKey) any) *Sheet {
	return &Sheet{get: get, plants: map[string][]func(routing.ObjectKey) []ID{}, columns: map[Kind]*column{}, cells: map[ID]*cell{}, out: output{delta: &routing.Delta{}}}
}

// Define sets the formula of a kind. All are defined before the first Update.
func (s *Sheet) Define(kind Kind, f Formula) { s.column(kind).formula = f }

// Plant says which cells an object of a kind has for itself: they stay until
// their formulas say that they are gone. Objects of other kinds are read when
// somebody names them.
func (s *Sheet) Plant(kind string, cells func(routing.ObjectKey) []ID) {
	s.plants[kind] = append(s.plants[kind], cells)
}

// Settle has f run before the cells of a kind do, in each Update.
func (s *Sheet) Settle(kind Kind, f func()) { s.column(kind).settle = f }

// Watch tells f of each new value of a kind, before the next rank runs.
func (s *Sheet) Watch(kind Kind, f func(c ID, value any)) { s.column(kind).watch = f }

func (s *Sheet) column(kind Kind) *column {
	c := s.columns[kind]
	if c == nil {
		c = &column{kind: kind}
		s.columns[kind] = c
		s.ranks = append(s.ranks, c)
		slices.SortFunc(s.ranks, func(a, b *column) int { return cmp.Compare(a.kind, b.kind) })
	}
	return c
}

// A Kind says which formula a cell has. Its rank is its number: the upper byte is
// a stage, the lower one the kind's own in that stage. Formulas read only what
// has a lower rank.
type Kind uint16

// Stages are the upper bytes of kinds, so that dialects can be between each
// other: what a dialect reads of another belongs to an earlier stage, or to
// the same one under a lower number. Of each stage the numbers below 128 are
// gatewayapi's, the others istio's.
const (
	ObjectKind Kind = 0 // an object of the world; Part is its kind

	Bags      Kind = 1 << 8 // hold what cells of a lower rank than their readers have given them
	Parsed    Kind = 2 << 8 // what objects ask for, each by itself
	Backends  Kind = 3 << 8 // clusters and endpoints
	Listeners Kind = 4 << 8
	Routes    Kind = 5 << 8
	Verdicts  Kind = 6 << 8 // reports of what came of the others
)

// IstioKinds is the first number of a stage that is istio's.
const IstioKinds Kind = 128

// An ID names a cell. Cells of one kind use as much of it as they need.
type ID struct {
	Kind           Kind
	NS, Name, Part string
}

// A cell is a result and how it hangs together with others.
type cell struct {
	id      ID
	now     Outcome
	bag     *bag // of bags
	reads   []*cell
	readers []*cell
	stamp   uint64
	root    bool // is kept though nobody reads it
	due     bool
	fresh   bool // has not run yet
}

// An Outcome is what a formula makes. Nothing in it changes afterwards.
type Outcome struct {
	Value  any     // for the formulas that read the cell
	Parts  []any   // for the Spec: pointers to its parts
	Report *Report // for people
	Gifts  []Gift  // for bags
	Gone   bool    // the object that the cell is for is no more
}

// A Gift is an item, comparable, for a bag.
type Gift struct {
	To   ID
	Item any
}

// A bag holds what cells have given it. What is Ordered is found in order, so
// that whoever wants the first of many need not look at the others.
type bag struct {
	items map[any]int // and how many gave each
	order []Ordered
}

// An Ordered item comes before others of its bag, or after them.
type Ordered interface{ Before(Ordered) bool }

// A Reading is one run of a formula: what is read through it is what the cell
// depends on.
type Reading struct {
	s       *Sheet
	ID      ID
	Planted bool // the cell is there for an object, not only for its readers
	reads   []*cell
}

func objectID(k routing.ObjectKey) ID {
	return ID{Kind: ObjectKind, NS: k.Namespace, Name: k.Name, Part: k.Kind}
}

// Object returns an object of the world, or nil.
func Object[T any](r *Reading, kind, ns, name string) *T {
	k := routing.ObjectKey{Kind: kind, Namespace: ns, Name: name}
	r.reads = append(r.reads, r.s.cell(objectID(k)))
	o, _ := r.s.get(k).(*T)
	return o
}

// Get returns an object of the world of any type, or nil.
func (r *Reading) Get(k routing.ObjectKey) any {
	r.reads = append(r.reads, r.s.cell(objectID(k)))
	return r.s.get(k)
}

// Value returns the Value of another cell, which is made if it is not there.
func (r *Reading) Value(id ID) any {
	c := r.s.cell(id)
	if c.fresh {
		r.s.run(c)
	}
	if c.due {
		panic("bug: a cell is read before it has run again")
	}
	r.reads = append(r.reads, c)
	return c.now.Value
}

// Bag returns the items in a Bag. The caller does not change it.
func (r *Reading) Bag(id ID) map[any]int {
	c := r.s.cell(id)
	r.reads = append(r.reads, c)
	if c.bag == nil {
		return nil
	}
	return c.bag.items
}

// Order returns the Ordered items in a bag. The caller does not change it.
func (r *Reading) Order(id ID) []Ordered {
	c := r.s.cell(id)
	r.reads = append(r.reads, c)
	if c.bag == nil {
		return nil
	}
	return c.bag.order
}

func (s *Sheet) cell(id ID) *cell {
	c := s.cells[id]
	if c == nil {
		c = &cell{id: id, fresh: id.Kind >= Parsed}
		s.cells[id] = c
		s.idle = append(s.idle, c)
	}
	return c
}

// keep makes a cell that stays until its formula says that it is gone.
func (s *Sheet) keep(id ID) {
	if c := s.cell(id); !c.root {
		c.root = true
		s.enqueue(c)
	}
}

// Enqueue has a cell run again in this Update, if there is such a cell.
func (s *Sheet) Enqueue(id ID) {
	if c := s.cells[id]; c != nil {
		s.enqueue(c)
	}
}

// Reads reports whether any formula has read an object.
func (s *Sheet) Reads(k routing.ObjectKey) bool {
	c := s.cells[objectID(k)]
	return c != nil && len(c.readers) > 0
}

// Trace tells f of each formula that runs.
func (s *Sheet) Trace(f func(ID)) { s.trace = f }

// Cells describes all cells, in no order: what is remembered, for tests that
// hold that no history leaves more behind than another.
func (s *Sheet) Cells() []string {
	var lines []string
	for id, c := range s.cells {
		lines = append(lines, fmt.Sprintf("cell %v read by %d, reads %d, bag %v", id, len(c.readers), len(c.reads), c.bag))
	}
	return lines
}

// touch says that an object changed.
func (s *Sheet) touch(k routing.ObjectKey) {
	if c := s.cells[objectID(k)]; c != nil {
		s.enqueueReaders(c)
	}
}

func (s *Sheet) enqueue(c *cell) {
	if c.due {
		return
	}
	if c.id.Kind < s.rank {
		panic("bug: a cell is due after its rank has run")
	}
	c.due = true
	of := s.columns[c.id.Kind]
	of.due = append(of.due, c)
}

func (s *Sheet) enqueueReaders(c *cell) {
	for _, r := range c.readers {
		s.enqueue(r)
	}
}

// Update calculates what the changed objects touch: added, edited and removed
// ones alike. The first call names all objects that there are, and each later
// one all that have changed since. It returns what changed in the Spec, and the
// Reports that read differently from before, both in the order of names.
func (s *Sheet) Update(changed []routing.ObjectKey) (*routing.Delta, []Report) {
	for _, k := range changed {
		s.touch(k)
		plants := s.plants[k.Kind]
		if len(plants) == 0 || s.get(k) == nil {
			continue
		}
		for _, cells := range plants {
			for _, id := range cells(k) {
				s.keep(id)
			}
		}
	}
	s.recalculate()
	return s.out.take()
}

// recalculate runs what is due, and drops what nobody reads any longer.
func (s *Sheet) recalculate() {
	for _, of := range s.ranks {
		s.rank = of.kind
		if of.settle != nil {
			of.settle()
		}
		for i := 0; i < len(of.due); i++ {
			if c := of.due[i]; c.due {
				s.run(c)
			}
		}
		of.due = of.due[:0]
	}
	s.rank = 0
	for len(s.idle) > 0 {
		c := s.idle[len(s.idle)-1]
		s.idle = s.idle[:len(s.idle)-1]
		s.drop(c)
	}
}

// run runs a cell's formula and passes on what came out differently.
func (s *Sheet) run(c *cell) {
	c.due, c.fresh = false, false
	r := &Reading{s: s, ID: c.id, Planted: c.root}
	if s.trace != nil {
		s.trace(c.id)
	}
	of := s.columns[c.id.Kind]
	next := of.formula(r)
	s.rewire(c, r.reads)

	was := c.now
	if reflect.DeepEqual(was.Value, next.Value) {
		next.Value = was.Value
	} else {
		if of.watch != nil {
			of.watch(c.id, next.Value)
		}
		s.enqueueReaders(c)
	}
	next.Parts = s.out.parts(was.Parts, next.Parts)
	if reflect.DeepEqual(was.Report, next.Report) {
		next.Report = was.Report
	} else {
		s.out.report(was.Report, next.Report)
	}
	if !slices.Equal(was.Gifts, next.Gifts) {
		s.give(was.Gifts, -1)
		s.give(next.Gifts, +1)
	}
	c.now = next
	if next.Gone {
		c.root = false
		s.idle = append(s.idle, c)
	}
}

// rewire replaces what a cell reads. A stamp tells in one pass what was there
// before and what is there now; one cell may have many readers.
func (s *Sheet) rewire(c *cell, reads []*cell) {
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
func (s *Sheet) unread(from, reader *cell) {
	i := slices.Index(from.readers, reader)
	last := len(from.readers) - 1
	from.readers[i] = from.readers[last]
	from.readers[last] = nil
	from.readers = from.readers[:last]
	if last == 0 {
		s.idle = append(s.idle, from)
	}
}

// give puts Gifts into their bags, or with -1 takes them out. A bag that comes
// out as before the run costs its readers a run, which then changes nothing.
func (s *Sheet) give(Gifts []Gift, n int) {
	for _, g := range Gifts {
		b := s.cell(g.To)
		if b.bag == nil {
			b.bag = &bag{items: map[any]int{}}
		}
		b.bag.add(g.Item, n)
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
	o, ok := item.(Ordered)
	if !ok || was != 0 && was+n != 0 {
		return
	}
	i, found := slices.BinarySearchFunc(b.order, o, func(a, b Ordered) int {
		switch {
		case a == b:
			return 0
		case a.Before(b):
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
func (s *Sheet) drop(c *cell) {
	if c.root || len(c.readers) > 0 || c.bag != nil || s.cells[c.id] != c {
		return
	}
	if len(c.now.Gifts) > 0 {
		panic("bug: a cell is dropped while its Gifts are in use")
	}
	delete(s.cells, c.id)
	for _, from := range c.reads {
		s.unread(from, c)
	}
	s.out.parts(c.now.Parts, nil)
	s.out.report(c.now.Report, nil)
}
