package gatewayapi

import (
	"fmt"
	"slices"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing"
)

// meshRouteKinds are the kinds of routes that may have Services as parents
// (GEP-1426), and the protocols of the doors that they are attached to.
var meshRouteKinds = []string{"HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute"}

var meshRouteProtocols = map[string]routing.Protocol{
	"HTTPRoute": routing.HTTP, "GRPCRoute": routing.HTTP, "TLSRoute": routing.TLS, "TCPRoute": routing.TCP,
}

// serviceHolder is the kind of holder that a Service is.
const serviceHolder = "Service"

// isService reports whether a parentRef names a Service.
func isService(ref *gatewayv1.ParentReference) bool {
	return ref.Group != nil && *ref.Group == "" && ref.Kind != nil && *ref.Kind == serviceHolder
}

// mentionsOf are the cells that a route has for itself if one of its parents has
// to know of it.
func mentionsOf(objs Objects, k routing.ObjectKey) []cellID {
	o := routeOf(objs.Get(k))
	if o == nil || len(mentionsIn(o, k.Kind, k.Namespace)) == 0 {
		return nil
	}
	return []cellID{{Kind: mentionsCell, NS: k.Namespace, Name: k.Name, Part: k.Kind}}
}

// mentions tells Services of a route.
func (t *Translator) mentions(r *reading) outcome {
	o := r.routeObject()
	if o == nil {
		return outcome{Gone: true}
	}
	gifts := mentionsIn(o, r.ID.Part, r.ID.NS)
	return outcome{Gifts: gifts, Gone: gifts == nil}
}

// A portMention is what a TCPRoute says of the ports of a Service.
type portMention struct {
	port    int32                 // 0: any
	section gatewayv1.SectionName // empty: any
}

// covers reports whether a port of a Service is meant.
func (m portMention) covers(number uint16, name string) bool {
	return (m.port == 0 || m.port == int32(number)) && (m.section == "" || string(m.section) == name)
}

func mentionOf(ref *gatewayv1.ParentReference) portMention {
	return portMention{int32(or(ref.Port, 0)), or(ref.SectionName, "")}
}

// mentionsIn are the gifts by which Services that are parents of a route get
// doors for its namespace, where that is another: there it is a consumer route.
// A TCPRoute of their own namespace that names a port says that it speaks TCP.
func mentionsIn(o *routeObject, kind, ns string) []gift {
	var gifts []gift
	give := func(g gift) {
		if !slices.Contains(gifts, g) {
			gifts = append(gifts, g)
		}
	}
	for i := range o.refs {
		ref := &o.refs[i]
		if !isService(ref) {
			continue
		}
		switch of := string(or(ref.Namespace, gatewayv1.Namespace(ns))); {
		case of != ns:
			give(ConsumerGift(serviceHolder, of, string(ref.Name), ns))
		case kind == "TCPRoute" && mentionOf(ref) != (portMention{}):
			give(gift{To: cellID{Kind: streamsTo, NS: ns, Name: string(ref.Name)}, Item: mentionOf(ref)})
		}
	}
	return gifts
}

// isStream reports whether a port of the Service that a cell is for, whose author
// does not say what clients speak, is one that a TCPRoute is for.
func (r *reading) isStream(p *EnrolledPort) bool {
	for item := range r.Bag(cellID{Kind: streamsTo, NS: r.ID.NS, Name: r.ID.Name}) {
		if item.(portMention).covers(p.Port, p.Name) {
			return true
		}
	}
	return false
}

// serviceParent finds the doors of a Service that let a route in: of its own
// namespace those that are for all, at the Service's waypoint; of another those
// that are for the route's namespace, at the waypoint of that. It reports
// whether the Service is any affair of ours.
func (r *reading) serviceParent(o *routeObject, i int) (p parent, ours bool) {
	ref := &o.refs[i]
	ns, name := string(or(ref.Namespace, gatewayv1.Namespace(r.ID.NS))), string(ref.Name)
	if !r.hasMesh() {
		return parent{}, false
	}
	p = parent{ref: i, at: holder{serviceHolder, ns, name}}
	f, _ := r.Value(p.at.facade()).(*facade)
	switch {
	case f == nil:
		p.accepted = no(string(gatewayv1.RouteReasonNoMatchingParent), "%s: not found", p.at)
		return p, true
	case f.foreign && len(f.doors) == 0:
		return parent{}, false
	}
	p.accepted, p.entries = r.enterDoors(o, ref, p.at, f)
	for j := range p.entries {
		p.gateway = p.entries[j].gateway
	}
	return p, true
}

// facade is the cell of a holder that is a Service.
func (h holder) facade() cellID { return cellID{Kind: facadeCell, NS: h.ns, Name: h.name} }

// enterDoors tries the doors of a Service, and says at which test the last
// failed.
func (r *reading) enterDoors(o *routeObject, ref *gatewayv1.ParentReference, h holder, f *facade) (verdict, []entry) {
	names := mentionOf(ref).covers
	if !slices.ContainsFunc(f.ports, func(p facadePort) bool { return names(p.number, p.name) }) {
		return no(string(gatewayv1.RouteReasonNoMatchingParent), "%s: no port %s: want one of %s", h, printSection(ref), f.printPorts()), nil
	}
	from := ""
	if h.ns != r.ID.NS {
		from = r.ID.NS
	}
	reached := false
	var entries []entry
	for i := range f.doors {
		d := &f.doors[i]
		if d.From != from || from == "" && !d.Own || !names(d.Port, d.PortName) {
			continue
		}
		reached = true
		if d.Protocol == meshRouteProtocols[r.ID.Part] {
			entries = append(entries, entry{
				listener: d.Listener, section: gatewayv1.SectionName(itoa(int(d.Port))), hosts: meshHosts(o, r.ID.Part),
				passes: d.Protocol == routing.TLS, gateway: gatewayNamed(d.Gateway),
			})
		}
	}
	switch {
	case !reached && f.why != "":
		return no(reasonNotEnrolled, "%s", f.why), nil
	case !reached && from != "":
		return no(reasonNotEnrolled, "namespace %s has no waypoint that works: a route to a Service of another namespace applies at that of its own", from), nil
	case !reached:
		return no(reasonNotEnrolled, "%s is reached by no waypoint of ours", h), nil
	case entries == nil:
		return no(string(gatewayv1.RouteReasonNotAllowedByListeners), "%s: no port that it names speaks what %ss are for: "+
			"its appProtocol, or its name, says it", h, r.ID.Part), nil
	}
	return yes(string(gatewayv1.RouteReasonAccepted)), entries
}

func (f *facade) printPorts() string {
	list := make([]string, len(f.ports))
	for i, p := range f.ports {
		list[i] = strings.TrimSpace(itoa(int(p.number)) + " " + p.name)
	}
	return strings.Join(list, ", ")
}

// isOnlyFor reports whether the route of a cell has Services alone as its parents,
// and that one among them: it may send there without a ReferenceGrant, as who
// calls it calls Services anyway, and is known as who they are.
func (r *reading) isOnlyFor(kind, ns, service string) bool {
	o := routeOf(r.Get(routing.ObjectKey{Kind: kind, Namespace: r.ID.NS, Name: r.ID.Name}))
	if o == nil || slices.ContainsFunc(o.refs, func(ref gatewayv1.ParentReference) bool { return !isService(&ref) }) {
		return false
	}
	return slices.ContainsFunc(o.refs, func(ref gatewayv1.ParentReference) bool {
		return string(or(ref.Namespace, gatewayv1.Namespace(r.ID.NS))) == ns && string(ref.Name) == service
	})
}

// meshHosts are those of a route at a Service: hostnames of requests mean nothing
// there (GEP-1426), as the address has led to it. Those of a TLSRoute count.
func meshHosts(o *routeObject, kind string) []string {
	if kind == "TLSRoute" {
		return hostsAt(anyHost, o.hosts)
	}
	return []string{anyHost}
}

// ignoresHosts notes once that hostnames of the route mean nothing at a Service.
func (b *routeBuilder) ignoresHosts(p *parent) {
	if b.toldHosts || p.at.kind != serviceHolder || len(b.o.hosts) == 0 || b.r.ID.Part == "TLSRoute" {
		return
	}
	b.toldHosts = true
	b.report.Find(routing.Info, "spec.hostnames", reasonHostnamesIgnored,
		fmt.Sprintf("%s is reached by its address: hostnames mean nothing there", p.at),
		"match the header Host, if it matters")
}
