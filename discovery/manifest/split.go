package manifest

import (
	"bytes"
	"encoding/json"
)

// A part is the place of one document in a file.
type part struct {
	offset, length int
	line           int // of its first byte, from 1
}

func (p part) of(file []byte) []byte { return file[p.offset : p.offset+p.length] }

// split finds the documents of a file without reading them. "---" and "..."
// at the start of a line end a document whatever is around them (YAML 1.2
// section 9.1.2, c-forbidden); JSON values may also follow each other bare.
// Parts in which there is nothing but space and comments are left out.
func split(file []byte) []part {
	var parts []part
	p, directives := part{line: 1}, false
	cut := func(end, line int) {
		p.length = end - p.offset
		parts = appendPart(parts, file, p)
		p = part{offset: end, line: line}
		directives = false
	}
	for at, line := 0, 1; at < len(file); line++ {
		next := len(file)
		if i := bytes.IndexByte(file[at:], '\n'); i >= 0 {
			next = at + i + 1
		}
		switch text := file[at:next]; {
		case isMarker(text, "---") && !directives:
			cut(at, line)
		case isMarker(text, "---"):
			directives = false // the directives above are this document's
		case isMarker(text, "..."):
			cut(next, line+1)
		case text[0] == '%' && isBlank(file[p.offset:at]):
			directives = true
		}
		at = next
	}
	cut(len(file), 0)
	return parts
}

func isMarker(line []byte, marker string) bool {
	rest, ok := bytes.CutPrefix(line, []byte(marker))
	return ok && (len(rest) == 0 || bytes.IndexByte([]byte(" \t\r\n"), rest[0]) >= 0)
}

// isBlank reports whether text has nothing but space, comments, directives
// and document markers.
func isBlank(text []byte) bool {
	for line := range bytes.Lines(text) {
		line = bytes.TrimSpace(line)
		if len(line) > 0 && line[0] != '#' && line[0] != '%' && !bytes.Equal(line, []byte("---")) && !bytes.Equal(line, []byte("...")) {
			return false
		}
	}
	return true
}

// appendPart adds p to parts, as several where it is JSON values in a row.
func appendPart(parts []part, file []byte, p part) []part {
	text := p.of(file)
	if isBlank(text) {
		return parts
	}
	if !isJSON(text) {
		return append(parts, p)
	}
	var values []part
	d := json.NewDecoder(bytes.NewReader(text))
	for at, line := 0, p.line; d.More(); at = int(d.InputOffset()) {
		var v json.RawMessage
		if d.Decode(&v) != nil {
			return append(parts, p) // whoever parses it will say what is wrong
		}
		gap := bytes.IndexByte(text[at:], v[0])
		line += bytes.Count(text[at:at+gap], []byte("\n"))
		values = append(values, part{offset: p.offset + at + gap, length: len(v), line: line})
		line += bytes.Count(v, []byte("\n"))
	}
	if len(bytes.TrimSpace(text[d.InputOffset():])) > 0 {
		return append(parts, p)
	}
	return append(parts, values...)
}

// isJSON reports whether text should be tried as JSON first. (kubectl decides
// by the same byte.)
func isJSON(text []byte) bool {
	text = bytes.TrimLeft(text, " \t\r\n\ufeff")
	return len(text) > 0 && text[0] == '{'
}
