package status

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// maxAncestors is how many PolicyStatus.ancestors may have, by the API.
const maxAncestors = 16

// errFull says that there is no place for an ancestor of ours.
var errFull = errors.New("status.ancestors is full of others' entries")

// An entry is one of RouteStatus.parents or PolicyStatus.ancestors: what a
// controller says of an object under one parent.
type entry struct {
	Ref        gatewayv1.ParentReference
	Controller gatewayv1.GatewayController
	Conditions []metav1.Condition
}

// A list is where entries are kept, and what the reference is called there.
type list struct {
	field, ref string
	most       int // 0 means no bound of ours
}

var (
	parents   = list{field: "parents", ref: "parentRef"}
	ancestors = list{field: "ancestors", ref: "ancestorRef", most: maxAncestors}
)

func (l list) parse(raw json.RawMessage) (e entry, err error) {
	var fields map[string]json.RawMessage
	if err = json.Unmarshal(raw, &fields); err != nil {
		return e, err
	}
	for name, into := range map[string]any{l.ref: &e.Ref, "controllerName": &e.Controller, "conditions": &e.Conditions} {
		if value, ok := fields[name]; ok {
			if err = json.Unmarshal(value, into); err != nil {
				return e, fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return e, nil
}

func (l list) format(e entry) (json.RawMessage, error) {
	return json.Marshal(map[string]any{l.ref: e.Ref, "controllerName": e.Controller, "conditions": e.Conditions})
}

// merge returns the list with want in the place of the controller's entries.
// Others' stay byte by byte. Of too many the last of want are left out, with
// errFull beside what there is room for. generation is the newest one that
// entries of ours were written for.
func (l list) merge(have []json.RawMessage, want []entry, controller gatewayv1.GatewayController, namespace string, now metav1.Time) (
	out []json.RawMessage, generation int64, err error) {
	placed := make([]bool, len(want))
	foreign := 0
	for i, raw := range have {
		e, err := l.parse(raw)
		if err != nil {
			return nil, 0, fmt.Errorf("status.%s[%d]: %w", l.field, i, err)
		}
		if e.Controller != controller {
			out = append(out, raw)
			foreign++
			continue
		}
		generation = max(generation, newest(e.Conditions))
		j := slices.IndexFunc(want, func(w entry) bool { return sameRef(w.Ref, e.Ref, namespace) })
		if j < 0 || placed[j] {
			continue // its parent is no parent any more
		}
		placed[j] = true
		want[j].Conditions = stamped(e.Conditions, want[j].Conditions, now)
		data, err := l.format(want[j])
		if err != nil {
			return nil, 0, err
		}
		out = append(out, data)
	}
	for j := range want {
		if placed[j] {
			continue
		}
		if l.most > 0 && len(out) >= l.most {
			return out, generation, errFull
		}
		want[j].Conditions = stamped(nil, want[j].Conditions, now)
		data, err := l.format(want[j])
		if err != nil {
			return nil, 0, err
		}
		out = append(out, data)
	}
	return out, generation, nil
}

// sameRef reports whether two references of an object are the same: what they
// leave out has the API's default.
func sameRef(a, b gatewayv1.ParentReference, namespace string) bool {
	return or(a.Group, gatewayv1.GroupName) == or(b.Group, gatewayv1.GroupName) &&
		or(a.Kind, "Gateway") == or(b.Kind, "Gateway") &&
		or(a.Namespace, gatewayv1.Namespace(namespace)) == or(b.Namespace, gatewayv1.Namespace(namespace)) &&
		a.Name == b.Name &&
		or(a.SectionName, "") == or(b.SectionName, "") &&
		or(a.Port, 0) == or(b.Port, 0)
}

// or returns what p points to, or the default where it is nil.
func or[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}
