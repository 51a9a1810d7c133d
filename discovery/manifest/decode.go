package manifest

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"fairway.dev/routing"
)

// An entry is one object as a document has it, good or refused.
type entry struct {
	key    routing.ObjectKey // zero where the document does not say
	sum    uint64            // of the tree, to know it again
	item   string            // where in the document: "items[3]" of a List, else ""
	line   int               // of the object in the document, from 0
	object object            // nil where refused
	faults []fault           // why; their fields are below item

	part, order int // where in its file: the part, and the place among all objects
}

// A document is what was read from a part of a file.
type document struct {
	entries []*entry // in the order of the text
	others  []string // kinds that are nobody's business here
	kept    []*entry // last good versions of what is refused in entries
}

// decode reads one document. known returns the entry of an object that was
// read before, by the sum of its tree, or nil.
func decode(doc []byte, known func(uint64) *entry) (*document, error) {
	t, err := parse(doc)
	if err != nil {
		return nil, err
	}
	d := &document{}
	if err := d.add(t.root, "", known); err != nil {
		return nil, err
	}
	for _, e := range d.entries {
		e.place(t)
	}
	return d, nil
}

// add reads an object, or each object of a list of them.
func (d *document) add(v any, item string, known func(uint64) *entry) error {
	t, ok := v.(tree)
	if !ok {
		if v != nil {
			err := fmt.Errorf("%s: want an object with apiVersion and kind", typeName(v))
			d.entries = append(d.entries, &entry{item: item, faults: []fault{{reason: InvalidObject, err: err}}})
		}
		return nil
	}
	name, _ := t["kind"].(string)
	if items, ok := t["items"].([]any); ok && strings.HasSuffix(name, "List") {
		for i, v := range items {
			if err := d.add(v, joinField(item, "items["+strconv.Itoa(i)+"]"), known); err != nil {
				return err
			}
		}
		return nil
	}
	if name == "List" && t["items"] == nil {
		return nil // none in it
	}
	if len(d.entries) == maxObjects {
		return fmt.Errorf("%w: more than %d objects in one file", errTooComplex, maxObjects)
	}
	sum := sumOf(t)
	if old := known(sum); old != nil {
		e := *old
		e.item = item
		d.entries = append(d.entries, &e)
	} else if e := d.object(t); e != nil {
		e.sum, e.item = sum, item
		d.entries = append(d.entries, e)
	}
	return nil
}

// object reads one object; nil means that it is none of our business. It
// changes t.
func (d *document) object(t tree) *entry {
	apiVersion, _ := t["apiVersion"].(string)
	name, _ := t["kind"].(string)
	if apiVersion == "" || name == "" {
		return &entry{faults: []fault{{reason: InvalidObject, err: errors.New("no apiVersion or no kind: want both, as strings")}}}
	}
	k := kindOf(apiVersion, name)
	if k == nil {
		if isForOthers(apiVersion, name) {
			d.others = append(d.others, name)
			return nil
		}
		e := &entry{key: routing.ObjectKey{Kind: name}}
		e.key.Namespace, e.key.Name = names(t)
		e.faults = []fault{{field: "kind", reason: UnknownKind, err: fmt.Errorf("%s %s: want a kind that Fairway reads", apiVersion, name)}}
		return e
	}
	t["apiVersion"] = k.apiVersion()
	_, version := splitVersion(apiVersion)
	o, faults := k.make(t, version)
	e := &entry{key: k.key(t), faults: faults}
	if len(faults) == 0 {
		e.object = o
	}
	return e
}

// key returns the name of an object; the namespace is "default" where it says
// none.
func (k *kind) key(t tree) routing.ObjectKey {
	namespace, name := names(t)
	switch {
	case name == "":
		return routing.ObjectKey{}
	case k.cluster:
		namespace = ""
	case namespace == "":
		namespace = metav1.NamespaceDefault
	}
	return routing.ObjectKey{Kind: k.name, Namespace: namespace, Name: name}
}

func names(t tree) (namespace, name string) {
	meta, _ := t["metadata"].(tree)
	namespace, _ = meta["namespace"].(string)
	name, _ = meta["name"].(string)
	return namespace, name
}

// make makes an object of t, which is written in a version of the kind, as the
// API server would store it, or says why it would not.
func (k *kind) make(t tree, version string) (object, []fault) {
	o := k.empty()
	if k.schemas != nil {
		if faults := k.admit(t, version); len(faults) > 0 {
			return nil, faults
		}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(t, o); err != nil {
			return nil, []fault{{reason: InvalidObject, err: err}}
		}
		k.complete(o)
		return o, nil
	}
	if k.read == nil {
		delete(t, "status") // nobody's to give but ours
	}
	for part, fields := range k.read {
		if of, ok := t[part].(tree); ok {
			keep(of, fields)
		}
	}
	if faults := strict(t, o); len(faults) > 0 {
		return nil, faults
	}
	k.complete(o)
	if k.defaults != nil {
		k.defaults(o)
	}
	errs := k.checkMeta(o)
	if k.validate != nil {
		errs = append(errs, k.validate(o)...)
	}
	return o, fieldFaults(InvalidObject, errs)
}

// keep leaves fields of t, and of "list.field" that field of the list's items.
func keep(t tree, fields []string) {
	for name := range t {
		if slices.Contains(fields, name) {
			continue
		}
		i := slices.IndexFunc(fields, func(f string) bool { return strings.HasPrefix(f, name+".") })
		items, ok := t[name].([]any)
		if i < 0 || !ok {
			delete(t, name)
			continue
		}
		kept := items[:0]
		for _, item := range items {
			of, ok := item.(tree)
			if ok {
				keep(of, []string{fields[i][len(name)+1:]})
			}
			if !ok || len(of) > 0 {
				kept = append(kept, item)
			}
		}
		if t[name] = kept; len(kept) == 0 {
			delete(t, name)
		}
	}
}

// complete fills in the metadata that the API server would, but for those that
// differ each time.
func (k *kind) complete(o metav1.Object) {
	if k.cluster {
		o.SetNamespace("")
	} else if o.GetNamespace() == "" {
		o.SetNamespace(metav1.NamespaceDefault)
	}
	o.SetManagedFields(nil)
	o.SetGeneration(max(o.GetGeneration(), 1))
}

// checkMeta validates complete metadata.
func (k *kind) checkMeta(o metav1.Object) field.ErrorList {
	nameOf := k.nameOf
	if nameOf == nil {
		nameOf = apivalidation.NameIsDNSSubdomain // as for all custom resources
	}
	return apivalidation.ValidateObjectMetaAccessor(o, !k.cluster, nameOf, field.NewPath("metadata"))
}

func typeName(v any) string {
	switch v.(type) {
	case []any:
		return "a list"
	case string:
		return "a string"
	}
	return "a scalar"
}

func joinField(a, b string) string {
	if a == "" || b == "" || b[0] == '[' {
		return a + b
	}
	return a + "." + b
}
