package proxy

import (
	"regexp"
	"slices"
	"strings"

	"fairway.dev/gateway/telemetry"
	"fairway.dev/routing"
)

// A rewrite changes the host and the path that a backend sees.
type rewrite struct {
	host string // empty: unchanged
	path pathEdit
}

// A pathEdit is routing.PathEdit made ready.
type pathEdit struct {
	routing.PathEdit
	regex *regexp.Regexp // of Regex
	with  string         // as package regexp writes it
}

// newPathEdit compiles e, whose expression routing.Compile has looked at.
func newPathEdit(e routing.PathEdit) pathEdit {
	n := pathEdit{PathEdit: e}
	if e.Regex != nil {
		n.regex, n.with = regexp.MustCompile(e.Regex.Pattern), template(e.Regex.With)
	}
	return n
}

// template turns a substitution of RE2, where "\1" is what the first group has
// found and "\\" a backslash, into one of package regexp.
func template(with string) string {
	var b strings.Builder
	for i := 0; i < len(with); i++ {
		switch c := with[i]; {
		case c == '$':
			b.WriteString("$$")
		case c != '\\':
			b.WriteByte(c)
		case i+1 == len(with):
		default:
			i++
			switch d := with[i]; {
			case '0' <= d && d <= '9':
				b.WriteString("${" + string(d) + "}")
			case d == '$':
				b.WriteString("$$")
			default:
				b.WriteByte(d)
			}
		}
	}
	return b.String()
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
			w.path = newPathEdit(r.Path)
		}
	}
	return &w
}

// took is what of a path its match took, as routing.Result has it.
type took struct {
	prefix string // whole segments, without a '/' at the end
	bytes  int
}

// appendPath appends path as e changes it.
//
// A replaced prefix is whole segments (HTTPPathModifier.replacePrefixMatch):
// "/foo" to "/xyz" or "/xyz/" makes "/foo/bar" "/xyz/bar" and "/foo" "/xyz";
// "/foo" to "" or "/" makes "/foo/bar" "/bar" and "/foo" "/".
//
// What is replaced by Matched is bytes (HTTPRewrite.uri): "/foo" to "/" makes
// "/foo/bar" "//bar" and "/foobar" "/bar".
func (e *pathEdit) appendPath(dst []byte, path string, took took) []byte {
	switch {
	case e.Full != nil:
		return appendRooted(dst, *e.Full)
	case e.Prefix != nil:
		rest := path[len(took.prefix):]
		with := strings.TrimSuffix(*e.Prefix, "/")
		if with == "" {
			return appendRooted(dst, rest)
		}
		return append(appendRooted(dst, with), rest...)
	case e.Matched != nil:
		rest := path[took.bytes:]
		if *e.Matched == "" {
			return appendRooted(dst, rest)
		}
		return append(appendRooted(dst, *e.Matched), rest...)
	case e.regex != nil:
		return e.replace(dst, path)
	}
	return append(dst, path...)
}

// maxEditedPath bounds what an expression makes of a path, in bytes: each time
// that it finds something it may put in more than it takes out.
const maxEditedPath = 64 << 10

// replace appends path with what the expression finds replaced, each time. A
// result that is longer than maxEditedPath is not whole.
func (e *pathEdit) replace(dst []byte, path string) []byte {
	begin, last := len(dst), 0
	for _, found := range e.regex.FindAllStringSubmatchIndex(path, -1) {
		dst = append(dst, path[last:found[0]]...)
		dst = e.regex.ExpandString(dst, e.with, path, found)
		if last = found[1]; len(dst)-begin > maxEditedPath {
			return dst
		}
	}
	dst = append(dst, path[last:]...)
	if len(dst) == begin || dst[begin] != '/' {
		dst = slices.Insert(dst, begin, '/')
	}
	return dst
}

// appendRooted appends a path, which begins with '/' whatever its author wrote.
func appendRooted(dst []byte, path string) []byte {
	if path == "" || path[0] != '/' {
		dst = append(dst, '/')
	}
	return append(dst, path...)
}

// changes reports whether e changes anything.
func (e *pathEdit) changes() bool { return e.PathEdit != routing.PathEdit{} }

var pathTooLong = answer{414, telemetry.DownstreamProtocol, "path is too long once it is rewritten\n"}

// rewrite changes the request to what the backend is to see. It reports false
// where that cannot be, and the exchange is over.
func (e *exchange) rewrite(w *rewrite) bool {
	if w.path.changes() && e.req.Path != "*" {
		b := w.path.appendPath(e.on.scratch[:0], e.req.Path, e.took)
		if w.path.regex != nil && len(b) > maxEditedPath {
			e.answer(&pathTooLong)
			return false
		}
		e.on.scratch = b
		e.req.Path = e.hold(b)
	}
	if w.host != "" {
		e.req.Authority = w.host
	}
	return true
}
