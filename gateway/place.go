package main

import (
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/discovery/feed"
	"fairway.dev/routing"
	"fairway.dev/routing/gatewayapi"
)

// Labels that say where a node or a pod is, beside those of Kubernetes.
const (
	labelSubZone  = "topology.istio.io/subzone"
	labelLocality = "istio-locality" // of a pod: "region.zone.subzone", before its node's
)

// whereabouts returns where a pod of a Gateway is that runs on a node, and the
// labels that the pod has. Any goroutine may call it.
func (r *replica) whereabouts(gateway, node string) feed.Place {
	var p feed.Place
	if n, ok := r.source.Get(routing.ObjectKey{Kind: "Node", Name: node}).(metav1.Object); ok && node != "" {
		labels := n.GetLabels()
		p = feed.Place{
			Region: labels[corev1.LabelTopologyRegion], Zone: labels[corev1.LabelTopologyZone], SubZone: labels[labelSubZone],
		}
	}
	key := gatewayKey(gateway)
	g, ok := r.source.Get(key).(*gatewayv1.Gateway)
	if report, _, ours := r.fleets.of(key); ok && ours {
		p.Labels = gatewayapi.PodLabels(g, report.Parameters)
	}
	if locality := p.Labels[labelLocality]; locality != "" {
		p.Region, p.Zone, p.SubZone = partsOf(locality)
	}
	if p.Labels != nil {
		p.Labels = topology(p, node)
	}
	return p
}

// topology returns the labels of a place with those that say where it is, as
// failoverPriority of a DestinationRule names them.
func topology(p feed.Place, node string) map[string]string {
	labels := maps.Clone(p.Labels)
	for key, value := range map[string]string{
		corev1.LabelTopologyRegion: p.Region, corev1.LabelTopologyZone: p.Zone, labelSubZone: p.SubZone, corev1.LabelHostname: node,
	} {
		if value != "" {
			labels[key] = value
		}
	}
	return labels
}

// partsOf splits a locality, which a label's value cannot have slashes in.
func partsOf(locality string) (region, zone, subZone string) {
	parts := strings.SplitN(locality, ".", 3)
	for len(parts) < 3 {
		parts = append(parts, "")
	}
	return parts[0], parts[1], parts[2]
}
