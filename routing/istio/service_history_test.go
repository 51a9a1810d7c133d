package istio

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"fairway.dev/routing"
	"fairway.dev/routing/dialecttest"
)

// variants are the objects of golden files, by their keys: files have different
// objects of one name.
func variants(t testing.TB, patterns ...string) map[routing.ObjectKey][]any {
	t.Helper()
	var files []string
	for _, pattern := range patterns {
		list, err := filepath.Glob(pattern)
		if err != nil || len(list) == 0 {
			t.Fatalf("%s: no golden files: %v", pattern, err)
		}
		files = append(files, list...)
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

const destinationFiles = "testdata/destinations/*.yaml"

// TestDestinationsComeToTheSameAsAFreshStart is the law of the sheet for what
// can be sent to: whatever the history, the Spec, the Reports and the work
// remembered are those of a Translator that sees the objects for the first time.
func TestDestinationsComeToTheSameAsAFreshStart(t *testing.T) {
	all := variants(t, destinationFiles)
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { checkDestinationHistory(t, all, seed, 60) })
	}
}

func FuzzDestinationsComeToTheSameAsAFreshStart(f *testing.F) {
	all := variants(f, destinationFiles)
	f.Add(uint64(1), uint8(50))
	f.Fuzz(func(t *testing.T, seed uint64, steps uint8) { checkDestinationHistory(t, all, seed, int(steps)) })
}

func checkDestinationHistory(t *testing.T, all map[routing.ObjectKey][]any, seed uint64, steps int) {
	dialecttest.History(t, seed, steps, all, func(w dialecttest.World) dialecttest.Translator { return newSender(w, inCluster) })
}
