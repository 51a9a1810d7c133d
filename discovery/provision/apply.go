package provision

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// written is what became of an object that was applied.
type written struct {
	hash    [sha256.Size]byte // of what was applied
	fields  string            // that are ours since then, as the API server has it
	version string            // resourceVersion
}

// A takenError says that an object is somebody else's.
type takenError struct{ kind, ns, name, owner string }

func (e *takenError) Error() string {
	return fmt.Sprintf("%s %s/%s belongs to %s: want it deleted, or another name for the Gateway", e.kind, e.ns, e.name, e.owner)
}

// reconcile makes the cluster have what w wants, and reports what it has. What
// cannot be done is part of the report; errors are worth another try.
func (t *term) reconcile(ctx context.Context, w *Wanted, roots []byte) (time.Duration, error) {
	f := t.fleet(w)
	live, err := t.find(ctx, kindDeployment, w.Gateway.Namespace, w.name())
	if err != nil {
		return 0, err
	}
	all, err := w.all(&t.o, roots, w.replicasOver(live))
	if err != nil { // an overlay: what is there stays
		return t.report(ctx, w, f, &Trouble{gatewayv1.GatewayReasonInvalidParameters, err.Error()})
	}
	var trouble *Trouble
	var failed error
	blocked := false // what pods run as, or trust, is not ours
	for _, d := range all {
		if d.kind == kindDeployment && blocked {
			continue
		}
		err := t.ensure(ctx, w, f, d)
		if why := troubleOf(err); why != nil && trouble == nil {
			trouble = why
		}
		var taken *takenError
		if errors.As(err, &taken) {
			blocked = true
		} else if err != nil && failed == nil {
			failed = err
		}
	}
	if err := t.prune(ctx, w, f, all); err != nil && failed == nil {
		failed = err
	}
	again, err := t.report(ctx, w, f, trouble)
	if blocked { // nothing tells when another's object goes
		again = lookAgain
	}
	return again, errors.Join(failed, err)
}

// replicasOver is the number of pods to apply over what is there: parameters'
// number; where they have none the first one, which is ours until somebody
// scales the Deployment and nobody's business of ours after that.
func (w *Wanted) replicasOver(live metav1.Object) *int32 {
	if n := w.replicas(); n != nil {
		return n
	}
	d, ok := live.(*appsv1.Deployment)
	if !ok {
		first := w.firstReplicas()
		return &first
	}
	if ownsReplicas(d) {
		return d.Spec.Replicas // left out it would be reset to 1
	}
	return nil
}

// ownsReplicas reports whether we were the last to say how many pods there are.
func ownsReplicas(d *appsv1.Deployment) bool {
	var fields struct {
		Spec map[string]json.RawMessage `json:"f:spec"`
	}
	if json.Unmarshal([]byte(ourFields(d)), &fields) != nil {
		return false
	}
	_, ours := fields.Spec["f:replicas"]
	return ours
}

// ourFields are the fields of an object that are ours, as the API server
// writes them down; empty if none are.
func ourFields(o metav1.Object) string {
	for _, e := range o.GetManagedFields() {
		if isApplied(&e) && e.FieldsV1 != nil {
			return e.FieldsV1.GetRawString()
		}
	}
	return ""
}

// find returns an object, nil where there is none. One without our labels is
// not watched, and asked for.
func (t *term) find(ctx context.Context, kind, ns, name string) (metav1.Object, error) {
	if o := t.cached(kind, ns, name); o != nil {
		return o, nil
	}
	o, err := t.kind(kind).get(ctx, ns, name)
	if apierrors.IsNotFound(err) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("%s %s/%s: %w", kind, ns, name, err)
	}
	return o, nil
}

func (t *term) kind(name string) *kind {
	i := slices.IndexFunc(t.kinds, func(k *kind) bool { return k.name == name })
	return t.kinds[i]
}

// ensure applies d unless it stands already, or is somebody else's.
func (t *term) ensure(ctx context.Context, w *Wanted, f *fleet, d desired) error {
	ns := w.Gateway.Namespace
	live, err := t.find(ctx, d.kind, ns, d.name)
	if err != nil {
		return err
	}
	if live != nil {
		if err := ownedBy(live, w, d.kind); err != nil {
			return err
		}
	}
	data, err := json.Marshal(d.fields)
	if err != nil {
		return fmt.Errorf("%s %s: %w", d.kind, d.name, err)
	}
	id, hash := d.kind+"/"+d.name, sha256.Sum256(data)
	if live != nil {
		if f.stands(id, hash, live) {
			return nil
		}
		// Only that very object, and of a Deployment only as we know it: who
		// scales it meanwhile is not overruled.
		meta := d.fields["metadata"].(map[string]any)
		meta["uid"] = live.GetUID()
		if d.kind == kindDeployment {
			meta["resourceVersion"] = live.GetResourceVersion()
		}
		if data, err = json.Marshal(d.fields); err != nil {
			return fmt.Errorf("%s %s: %w", d.kind, d.name, err)
		}
	}
	// The first time nothing is forced: what came there a moment ago is
	// somebody else's, and its fields clash with ours.
	out, err := t.kind(d.kind).apply(ctx, ns, d.name, data, live != nil)
	if err != nil {
		if apierrors.IsConflict(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			return errSoon
		}
		return fmt.Errorf("%s %s/%s: %w", d.kind, ns, d.name, err)
	}
	t.o.Log.Debug("applied", "gateway", ns+"/"+w.Gateway.Name, "kind", d.kind, "name", d.name)
	f.written[id] = written{hash, ourFields(out), out.GetResourceVersion()}
	return nil
}

// stands reports whether an object is as it was applied: the same was applied
// last, and no field of ours has become another's since. That another changed
// one is seen at that, as the API server takes it from our fields.
func (f *fleet) stands(id string, hash [sha256.Size]byte, live metav1.Object) bool {
	last, ok := f.written[id]
	if !ok || last.hash != hash {
		return false
	}
	if order, err := resourceversion.CompareResourceVersion(live.GetResourceVersion(), last.version); err == nil && order < 0 {
		return true // the watch has yet to bring what was written
	}
	return last.fields == ourFields(live)
}

// ownedBy returns nil if the Gateway is the object's controller.
func ownedBy(o metav1.Object, w *Wanted, kind string) error {
	ref := metav1.GetControllerOfNoCopy(o)
	switch {
	case ref != nil && ref.UID == w.Gateway.UID:
		if o.GetDeletionTimestamp() != nil {
			return errSoon // it is made again once it is gone
		}
		return nil
	case ref != nil && ref.Kind == "Gateway" && ref.Name == w.Gateway.Name:
		return errSoon // of a deleted Gateway of that name; it is being collected
	}
	e := &takenError{kind: kind, ns: o.GetNamespace(), name: o.GetName(), owner: "nobody that it names"}
	if ref != nil {
		e.owner = ref.Kind + " " + ref.Name
	}
	return e
}

// prune deletes what the Gateway has and does not want any more.
func (t *term) prune(ctx context.Context, w *Wanted, f *fleet, all []desired) error {
	var failed error
	for _, k := range t.kinds {
		if k.name == kindService && len(w.Ports) == 0 {
			continue // its addresses stay
		}
		for _, o := range t.ownedBy(k.name, keyOf(w.Gateway)) {
			wanted := slices.ContainsFunc(all, func(d desired) bool { return d.kind == k.name && d.name == o.GetName() })
			if !wanted && gatewayOf(o).UID == w.Gateway.UID {
				delete(f.written, k.name+"/"+o.GetName())
				failed = errors.Join(failed, t.remove(ctx, k, o))
			}
		}
	}
	return failed
}

// remove deletes that very object.
func (t *term) remove(ctx context.Context, k *kind, o metav1.Object) error {
	if o.GetDeletionTimestamp() != nil {
		return nil
	}
	err := k.remove(ctx, o.GetNamespace(), o.GetName(), o.GetUID())
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("delete %s %s/%s: %w", k.name, o.GetNamespace(), o.GetName(), err)
	}
	t.o.Log.Info("deleted", "kind", k.name, "name", o.GetNamespace()+"/"+o.GetName())
	return nil
}

// troubleOf is what an error means for the Gateway; nil if another try may do.
func troubleOf(err error) *Trouble {
	var taken *takenError
	if errors.As(err, &taken) {
		return &Trouble{NameTaken, err.Error()}
	}
	if apierrors.IsForbidden(err) { // a quota, a policy of the cluster
		return &Trouble{gatewayv1.GatewayReasonNoResources, brief(err.Error())}
	}
	if !apierrors.IsInvalid(err) && !apierrors.IsBadRequest(err) {
		return nil
	}
	reason := gatewayv1.GatewayReasonInvalid
	var status apierrors.APIStatus
	if errors.As(err, &status) && status.Status().Details != nil {
		for _, cause := range status.Status().Details.Causes {
			if strings.HasPrefix(cause.Field, "spec.externalIPs") || strings.HasPrefix(cause.Field, "spec.loadBalancerIP") || strings.HasPrefix(cause.Field, "spec.ipFamilies") {
				reason = gatewayv1.GatewayReasonAddressNotUsable
			}
		}
	}
	return &Trouble{reason, brief(err.Error())}
}

// brief cuts a message of others to a length that a status can bear.
func brief(s string) string {
	const most = 1024
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
