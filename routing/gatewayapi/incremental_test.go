package gatewayapi

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"fairway.dev/routing"
)

// TestEditsComeToTheSameAsAFreshStart is the law of this package: whatever the
// history, the Spec, the Reports and the work remembered are those of
// a Translator that sees the same objects for the first time.
func TestEditsComeToTheSameAsAFreshStart(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { checkHistory(t, seed, 120) })
	}
}

func FuzzEditsComeToTheSameAsAFreshStart(f *testing.F) {
	f.Add(uint64(1), uint8(50))
	f.Add(uint64(1<<40), uint8(200))
	f.Fuzz(func(t *testing.T, seed uint64, steps uint8) { checkHistory(t, seed, int(steps)) })
}

func checkHistory(t *testing.T, seed uint64, steps int) {
	c := chance{rand.New(rand.NewPCG(seed, 0))}
	opts := Options{DefaultClass: "fairway", Isolated: c.IntN(2) == 0}
	w, kept := world{}, newResult()
	tr := New(w, opts)
	for step := range steps {
		var keys []routing.ObjectKey
		for range 1 + c.IntN(3) {
			keys = append(keys, c.edit(w))
		}
		kept.apply(tr.Update(keys))
		if d, reports := tr.Update(keys); !reflect.DeepEqual(d, &routing.Delta{}) || reports != nil {
			t.Fatalf("seed %d, step %d: an Update without a change has %+v %v", seed, step, d, reports)
		}
		if step%8 != 0 && step != steps-1 {
			continue
		}
		d, reports := New(w, opts).Update(w.keys())
		fresh := newResult().apply(d, reports)
		if got, want := kept.dump(), fresh.dump(); got != want {
			t.Fatalf("seed %d, step %d, keys %v: %s", seed, step, keys, firstDifference(got, want))
		}
		if !reflect.DeepEqual(kept.spec, fresh.spec) || !reflect.DeepEqual(kept.reports, fresh.reports) {
			t.Fatalf("seed %d, step %d: a difference that does not print", seed, step)
		}
		again := New(w, opts)
		again.Update(w.keys())
		if got, want := remembered(tr), remembered(again); got != want {
			t.Fatalf("seed %d, step %d, cells: %s", seed, step, firstDifference(got, want))
		}
	}
}

// remembered lists the cells of a sheet, with what is in their bags, and the
// claims of routes.
func remembered(t *Translator) string {
	var lines []string
	for id, c := range t.sheet.cells {
		lines = append(lines, fmt.Sprintf("cell %v read by %d, reads %d, bag %v", id, len(c.readers), len(c.reads), c.bag))
	}
	for route, claims := range t.rivals.routes {
		for _, c := range claims {
			lines = append(lines, fmt.Sprintf("claim %v on %s by %v, lost %t", c.hosts, c.listener, route, c.lostTo != nil))
		}
	}
	for _, sides := range t.rivals.listeners {
		for _, x := range sides {
			for _, host := range slices.Sorted(maps.Keys(x.at)) {
				lines = append(lines, fmt.Sprintf("%d at %s", len(x.at[host]), host))
			}
			for _, host := range slices.Sorted(maps.Keys(x.under)) {
				lines = append(lines, fmt.Sprintf("%d under %s", len(x.under[host]), host))
			}
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// firstDifference shows the first lines in which two texts differ.
func firstDifference(got, want string) string {
	a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Sprintf("line %d\ngot:  %s\nwant: %s", i, a[i], b[i])
		}
	}
	return fmt.Sprintf("got %d lines, want %d:\n%s", len(a), len(b), strings.Join(append(a, b...)[min(len(a), len(b)):], "\n"))
}
