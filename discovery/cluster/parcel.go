package cluster

import (
	"bytes"
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "sigs.k8s.io/json"
)

// A parcel is a custom resource as it comes over the wire. Its definition may
// be newer than the types here, which then cannot hold it; the list or watch
// that it comes with can be read all the same, as no error leaves a parcel.
type parcel struct {
	metav1.TypeMeta
	metav1.ObjectMeta // name, resourceVersion, and a bookmark's annotations

	object object          // trimmed; nil if err is not
	err    error           // why the types cannot hold the object
	status json.RawMessage // as it came, of kinds that keep it apart
}

// A head is what can be read of any object.
type head struct {
	APIVersion string          `json:"apiVersion"`
	Kind       string          `json:"kind"`
	Status     json.RawMessage `json:"status"`
	Metadata   struct {
		Namespace       string            `json:"namespace"`
		Name            string            `json:"name"`
		ResourceVersion string            `json:"resourceVersion"`
		Annotations     map[string]string `json:"annotations"`
	} `json:"metadata"`
}

// UnmarshalJSON reads the object into its kind's type and trims it, so that a
// list of thousands never holds more than what is kept of each.
func (p *parcel) UnmarshalJSON(data []byte) error {
	var h head
	if err := kjson.UnmarshalCaseSensitivePreserveInts(data, &h); err != nil {
		return err
	}
	p.ObjectMeta = metav1.ObjectMeta{
		Namespace: h.Metadata.Namespace, Name: h.Metadata.Name, ResourceVersion: h.Metadata.ResourceVersion,
	}
	gv, err := schema.ParseGroupVersion(h.APIVersion)
	if err != nil {
		return err
	}
	k := kindOf(gv.Group, h.Kind)
	if k == nil || !k.defined() {
		return fmt.Errorf("%s, kind %q: want a custom resource that is watched", h.APIVersion, h.Kind)
	}
	if h.Metadata.Name == "" { // a bookmark
		p.Annotations = h.Metadata.Annotations
		return nil
	}
	o := k.empty()
	if p.err = kjson.UnmarshalCaseSensitivePreserveInts(data, o); p.err == nil {
		if k.apart {
			p.status = bytes.Clone(h.Status)
		}
		k.tidy(o)
		p.object = o
	}
	return nil
}

// DeepCopyObject returns a copy that shares the object, which never changes.
func (p *parcel) DeepCopyObject() runtime.Object {
	c := *p
	return &c
}

// parcels are a list of custom resources.
type parcels struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata"`
	Items           []parcel `json:"items"`
}

// DeepCopyObject returns a copy that shares the objects.
func (p *parcels) DeepCopyObject() runtime.Object {
	c := *p
	return &c
}

var (
	_ json.Unmarshaler = (*parcel)(nil)
	_ object           = (*parcel)(nil)
	_ runtime.Object   = (*parcels)(nil)
)

// tidy trims o. Objects of lists and of watches, of one version and of
// another, are the same after that.
func (k *kind) tidy(o object) {
	o.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	k.trim(o)
}
