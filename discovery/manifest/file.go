package manifest

import (
	"fmt"
	"iter"
	"slices"

	"fairway.dev/routing"
)

// A file is a manifest, and what its last good version said.
type file struct {
	path  string
	stamp stamp  // of what was looked at last
	sum   uint64 // of what was read last
	parts []filed
	lost  *fault // why it cannot be read now
	bad   *fault // why what was read is not what parts are
}

// filed is a document at its place in a file.
type filed struct {
	part
	sum uint64 // of its text
	doc *document
}

// objects yields a document's objects, the good ones before those that are
// kept from earlier versions.
func (d *document) objects() iter.Seq[*entry] {
	return func(yield func(*entry) bool) {
		for _, list := range [][]*entry{d.entries, d.kept} {
			for _, e := range list {
				if e.object != nil && !yield(e) {
					return
				}
			}
		}
	}
}

// number tells all objects of the file where they stand in it.
func (fi *file) number() {
	order := 0
	for i, p := range fi.parts {
		for e := range p.doc.objects() {
			e.part, e.order = i, order
			order++
		}
	}
}

// line returns the line at which a claim's object begins.
func (c claim) line() int {
	return c.file.parts[c.entry.part].line + c.entry.line
}

// place returns "file:line".
func (c claim) place() string {
	return routing.Origin{File: c.file.path, Line: c.line()}.Place()
}

func (fi *file) hasObjects() bool {
	for _, p := range fi.parts {
		for range p.doc.objects() {
			return true
		}
	}
	return false
}

// isFaulty reports whether there is anything to say of the file.
func (fi *file) isFaulty() bool {
	if fi.lost != nil || fi.bad != nil {
		return true
	}
	return slices.ContainsFunc(fi.parts, func(p filed) bool {
		return slices.ContainsFunc(p.doc.entries, func(e *entry) bool { return len(e.faults) > 0 })
	})
}

// appendProblems adds what there is to say of the file.
func (fi *file) appendProblems(to []*routing.Problem) []*routing.Problem {
	for _, ft := range []*fault{fi.lost, fi.bad} {
		if ft == nil {
			continue
		}
		whole := *ft
		if fi.hasObjects() {
			whole.err = fmt.Errorf("%w; the file's last good version stays in force", ft.err)
		}
		to = append(to, fileProblem(fi.path, ft.line, whole))
	}
	for _, p := range fi.parts {
		for _, e := range p.doc.entries {
			for _, ft := range e.faults {
				to = append(to, fi.problem(p, e, ft))
			}
		}
	}
	return to
}

// problem is what is wrong with one object of the file.
func (fi *file) problem(p filed, e *entry, ft fault) *routing.Problem {
	if e.key == (routing.ObjectKey{}) {
		return fileProblem(fi.path, p.line+ft.line, ft)
	}
	o := e.key.Origin().At(ft.field)
	o.File, o.Line = fi.path, p.line+ft.line
	err := ft.err
	if slices.ContainsFunc(p.doc.kept, func(k *entry) bool { return k.key == e.key }) {
		err = fmt.Errorf("%w; its last good version stays in force", err)
	}
	return &routing.Problem{Origin: o, Reason: ft.reason, Err: err}
}

// fileProblem is what is wrong with a file, at a line or as a whole.
func fileProblem(path string, line int, ft fault) *routing.Problem {
	return &routing.Problem{
		Origin: routing.Origin{Kind: "File", Name: path, Field: ft.field, File: path, Line: line},
		Reason: ft.reason,
		Err:    ft.err,
	}
}
