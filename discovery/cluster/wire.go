package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"fairway.dev/routing"
)

// A wire leads to the API server: clients of all kinds over one connection.
type wire struct {
	config   *rest.Config
	http     *http.Client
	codecs   serializer.CodecFactory
	metadata metadata.Interface
	clients  map[schema.GroupVersion]rest.Interface
}

var coreV1 = schema.GroupVersion{Version: "v1"}

const protobuf = "application/vnd.kubernetes.protobuf,application/json"

func newWire(config *rest.Config, userAgent string) (*wire, error) {
	w := &wire{
		config: rest.CopyConfig(config), codecs: serializer.NewCodecFactory(newScheme()),
		clients: map[schema.GroupVersion]rest.Interface{},
	}
	w.config.UserAgent = userAgent
	w.config.QPS = -1                           // client-go's limit would delay an edit behind a flood of other requests
	w.config.Timeout = 0                        // watches last
	w.config.WarningHandler = rest.NoWarnings{} // that a version is old is not for the log of every watch
	var err error
	if w.http, err = rest.HTTPClientFor(w.config); err != nil {
		return nil, err
	}
	if w.metadata, err = metadata.NewForConfigAndClient(w.config, w.http); err != nil {
		return nil, err
	}
	for _, k := range kinds {
		for _, version := range k.versions {
			gv := k.resource(version).GroupVersion()
			if w.clients[gv], err = w.client(gv); err != nil {
				return nil, err
			}
		}
	}
	return w, nil
}

// newScheme knows the types of kinds that are read whole, in each version.
func newScheme() *runtime.Scheme {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, discoveryv1.AddToScheme} {
		if err := add(s); err != nil {
			panic("bug: " + err.Error()) // generated code, and an empty scheme
		}
	}
	for _, k := range kinds {
		if !k.defined() {
			continue
		}
		for _, version := range k.versions {
			gv := schema.GroupVersion{Group: k.group, Version: version}
			s.AddKnownTypeWithName(gv.WithKind(k.apiKind()), &parcel{})
			s.AddKnownTypeWithName(gv.WithKind(k.apiKind()+"List"), &parcels{})
			metav1.AddToGroupVersion(s, gv)
		}
	}
	return s
}

// client makes the client of an API version.
func (w *wire) client(gv schema.GroupVersion) (rest.Interface, error) {
	c := rest.CopyConfig(w.config)
	c.GroupVersion = &gv
	c.APIPath = "/apis"
	if gv.Group == "" {
		c.APIPath = "/api"
	}
	c.NegotiatedSerializer = w.codecs.WithoutConversion()
	if gv.Group == "" || gv.Group == discoveryv1.GroupName { // custom resources come as JSON only
		c.AcceptContentTypes, c.ContentType = protobuf, runtime.ContentTypeProtobuf
	}
	return rest.RESTClientForConfigAndClient(c, w.http)
}

// listWatch returns how a kind is listed and watched in a version.
func (w *wire) listWatch(k *kind, version string) *cache.ListWatch {
	gvr := k.resource(version)
	if k.metadata {
		r := w.metadata.Resource(gvr)
		return &cache.ListWatch{
			ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
				return r.List(ctx, o)
			},
			WatchFuncWithContext: r.Watch,
		}
	}
	c := w.clients[gvr.GroupVersion()]
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return c.Get().Resource(k.plural).VersionedParams(&o, metav1.ParameterCodec).Do(ctx).Get()
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.Watch = true
			return c.Get().Resource(k.plural).VersionedParams(&o, metav1.ParameterCodec).Watch(ctx)
		},
	}
}

// content fetches a Secret or ConfigMap.
func (w *wire) content(ctx context.Context, k *kind, key routing.ObjectKey) (object, error) {
	o := k.content()
	if err := w.clients[coreV1].Get().Namespace(key.Namespace).Resource(k.plural).Name(key.Name).Do(ctx).Into(o); err != nil {
		return nil, err
	}
	k.tidy(o)
	return o, nil
}

// served returns the plurals of the kinds that an API version has; none where
// there is no such version.
func (w *wire) served(ctx context.Context, gv schema.GroupVersion) (map[string]bool, error) {
	data, err := w.clients[coreV1].Get().AbsPath("/apis", gv.Group, gv.Version).SetHeader("Accept", runtime.ContentTypeJSON).Do(ctx).Raw()
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list metav1.APIResourceList
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("resources of %s: %w", gv, err)
	}
	plurals := map[string]bool{}
	for _, r := range list.APIResources {
		plurals[r.Name] = true
	}
	return plurals, nil
}
