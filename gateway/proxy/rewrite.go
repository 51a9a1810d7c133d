package proxy

import (
	"strings"

	"fairway.dev/routing"
)

// A rewrite changes the host and the path that a backend sees.
type rewrite struct {
	host string // empty: unchanged
	path routing.PathEdit
}

// newRewrite joins what a rule and one of its backends rewrite: where both
// name a host or a path, the backend's counts.
func newRewrite(rule, backend *routing.Rewrite) *rewrite {
	if rule == nil && backend == nil {
		return nil
	}
	var w rewrite
	for _, r := range []*routing.Rewrite{rule, backend} {
		if r == nil {
			continue
		}
		if r.Host != "" {
			w.host = r.Host
		}
		if r.Path != (routing.PathEdit{}) {
			w.path = r.Path
		}
	}
	return &w
}

// appendPath appends path as e changes it. prefix is what of path was matched,
// without a '/' at its end, as routing.Result has it.
//
// A replaced prefix is whole segments (HTTPPathModifier.replacePrefixMatch):
// "/foo" to "/xyz" or "/xyz/" makes "/foo/bar" "/xyz/bar" and "/foo" "/xyz";
// "/foo" to "" or "/" makes "/foo/bar" "/bar" and "/foo" "/".
func appendPath(dst []byte, e *routing.PathEdit, path, prefix string) []byte {
	switch {
	case e.Full != nil:
		return appendRooted(dst, *e.Full)
	case e.Prefix != nil:
		rest := path[len(prefix):]
		with := strings.TrimSuffix(*e.Prefix, "/")
		if with == "" {
			return appendRooted(dst, rest)
		}
		return append(appendRooted(dst, with), rest...)
	}
	return append(dst, path...)
}

// appendRooted appends a path, which begins with '/' whatever its author wrote.
func appendRooted(dst []byte, path string) []byte {
	if path == "" || path[0] != '/' {
		dst = append(dst, '/')
	}
	return append(dst, path...)
}

// changes reports whether e changes anything.
func changes(e *routing.PathEdit) bool { return e.Full != nil || e.Prefix != nil }

// rewrite changes the request to what the backend is to see.
func (e *exchange) rewrite(w *rewrite) {
	if changes(&w.path) && e.req.Path != "*" {
		e.on.scratch = appendPath(e.on.scratch[:0], &w.path, e.req.Path, e.prefix)
		e.req.Path = e.hold(e.on.scratch)
	}
	if w.host != "" {
		e.req.Authority = w.host
	}
}
