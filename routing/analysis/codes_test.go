package analysis

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write CODES.md anew")

// reasons finds codes where they are defined: as constants, ...
var reasons = regexp.MustCompile(`(?m)^(?:const )?\s*(?:reason[A-Z]\w*|[A-Z]\w*\s+(?:routing\.)?Reason)\s*= "([A-Z]\w+)"`)

// ... and where they come out, in golden files of Reports.
var reported = regexp.MustCompile(`(?m)^  (?:problem|warning|info|error) .*?: ([A-Z][A-Za-z]+): `)

// Each code that anything may report is in the table, in order.
func TestNoCodeIsMissing(t *testing.T) {
	known := map[string]bool{}
	for _, c := range Codes {
		known[string(c.Reason)] = true
		if c.About == "" {
			t.Errorf("%s says nothing", c.Reason)
		}
	}
	if !slices.IsSortedFunc(Codes, func(a, b Code) int { return strings.Compare(string(a.Reason), string(b.Reason)) }) {
		t.Error("the table is not in the order of the codes")
	}
	found := 0
	for _, where := range []struct {
		files string
		expr  *regexp.Regexp
	}{
		{"../*.go", reasons}, {"../*/*.go", reasons}, {"../../discovery/manifest/*.go", reasons}, {"../../gateway/server/*.go", reasons},
		{"../*/testdata/*.golden", reported},
	} {
		files, err := filepath.Glob(where.files)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", where.files, len(files), err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range where.expr.FindAllStringSubmatch(string(text), -1) {
				if found++; !known[m[1]] {
					t.Errorf("%s has the code %s: want it in codetable.go too, with what it means", file, m[1])
					known[m[1]] = true
				}
			}
		}
	}
	if found < 2*len(Codes)/3 {
		t.Errorf("%d codes found, want about as many as there are in the table, %d", found, len(Codes))
	}
}

// The page is what the program prints.
func TestCodesPage(t *testing.T) {
	var b strings.Builder
	b.WriteString("# The codes of findings\n\nAs `fairway check -codes` prints them. They are never reworded: in `fairway check -o json`, in\n" +
		"conditions, in the log, and as a label of the metric `fairway_problems` they read the same.\n\n")
	if err := WriteCodes(&b); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("CODES.md", []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	page, err := os.ReadFile("CODES.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(page) != b.String() {
		t.Error("CODES.md differs from the table: go test ./routing/analysis -update writes it")
	}
}
