package istio

import (
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"

	"fairway.dev/routing"
	"fairway.dev/routing/dialect"
	"fairway.dev/routing/gatewayapi"
)

// consumersCell is of a VirtualService: for whom it wants doors of their own.
const consumersCell = dialect.Parsed + routeKinds

// namesMesh reports whether Gateways that an object, or a match, names are the
// mesh too; none at all are the mesh alone.
func namesMesh(gateways []string) bool {
	return len(gateways) == 0 || slices.Contains(gateways, meshGateway)
}

// consumers has what a VirtualService routes to get doors for the workloads of
// those namespaces alone that it is for.
func (j *joint) consumers(r *reading) dialect.Outcome {
	o := object[networkingv1.VirtualService](r, KindVirtualService, r.ID.NS, r.ID.Name)
	if o == nil {
		return dialect.Outcome{Gone: true}
	}
	var out dialect.Outcome
	if !namesMesh(o.Spec.Gateways) {
		return out
	}
	for _, host := range o.Spec.Hosts {
		svc := r.serviceAt(r.ID.NS, fullHost(host, r.ID.NS, j.opts.ClusterDomain))
		if svc.kind == "" {
			continue
		}
		for _, ns := range r.audience(o, svc.ns) {
			g := gatewayapi.ConsumerGift(svc.kind, svc.ns, svc.name, ns)
			if ns != everybody && !slices.Contains(out.Gifts, g) {
				out.Gifts = append(out.Gifts, g)
			}
		}
	}
	return out
}

// audience is whose requests to something of a namespace a VirtualService routes:
// those of the workloads of namespaces, or everybody's. Only beside what it is
// about it is for everybody: elsewhere it is for its own namespace, unless
// exportTo names others (law 13: routes of consumers are the consumers').
func (r *reading) audience(o *networkingv1.VirtualService, of string) []string {
	list := o.Spec.ExportTo
	if len(list) == 0 {
		list = r.mesh().exportVirtualServices
	}
	if len(list) == 0 || slices.Contains(list, "*") {
		if o.Namespace == of {
			return []string{everybody}
		}
		return []string{o.Namespace}
	}
	var out []string
	for _, to := range list {
		if to == "." {
			to = o.Namespace
		}
		if to != "~" {
			out = append(out, to)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// meshDoors finds the doors that the VirtualService is for.
func (b *virtualServiceBuilder) meshDoors(at routing.Origin) refusal {
	n := len(b.doors)
	missing := &remarks{}
	for i, host := range b.o.Spec.Hosts {
		full := fullHost(host, b.key.Namespace, b.r.j.opts.ClusterDomain)
		if svc := b.r.serviceAt(b.key.Namespace, full); svc.kind == "" {
			missing.note(b.origin("spec.hosts["+itoa(i)+"]"), reasonMeshOnly, "name a Service, or a host of a ServiceEntry",
				"%s: no Service and no ServiceEntry has it: nothing between pods goes by it", full)
		} else {
			b.enterMesh(missing, b.origin("spec.hosts["+itoa(i)+"]"), full, svc)
		}
	}
	if len(b.doors) > n {
		b.remarks.list = append(b.remarks.list, missing.list...)
		return refusal{}
	}
	b.remarks.note(at, reasonMeshOnly, "have its hosts enrolled by the label istio.io/use-waypoint, or name the Gateways that it is for",
		"the mesh: none of its hosts has a waypoint that the workloads it is for go by: it is in force at Gateways that it names alone")
	return refusal{reasonMeshOnly, "it names no Gateway, and none of its hosts has a waypoint"}
}

// enterMesh adds the doors of what stands for a host.
func (b *virtualServiceBuilder) enterMesh(missing *remarks, at routing.Origin, host string, svc service) {
	doors := b.r.doorsOf(svc)
	for _, ns := range b.r.audience(b.o, svc.ns) {
		reached := false
		for i := range doors {
			d := &doors[i]
			if d.From != ns || ns == everybody && !d.Own {
				continue
			}
			reached = true
			b.doors = append(b.doors, door{
				listener: d.Listener, fleet: d.Gateway, gateway: meshGateway, port: uint32(d.Port), protocol: d.Protocol,
				passthrough: d.Protocol == routing.TLS, hosts: []string{everyHost}, inside: d,
			})
		}
		switch {
		case reached:
		case ns == everybody:
			missing.note(at, reasonMeshOnly, "enrol it by the label istio.io/use-waypoint", "%s has no waypoint of ours", host)
		default:
			missing.note(at, reasonMeshOnly, "label the namespace istio.io/use-waypoint",
				"namespace %s has no waypoint of ours, or %s none: what its workloads send there does not go by the rules", ns, host)
		}
	}
	if svc.ns != b.key.Namespace && len(doors) > 0 && slices.Equal(b.r.audience(b.o, svc.ns), []string{b.key.Namespace}) && len(b.o.Spec.ExportTo) == 0 {
		b.remarks.note(at, reasonConsumersOnly, "name other namespaces in exportTo, or move it to namespace "+svc.ns,
			"%s is of namespace %s: here it is for workloads of namespace %s alone", host, svc.ns, b.key.Namespace)
	}
}

// doorsOf returns the doors of what stands for a host.
func (r *reading) doorsOf(svc service) []gatewayapi.Door {
	if svc.kind == "Service" {
		return gatewayapi.DoorsOf(r.Reading, svc.ns, svc.name)
	}
	doors, _ := r.Value(dialect.ID{Kind: entryDoorsCell, NS: svc.ns, Name: svc.name}).([]gatewayapi.Door)
	return doors
}

// checkSubset remarks where a destination's subset cannot be kept: of what has
// a waypoint the waypoint chooses among its endpoints.
func (b *virtualServiceBuilder) checkSubset(at routing.Origin, d *networking.Destination, namespace string, from door) {
	if d.GetSubset() == "" {
		return
	}
	host := b.r.j.fullName(d.GetHost(), namespace)
	hop := b.r.hopTo(b.r.serviceAt(clientOf(from), host), uint16(d.GetPort().GetNumber()))
	if hop == nil || hop.Gateway == from.fleet || hop.Inside && from.inside == nil {
		return
	}
	b.remarks.warn(at, reasonSubsetNotKept, "route to the subset in namespace of "+host+", by a VirtualService for the mesh",
		"subset %s: %s is reached by its waypoint, %s, which chooses among all its endpoints by rules of its own", d.GetSubset(), host, hop.Gateway)
}

// hopTo is how gateways reach a port of what stands for a host; nil: straight.
func (r *reading) hopTo(svc service, port uint16) *routing.Hop {
	switch svc.kind {
	case "Service":
		o := object[corev1.Service](r, "Service", svc.ns, svc.name)
		if o == nil {
			return nil
		}
		e := gatewayapi.Enrolled{Kind: "Service", Namespace: svc.ns, Name: svc.name, Addresses: o.Spec.ClusterIPs}
		if len(e.Addresses) == 0 {
			e.Addresses = []string{o.Spec.ClusterIP}
		}
		return gatewayapi.HopOf(r.Reading, e, port)
	case KindServiceEntry:
		if e, _ := r.Value(dialect.ID{Kind: entryCell, NS: svc.ns, Name: svc.name}).(*entry); e != nil {
			return gatewayapi.HopOf(r.Reading, e.enrolled(svc.ns), port)
		}
	}
	return nil
}

// sourceOf says whether a match of the clients' namespace applies at a door, and
// what has to be matched there. Who sends is known behind doors alone; at one
// that is for a namespace it is known beforehand.
func sourceOf(namespace string, d door) (match []string, applies bool) {
	switch {
	case namespace == "":
		return nil, true
	case d.inside == nil:
		return nil, false
	case d.inside.From != "":
		return nil, d.inside.From == namespace
	}
	return []string{namespace}, true
}

// postOf is where policies about what is at a door of VirtualServices are in force.
func postOf(d door, labels map[string]string) post {
	ns, name, _ := strings.Cut(d.fleet, "/")
	at := fleetName{ns, name}
	if d.inside == nil {
		return post{at: at, ns: ns, labels: labels}
	}
	return post{at: at, ns: d.inside.Namespace, labels: d.inside.Selector, door: d.inside}
}
