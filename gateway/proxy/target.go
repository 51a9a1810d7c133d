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
	if message.HasDotSegment(path) {
		e.on.scratch = message.AppendResolved(e.on.scratch[:0], path)
		e.req.Path = e.hold(e.on.scratch)
	}
	return true
}

// plainPath is the request's path as policies know it: no other way to write it is a
// way round them. Routes and backends have it as it came.
func (e *exchange) plainPath() string {
	path := e.req.Path
	if message.Plain(path) {
		return path
	}
	e.on.scratch = message.AppendPlain(e.on.scratch[:0], path)
	path = e.hold(e.on.scratch)
	if message.HasDotSegment(path) {
		e.on.scratch = message.AppendResolved(e.on.scratch[:0], path)
		path = e.hold(e.on.scratch)
	}
	return path
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
