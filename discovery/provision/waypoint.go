package provision

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing"
)

// Istio's words for a waypoint, which istiod and node proxies go by as well as
// we do.
const (
	labelManaged   = "gateway.istio.io/managed" // by which controller, as a waypoint
	labelWaypoint  = "istio.io/use-waypoint"    // who enforces policy for it
	labelDataplane = "istio.io/dataplane-mode"  // whether its connections are captured
	distribution   = "networking.istio.io/traffic-distribution"

	modeAmbient, modeNone = "ambient", "none" // of labelDataplane
)

// waypoint reports whether the Gateway speaks HBONE.
func (w *Wanted) waypoint() bool { return slices.ContainsFunc(w.Gateway.Spec.Listeners, isMesh) }

func isMesh(l gatewayv1.Listener) bool { return routing.Protocol(l.Protocol) == routing.HBONE }

// defaultType is LoadBalancer for Gateways that clients from outside come to. A
// Gateway with nothing but HBONE is for those inside.
func (w *Wanted) defaultType() corev1.ServiceType {
	outside := func(l gatewayv1.Listener) bool { return !isMesh(l) }
	if w.waypoint() && !slices.ContainsFunc(w.Gateway.Spec.Listeners, outside) {
		return corev1.ServiceTypeClusterIP
	}
	return corev1.ServiceTypeLoadBalancer
}

// sandwiched reports whether a node proxy is to speak HBONE for the pods.
func (w *Wanted) sandwiched() bool {
	return slices.ContainsFunc(w.Ports, func(p Port) bool { return p.Sandwich != 0 })
}

// captured reports whether pods are told that a node proxy does: that is known by
// their own labels, so that no pod believes it which was made before, or whose
// author has it left alone.
func (w *Wanted) captured() bool {
	return w.sandwiched() && w.podLabels()[labelDataplane] == modeAmbient
}

// podLabels are those of the pods.
func (w *Wanted) podLabels() map[string]string {
	return w.labels(w.podMeshLabels(), w.pods().Labels)
}

// meshLabels are those of all objects of a waypoint, over infrastructure's. A
// waypoint has none itself.
func (w *Wanted) meshLabels() map[string]string {
	if !w.waypoint() {
		return nil
	}
	return map[string]string{
		labelManaged:  strings.ReplaceAll(string(w.controller), "/", "-"),
		labelWaypoint: "none",
	}
}

// podMeshLabels are those of a waypoint's pods, where infrastructure says
// nothing else: nobody captures the connections of who speaks HBONE itself.
func (w *Wanted) podMeshLabels() map[string]string {
	if !w.waypoint() {
		return nil
	}
	mode := modeNone
	if w.sandwiched() {
		mode = modeAmbient
	}
	labels := map[string]string{labelDataplane: mode}
	if infra := w.Gateway.Spec.Infrastructure; infra != nil {
		maps.DeleteFunc(labels, func(k, _ string) bool { _, given := infra.Labels[gatewayv1.LabelKey(k)]; return given })
	}
	return labels
}

// serviceMeshAnnotations have node proxies choose a waypoint's pod nearby.
func (w *Wanted) serviceMeshAnnotations() map[string]string {
	if !w.waypoint() {
		return nil
	}
	return map[string]string{distribution: "PreferClose"}
}
