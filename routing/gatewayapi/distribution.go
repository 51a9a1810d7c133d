package gatewayapi

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// A distribution is whose gateways the endpoints of a Service are for, where
// no hints say so: those of their own zone, those of their own node.
type distribution struct{ zone, node bool }

// distributionOf reads spec.trafficDistribution (KEP-4444, KEP-3015). Where the
// Service has topology aware routing, only hints count: that has precedence,
// and its endpoints are not always for their own zone.
func distributionOf(svc *corev1.Service) (distribution, error) {
	if svc.Spec.TrafficDistribution == nil || hasTopologyAwareRouting(svc) {
		return distribution{}, nil
	}
	switch d := *svc.Spec.TrafficDistribution; d {
	case corev1.ServiceTrafficDistributionPreferSameZone, corev1.ServiceTrafficDistributionPreferClose:
		return distribution{zone: true}, nil
	case corev1.ServiceTrafficDistributionPreferSameNode:
		return distribution{zone: true, node: true}, nil
	default:
		return distribution{}, fmt.Errorf("%q: want PreferSameZone, PreferSameNode or PreferClose", d)
	}
}

// hasTopologyAwareRouting reports whether a controller hints by the zones'
// CPUs (KEP-2433). The older name of the annotation counts first, as there.
func hasTopologyAwareRouting(svc *corev1.Service) bool {
	mode, ok := svc.Annotations[corev1.DeprecatedAnnotationTopologyAwareHints]
	if !ok {
		mode = svc.Annotations[corev1.AnnotationTopologyMode]
	}
	return mode == "Auto" || mode == "auto"
}

// distribute settles whom the endpoints of one port are for. Hints of a kind
// count if every ready endpoint has one, whatever the Service says, as for
// kube-proxy: else some are yet to be written, and where only a few endpoints
// are hinted at, those would take what is meant for all.
func (d distribution) distribute(list []sliceEndpoint) {
	zones, nodes := true, true
	for i := range list {
		if e := &list[i]; e.Ready {
			zones = zones && len(e.ForZones) > 0
			nodes = nodes && len(e.ForNodes) > 0
		}
	}
	for i := range list {
		e := &list[i]
		e.ForZones = whomFor(e.ForZones, zones, d.zone, e.Zone)
		e.ForNodes = whomFor(e.ForNodes, nodes, d.node, e.node)
	}
}

// whomFor returns hints where they count, else the endpoint's own place where
// the Service prefers that and it is known.
func whomFor(hints []string, count, preferOwn bool, own string) []string {
	switch {
	case count && len(hints) > 0:
		return hints
	case preferOwn && own != "":
		return []string{own}
	}
	return nil
}

// hintsOf returns the zones and nodes that an endpoint's hints name.
func hintsOf(h *discoveryv1.EndpointHints) (zones, nodes []string) {
	if h == nil {
		return nil, nil
	}
	for _, z := range h.ForZones {
		zones = append(zones, z.Name)
	}
	for _, n := range h.ForNodes {
		nodes = append(nodes, n.Name)
	}
	return zones, nodes
}
