package istio

import (
	"fairway.dev/routing/dialect"
	"fairway.dev/routing/gatewayapi"
)

// Kinds of objects, as routing.ObjectKey has them, and their types in the
// World. Both are istio.io/client-go/pkg/apis types but for Pods.
const (
	KindGateway         = "Gateway.networking.istio.io" // *networkingv1.Gateway
	KindVirtualService  = "VirtualService"              // *networkingv1.VirtualService
	KindDestinationRule = "DestinationRule"             // *networkingv1.DestinationRule
	KindServiceEntry    = "ServiceEntry"                // *networkingv1.ServiceEntry
	KindWorkloadEntry   = "WorkloadEntry"               // *networkingv1.WorkloadEntry
	KindTelemetry       = "Telemetry"                   // *telemetryv1.Telemetry
	KindAuthentication  = "RequestAuthentication"       // *securityv1.RequestAuthentication
	KindAuthorization   = "AuthorizationPolicy"         // *securityv1.AuthorizationPolicy
	KindPeer            = "PeerAuthentication"          // *securityv1.PeerAuthentication
	KindEnvoyFilter     = "EnvoyFilter"                 // *networkingv1alpha3.EnvoyFilter
	KindSidecar         = "Sidecar"                     // *networkingv1.Sidecar
	KindWasmPlugin      = "WasmPlugin"                  // *extensionsv1alpha1.WasmPlugin
	KindPod             = "Pod"                         // *corev1.Pod
)

// The parts of the dialect have numbers of their own in each stage of the
// sheet, so that no two kinds of cells are one.
const (
	gatewayKinds = dialect.IstioKinds      // Gateways, fleets, MeshConfig
	serviceKinds = dialect.IstioKinds + 32 // what can be sent to
	routeKinds   = dialect.IstioKinds + 64 // VirtualServices

	telemetryKinds      = dialect.IstioKinds + 96  // Telemetry
	authenticationKinds = dialect.IstioKinds + 104 // RequestAuthentication
	authorizationKinds  = dialect.IstioKinds + 112 // AuthorizationPolicy
	peerKinds           = dialect.IstioKinds + 120 // PeerAuthentication
)

// Options are what the dialect may be told. The zero Options are ready to use.
type Options struct {
	// RootNamespace is where the mesh's own objects are, and the ConfigMap
	// "istio" with MeshConfig under the key "mesh". If empty, "istio-system".
	RootNamespace string

	// ClusterDomain is the DNS domain of Services. If empty, "cluster.local".
	ClusterDomain string

	// TrustDomain is that of the mesh's identities. If empty, "cluster.local".
	// Those of TrustDomainAliases are believed as well.
	TrustDomain        string
	TrustDomainAliases []string

	// AnySelector serves every Gateway of the dialect on Fleet, whatever its
	// selector: for a folder of manifests, which has no pods.
	AnySelector bool
	// Fleet is the Gateway, "namespace/name", whose listeners AnySelector's
	// become. If empty, "istio-system/istio-ingressgateway".
	Fleet string
}

// A joint is the dialect on the sheet of t.
type joint struct {
	opts    Options
	gateway *gatewayapi.Translator
}

// Join has t translate the objects of the dialect too. It comes before the
// first Update.
func Join(t *gatewayapi.Translator, opts Options) {
	if opts.RootNamespace == "" {
		opts.RootNamespace = "istio-system"
	}
	if opts.ClusterDomain == "" {
		opts.ClusterDomain = "cluster.local"
	}
	if opts.TrustDomain == "" {
		opts.TrustDomain = "cluster.local"
	}
	if opts.Fleet == "" {
		opts.Fleet = "istio-system/istio-ingressgateway"
	}
	j := &joint{opts: opts, gateway: t}
	j.joinGateways(t.Sheet())
	j.joinServices(t.Sheet())
	j.joinRoutes(t.Sheet())
	j.joinTelemetry(t.Sheet())
	j.joinAuthentication(t.Sheet())
	j.joinAuthorization(t.Sheet())
	j.joinPeers(t.Sheet())
}

// reading is one run of a formula.
type reading struct {
	*dialect.Reading
	j *joint
}

// define sets the formula of a kind of cells.
func (j *joint) define(s *dialect.Sheet, kind dialect.Kind, formula func(*reading) dialect.Outcome) {
	s.Define(kind, func(r *dialect.Reading) dialect.Outcome { return formula(&reading{r, j}) })
}

// object returns an object of the world, or nil.
func object[T any](r *reading, kind, ns, name string) *T {
	return dialect.Object[T](r.Reading, kind, ns, name)
}
