package istio

import (
	"cmp"
	"net/netip"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"fairway.dev/routing"
	"fairway.dev/routing/dialect"
	"fairway.dev/routing/gatewayapi"
)

// reasonNoAddress is of a ServiceEntry that is enrolled, and has no address by
// which its clients would reach the waypoint.
const reasonNoAddress = "NoAddress"

// reasonWaypointMissing is of one whose waypoint cannot be gone by.
const reasonWaypointMissing = "WaypointMissing"

// addressesOf returns the addresses that clients dial: those of its author, or else
// those that Istio has given to its hosts.
func addressesOf(o *networkingv1.ServiceEntry) []string {
	var list []string
	for _, text := range o.Spec.Addresses {
		if _, err := netip.ParseAddr(text); err == nil {
			list = append(list, text)
		}
	}
	if len(o.Spec.Addresses) > 0 {
		return list
	}
	for _, a := range o.Status.Addresses {
		if _, err := netip.ParseAddr(a.GetValue()); err == nil {
			list = append(list, a.Value)
		}
	}
	return list
}

// enrolled is the entry of a namespace as waypoints know it, without ports.
func (e *entry) enrolled(ns string) gatewayapi.Enrolled {
	out := gatewayapi.Enrolled{
		Kind: KindServiceEntry, Namespace: ns, Name: e.name, Labels: e.labels, Annotations: e.annotations, Created: e.created,
		Origin:    routing.Origin{Kind: KindServiceEntry, Namespace: ns, Name: e.name},
		Addresses: e.addresses, Claimed: true, Selector: e.selector,
	}
	for _, h := range e.hosts {
		if !isWild(h) {
			out.Names = append(out.Names, h)
		}
	}
	return out
}

// doorProtocols are what clients speak to ports of ServiceEntries.
var doorProtocols = map[string]routing.Protocol{
	"HTTP": routing.HTTP, "HTTP2": routing.HTTP, "GRPC": routing.HTTP, "GRPC-WEB": routing.HTTP, "HTTP_PROXY": routing.HTTP,
	"HTTPS": routing.TLS, "TLS": routing.TLS,
}

var doorUses = map[routing.Protocol]use{routing.HTTP: useHTTP, routing.TLS: useTLS, routing.TCP: useTCP}

// entryDoors makes the doors of a ServiceEntry that has a waypoint.
func (j *joint) entryDoors(r *reading) dialect.Outcome {
	e, _ := r.Value(dialect.ID{Kind: entryCell, NS: r.ID.NS, Name: r.ID.Name}).(*entry)
	if e == nil {
		return dialect.Outcome{Gone: true}
	}
	to := e.enrolled(r.ID.NS)
	if len(e.ports) == 0 || gatewayapi.HopOf(r.Reading, to, uint16(e.ports[0].number)) == nil {
		return dialect.Outcome{}
	}
	host, shared := r.ownHost(e)
	for _, p := range e.ports {
		port := gatewayapi.EnrolledPort{Port: uint16(p.number), Name: p.name, Protocol: cmp.Or(doorProtocols[p.protocol], routing.TCP)}
		if shared {
			port.To = r.resolve(destination{host: host, port: p.number, namespace: r.ID.NS, client: r.ID.NS, use: doorUses[port.Protocol]}).cluster
		}
		to.Ports = append(to.Ports, port)
	}
	doors, parts := j.gateway.Doors(r.Reading, to)
	return dialect.Outcome{Value: doors, Parts: parts}
}

// ownHost is a host that an entry stands for, and whether what it leads to is what
// all of them lead to: clients are told apart by the address alone.
func (r *reading) ownHost(e *entry) (host string, shared bool) {
	var own []string
	for _, h := range e.hosts {
		if svc := r.serviceAt(r.ID.NS, h); svc == (service{KindServiceEntry, r.ID.NS, e.name}) {
			own = append(own, h)
		}
	}
	if len(own) == 0 {
		return "", false
	}
	same := e.resolution == networking.ServiceEntry_STATIC || len(e.endpoints) > 0 || e.selector != nil
	return own[0], same || len(own) == 1 && !isWild(own[0])
}

// checkDoors says what is wrong with how an entry has a waypoint.
func (r *reading) checkDoors(p *specParser, e *entry) {
	labelled := e.labels["istio.io/use-waypoint"]
	if labelled != "" && labelled != "none" && len(e.addresses) == 0 {
		p.find(routing.Warning, "spec.addresses", reasonNoAddress, "add an address that clients dial",
			"no address by which clients reach Gateway %s: nothing is enforced", labelled)
	}
	if len(e.ports) == 0 {
		return
	}
	hop := gatewayapi.HopOf(r.Reading, e.enrolled(r.ID.NS), uint16(e.ports[0].number))
	if hop == nil {
		if len(e.addresses) > 0 {
			p.find(routing.Info, "spec.addresses", reasonIneffectiveField, "", "gateways choose by host and by listener: addresses are of clients that go by a waypoint, and it has none")
		}
		return
	}
	if field, reason, why := gatewayapi.CanaryProblem(r.Reading, e.enrolled(r.ID.NS)); why != "" {
		p.find(routing.Warning, field, reason, "", "%s", why)
	}
	if hop.Gateway == "" {
		p.refuse("metadata.labels[istio.io/use-waypoint]", reasonWaypointMissing, "its waypoint is not there, or not for it: whoever comes is refused")
	}
	if _, shared := r.ownHost(e); !shared {
		p.refuse("spec.hosts", reasonUnsupportedField, "hosts %v at a waypoint: want one, or endpoints that all of them have: what no route takes goes nowhere", e.hosts)
	}
}
