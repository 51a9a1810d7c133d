package message

import (
	"net/url"
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

// RFC 3986 section 6.2.2.2.
func TestAppendPlain(t *testing.T) {
	for path, want := range map[string]string{
		"/admin": "/admin", "/%61dmin": "/admin", "/%41%7e%2D%2e%5F": "/A~-._", "/%2561": "/%2561", "/a%2Fb": "/a%2Fb", "/%": "/%", "/%6": "/%6", "/%6g": "/%6g",
		"/%%36%31": "/%61", `/a\b`: "/a/b", "/%c3%a4": "/%c3%a4", "/%00": "/%00", "/%20": "/%20", "/%40": "/%40", "/%5b": "/%5b", "/%60": "/%60", "/%7b": "/%7b",
	} {
		got := path
		if !Plain(path) {
			got = string(AppendPlain(nil, path))
		}
		if got != want {
			t.Errorf("AppendPlain(%q) = %q, want %q", path, got, want)
		}
	}
}

func FuzzAppendPlain(f *testing.F) {
	f.Add(`/%61\%2e%zz%`)
	encoded := regexp.MustCompile("%[0-9A-Fa-f]{2}")
	f.Fuzz(func(t *testing.T, path string) {
		want := encoded.ReplaceAllStringFunc(strings.ReplaceAll(path, `\`, "/"), func(s string) string {
			if c, err := url.PathUnescape(s); err == nil && regexp.MustCompile(`^[A-Za-z0-9._~-]$`).MatchString(c) {
				return c
			}
			return s
		})
		if got := string(AppendPlain(nil, path)); got != want {
			t.Errorf("AppendPlain(%q) = %q, want %q", path, got, want)
		}
		if Plain(path) && want != path {
			t.Errorf("%q is plain, and becomes %q", path, want)
		}
	})
}
