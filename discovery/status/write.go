package status

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"fairway.dev/routing"
	"fairway.dev/routing/gatewayapi"
)

// fieldManager is what our writes go by in metadata.managedFields.
const fieldManager = "fairway-status"

// tries is how often a write is tried again at once after somebody else wrote.
const tries = 4

func newClient(config *rest.Config) (*rest.RESTClient, error) {
	c := rest.CopyConfig(config)
	c.QPS, c.Burst, c.RateLimiter = qps, burst, nil
	c.Timeout = timeout
	c.ContentType, c.AcceptContentTypes = "application/json", "application/json"
	c.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	return rest.UnversionedRESTClientFor(c)
}

// A target is where the API server has an object.
type target struct {
	resource schema.GroupVersionResource
	key      routing.ObjectKey
}

// path is that of the object, or of its subresource.
func (t target) path(subresource ...string) []string {
	p := []string{"/apis", t.resource.Group, t.resource.Version}
	if t.resource.Group == "" {
		p = []string{"/api", t.resource.Version}
	}
	if t.key.Namespace != "" {
		p = append(p, "namespaces", t.key.Namespace)
	}
	return append(append(p, t.resource.Resource, t.key.Name), subresource...)
}

// An answer is what is read of an object.
type answer struct {
	Metadata struct {
		UID             string
		ResourceVersion string
		Generation      int64
		ManagedFields   []metav1.ManagedFieldsEntry
	}
	Status json.RawMessage
}

func (a *answer) known() known {
	status := a.Status
	if string(status) == "null" {
		status = nil
	}
	return known{
		version: version{a.Metadata.UID, a.Metadata.ResourceVersion}, generation: a.Metadata.Generation, status: status,
		loaded: true, answered: true, ours: wroteConditions(a.Metadata.ManagedFields),
	}
}

// work does what an object needs, and says when it needs more.
func (w *Writer) work(ctx context.Context, o *object) {
	w.mu.Lock()
	report, f := o.report, w.facts(o.report)
	w.mu.Unlock()
	did, err := w.write(ctx, o, report, f)
	if ctx.Err() != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	o.busy = false
	o.settled = did.settled
	if o.settled {
		delete(w.unsettled, o.key)
	}
	if did.wrote {
		o.written(time.Now(), saidBy(did.status))
	}
	switch {
	case err != nil:
		o.failures++
		did.again = min(retry<<min(o.failures-1, 16), maxRetry)
		w.o.Log.Warn("status not written", "origin", o.key.String(), "err", err)
	default:
		o.failures = 0
		if o.report.Gone && !o.again {
			delete(w.objects, o.key)
			return
		}
	}
	if did.again > 0 {
		w.schedule(o, time.Now().Add(did.again))
	}
	if o.again {
		o.again = false
		w.touch(o)
	}
}

// facts are those of the Gateway that a Report depends on. The lock is held.
func (w *Writer) facts(r *gatewayapi.Report) *facts {
	f := &facts{gateway: r.Gateway}
	if r.Object.Kind == "Gateway" {
		f.gateway = r.Object
	}
	if g := w.gateways[f.gateway]; g != nil {
		f.infra = g.infra
	}
	if shapeOf(r.Object.Kind) == meshShape {
		f.crews = w.crews(r)
	}
	return f
}

// crews are those that an object of Istio's concerns: of the Gateways that its
// listeners are on; of all where the Report names none. The lock is held.
func (w *Writer) crews(r *gatewayapi.Report) []crew {
	on := map[string]bool{}
	for _, name := range r.Names {
		on[w.o.GatewayOf(name)] = true
	}
	var list []crew
	for key, g := range w.gateways {
		name := key.Namespace + "/" + key.Name
		if g.infra != nil && g.infra.Ready > 0 && (len(r.Names) == 0 || on[name]) {
			list = append(list, crew{gateway: name})
		}
	}
	slices.SortFunc(list, func(a, b crew) int { return cmp.Compare(a.gateway, b.gateway) })
	return list
}

// What was done, and when to look again; 0 means when something changes.
type done struct {
	wrote   bool
	status  json.RawMessage // that was written
	settled bool            // see object
	again   time.Duration
}

// write brings an object's status up to date.
func (w *Writer) write(ctx context.Context, o *object, r *gatewayapi.Report, f *facts) (d done, err error) {
	if shape := shapeOf(o.key.Kind); r.Gone && shape != routeShape && shape != policyShape {
		return d, nil // what we said of it is for who has it now
	}
	resource, ok := w.o.Resource(o.key.Kind)
	if !ok || !w.refresh(o) || !w.concerns(o, r) {
		return d, nil // it is gone, or its kind is, or there is nothing to say of it
	}
	for i := range f.crews {
		c := &f.crews[i]
		c.version, c.pods = w.o.Version(c.gateway), w.o.Fleet(c.gateway).Pods
	}
	if f.gateway.Name != "" {
		name := f.gateway.Namespace + "/" + f.gateway.Name
		f.wanted, f.fleet = w.o.Wanted(name), w.o.Fleet(name)
	}
	t := target{resource, o.key}
	fresh := false // known was asked for just now
	for range tries {
		if !o.known.loaded {
			if there, err := w.get(ctx, t, &o.known); !there {
				return d, err
			}
			fresh = true
		}
		n, failed := compose(r, f, &o.known, w.o.ControllerName, metav1.Now())
		if failed != nil {
			return d, failed
		}
		if n.stale && !fresh {
			o.known.loaded = false // it may be of an object that is gone
			continue
		}
		d.settled = n.settled
		if n.full {
			w.o.Log.Warn("status incomplete: others have all the places for ancestors", "origin", o.key.String())
		}
		if n.stale || n.status == nil || sameJSON(n.status, o.known.sent) {
			return d, nil
		}
		if d.again = o.waiting.left(n.pending, r, w.o.Patience); d.again > 0 {
			return d, nil
		}
		if err = w.patch(ctx, t, &o.known, n.status); err == nil {
			d.wrote, d.status = true, n.status
			return d, nil
		}
		switch {
		case apierrors.IsNotFound(err):
			o.known = known{}
			return d, nil
		case !apierrors.IsInvalid(err) && !apierrors.IsConflict(err):
			return d, err
		}
		o.known.loaded = false // somebody wrote it
	}
	return d, err
}

// left is how long to wait for the fleet before it is written that something
// is pending; 0 once that was long enough.
func (p *waiting) left(pending bool, r *gatewayapi.Report, patience time.Duration) time.Duration {
	generation := newest(r.Conditions)
	switch {
	case !pending:
		*p = waiting{}
		return 0
	case p.generation != generation:
		*p = waiting{generation, time.Now().Add(patience)}
	}
	return max(time.Until(p.until), 0)
}

// watched returns the object as it was watched, and its version; nil where
// there is none.
func (w *Writer) watched(key routing.ObjectKey) (version, metav1.Object) {
	if w.o.Object == nil {
		return version{}, nil
	}
	object, ok := w.o.Object(key).(metav1.Object)
	if !ok {
		return version{}, nil
	}
	return version{string(object.GetUID()), object.GetResourceVersion()}, object
}

// refresh takes from the watch what is newer there than what we know. It
// returns false where there is no such object.
func (w *Writer) refresh(o *object) bool {
	if w.o.Object == nil {
		return true
	}
	v, object := w.watched(o.key)
	if object == nil {
		return false
	}
	if shapeOf(o.key.Kind) == serviceShape {
		return true // of Services' status the watch keeps too little
	}
	if o.known.loaded && v.uid == o.known.version.uid {
		order, err := resourceversion.CompareResourceVersion(v.number, o.known.version.number)
		if err == nil && order <= 0 {
			return true
		}
	}
	o.known = known{version: v, generation: object.GetGeneration(), loaded: true}
	if w.o.Status != nil {
		if status, apart := w.o.Status(o.key); apart {
			o.known.status = status
			return true
		}
	}
	if status := reflect.Indirect(reflect.ValueOf(object)).FieldByName("Status"); status.IsValid() && !status.IsZero() {
		data, err := json.Marshal(status.Interface())
		o.known.status, o.known.loaded = data, err == nil
	}
	return true
}

// get asks for an object. It returns false where there is none, or an error.
func (w *Writer) get(ctx context.Context, t target, k *known) (bool, error) {
	data, err := w.client.Get().AbsPath(t.path()...).Do(ctx).Raw()
	if apierrors.IsNotFound(err) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("get %s: %w", t.key, err)
	}
	var a answer
	if err := json.Unmarshal(data, &a); err != nil {
		return false, fmt.Errorf("get %s: %w", t.key, err)
	}
	*k = a.known()
	return true, nil
}

// patch writes a status in the place of the one that is known. If the API
// server has another by now, or another object, the error is one that
// apierrors.IsInvalid knows.
func (w *Writer) patch(ctx context.Context, t target, k *known, status json.RawMessage) error {
	type operation struct {
		Op    string `json:"op"`
		Path  string `json:"path"`
		Value any    `json:"value"`
	}
	body, err := json.Marshal([]operation{
		{"test", "/metadata/uid", k.version.uid},
		{"test", "/status", k.status}, // null stands for none
		{"add", "/status", status},    // in its place
	})
	if err != nil {
		return err
	}
	data, err := w.client.Patch(types.JSONPatchType).AbsPath(t.path("status")...).Param("fieldManager", fieldManager).Body(body).Do(ctx).Raw()
	if err != nil {
		return fmt.Errorf("patch %s: %w", t.key, err)
	}
	var a answer
	if err := json.Unmarshal(data, &a); err != nil {
		return fmt.Errorf("patch %s: %w", t.key, err)
	}
	*k = a.known()
	k.sent = status
	return nil
}
