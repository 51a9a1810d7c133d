package gatewayapi

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairway.dev/routing"
)

// meshOf has waypoints "waypoint" in shop, which is for all, and in bank, which
// is for its own namespace; both have a pod that is ready.
func meshOf(waypoint, bank string) string {
	const text = `
kind: Gateway
metadata: {namespace: shop, name: waypoint, creationTimestamp: "2026-01-01T00:00:00Z"%s}
spec:
  gatewayClassName: fairway
  listeners: [{name: mesh, port: 15008, protocol: HBONE, allowedRoutes: {namespaces: {from: All}}}]
---
kind: Gateway
metadata: {namespace: bank, name: waypoint, creationTimestamp: "2026-01-01T00:00:00Z"%s}
spec:
  gatewayClassName: fairway
  listeners: [{name: mesh, port: 15008, protocol: HBONE}]
---
`
	return fmt.Sprintf(text, waypoint, bank) + podsOf("shop") + podsOf("bank")
}

// podsOf is a pod behind the waypoint of a namespace.
func podsOf(ns string) string {
	return `
kind: EndpointSlice
metadata: {namespace: ` + ns + `, name: waypoint, labels: {kubernetes.io/service-name: waypoint}}
addressType: IPv4
ports: [{name: mesh, port: 15008}]
endpoints: [{addresses: ["10.0.0.2"]}]
---
`
}

// enrolledService is a Service "cart" of shop.
func enrolledService(labels, spec string) string {
	return `
kind: Service
metadata: {namespace: shop, name: cart, labels: {` + labels + `}}
spec: {` + spec + `ports: [{name: http, port: 80}]}
---
`
}

// shopNamespace is that of the Service.
func shopNamespace(labels, annotations string) string {
	return `
kind: Namespace
metadata: {name: shop, labels: {` + labels + `}, annotations: {` + annotations + `}}
---
`
}

// isolatedStage is a world in which each Gateway has pods of its own.
func isolatedStage(t *testing.T, text string) *stage {
	s := newStage(t, "")
	s.tr = New(s.w, Options{DefaultClass: "fairway", Isolated: true})
	s.load(text)
	return s
}

// Each of Istio's labels and annotations that say who is enrolled where keeps
// its meaning.
func TestLabelsOfEnrolment(t *testing.T) {
	const vip, use = "clusterIP: 10.96.0.5, ", "istio.io/use-waypoint: waypoint"
	bound := func(gateway string) *routing.Hop {
		return &routing.Hop{Gateway: gateway, Cluster: routing.WaypointCluster(gateway), Authority: "10.96.0.5:80"}
	}
	inside := bound("shop/waypoint")
	inside.Inside = true
	refused := &routing.Hop{Cluster: refusedCluster, Authority: "10.96.0.5:80"}
	tests := []struct {
		name      string
		namespace string
		service   string
		world     string
		hop       *routing.Hop
		reason    string // of WaypointBound; empty: none
	}{
		{"nothing", "", enrolledService("", vip), "", nil, ""},
		{"use-waypoint on the Service", "", enrolledService(use, vip), "", bound("shop/waypoint"), "WaypointAccepted"},
		{"use-waypoint on the Namespace", shopNamespace(use, ""), enrolledService("", vip), "", bound("shop/waypoint"), "WaypointAccepted"},
		{"the Service beats the Namespace", shopNamespace("istio.io/use-waypoint: none", ""), enrolledService(use, vip), "", bound("shop/waypoint"), "WaypointAccepted"},
		{"none opts out", shopNamespace(use, ""), enrolledService("istio.io/use-waypoint: none", vip), "", nil, ""},
		{"the Service's waypoint is not there: the Namespace's is not tried", shopNamespace(use, ""),
			enrolledService("istio.io/use-waypoint: gone", vip), "", refused, "WaypointMissing"},
		{"use-waypoint-namespace", "", enrolledService(use+", istio.io/use-waypoint-namespace: bank", vip), "", refused, "NotAllowed"},
		{"use-waypoint-namespace of the Namespace", shopNamespace(use+", istio.io/use-waypoint-namespace: bank", ""), enrolledService("", vip), "", refused, "NotAllowed"},
		{"the namespace of the Namespace's label is not that of the Service's", shopNamespace("istio.io/use-waypoint-namespace: bank", ""),
			enrolledService(use, vip), "", bound("shop/waypoint"), "WaypointAccepted"},
		{"a Gateway that is none", "", enrolledService("istio.io/use-waypoint: edge", vip), edge, refused, "WaypointMissing"},
		{"a waypoint's own Service", shopNamespace(use, ""), enrolledService("gateway.networking.k8s.io/gateway-name: waypoint", vip), "", nil, ""},
		{"managed by Istio", shopNamespace(use, ""), enrolledService("gateway.istio.io/managed: istio.io-mesh-controller", vip), "", nil, ""},
		{"headless", shopNamespace(use, ""), enrolledService("", "clusterIP: None, "), "", nil, "NoClusterIP"},
		{"ingress-use-waypoint=false on the Service", "", enrolledService(use+", istio.io/ingress-use-waypoint: 'false'", vip), "", inside, "WaypointAccepted"},
		{"ingress-use-waypoint=false on the Namespace", shopNamespace(use+", istio.io/ingress-use-waypoint: 'false'", ""), enrolledService("", vip), "", inside, "WaypointAccepted"},
		{"ingress-use-waypoint of the Service beats the Namespace's", shopNamespace(use+", istio.io/ingress-use-waypoint: 'false'", ""),
			enrolledService("istio.io/ingress-use-waypoint: 'true'", vip), "", bound("shop/waypoint"), "WaypointAccepted"},
		{"waypoint-for service", shopNamespace(use, ""), enrolledService("", vip), meshOf(", labels: {istio.io/waypoint-for: service}", ""), bound("shop/waypoint"), "WaypointAccepted"},
		{"waypoint-for all", shopNamespace(use, ""), enrolledService("", vip), meshOf(", labels: {istio.io/waypoint-for: all}", ""), bound("shop/waypoint"), "WaypointAccepted"},
		{"waypoint-for workload", shopNamespace(use, ""), enrolledService("", vip), meshOf(", labels: {istio.io/waypoint-for: workload}", ""), nil, "UnsupportedTrafficType"},
		{"waypoint-for none", shopNamespace(use, ""), enrolledService("", vip), meshOf(", labels: {istio.io/waypoint-for: none}", ""), nil, "UnsupportedTrafficType"},
		{"waypoint-for of what nobody knows", shopNamespace(use, ""), enrolledService("", vip), meshOf(", labels: {istio.io/waypoint-for: odd}", ""), bound("shop/waypoint"), "WaypointAccepted"},
		{"waypoint-for of the class", shopNamespace(use, ""), enrolledService("", vip), classFor("workload"), nil, "UnsupportedTrafficType"},
		{"waypoint-for of the Gateway beats that of the class", shopNamespace(use, ""), enrolledService("", vip),
			classFor("workload") + meshOf(", labels: {istio.io/waypoint-for: service}", ""), bound("shop/waypoint"), "WaypointAccepted"},
		{"not ready: refused", shopNamespace(use, ""), enrolledService("", vip), noPods, bound("shop/waypoint"), "WaypointNotReady"},
		{"not ready, and lenient", shopNamespace(use, "fairway.dev/waypoint-missing: allow"), enrolledService("", vip), noPods, nil, "WaypointNotReady"},
		{"missing, and lenient", shopNamespace("istio.io/use-waypoint: gone", "fairway.dev/waypoint-missing: allow"), enrolledService("", vip), "", nil, "WaypointMissing"},
		{"lenient, and ready", shopNamespace(use, "fairway.dev/waypoint-missing: allow"), enrolledService("", vip), "", bound("shop/waypoint"), "WaypointAccepted"},
		{"an annotation that is not known is not lenient", shopNamespace(use, "fairway.dev/waypoint-missing: yes"), enrolledService("", vip), noPods, bound("shop/waypoint"), "WaypointNotReady"},
		{"a waypoint of another controller", shopNamespace("istio.io/use-waypoint: istios", ""), enrolledService("", vip), istios, bound("shop/istios"), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := isolatedStage(t, meshOf("", "")+tt.namespace+tt.service)
			s.load(attachedRoute + "\n---\n" + tt.world)
			s.load(edge)
			got := s.Spec.Clusters["shop/cart:80"].Hop
			if fmt.Sprint(got) != fmt.Sprint(tt.hop) {
				t.Errorf("got hop %+v, want %+v", got, tt.hop)
			}
			reason := ""
			for _, c := range s.Reports[routing.ObjectKey{Kind: "Service", Namespace: "shop", Name: "cart"}].Conditions {
				if c.Type == ConditionWaypointBound {
					reason = c.Reason
				}
			}
			if reason != tt.reason {
				t.Errorf("WaypointBound has the reason %q, want %q", reason, tt.reason)
			}
			if refuses := tt.hop != nil; refuses != (s.Spec.Captures["shop/cart:80"] != nil) && tt.reason != "" {
				t.Errorf("with the hop %+v there is the capture %+v", tt.hop, s.Spec.Captures["shop/cart:80"])
			}
		})
	}
}

// A Service that is enrolled no longer has a report while its status says that it
// is: an empty one, which takes that back.
func TestEnrolmentThatHasEndedIsTakenBack(t *testing.T) {
	const says = "status: {conditions: [{type: fairway.dev/WaypointBound, status: 'True', reason: WaypointAccepted}]}\n---\n"
	for _, tt := range []struct {
		name, status  string
		reported, has bool
		labels        string
	}{
		{"enrolled", says, true, true, "istio.io/use-waypoint: waypoint"},
		{"enrolled no longer", says, true, false, ""},
		{"of a Gateway of its own", says, true, false, "gateway.networking.k8s.io/gateway-name: waypoint"},
		{"never enrolled", "---\n", false, false, ""},
	} {
		s := isolatedStage(t, meshOf("", "")+strings.TrimSuffix(enrolledService(tt.labels, "clusterIP: 10.96.0.5, clusterIPs: [10.96.0.5], "), "---\n")+tt.status)
		r, ok := s.Reports[routing.ObjectKey{Kind: "Service", Namespace: "shop", Name: "cart"}]
		if ok != tt.reported || ok && (len(r.Conditions) > 0) != tt.has {
			t.Errorf("%s: report %v, %v; want one: %v, with a condition: %v", tt.name, ok, r, tt.reported, tt.has)
		}
	}
}

const noPods = `
kind: EndpointSlice
metadata: {namespace: shop, name: waypoint, labels: {kubernetes.io/service-name: waypoint}}
addressType: IPv4
ports: [{name: mesh, port: 15008}]
endpoints: [{addresses: ["10.0.0.2"], conditions: {ready: false}}]
---
`

const istios = `
kind: GatewayClass
metadata: {name: istio-waypoint}
spec: {controllerName: istio.io/mesh-controller}
---
kind: Gateway
metadata: {namespace: shop, name: istios}
spec:
  gatewayClassName: istio-waypoint
  listeners: [{name: mesh, port: 15008, protocol: HBONE}]
---
`

func classFor(what string) string {
	return `
kind: GatewayClass
metadata: {name: fairway, labels: {istio.io/waypoint-for: ` + what + `}}
spec: {controllerName: fairway.dev/gateway-controller}
---
`
}

// istio.io/dataplane-mode says whose connections are captured: of a pod before
// that of its namespace.
func TestLabelsOfCapture(t *testing.T) {
	tests := []struct {
		namespace, pod string
		captured       bool
	}{
		{"", "", false},
		{"istio.io/dataplane-mode: ambient", "", true},
		{"istio.io/dataplane-mode: ambient", "istio.io/dataplane-mode: none", false},
		{"", "istio.io/dataplane-mode: ambient", true},
		{"istio.io/dataplane-mode: none", "", false},
		{"istio.io/dataplane-mode: ambient", "gateway.networking.k8s.io/gateway-name: waypoint", false}, // it speaks for itself
	}
	for _, tt := range tests {
		s := isolatedStage(t, shopNamespace(tt.namespace, "")+`
kind: Pod
metadata: {namespace: shop, name: cart, labels: {`+tt.pod+`}}
status: {phase: Running, podIPs: [{ip: 10.0.0.9}]}
`)
		w := s.Spec.Workloads["shop/cart"]
		if captured := w != nil && w.Captured; captured != tt.captured {
			t.Errorf("namespace %q, pod %q: captured %t, want %t", tt.namespace, tt.pod, captured, tt.captured)
		}
	}
}

// A pod that ztunnel captures is spoken to by HBONE, as who it is.
func TestPodsOfZtunnel(t *testing.T) {
	tests := []struct{ annotations, want string }{
		{"", ""},
		{"ambient.istio.io/redirection: enabled", "spiffe://cluster.local/ns/shop/sa/cart"},
		{"ambient.istio.io/redirection: disabled", ""},
		{"ambient.istio.io/redirection: enabled, ambient.istio.io/bypass-inbound-capture: 'true'", ""},
	}
	for _, tt := range tests {
		s := isolatedStage(t, meshOf("", "")+enrolledService("istio.io/use-waypoint: waypoint", "clusterIP: 10.96.0.5, ")+`
kind: Pod
metadata: {namespace: shop, name: cart, annotations: {`+tt.annotations+`}}
spec: {serviceAccountName: cart}
status: {phase: Running, podIPs: [{ip: 10.0.0.9}]}
---
kind: EndpointSlice
metadata: {namespace: shop, name: cart, labels: {kubernetes.io/service-name: cart}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: ["10.0.0.9"], targetRef: {kind: Pod, name: cart}}]
`)
		if got := s.Spec.Endpoints["shop/cart:80"].List[0].Identity; got != tt.want {
			t.Errorf("with %q the endpoint has the identity %q, want %q", tt.annotations, got, tt.want)
		}
	}
}

// networking.istio.io/traffic-distribution of a waypoint's Service has gateways
// send to pods of their zone first; what the Service itself says comes before.
func TestWaypointsNearby(t *testing.T) {
	tests := []struct {
		annotation, spec   string
		forZones, forNodes string
	}{
		{"", "", "[]", "[]"},
		{"networking.istio.io/traffic-distribution: PreferClose", "", "[z1]", "[]"},
		{"networking.istio.io/traffic-distribution: PreferSameNode", "", "[z1]", "[n1]"},
		{"networking.istio.io/traffic-distribution: PreferSameNode", "trafficDistribution: PreferClose", "[z1]", "[]"},
		{"networking.istio.io/traffic-distribution: odd", "", "[]", "[]"},
	}
	for _, tt := range tests {
		s := isolatedStage(t, meshOf("", "")+`
kind: Service
metadata: {namespace: shop, name: waypoint, annotations: {`+tt.annotation+`}}
spec: {`+tt.spec+`}
---
kind: EndpointSlice
metadata: {namespace: shop, name: waypoint, labels: {kubernetes.io/service-name: waypoint}}
addressType: IPv4
ports: [{name: mesh, port: 15008}]
endpoints: [{addresses: ["10.0.0.2"], zone: z1, nodeName: n1}]
`)
		e := s.Spec.Endpoints["mesh/shop/waypoint"].List[0]
		if fmt.Sprint(e.ForZones) != tt.forZones || fmt.Sprint(e.ForNodes) != tt.forNodes {
			t.Errorf("%q, %q: for zones %v and nodes %v, want %s and %s", tt.annotation, tt.spec, e.ForZones, e.ForNodes, tt.forZones, tt.forNodes)
		}
	}
}

// A port's author says what clients speak to it, in appProtocol or else in its
// name; who says nothing has it detected.
func TestProtocolsOfDoors(t *testing.T) {
	app := func(s string) corev1.ServicePort { return corev1.ServicePort{Name: "http", AppProtocol: &s} }
	tests := []struct {
		port   corev1.ServicePort
		want   routing.Protocol
		detect bool
	}{
		{corev1.ServicePort{Name: "http"}, routing.HTTP, false},
		{corev1.ServicePort{Name: "http2-api"}, routing.HTTP, false},
		{corev1.ServicePort{Name: "grpc-web"}, routing.HTTP, false},
		{corev1.ServicePort{Name: "https-api"}, routing.TLS, false},
		{corev1.ServicePort{Name: "tls"}, routing.TLS, false},
		{corev1.ServicePort{Name: "tcp-x"}, routing.TCP, false},
		{corev1.ServicePort{Name: "mysql"}, routing.TCP, false},
		{corev1.ServicePort{Name: "mongo-1"}, routing.TCP, false},
		{corev1.ServicePort{Name: "redis"}, routing.TCP, false},
		{corev1.ServicePort{}, routing.HTTP, true},
		{corev1.ServicePort{Name: "web"}, routing.HTTP, true},
		{app("kubernetes.io/h2c"), routing.HTTP, false},
		{app("kubernetes.io/ws"), routing.HTTP, false},
		{app("kubernetes.io/wss"), routing.TLS, false},
		{app("HTTPS"), routing.TLS, false},
		{app("amqp"), routing.TCP, false}, // not known: as it is
	}
	for _, tt := range tests {
		if got, detect := doorProtocol(&tt.port); got != tt.want || detect != tt.detect {
			t.Errorf("port %q: %s, detect %t; want %s, %t", tt.port.Name, got, detect, tt.want, tt.detect)
		}
	}
}

func TestOwners(t *testing.T) {
	controller := true
	owner := func(kind, name string) []metav1.OwnerReference {
		return []metav1.OwnerReference{{Kind: kind, Name: name, Controller: &controller}}
	}
	tests := []struct {
		pod  metav1.ObjectMeta
		want string
	}{
		{metav1.ObjectMeta{Name: "cart"}, "cart"},
		{metav1.ObjectMeta{Name: "cart-0", OwnerReferences: owner("StatefulSet", "cart")}, "cart"},
		{metav1.ObjectMeta{Name: "cart-7f9c-x", Labels: map[string]string{"pod-template-hash": "7f9c"}, OwnerReferences: owner("ReplicaSet", "cart-7f9c")}, "cart"},
		{metav1.ObjectMeta{Name: "cart-x", OwnerReferences: owner("ReplicaSet", "cart")}, "cart"},
	}
	for _, tt := range tests {
		if got := ownerOf(&tt.pod); got != tt.want {
			t.Errorf("the owner of %s is %q, want %q", tt.pod.Name, got, tt.want)
		}
	}
}

func TestMeshPortKeys(t *testing.T) {
	tests := []struct {
		name routing.CaptureName
		want string
	}{
		{"shop/cart:80", "cart.shop.80"},
		{"ServiceEntry/shop/ext.v2:443", "ServiceEntry.ext.v2.shop.443"},
		{"cart:80", ""}, // no name of ours
	}
	for _, tt := range tests {
		if got := MeshPortKey(tt.name); got != tt.want {
			t.Errorf("MeshPortKey(%q) = %q, want %q", tt.name, got, tt.want)
		}
	}
}

func FuzzParseMeshPort(f *testing.F) {
	for _, text := range []string{"20000", "59999", "19999", "60000", "", "-1", "020001", "20001 "} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		port, err := parseMeshPort(text)
		if ok := err == nil; ok != (port >= FirstMeshPort && port <= LastMeshPort) {
			t.Errorf("parseMeshPort(%q) = %d, %v", text, port, err)
		}
		if err == nil && strings.Trim(text, "0123456789") != "" {
			t.Errorf("parseMeshPort(%q) = %d: want digits alone", text, port)
		}
	})
}
