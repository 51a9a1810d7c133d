package convert

import (
	"strings"

	"fairway.dev/routing"
)

// Line is a finding in one line, but for the object that it is about.
func Line(p *routing.Problem) string {
	text := string(p.Reason) + ": "
	if p.Origin.Field != "" {
		text += p.Origin.Field + ": "
	}
	text += p.Err.Error()
	if p.Fix != "" {
		text += "; to mend it, " + p.Fix
	}
	return strings.ReplaceAll(text, "\n", " ")
}

// first is the first object of the output that one of the input was made into.
func (r *Result) first(from routing.ObjectKey) Object {
	for _, o := range r.Objects {
		for _, k := range r.From[o] {
			if k == from {
				return o
			}
		}
	}
	return nil
}
