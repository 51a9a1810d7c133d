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
