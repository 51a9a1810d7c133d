package gatewayapi

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing"
	"fairway.dev/routing/dialect"
)

// What meshes over several networks are written in: Istio's words.
const (
	networkLabel      = "topology.istio.io/network"
	globalLabel       = "istio.io/global"
	accountAnnotation = "gateway.istio.io/service-account"
)

// vouchesAnnotation of a remote Gateway of the root namespace lists the namespaces
// whose workloads it is believed to speak for, "web,bank". Without it that is all;
// Gateways of other namespaces speak for these alone.
const vouchesAnnotation = annotationPrefix + "vouches-for"

// remoteClasses are those of Gateways that stand for gateways of another network.
// They are read, and nobody's to run. Istio's pass on what is in their tunnels,
// and ours look into it.
var remoteClasses = []gatewayv1.ObjectName{istioRemote, "fairway-remote"}

const istioRemote = "istio-remote"

// A remote is a gateway of another network.
type remote struct {
	network    string
	endpoints  []routing.Endpoint
	namespaces []string // that it vouches for
	istio      bool
}

// A Network is another network.
type Network struct {
	Gateways []routing.Endpoint // where it is entered; they do not change
	// Istio says that one of them is Istio's: then who is behind it has to prove
	// who he is (routing.FarHop.Within).
	Istio bool
}

// network is the name of our own network; empty: there is one network.
func (t *Translator) network(r *reading) outcome {
	return outcome{Value: cmp.Or(t.opts.Network, r.namespaceMesh(t.opts.rootNamespace()).network)}
}

// NetworkOf returns the name of the cluster's own network; empty: there is one
// network.
func NetworkOf(r *dialect.Reading) string { return r.Value(cellID{Kind: networkCell}).(string) }

// remote parses a Gateway of a remote class.
func (t *Translator) remote(r *reading, o *gatewayv1.Gateway) outcome {
	m := &member{identity: t.opts.identityOf(o.Namespace, cmp.Or(o.Annotations[accountAnnotation], o.Name))}
	out := outcome{Value: m}
	far := &remote{network: o.Labels[networkLabel], namespaces: []string{routing.EveryNamespace}, istio: o.Spec.GatewayClassName == istioRemote}
	own, at := NetworkOf(r.Reading), "metadata.labels["+networkLabel+"]"
	port := hbonePortOf(o)
	switch {
	case own == "":
		m.notes = append(m.notes, note{at, reasonNetwork, "our own network has no name: want -network, or the label on Namespace " + t.opts.rootNamespace()})
	case far.network == "" || far.network == own:
		m.notes = append(m.notes, note{at, reasonNetwork, fmt.Sprintf("network %q: want the name of another one than %s", far.network, own)})
	case port == 0:
		m.notes = append(m.notes, note{"spec.listeners", reasonUnsupportedValue, "want a listener of protocol HBONE"})
	default:
		m.remote = far
		out.Gifts = []gift{
			{To: cellID{Kind: remotesOf}, Item: parentName{o.Namespace, o.Name}},
			{To: cellID{Kind: remotesOf, Name: far.network}, Item: parentName{o.Namespace, o.Name}},
		}
	}
	list, said := o.Annotations[vouchesAnnotation]
	switch {
	case o.Namespace != t.opts.rootNamespace():
		far.namespaces = []string{o.Namespace}
		if said || len(o.Spec.Addresses) > 0 {
			m.notes = append(m.notes, t.rootAlone("spec.addresses", "addresses, and "+vouchesAnnotation+", count"))
		}
		return out
	case said:
		far.namespaces = nil
		for ns := range strings.SplitSeq(list, ",") {
			if ns = strings.TrimSpace(ns); ns != "" {
				far.namespaces = append(far.namespaces, ns)
			}
		}
	}
	for i, a := range o.Spec.Addresses {
		e := routing.Endpoint{Ready: true, Serving: true, Identity: m.identity}
		addr, err := netip.ParseAddr(a.Value)
		switch kind := or(a.Type, gatewayv1.IPAddressType); {
		case kind == gatewayv1.IPAddressType && err == nil && addr.Zone() == "":
			e.Addr = netip.AddrPortFrom(addr.Unmap(), port)
		case kind == gatewayv1.HostnameAddressType && a.Value != "":
			e.Addr, e.Host = netip.AddrPortFrom(netip.IPv4Unspecified(), port), strings.ToLower(strings.TrimSuffix(a.Value, "."))
		default:
			m.notes = append(m.notes, note{fmt.Sprintf("spec.addresses[%d]", i), reasonUnsupportedValue, fmt.Sprintf("%s %q: want an IPAddress or a Hostname", kind, a.Value)})
			continue
		}
		far.endpoints = append(far.endpoints, e)
	}
	return out
}

// rootAlone says what only Gateways of the root namespace may do: who else may
// make Gateways would speak for the whole mesh.
func (t *Translator) rootAlone(field, what string) note {
	return note{field, reasonNetwork, fmt.Sprintf("%s in namespace %s alone", what, t.opts.rootNamespace())}
}

// hbonePortOf is the port of a Gateway's listener of HBONE; 0: it has none.
func hbonePortOf(o *gatewayv1.Gateway) uint16 {
	for i := range o.Spec.Listeners {
		if l := &o.Spec.Listeners[i]; l.Protocol == hboneProtocol && l.Port > 0 && l.Port <= 65535 {
			return uint16(l.Port)
		}
	}
	return 0
}

// faces says of a waypoint of ours whether it is an east-west gateway: it has the
// name of the network that it lets others into, our own.
func (t *Translator) faces(r *reading, m *member, o *gatewayv1.Gateway) {
	label, own, at := o.Labels[networkLabel], NetworkOf(r.Reading), "metadata.labels["+networkLabel+"]"
	switch {
	case label == "":
	case label != own:
		m.notes = append(m.notes, note{at, reasonNetwork, fmt.Sprintf("network %s, and ours is %q: it is no east-west gateway", label, own)})
	case o.Namespace != t.opts.rootNamespace():
		m.notes = append(m.notes, t.rootAlone(at, "east-west gateways are"))
	default:
		m.eastWest = true
	}
}

// eastWest lists our east-west gateways, in the order of their names.
func (t *Translator) eastWest(r *reading) outcome {
	var list []parentName
	for item := range r.Bag(cellID{Kind: membersOf}) {
		if m := item.(fleetMember); m.eastWest {
			list = append(list, m.parentName)
		}
	}
	slices.SortFunc(list, func(a, b parentName) int { return cmp.Compare(a.String(), b.String()) })
	return outcome{Value: list}
}

// exportedAt returns the east-west gateways by which other networks reach what is
// enrolled. That is Services alone: what is elsewhere itself would go round.
func (r *reading) exportedAt(kind, ns string, labels map[string]string) []parentName {
	value, ok := labels[globalLabel]
	if kind != "Service" || ok && value != "true" || !ok && !r.namespaceMesh(ns).global {
		return nil
	}
	return r.Value(cellID{Kind: eastWestCell}).([]parentName)
}

// remotes lists the gateways of other networks, for our own that face them. Whom
// two Gateways name with one identity vouches for what either says.
func (t *Translator) remotes(r *reading) outcome {
	said := map[string][]string{}
	for item := range r.Bag(cellID{Kind: remotesOf}) {
		if m := r.member(item.(parentName)); m != nil && m.remote != nil {
			said[m.identity] = append(said[m.identity], m.remote.namespaces...)
		}
	}
	return outcome{Value: vouchersOf(said)}
}

// vouchersOf makes Vouchers of the namespaces of identities.
func vouchersOf(said map[string][]string) []routing.Voucher {
	var list []routing.Voucher
	for who, namespaces := range said {
		slices.Sort(namespaces)
		list = append(list, routing.Voucher{Identity: who, Namespaces: slices.Compact(namespaces)})
	}
	slices.SortFunc(list, func(a, b routing.Voucher) int { return strings.Compare(a.Identity, b.Identity) })
	return list
}

// far finds the gateways of another network. Its value is a *networkOf.
func (t *Translator) far(r *reading) outcome {
	var from []parentName
	for item := range r.Bag(cellID{Kind: remotesOf, Name: r.ID.Name}) {
		from = append(from, item.(parentName))
	}
	slices.SortFunc(from, func(a, b parentName) int { return cmp.Compare(a.String(), b.String()) })
	n := &networkOf{}
	for _, gw := range from {
		m := r.member(gw)
		if m == nil || m.remote == nil || m.remote.network != r.ID.Name {
			continue
		}
		if n.origin == (routing.Origin{}) {
			n.origin = routing.Origin{Kind: "Gateway", Namespace: gw.ns, Name: gw.name}
		}
		n.Gateways = append(n.Gateways, m.remote.endpoints...)
		n.Istio = n.Istio || m.remote.istio && len(m.remote.endpoints) > 0
	}
	n.Gateways = merge(n.Gateways)
	return outcome{Value: n}
}

// A networkOf is a Network, and whose word that is.
type networkOf struct {
	Network
	origin routing.Origin
}

// NetworkAt returns another network; one without gateways, where it is not known.
func NetworkAt(r *dialect.Reading, name string) Network {
	return r.Value(cellID{Kind: farCell, Name: name}).(*networkOf).Network
}

// networkGateways makes the cluster of the gateways of another network, also where
// there are none: then nobody gets there.
func (t *Translator) networkGateways(r *reading) outcome {
	n := r.Value(cellID{Kind: farCell, Name: r.ID.Name}).(*networkOf)
	c := &routing.Cluster{
		Name:     routing.NetworkCluster(r.ID.Name),
		Origin:   n.origin,
		Protocol: routing.UpstreamHTTP2,
		Ejection: routing.Ejection{Off: true}, // what a tunnel leads to is not the gateway's health
	}
	return outcome{Parts: []any{c, &routing.Endpoints{Cluster: c.Name, List: n.Gateways}}}
}

// NetworkHop is the way to a host and a port of another network, by its gateways.
// It has their cluster there as long as the cell that asks reads it. within are the
// identities of who may be behind Istio's; where it is empty and they are, nobody
// gets there.
func NetworkHop(r *dialect.Reading, network, host string, port uint16, within string) *routing.FarHop {
	r.Value(cellID{Kind: networkGatewaysCell, Name: network})
	hop := farHop(network, host, port)
	if NetworkAt(r, network).Istio {
		if hop.Within = within; within == "" {
			hop.Cluster = refusedCluster
		}
	}
	return hop
}

func farHop(network, host string, port uint16) *routing.FarHop {
	return &routing.FarHop{Cluster: routing.NetworkCluster(network), Authority: fmt.Sprintf("%s:%d", host, port)}
}

// NetworkEndpoints are the gateways of another network as endpoints of a host
// (routing.Endpoint.Far), which share a weight; none, where nobody would get there.
func NetworkEndpoints(r *dialect.Reading, network, host string, port uint16, within string, weight uint32) []routing.Endpoint {
	n := NetworkAt(r, network)
	if n.Istio && within == "" {
		return nil
	}
	far := farHop(network, host, port)
	if n.Istio {
		far.Within = within
	}
	list := slices.Clone(n.Gateways)
	for i := range list {
		list[i].Far = far
		list[i].Weight = (weight + uint32(len(list)) - 1) / uint32(len(list))
	}
	return list
}
