package gatewayapi

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"fairway.dev/routing"
)

// What cannot work is said here, in the Reports: Compile has nothing to add.
func TestCompileHasNothingToAdd(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		w := world{}
		w.load(t, string(text))
		checkCompile(t, file, w)
	}
	for seed := range uint64(50) {
		c := chance{rand.New(rand.NewPCG(seed, 2))}
		w := world{}
		for range 60 {
			c.edit(w)
		}
		checkCompile(t, "a random world", w)
	}
}

func checkCompile(t *testing.T, what string, w world) {
	t.Helper()
	r := w.translate(Options{DefaultClass: "fairway"})
	_, problems := routing.Compile(&r.Spec)
	for _, p := range problems {
		t.Errorf("%s: %s: %v", what, p.Reason, p)
	}
}
