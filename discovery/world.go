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
	"maps"
	"reflect"
	"slices"

	"fairway.dev/routing"
)

// A World is what there is. The zero World is empty and ready to use. One
// goroutine owns it; there is no lock.
type World struct {
	kinds map[string]map[routing.ObjectKey]any
}

// Get returns the object, a pointer to its API type, or nil where there is
// none. The caller does not change it.
func (w *World) Get(k routing.ObjectKey) any { return w.kinds[k.Kind][k] }

// Each calls f for every object of a kind, by namespace, then name. f does
// not change the World.
func (w *World) Each(kind string, f func(routing.ObjectKey, any)) {
	objects := w.kinds[kind]
	for _, k := range slices.SortedFunc(maps.Keys(objects), compare) {
		f(k, objects[k])
	}
}

// Len returns how many objects of a kind there are.
func (w *World) Len(kind string) int { return len(w.kinds[kind]) }

// Set puts object, a non-nil pointer to an API type, in k's place and reports
// whether that changed the World: an equal object changes nothing, and the
// one that was there stays. The World owns object from now on.
func (w *World) Set(k routing.ObjectKey, object any) bool {
	if old := w.Get(k); old != nil && (old == object || reflect.DeepEqual(old, object)) {
		return false
	}
	w.Put(k, object)
	return true
}

// Put is Set for who knows that object is another one.
func (w *World) Put(k routing.ObjectKey, object any) {
	objects := w.kinds[k.Kind]
	if objects == nil {
		if w.kinds == nil {
			w.kinds = map[string]map[routing.ObjectKey]any{}
		}
		objects = map[routing.ObjectKey]any{}
		w.kinds[k.Kind] = objects
	}
	objects[k] = object
}

// Delete takes the object out and reports whether there was one.
func (w *World) Delete(k routing.ObjectKey) bool {
	objects := w.kinds[k.Kind]
	_, ok := objects[k]
	delete(objects, k)
	return ok
}

func compare(a, b routing.ObjectKey) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}
