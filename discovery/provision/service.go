package provision

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing/v1alpha1"
)

// A request is an entry of spec.addresses.
type request struct {
	kind  gatewayv1.AddressType
	value string     // empty: any of the kind
	addr  netip.Addr // of value, where it is an IP address
}

// requests are the entries of spec.addresses, each once.
func (w *Wanted) requests() []request {
	var out []request
	seen := map[request]bool{}
	for _, a := range w.Gateway.Spec.Addresses {
		r := request{kind: or(a.Type, gatewayv1.IPAddressType), value: a.Value}
		if r.kind == gatewayv1.IPAddressType {
			if addr, err := netip.ParseAddr(a.Value); err == nil {
				r.addr = addr.Unmap()
				r.value = r.addr.String()
			}
		} else {
			r.value = strings.ToLower(r.value)
		}
		if !seen[r] {
			seen[r] = true
			out = append(out, r)
		}
	}
	return out
}

// services are the Services of the Gateway; none without ports.
func (w *Wanted) services() []*corev1.Service {
	ports := w.servicePorts()
	if len(ports) == 0 {
		return nil
	}
	requests := w.requests()
	if w.serviceType() != corev1.ServiceTypeLoadBalancer {
		s := w.serviceNamed(w.name(), ports)
		for _, r := range requests {
			if r.addr.IsValid() && w.Parameters.Delegates(v1alpha1.DelegateExternalIPs) {
				s.Spec.ExternalIPs = append(s.Spec.ExternalIPs, r.addr.String())
			}
		}
		return []*corev1.Service{s}
	}
	var out []*corev1.Service
	any := len(requests) == 0
	for _, r := range requests {
		if !r.addr.IsValid() {
			any = true
			continue
		}
		s := w.serviceNamed(serviceName(w.name(), r.addr), ports)
		s.Spec.LoadBalancerIP = r.addr.String()
		if s.Spec.IPFamilies == nil && s.Spec.IPFamilyPolicy == nil {
			s.Spec.IPFamilies = []corev1.IPFamily{family(r.addr)}
		}
		out = append(out, s)
	}
	if any {
		out = append([]*corev1.Service{w.serviceNamed(w.name(), ports)}, out...)
	}
	for _, s := range out[1:] { // a node's port is one Service's
		s.Spec.Ports = slices.Clone(ports)
		for i := range s.Spec.Ports {
			s.Spec.Ports[i].NodePort = 0
		}
	}
	return out
}

func family(a netip.Addr) corev1.IPFamily {
	if a.Is6() {
		return corev1.IPv6Protocol
	}
	return corev1.IPv4Protocol
}

func (w *Wanted) serviceNamed(name string, ports []corev1.ServicePort) *corev1.Service {
	p := w.service()
	kind := w.serviceType()
	s := &corev1.Service{
		ObjectMeta: w.meta(name),
		Spec: corev1.ServiceSpec{
			Type:           kind,
			Selector:       w.selector(),
			Ports:          ports,
			IPFamilies:     p.IPFamilies,
			IPFamilyPolicy: p.IPFamilyPolicy,
		},
	}
	s.Labels = w.labels(p.Labels)
	s.Annotations = w.annotations(w.serviceMeshAnnotations(), p.Annotations)
	// What a type does not have is left out: it may be said for another type, by
	// the class.
	if kind != corev1.ServiceTypeClusterIP {
		s.Spec.ExternalTrafficPolicy = or(p.ExternalTrafficPolicy, "")
	}
	if kind == corev1.ServiceTypeLoadBalancer {
		s.Spec.LoadBalancerClass = p.LoadBalancerClass
		s.Spec.LoadBalancerSourceRanges = p.LoadBalancerSourceRanges
	}
	return s
}

func (w *Wanted) servicePorts() []corev1.ServicePort {
	var out []corev1.ServicePort
	for _, p := range w.ports() {
		port := corev1.ServicePort{
			Name:       fmt.Sprintf("%s-%d", strings.ToLower(string(p.Protocol)), p.Number),
			Port:       int32(p.Number),
			Protocol:   p.Protocol,
			TargetPort: intstr.FromInt32(int32(p.Number)),
		}
		if w.serviceType() != corev1.ServiceTypeClusterIP {
			for _, n := range w.service().NodePorts {
				if n.Port == port.Port && (n.Protocol == p.Protocol || n.Protocol == "" && p.Protocol == corev1.ProtocolTCP) {
					port.NodePort = n.NodePort
				}
			}
		}
		out = append(out, port)
	}
	return out
}
