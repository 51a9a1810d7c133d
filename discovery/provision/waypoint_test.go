package provision

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/discovery/apitest"
	"fairway.dev/routing"
)

const mesh = "{name: mesh, port: 15008, protocol: HBONE}"

var (
	hbone    = Port{Number: routing.HBONEPort, Protocol: corev1.ProtocolTCP}
	sandwich = Port{Number: routing.HBONEPort, Protocol: corev1.ProtocolTCP, Sandwich: 15088}
)

// The labels istio.io/dataplane-mode, istio.io/use-waypoint and
// gateway.istio.io/managed, as istiod, node proxies and our own translation read
// them; and that pods which are captured know it, by what is beside their labels.
func TestWaypointsAreKnownAsSuch(t *testing.T) {
	tests := []struct {
		name, spec, parameters string
		port                   Port
		kind                   corev1.ServiceType
		managed, none, mode    string // labels of the pods
		captured               bool
	}{
		{"an ingress gateway", "listeners: [{name: http, port: 80, protocol: HTTP}]", "{}", hbone, "LoadBalancer", "", "", "", false},
		{"a waypoint", "listeners: [" + mesh + "]", "{}", hbone, "ClusterIP", "fairway.dev-gateway-controller", "none", "none", false},
		{"whose parameters say otherwise", "listeners: [" + mesh + "]", "service: {type: NodePort}", hbone, "NodePort", "fairway.dev-gateway-controller", "none", "none", false},
		{"an east-west gateway", "listeners: [" + mesh + ", {name: tls, port: 443, protocol: TLS}]", "{}", hbone, "LoadBalancer", "fairway.dev-gateway-controller", "none", "none", false},
		{"in a sandwich", "listeners: [" + mesh + "]", "{}", sandwich, "ClusterIP", "fairway.dev-gateway-controller", "none", "ambient", true},
		{"whose labels are the author's", "infrastructure: {labels: {istio.io/dataplane-mode: ambient, istio.io/use-waypoint: other}}, listeners: [" + mesh + "]", "{}", hbone,
			"ClusterIP", "fairway.dev-gateway-controller", "none", "ambient", false},
		{"whose parameters label the pods", "listeners: [" + mesh + "]", "pods: {labels: {istio.io/dataplane-mode: ambient}}", hbone,
			"ClusterIP", "fairway.dev-gateway-controller", "none", "ambient", false},
		{"in a sandwich, and left alone", "infrastructure: {labels: {istio.io/dataplane-mode: none}}, listeners: [" + mesh + "]", "{}", sandwich,
			"ClusterIP", "fairway.dev-gateway-controller", "none", "none", false},
		{"in a sandwich, and left alone by its parameters", "listeners: [" + mesh + "]", "pods: {labels: {istio.io/dataplane-mode: none}}", sandwich,
			"ClusterIP", "fairway.dev-gateway-controller", "none", "none", false},
	}
	for _, tt := range tests {
		w := wanted(t, gateway(t, tt.spec), tt.parameters, tt.port)
		w.controller = "fairway.dev/gateway-controller"
		template, service := w.podTemplate(&Options{}), w.services()[0]
		pods := template.Labels
		if got := slices.Contains(template.Spec.Containers[0].Args, "-captured"); got != tt.captured {
			t.Errorf("%s: the pods are told that they are captured: %v, want %v", tt.name, got, tt.captured)
		}
		if ports := service.Spec.Ports; len(ports) != 1 || ports[0].Port != routing.HBONEPort {
			t.Errorf("%s: the Service has the ports %v, want 15008 alone", tt.name, ports)
		}
		if service.Spec.Type != tt.kind {
			t.Errorf("%s: Service of type %s, want %s", tt.name, service.Spec.Type, tt.kind)
		}
		for k, want := range map[string]string{labelManaged: tt.managed, labelWaypoint: tt.none, labelDataplane: tt.mode} {
			if pods[k] != want {
				t.Errorf("%s: label %s of the pods is %q, want %q", tt.name, k, pods[k], want)
			}
			if k != labelDataplane && service.Labels[k] != want {
				t.Errorf("%s: label %s of the Service is %q, want %q", tt.name, k, service.Labels[k], want)
			}
		}
	}
}

// A listener says by which port tunnels come, and what it says is followed.
func TestPortsOfSandwiches(t *testing.T) {
	l := &routing.Listener{Port: routing.HBONEPort, Protocol: routing.HBONE, Mesh: &routing.Mesh{Sandwich: 15088}}
	if got := PortOf(l); got != sandwich {
		t.Errorf("%+v, want %+v", got, sandwich)
	}
	if l.Mesh.Sandwich = 0; PortOf(l) != hbone {
		t.Errorf("%+v, want %+v", PortOf(l), hbone)
	}
}

// A waypoint's Service has its listeners' ports and no door's, and its address
// is the Gateway's: istiod takes that, an IP address or a name.
func TestWaypointHasItsServicesAddress(t *testing.T) {
	bubble(t, func(r *rig) {
		door := PortOf(&routing.Listener{Port: 8080, Protocol: routing.HTTP, Inside: true, Capture: 20001})
		own := PortOf(&routing.Listener{Port: routing.HBONEPort, Protocol: routing.HBONE})
		r.want("waypoint", "listeners: ["+mesh+"]", "{}", door, own, door)
		r.settle()
		service := r.server.Object(kindService, "shop", "waypoint-fairway")
		ports, _ := at(service, "spec.ports").([]any)
		if len(ports) != 1 || ports[0].(apitest.Object)["port"] != 15008.0 {
			t.Errorf("the Service's ports are %v, want 15008 alone", ports)
		}
		r.edit("kube-apiserver", kindService, "waypoint-fairway", "spec.clusterIPs", []any{"10.96.0.7"})
		r.edit("kube-controller-manager", kindDeployment, "waypoint-fairway", "status.readyReplicas", 2)
		r.expect("waypoint", "", "")
		s := r.state("waypoint")
		if len(s.Addresses) != 1 || s.Addresses[0].Value != "10.96.0.7" || *s.Addresses[0].Type != gatewayv1.IPAddressType {
			t.Errorf("addresses %+v, want the Service's own", s.Addresses)
		}
	})
}

// What only the ports and the listeners say reaches the pods, too.
func TestWaypointIsFollowed(t *testing.T) {
	bubble(t, func(r *rig) {
		mode := func() any {
			r.settle()
			labels, _ := at(r.server.Object(kindDeployment, "shop", "edge-fairway"), "spec.template.metadata.labels").(apitest.Object)
			return labels[labelDataplane]
		}
		r.want("edge", "listeners: []", "{}", http80)
		if got := mode(); got != nil {
			t.Errorf("a gateway's mode is %v, want none said", got)
		}
		g := r.want("edge", "listeners: ["+mesh+"]", "{}", http80)
		if got := mode(); got != "none" {
			t.Errorf("a waypoint's mode is %v, want none", got)
		}
		r.reconciler.Set(Wanted{Gateway: g, Ports: []Port{http80, sandwich}})
		if got := mode(); got != "ambient" {
			t.Errorf("a sandwich's mode is %v, want ambient", got)
		}
	})
}
