package analysis

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairway.dev/routing"
)

// findings gathers what is wrong with one object.
type findings struct {
	origin routing.Origin
	list   []*routing.Problem
}

func (f *findings) of(kind string, o metav1.Object) {
	f.origin = routing.ObjectKey{Kind: kind, Namespace: o.GetNamespace(), Name: o.GetName()}.Origin()
}

// refuse notes what has to be mended.
func (f *findings) refuse(field string, reason routing.Reason, fix, format string, args ...any) {
	f.add(routing.Error, field, reason, fix, format, args...)
}

// warn notes what is hardly meant.
func (f *findings) warn(field string, reason routing.Reason, fix, format string, args ...any) {
	f.add(routing.Warning, field, reason, fix, format, args...)
}

func (f *findings) add(level routing.Level, field string, reason routing.Reason, fix, format string, args ...any) {
	f.list = append(f.list, &routing.Problem{
		Origin: f.origin.At(field),
		Reason: reason,
		Err:    fmt.Errorf(format, args...),
		Level:  level,
		Fix:    fix,
	})
}

// excludes refuses more than one of several fields: name, then whether it is
// set, and so on.
func (f *findings) excludes(field string, set ...choice) {
	var names []string
	for _, c := range set {
		if c.set {
			names = append(names, c.name)
		}
	}
	if len(names) > 1 {
		f.refuse(field, ConflictingFields, "keep one of them, or split the rule", "%v: want one of them", names)
	}
}

// A choice is one of several fields that exclude each other.
type choice struct {
	name string
	set  bool
}

// at is the path of an element of a list.
func at(field string, i int) string { return field + "[" + strconv.Itoa(i) + "]" }

// key is the path of an element of a map.
func key(field, k string) string { return field + "[" + strconv.Quote(k) + "]" }

// sorted yields a map in the order of its keys.
func sorted[K cmp.Ordered, V any](m map[K]V) iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			if !yield(k, m[k]) {
				return
			}
		}
	}
}
