package cluster

import (
	"cmp"

	extensionsv1alpha1 "istio.io/client-go/pkg/apis/extensions/v1alpha1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	networkingv1alpha3 "istio.io/client-go/pkg/apis/networking/v1alpha3"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	telemetryv1 "istio.io/client-go/pkg/apis/telemetry/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayxv1alpha1 "sigs.k8s.io/gateway-api/apisx/v1alpha1"

	"fairway.dev/routing"
	"fairway.dev/routing/istio"
	"fairway.dev/routing/v1alpha1"
)

// An object is what the World holds: a pointer to an API type.
type object interface {
	metav1.Object
	runtime.Object
}

// A kind is one that is watched.
type kind struct {
	name   string // as keys have it
	api    string // as the API has it, where that is not the name
	group  string
	plural string
	// versions that can be read, the best first. All have the shape of the
	// first, and are read into its type.
	versions []string

	// spare says that what is made of the World without the kind is less, and
	// not wrong.
	spare bool

	// empty returns an object of a kind that a CustomResourceDefinition
	// defines; nil for a kind that every API server has.
	empty func() object
	// metadata says that of each object only its metadata is watched.
	metadata bool
	// content says that the World holds contents that are fetched one by one
	// when somebody wants them; what is watched says that there is one.
	content func() object
	// trim takes away what nobody reads.
	trim func(object)

	// onDemand says that the kind is watched only while there is an object that
	// demands it.
	onDemand bool
	// demands says whether an object can be read only with Pods.
	demands func(object) bool
	// apart says that the status is kept as it came: the type, which is
	// protobuf's, would say it in other words.
	apart bool
}

const (
	gatewayGroup = "gateway.networking.k8s.io"
	istioGroup   = "networking.istio.io"

	securityGroup = "security.istio.io"
)

// The versions of Istio's networking and security APIs, which read alike.
var (
	networkingVersions = []string{"v1", "v1beta1", "v1alpha3"}
	securityVersions   = []string{"v1", "v1beta1"}
)

// kinds are in the order of their names.
var kinds = []*kind{
	{
		name: istio.KindAuthorization, group: securityGroup, plural: "authorizationpolicies", versions: securityVersions,
		empty: func() object { return new(securityv1.AuthorizationPolicy) }, trim: trimIstio, apart: true,
	},
	{
		name: "BackendTLSPolicy", group: gatewayGroup, plural: "backendtlspolicies",
		versions: []string{"v1", "v1alpha3"},
		empty:    func() object { return new(gatewayv1.BackendTLSPolicy) }, trim: trimCustom,
	},
	{
		name: "ConfigMap", plural: "configmaps", versions: []string{"v1"}, metadata: true,
		content: func() object { return new(corev1.ConfigMap) }, trim: trimContent,
	},
	{
		name: definitions, group: "apiextensions.k8s.io", plural: "customresourcedefinitions",
		versions: []string{"v1"}, metadata: true, spare: true, trim: trimDefinition,
	},
	{
		name: istio.KindDestinationRule, group: istioGroup, plural: "destinationrules", versions: networkingVersions,
		empty: func() object { return new(networkingv1.DestinationRule) }, trim: trimIstio, apart: true,
		demands: func(o object) bool { return readsPods(&o.(*networkingv1.DestinationRule).Spec) },
	},
	{
		name: "EndpointSlice", group: discoveryv1.GroupName, plural: "endpointslices",
		versions: []string{"v1"}, trim: trimEndpointSlice,
	},
	{
		name: istio.KindEnvoyFilter, group: istioGroup, plural: "envoyfilters", versions: []string{"v1alpha3"}, spare: true,
		empty: func() object { return new(networkingv1alpha3.EnvoyFilter) }, trim: trimEnvoyFilter, apart: true,
	},
	{
		name: "GRPCRoute", group: gatewayGroup, plural: "grpcroutes", versions: []string{"v1", "v1alpha2"},
		empty: func() object { return new(gatewayv1.GRPCRoute) }, trim: trimCustom,
	},
	{
		name: "Gateway", group: gatewayGroup, plural: "gateways", versions: []string{"v1", "v1beta1"},
		empty: func() object { return new(gatewayv1.Gateway) }, trim: trimCustom,
	},
	{
		name: istio.KindGateway, api: "Gateway", group: istioGroup, plural: "gateways", versions: networkingVersions,
		empty: func() object { return new(networkingv1.Gateway) }, trim: trimIstio, apart: true,
	},
	{
		name: "GatewayClass", group: gatewayGroup, plural: "gatewayclasses", versions: []string{"v1", "v1beta1"},
		empty: func() object { return new(gatewayv1.GatewayClass) }, trim: trimCustom,
	},
	{
		name: "GatewayParameters", group: v1alpha1.GroupVersion.Group, plural: "gatewayparameters",
		versions: []string{"v1alpha1"},
		empty:    func() object { return new(v1alpha1.GatewayParameters) }, trim: trimCustom,
	},
	{
		name: "HTTPRoute", group: gatewayGroup, plural: "httproutes", versions: []string{"v1", "v1beta1"},
		empty: func() object { return new(gatewayv1.HTTPRoute) }, trim: trimCustom,
	},
	{
		name: "ListenerSet", group: gatewayGroup, plural: "listenersets", versions: []string{"v1"},
		empty: func() object { return new(gatewayv1.ListenerSet) }, trim: trimCustom,
	},
	{name: "Namespace", plural: "namespaces", versions: []string{"v1"}, trim: trimNamespace},
	{name: "Node", plural: "nodes", versions: []string{"v1"}, metadata: true, spare: true, trim: trimNode},
	{
		name: istio.KindPeer, group: securityGroup, plural: "peerauthentications", versions: securityVersions,
		empty: func() object { return new(securityv1.PeerAuthentication) }, trim: trimIstio, apart: true,
	},
	{
		name: istio.KindPod, plural: "pods", versions: []string{"v1"}, spare: true, onDemand: true, trim: trimPod,
	},
	{
		name: "RateLimitPolicy", group: v1alpha1.GroupVersion.Group, plural: "ratelimitpolicies",
		versions: []string{"v1alpha1"}, spare: true, // older installations have no definition of it
		empty: func() object { return new(v1alpha1.RateLimitPolicy) }, trim: trimCustom,
	},
	{
		name: "ReferenceGrant", group: gatewayGroup, plural: "referencegrants", versions: []string{"v1", "v1beta1"},
		empty: func() object { return new(gatewayv1.ReferenceGrant) }, trim: trimCustom,
	},
	{
		name: istio.KindAuthentication, group: securityGroup, plural: "requestauthentications", versions: securityVersions,
		empty: func() object { return new(securityv1.RequestAuthentication) }, trim: trimIstio, apart: true,
	},
	{
		name: "Secret", plural: "secrets", versions: []string{"v1"}, metadata: true,
		content: func() object { return new(corev1.Secret) }, trim: trimContent,
	},
	{name: "Service", plural: "services", versions: []string{"v1"}, trim: trimService},
	{
		name: istio.KindServiceEntry, group: istioGroup, plural: "serviceentries", versions: networkingVersions,
		empty: func() object { return new(networkingv1.ServiceEntry) }, trim: trimIstio, apart: true,
		demands: func(o object) bool { return o.(*networkingv1.ServiceEntry).Spec.WorkloadSelector != nil },
	},
	{
		name: istio.KindSidecar, group: istioGroup, plural: "sidecars", versions: networkingVersions, spare: true,
		empty: func() object { return new(networkingv1.Sidecar) }, trim: trimSidecar, apart: true,
	},
	{
		name: "TCPRoute", group: gatewayGroup, plural: "tcproutes", versions: []string{"v1", "v1alpha2"},
		empty: func() object { return new(gatewayv1.TCPRoute) }, trim: trimCustom,
	},
	{
		name: "TLSRoute", group: gatewayGroup, plural: "tlsroutes", versions: []string{"v1", "v1alpha3", "v1alpha2"},
		empty: func() object { return new(gatewayv1.TLSRoute) }, trim: trimCustom,
	},
	{
		name: istio.KindTelemetry, group: "telemetry.istio.io", plural: "telemetries", versions: []string{"v1", "v1alpha1"}, spare: true,
		empty: func() object { return new(telemetryv1.Telemetry) }, trim: trimIstio, apart: true,
	},
	{
		name: "UDPRoute", group: gatewayGroup, plural: "udproutes", versions: []string{"v1", "v1alpha2"},
		empty: func() object { return new(gatewayv1.UDPRoute) }, trim: trimCustom,
	},
	{
		name: istio.KindVirtualService, group: istioGroup, plural: "virtualservices", versions: networkingVersions,
		empty: func() object { return new(networkingv1.VirtualService) }, trim: trimIstio, apart: true,
	},
	{
		name: istio.KindWasmPlugin, group: "extensions.istio.io", plural: "wasmplugins", versions: []string{"v1alpha1"}, spare: true,
		empty: func() object { return new(extensionsv1alpha1.WasmPlugin) }, trim: trimWasmPlugin, apart: true,
	},
	{
		name: istio.KindWorkloadEntry, group: istioGroup, plural: "workloadentries", versions: networkingVersions,
		empty: func() object { return new(networkingv1.WorkloadEntry) }, trim: trimWorkloadEntry, apart: true,
	},
	{
		name: "XBackendTrafficPolicy", group: gatewayxv1alpha1.GroupName, plural: "xbackendtrafficpolicies",
		versions: []string{"v1alpha1"}, spare: true,
		empty: func() object { return new(gatewayxv1alpha1.XBackendTrafficPolicy) }, trim: trimCustom,
	},
}

// definitions is the kind that says which other kinds there are.
const definitions = "CustomResourceDefinition"

func kindNamed(name string) *kind {
	for _, k := range kinds {
		if k.name == name {
			return k
		}
	}
	return nil
}

// kindOf returns the kind that the API calls so, or nil.
func kindOf(group, api string) *kind {
	for _, k := range kinds {
		if k.group == group && k.apiKind() == api {
			return k
		}
	}
	return nil
}

// apiKind is what the API calls the kind.
func (k *kind) apiKind() string { return cmp.Or(k.api, k.name) }

// defined reports whether the kind is there only where its definition is.
func (k *kind) defined() bool { return k.empty != nil }

// definition is the key of the kind's CustomResourceDefinition.
func (k *kind) definition() routing.ObjectKey {
	return routing.ObjectKey{Kind: definitions, Name: k.plural + "." + k.group}
}

func (k *kind) resource(version string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: k.group, Version: version, Resource: k.plural}
}

func (k *kind) key(o metav1.Object) routing.ObjectKey {
	return routing.ObjectKey{Kind: k.name, Namespace: o.GetNamespace(), Name: o.GetName()}
}
