package main

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// unproxied keeps kube-proxy from programming a Service: thousands of them
// would keep the nodes' cores from what is measured. Gateways do not need it.
const unproxied = "service.kubernetes.io/service-proxy-name"

// A port is one of a Service's.
type port struct {
	name    string
	number  int32 // of the Service
	backend int32 // of the endpoints
}

// service is a Service whose EndpointSlices are written by hand.
func service(namespace, name string, ports ...port) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{
		Namespace: namespace, Name: name, Labels: map[string]string{unproxied: "none"},
	}}
	for _, p := range ports {
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: p.name, Port: p.number})
	}
	return s
}

// slice is an EndpointSlice of a Service.
func slice(namespace, service, name string, ports []port, addresses ...string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{
			discoveryv1.LabelServiceName: service, discoveryv1.LabelManagedBy: "bench.fairway.dev", unproxied: "none",
		}},
		AddressType: discoveryv1.AddressTypeIPv4,
	}
	for _, p := range ports {
		s.Ports = append(s.Ports, discoveryv1.EndpointPort{Name: &p.name, Port: &p.backend})
	}
	ready := true
	for _, a := range addresses {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{a}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}})
	}
	return s
}

// backend makes a Service with one EndpointSlice.
func (l *lab) backend(ctx context.Context, namespace, name string, ports []port, addresses ...string) error {
	o := metav1.CreateOptions{}
	if _, err := l.core.CoreV1().Services(namespace).Create(ctx, service(namespace, name, ports...), o); err != nil {
		return err
	}
	_, err := l.core.DiscoveryV1().EndpointSlices(namespace).Create(ctx, slice(namespace, name, name, ports, addresses...), o)
	return err
}

// route is an HTTPRoute. A parent without a namespace is one of its own.
func route(namespace, name, host string, parent gatewayv1.ParentReference, rules ...gatewayv1.HTTPRouteRule) *gatewayv1.HTTPRoute {
	return &gatewayv1.HTTPRoute{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: gatewayv1.HTTPRouteSpec{
			CommonRouteSpec: gatewayv1.CommonRouteSpec{ParentRefs: []gatewayv1.ParentReference{parent}},
			Hostnames:       []gatewayv1.Hostname{gatewayv1.Hostname(host)},
			Rules:           rules,
		},
	}
}

// rule sends what is under a path to a port of a Service.
func rule(path, service string, number int32, filters ...gatewayv1.HTTPRouteFilter) gatewayv1.HTTPRouteRule {
	under, at := gatewayv1.PathMatchPathPrefix, gatewayv1.PortNumber(number)
	return gatewayv1.HTTPRouteRule{
		Matches: []gatewayv1.HTTPRouteMatch{{Path: &gatewayv1.HTTPPathMatch{Type: &under, Value: &path}}},
		Filters: filters,
		BackendRefs: []gatewayv1.HTTPBackendRef{{BackendRef: gatewayv1.BackendRef{
			BackendObjectReference: gatewayv1.BackendObjectReference{Name: gatewayv1.ObjectName(service), Port: &at},
		}}},
	}
}

// addHeader is a filter that adds a field to responses.
func addHeader(name, value string) gatewayv1.HTTPRouteFilter {
	return gatewayv1.HTTPRouteFilter{
		Type: gatewayv1.HTTPRouteFilterResponseHeaderModifier,
		ResponseHeaderModifier: &gatewayv1.HTTPHeaderFilter{
			Set: []gatewayv1.HTTPHeader{{Name: gatewayv1.HTTPHeaderName(name), Value: value}},
		},
	}
}

func (l *lab) createRoute(ctx context.Context, r *gatewayv1.HTTPRoute) error {
	_, err := l.gateways.GatewayV1().HTTPRoutes(r.Namespace).Create(ctx, r, metav1.CreateOptions{})
	return err
}

// editRoute puts r's rules in the place of those that the route of its name has.
func (l *lab) editRoute(ctx context.Context, r *gatewayv1.HTTPRoute) error {
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"rules": r.Spec.Rules}})
	if err != nil {
		return err
	}
	_, err = l.gateways.GatewayV1().HTTPRoutes(r.Namespace).Patch(ctx, r.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}

// moveBackend gives a Service's EndpointSlice, of backend, other addresses.
func (l *lab) moveBackend(ctx context.Context, namespace, name string, ports []port, addresses ...string) error {
	_, err := l.core.DiscoveryV1().EndpointSlices(namespace).Update(ctx, slice(namespace, name, name, ports, addresses...), metav1.UpdateOptions{})
	return err
}

// nowhere is an address of those that RFC 2544 sets aside for benchmarks: of a
// backend that nobody asks.
func nowhere(i int) string { return fmt.Sprintf("198.18.%d.%d", i/250%250, i%250+1) }
