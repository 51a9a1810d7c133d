package manifest

import (
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestSplit(t *testing.T) {
	tests := []struct {
		file string
		want []string // "line:text"
	}{
		{"", nil},
		{"\n# nothing\n---\n...\n", nil},
		{"a: 1\n", []string{"1:a: 1\n"}},
		{"a: 1\n---\nb: 2", []string{"1:a: 1\n", "2:---\nb: 2"}},
		{"---\na: 1\n---\n---\nb: 2\n", []string{"1:---\na: 1\n", "4:---\nb: 2\n"}},
		{"a: 1\r\n---\r\nb: 2\r\n", []string{"1:a: 1\r\n", "2:---\r\nb: 2\r\n"}},
		{"--- {a: 1}\n--- # text\nb: 2\n", []string{"1:--- {a: 1}\n", "2:--- # text\nb: 2\n"}}, // content beside the marker
		{"a: |\n  ---\n  x\n---- b\n", []string{"1:a: |\n  ---\n  x\n---- b\n"}},               // indented, and longer: not markers
		{"%YAML 1.2\n---\na: 1\n...\n%YAML 1.1\n---\nb: 2\n", []string{"1:%YAML 1.2\n---\na: 1\n...\n", "5:%YAML 1.1\n---\nb: 2\n"}},
		{"a: 1\n...\nb: 2\n", []string{"1:a: 1\n...\n", "3:b: 2\n"}},
		{"{\"a\":1}\n\n{\"b\":2}\n", []string{`1:{"a":1}`, `3:{"b":2}`}},
		{"{\"a\":1}{\"b\":\n2}", []string{`1:{"a":1}`, "1:{\"b\":\n2}"}},
		{"{\"a\":1}}\n", []string{"1:{\"a\":1}}\n"}}, // left whole for the parser to refuse
		{"{a: 1}\n", []string{"1:{a: 1}\n"}},         // YAML after all
	}
	for _, tt := range tests {
		var got []string
		for _, p := range split([]byte(tt.file)) {
			got = append(got, strconv.Itoa(p.line)+":"+string(p.of([]byte(tt.file))))
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("split(%q) = %q, want %q", tt.file, got, tt.want)
		}
	}
}

// Parts are in order, do not overlap, and leave out nothing that says something.
func FuzzSplit(f *testing.F) {
	for _, s := range []string{"a: 1\n---\nb: 2", "{\"a\":1}{\"b\":2}", "%YAML 1.2\n---\na\n...\n", "\ufeff{}\n---\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		end := 0
		for _, p := range split(file) {
			if p.offset < end || p.length <= 0 {
				t.Fatalf("split(%q): part at %d of %d bytes, after %d", file, p.offset, p.length, end)
			}
			if gap := file[end:p.offset]; !isBlank(gap) {
				t.Fatalf("split(%q) leaves out %q", file, gap)
			}
			if line := 1 + strings.Count(string(file[:p.offset]), "\n"); line != p.line {
				t.Fatalf("split(%q): part at %d is on line %d, says %d", file, p.offset, line, p.line)
			}
			end = p.offset + p.length
		}
		if rest := file[end:]; !isBlank(rest) {
			t.Fatalf("split(%q) leaves out %q", file, rest)
		}
	})
}
