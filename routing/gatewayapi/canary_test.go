package gatewayapi

import (
	"fmt"
	"testing"

	"fairway.dev/routing"
)

// nextWaypoint is a second waypoint of shop, with a pod.
func nextWaypoint(labels string) string {
	return `
kind: Gateway
metadata: {namespace: shop, name: next, creationTimestamp: "2026-01-02T00:00:00Z"` + labels + `}
spec:
  gatewayClassName: fairway
  listeners: [{name: mesh, port: 15008, protocol: HBONE, allowedRoutes: {namespaces: {from: All}}}]
---
kind: EndpointSlice
metadata: {namespace: shop, name: next, labels: {kubernetes.io/service-name: next}}
addressType: IPv4
ports: [{name: mesh, port: 15008}]
endpoints: [{addresses: ["10.0.0.3"]}]
---
`
}

// canaried is the Service cart of shop, with labels and the annotation of a weight.
func canaried(labels, weight string) string {
	annotation := ""
	if weight != "" {
		annotation = canaryWeightAnnotation + `: "` + weight + `"`
	}
	return `
kind: Service
metadata: {namespace: shop, name: cart, labels: {` + labels + `}, annotations: {` + annotation + `}}
spec: {clusterIP: 10.96.0.5, ports: [{name: http, port: 80}]}
---
`
}

// istio.io/use-waypoint-canary, -canary-namespace and -canary-weight: from the same
// level as the waypoint, and where it cannot be had all goes to the waypoint.
func TestCanaries(t *testing.T) {
	const use, next = "istio.io/use-waypoint: waypoint", "istio.io/use-waypoint-canary: next"
	weight := canaryWeightAnnotation + `: "30"`
	tests := []struct {
		name      string
		namespace string
		service   string
		world     string
		want      *routing.Canary
		reason    string // of the finding; empty: none
	}{
		{"a share", "", canaried(use+", "+next, "5"), "", &routing.Canary{Gateway: "shop/next", Percent: 5}, ""},
		{"all of it", "", canaried(use+", "+next, "100"), "", &routing.Canary{Gateway: "shop/next", Percent: 100}, ""},
		{"no weight is none of it", "", canaried(use+", "+next, ""), "", &routing.Canary{Gateway: "shop/next"}, ""},
		{"none", "", canaried(use+", istio.io/use-waypoint-canary: none", "5"), "", nil, ""},
		{"without a waypoint", "", canaried(next, "5"), "", nil, ""},
		{"of the Namespace", shopNamespace(use+", "+next, weight), canaried("", ""), "", &routing.Canary{Gateway: "shop/next", Percent: 30}, ""},
		{"with a weight of the Service's own", shopNamespace(use+", "+next, weight), canaried("", "5"), "", &routing.Canary{Gateway: "shop/next", Percent: 5}, ""},
		{"of the Service beside the Namespace's waypoint", shopNamespace(use, ""), canaried(next, "5"), "", &routing.Canary{Gateway: "shop/next", Percent: 5}, ""},
		{"the Namespace's is not for a Service with a waypoint of its own", shopNamespace(use+", "+next, weight), canaried(use, ""), "", nil, ""},
		{"a weight above", "", canaried(use+", "+next, "101"), "", nil, "CanaryInvalidWeight"},
		{"a weight below", "", canaried(use+", "+next, "-1"), "", nil, "CanaryInvalidWeight"},
		{"a weight that is none", "", canaried(use+", "+next, "half"), "", nil, "CanaryInvalidWeight"},
		{"the waypoint itself", "", canaried(use+", istio.io/use-waypoint-canary: waypoint", "5"), "", nil, "CanarySameAsPrimary"},
		{"one that is not there", "", canaried(use+", istio.io/use-waypoint-canary: gone", "5"), "", nil, "WaypointMissing"},
		{"one that does not let it", "", canaried(use+", istio.io/use-waypoint-canary: waypoint, istio.io/use-waypoint-canary-namespace: bank", "5"), "", nil, "NotAllowed"},
		{"one for pods", "", canaried(use+", "+next, "5"), nextWaypoint(", labels: {istio.io/waypoint-for: workload}"), nil, "UnsupportedTrafficType"},
		{"one that is not ready", "", canaried(use+", "+next, "5"), nextWaypoint("") + notReady, nil, "WaypointNotReady"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := isolatedStage(t, meshOf("", "")+nextWaypoint("")+tt.namespace+tt.service)
			s.load(attachedRoute + "\n---\n" + tt.world)
			s.load(edge)
			report := s.Reports[routing.ObjectKey{Kind: "Service", Namespace: "shop", Name: "cart"}]
			reason := ""
			for _, p := range report.Problems {
				reason = string(p.Reason)
			}
			if reason != tt.reason {
				t.Errorf("problems %v, want the reason %q", report.Problems, tt.reason)
			}
			hop := s.Spec.Clusters["shop/cart:80"].Hop
			if hop == nil {
				if tt.want != nil || tt.name != "without a waypoint" {
					t.Errorf("no hop, want one with the canary %+v", tt.want)
				}
				return
			}
			if hop.Gateway != "shop/waypoint" || fmt.Sprint(hop.Canary) != fmt.Sprint(tt.want) {
				t.Errorf("hop to %s with the canary %+v, want shop/waypoint with %+v", hop.Gateway, hop.Canary, tt.want)
			}
			if c := s.Spec.Captures["shop/cart:80"]; fmt.Sprint(c.Canary) != fmt.Sprint(tt.want) {
				t.Errorf("captured for the canary %+v, want %+v", c.Canary, tt.want)
			}
			if door := s.Spec.Listeners["shop/next/cart.shop:80"] != nil; door != (tt.want != nil) {
				t.Errorf("the canary has a door: %v, want %v", door, tt.want != nil)
			}
		})
	}
}

const notReady = `
kind: EndpointSlice
metadata: {namespace: shop, name: next, labels: {kubernetes.io/service-name: next}}
addressType: IPv4
ports: [{name: mesh, port: 15008}]
endpoints: [{addresses: ["10.0.0.3"], conditions: {ready: false}}]
---
`
