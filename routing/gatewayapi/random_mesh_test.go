package gatewayapi

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// enrol may put labels on an object by which it is enrolled, or a gateway's.
func (c chance) enrol(o *metav1.ObjectMeta) {
	if c.IntN(2) == 0 {
		return
	}
	if o.Labels == nil {
		o.Labels = map[string]string{}
	}
	o.Labels[waypointLabel] = pick(c, "g1", "g1", "g2", "none", "")
	if c.IntN(3) == 0 {
		o.Labels[waypointNamespaceLabel] = c.ns()
	}
	if c.IntN(3) == 0 {
		o.Labels[ingressLabel] = pick(c, "true", "false")
	}
	if c.IntN(3) == 0 {
		o.Labels[dataplaneLabel] = pick(c, "ambient", "none")
	}
	if c.IntN(3) == 0 {
		o.Labels[globalLabel] = pick(c, "true", "false")
	}
	if c.IntN(3) == 0 {
		o.Labels[networkLabel] = pick(c, "one", "two")
	}
	if c.IntN(12) == 0 {
		o.Labels[gatewayv1.GatewayNameLabelKey] = "g1"
	}
}

func (c chance) namespace() (string, metav1.Object) {
	o := &corev1.Namespace{ObjectMeta: c.meta("", "a", "b")}
	o.Labels = map[string]string{"team": pick(c, "x", "y")}
	c.enrol(&o.ObjectMeta)
	if c.IntN(3) == 0 {
		o.Annotations = map[string]string{missingAnnotation: pick(c, "allow", "odd")}
	}
	return "Namespace", o
}

func (c chance) pod() (string, metav1.Object) {
	o := &corev1.Pod{ObjectMeta: c.meta(c.ns(), "p1", "p2")}
	c.enrol(&o.ObjectMeta)
	o.Spec.ServiceAccountName = pick(c, "", "cart")
	o.Spec.HostNetwork = c.IntN(8) == 0
	if c.IntN(2) == 0 {
		o.Spec.Containers = []corev1.Container{{Ports: []corev1.ContainerPort{
			{Name: "web", ContainerPort: pick[int32](c, 80, 8080, 70000), Protocol: pick(c, "", corev1.ProtocolTCP, corev1.ProtocolUDP)},
		}}}
	}
	o.Status.Phase = pick(c, corev1.PodRunning, corev1.PodRunning, corev1.PodSucceeded)
	o.Status.PodIPs = pick(c, nil, []corev1.PodIP{{IP: "10.0.0.1"}}, []corev1.PodIP{{IP: "10.0.0.2"}, {IP: "fd00::2"}})
	if c.IntN(2) == 0 {
		o.Annotations = map[string]string{redirectionAnnotation: pick(c, "enabled", "disabled")}
	}
	return "Pod", o
}

func (c chance) meshPorts() (string, metav1.Object) {
	o := &corev1.ConfigMap{ObjectMeta: c.meta("a", "ports")}
	o.Data = map[string]string{}
	for _, key := range []string{"s1.a.80", "s1.b.80", "s2.a.80", "s2.a.81", "Pod.p1.a.80", "Pod.p1.a.8080"} {
		if c.IntN(2) == 0 {
			o.Data[key] = pick(c, "20001", "20002", "80")
		}
	}
	return "ConfigMap", o
}

// meshWorld has namespaces with waypoints, with routes of their own and to each
// other, for edits to begin with.
const meshWorld = `
kind: Gateway
metadata: {namespace: a, name: g1, creationTimestamp: "2026-01-01T00:00:00Z"}
spec:
  gatewayClassName: fairway
  listeners: [{name: l0, port: 15008, protocol: HBONE, allowedRoutes: {namespaces: {from: All}}}]
---
kind: Gateway
metadata: {namespace: b, name: g1, creationTimestamp: "2026-01-01T00:00:00Z"}
spec:
  gatewayClassName: fairway
  listeners: [{name: l0, port: 15009, protocol: HBONE}, {name: l1, port: 80, protocol: HTTP}]
---
kind: Namespace
metadata: {name: a, labels: {istio.io/use-waypoint: g1, istio.io/dataplane-mode: ambient}}
---
kind: Namespace
metadata: {name: b, labels: {istio.io/use-waypoint: g1}}
---
kind: Service
metadata: {namespace: a, name: s1}
spec: {clusterIPs: ["10.96.0.1"], ports: [{name: web, port: 80}, {name: grpc, port: 81}]}
---
kind: Service
metadata: {namespace: a, name: g1, labels: {gateway.networking.k8s.io/gateway-name: g1}}
spec: {clusterIPs: ["10.96.0.2"], ports: [{name: mesh, port: 15008}]}
---
kind: HTTPRoute
metadata: {namespace: a, name: r1}
spec: {parentRefs: [{group: "", kind: Service, name: s1}], rules: [{backendRefs: [{name: s1, port: 80}]}]}
---
kind: HTTPRoute
metadata: {namespace: b, name: r1}
spec: {parentRefs: [{group: "", kind: Service, namespace: a, name: s1, port: 80}], rules: [{backendRefs: [{name: s1, port: 80}]}]}
---
kind: EndpointSlice
metadata: {namespace: a, name: e1, labels: {kubernetes.io/service-name: s1}}
addressType: IPv4
ports: [{name: web, port: 8080}]
endpoints: [{addresses: ["10.0.0.1"], targetRef: {kind: Pod, name: p1}}]
---
kind: EndpointSlice
metadata: {namespace: a, name: e2, labels: {kubernetes.io/service-name: g1}}
addressType: IPv4
ports: [{name: mesh, port: 15008}]
endpoints: [{addresses: ["10.0.0.2"]}]
---
kind: Pod
metadata: {namespace: a, name: p1, annotations: {ambient.istio.io/redirection: enabled}}
status: {phase: Running, podIPs: [{ip: "10.0.0.1"}]}
---
kind: ConfigMap
metadata: {namespace: a, name: ports}
data: {s1.a.80: "20001", s1.a.81: "20002"}
`
