package gatewayapi

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"fairway.dev/routing"
	"fairway.dev/routing/dialect"
)

// podKind is the kind of what is enrolled that a pod is.
const podKind = "Pod"

// bindPod finds the waypoint by which connections to the addresses of a pod go, of
// a namespace with labels of its own or, where it has none, of all that say
// nothing themselves. Nil: it is not enrolled.
//
// What a Namespace says is about its Services, and about its pods too only where
// the Gateway that it names is there and says so: the default is that it does not.
// A pod's own label is about the pod, and nobody gets there while that Gateway is
// not to be had.
func (r *reading) bindPod(ns string, own map[string]string) *binding {
	b, m := r.named(ns, own)
	switch {
	case b == nil || m == nil && own[waypointLabel] != "":
		return b
	case m == nil || !m.workloads && own[waypointLabel] == "":
		return nil
	case !m.workloads && m.isWaypoint():
		b.beside = true
		b.refuse(reasonWaypointOther, "Gateway %s is not for pods (%s)", b.waypoint, waypointForLabel)
	}
	return b
}

// podDoors makes the doors of the Pod of a cell, if connections to its addresses
// have to go by a waypoint: one for any port, by which tunnels come, and one for
// each port that is known, by which node agents can put connections too.
func (t *Translator) podDoors(r *reading, p *podMesh, spec *corev1.PodSpec) (out outcome, enforced bool) {
	b := r.consumer(r.ID.NS).pods
	if p.labels[waypointLabel] != "" {
		b = r.bindPod(r.ID.NS, p.labels)
	}
	if !r.enforced(b) {
		return outcome{}, false
	}
	e := r.enrolledPod(p, r.portsOf(p, slices.Concat(spec.InitContainers, spec.Containers)))
	captures := make([]uint16, len(e.Ports))
	for i, port := range e.Ports[1:] {
		captures[i+1] = r.meshPort(MeshPortKey(captureName(e, port.Port)))
	}
	porches := r.porches(e, b)
	_, out.Parts = t.build(r, e, porches, captures)
	out.Parts = append(out.Parts, r.podCluster(e, p, b)...)
	if b.works() && b.ours {
		out.Gifts = []gift{{To: cellID{Kind: enforcedIn, NS: r.ID.NS}, Item: labels.Set(p.labels).String()}}
	}
	if b.works() && !b.ours && porches == nil {
		return out, true // all else of it is another controller's affair
	}
	for i, port := range e.Ports[1:] {
		c := &routing.Capture{Name: captureName(e, port.Port), Addresses: p.addresses, Port: port.Port, To: captures[i+1]}
		if b.works() && b.ours {
			c.Waypoint = b.waypoint.String()
		}
		out.Parts = append(out.Parts, c)
	}
	return out, true
}

// EnforcesPods reports whether connections to pods of a namespace that have those
// labels, or some of them, go by a waypoint of ours.
func EnforcesPods(r *dialect.Reading, ns string, selector map[string]string) bool {
	picks, found := labels.SelectorFromSet(selector), false
	for item := range r.Bag(cellID{Kind: enforcedIn, NS: ns}) {
		own, err := labels.ConvertSelectorToLabelsMap(item.(string))
		found = found || err == nil && picks.Matches(own)
	}
	return found
}

// enrolledPod is the Pod of a cell as waypoints know it. The first of its ports is
// any.
func (r *reading) enrolledPod(p *podMesh, ports []uint16) *Enrolled {
	e := &Enrolled{
		Kind: podKind, Namespace: r.ID.NS, Name: r.ID.Name, Labels: p.labels, Selector: p.labels,
		Origin: routing.Origin{Kind: podKind, Namespace: r.ID.NS, Name: r.ID.Name},
	}
	for _, addr := range p.addresses {
		e.Addresses = append(e.Addresses, addr.String())
	}
	to := podClusterName(r.ID.NS, r.ID.Name)
	for _, port := range append([]uint16{0}, ports...) {
		e.Ports = append(e.Ports, EnrolledPort{Port: port, Protocol: routing.HTTP, Detect: true, To: to})
	}
	return e
}

// podClusterName is "Pod/shop/cart-7f9c". No namespace is called so.
func podClusterName(ns, name string) routing.ClusterName {
	return routing.ClusterName(podKind + "/" + ns + "/" + name)
}

// podCluster makes the cluster of a pod: itself, at the port that was dialled. Of
// several addresses it is the first that gateways send to.
func (r *reading) podCluster(e *Enrolled, p *podMesh, b *binding) []any {
	hop := r.hop(b, p.addresses, 0)
	hop.Authority = ""
	c := &routing.Cluster{
		Name: podClusterName(e.Namespace, e.Name), Origin: e.Origin, Protocol: routing.UpstreamClient,
		Ejection: routing.Ejection{Off: true}, Hop: hop, Namespace: e.Namespace,
	}
	at := routing.Endpoint{Addr: netip.AddrPortFrom(p.addresses[0], 0), Ready: true, Serving: true, Workload: e.Name}
	if p.tunnels {
		at.Identity = p.identity
	}
	return []any{c, &routing.Endpoints{Cluster: c.Name, List: []routing.Endpoint{at}}}
}

// portsOf returns the ports that a Pod is known to have: those that its containers
// say, and those to which Services that select it send.
func (r *reading) portsOf(p *podMesh, containers []corev1.Container) []uint16 {
	var ports []uint16
	named := map[string]uint16{}
	for i := range containers {
		for _, port := range containers[i].Ports {
			if cmp.Or(port.Protocol, corev1.ProtocolTCP) == corev1.ProtocolTCP && port.ContainerPort > 0 && port.ContainerPort <= 65535 {
				ports = append(ports, uint16(port.ContainerPort))
				named[port.Name] = uint16(port.ContainerPort)
			}
		}
	}
	for _, s := range r.Value(cellID{Kind: selectorsCell, Name: r.ID.NS}).([]servicePorts) {
		if !s.selector.Matches(labels.Set(p.labels)) {
			continue
		}
		ports = append(ports, s.ports...)
		for _, name := range s.named {
			if port := named[name]; port != 0 && name != "" {
				ports = append(ports, port)
			}
		}
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}

// servicePorts are the ports of pods to which a Service sends.
type servicePorts struct {
	selector labels.Selector
	ports    []uint16
	named    []string
}

// selectors lists the Services of a namespace that select pods, in the order of
// their names, for whoever has to know the ports of one. It knows of those with
// EndpointSlices.
func (t *Translator) selectors(r *reading) outcome {
	services := map[string]bool{}
	for item := range r.Bag(cellID{Kind: slicesIn, NS: r.ID.Name}) {
		services[item.(sliceName).service] = true
	}
	list := []servicePorts{}
	for _, name := range slices.Sorted(maps.Keys(services)) {
		svc := object[corev1.Service](r, "Service", r.ID.Name, name)
		if svc == nil || len(svc.Spec.Selector) == 0 || isOfGateway(&svc.ObjectMeta) {
			continue
		}
		s := servicePorts{selector: labels.SelectorFromSet(svc.Spec.Selector)}
		for i := range svc.Spec.Ports {
			switch p := &svc.Spec.Ports[i]; {
			case portProtocol(p) != corev1.ProtocolTCP:
			case p.TargetPort.Type == intstr.String:
				s.named = append(s.named, p.TargetPort.StrVal)
			default:
				if port := cmp.Or(p.TargetPort.IntVal, p.Port); port > 0 && port <= 65535 {
					s.ports = append(s.ports, uint16(port))
				}
			}
		}
		list = append(list, s)
	}
	return outcome{Value: list}
}
