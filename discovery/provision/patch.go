package provision

import (
	"encoding/json"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
)

// A desired is an object as it is applied.
type desired struct {
	kind, name string
	fields     map[string]any // without what another applies
}

// desiredOf turns an object into the fields to apply, overlays on top.
func (w *Wanted) desiredOf(object metav1.Object, kind string) (desired, error) {
	data, err := json.Marshal(object)
	if err != nil {
		return desired{}, fmt.Errorf("%s %s: %w", kind, object.GetName(), err)
	}
	for i, o := range w.spec().Overlays {
		if o.Kind != kind {
			continue
		}
		if data, err = strategicpatch.StrategicMergePatch(data, o.Patch.Raw, typeOf(kind)); err != nil {
			return desired{}, fmt.Errorf("spec.overlays[%d]: %s: %w", i, kind, err)
		}
	}
	d := desired{kind: kind, name: object.GetName()}
	if err := json.Unmarshal(data, &d.fields); err != nil {
		return desired{}, fmt.Errorf("%s %s: %w", kind, object.GetName(), err)
	}
	w.restore(&d, object)
	return d, nil
}

// typeOf is the type whose tags say how lists of a kind are merged.
func typeOf(kind string) any {
	switch kind {
	case kindServiceAccount:
		return corev1.ServiceAccount{}
	case kindConfigMap:
		return corev1.ConfigMap{}
	case kindService:
		return corev1.Service{}
	case kindDeployment:
		return appsv1.Deployment{}
	case kindBudget:
		return policyv1.PodDisruptionBudget{}
	case kindAutoscaler:
		return autoscalingv2.HorizontalPodAutoscaler{}
	}
	panic("bug: no type for kind " + kind)
}

// restore puts back what no overlay may change: who the object is, whose it
// is, and how its pods are found. Fields that the types write though nobody
// set them are taken out: applied, they would be ours.
func (w *Wanted) restore(d *desired, object metav1.Object) {
	delete(d.fields, "status")
	d.fields["apiVersion"], d.fields["kind"] = apiVersions[d.kind], d.kind
	meta := child(d.fields, "metadata")
	labels := child(meta, "labels")
	for k, v := range w.labels() {
		if isOurs(k) {
			labels[k] = v
		}
	}
	annotations := child(meta, "annotations")
	meta = map[string]any{
		"name":            object.GetName(),
		"namespace":       object.GetNamespace(),
		"labels":          labels,
		"ownerReferences": object.GetOwnerReferences(),
	}
	if len(annotations) > 0 {
		meta["annotations"] = annotations
	}
	d.fields["metadata"] = meta
	spec := child(d.fields, "spec")
	switch d.kind {
	case kindDeployment:
		template := child(spec, "template")
		podMeta := child(template, "metadata")
		delete(podMeta, "creationTimestamp")
		podLabels := child(podMeta, "labels")
		for k, v := range w.labels() {
			if isOurs(k) {
				podLabels[k] = v
			}
		}
		spec["selector"] = map[string]any{"matchLabels": w.selector()}
	case kindService:
		spec["selector"] = w.selector()
	case kindServiceAccount, kindConfigMap:
		delete(d.fields, "spec")
	}
}

func isOurs(label string) bool {
	switch label {
	case labelName, labelInstance, labelComponent, labelManagedBy, labelGateway, labelClass, labelManaged, labelWaypoint:
		return true
	}
	return false
}

// child returns the object that m has under a name, which it makes where there
// is none.
func child(m map[string]any, name string) map[string]any {
	c, ok := m[name].(map[string]any)
	if !ok {
		c = map[string]any{}
		m[name] = c
	}
	return c
}

// apiVersions are those that objects are written in.
var apiVersions = map[string]string{
	kindServiceAccount: "v1",
	kindConfigMap:      "v1",
	kindService:        "v1",
	kindDeployment:     "apps/v1",
	kindBudget:         "policy/v1",
	kindAutoscaler:     "autoscaling/v2",
}

// all is everything that the Gateway wants, in the order in which it is
// written.
func (w *Wanted) all(o *Options, roots []byte, replicas *int32) ([]desired, error) {
	var out []desired
	var failed error
	add := func(object metav1.Object, kind string) {
		d, err := w.desiredOf(object, kind)
		if err != nil && failed == nil {
			failed = err
		}
		out = append(out, d)
	}
	add(w.serviceAccount(), kindServiceAccount)
	add(w.configMap(roots), kindConfigMap)
	for _, s := range w.services() {
		add(s, kindService)
	}
	add(w.deployment(o, replicas), kindDeployment)
	add(w.budget(), kindBudget)
	if a := w.autoscaler(); a != nil {
		add(a, kindAutoscaler)
	}
	return out, failed
}
