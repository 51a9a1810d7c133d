package cluster

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayxv1alpha1 "sigs.k8s.io/gateway-api/apisx/v1alpha1"

	"fairway.dev/routing"
	"fairway.dev/routing/v1alpha1"
)

// An object is what the World holds: a pointer to an API type.
type object interface {
	metav1.Object
	runtime.Object
}

// A kind is one that is watched.
type kind struct {
	name   string
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
}

const gatewayGroup = "gateway.networking.k8s.io"

// kinds are in the order of their names.
var kinds = []*kind{
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
		name: "EndpointSlice", group: discoveryv1.GroupName, plural: "endpointslices",
		versions: []string{"v1"}, trim: trimEndpointSlice,
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
		name: "ReferenceGrant", group: gatewayGroup, plural: "referencegrants", versions: []string{"v1", "v1beta1"},
		empty: func() object { return new(gatewayv1.ReferenceGrant) }, trim: trimCustom,
	},
	{
		name: "Secret", plural: "secrets", versions: []string{"v1"}, metadata: true,
		content: func() object { return new(corev1.Secret) }, trim: trimContent,
	},
	{name: "Service", plural: "services", versions: []string{"v1"}, trim: trimService},
	{
		name: "TCPRoute", group: gatewayGroup, plural: "tcproutes", versions: []string{"v1", "v1alpha2"},
		empty: func() object { return new(gatewayv1.TCPRoute) }, trim: trimCustom,
	},
	{
		name: "TLSRoute", group: gatewayGroup, plural: "tlsroutes", versions: []string{"v1", "v1alpha3", "v1alpha2"},
		empty: func() object { return new(gatewayv1.TLSRoute) }, trim: trimCustom,
	},
	{
		name: "UDPRoute", group: gatewayGroup, plural: "udproutes", versions: []string{"v1", "v1alpha2"},
		empty: func() object { return new(gatewayv1.UDPRoute) }, trim: trimCustom,
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
