package status

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing"
	"fairway.dev/routing/gatewayapi"
)

// A next is the status that an object is to have.
type next struct {
	status  json.RawMessage // nil: nothing is to be written
	pending bool            // it says that the fleet has not answered, which it may do soon
	settled bool            // no answer of the fleet could make more of it Programmed
	stale   bool            // the Report is not of the object that the API server has now
	full    bool            // there is no room for all of it
}

// compose returns the status that an object is to have, given what the API
// server has and what the cluster says of its Gateway. Fields that are not ours
// stay as they are.
func compose(r *gatewayapi.Report, f *facts, k *known, controller gatewayv1.GatewayController, now metav1.Time) (n next, err error) {
	fields := map[string]json.RawMessage{}
	if len(k.status) > 0 {
		if err := json.Unmarshal(k.status, &fields); err != nil {
			return n, fmt.Errorf("status: %w", err)
		}
	}
	if fields == nil { // a null
		fields = map[string]json.RawMessage{}
	}
	d := document{fields: fields, generation: k.generation, now: now}
	switch shapeOf(r.Object.Kind) {
	case routeShape:
		want := make([]entry, len(r.Parents))
		for i, p := range r.Parents {
			want[i] = entry{p.ParentRef, p.ControllerName, p.Conditions}
		}
		n.stale, n.full = d.entries(parents, want, controller, r.Object)
	case policyShape:
		want := make([]entry, len(r.Ancestors))
		for i, a := range r.Ancestors {
			want[i] = entry{a.AncestorRef, a.ControllerName, a.Conditions}
		}
		n.stale, n.full = d.entries(ancestors, want, controller, r.Object)
	case classShape:
		n.stale = d.conditions(r.Conditions, "GatewayClass")
		d.set("supportedFeatures", r.SupportedFeatures, len(r.SupportedFeatures) > 0)
	case gatewayShape:
		if orphaned(r) {
			n = d.orphan(r, k)
			break
		}
		n = d.gateway(r, f)
	case meshShape:
		n = d.mesh(r, f.crews)
	case serviceShape:
		n.stale = d.conditions(r.Conditions, kindService)
	}
	if d.err != nil || n.stale {
		return n, d.err
	}
	if n.status, err = d.changed(k.status); err != nil {
		return n, err
	}
	return n, nil
}

// A shape is what the status of a kind looks like.
type shape int

const (
	gatewayShape shape = iota // conditions and listeners: Gateway, ListenerSet
	classShape
	routeShape  // parents
	policyShape // ancestors
	meshShape   // conditions and validationMessages: Istio's
	serviceShape
)

func shapeOf(kind string) shape {
	switch kind {
	case "Gateway", "ListenerSet":
		return gatewayShape
	case "GatewayClass":
		return classShape
	case "BackendTLSPolicy", "XBackendTrafficPolicy", "RateLimitPolicy":
		return policyShape
	case kindService:
		return serviceShape
	}
	if _, ok := meshKinds[kind]; ok {
		return meshShape
	}
	return routeShape
}

// A document is a status that is being put together.
type document struct {
	fields     map[string]json.RawMessage
	generation int64 // of the object; 0 is not known
	now        metav1.Time
	err        error // the first
}

// stale reports whether what was found at a generation is not to be written:
// the object was another one then, of the same name, or what is written there
// was found later.
func (d *document) stale(found, written int64) bool {
	if d.generation == 0 {
		return written > found
	}
	return found > d.generation || written > found && written <= d.generation
}

func (d *document) fail(err error) {
	if err != nil && d.err == nil {
		d.err = err
	}
}

// get reads a field into what into points to.
func (d *document) get(name string, into any) {
	if raw, ok := d.fields[name]; ok {
		if err := json.Unmarshal(raw, into); err != nil {
			d.fail(fmt.Errorf("status.%s: %w", name, err))
		}
	}
}

// set writes a field, or takes it out.
func (d *document) set(name string, value any, there bool) {
	if !there {
		delete(d.fields, name)
		return
	}
	data, err := json.Marshal(value)
	d.fail(err)
	d.fields[name] = data
}

// conditions writes those of a whole object, unless they are stale.
func (d *document) conditions(want []metav1.Condition, kind string) (stale bool) {
	var have []json.RawMessage
	d.get("conditions", &have)
	var parsed []metav1.Condition
	d.get("conditions", &parsed)
	var written int64
	for _, c := range parsed {
		if slices.Contains(ours(kind), c.Type) {
			written = max(written, c.ObservedGeneration)
		}
	}
	if d.stale(newest(want), written) {
		return true
	}
	merged, err := mergeConditions(have, want, ours(kind), d.now)
	d.fail(err)
	d.set("conditions", merged, len(merged) > 0)
	return false
}

// entries writes the controller's entries of a route or a policy.
func (d *document) entries(l list, want []entry, controller gatewayv1.GatewayController, of routing.ObjectKey) (stale, full bool) {
	var have []json.RawMessage
	d.get(l.field, &have)
	var generation int64
	for _, e := range want {
		generation = max(generation, newest(e.Conditions))
	}
	out, written, err := l.merge(have, want, controller, of.Namespace, d.now)
	if err != nil && err != errFull {
		d.fail(err)
		return false, false
	}
	if len(want) > 0 && d.stale(generation, written) {
		return true, false
	}
	if len(out) == 0 && len(have) == 0 {
		return false, err != nil
	}
	if out == nil {
		out = []json.RawMessage{} // the field is required
	}
	d.set(l.field, out, true)
	return false, err != nil
}

// gateway writes the status of a Gateway or a ListenerSet.
func (d *document) gateway(r *gatewayapi.Report, f *facts) next {
	var before []metav1.Condition
	var listeners []gatewayv1.ListenerStatus
	d.get("conditions", &before)
	d.get("listeners", &listeners)
	h := f.hold(r, before, listeners)
	if d.conditions(h.conditions, r.Object.Kind) {
		return next{stale: true}
	}
	for i := range h.listeners {
		l := &h.listeners[i]
		l.Conditions = stamped(conditionsOf(listeners, l.Name), l.Conditions, d.now)
		if l.SupportedKinds == nil {
			l.SupportedKinds = []gatewayv1.RouteGroupKind{} // older definitions require it
		}
	}
	d.set("listeners", h.listeners, len(h.listeners) > 0)
	if r.Object.Kind == "Gateway" {
		if f.infra != nil {
			d.set("addresses", f.infra.Addresses, len(f.infra.Addresses) > 0)
		}
		d.set("attachedListenerSets", r.AttachedListenerSets, r.AttachedListenerSets != nil)
	}
	return next{pending: h.pending, settled: h.settled}
}

// changed returns the document, or nil where it says what have says.
func (d *document) changed(have json.RawMessage) (json.RawMessage, error) {
	data, err := json.Marshal(d.fields)
	if err != nil {
		return nil, err
	}
	if sameJSON(data, have) || len(d.fields) == 0 && len(have) == 0 {
		return nil, nil
	}
	return data, nil
}

// sameJSON reports whether two texts stand for the same value.
func sameJSON(a, b []byte) bool {
	var left, right any
	return json.Unmarshal(a, &left) == nil && json.Unmarshal(b, &right) == nil && reflect.DeepEqual(left, right)
}
