// Package discovery knows what there is: the API objects that configuration
// is made from.
//
// A [World] holds them, typed, by [routing.ObjectKey]; who watches the world
// (a folder of manifests, a cluster) writes it, and the dialects read it. An
// object in the World is never changed: an edit puts a new one in its place,
// so whoever holds an object may keep it.
//
// The package decides nothing about routes, and knows no file and no server.
package discovery

import (
	"cmp"
	"reflect"
	"slices"

	"fairway.dev/routing"
)

// A World is what there is. The zero World is empty and ready to use. One
// goroutine owns it; there is no lock.
type World struct {
	kinds map[string]*shelf
}

// A shelf holds the objects of one kind.
type shelf struct {
	objects map[routing.ObjectKey]any
	keys    []routing.ObjectKey // of objects; in order unless messy
	messy   bool
}

// Get returns the object, a pointer to its API type, or nil where there is
// none. The caller does not change it.
func (w *World) Get(k routing.ObjectKey) any {
	if s := w.kinds[k.Kind]; s != nil {
		return s.objects[k]
	}
	return nil
}

// Each calls f for every object of a kind, by namespace, then name. f does
// not change the World.
func (w *World) Each(kind string, f func(routing.ObjectKey, any)) {
	s := w.kinds[kind]
	if s == nil {
		return
	}
	s.tidy()
	for _, k := range s.keys {
		f(k, s.objects[k])
	}
}

// Len returns how many objects of a kind there are.
func (w *World) Len(kind string) int {
	if s := w.kinds[kind]; s != nil {
		return len(s.objects)
	}
	return 0
}

// Set puts object, a non-nil pointer to an API type, in k's place and reports
// whether that changed the World: an equal object changes nothing, and the
// one that was there stays. The World owns object from now on.
func (w *World) Set(k routing.ObjectKey, object any) bool {
	s := w.kinds[k.Kind]
	if s == nil {
		if w.kinds == nil {
			w.kinds = map[string]*shelf{}
		}
		s = &shelf{objects: map[routing.ObjectKey]any{}}
		w.kinds[k.Kind] = s
	}
	old, ok := s.objects[k]
	if ok && (old == object || reflect.DeepEqual(old, object)) {
		return false
	}
	s.objects[k] = object
	if !ok {
		s.add(k)
	}
	return true
}

// Delete takes the object out and reports whether there was one.
func (w *World) Delete(k routing.ObjectKey) bool {
	s := w.kinds[k.Kind]
	if s == nil {
		return false
	}
	if _, ok := s.objects[k]; !ok {
		return false
	}
	delete(s.objects, k)
	s.tidy()
	i, _ := slices.BinarySearchFunc(s.keys, k, compare)
	s.keys = slices.Delete(s.keys, i, i+1)
	return true
}

// add notes a new key. Many at once, as at the start, are sorted together
// when somebody asks for the order.
func (s *shelf) add(k routing.ObjectKey) {
	s.messy = s.messy || len(s.keys) > 0 && compare(s.keys[len(s.keys)-1], k) > 0
	s.keys = append(s.keys, k)
}

func (s *shelf) tidy() {
	if s.messy {
		slices.SortFunc(s.keys, compare)
		s.messy = false
	}
}

func compare(a, b routing.ObjectKey) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}
