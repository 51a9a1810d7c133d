package message

import (
	"math/bits"
	"net/netip"
	"strings"
)

// What a byte may be part of.
const (
	tokenByte uint8 = 1 << iota // RFC 9110 section 5.6.2
	hostByte                    // a registered name, RFC 3986 section 3.2.2
	pathByte                    // see SplitTarget
	queryByte
	hexByte
)

var classes = func() (t [256]uint8) {
	mark := func(class uint8, set string) {
		for i := range len(set) {
			t[set[i]] |= class
		}
	}
	const digits = "0123456789"
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	mark(tokenByte|hostByte, digits+letters)
	mark(tokenByte, "!#$%&'*+-.^_`|~")
	mark(hostByte, "-._~!$&'()*+,;=")
	mark(hexByte, digits+"abcdefABCDEF")
	for c := byte(0x21); c < 0x7f; c++ {
		t[c] |= pathByte | queryByte
	}
	for _, c := range []byte(`"<>#`) {
		t[c] &^= pathByte | queryByte
	}
	for _, c := range []byte(`\?%`) {
		t[c] &^= pathByte
	}
	return t
}()

// TokenEnd returns the length of the token (RFC 9110 section 5.6.2) that s
// begins with: methods and field names are tokens.
func TokenEnd(s string) int {
	i := 0
	for i < len(s) && classes[s[i]]&tokenByte != 0 {
		i++
	}
	return i
}

// IsToken reports whether s is a token.
func IsToken(s string) bool { return s != "" && TokenEnd(s) == len(s) }

// ValueEnd returns the length of what s begins with that may stand in a
// field's value (RFC 9110 section 5.5): anything but control characters,
// though HTAB is allowed.
func ValueEnd(s string) int {
	i := 0
	for {
		for i+8 <= len(s) {
			found := controls(word(s[i : i+8]))
			if found != 0 {
				i += bits.TrailingZeros64(found) / 8
				break
			}
			i += 8
		}
		for i < len(s) && s[i] >= ' ' && s[i] != 0x7f {
			i++
		}
		if i == len(s) || s[i] != '\t' {
			return i
		}
		i++
	}
}

// word loads eight bytes, the first lowest.
func word(s string) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

// controls marks bytes of w that are below 0x20, or 0x7f, by their high bit.
// The lowest mark is right; higher ones may be false.
func controls(w uint64) uint64 {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	del := w ^ 0x7f*ones
	return ((w-0x20*ones)&^w | (del-ones)&^del) & highs
}

// IsValue reports whether s may be a field's value: nothing that could end
// its line, and no white space around it.
func IsValue(s string) bool {
	return s == "" || ValueEnd(s) == len(s) && !isBlank(s[0]) && !isBlank(s[len(s)-1])
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// SplitTarget splits a target in origin form (RFC 9112 section 3.2.1) into its
// path and its query, which keeps its '?'. It is stricter than what servers
// take and looser than RFC 3986: of printable ASCII it refuses '#', which
// would be a fragment, '"', '<' and '>', in the path also '\', which some
// read as '/', and '%' without two hexadecimal digits.
func SplitTarget(target string) (path, query string, ok bool) {
	if target == "" || target[0] != '/' {
		return "", "", false
	}
	i := 1
	for i < len(target) {
		if classes[target[i]]&pathByte != 0 {
			i++
			continue
		}
		if target[i] != '%' || !isEscape(target[i:]) {
			break
		}
		i += 3
	}
	path, query = target[:i], target[i:]
	if query == "" {
		return path, query, true
	}
	return path, query, IsQuery(query)
}

// IsQuery reports whether s is '?' and what may follow it in a target, by the
// rules of SplitTarget.
func IsQuery(s string) bool {
	if s == "" || s[0] != '?' {
		return false
	}
	for i := 1; i < len(s); i++ {
		if classes[s[i]]&queryByte == 0 {
			return false
		}
	}
	return true
}

// isEscape reports whether s, which begins with '%', goes on with two
// hexadecimal digits.
func isEscape(s string) bool {
	return len(s) >= 3 && classes[s[1]]&classes[s[2]]&hexByte != 0
}

// IsAuthority reports whether s is a host and perhaps a port (RFC 3986
// section 3.2), as Host and :authority have it: not empty, no user
// information, and no percent-encoding, with which one name could be written
// in several ways.
func IsAuthority(s string) bool {
	if s != "" && s[0] == '[' {
		return isLiteral(s)
	}
	i := 0
	for i < len(s) && classes[s[i]]&hostByte != 0 {
		i++
	}
	return i > 0 && isPort(s[i:])
}

// isLiteral reports whether s is an IPv6 address in brackets and perhaps a
// port.
func isLiteral(s string) bool {
	end := strings.IndexByte(s, ']')
	if end < 0 || !isPort(s[end+1:]) {
		return false
	}
	addr, err := netip.ParseAddr(s[1:end])
	return err == nil && addr.Is6() && addr.Zone() == ""
}

// isPort reports whether s is empty, or a colon and a port, which may be
// empty too.
func isPort(s string) bool {
	if s == "" {
		return true
	}
	if s[0] != ':' || len(s) > len(":65535") {
		return false
	}
	port := 0
	for i := 1; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
		port = port*10 + int(s[i]-'0')
	}
	return port <= 65535
}
