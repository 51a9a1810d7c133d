package gatewayapi

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

// optionsOf are those of a golden file.
func optionsOf(text []byte) Options {
	return Options{DefaultClass: "fairway", Isolated: strings.HasPrefix(string(text), "# isolated:")}
}

// TestGolden translates each testdata/x.yaml all at once, and object by object,
// which has to come to the same; then it takes all away, which has to leave
// nothing.
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
			opts := optionsOf(text)
			w := world{}
			keys := w.load(t, string(text))
			got := w.translate(opts).Dump()

			grown, r := world{}, dialecttest.NewResult()
			tr := New(grown, opts)
			for _, k := range keys {
				grown[k] = w[k]
				r.Apply(tr.Update([]routing.ObjectKey{k}))
			}
			if slow := r.Dump(); slow != got {
				t.Errorf("object by object:\n%s\nall at once:\n%s", slow, got)
			}
			for _, k := range keys {
				delete(grown, k)
				r.Apply(tr.Update([]routing.ObjectKey{k}))
			}
			if left := r.Dump(); left != "" || len(tr.sheet.Cells()) > 0 {
				t.Errorf("of nothing there are %d cells, and\n%s", len(tr.sheet.Cells()), left)
			}

			dialecttest.Golden(t, file+".golden", got, *update)
		})
	}
}
