package istio

import (
	"fmt"
	"strings"
)

// everyHost is the pattern of all hosts.
const everyHost = "*"

// checkServerHost says what is wrong with a host of a server, in lower case:
// "*", a name in DNS, or "*.NAME". Short names mean nothing at the edge.
func checkServerHost(host string) error {
	if host == everyHost {
		return nil
	}
	name := strings.TrimPrefix(host, "*.")
	if len(name) > 253 {
		return fmt.Errorf("host of %d bytes: want at most 253", len(name))
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 {
			return fmt.Errorf("host %q: want labels of 1 to 63 characters", host)
		}
		for _, c := range []byte(label) {
			if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
				return fmt.Errorf("host %q: character %q, want a-z, 0-9, '-', '_' and '.'", host, c)
			}
		}
	}
	return nil
}

// narrower returns the pattern of the hosts that two patterns have in common;
// empty where there are none. Two patterns never overlap in part: one covers
// the other.
func narrower(a, b string) string {
	switch {
	case patternCovers(a, b):
		return b
	case patternCovers(b, a):
		return a
	}
	return ""
}

// patternCovers reports whether every host of b is one of a: "*.example.com"
// covers "*.shop.example.com", and not "example.com".
func patternCovers(a, b string) bool {
	if a == everyHost || a == b {
		return true
	}
	suffix, wild := strings.CutPrefix(a, "*")
	return wild && b != everyHost && len(b) > len(suffix) && strings.HasSuffix(b, suffix)
}

// widerPatterns yields the patterns that cover a pattern, but itself, from the
// narrowest: of "a.example.com" they are "*.example.com", "*.com" and "*".
func widerPatterns(host string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		if host == everyHost {
			return
		}
		rest := strings.TrimPrefix(host, "*.")
		for i := strings.IndexByte(rest, '.'); i >= 0; i = strings.IndexByte(rest, '.') {
			if !yield("*" + rest[i:]) {
				return
			}
			rest = rest[i+1:]
		}
		yield(everyHost)
	}
}
