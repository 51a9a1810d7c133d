package gatewayapi

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing"
	"fairway.dev/routing/dialect"
)

// Labels by which objects are enrolled: Istio's, unchanged.
const (
	waypointLabel          = "istio.io/use-waypoint"
	waypointNamespaceLabel = "istio.io/use-waypoint-namespace"
	waypointForLabel       = "istio.io/waypoint-for"
	ingressLabel           = "istio.io/ingress-use-waypoint"
	dataplaneLabel         = "istio.io/dataplane-mode"
	managedLabel           = "gateway.istio.io/managed"
)

// missingAnnotation of a Namespace, "allow", has what is enrolled go straight
// where its waypoint is not ready.
const missingAnnotation = annotationPrefix + "waypoint-missing"

// A namespaceMesh is what a Namespace asks of the mesh. It may be compared.
type namespaceMesh struct {
	waypoint, waypointNS string
	direct               bool // ingress gateways do not go by waypoints
	captured             bool
	lenient              bool
	network              string // of the root namespace: the cluster's
	global               bool   // its Services are for other networks, too
	canary               canaryWish
}

// namespace reads the labels and annotations of a Namespace.
func (t *Translator) namespace(r *reading) outcome {
	o := object[corev1.Namespace](r, "Namespace", "", r.ID.Name)
	if o == nil {
		return outcome{Value: namespaceMesh{}}
	}
	n := namespaceMesh{
		waypoint:   o.Labels[waypointLabel],
		waypointNS: o.Labels[waypointNamespaceLabel],
		direct:     o.Labels[ingressLabel] == "false",
		captured:   o.Labels[dataplaneLabel] == "ambient",
		lenient:    o.Annotations[missingAnnotation] == "allow",
		network:    o.Labels[networkLabel],
		global:     o.Labels[globalLabel] == "true",
		canary:     canaryWishOf(o.Labels, o.Annotations),
	}
	out := outcome{Value: n}
	if value, ok := o.Annotations[missingAnnotation]; ok && !n.lenient {
		out.Report = newReport("Namespace", o)
		out.Report.Problem("metadata.annotations["+missingAnnotation+"]", reasonInvalidAnnotation, fmt.Sprintf("%q: want allow, or none", value))
	}
	return out
}

func (r *reading) namespaceMesh(ns string) namespaceMesh {
	return r.Value(cellID{Kind: namespaceCell, Name: ns}).(namespaceMesh)
}

// A binding is the waypoint that something is to go by. Where it cannot, nobody
// gets there (law 15), unless the namespace is lenient.
type binding struct {
	waypoint parentName
	ours     bool // it is there, and a Gateway of ours
	lenient  bool
	direct   bool // ingress gateways do not go by it
	// reason says why it cannot be gone by; empty where it can.
	reason, message string
	// beside says that the waypoint is not for such things: all go straight.
	beside bool
	// canary is a second waypoint; nil: none. canaryNote says why one is none.
	canary     *canary
	canaryNote *note
	// pods is the waypoint of the pods of a Service without an address of its own.
	pods *binding
}

// bind finds the waypoint of a Service, or of what is like it, of a namespace with
// labels of its own, or of the namespace, which has none. Nil: it is not enrolled.
func (r *reading) bind(ns string, own map[string]string) *binding {
	b, m := r.named(ns, own)
	if b.works() && !m.services {
		b.beside = true
		b.refuse(reasonWaypointOther, "Gateway %s is not for Services (%s)", b.waypoint, waypointForLabel)
	}
	return b
}

// named finds the waypoint that an object of a namespace, or the namespace, names,
// whatever it is for. The object's word comes first, also where its waypoint is
// not there. Nil: none.
func (r *reading) named(ns string, own map[string]string) (*binding, *member) {
	n := r.namespaceMesh(ns)
	name, in := n.waypoint, n.waypointNS
	if own[waypointLabel] != "" {
		name, in = own[waypointLabel], own[waypointNamespaceLabel]
	}
	if name == "" || name == "none" {
		return nil, nil
	}
	b := &binding{waypoint: parentName{cmp.Or(in, ns), name}, lenient: n.lenient, direct: n.direct}
	if value, ok := own[ingressLabel]; ok {
		b.direct = value == "false"
	}
	m := r.member(b.waypoint)
	switch {
	case m == nil:
		b.refuse(reasonWaypointMissing, "Gateway %s: not found", b.waypoint)
	case !m.isWaypoint():
		b.refuse(reasonWaypointMissing, "Gateway %s has no listener of protocol HBONE that is in order", b.waypoint)
	case !r.lets(b.waypoint, m, ns):
		b.refuse(reasonWaypointNotAllowed, "the HBONE listener of Gateway %s allows nothing of namespace %s", b.waypoint, ns)
	default:
		b.ours = m.ours
	}
	return b, m
}

func (b *binding) refuse(reason, format string, args ...any) {
	b.reason, b.message = reason, fmt.Sprintf(format, args...)
}

// works reports whether the waypoint, which may have no pods, can be gone by.
func (b *binding) works() bool { return b != nil && b.reason == "" }

// enforced reports whether what b, which may be nil, is for can be reached by
// its waypoint alone.
func (r *reading) enforced(b *binding) bool {
	switch {
	case b == nil || b.beside:
		return false
	case !b.lenient:
		return true
	}
	return b.works() && r.isReady(b.waypoint)
}

func (r *reading) isReady(waypoint parentName) bool {
	return r.Value(waypoint.cell(readyCell, "")).(bool)
}

// binding finds the waypoint of a Service. Its value is a *binding; nil where
// the Service is not enrolled.
func (t *Translator) binding(r *reading) outcome {
	svc := object[corev1.Service](r, "Service", r.ID.NS, r.ID.Name)
	if svc == nil || isOfGateway(&svc.ObjectMeta) || svc.Spec.Type == corev1.ServiceTypeExternalName {
		return outcome{}
	}
	b := r.bind(r.ID.NS, svc.Labels)
	if b == nil {
		return outcome{}
	}
	b.canary, b.canaryNote = r.canary(r.ID.NS, svc.Labels, canaryWishOf(svc.Labels, svc.Annotations), b)
	if len(clusterIPs(svc)) == 0 {
		b.beside = true
		b.refuse(reasonHeadless, "the Service has no cluster IP: want one by which clients reach the waypoint, or a waypoint for pods (%s)", waypointForLabel)
		b.pods = r.consumer(r.ID.NS).pods
	}
	return outcome{Value: b}
}

// isOfGateway reports whether an object is part of a gateway, which is never
// enrolled itself.
func isOfGateway(o *metav1.ObjectMeta) bool {
	return o.Labels[managedLabel] != "" || o.Labels[gatewayv1.GatewayNameLabelKey] != ""
}

func (r *reading) bindingOf(ns, service string) *binding {
	b, _ := r.Value(cellID{Kind: bindingCell, NS: ns, Name: service}).(*binding)
	return b
}

// bindingFor is that of what is enrolled: a Service, or what another dialect has.
func (r *reading) bindingFor(e *Enrolled) *binding {
	if e.Kind == "Service" {
		return r.bindingOf(e.Namespace, e.Name)
	}
	b := r.bind(e.Namespace, e.Labels)
	if b != nil {
		b.canary, b.canaryNote = r.canary(e.Namespace, e.Labels, canaryWishOf(e.Labels, e.Annotations), b)
	}
	if b != nil && len(e.Addresses) == 0 {
		b.beside = true
	}
	return b
}

// clusterIPs returns the addresses at which clients reach a Service.
func clusterIPs(svc *corev1.Service) []netip.Addr {
	list := svc.Spec.ClusterIPs
	if len(list) == 0 {
		list = []string{svc.Spec.ClusterIP}
	}
	return addressesOf(list)
}

// addressesOf parses addresses, but for what is none ("None").
func addressesOf(list []string) []netip.Addr {
	var out []netip.Addr
	for _, text := range list {
		if addr, err := netip.ParseAddr(text); err == nil && !slices.Contains(out, addr.Unmap()) {
			out = append(out, addr.Unmap())
		}
	}
	return out
}

// hop is how gateways but the waypoint reach a port of something; nil: straight.
func (r *reading) hop(b *binding, addresses []netip.Addr, port uint16) *routing.Hop {
	if len(addresses) == 0 || !r.enforced(b) {
		return nil
	}
	h := &routing.Hop{Gateway: b.waypoint.String(), Inside: b.direct, Authority: netip.AddrPortFrom(addresses[0], port).String()}
	if b.works() {
		h.Cluster, h.Canary = routing.WaypointCluster(h.Gateway), b.share()
	} else {
		h.Gateway, h.Cluster = "", refusedCluster
	}
	return h
}

// refusedCluster is never in force: what has to go by it goes nowhere.
const refusedCluster routing.ClusterName = "mesh/-"

// HopOf is Cluster.Hop of a port of what is enrolled in another dialect.
func HopOf(r *dialect.Reading, e Enrolled, port uint16) *routing.Hop {
	in := &reading{r}
	return in.hop(in.bindingFor(&e), addressesOf(e.Addresses), port)
}

// A consumer is what the label of a Namespace is to its workloads.
type consumer struct {
	own  *binding // the waypoint that their own connections go through; nil: none
	pods *binding // the one that connections to them go through; nil: none
}

// consumer finds the waypoints of a namespace's workloads.
func (t *Translator) consumer(r *reading) outcome {
	c := consumer{r.bind(r.ID.Name, nil), r.bindPod(r.ID.Name, nil)}
	if c.own != nil && c.own.beside {
		c.own = nil
	}
	return outcome{Value: c}
}

func (r *reading) consumer(ns string) consumer {
	return r.Value(cellID{Kind: consumerCell, Name: ns}).(consumer)
}

// consumerOf returns the waypoint of a namespace's workloads if it is ours and
// works; zero: none.
func (r *reading) consumerOf(ns string) parentName {
	if b := r.consumer(ns).own; b.works() && b.ours {
		return b.waypoint
	}
	return parentName{}
}

// consumes puts a Namespace among those of its waypoint.
func (t *Translator) consumes(r *reading) outcome {
	if object[corev1.Namespace](r, "Namespace", "", r.ID.Name) == nil {
		return outcome{Gone: true}
	}
	waypoint := r.consumerOf(r.ID.Name)
	if waypoint == (parentName{}) {
		return outcome{}
	}
	return outcome{Gifts: []gift{
		{To: waypoint.cell(consumersAt, ""), Item: r.ID.Name},
		{To: cellID{Kind: outbound}, Item: waypoint},
	}}
}

// boundOf is the cell of a Service whose status says where policy is enforced:
// somebody has to take that back, also where nobody else reads of the Service.
func boundOf(objs Objects, k routing.ObjectKey) []cellID {
	if svc, ok := objs.Get(k).(*corev1.Service); ok && saysBinding(svc) {
		return []cellID{{Kind: serviceCell, NS: k.Namespace, Name: k.Name}}
	}
	return nil
}

// saysBinding reports whether a Service's status says where policy is enforced.
func saysBinding(svc *corev1.Service) bool {
	return slices.ContainsFunc(svc.Status.Conditions, func(c metav1.Condition) bool { return c.Type == ConditionWaypointBound })
}

// reportBinding says of a Service that is enrolled where policy is enforced.
func (r *reading) reportBinding(svc *corev1.Service, report *Report) {
	b := r.bindingOf(r.ID.NS, r.ID.Name)
	if b == nil || b.reason == "" && !b.ours {
		return // another controller's waypoint
	}
	v := yes(reasonWaypointAccepted)
	v.message = "enforced at Gateway " + b.waypoint.String()
	if b.pods != nil {
		b = b.pods
		v.message = fmt.Sprintf("clients connect to its pods: those of namespace %s are enforced at Gateway %s", r.ID.NS, b.waypoint)
	}
	if !b.works() {
		v = no(b.reason, "%s", b.message)
	} else if !r.isReady(b.waypoint) {
		v = no(reasonWaypointNotReady, "Gateway %s has no pod that is ready", b.waypoint)
	}
	switch {
	case v.ok():
	case b.beside:
		v.message += ": nothing is enforced"
	case b.lenient:
		v.message += fmt.Sprintf(": nothing is enforced (%s: allow)", missingAnnotation)
	default:
		v.message += ": whoever comes is refused"
	}
	if v.ok() && b.canary != nil {
		v.message += fmt.Sprintf(", and %d %% of it at Gateway %s", b.canary.percent, b.canary.waypoint)
	}
	if b.canaryNote != nil {
		reportNotes(report, []note{*b.canaryNote})
	}
	report.Conditions = conditions(svc.Generation, v.as(ConditionWaypointBound))
	if !v.ok() && v.reason != reasonWaypointNotReady { // which no edit of the Service mends
		reportNotes(report, []note{v.at("metadata.labels[" + waypointLabel + "]")})
	}
}
