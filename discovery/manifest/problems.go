package manifest

import (
	"cmp"
	"errors"
	"regexp"
	"slices"
	"strconv"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"fairway.dev/routing"
)

// Why a part of a folder is not in force.
const (
	SyntaxError   routing.Reason = "SyntaxError"     // neither YAML nor JSON: the file keeps its last good version
	TooComplex    routing.Reason = "TooComplex"      // too deep, too many nodes, or too much by aliases; as SyntaxError
	FileTooLarge  routing.Reason = "FileTooLarge"    // as SyntaxError, and unread
	Unreadable    routing.Reason = "FileUnreadable"  // the file, or the directory; what was known of it stays
	FileEmpty     routing.Reason = "FileEmpty"       // it had objects, which stay
	PathMissing   routing.Reason = "PathMissing"     // a path that was asked for; what was known of it stays
	UnknownKind   routing.Reason = "UnknownKind"     // nobody here reads such objects
	UnknownField  routing.Reason = "UnknownField"    // the object is refused and keeps its last good version
	InvalidObject routing.Reason = "InvalidObject"   // as UnknownField
	Duplicate     routing.Reason = "DuplicateObject" // another file, or another part of this one, has it already
)

// A fault is a Problem that does not know yet where its document stands.
type fault struct {
	field  string
	line   int // in its document, from 0
	reason routing.Reason
	err    error
}

// yamlLine takes the line out of a parser's message.
var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// syntaxFault is the fault of a text that does not parse.
func syntaxFault(err error) *fault {
	f := &fault{reason: SyntaxError, err: err}
	if errors.Is(err, errTooComplex) {
		f.reason = TooComplex
	}
	text := err.Error()
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		n, _ := strconv.Atoi(m[1])
		f.line = max(n-1, 0)
		f.err = errors.New(text[len(m[0]):])
	}
	return f
}

// fieldFaults turns what validation says into faults.
func fieldFaults(reason routing.Reason, errs field.ErrorList) []fault {
	faults := make([]fault, 0, len(errs))
	for _, e := range errs {
		name := e.Field
		if name == "<nil>" { // how the object itself is called there
			name = ""
		}
		faults = append(faults, fault{field: name, reason: reason, err: errors.New(e.ErrorBody())})
	}
	return faults
}

func compareProblems(a, b *routing.Problem) int {
	x, y := a.Origin, b.Origin
	return cmp.Or(
		cmp.Compare(x.File, y.File), cmp.Compare(x.Line, y.Line),
		cmp.Compare(x.String(), y.String()),
		cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Err.Error(), b.Err.Error()),
	)
}

// newProblems returns what is in now and not in before; both are sorted.
func newProblems(before, now []*routing.Problem) []*routing.Problem {
	var fresh []*routing.Problem
	for _, p := range now {
		if _, ok := slices.BinarySearchFunc(before, p, compareProblems); !ok {
			fresh = append(fresh, p)
		}
	}
	return fresh
}
