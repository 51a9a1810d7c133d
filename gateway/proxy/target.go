package proxy

import (
	"strings"

	"fairway.dev/gateway/message"
)

// normalise resolves the dot segments of the request's path, so that what is
// matched and what the backend sees are one thing (RFC 3986 sections 5.2.4 and
// 6.2.2.3). "%2e" is a dot; "%2f" stays as it is, and so do empty segments. It
// reports false for a path with an encoded NUL, which some backends cut at.
func (e *exchange) normalise() bool {
	path := e.req.Path
	if strings.IndexByte(path, '%') < 0 && !strings.Contains(path, "/.") {
		return true
	}
	if strings.Contains(path, "%00") {
		return false
	}
	if path[0] == '/' && hasDotSegment(path) {
		e.on.scratch = appendResolved(e.on.scratch[:0], path)
		e.req.Path = e.hold(e.on.scratch)
	}
	return true
}

// hasDotSegment reports whether a segment of path is "." or "..".
func hasDotSegment(path string) bool {
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

// appendResolved appends path without its dot segments. One at the end leaves
// its '/': "/a/b/.." is "/a/".
func appendResolved(dst []byte, path string) []byte {
	for path != "" {
		var segment string
		segment, path = cutSegment(path)
		switch dots(segment) {
		case 0:
			dst = append(dst, '/')
			dst = append(dst, segment...)
			continue
		case 2:
			dst = dst[:max(strings.LastIndexByte(message.Text(dst), '/'), 0)]
		}
		if path == "" {
			dst = append(dst, '/')
		}
	}
	return dst
}

// lower returns s in lower case, s itself where it is.
func (e *exchange) lower(s string) string {
	for i := range len(s) {
		if c := s[i]; 'A' <= c && c <= 'Z' {
			b := append(e.on.scratch[:0], s...)
			for ; i < len(b); i++ {
				if c := b[i]; 'A' <= c && c <= 'Z' {
					b[i] = c | 0x20
				}
			}
			e.on.scratch = b
			return e.hold(b)
		}
	}
	return s
}

// hold returns a copy of b that lives as long as the request.
func (e *exchange) hold(b []byte) string { return message.Text(e.req.Hold(b)) }
