package convert

import (
	"fmt"
	"maps"
	"net/netip"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

func (c *converter) httpBackend(r *rule, i int, d *networking.HTTPRouteDestination) gatewayv1.HTTPBackendRef {
	field := fmt.Sprintf("%s.route[%d]", r.field, i)
	var out gatewayv1.HTTPBackendRef
	out.BackendObjectReference, _ = c.backend(field+".destination", d.GetDestination(), r.space, "HTTPRoute")
	out.Weight = new(d.GetWeight())
	out.Filters = c.headerFilters(field+".headers", d.GetHeaders())
	return out
}

// serviceOf is the Service that a host names, and whether it can be one.
func (c *converter) serviceOf(host, namespace string) (name, bool) {
	if s, ok := strings.CutSuffix(host, ".svc.cluster.local"); ok {
		host = s + ".svc"
	}
	parts := strings.Split(host, ".")
	switch {
	case c.entries[host] != nil:
		return name{}, false
	case len(parts) == 1:
		return name{namespace, host}, true
	case len(parts) == 2, len(parts) == 3 && parts[2] == "svc":
		return name{parts[1], parts[0]}, true
	}
	return name{}, false
}

// backend is what a destination comes to. One that cannot be said is named all
// the same: its share of the requests is answered with an error.
func (c *converter) backend(field string, d *networking.Destination, namespace, kind string) (gatewayv1.BackendObjectReference, bool) {
	host := d.GetHost()
	to, ok := c.serviceOf(host, namespace)
	if e := c.entries[host]; e != nil {
		to, ok = c.entryService(e, host), e.Spec.Resolution == networking.ServiceEntry_STATIC
	}
	if !ok {
		if to.name == "" {
			to = name{namespace, dns(strings.ReplaceAll(host, ".", "-"))}
		}
		c.closed(field+".host", "keep the VirtualService for hosts outside of the cluster", "%q is no Service: routes of Gateway API have no other backends", host)
	}
	port := d.GetPort().GetNumber()
	if port == 0 {
		port = c.onlyPort(field, to)
	}
	if s := d.GetSubset(); s != "" {
		to = c.subset(field, host, to, s)
	}
	ref := gatewayv1.BackendObjectReference{Name: gatewayv1.ObjectName(to.name), Port: new(gatewayv1.PortNumber(port))}
	if to.namespace != c.from.Namespace {
		ref.Namespace = new(gatewayv1.Namespace(to.namespace))
		c.grant(kind, c.from.Namespace, "Service", to)
	}
	return ref, ok
}

// onlyPort is the port of a Service with one.
func (c *converter) onlyPort(field string, to name) uint32 {
	const usual = 80
	s := c.services[to]
	switch {
	case s == nil && c.objects["Service "+to.String()] != nil:
		if own, ok := c.objects["Service "+to.String()].(*corev1.Service); ok && len(own.Spec.Ports) > 0 {
			return uint32(own.Spec.Ports[0].Port)
		}
	case s != nil && len(s.Spec.Ports) > 0:
		if len(s.Spec.Ports) > 1 {
			c.assumed(field+".port", "name the port", "Service %s has several ports: the first is written", to)
		}
		return uint32(s.Spec.Ports[0].Port)
	default:
		c.assumed(field+".port", "add the Service to the input, or put the port right", "Service %s is not in the input: port %d is written", to, usual)
	}
	return usual
}

// subset is the Service that stands for a subset.
func (c *converter) subset(field, host string, of name, subset string) name {
	to := name{of.namespace, dns(of.name + "-" + subset)}
	if c.services[to] != nil {
		return to // there already, as people have it who split Services by version
	}
	var labels map[string]string
	found := false
	for _, d := range c.in.DestinationRules {
		if at, ok := c.serviceOf(d.Spec.Host, namespaceOf(d)); d.Spec.Host != host && !(ok && at == of) {
			continue
		}
		for _, s := range d.Spec.Subsets {
			if s.GetName() == subset {
				labels, found = s.Labels, true
			}
		}
	}
	if !found {
		c.closed(field+".subset", "add the DestinationRule to the input", "no DestinationRule of the input has subset %q of %q: Service %s is not in the output", subset, host, to)
		return to
	}
	base := c.services[of]
	s := &corev1.Service{TypeMeta: types("v1", "Service"), ObjectMeta: meta(to.namespace, to.name)}
	s.Spec.Selector = maps.Clone(labels)
	if base == nil {
		c.assumed(field+".subset", "add the Service to the input", "Service %s is not in the input: Service %s selects by the subset's labels alone, on port 80", of, to)
		s.Spec.Ports = []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromInt32(80)}}
	} else {
		s.Spec.Selector = maps.Clone(base.Spec.Selector)
		if s.Spec.Selector == nil {
			s.Spec.Selector = map[string]string{}
		}
		maps.Copy(s.Spec.Selector, labels)
		for _, p := range base.Spec.Ports {
			p.NodePort = 0
			if p.TargetPort == (intstr.IntOrString{}) {
				p.TargetPort = intstr.FromInt32(p.Port)
			}
			s.Spec.Ports = append(s.Spec.Ports, p)
		}
	}
	c.put(s)
	return to
}

// entryService is the Service that stands for a host of a ServiceEntry.
func (c *converter) entryService(e *networkingv1.ServiceEntry, host string) name {
	return name{namespaceOf(e), dns(strings.ReplaceAll(strings.ToLower(host), ".", "-"))}
}

// serviceEntries writes Services for hosts with fixed addresses.
func (c *converter) serviceEntries() {
	for _, e := range c.in.ServiceEntries {
		c.begin("ServiceEntry", e)
		if e.Spec.Resolution != networking.ServiceEntry_STATIC || e.Spec.WorkloadSelector != nil {
			c.lost("spec.resolution", "keep the ServiceEntry, and the VirtualServices that send to it", "resolution %v: a Service has addresses, and Gateway API no other backends", e.Spec.Resolution)
			continue
		}
		for _, host := range e.Spec.Hosts {
			to := c.entryService(e, host)
			s := &corev1.Service{TypeMeta: types("v1", "Service"), ObjectMeta: meta(to.namespace, to.name)}
			slice := &discoveryv1.EndpointSlice{TypeMeta: types("discovery.k8s.io/v1", "EndpointSlice"), ObjectMeta: meta(to.namespace, dns(to.name+"-converted")), AddressType: discoveryv1.AddressTypeIPv4}
			slice.Labels = map[string]string{discoveryv1.LabelServiceName: to.name}
			for _, p := range e.Spec.Ports {
				target := int32(p.GetTargetPort())
				if target == 0 {
					target = int32(p.GetNumber())
				}
				s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: p.GetName(), Port: int32(p.GetNumber()), TargetPort: intstr.FromInt32(target)})
				slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{Name: new(p.GetName()), Port: new(target)})
			}
			for i, w := range e.Spec.Endpoints {
				addr, err := netip.ParseAddr(w.GetAddress())
				if err != nil || !addr.Is4() || len(w.GetPorts()) > 0 {
					c.lost(fmt.Sprintf("spec.endpoints[%d]", i), "write an EndpointSlice by hand", "%s: only IPv4 addresses without ports of their own are written", w.GetAddress())
					continue
				}
				slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{addr.String()}})
			}
			c.put(s)
			c.put(slice)
		}
	}
}
