package convert

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write golden files anew")

func readFile(t testing.TB, file string) Input {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var in Input
	if _, err := in.Read(text); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return in
}

func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		r := Convert(readFile(t, file), Options{})
		text, err := r.YAML()
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		b.Write(text)
		for _, p := range r.Findings {
			fmt.Fprintf(&b, "# %s %s: %s\n", p.Level, p.Origin.At(""), Line(p))
		}
		golden := file + ".golden"
		if *update {
			if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if b.String() != string(want) {
			t.Errorf("%s differs; -update writes it\n%s", golden, &b)
		}
	}
}

// Whatever is read, the conversion ends, and each finding says where and why.
func FuzzConvert(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.yaml")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for doc := range strings.SplitSeq(string(text), "---\n") {
			f.Add([]byte(doc))
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var in Input
		if _, err := in.Read(text); err != nil {
			return
		}
		r := Convert(in, Options{})
		for _, p := range r.Findings {
			if p.Reason == "" || p.Fix == "" || p.Origin.Kind == "" {
				t.Fatalf("%+v", p)
			}
		}
		if _, err := r.YAML(); err != nil {
			t.Fatal(err)
		}
	})
}
