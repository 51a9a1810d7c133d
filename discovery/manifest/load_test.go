package manifest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"fairway.dev/routing"
)

// However the files came to be as they are, the World is the one that a first
// load would make of them.
func TestEditsEndWhereALoadBegins(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	dir := t.TempDir()
	edited := &Folder{Paths: []string{dir}}
	edited.Load()
	for range 150 {
		path := filepath.Join(dir, fmt.Sprintf("%d.yaml", random.IntN(4)))
		switch random.IntN(6) {
		case 0:
			os.Remove(path)
		case 1:
			os.Rename(path, filepath.Join(dir, fmt.Sprintf("%d.yaml", random.IntN(4))))
		default:
			write(t, path, "#\n", randomDocs(random))
		}
		got := edited.reload(t)
		fresh := &Folder{Paths: []string{dir}}
		want := fresh.Load()
		if a, b := dump(t, edited), dump(t, fresh); !bytes.Equal(withoutGenerations(a), withoutGenerations(b)) {
			t.Fatalf("edited\n%s\nloaded\n%s", a, b)
		}
		if a, b := described(got.Problems), described(want.Problems); a != b {
			t.Fatalf("edited\n%s\nloaded\n%s", a, b)
		}
	}
}

// randomDocs is up to four Services of few names, some of them the same and
// some of an unknown kind, or a List of them.
func randomDocs(random *rand.Rand) string {
	var b strings.Builder
	list := random.IntN(4) == 0
	if list {
		b.WriteString("apiVersion: v1\nkind: List\nitems:\n")
	}
	for range random.IntN(5) {
		text := serviceText(string(rune('a'+random.IntN(2))), string(rune('p'+random.IntN(4))), 1+random.IntN(3))
		if list {
			text = "- " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n  ") + "\n"
		} else {
			b.WriteString("---\n")
		}
		b.WriteString(text)
	}
	return b.String()
}

func withoutGenerations(dump []byte) []byte {
	for i := range 150 {
		dump = bytes.ReplaceAll(dump, fmt.Appendf(nil, `"generation":%d,`, i), nil)
		dump = bytes.ReplaceAll(dump, fmt.Appendf(nil, `,"generation":%d}`, i), []byte("}"))
	}
	return dump
}

func described(problems []*routing.Problem) string {
	var b strings.Builder
	for _, p := range problems {
		b.WriteString(describe(p) + "\n")
	}
	return b.String()
}

// Whatever a file holds, loading it ends, and says so where it is no use; and
// the next file is read.
func FuzzLoad(f *testing.F) {
	for _, path := range []string{"testdata/accepted.yaml", "testdata/refused.yaml", "testdata/rich.yaml"} {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		for _, p := range split(text) {
			f.Add(p.of(text))
		}
	}
	f.Add([]byte(bomb()))
	dir := f.TempDir()
	write(f, filepath.Join(dir, "z.yaml"), serviceText("z", "z", 1))
	path := filepath.Join(dir, "a.yaml")
	f.Fuzz(func(t *testing.T, text []byte) {
		write(t, path, string(text))
		folder := &Folder{Paths: []string{dir}}
		c := folder.Load()
		for _, p := range c.Problems {
			if p.Origin.File == "" || p.Reason == "" || p.Error() == "" {
				t.Errorf("problem %+v says too little", p)
			}
		}
		if folder.World().Get(routing.ObjectKey{Kind: "Service", Namespace: "z", Name: "z"}) == nil {
			t.Error("the other file is not in force")
		}
		for _, k := range c.Keys {
			if file, line := folder.Place(k, "spec.rules[0].matches"); file == path && line < 1 {
				t.Errorf("%v is at line %d", k, line)
			}
		}
		write(t, path, string(text), "\n")
		folder.reload(t)
	})
}

// Texts that cost a parser most for their size: none costs it more than in
// proportion.
func TestHostileTextsAreCheap(t *testing.T) {
	const size = 1 << 20
	fill := func(s string) string { return strings.Repeat(s, size/len(s)) }
	tests := []struct{ name, text string }{
		{"comments", fill("#\n")},
		{"comments after a value", "a: 1\n" + fill("# x\n")},
		{"empty documents", fill("---\n")},
		{"tiny documents", fill("--- a\n")},
		{"as many as may be", strings.Repeat("--- a\n", maxObjects)},
		{"one object again and again", strings.Repeat("---\n"+serviceText("a", "a", 1), maxObjects/10)},
		{"a list", fill("- a\n")},
		{"a list in a line", "[" + fill("a,") + "a]"},
		{"a List", "apiVersion: v1\nkind: List\nitems:\n" + strings.Repeat("- {}\n", maxLines-3)},
		{"open brackets", fill("[")},
		{"open braces", fill("{a: ")},
		{"indents", fill("- ")},
		{"one word", fill("a")},
		{"one quoted word", `"` + fill("a") + `"`},
		{"an open quote", `"` + fill("a ")},
		{"anchors", fill("- &a a\n")},
		{"names", fill("? a\n")},
		{"objects in a row", fill("{}\n")},
		{"zero bytes", fill("\x00")},
		{"tabs", fill("\t")},
		{"colons", fill(":")},
		{"bars", fill("|\n")},
	}
	for _, tt := range tests {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "a.yaml"), tt.text)
		f := &Folder{Paths: []string{dir}}
		before := cpu(t)
		f.Load()
		// Most take some 0.1 s, the worst 1 s.
		const limit = 5 * time.Second
		if took := cpu(t) - before; took > limit {
			t.Errorf("%s: %v, want at most %v", tt.name, took, limit)
		}
	}
}

// cpu is the time that the process has used.
func cpu(t *testing.T) time.Duration {
	t.Helper()
	var u unix.Rusage
	must(t, unix.Getrusage(unix.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
