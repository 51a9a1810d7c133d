package istio

import (
	"math/rand/v2"
	"slices"
	"testing"

	"fairway.dev/routing"
)

// Edits that are joined come to the same as one after the other: on any field,
// whatever it was.
func TestEditsThatAreJoined(t *testing.T) {
	for seed := range uint64(500) {
		d := dice{rand.New(rand.NewPCG(seed, 3))}
		first, next := d.edits(), d.edits()
		for _, had := range [][]string{nil, {"old"}, {"old", "older"}} {
			want := next.apply(first.apply(had))
			if got := changed(first.then(next).change(), had); !slices.Equal(got, want) {
				t.Errorf("seed %d: %v then %v make %q of %q, want %q", seed, first, next, got, had, want)
			}
			want = had // in one list of Envoy's all is removed, then set, then added
			for _, step := range []func(fieldEdit) fieldEdit{
				func(f fieldEdit) fieldEdit { return fieldEdit{drop: f.drop} },
				func(f fieldEdit) fieldEdit { return fieldEdit{set: f.set} },
				func(f fieldEdit) fieldEdit { return fieldEdit{added: f.added} },
			} {
				want = fieldEdits{"x": step(next["x"])}.apply(fieldEdits{"x": step(first["x"])}.apply(want))
			}
			if got := changed(first.beside(next).change(), had); !slices.Equal(got, want) {
				t.Errorf("seed %d: %v beside %v make %q of %q, want %q", seed, first, next, got, had, want)
			}
		}
	}
}

// edits are of one field, "x": removed, set, and added to.
func (d dice) edits() fieldEdits {
	var f fieldEdit
	switch d.IntN(4) {
	case 0:
		f.drop = true
	case 1:
		f.drop, f.set = d.IntN(2) == 0, []string{pick(d, "a", "b")}
	case 2:
	default:
		return fieldEdits{}
	}
	for range d.IntN(2) {
		f.added = append(f.added, pick(d, "c", "d"))
	}
	if !f.replaces() && len(f.added) == 0 {
		return fieldEdits{}
	}
	f.name = "X"
	return fieldEdits{"x": f}
}

// apply edits the values of the field.
func (e fieldEdits) apply(values []string) []string {
	if e["x"].replaces() {
		values = nil
	}
	return slices.Concat(values, e["x"].set, e["x"].added)
}

// changed does what a HeaderChange says: set, add, remove, in that order.
func changed(c routing.HeaderChange, values []string) []string {
	for _, h := range c.Set {
		values = []string{h.Value}
	}
	for _, h := range c.Add {
		values = slices.Concat(values, []string{h.Value})
	}
	if len(c.Remove) > 0 {
		values = nil
	}
	return values
}
