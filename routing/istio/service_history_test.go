package istio

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"fairway.dev/routing"
	"fairway.dev/routing/dialecttest"
	"fairway.dev/routing/gatewayapi"
)

// variants are the objects of all golden files of destinations, by their keys:
// files have different objects of one name.
func variants(t testing.TB) map[routing.ObjectKey][]any {
	t.Helper()
	files, err := filepath.Glob("testdata/destinations/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	all := map[routing.ObjectKey][]any{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		w := dialecttest.World{}
		load(t, w, string(text))
		for k, o := range w {
			all[k] = append(all[k], o)
		}
	}
	return all
}

// TestDestinationsComeToTheSameAsAFreshStart is the law of the sheet for what
// can be sent to: whatever the history, the Spec, the Reports and the work
// remembered are those of a Translator that sees the objects for the first time.
func TestDestinationsComeToTheSameAsAFreshStart(t *testing.T) {
	all := variants(t)
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { checkDestinationHistory(t, all, seed, 60) })
	}
}

func FuzzDestinationsComeToTheSameAsAFreshStart(f *testing.F) {
	all := variants(f)
	f.Add(uint64(1), uint8(50))
	f.Fuzz(func(t *testing.T, seed uint64, steps uint8) { checkDestinationHistory(t, all, seed, int(steps)) })
}

func checkDestinationHistory(t *testing.T, all map[routing.ObjectKey][]any, seed uint64, steps int) {
	c := rand.New(rand.NewPCG(seed, 0))
	keys := slices.SortedFunc(maps.Keys(all), routing.ObjectKey.Compare)
	w, kept := dialecttest.World{}, dialecttest.NewResult()
	tr := newSender(w, inCluster)
	if seed%2 == 1 {
		for _, k := range keys {
			w[k] = all[k][0]
		}
		kept.Apply(tr.Update(w.Keys()))
	}
	for step := range steps {
		var changed []routing.ObjectKey
		for range 1 + c.IntN(12) {
			k := keys[c.IntN(len(keys))]
			if delete(w, k); c.IntN(4) > 0 {
				w[k] = all[k][c.IntN(len(all[k]))]
			}
			changed = append(changed, k)
		}
		kept.Apply(tr.Update(changed))
		if d, reports := tr.Update(changed); !reflect.DeepEqual(d, &routing.Delta{}) || reports != nil {
			t.Fatalf("seed %d, step %d: an Update without a change has %+v %v", seed, step, d, reports)
		}
		if step%8 == 0 || step == steps-1 {
			checkFresh(t, fmt.Sprintf("seed %d, step %d, changed %v", seed, step, changed), w, tr, kept)
		}
	}
}

// checkFresh compares what a history came to with a fresh start.
func checkFresh(t *testing.T, at string, w dialecttest.World, tr *gatewayapi.Translator, kept *dialecttest.Result) {
	t.Helper()
	again := newSender(w, inCluster)
	fresh := dialecttest.NewResult().Apply(again.Update(w.Keys()))
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
