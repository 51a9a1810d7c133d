package gatewayapi

import "strings"

// anyHost is the pattern of those who name no hostname.
const anyHost = "*"

// pattern returns a hostname as a pattern: "shop.example.com",
// "*.example.com", or "*" for an empty one; in lower case.
func pattern(hostname string) string {
	if hostname == "" {
		return anyHost
	}
	return strings.ToLower(hostname)
}

// covers reports whether every host of b is one of a:
// "*.example.com" covers "*.shop.example.com", and not "example.com".
func covers(a, b string) bool {
	if a == anyHost || a == b {
		return true
	}
	suffix, wild := strings.CutPrefix(a, "*")
	return wild && b != anyHost && len(b) > len(suffix) && strings.HasSuffix(b, suffix)
}

// overlap reports whether some host is one of both patterns. Two patterns
// never overlap in part: one covers the other.
func overlap(a, b string) bool { return covers(a, b) || covers(b, a) }

// wider yields the patterns that cover a pattern, from the narrowest:
// of "a.example.com" they are "*.example.com", "*.com" and "*".
func wider(host string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		if host == anyHost {
			return
		}
		rest := strings.TrimPrefix(host, "*.")
		for i := strings.IndexByte(rest, '.'); i >= 0; i = strings.IndexByte(rest, '.') {
			if !yield("*" + rest[i:]) {
				return
			}
			rest = rest[i+1:]
		}
		yield(anyHost)
	}
}
