package manifest

import (
	"cmp"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing"
	"fairway.dev/routing/gatewayapi"
)

// A claim is one file's word on an object. Of several, that of the first path
// is in force, and of one file's the first.
type claim struct {
	file  *file
	entry *entry
}

func compareClaims(a, b claim) int {
	return cmp.Or(cmp.Compare(a.file.path, b.file.path), cmp.Compare(a.entry.order, b.entry.order))
}

// claim enters a document's objects, and returns their keys.
func (f *Folder) claim(fi *file, d *document) (touched []routing.ObjectKey) {
	for e := range d.objects() {
		f.claims[e.key] = append(f.claims[e.key], claim{fi, e})
		touched = append(touched, e.key)
	}
	return touched
}

// retract takes a document's objects back, and returns their keys.
func (f *Folder) retract(d *document) (touched []routing.ObjectKey) {
	for e := range d.objects() {
		left := slices.DeleteFunc(f.claims[e.key], func(c claim) bool { return c.entry == e })
		if len(left) == 0 {
			delete(f.claims, e.key)
		} else {
			f.claims[e.key] = left
		}
		touched = append(touched, e.key)
	}
	return touched
}

// award gives each touched key to its first claim, and returns the keys of
// objects that changed by it, in order.
func (f *Folder) award(touched []routing.ObjectKey) []routing.ObjectKey {
	var changed []routing.ObjectKey
	give := func(k routing.ObjectKey) {
		before := f.world.Get(k) != nil
		if f.give(k) {
			changed = append(changed, k)
		}
		if after := f.world.Get(k) != nil; after && !before {
			f.peopled[k.Namespace]++
		} else if before && !after {
			f.peopled[k.Namespace]--
		}
	}
	slices.SortFunc(touched, compareKeys)
	touched = slices.Compact(touched)
	var within []routing.ObjectKey
	for _, k := range touched {
		give(k)
		if ns := namespaceKey(k.Namespace); k.Namespace != "" && !slices.Contains(within, ns) {
			within = append(within, ns)
		}
	}
	// A namespace is there with the first object in it, and goes with the last.
	for _, k := range within {
		give(k)
	}
	slices.SortFunc(changed, compareKeys)
	return slices.Compact(changed)
}

// give puts into the World what the claims to k say.
func (f *Folder) give(k routing.ObjectKey) bool {
	claims := f.claims[k]
	delete(f.disputed, k)
	if len(claims) > 1 {
		slices.SortStableFunc(claims, compareClaims)
		f.disputed[k] = true
	}
	if len(claims) == 0 {
		if o := f.implied(k); o != nil {
			return f.world.Set(k, o)
		}
		return f.world.Delete(k)
	}
	e := claims[0].entry
	if old, ok := f.world.Get(k).(object); ok {
		e.succeed(old)
	}
	return f.world.Set(k, e.object)
}

// succeed gives e's object the generation that comes after old's.
func (e *entry) succeed(old object) {
	generation := old.GetGeneration()
	if !sameSpec(old, e.object) {
		generation = max(generation+1, e.object.GetGeneration())
	}
	if generation != e.object.GetGeneration() {
		e.object = e.object.DeepCopyObject().(object) // what was in the World never changes
		e.object.SetGeneration(generation)
	}
}

// classKeys are our GatewayClasses, as an installation has them.
var classKeys = []routing.ObjectKey{{Kind: "GatewayClass", Name: "fairway"}, {Kind: "GatewayClass", Name: "fairway-waypoint"}}

func namespaceKey(name string) routing.ObjectKey {
	return routing.ObjectKey{Kind: "Namespace", Name: name}
}

// implied returns what a cluster has where no file says so: our GatewayClasses,
// and the namespaces that objects are in.
func (f *Folder) implied(k routing.ObjectKey) object {
	switch {
	case slices.Contains(classKeys, k):
		return &gatewayv1.GatewayClass{
			TypeMeta:   metav1.TypeMeta{APIVersion: gatewayv1.GroupVersion.String(), Kind: "GatewayClass"},
			ObjectMeta: metav1.ObjectMeta{Name: k.Name, Generation: 1},
			Spec:       gatewayv1.GatewayClassSpec{ControllerName: gatewayapi.DefaultControllerName},
		}
	case k.Kind == "Namespace" && f.peopled[k.Name] > 0:
		ns := &corev1.Namespace{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"},
			ObjectMeta: metav1.ObjectMeta{Name: k.Name, Generation: 1},
		}
		defaultNamespace(ns)
		return ns
	}
	return nil
}

func compareKeys(a, b routing.ObjectKey) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

// gatherProblems returns all that stand, in order.
func (f *Folder) gatherProblems() []*routing.Problem {
	var problems []*routing.Problem
	for path, ft := range f.astray {
		problems = append(problems, fileProblem(path, 0, *ft))
	}
	for fi := range f.faulty {
		problems = fi.appendProblems(problems)
	}
	for k := range f.disputed {
		claims := f.claims[k]
		winner := claims[0].place()
		for _, c := range claims[1:] {
			o := k.Origin()
			o.File, o.Line = c.file.path, c.line()
			problems = append(problems, &routing.Problem{Origin: o, Reason: Duplicate, Err: fmt.Errorf("%s has it already", winner)})
		}
	}
	slices.SortFunc(problems, compareProblems)
	return problems
}
