package convert

import (
	"fmt"
	"slices"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// tlsRoutes writes a TLSRoute for each rule for names in TLS.
func (c *converter) tlsRoutes(vs *networkingv1.VirtualService, doors []door) {
	for i, r := range vs.Spec.Tls {
		field := fmt.Sprintf("spec.tls[%d]", i)
		var names []gatewayv1.Hostname
		for j, m := range r.GetMatch() {
			if c.streamMatch(fmt.Sprintf("%s.match[%d]", field, j), m.GetDestinationSubnets(), m.GetSourceLabels(), m.GetSourceNamespace(), "") {
				continue
			}
			for _, sni := range m.GetSniHosts() {
				if sni != "*" {
					names = append(names, gatewayv1.Hostname(sni))
				}
			}
			doors = atPort(doors, m.GetPort())
		}
		if len(names) == 0 {
			continue
		}
		c.put(&gatewayv1.TLSRoute{
			TypeMeta: types(gatewayGroup+"/v1", "TLSRoute"), ObjectMeta: meta(c.from.Namespace, numbered(vs.Name, i)),
			Spec: gatewayv1.TLSRouteSpec{
				CommonRouteSpec: gatewayv1.CommonRouteSpec{ParentRefs: c.streamParents(doors)}, Hostnames: names,
				Rules: []gatewayv1.TLSRouteRule{{BackendRefs: c.streamBackends(field, r.GetRoute(), "TLSRoute")}},
			},
		})
	}
}

// tcpRoutes writes a TCPRoute for each rule for connections.
func (c *converter) tcpRoutes(vs *networkingv1.VirtualService, doors []door) {
	for i, r := range vs.Spec.Tcp {
		field := fmt.Sprintf("spec.tcp[%d]", i)
		at := doors
		skip := false
		for j, m := range r.GetMatch() {
			skip = c.streamMatch(fmt.Sprintf("%s.match[%d]", field, j), m.GetDestinationSubnets(), m.GetSourceLabels(), m.GetSourceNamespace(), m.GetSourceSubnet()) || skip
			at = atPort(doors, m.GetPort())
		}
		if skip {
			continue
		}
		c.put(&gatewayv1.TCPRoute{
			TypeMeta: types(gatewayGroup+"/v1", "TCPRoute"), ObjectMeta: meta(c.from.Namespace, numbered(vs.Name, i)),
			Spec: gatewayv1.TCPRouteSpec{
				CommonRouteSpec: gatewayv1.CommonRouteSpec{ParentRefs: c.streamParents(at)},
				Rules:           []gatewayv1.TCPRouteRule{{BackendRefs: c.streamBackends(field, r.GetRoute(), "TCPRoute")}},
			},
		})
	}
}

func numbered(base string, i int) string {
	if i == 0 {
		return base
	}
	return fmt.Sprintf("%s-%d", base, i+1)
}

// streamMatch finds what no route of connections can match.
func (c *converter) streamMatch(field string, subnets []string, labels map[string]string, namespace, source string) bool {
	if len(subnets) == 0 && len(labels) == 0 && namespace == "" && source == "" {
		return false
	}
	c.lost(field, "keep the VirtualService for it", "addresses and workloads are not matched: the match is left out")
	return true
}

func atPort(doors []door, port uint32) []door {
	if port == 0 {
		return doors
	}
	var list []door
	for _, d := range doors {
		d.port = port
		if !slices.Contains(list, d) {
			list = append(list, d)
		}
	}
	return list
}

func (c *converter) streamParents(doors []door) []gatewayv1.ParentReference {
	var list []gatewayv1.ParentReference
	for _, d := range doors {
		ref := gatewayv1.ParentReference{Name: gatewayv1.ObjectName(d.gateway.name)}
		if d.gateway.namespace != c.from.Namespace {
			ref.Namespace = new(gatewayv1.Namespace(d.gateway.namespace))
		}
		if d.port != 0 {
			ref.Port = new(gatewayv1.PortNumber(d.port))
		}
		list = append(list, ref)
	}
	return list
}

func (c *converter) streamBackends(field string, route []*networking.RouteDestination, kind string) []gatewayv1.BackendRef {
	var list []gatewayv1.BackendRef
	for i, d := range route {
		ref, _ := c.backend(fmt.Sprintf("%s.route[%d].destination", field, i), d.GetDestination(), c.from.Namespace, kind)
		out := gatewayv1.BackendRef{BackendObjectReference: ref}
		if len(route) > 1 {
			out.Weight = new(d.GetWeight())
		}
		list = append(list, out)
	}
	return list
}
