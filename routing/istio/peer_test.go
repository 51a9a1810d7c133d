package istio

import (
	"fmt"
	"strings"
	"testing"

	security "istio.io/api/security/v1beta1"
	"istio.io/api/type/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"

	"fairway.dev/routing/dialecttest"
)

// cartWorld is a Service with a waypoint and a pod.
const cartWorld = `
kind: Namespace
metadata: {name: shop, labels: {istio.io/use-waypoint: waypoint, istio.io/dataplane-mode: ambient}}
---
kind: Gateway
metadata: {namespace: shop, name: waypoint}
spec: {gatewayClassName: fairway, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
---
kind: Service
metadata: {namespace: shop, name: cart}
spec: {clusterIP: 10.96.0.5, selector: {app: cart}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
kind: EndpointSlice
metadata: {namespace: shop, name: cart-1, labels: {kubernetes.io/service-name: cart}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: ["10.0.0.9"], targetRef: {kind: Pod, name: cart}}]
---
kind: Pod
metadata: {namespace: shop, name: cart, labels: {app: cart, version: v1}}
status: {phase: Running, podIPs: [{ip: 10.0.0.9}]}
`

type portModes map[uint32]security.PeerAuthentication_MutualTLS_Mode

const (
	peerUnset   = security.PeerAuthentication_MutualTLS_UNSET
	peerDisable = security.PeerAuthentication_MutualTLS_DISABLE
	peerOpen    = security.PeerAuthentication_MutualTLS_PERMISSIVE
	peerStrict  = security.PeerAuthentication_MutualTLS_STRICT
)

// peerOf makes a PeerAuthentication of a day; "key=value" selects.
func peerOf(ns, name string, day int, label string, mode security.PeerAuthentication_MutualTLS_Mode, of portModes) *securityv1.PeerAuthentication {
	o := &securityv1.PeerAuthentication{}
	o.Namespace, o.Name, o.CreationTimestamp = ns, name, dialecttest.Day(day)
	o.Spec.Mtls = &security.PeerAuthentication_MutualTLS{Mode: mode}
	if label != "" {
		key, value, _ := strings.Cut(label, "=")
		o.Spec.Selector = &v1beta1.WorkloadSelector{MatchLabels: map[string]string{key: value}}
	}
	for port, mode := range of {
		if o.Spec.PortLevelMtls == nil {
			o.Spec.PortLevelMtls = map[uint32]*security.PeerAuthentication_MutualTLS{}
		}
		o.Spec.PortLevelMtls[port] = &security.PeerAuthentication_MutualTLS{Mode: mode}
	}
	return o
}

// PeerAuthentication: precedence workload > namespace > mesh, the oldest on ties,
// default PERMISSIVE, UNSET inherits, portLevelMtls by the pods' ports.
func TestPeerAuthentication(t *testing.T) {
	type peers = []*securityv1.PeerAuthentication
	tests := []struct {
		name  string
		peers peers
		pod   string // Strict, Open, StrictPorts
		door  bool
	}{
		{"nobody says anything", nil, "false [] []", false},
		{"the mesh", peers{peerOf("istio-system", "a", 1, "", peerStrict, nil)}, "true [] []", true},
		{"the namespace before the mesh", peers{peerOf("istio-system", "a", 1, "", peerStrict, nil), peerOf("shop", "a", 1, "", peerOpen, nil)}, "false [] []", false},
		{"the pod before the namespace", peers{peerOf("shop", "a", 1, "", peerOpen, nil), peerOf("shop", "b", 1, "app=cart", peerStrict, nil)}, "true [] []", true},
		{"another namespace's", peers{peerOf("bank", "a", 1, "", peerStrict, nil)}, "false [] []", false},
		{"a selector of the root namespace is for its own pods", peers{peerOf("istio-system", "a", 1, "app=cart", peerStrict, nil)}, "false [] []", false},
		{"the older of two", peers{peerOf("shop", "a", 2, "", peerStrict, nil), peerOf("shop", "b", 1, "", peerOpen, nil)}, "false [] []", false},
		{"the older of two for a pod", peers{peerOf("shop", "a", 2, "app=cart", peerOpen, nil), peerOf("shop", "b", 1, "app=cart", peerStrict, nil)}, "true [] []", true},
		{"UNSET leaves it to the mesh", peers{peerOf("istio-system", "a", 1, "", peerStrict, nil), peerOf("shop", "a", 1, "", peerUnset, nil)}, "true [] []", true},
		{"the oldest is UNSET, and decides", peers{peerOf("shop", "a", 1, "", peerUnset, nil), peerOf("shop", "b", 2, "", peerStrict, nil)}, "false [] []", false},
		{"DISABLE is PERMISSIVE", peers{peerOf("istio-system", "a", 1, "", peerStrict, nil), peerOf("shop", "a", 1, "", peerDisable, nil)}, "false [] []", false},
		{"a port that is open", peers{peerOf("shop", "a", 1, "app=cart", peerStrict, portModes{8080: peerOpen})}, "true [8080] []", false},
		{"a port that is strict", peers{peerOf("shop", "a", 1, "app=cart", peerOpen, portModes{8080: peerStrict, 9090: peerStrict})}, "false [] [8080 9090]", true},
		{"a port of the Service is none of the pods", peers{peerOf("shop", "a", 1, "app=cart", peerOpen, portModes{80: peerStrict})}, "false [] [80]", false},
		{"a port that is UNSET", peers{peerOf("shop", "a", 1, "app=cart", peerStrict, portModes{8080: peerUnset})}, "true [] []", true},
		{"ports without a selector", peers{peerOf("shop", "a", 1, "", peerStrict, portModes{8080: peerOpen})}, "true [] []", true},
		{"some pods of the Service are strict", peers{peerOf("shop", "a", 1, "version=v1", peerStrict, nil)}, "true [] []", true},
		{"some pods of the Service are not", peers{peerOf("shop", "a", 1, "", peerStrict, nil), peerOf("shop", "b", 1, "version=v1", peerOpen, nil)}, "false [] []", true},
		{"pods that the Service has not", peers{peerOf("shop", "a", 1, "version=v2", peerStrict, nil)}, "false [] []", false},
	}
	for _, tt := range tests {
		w := dialecttest.World{}
		load(t, w, cartWorld)
		for _, p := range tt.peers {
			w.Put(KindPeer, p)
		}
		spec := translate(w, inCluster).Spec
		pod, door := spec.Workloads["shop/cart"], spec.Listeners["shop/waypoint/cart.shop:80"]
		if pod == nil || door == nil {
			t.Fatalf("%s: workload %v, door %v", tt.name, pod, door)
		}
		if got := fmt.Sprint(pod.Strict, pod.Open, pod.StrictPorts); got != tt.pod || door.Strict != tt.door {
			t.Errorf("%s: the pod is %s, the door strict %v; want %s, %v", tt.name, got, door.Strict, tt.pod, tt.door)
		}
	}
}
