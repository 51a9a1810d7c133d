package manifest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// manyRoutes writes n HTTPRoutes of a usual size, each with its Service, and
// returns how the i-th is written with a weight.
func manyRoutes(tb testing.TB, dir string, n int) (text func(i, weight int) string) {
	tb.Helper()
	text = func(i, weight int) string {
		return fmt.Sprintf(`apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: route-%d
  namespace: shop
spec:
  parentRefs:
  - name: edge
  hostnames: [host-%d.example.com]
  rules:
  - matches:
    - path: {type: PathPrefix, value: /cart}
      headers:
      - name: x-canary
        value: "1"
    filters:
    - type: RequestHeaderModifier
      requestHeaderModifier:
        set:
        - name: x-from
          value: fairway
    backendRefs:
    - name: service-%d
      port: 8080
      weight: %d
    - name: service-%d
      port: 8080
      weight: 10
  - backendRefs:
    - name: service-%d
      port: 8080
`, i, i, i, weight, i+1, i)
	}
	for i := range n {
		write(tb, filepath.Join(dir, fmt.Sprintf("route-%d.yaml", i)), text(i, 90))
	}
	return text
}

func write(tb testing.TB, path string, text ...string) {
	tb.Helper()
	if err := os.WriteFile(path, []byte(strings.Join(text, "")), 0o644); err != nil {
		tb.Fatal(err)
	}
}

func BenchmarkLoad5000Routes(b *testing.B) {
	dir := b.TempDir()
	manyRoutes(b, dir, 5000)
	b.ReportAllocs()
	for b.Loop() {
		f := &Folder{Paths: []string{dir}}
		if c := f.Load(); len(c.Problems) > 0 || f.World().Len("HTTPRoute") != 5000 {
			b.Fatal(f.World().Len("HTTPRoute"), c.Problems)
		}
	}
}

func BenchmarkEditOneOf5000Routes(b *testing.B) {
	dir := b.TempDir()
	text := manyRoutes(b, dir, 5000)
	f := &Folder{Paths: []string{dir}}
	f.Load()
	w := &watcher{folder: f}
	path := filepath.Join(dir, "route-2500.yaml")
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		write(b, path, text(2500, i))
		r := reader{folder: f}
		seen, _, certain := w.sight([]string{path})
		if !certain {
			b.Fatal("not certain")
		}
		r.see(seen[0])
		if c, _ := f.settle(r.finish()); len(c.Keys) != 1 {
			b.Fatal(c)
		}
	}
}

func BenchmarkEditOneOf5000RoutesInOneFile(b *testing.B) {
	dir, parts := b.TempDir(), b.TempDir()
	text := manyRoutes(b, parts, 0)
	docs := make([]string, 5000)
	for i := range docs {
		docs[i] = "---\n" + text(i, 90)
	}
	path := filepath.Join(dir, "all.yaml")
	write(b, path, docs...)
	f := &Folder{Paths: []string{dir}}
	f.Load()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		docs[2500] = "---\n" + text(2500, i)
		write(b, path, docs...)
		if c, _ := f.settle(f.lookAtAll(nil)); len(c.Keys) != 1 {
			b.Fatal(c)
		}
	}
}

// A look at everything, as after a change of links, where nothing is new.
func BenchmarkLookAtAll5000Files(b *testing.B) {
	dir := b.TempDir()
	manyRoutes(b, dir, 5000)
	f := &Folder{Paths: []string{dir}}
	f.Load()
	b.ReportAllocs()
	for b.Loop() {
		if c, changed := f.settle(f.lookAtAll(nil)); changed {
			b.Fatal(c)
		}
	}
}
