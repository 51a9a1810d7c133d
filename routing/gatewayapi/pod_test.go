package gatewayapi

import (
	"fmt"
	"testing"

	"fairway.dev/routing"
)

// aPod is a Pod "cart-0" of shop.
func aPod(labels string) string {
	return `
kind: Pod
metadata: {namespace: shop, name: cart-0, labels: {` + labels + `}}
spec: {nodeName: n1, containers: [{name: c, image: c, ports: [{containerPort: 8080}]}]}
status: {phase: Running, podIPs: [{ip: 10.0.0.9}]}
---
`
}

// Each of Istio's labels that say which pods are enrolled where keeps its meaning:
// istio.io/use-waypoint, -namespace and waypoint-for.
func TestLabelsOfPods(t *testing.T) {
	const use = "istio.io/use-waypoint: waypoint"
	workload := meshOf(", labels: {istio.io/waypoint-for: workload}", "")
	enforced := &routing.Hop{Gateway: "shop/waypoint", Cluster: routing.WaypointCluster("shop/waypoint")}
	refused := &routing.Hop{Cluster: refusedCluster}
	tests := []struct {
		name           string
		namespace, pod string
		world          string
		hop            *routing.Hop // nil: nothing is done about the pod
	}{
		{"nothing", "", "", workload, nil},
		{"a Namespace with a waypoint for pods", shopNamespace(use, ""), "", workload, enforced},
		{"and for all", shopNamespace(use, ""), "", meshOf(", labels: {istio.io/waypoint-for: all}", ""), enforced},
		{"by its class", shopNamespace(use, ""), "", classFor("workload"), enforced},
		{"a Namespace with a waypoint for Services", shopNamespace(use, ""), "", "", nil},
		{"and for nothing", shopNamespace(use, ""), "", meshOf(", labels: {istio.io/waypoint-for: none}", ""), nil},
		{"the pod itself", "", use, workload, enforced},
		{"the pod itself, with a waypoint for Services", "", use, "", nil},
		{"none opts out", shopNamespace(use, ""), "istio.io/use-waypoint: none", workload, nil},
		{"the pod's waypoint is not there: the Namespace's is not tried", shopNamespace(use, ""), "istio.io/use-waypoint: gone", workload, refused},
		{"a Namespace's that is not there says nothing of pods", shopNamespace("istio.io/use-waypoint: gone", ""), "", workload, nil},
		{"one that does not let them", "", use + ", istio.io/use-waypoint-namespace: bank", meshOf("", ", labels: {istio.io/waypoint-for: workload}"), refused},
		{"one for Services that does not let them", shopNamespace(use+", istio.io/use-waypoint-namespace: bank", ""), "", "", nil},
		{"not ready: refused", shopNamespace(use, ""), "", workload + noPods, enforced},
		{"not ready, and lenient", shopNamespace(use, "fairway.dev/waypoint-missing: allow"), "", workload + noPods, nil},
		{"missing, and lenient", shopNamespace("", "fairway.dev/waypoint-missing: allow"), "istio.io/use-waypoint: gone", workload, nil},
		{"a listener that is not in order", shopNamespace("istio.io/use-waypoint: odd", ""), "", oddWaypoint, refused},
		{"a gateway's own", shopNamespace(use, ""), "gateway.networking.k8s.io/gateway-name: waypoint", workload, nil},
		{"a waypoint of another controller", shopNamespace("istio.io/use-waypoint: istios", ""), "", istiosFor("workload"),
			&routing.Hop{Gateway: "shop/istios", Cluster: routing.WaypointCluster("shop/istios")}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := isolatedStage(t, meshOf("", "")+tt.namespace+aPod(tt.pod))
			s.load(tt.world)
			var got *routing.Hop
			if c := s.Spec.Clusters["Pod/shop/cart-0"]; c != nil {
				got = c.Hop
			}
			if fmt.Sprint(got) != fmt.Sprint(tt.hop) {
				t.Errorf("got hop %+v, want %+v", got, tt.hop)
			}
			ours := tt.hop == nil || tt.hop.Gateway != "shop/istios"
			if captured := s.Spec.Captures["Pod/shop/cart-0:8080"] != nil; ours && captured != (tt.hop != nil) {
				t.Errorf("it is captured: %v, with the hop %+v", captured, tt.hop)
			}
			if doors := s.Spec.Listeners["shop/waypoint/Pod/cart-0.shop:0"] != nil; doors != (tt.hop != nil && tt.hop.Gateway == "shop/waypoint") {
				t.Errorf("it has doors: %v, with the hop %+v", doors, tt.hop)
			}
		})
	}
}

// oddWaypoint is for pods, and its listener is not in order.
const oddWaypoint = `
kind: Gateway
metadata: {namespace: shop, name: odd, labels: {istio.io/waypoint-for: workload}}
spec:
  gatewayClassName: fairway
  listeners: [{name: mesh, port: 15008, protocol: HBONE, tls: {mode: Passthrough}}]
---
`

func istiosFor(what string) string {
	return `
kind: GatewayClass
metadata: {name: istio-waypoint, labels: {istio.io/waypoint-for: ` + what + `}}
spec: {controllerName: istio.io/mesh-controller}
---
kind: Gateway
metadata: {namespace: shop, name: istios}
spec:
  gatewayClassName: istio-waypoint
  listeners: [{name: mesh, port: 15008, protocol: HBONE}]
---
`
}

// A Service without an address of its own is as enforced as its pods are, and says
// so; one with an address is not, as in ztunnel: what is dialled decides.
func TestServicesWhosePodsAreEnforced(t *testing.T) {
	tests := []struct {
		name, waypointFor, service, world string
		reason                            string
		hop                               bool
	}{
		{"headless", "workload", enrolledService("", "clusterIP: None, "), "", "WaypointAccepted", false},
		{"headless, of a waypoint for all", "all", enrolledService("", "clusterIP: None, "), "", "WaypointAccepted", false},
		{"headless, of a waypoint for Services", "service", enrolledService("", "clusterIP: None, "), "", "NoClusterIP", false},
		{"headless, and not ready", "workload", enrolledService("", "clusterIP: None, "), noPods, "WaypointNotReady", false},
		{"with an address", "workload", enrolledService("", "clusterIP: 10.96.0.5, "), "", "UnsupportedTrafficType", false},
		{"with an address, of a waypoint for all", "all", enrolledService("", "clusterIP: 10.96.0.5, "), "", "WaypointAccepted", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := isolatedStage(t, meshOf(", labels: {istio.io/waypoint-for: "+tt.waypointFor+"}", "")+shopNamespace("istio.io/use-waypoint: waypoint", "")+tt.service+tt.world)
			s.load(attachedRoute)
			s.load(edge)
			if hop := s.Spec.Clusters["shop/cart:80"].Hop != nil; hop != tt.hop {
				t.Errorf("the Service is gone to by its waypoint: %v, want %v", hop, tt.hop)
			}
			conditions := s.Reports[routing.ObjectKey{Kind: "Service", Namespace: "shop", Name: "cart"}].Conditions
			if len(conditions) != 1 || conditions[0].Reason != tt.reason {
				t.Errorf("conditions %+v, want the reason %s", conditions, tt.reason)
			}
		})
	}
}
