package dialecttest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"fairway.dev/routing"
	"fairway.dev/routing/dialect"
)

// A Translator is one of a world.
type Translator interface {
	Update([]routing.ObjectKey) (*routing.Delta, []dialect.Report)
	Sheet() *dialect.Sheet
}

// History holds the law of the sheet over a history by chance, in which each
// object is one of its variants or none: the Spec, the Reports and the work
// remembered are those of a Translator that sees the objects for the first time.
func History(t *testing.T, seed uint64, steps int, variants map[routing.ObjectKey][]any, start func(World) Translator) {
	t.Helper()
	c := rand.New(rand.NewPCG(seed, 0))
	keys := slices.SortedFunc(maps.Keys(variants), routing.ObjectKey.Compare)
	w, kept := World{}, NewResult()
	tr := start(w)
	if seed%2 == 1 {
		for _, k := range keys {
			w[k] = variants[k][c.IntN(len(variants[k]))]
		}
		kept.Apply(tr.Update(w.Keys()))
	}
	for step := range steps {
		var changed []routing.ObjectKey
		for range 1 + c.IntN(12) {
			k := keys[c.IntN(len(keys))]
			if delete(w, k); c.IntN(4) > 0 {
				w[k] = variants[k][c.IntN(len(variants[k]))]
			}
			changed = append(changed, k)
		}
		kept.Apply(tr.Update(changed))
		if d, reports := tr.Update(changed); !reflect.DeepEqual(d, &routing.Delta{}) || reports != nil {
			t.Fatalf("seed %d, step %d: an Update without a change has %+v %v", seed, step, d, reports)
		}
		if step%8 == 0 || step == steps-1 {
			Fresh(t, fmt.Sprintf("seed %d, step %d, changed %v", seed, step, changed), w, tr, kept, start(w))
		}
	}
}

// Fresh compares what a history of w came to with what again, which has seen
// nothing yet, makes of it.
func Fresh(t *testing.T, at string, w World, tr Translator, kept *Result, again Translator) {
	t.Helper()
	fresh := NewResult().Apply(again.Update(w.Keys()))
	if got, want := kept.Dump(), fresh.Dump(); got != want {
		t.Fatalf("%s: %s", at, difference(got, want))
	}
	if !reflect.DeepEqual(kept.Spec, fresh.Spec) {
		t.Fatalf("%s: a difference that does not print", at)
	}
	got, want := tr.Sheet().Cells(), again.Sheet().Cells()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Fatalf("%s, cells: %s", at, difference(strings.Join(got, "\n"), strings.Join(want, "\n")))
	}
}

// difference shows the first lines that are not the same.
func difference(got, want string) string {
	a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Sprintf("line %d: kept\n%s\nfresh\n%s", i, strings.Join(a[max(i-8, 0):i+1], "\n"), strings.Join(b[max(i-8, 0):i+1], "\n"))
		}
	}
	return fmt.Sprintf("kept %d lines, fresh %d", len(a), len(b))
}
