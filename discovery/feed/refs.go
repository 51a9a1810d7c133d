package feed

import (
	"reflect"
	"slices"
	"sync"

	"fairway.dev/routing"
)

// certificatesOf returns the names of resources of the certificates that a
// part names, in its order. The fields are found by their type, so that one
// that the Spec will have is not forgotten here.
func certificatesOf[T routing.Listener | routing.Cluster](part *T) []string {
	var names []string
	finderOf(reference{reflect.TypeFor[T](), reflect.TypeFor[routing.CertificateName]()})(reflect.ValueOf(part).Elem(), func(name string) {
		names = append(names, certificateKind+name)
	})
	return names
}

// clustersOf returns the names of resources of the clusters that a route can
// send to, or that a listener tells of its exchanges, each once.
func clustersOf[T routing.Listener | routing.Route](part *T) []string {
	var names []string
	finderOf(reference{reflect.TypeFor[T](), reflect.TypeFor[routing.ClusterName]()})(reflect.ValueOf(part).Elem(), func(name string) {
		names = append(names, clusterKind+name)
	})
	slices.Sort(names)
	return slices.Compact(names)
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
