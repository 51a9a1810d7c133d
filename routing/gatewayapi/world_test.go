package gatewayapi

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayxv1alpha1 "sigs.k8s.io/gateway-api/apisx/v1alpha1"

	"fairway.dev/routing"
	"fairway.dev/routing/dialecttest"
	"fairway.dev/routing/v1alpha1"
)

// kinds makes an empty object of a kind.
var kinds = map[string]func() metav1.Object{
	"GatewayClass":             func() metav1.Object { return &gatewayv1.GatewayClass{} },
	"Gateway":                  func() metav1.Object { return &gatewayv1.Gateway{} },
	"HTTPRoute":                func() metav1.Object { return &gatewayv1.HTTPRoute{} },
	"ListenerSet":              func() metav1.Object { return &gatewayv1.ListenerSet{} },
	"GatewayParameters":        func() metav1.Object { return &v1alpha1.GatewayParameters{} },
	"RateLimitPolicy":          func() metav1.Object { return &v1alpha1.RateLimitPolicy{} },
	"GRPCRoute":                func() metav1.Object { return &gatewayv1.GRPCRoute{} },
	"ReferenceGrant":           func() metav1.Object { return &gatewayv1.ReferenceGrant{} },
	"TLSRoute":                 func() metav1.Object { return &gatewayv1.TLSRoute{} },
	"TCPRoute":                 func() metav1.Object { return &gatewayv1.TCPRoute{} },
	"UDPRoute":                 func() metav1.Object { return &gatewayv1.UDPRoute{} },
	"BackendTLSPolicy":         func() metav1.Object { return &gatewayv1.BackendTLSPolicy{} },
	"XBackendTrafficPolicy":    func() metav1.Object { return &gatewayxv1alpha1.XBackendTrafficPolicy{} },
	"CustomResourceDefinition": func() metav1.Object { return &metav1.PartialObjectMetadata{} },
	"Namespace":                func() metav1.Object { return &corev1.Namespace{} },
	"Service":                  func() metav1.Object { return &corev1.Service{} },
	"Secret":                   func() metav1.Object { return &corev1.Secret{} },
	"ConfigMap":                func() metav1.Object { return &corev1.ConfigMap{} },
	"Pod":                      func() metav1.Object { return &corev1.Pod{} },
	"EndpointSlice":            func() metav1.Object { return &discoveryv1.EndpointSlice{} },
}

// A world is what a test says there is.
type world map[routing.ObjectKey]any

func (w world) Get(k routing.ObjectKey) any { return w[k] }

func (w world) keys() []routing.ObjectKey { return dialecttest.World(w).Keys() }

// load puts the documents of a YAML text into the world. It returns their keys.
func (w world) load(t testing.TB, text string) []routing.ObjectKey {
	t.Helper()
	return dialecttest.World(w).Load(t, text, func(_, kind string, doc []byte) (string, metav1.Object, error) {
		if kinds[kind] == nil {
			return "", nil, fmt.Errorf("kind %s is not known", kind)
		}
		o := kinds[kind]()
		return kind, o, dialecttest.Strict(doc, o)
	})
}

func (w world) put(kind string, o metav1.Object) routing.ObjectKey {
	return dialecttest.World(w).Put(kind, o)
}

// translate returns what a fresh Translator makes of the world.
func (w world) translate(opts Options) *dialecttest.Result {
	return dialecttest.NewResult().Apply(New(w, opts).Update(w.keys()))
}

var day = dialecttest.Day
