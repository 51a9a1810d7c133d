package istio

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fairway.dev/routing"
	"fairway.dev/routing/dialecttest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestGolden translates each testdata/x.yaml all at once, and object by object,
// which has to come to the same; then it takes all away, which has to leave
// nothing. Files whose name has "folder" in it are translated as manifests are,
// the others as in a cluster.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			s := inCluster
			if strings.Contains(filepath.Base(file), "folder") {
				s = inFolder
			}
			w := dialecttest.World{}
			keys := load(t, w, string(text))
			got := translate(w, s).Dump()
			checkGrowth(t, w, keys, s, got)

			dialecttest.Golden(t, file+".golden", got, *update)
		})
	}
}

// checkGrowth adds objects one by one, and takes them away again.
func checkGrowth(t *testing.T, w dialecttest.World, keys []routing.ObjectKey, s setting, want string) {
	t.Helper()
	grown, r := dialecttest.World{}, dialecttest.NewResult()
	tr := newTranslator(grown, s)
	for _, k := range keys {
		grown[k] = w[k]
		r.Apply(tr.Update([]routing.ObjectKey{k}))
	}
	if slow := r.Dump(); slow != want {
		t.Errorf("object by object:\n%s\nall at once:\n%s", slow, want)
	}
	for _, k := range keys {
		delete(grown, k)
		r.Apply(tr.Update([]routing.ObjectKey{k}))
	}
	if cells := tr.Sheet().Cells(); r.Dump() != "" || len(cells) > 0 {
		t.Errorf("of nothing there are %d cells, %v, and\n%s", len(cells), cells, r.Dump())
	}
}
