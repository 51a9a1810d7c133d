package gatewayapi

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"fairway.dev/routing"
)

// An addressSlice is what an EndpointSlice holds: every one of its endpoints
// has every one of its ports.
type addressSlice struct {
	ports     []slicePort
	endpoints []sliceEndpoint
}

// A sliceName is that of an EndpointSlice, and of its Service, in their namespace.
type sliceName struct{ name, service string }

type slicePort struct {
	name     string
	protocol corev1.Protocol
	port     uint16
}

// A sliceEndpoint is for whom its hints say, until distribution.distribute.
type sliceEndpoint struct {
	addr netip.Addr
	node string
	routing.Endpoint
}

// slice parses an EndpointSlice and puts it among those of its Service.
func (t *Translator) slice(r *reading) outcome {
	s := object[discoveryv1.EndpointSlice](r, "EndpointSlice", r.ID.NS, r.ID.Name)
	if s == nil {
		return outcome{Gone: true}
	}
	service := s.Labels[discoveryv1.LabelServiceName]
	if service == "" {
		return outcome{}
	}
	report := newReport("EndpointSlice", s)
	value := parseSlice(s, report)
	if len(report.Problems) == 0 {
		report = nil
	}
	return outcome{
		Value:  value,
		Report: report,
		Gifts: []gift{
			{To: cellID{Kind: slicesOf, NS: r.ID.NS, Name: service}, Item: r.ID.Name},
			{To: cellID{Kind: slicesIn, NS: r.ID.NS}, Item: sliceName{r.ID.Name, service}},
		},
	}
}

func parseSlice(s *discoveryv1.EndpointSlice, report *Report) *addressSlice {
	out := &addressSlice{}
	if s.AddressType == discoveryv1.AddressTypeFQDN {
		report.Problem("addressType", reasonUnsupportedValue, "address type FQDN: want IPv4 or IPv6")
		return out
	}
	for i, p := range s.Ports {
		if p.Port == nil {
			continue
		}
		if *p.Port < 1 || *p.Port > 65535 {
			report.Problem(fmt.Sprintf("ports[%d].port", i), reasonUnsupportedValue, fmt.Sprintf("port %d: want 1-65535", *p.Port))
			continue
		}
		out.ports = append(out.ports, slicePort{or(p.Name, ""), or(p.Protocol, corev1.ProtocolTCP), uint16(*p.Port)})
	}
	for i, e := range s.Endpoints {
		ready := or(e.Conditions.Ready, true)
		ep := routing.Endpoint{
			Zone:        or(e.Zone, ""),
			Ready:       ready,
			Serving:     or(e.Conditions.Serving, ready),
			Terminating: or(e.Conditions.Terminating, false),
		}
		ep.ForZones, ep.ForNodes = hintsOf(e.Hints)
		if e.TargetRef != nil && e.TargetRef.Kind == "Pod" {
			ep.Workload = e.TargetRef.Name
		}
		if len(e.Addresses) == 0 {
			continue
		}
		// No meaning is defined for more addresses, and kube-proxy does not
		// look at them either.
		addr, err := netip.ParseAddr(e.Addresses[0])
		if err != nil {
			report.Problem(fmt.Sprintf("endpoints[%d].addresses[0]", i), reasonUnsupportedValue,
				fmt.Sprintf("address %q: want an IP address", e.Addresses[0]))
			continue
		}
		out.endpoints = append(out.endpoints, sliceEndpoint{addr.Unmap(), or(e.NodeName, ""), ep})
	}
	return out
}

// endpoints gathers the addresses of a cluster from the slices of its Service.
// A slice's port belongs to the Service's port of the same name: that is how
// Kubernetes resolves targetPort, by pod, when it writes slices. The cell has
// no value: a change of endpoints is nobody else's affair.
func (t *Translator) endpoints(r *reading) outcome {
	target := parseTarget(r.ID.Part)
	out := &routing.Endpoints{Cluster: clusterName(r.ID)}
	svc := object[corev1.Service](r, "Service", r.ID.NS, r.ID.Name)
	if svc == nil {
		return outcome{Parts: []any{out}}
	}
	port := servicePort(svc, target)
	if port == nil {
		return outcome{Parts: []any{out}}
	}
	found := r.endpointsAt(port.Name, target.protocol())
	prefers, _ := distributionOf(svc) // the error is a Problem of the Service
	prefers.distribute(found)
	tunnels := target.use != udpUse && r.hasMesh()
	for _, e := range found {
		if tunnels && e.Workload != "" {
			e.Identity = r.tunnelTo(e.Workload)
		}
		out.List = append(out.List, e.Endpoint)
	}
	out.List = merge(oneFamily(out.List, svc.Spec.IPFamilies))
	if more := t.shaper.Endpoints; more != nil {
		out.List = merge(more(r.Reading, r.shaping(target, svc, port, nil), out.List))
	}
	return outcome{Parts: []any{out}}
}

// endpointsAt returns what the slices of a Service have for a port of that name.
func (r *reading) endpointsAt(port string, protocol corev1.Protocol) []sliceEndpoint {
	var found []sliceEndpoint
	for name := range r.Bag(cellID{Kind: slicesOf, NS: r.ID.NS, Name: r.ID.Name}) {
		s, _ := r.Value(cellID{Kind: sliceCell, NS: r.ID.NS, Name: name.(string)}).(*addressSlice)
		if s == nil {
			continue
		}
		for _, p := range s.ports {
			if p.name != port || p.protocol != protocol {
				continue
			}
			for _, e := range s.endpoints {
				e.Addr = netip.AddrPortFrom(e.addr, p.port)
				found = append(found, e)
			}
		}
	}
	return found
}

// oneFamily leaves a pod that has an address of each family with the one of
// the Service's first family, IPv4 if it names none: it is one endpoint, with
// one share and one health. What stands in slices without a pod stays, as
// nothing says which of two addresses are one endpoint's.
func oneFamily(list []routing.Endpoint, families []corev1.IPFamily) []routing.Endpoint {
	six := len(families) > 0 && families[0] == corev1.IPv6Protocol
	preferred := map[string]bool{}
	for _, e := range list {
		if e.Workload != "" && e.Addr.Addr().Is6() == six {
			preferred[e.Workload] = true
		}
	}
	return slices.DeleteFunc(list, func(e routing.Endpoint) bool {
		return preferred[e.Workload] && e.Addr.Addr().Is6() != six
	})
}

// merge sorts endpoints by address, or name, and drops duplicates: an endpoint may stand
// in two slices while it moves from one to the other, and the healthier entry
// counts.
func merge(list []routing.Endpoint) []routing.Endpoint {
	slices.SortFunc(list, func(a, b routing.Endpoint) int {
		return cmp.Or(
			a.Addr.Compare(b.Addr),
			strings.Compare(a.Host, b.Host),
			health(b)-health(a),
			strings.Compare(a.Workload, b.Workload),
			strings.Compare(a.Zone, b.Zone),
			slices.Compare(a.ForZones, b.ForZones),
			slices.Compare(a.ForNodes, b.ForNodes),
		)
	})
	return slices.CompactFunc(list, func(a, b routing.Endpoint) bool {
		return a.Addr == b.Addr && a.Host == b.Host
	})
}

func health(e routing.Endpoint) int {
	n := 0
	if e.Ready {
		n += 4
	}
	if e.Serving {
		n += 2
	}
	if !e.Terminating {
		n++
	}
	return n
}
