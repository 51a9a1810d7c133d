package gatewayapi

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing"
)

// A member is a Gateway as the mesh sees it, before its other listeners have
// a say.
type member struct {
	ours     bool
	base     string // the name of its Service
	identity string

	// What follows is of waypoints: Gateways with a listener of protocol HBONE
	// that is in order.
	port      uint16  // 0: it is none, or not in order
	services  bool    // it is for connections to Services
	workloads bool    // it is for connections to pods
	problem   string  // of what it says that it is for
	eastWest  bool    // it lets in who calls from other networks
	sandwich  uint16  // by which port tunnels come that ztunnel has ended; 0: it speaks HBONE
	refused   verdict // of one that would be a waypoint, but for how tunnels were to come

	from     gatewayv1.FromNamespaces // whose objects may use it
	selector labels.Selector

	remote *remote // another network's; nil: it is none
	notes  []note  // about its network, and how tunnels come
}

// isWaypoint reports whether m, which may be nil, is one.
func (m *member) isWaypoint() bool { return m != nil && m.port != 0 }

// member parses a Gateway, of any controller. Where there is none its value is
// nil.
func (t *Translator) member(r *reading) outcome {
	o := object[gatewayv1.Gateway](r, "Gateway", r.ID.NS, r.ID.Name)
	if o == nil || !r.Planted {
		return outcome{Gone: true}
	}
	if slices.Contains(remoteClasses, o.Spec.GatewayClassName) {
		return t.remote(r, o)
	}
	class := r.Value(cellID{Kind: classCell, Name: string(o.Spec.GatewayClassName)}).(class)
	m := &member{ours: class.state != classForeign, base: o.Name}
	if m.ours {
		m.base = t.opts.base(o.Name, string(o.Spec.GatewayClassName))
	}
	m.identity = t.opts.identityOf(o.Namespace, m.base)
	for i := range o.Spec.Listeners {
		if spec := &o.Spec.Listeners[i]; spec.Protocol == hboneProtocol && !m.isWaypoint() {
			if l := parseListener(spec, ""); l.accepted.ok() {
				m.port, m.from, m.selector = l.port, l.from, l.selector
			}
		}
	}
	if m.isWaypoint() && m.ours {
		t.bindTunnels(r, m, o)
	}
	if hbonePortOf(o) != 0 { // also one whose listener is not in order: then nobody gets by
		m.servesFor(r, o)
	}
	if m.isWaypoint() && m.ours {
		t.faces(r, m, o)
	}
	out := outcome{Value: m}
	if m.ours {
		t.wantsPods = t.wantsPods || m.isWaypoint()
		out.Gifts = []gift{{To: cellID{Kind: membersOf}, Item: fleetMember{parentName{r.ID.NS, r.ID.Name}, m.isWaypoint(), m.eastWest}}}
	}
	return out
}

// A fleetMember is one of our Gateways.
type fleetMember struct {
	parentName
	waypoint, eastWest bool
}

// identityOf is that of a service account.
func (o Options) identityOf(ns, account string) string {
	return "spiffe://" + o.trustDomain() + "/ns/" + ns + "/sa/" + account
}

// servesFor reads the label istio.io/waypoint-for of a Gateway, or else of its
// GatewayClass.
func (m *member) servesFor(r *reading, o *gatewayv1.Gateway) {
	value, ok := o.Labels[waypointForLabel]
	if !ok {
		if gc := object[gatewayv1.GatewayClass](r, "GatewayClass", "", string(o.Spec.GatewayClassName)); gc != nil {
			value = gc.Labels[waypointForLabel]
		}
	}
	switch value {
	case "", "service":
		m.services = true
	case "workload":
		m.workloads = true
	case "all":
		m.services, m.workloads = true, true
	case "none":
	default: // rather too much goes by it than too little
		m.services, m.workloads = true, true
		m.problem = fmt.Sprintf("%q: want service, workload, all or none", value)
	}
}

// member returns the member that a Gateway is; nil where there is none.
func (r *reading) member(gw parentName) *member {
	m, _ := r.Value(gw.cell(memberCell, "")).(*member)
	return m
}

// lets reports whether objects of a namespace may use a waypoint.
func (r *reading) lets(waypoint parentName, m *member, ns string) bool {
	switch {
	case ns == waypoint.ns && m.from == gatewayv1.NamespacesFromSame, m.from == gatewayv1.NamespacesFromAll:
		return true
	case m.from == gatewayv1.NamespacesFromSelector:
		return m.selector.Matches(namespaceLabels(object[corev1.Namespace](r, "Namespace", "", ns), ns))
	}
	return false
}

// mesh says whether there is a waypoint of ours at all.
func (t *Translator) mesh(r *reading) outcome {
	on := false
	for item := range r.Bag(cellID{Kind: membersOf}) {
		on = on || item.(fleetMember).waypoint
	}
	return outcome{Value: on}
}

func (r *reading) hasMesh() bool { return r.Value(cellID{Kind: meshCell}).(bool) }

// vouchers lists our Gateways, and for the workloads of which namespaces they
// vouch (law 14): those whose own connections go through them, and of east-west
// gateways all, as they speak for whoever calls from another network.
func (t *Translator) vouchers(r *reading) outcome {
	var list []routing.Voucher
	for item := range r.Bag(cellID{Kind: membersOf}) {
		m := item.(fleetMember)
		gw := m.parentName
		v := routing.Voucher{Identity: r.member(gw).identity}
		for ns := range r.Bag(gw.cell(consumersAt, "")) {
			v.Namespaces = append(v.Namespaces, ns.(string))
		}
		if slices.Sort(v.Namespaces); m.eastWest {
			v.Namespaces = []string{routing.EveryNamespace}
		}
		list = append(list, v)
	}
	slices.SortFunc(list, func(a, b routing.Voucher) int { return strings.Compare(a.Identity, b.Identity) })
	return outcome{Value: list}
}

// believes is whom a waypoint believes: itself too, as what its bound listeners
// send to its own Services comes in by its doors, where policy is.
// An east-west gateway believes those of other networks besides, and passes on
// what they say.
func (t *Translator) believes(r *reading, gw parentName) *routing.Mesh {
	mesh := &routing.Mesh{
		TrustDomains: append([]string{t.opts.trustDomain()}, t.opts.TrustDomainAliases...),
		Vouchers:     r.Value(cellID{Kind: vouchersCell}).([]routing.Voucher),
		Calls:        r.calls(gw),
	}
	m := r.member(gw)
	if m != nil {
		mesh.Sandwich = m.sandwich
	}
	if m == nil || !m.eastWest {
		return mesh
	}
	mesh.PassOn = true
	said := map[string][]string{}
	for _, list := range [][]routing.Voucher{mesh.Vouchers, r.Value(cellID{Kind: remotesCell}).([]routing.Voucher)} {
		for _, v := range list {
			said[v.Identity] = append(said[v.Identity], v.Namespaces...)
		}
	}
	mesh.Vouchers = vouchersOf(said)
	return mesh
}

// waypointOf are the cells that a Gateway has for itself if it has an HBONE
// listener.
func waypointOf(objs Objects, k routing.ObjectKey) []cellID {
	o, _ := objs.Get(k).(*gatewayv1.Gateway)
	if o == nil || !slices.ContainsFunc(o.Spec.Listeners, func(l gatewayv1.Listener) bool { return l.Protocol == hboneProtocol }) {
		return nil
	}
	return []cellID{{Kind: waypointCell, NS: k.Namespace, Name: k.Name}}
}

// waypoint makes the cluster of a waypoint's pods, also where there are none:
// then whoever has to go by it is refused.
func (t *Translator) waypoint(r *reading) outcome {
	gw := parentName{r.ID.NS, r.ID.Name}
	m := r.member(gw)
	if !m.isWaypoint() {
		return outcome{Gone: true}
	}
	c := &routing.Cluster{
		Name:      routing.WaypointCluster(gw.String()),
		Origin:    routing.Origin{Kind: "Gateway", Namespace: gw.ns, Name: gw.name},
		Protocol:  routing.UpstreamHTTP2,
		Ejection:  routing.Ejection{Off: true}, // what a tunnel leads to is not the waypoint's health
		Service:   m.base,
		Namespace: gw.ns,
		Port:      m.port,
	}
	return outcome{Parts: []any{c, &routing.Endpoints{Cluster: c.Name, List: r.waypointPods(gw, m)}}}
}

// waypointPods returns the pods behind the Service of a waypoint.
func (r *reading) waypointPods(gw parentName, m *member) []routing.Endpoint {
	var found []sliceEndpoint
	for name := range r.Bag(cellID{Kind: slicesOf, NS: gw.ns, Name: m.base}) {
		if s, _ := r.Value(cellID{Kind: sliceCell, NS: gw.ns, Name: name.(string)}).(*addressSlice); s != nil {
			found = append(found, s.endpoints...)
		}
	}
	svc := object[corev1.Service](r, "Service", gw.ns, m.base)
	if svc == nil {
		svc = &corev1.Service{}
	}
	distributionOfWaypoint(svc).distribute(found)
	var list []routing.Endpoint
	for _, e := range found {
		e.Addr = netip.AddrPortFrom(e.addr, m.port)
		e.Node, e.Identity = e.node, m.identity
		list = append(list, e.Endpoint)
	}
	return merge(oneFamily(list, svc.Spec.IPFamilies))
}

// distributionAnnotation of a waypoint's Service is Istio's word for
// spec.trafficDistribution, which comes first.
const distributionAnnotation = "networking.istio.io/traffic-distribution"

func distributionOfWaypoint(svc *corev1.Service) distribution {
	if value, ok := svc.Annotations[distributionAnnotation]; ok && svc.Spec.TrafficDistribution == nil {
		svc = svc.DeepCopy()
		svc.Spec.TrafficDistribution = &value
	}
	prefers, _ := distributionOf(svc) // the error is a Problem of the Service
	return prefers
}

// ready says whether a waypoint has a pod that may be sent to.
func (t *Translator) ready(r *reading) outcome {
	gw := parentName{r.ID.NS, r.ID.Name}
	m := r.member(gw)
	if !m.isWaypoint() {
		return outcome{Value: false}
	}
	ready := slices.ContainsFunc(r.waypointPods(gw, m), func(e routing.Endpoint) bool { return e.Ready })
	return outcome{Value: ready}
}
