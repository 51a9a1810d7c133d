package proxy

import (
	"regexp"
	"strings"
	"testing"

	"fairway.dev/gateway/message"
)

func TestNormalise(t *testing.T) {
	tests := []struct{ path, want string }{
		{"/", "/"},
		{"/a/b", "/a/b"},
		{"/a/./b", "/a/b"},
		{"/a/../b", "/b"},
		{"/a/b/..", "/a/"},
		{"/a/b/.", "/a/b/"},
		{"/..", "/"},
		{"/../../a", "/a"},
		{"/a/%2e%2E/b", "/b"},
		{"/a/.%2e/b", "/b"},
		{"/a/%2e/b", "/a/b"},
		{"/a//b", "/a//b"}, // slashes are not merged
		{"/a//../b", "/a/b"},
		{"/a/.../b", "/a/.../b"},
		{"/a/..b/.c", "/a/..b/.c"},
		{"/.well-known/x", "/.well-known/x"},
		{"/a%2f..%2fb", "/a%2f..%2fb"}, // an encoded slash is none
		{"/a%2Fb/../c", "/c"},
		{"/%41", "/%41"},
		{"*", "*"},
	}
	for _, tt := range tests {
		if got, ok := normalised(tt.path); got != tt.want || !ok {
			t.Errorf("%s is %s (%v), want %s", tt.path, got, ok, tt.want)
		}
	}
	if _, ok := normalised("/a%00b"); ok {
		t.Error("an encoded NUL was let through")
	}
}

func normalised(path string) (string, bool) {
	e := &exchange{on: &local{}}
	e.req = &message.Request{Path: path}
	ok := e.normalise()
	return e.req.Path, ok
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

func TestNormaliseAgainstOracle(t *testing.T) {
	parts := []string{"/", ".", "a", "%2e"}
	var all func(path string, n int)
	all = func(path string, n int) {
		if got, _ := normalised(path); decodeDots(got) != oracle(path) {
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

func FuzzNormalise(f *testing.F) {
	f.Add("/a/../%2e%2E/b//./c")
	f.Add("/%00")
	f.Fuzz(func(t *testing.T, path string) {
		if path == "" || path[0] != '/' || strings.Contains(path, "%00") {
			return
		}
		got, _ := normalised(path)
		if decodeDots(got) != oracle(path) {
			t.Errorf("%q is %q, the oracle says %q", path, got, oracle(path))
		}
		if again, _ := normalised(got); again != got {
			t.Errorf("%q is %q, and that is %q", path, got, again)
		}
	})
}
