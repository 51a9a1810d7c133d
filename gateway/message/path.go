package message

import "strings"

// HasDotSegment reports whether path, in origin form, has a segment "." or
// "..", encoded or not. "*" has none.
func HasDotSegment(path string) bool {
	if path == "" || path[0] != '/' {
		return false
	}
	for path != "" {
		var segment string
		segment, path = cutSegment(path)
		if dots(segment) != 0 {
			return true
		}
	}
	return false
}

// cutSegment cuts the first segment off a path that begins with '/'.
func cutSegment(path string) (segment, rest string) {
	if i := strings.IndexByte(path[1:], '/'); i >= 0 {
		return path[1 : i+1], path[i+1:]
	}
	return path[1:], ""
}

// dots returns 1 for the segment ".", 2 for "..", encoded or not, and 0 for
// every other.
func dots(segment string) int {
	n := 0
	for segment != "" {
		switch {
		case segment[0] == '.':
			segment = segment[1:]
		case len(segment) >= 3 && segment[:2] == "%2" && segment[2]|0x20 == 'e':
			segment = segment[3:]
		default:
			return 0
		}
		n++
	}
	if n > 2 {
		return 0
	}
	return n
}

// AppendResolved appends path, which begins with '/', without its dot segments
// (RFC 3986 sections 5.2.4 and 6.2.2.3) to an empty dst. One at the end leaves
// its '/': "/a/b/.." is "/a/". "%2e" is a dot; "%2f" is no slash, and empty
// segments stay.
func AppendResolved(dst []byte, path string) []byte {
	for path != "" {
		var segment string
		segment, path = cutSegment(path)
		switch dots(segment) {
		case 0:
			dst = append(dst, '/')
			dst = append(dst, segment...)
			continue
		case 2:
			dst = dst[:max(strings.LastIndexByte(Text(dst), '/'), 0)]
		}
		if path == "" {
			dst = append(dst, '/')
		}
	}
	return dst
}

// Plain reports whether path is written as AppendPlain writes it.
func Plain(path string) bool {
	return strings.IndexByte(path, '%') < 0 && strings.IndexByte(path, '\\') < 0
}

// AppendPlain appends path with what is encoded without need decoded: the
// unreserved characters of RFC 3986 section 2.3, which are the same either way
// (section 6.2.2.2). A backslash becomes the slash that some servers take it for.
func AppendPlain(dst []byte, path string) []byte {
	for i := 0; i < len(path); i++ {
		c := path[i]
		switch {
		case c == '\\':
			c = '/'
		case c == '%' && i+2 < len(path):
			high, low := hexDigit(path[i+1]), hexDigit(path[i+2])
			if d := byte(high<<4 | low); high >= 0 && low >= 0 && unreserved(d) {
				c = d
				i += 2
			}
		}
		dst = append(dst, c)
	}
	return dst
}

// hexDigit returns the value of a hexadecimal digit, -1 for what is none.
func hexDigit(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}

func unreserved(c byte) bool {
	return 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0
}
