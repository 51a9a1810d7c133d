package istio

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"fairway.dev/routing"
	"fairway.dev/routing/analysis"
)

// headerOperations are what Headers says.
type headerOperations struct {
	request, response fieldEdits
	authority         string // the host that is set, or added, among the request's
}

// fieldEdits are edits of fields, by their names in lower case: what becomes of
// one, after all that is said of it.
type fieldEdits map[string]fieldEdit

// A fieldEdit is what becomes of one field: it is dropped or set, or neither, and
// then added to.
type fieldEdit struct {
	name  string // as it is written
	drop  bool
	set   []string // one value, or none
	added []string
}

// replaces reports whether nothing is left of the values that there were.
func (f fieldEdit) replaces() bool { return f.drop || len(f.set) > 0 }

// then are edits followed by others.
func (e fieldEdits) then(next fieldEdits) fieldEdits {
	return e.join(next, func(was, n fieldEdit) fieldEdit {
		if n.replaces() {
			return n
		}
		return fieldEdit{was.name, was.drop, was.set, slices.Concat(was.added, n.added)}
	})
}

// beside are edits and others of one list. Envoy does one in an order of its own:
// what either removes, then what either sets, the last of them, then all that
// either adds.
func (e fieldEdits) beside(next fieldEdits) fieldEdits {
	return e.join(next, func(was, n fieldEdit) fieldEdit {
		set := n.set
		if len(set) == 0 {
			set = was.set
		}
		return fieldEdit{n.name, was.drop || n.drop, set, slices.Concat(was.added, n.added)}
	})
}

func (e fieldEdits) join(next fieldEdits, both func(was, n fieldEdit) fieldEdit) fieldEdits {
	out := maps.Clone(e)
	if out == nil {
		return next
	}
	for name, n := range next {
		if was, ok := out[name]; ok {
			n = both(was, n)
		}
		out[name] = n
	}
	return out
}

// change is the edits as the Spec has them, in the order of names.
func (e fieldEdits) change() routing.HeaderChange {
	var out routing.HeaderChange
	for _, lower := range slices.Sorted(maps.Keys(e)) {
		f := e[lower]
		values := slices.Concat(f.set, f.added)
		switch {
		case f.replaces() && len(values) == 0:
			out.Remove = append(out.Remove, lower)
		case f.replaces():
			out.Set = append(out.Set, routing.Header{Name: f.name, Value: values[0]})
			values = values[1:]
		}
		for _, v := range values {
			out.Add = append(out.Add, routing.Header{Name: f.name, Value: v})
		}
	}
	return out
}

// routeHeaders are those of the rule as a whole.
func (a *actionTranslation) routeHeaders() *networking.Headers {
	return inherit(a.s, func(r *networking.HTTPRoute) *networking.Headers { return r.Headers })
}

// headers translates Headers. What is removed is so first, then fields are set,
// then added, as Envoy has it.
func (a *actionTranslation) headers(field string, h *networking.Headers) headerOperations {
	var out headerOperations
	req, resp := h.GetRequest(), h.GetResponse()
	out.request = a.fields(field+".request", req)
	out.response = a.fields(field+".response", resp)
	for _, of := range []map[string]string{req.GetAdd(), req.GetSet()} {
		for _, name := range slices.Sorted(maps.Keys(of)) {
			if isAuthority(name) && of[name] != "" {
				out.authority = of[name]
			}
		}
	}
	if strings.Contains(out.authority, "%") {
		a.breaks(field+".request", analysis.UnsupportedOperator, fixOperator, errOperator(out.authority))
	}
	return out
}

func (a *actionTranslation) fields(field string, ops *networking.Headers_HeaderOperations) fieldEdits {
	e := fieldEdits{}
	for i, name := range ops.GetRemove() {
		if a.fieldName(field+".remove["+itoa(i)+"]", name) {
			e[strings.ToLower(name)] = fieldEdit{name: name, drop: true}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(ops.GetSet())) {
		at := field + `.set["` + name + `"]`
		if !a.fieldName(at, name) {
			continue
		}
		f := fieldEdit{name: name, drop: true}
		// Where the value cannot be had, no other stands for it.
		if v, ok := a.fieldValue(at, ops.Set[name]); ok {
			f.set = []string{v}
		}
		e[strings.ToLower(name)] = f
	}
	for _, name := range slices.Sorted(maps.Keys(ops.GetAdd())) {
		at := field + `.add["` + name + `"]`
		if !a.fieldName(at, name) {
			continue
		}
		if v, ok := a.fieldValue(at, ops.Add[name]); ok {
			f := e[strings.ToLower(name)]
			e[strings.ToLower(name)] = fieldEdit{name, f.drop, f.set, append(f.added, v)}
		}
	}
	return e
}

// isAuthority reports whether to set a header is to rewrite the host.
func isAuthority(name string) bool {
	return strings.EqualFold(name, "host") || strings.EqualFold(name, ":authority")
}

// fieldName reports whether a field can be edited. The host is, by way of
// a rewrite; other pseudo headers are left as they are, as in Istio.
func (a *actionTranslation) fieldName(field, name string) bool {
	switch {
	case isAuthority(name):
		if !strings.Contains(field, "request") || strings.Contains(field, ".remove[") {
			a.warn(field, analysis.IneffectiveField, "take it out", "the host of a request can be set, and nothing else")
		}
		return false
	case strings.HasPrefix(name, ":"):
		a.warn(field, analysis.IneffectiveField, "take it out", "pseudo headers but :authority cannot be changed")
		return false
	case !isName(name):
		a.breaks(field, analysis.InvalidHeader, "write a header's name: letters, digits and hyphens", fmt.Errorf("%q: not a header's name", name))
		return false
	}
	return true
}

const fixOperator = "write a fixed value; %% is a percent sign"

func errOperator(value string) error {
	return fmt.Errorf("%q: Envoy's operators are not known here", value)
}

// fieldValue returns a value with "%%" for what it stands for. It reports false
// where there is none, as it has Envoy's operators, which are not evaluated.
func (a *actionTranslation) fieldValue(field, value string) (string, bool) {
	if strings.ContainsFunc(value, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }) {
		a.breaks(field, analysis.InvalidHeader, "take the control characters out", errors.New("the value has control characters"))
		return "", false
	}
	if strings.Contains(strings.ReplaceAll(value, "%%", ""), "%") {
		a.lacks(field, analysis.UnsupportedOperator, fixOperator, errOperator(value))
		return "", false
	}
	return strings.ReplaceAll(value, "%%", "%"), true
}

// isName reports whether s is a token (RFC 9110 section 5.6.2), as names of
// fields and methods are.
func isName(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(c rune) bool {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		return !letter && ('0' > c || c > '9') && !strings.ContainsRune("!#$%&'*+-.^_`|~", c)
	})
}
