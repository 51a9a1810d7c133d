package manifest

import (
	"cmp"
	"reflect"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	extensionsv1alpha1 "istio.io/client-go/pkg/apis/extensions/v1alpha1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	networkingv1alpha3 "istio.io/client-go/pkg/apis/networking/v1alpha3"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	telemetryv1 "istio.io/client-go/pkg/apis/telemetry/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayxv1alpha1 "sigs.k8s.io/gateway-api/apisx/v1alpha1"

	"fairway.dev/routing/istio"
	"fairway.dev/routing/v1alpha1"
)

// An object is what the World holds: a pointer to an API type.
type object interface {
	metav1.Object
	runtime.Object
}

// A kind is one that the World holds.
type kind struct {
	name     string // as keys have it
	api      string // as manifests have it, where that is not the name
	group    string
	versions []string // that the API serves; all are read into the types of the first
	cluster  bool     // its objects have no namespace
	empty    func() object

	// Of a kind that is defined by a CustomResourceDefinition.
	plural  string
	schemas map[string]*schema // by version

	// Of a kind that the API server has built in.
	read     map[string][]string // the fields of spec and status that are read (see keep); nil: all of spec
	nameOf   apivalidation.ValidateNameFunc
	defaults func(object)
	validate func(object) field.ErrorList
}

const (
	gatewayGroup      = "gateway.networking.k8s.io"
	experimentalGroup = "gateway.networking.x-k8s.io"
	istioGroup        = "networking.istio.io"
	securityGroup     = "security.istio.io"
)

// The versions of Istio's networking and security APIs, which read alike.
var (
	networkingVersions = []string{"v1", "v1beta1", "v1alpha3"}
	securityVersions   = []string{"v1", "v1beta1"}
)

// kinds are in the order of their names.
var kinds = withSchemas([]*kind{
	{
		name: istio.KindAuthorization, group: securityGroup, versions: securityVersions,
		empty:  func() object { return new(securityv1.AuthorizationPolicy) },
		plural: "authorizationpolicies",
	},
	{
		name: "BackendTLSPolicy", group: gatewayGroup, versions: []string{"v1", "v1alpha3"},
		empty:  func() object { return new(gatewayv1.BackendTLSPolicy) },
		plural: "backendtlspolicies",
	},
	{
		name: "ConfigMap", versions: []string{"v1"},
		empty:    func() object { return new(corev1.ConfigMap) },
		nameOf:   apivalidation.NameIsDNSSubdomain,
		validate: validateConfigMap,
	},
	{
		name: istio.KindDestinationRule, group: istioGroup, versions: networkingVersions,
		empty:  func() object { return new(networkingv1.DestinationRule) },
		plural: "destinationrules",
	},
	{
		name: "EndpointSlice", group: "discovery.k8s.io", versions: []string{"v1"},
		empty:    func() object { return new(discoveryv1.EndpointSlice) },
		nameOf:   apivalidation.NameIsDNSSubdomain,
		defaults: defaultEndpointSlice,
		validate: validateEndpointSlice,
	},
	{
		name: istio.KindEnvoyFilter, group: istioGroup, versions: []string{"v1alpha3"},
		empty:  func() object { return new(networkingv1alpha3.EnvoyFilter) },
		plural: "envoyfilters",
	},
	{
		name: "GRPCRoute", group: gatewayGroup, versions: []string{"v1"},
		empty:  func() object { return new(gatewayv1.GRPCRoute) },
		plural: "grpcroutes",
	},
	{
		name: "Gateway", group: gatewayGroup, versions: []string{"v1", "v1beta1"},
		empty:  func() object { return new(gatewayv1.Gateway) },
		plural: "gateways",
	},
	{
		name: istio.KindGateway, api: "Gateway", group: istioGroup, versions: networkingVersions,
		empty:  func() object { return new(networkingv1.Gateway) },
		plural: "gateways",
	},
	{
		name: "GatewayClass", group: gatewayGroup, versions: []string{"v1", "v1beta1"}, cluster: true,
		empty:  func() object { return new(gatewayv1.GatewayClass) },
		plural: "gatewayclasses",
	},
	{
		name: "GatewayParameters", group: v1alpha1.GroupVersion.Group, versions: []string{"v1alpha1"},
		empty:  func() object { return new(v1alpha1.GatewayParameters) },
		plural: "gatewayparameters",
	},
	{
		name: "HTTPRoute", group: gatewayGroup, versions: []string{"v1", "v1beta1"},
		empty:  func() object { return new(gatewayv1.HTTPRoute) },
		plural: "httproutes",
	},
	{
		name: "ListenerSet", group: gatewayGroup, versions: []string{"v1"},
		empty:  func() object { return new(gatewayv1.ListenerSet) },
		plural: "listenersets",
	},
	{
		name: "Namespace", versions: []string{"v1"}, cluster: true,
		empty:    func() object { return new(corev1.Namespace) },
		nameOf:   apivalidation.NameIsDNSLabel,
		defaults: defaultNamespace,
	},
	{
		name: istio.KindPeer, group: securityGroup, versions: securityVersions,
		empty:  func() object { return new(securityv1.PeerAuthentication) },
		plural: "peerauthentications",
	},
	{
		name: istio.KindPod, versions: []string{"v1"},
		empty: func() object { return new(corev1.Pod) },
		read: map[string][]string{
			"spec":   {"serviceAccountName", "nodeName", "hostNetwork", "containers.ports", "initContainers.ports"},
			"status": {"podIP", "podIPs", "phase"},
		},
		nameOf:   apivalidation.NameIsDNSSubdomain,
		defaults: defaultPod,
		validate: validatePod,
	},
	{
		name: "RateLimitPolicy", group: v1alpha1.GroupVersion.Group, versions: []string{"v1alpha1"},
		empty:  func() object { return new(v1alpha1.RateLimitPolicy) },
		plural: "ratelimitpolicies",
	},
	{
		name: "ReferenceGrant", group: gatewayGroup, versions: []string{"v1", "v1beta1"},
		empty:  func() object { return new(gatewayv1.ReferenceGrant) },
		plural: "referencegrants",
	},
	{
		name: istio.KindAuthentication, group: securityGroup, versions: securityVersions,
		empty:  func() object { return new(securityv1.RequestAuthentication) },
		plural: "requestauthentications",
	},
	{
		name: "Secret", versions: []string{"v1"},
		empty:    func() object { return new(corev1.Secret) },
		nameOf:   apivalidation.NameIsDNSSubdomain,
		defaults: defaultSecret,
		validate: validateSecret,
	},
	{
		name: "Service", versions: []string{"v1"},
		empty:    func() object { return new(corev1.Service) },
		nameOf:   apivalidation.NameIsDNSLabel,
		defaults: defaultService,
		validate: validateService,
	},
	{
		name: istio.KindServiceEntry, group: istioGroup, versions: networkingVersions,
		empty:  func() object { return new(networkingv1.ServiceEntry) },
		plural: "serviceentries",
	},
	{
		name: istio.KindSidecar, group: istioGroup, versions: networkingVersions,
		empty:  func() object { return new(networkingv1.Sidecar) },
		plural: "sidecars",
	},
	{
		name: "TCPRoute", group: gatewayGroup, versions: []string{"v1", "v1alpha2"},
		empty:  func() object { return new(gatewayv1.TCPRoute) },
		plural: "tcproutes",
	},
	{
		name: "TLSRoute", group: gatewayGroup, versions: []string{"v1", "v1alpha3", "v1alpha2"},
		empty:  func() object { return new(gatewayv1.TLSRoute) },
		plural: "tlsroutes",
	},
	{
		name: istio.KindTelemetry, group: "telemetry.istio.io", versions: []string{"v1", "v1alpha1"},
		empty:  func() object { return new(telemetryv1.Telemetry) },
		plural: "telemetries",
	},
	{
		name: "UDPRoute", group: gatewayGroup, versions: []string{"v1", "v1alpha2"},
		empty:  func() object { return new(gatewayv1.UDPRoute) },
		plural: "udproutes",
	},
	{
		name: istio.KindVirtualService, group: istioGroup, versions: networkingVersions,
		empty:  func() object { return new(networkingv1.VirtualService) },
		plural: "virtualservices",
	},
	{
		name: istio.KindWasmPlugin, group: "extensions.istio.io", versions: []string{"v1alpha1"},
		empty:  func() object { return new(extensionsv1alpha1.WasmPlugin) },
		plural: "wasmplugins",
	},
	{
		name: istio.KindWorkloadEntry, group: istioGroup, versions: networkingVersions,
		empty:  func() object { return new(networkingv1.WorkloadEntry) },
		plural: "workloadentries",
	},
	{
		name: "XBackendTrafficPolicy", group: experimentalGroup, versions: []string{"v1alpha1"},
		empty:  func() object { return new(gatewayxv1alpha1.XBackendTrafficPolicy) },
		plural: "xbackendtrafficpolicies",
	},
})

// kindOf returns the kind of an object, or nil where the World holds no such
// objects.
func kindOf(apiVersion, name string) *kind {
	group, version := splitVersion(apiVersion)
	for _, k := range kinds {
		if k.apiKind() == name && k.group == group && slices.Contains(k.versions, version) {
			return k
		}
	}
	return nil
}

// apiKind is what manifests call the kind.
func (k *kind) apiKind() string { return cmp.Or(k.api, k.name) }

// apiVersion is the one that the World holds.
func (k *kind) apiVersion() string {
	if k.group == "" {
		return k.versions[0]
	}
	return k.group + "/" + k.versions[0]
}

func splitVersion(apiVersion string) (group, version string) {
	if group, version, ok := strings.Cut(apiVersion, "/"); ok {
		return group, version
	}
	return "", apiVersion
}

// others are the kinds of Kubernetes itself that a folder may well hold for
// others to apply.
var others = map[string][]string{
	"": {
		"Binding", "Endpoints", "Event", "LimitRange", "Node", "PersistentVolume", "PersistentVolumeClaim",
		"PodTemplate", "ReplicationController", "ResourceQuota", "ServiceAccount",
	},
	"apps":        {"ControllerRevision", "DaemonSet", "Deployment", "ReplicaSet", "StatefulSet"},
	"autoscaling": {"HorizontalPodAutoscaler"},
	"batch":       {"CronJob", "Job"},
	"policy":      {"PodDisruptionBudget"},
}

// isForOthers reports whether an object is of Kubernetes, and none of a
// gateway's concern.
func isForOthers(apiVersion, name string) bool {
	group, _ := splitVersion(apiVersion)
	if list, ok := others[group]; ok {
		return slices.Contains(list, name)
	}
	ours := strings.HasPrefix(group, "gateway.") || group == "discovery.k8s.io"
	return strings.HasSuffix(group, ".k8s.io") && !ours
}

// sameSpec reports whether two objects of one kind ask for the same. What has
// no spec, such as a Secret, always does: nobody counts its generations.
func sameSpec(a, b object) bool {
	x, y := reflect.ValueOf(a).Elem().FieldByName("Spec"), reflect.ValueOf(b).Elem().FieldByName("Spec")
	if !x.IsValid() {
		return true
	}
	if x, ok := x.Addr().Interface().(proto.Message); ok { // it remembers more than it says
		return proto.Equal(x, y.Addr().Interface().(proto.Message))
	}
	return reflect.DeepEqual(x.Interface(), y.Interface())
}
