package gatewayapi

import (
	"cmp"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairway.dev/routing"
)

// Annotations of pods that ztunnel captures, "enabled", which speak HBONE then;
// but not those whose author lets what comes to them pass by, "true".
const (
	redirectionAnnotation = "ambient.istio.io/redirection"
	bypassAnnotation      = "ambient.istio.io/bypass-inbound-capture"
)

// A podMesh is who a pod is.
type podMesh struct {
	addresses []netip.Addr
	identity  string
	node      string
	tunnels   bool              // by ztunnel
	captured  string            // its own word: "ambient", "none" or nothing
	labels    map[string]string // for policies that select it, and telemetry
	owner     string
}

// pod reads a Pod. Its value is nil where there is none with addresses of its
// own, and for those of gateways, which speak for themselves.
func (t *Translator) pod(r *reading) outcome {
	o := object[corev1.Pod](r, "Pod", r.ID.NS, r.ID.Name)
	if o == nil || o.Spec.HostNetwork || o.Status.Phase == corev1.PodSucceeded || o.Status.Phase == corev1.PodFailed || isOfGateway(&o.ObjectMeta) {
		return outcome{}
	}
	p := &podMesh{
		identity: t.opts.identityOf(o.Namespace, cmp.Or(o.Spec.ServiceAccountName, "default")),
		node:     o.Spec.NodeName,
		tunnels:  o.Annotations[redirectionAnnotation] == "enabled" && o.Annotations[bypassAnnotation] != "true",
		captured: o.Labels[dataplaneLabel],
		labels:   o.Labels,
		owner:    ownerOf(&o.ObjectMeta),
	}
	var ips []string
	for _, ip := range o.Status.PodIPs {
		ips = append(ips, ip.IP)
	}
	if p.addresses = addressesOf(ips); p.addresses == nil {
		return outcome{}
	}
	return outcome{Value: p}
}

// ownerOf is what runs a pod: of a ReplicaSet its Deployment, whose name it has
// with the hash of the pods' template.
func ownerOf(o *metav1.ObjectMeta) string {
	owner := metav1.GetControllerOfNoCopy(o)
	if owner == nil {
		return o.Name
	}
	if hash := o.Labels["pod-template-hash"]; owner.Kind == "ReplicaSet" && hash != "" {
		return strings.TrimSuffix(owner.Name, "-"+hash)
	}
	return owner.Name
}

func (r *reading) pod(name string) *podMesh {
	p, _ := r.Value(cellID{Kind: podCell, NS: r.ID.NS, Name: name}).(*podMesh)
	return p
}

// tunnelTo is the identity of a pod that speaks HBONE; empty: it does not.
func (r *reading) tunnelTo(pod string) string {
	if p := r.pod(pod); p != nil && p.tunnels {
		return p.identity
	}
	return ""
}

// workload makes the workload of a Pod whose connections are captured, or go
// through a waypoint, and the doors of one to which connections do.
func (t *Translator) workload(r *reading) outcome {
	o := object[corev1.Pod](r, "Pod", r.ID.NS, r.ID.Name)
	if o == nil {
		return outcome{Gone: true}
	}
	p := r.pod(r.ID.Name)
	if p == nil {
		return outcome{}
	}
	doors, enforced := t.podDoors(r, p, &o.Spec)
	captured := p.captured == "ambient" || r.namespaceMesh(r.ID.NS).captured && p.captured != "none"
	gateways := r.vouchersFor(r.ID.NS)
	if !captured && gateways == nil && !enforced {
		return outcome{}
	}
	w := &routing.Workload{
		Name:      routing.WorkloadName(r.ID.NS + "/" + r.ID.Name),
		Addresses: p.addresses,
		Identity:  p.identity,
		Gateways:  gateways,
		Node:      p.node,
		Captured:  captured,
		App:       cmp.Or(p.labels["app.kubernetes.io/name"], p.labels["app"]),
		Version:   cmp.Or(p.labels["service.istio.io/canonical-revision"], p.labels["app.kubernetes.io/version"], p.labels["version"]),
		Owner:     p.owner,
	}
	w.Service = cmp.Or(p.labels["service.istio.io/canonical-name"], w.App, w.Owner)
	if t.shaper.Workload != nil {
		t.shaper.Workload(r.Reading, r.ID.NS, p.labels, w)
	}
	doors.Parts = append(doors.Parts, w)
	return doors
}

// vouchersFor returns the waypoint that workloads of a namespace go through,
// also one that is not there: then they get nowhere (law 15).
func (r *reading) vouchersFor(ns string) []string {
	b := r.consumer(ns).own
	if !r.enforced(b) || b.works() && !b.ours {
		return nil
	}
	return []string{b.waypoint.String()}
}
