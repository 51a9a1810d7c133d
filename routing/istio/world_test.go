package istio

import (
	"encoding/json"
	"fmt"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	extensionsv1alpha1 "istio.io/client-go/pkg/apis/extensions/v1alpha1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	networkingv1alpha3 "istio.io/client-go/pkg/apis/networking/v1alpha3"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	telemetryv1 "istio.io/client-go/pkg/apis/telemetry/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing"
	"fairway.dev/routing/dialecttest"
	"fairway.dev/routing/gatewayapi"
	"fairway.dev/routing/v1alpha1"
)

// specOf returns where the spec of an object of Istio's goes.
func specOf(o metav1.Object) proto.Message {
	switch o := o.(type) {
	case *networkingv1.Gateway:
		return &o.Spec
	case *networkingv1.VirtualService:
		return &o.Spec
	case *networkingv1.DestinationRule:
		return &o.Spec
	case *networkingv1.ServiceEntry:
		return &o.Spec
	case *networkingv1.WorkloadEntry:
		return &o.Spec
	case *networkingv1.Sidecar:
		return &o.Spec
	case *telemetryv1.Telemetry:
		return &o.Spec
	case *securityv1.RequestAuthentication:
		return &o.Spec
	case *securityv1.AuthorizationPolicy:
		return &o.Spec
	case *securityv1.PeerAuthentication:
		return &o.Spec
	case *networkingv1alpha3.EnvoyFilter:
		return &o.Spec
	case *extensionsv1alpha1.WasmPlugin:
		return &o.Spec
	}
	return nil
}

// kinds makes an empty object of a kind. Istio's Gateway is told from the other
// by its apiVersion.
var kinds = map[string]func() metav1.Object{
	KindGateway:         func() metav1.Object { return &networkingv1.Gateway{} },
	KindVirtualService:  func() metav1.Object { return &networkingv1.VirtualService{} },
	KindDestinationRule: func() metav1.Object { return &networkingv1.DestinationRule{} },
	KindServiceEntry:    func() metav1.Object { return &networkingv1.ServiceEntry{} },
	KindWorkloadEntry:   func() metav1.Object { return &networkingv1.WorkloadEntry{} },
	KindTelemetry:       func() metav1.Object { return &telemetryv1.Telemetry{} },
	KindAuthentication:  func() metav1.Object { return &securityv1.RequestAuthentication{} },
	KindAuthorization:   func() metav1.Object { return &securityv1.AuthorizationPolicy{} },
	KindPeer:            func() metav1.Object { return &securityv1.PeerAuthentication{} },
	KindEnvoyFilter:     func() metav1.Object { return &networkingv1alpha3.EnvoyFilter{} },
	KindSidecar:         func() metav1.Object { return &networkingv1.Sidecar{} },
	KindWasmPlugin:      func() metav1.Object { return &extensionsv1alpha1.WasmPlugin{} },
	KindPod:             func() metav1.Object { return &corev1.Pod{} },
	"Gateway":           func() metav1.Object { return &gatewayv1.Gateway{} },
	"ListenerSet":       func() metav1.Object { return &gatewayv1.ListenerSet{} },
	"GatewayParameters": func() metav1.Object { return &v1alpha1.GatewayParameters{} },
	"HTTPRoute":         func() metav1.Object { return &gatewayv1.HTTPRoute{} },
	"BackendTLSPolicy":  func() metav1.Object { return &gatewayv1.BackendTLSPolicy{} },
	"Namespace":         func() metav1.Object { return &corev1.Namespace{} },
	"Node":              func() metav1.Object { return &corev1.Node{} },
	"Service":           func() metav1.Object { return &corev1.Service{} },
	"Secret":            func() metav1.Object { return &corev1.Secret{} },
	"ConfigMap":         func() metav1.Object { return &corev1.ConfigMap{} },
	"EndpointSlice":     func() metav1.Object { return &discoveryv1.EndpointSlice{} },
}

// decode is strict: what a type has no field for is a mistake of the test.
func decode(apiVersion, kind string, doc []byte) (string, metav1.Object, error) {
	if kind == "Gateway" && len(apiVersion) > 10 && apiVersion[:10] == "networking" {
		kind = KindGateway
	}
	if kinds[kind] == nil {
		return "", nil, fmt.Errorf("kind %q is not known", kind)
	}
	o := kinds[kind]()
	spec := specOf(o)
	if spec == nil {
		return kind, o, dialecttest.Strict(doc, o)
	}
	var parts map[string]json.RawMessage
	if err := json.Unmarshal(doc, &parts); err != nil {
		return "", nil, err
	}
	if text := parts["spec"]; text != nil {
		if err := protojson.Unmarshal(text, spec); err != nil {
			return "", nil, err
		}
		delete(parts, "spec")
	}
	rest, err := json.Marshal(parts)
	if err != nil {
		return "", nil, err
	}
	return kind, o, dialecttest.Strict(rest, o)
}

// A setting is how the dialects are told to translate.
type setting struct {
	gateway gatewayapi.Options
	istio   Options
}

// inCluster and inFolder are the two ways in which the program translates.
var (
	inCluster = setting{gateway: gatewayapi.Options{DefaultClass: "fairway", Isolated: true}}
	inFolder  = setting{gateway: gatewayapi.Options{DefaultClass: "fairway"}, istio: Options{AnySelector: true}}
)

// newTranslator returns one of both dialects.
func newTranslator(w dialecttest.World, s setting) *gatewayapi.Translator {
	t := gatewayapi.New(w, s.gateway)
	Join(t, s.istio)
	return t
}

// load puts the documents of a YAML text into a world.
func load(t testing.TB, w dialecttest.World, text string) []routing.ObjectKey {
	t.Helper()
	return w.Load(t, text, decode)
}

// translate returns what a fresh Translator makes of a world.
func translate(w dialecttest.World, s setting) *dialecttest.Result {
	return dialecttest.NewResult().Apply(newTranslator(w, s).Update(w.Keys()))
}
