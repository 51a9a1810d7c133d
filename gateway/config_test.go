package main

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fairway.dev/routing/gatewayapi"
)

// Where much is wrong, not every field is looked for: objects are.
func TestExactPlacesAreBounded(t *testing.T) {
	const n, lines = 3, 6 // objects, and lines of each
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r%d}\nspec:\n  parentRefs: [{name: nobody}]\n---\n", i)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.yaml"), []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, exact := range []int{0, 1} {
		c := newConfig([]string{dir}, gatewayapi.Options{}, slog.New(slog.DiscardHandler))
		c.exact = exact
		c.apply(c.folder.Load())
		problems := c.problems(nil)
		if len(problems) != n {
			t.Fatalf("%d problems, want %d", len(problems), n)
		}
		for i, p := range problems {
			want := i*lines + 5 // of parentRefs
			if exact > 0 && i >= exact {
				want = i*lines + 1
			}
			if p.Origin.Line != want || p.Origin.Field == "" {
				t.Errorf("of %d exact ones, problem %d is at line %d of %q, want %d", exact, i, p.Origin.Line, p.Origin.Field, want)
			}
		}
	}
}
