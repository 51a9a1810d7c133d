package meshports

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
)

// A store is the ConfigMap in the API server. A clientset would bring all of
// Kubernetes's types into the binary.
type store struct {
	client          rest.Interface
	namespace, name string
}

func newStore(config *rest.Config, namespace, name string) (store, error) {
	scheme := runtime.NewScheme()
	scheme.AddKnownTypes(corev1.SchemeGroupVersion, &corev1.ConfigMap{})
	metav1.AddToGroupVersion(scheme, corev1.SchemeGroupVersion)
	c := rest.CopyConfig(config)
	c.APIPath, c.GroupVersion = "/api", &corev1.SchemeGroupVersion
	c.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	client, err := rest.RESTClientFor(c)
	if err != nil {
		return store{}, fmt.Errorf("client of ConfigMaps: %w", err)
	}
	return store{client, namespace, name}, nil
}

func (s store) get(ctx context.Context) (*corev1.ConfigMap, error) {
	m := &corev1.ConfigMap{}
	err := s.client.Get().Namespace(s.namespace).Resource("configmaps").Name(s.name).Do(ctx).Into(m)
	return m, err
}

// create makes the ConfigMap of all that b says.
func (s store) create(ctx context.Context, b *book) (version string, err error) {
	m := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.namespace, Name: s.name,
			Labels: map[string]string{"app.kubernetes.io/name": "fairway", "app.kubernetes.io/managed-by": "fairway"},
		},
		Data: map[string]string{},
	}
	for key, port := range b.ports {
		m.Data[key] = textOf(port)
	}
	if text := b.releases(); text != nil {
		m.BinaryData = map[string][]byte{releasedKey: text}
	}
	made := &corev1.ConfigMap{}
	err = s.client.Post().Namespace(s.namespace).Resource("configmaps").Body(m).Do(ctx).Into(made)
	return made.ResourceVersion, err
}

// An edit is what is to be another than it is, as a merge patch (RFC 7386): nil
// is what is to go.
type edit struct {
	Metadata struct {
		ResourceVersion string `json:"resourceVersion"`
	} `json:"metadata"`
	Data       map[string]*string `json:"data,omitempty"`
	BinaryData map[string][]byte  `json:"binaryData,omitempty"`
}

// change edits the ConfigMap, if it is of that version still.
func (s store) change(ctx context.Context, version string, e *edit) (string, error) {
	e.Metadata.ResourceVersion = version
	body, err := json.Marshal(e)
	if err != nil {
		return "", err
	}
	m := &corev1.ConfigMap{}
	err = s.client.Patch(types.MergePatchType).Namespace(s.namespace).Resource("configmaps").Name(s.name).Body(body).Do(ctx).Into(m)
	return m.ResourceVersion, err
}
