package message

import (
	"regexp"
	"strings"
	"testing"
)

func resolved(path string) string {
	if HasDotSegment(path) {
		return string(AppendResolved(nil, path))
	}
	return path
}

// oracle is RFC 3986 section 5.2.4, step by step.
func oracle(in string) string {
	in = regexp.MustCompile(`(?i)%2e`).ReplaceAllString(in, ".")
	out := ""
	for in != "" {
		switch {
		case strings.HasPrefix(in, "/./"):
			in = in[2:]
		case in == "/.":
			in = "/"
		case strings.HasPrefix(in, "/../"), in == "/..":
			if in == "/.." {
				in = "/"
			} else {
				in = in[3:]
			}
			out = out[:max(strings.LastIndexByte(out, '/'), 0)]
		default:
			end := strings.IndexByte(in[1:], '/') + 1
			if end == 0 {
				end = len(in)
			}
			out += in[:end]
			in = in[end:]
		}
	}
	return out
}

// decodeDots makes paths comparable that differ in how dots are encoded only.
func decodeDots(path string) string {
	return strings.NewReplacer("%2e", ".", "%2E", ".").Replace(path)
}

func TestAppendResolvedAgainstOracle(t *testing.T) {
	parts := []string{"/", ".", "a", "%2e"}
	var all func(path string, n int)
	all = func(path string, n int) {
		if got := resolved(path); decodeDots(got) != oracle(path) {
			t.Errorf("%s is %s, the oracle says %s", path, got, oracle(path))
		}
		for _, p := range parts {
			if n > 0 {
				all(path+p, n-1)
			}
		}
	}
	all("/", 6)
}

func FuzzAppendResolved(f *testing.F) {
	f.Add("/a/../%2e%2E/b//./c")
	f.Add("/%2f..")
	f.Fuzz(func(t *testing.T, path string) {
		if path == "" || path[0] != '/' {
			return
		}
		got := resolved(path)
		if decodeDots(got) != oracle(path) {
			t.Errorf("%q is %q, the oracle says %q", path, got, oracle(path))
		}
		if again := resolved(got); again != got {
			t.Errorf("%q is %q, and that is %q", path, got, again)
		}
	})
}
