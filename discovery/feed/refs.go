package feed

import (
	"reflect"
	"slices"
	"sync"

	"fairway.dev/routing"
)

// certificatesOf returns the names of resources of the certificates that a
// listener names, in its order.
func certificatesOf(l *routing.Listener) []string {
	return find(nil, l, reflect.TypeFor[routing.CertificateName](), certificateKind)
}

// namesIn returns the names of resources that a part names, but its own, each
// once: the certificates that it needs, the clusters that it sends to or asks,
// the policies that hold for it. The fields are found by their type, so that one
// that the Spec will have is not forgotten here.
func namesIn[T any](own string, part *T) []string {
	names := find(nil, part, reflect.TypeFor[routing.CertificateName](), certificateKind)
	names = find(names, part, reflect.TypeFor[routing.ClusterName](), clusterKind)
	names = find(names, part, reflect.TypeFor[routing.PolicyName](), policyKind)
	slices.Sort(names)
	return slices.DeleteFunc(slices.Compact(names), func(name string) bool { return name == own })
}

// find adds the names of one type in a part to names, as those of a kind of
// resources.
func find[T any](names []string, part *T, of reflect.Type, kind string) []string {
	if f := finderOf(reference{reflect.TypeFor[T](), of}); f != nil {
		f(reflect.ValueOf(part).Elem(), func(name string) { names = append(names, kind+name) })
	}
	return names
}

// A finder calls found with all names of one type in a value that are not empty.
type finder func(v reflect.Value, found func(name string))

// A reference is where to look, and for names of which type.
type reference struct{ in, to reflect.Type }

var finders sync.Map // by reference; nil where there can be no such names

func finderOf(r reference) finder {
	if f, ok := finders.Load(r); ok {
		return f.(finder)
	}
	f := makeFinder(r)
	finders.Store(r, f)
	return f
}

func makeFinder(r reference) finder {
	if r.in == r.to {
		return func(v reflect.Value, found func(string)) {
			if name := v.String(); name != "" {
				found(name)
			}
		}
	}
	switch r.in.Kind() {
	case reflect.Struct:
		return structFinder(r)
	case reflect.Pointer:
		if element := finderOf(reference{r.in.Elem(), r.to}); element != nil {
			return func(v reflect.Value, found func(string)) {
				if !v.IsNil() {
					element(v.Elem(), found)
				}
			}
		}
	case reflect.Slice:
		if element := finderOf(reference{r.in.Elem(), r.to}); element != nil {
			return func(v reflect.Value, found func(string)) {
				for i := range v.Len() {
					element(v.Index(i), found)
				}
			}
		}
	}
	return nil
}

func structFinder(r reference) finder {
	type field struct {
		index int
		find  finder
	}
	var fields []field
	for i := range r.in.NumField() {
		if f := r.in.Field(i); f.IsExported() {
			if find := finderOf(reference{f.Type, r.to}); find != nil {
				fields = append(fields, field{i, find})
			}
		}
	}
	if len(fields) == 0 {
		return nil
	}
	return func(v reflect.Value, found func(string)) {
		for _, f := range fields {
			f.find(v.Field(f.index), found)
		}
	}
}
