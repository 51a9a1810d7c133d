package gatewayapi

import (
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"fairway.dev/routing"
	"fairway.dev/routing/dialect"
)

// Use is who sends to a port, where it makes a difference to the cluster.
type Use = use

// Uses that other dialects have.
const (
	UseHTTP = httpUse
	UseTCP  = tcpUse
	UseTLS  = tlsUse // passed through: no policy adds another TLS
)

// A Backend is a port of a Service, and who sends to it.
type Backend struct {
	Namespace, Name string // of the Service
	Port            uint16
	Use             Use
	// Mark tells clusters of a dialect that has joined from those that routes
	// of Gateway API send to, which have none. It begins with '|' or '~', has
	// no other '#' or '@', and ends the cluster's name.
	Mark string
}

// A Shaping is a Backend whose cluster is being made.
type Shaping struct {
	Backend
	Service     *corev1.Service
	ServicePort *corev1.ServicePort
	// Policy says that a BackendTLSPolicy decides about TLS.
	Policy bool
}

// A Shaper is what a dialect that has joined has to say of clusters of
// Services. Its functions are called by formulas of the stage Backends.
type Shaper struct {
	// Secures reports whether Shape makes a cluster speak TLS.
	Secures func(*dialect.Reading, Shaping) bool

	// Shape edits a cluster which the Service, and the policies on it, have
	// made. It reports whether the cluster may be sent to at all.
	Shape func(*dialect.Reading, Shaping, *routing.Cluster) bool

	// Endpoints returns those of a cluster, of what the EndpointSlices have
	// for it. They come in any order.
	Endpoints func(*dialect.Reading, Shaping, []routing.Endpoint) []routing.Endpoint

	// Listener edits a listener in force of a Gateway, whose pods have those
	// labels, or of its ListenerSets. It is called by formulas of the stage
	// Listeners.
	Listener func(r *dialect.Reading, ns, name string, labels map[string]string, l *routing.Listener)

	// Door edits a door of a waypoint, whose pods have those labels: what is
	// asked of clients, and what is told of them. One that gateways share has no
	// labels. It is called by formulas of the stage Listeners.
	Door func(r *dialect.Reading, d Door, labels map[string]string, l *routing.Listener)

	// Apart reports whether Door makes something else of the doors of a Gateway than
	// of those of others, of what it is not the waypoint of. Then it has such doors
	// of its own, and they are made with it for each. It is called by formulas of the
	// stage Listeners.
	Apart func(r *dialect.Reading, ns, name string) bool

	// Workload edits a workload as policies about it say. Its namespace and its
	// labels are the pod's. It is called by formulas of the stage Listeners.
	Workload func(r *dialect.Reading, ns string, labels map[string]string, w *routing.Workload)
}

// Join gives another dialect its say, before the first Update.
func (t *Translator) Join(s Shaper) { t.shaper = s }

// ClusterOf returns the cluster of a Backend, and has it there as long as the
// cell that asks reads it; or why there is none.
func ClusterOf(r *dialect.Reading, b Backend) (name routing.ClusterName, reason routing.Reason, message string) {
	to := target{port: b.Port, use: b.Use, mark: b.Mark}
	res := r.Value(cellID{Kind: backendCell, NS: b.Namespace, Name: b.Name, Part: to.part()}).(resolution)
	if res.reason != "" {
		return "", res.reason, res.message
	}
	r.Value(res.cluster)
	return clusterName(res.cluster), "", ""
}

// shaping describes a target of the Service that the cell is for.
func (r *reading) shaping(to target, svc *corev1.Service, port *corev1.ServicePort, policy *tlsPolicy) Shaping {
	return Shaping{
		Backend:     Backend{r.ID.NS, r.ID.Name, to.port, to.use, to.mark},
		Service:     svc,
		ServicePort: port,
		Policy:      policy != nil,
	}
}

// secured reports whether a target speaks TLS by the word of the other dialect.
func (t *Translator) secured(r *reading, s Shaping) bool {
	return t.shaper.Secures != nil && t.shaper.Secures(r.Reading, s)
}

// A Pod is what an EndpointSlice says of one: an endpoint without a port, and
// the node that it runs on.
type Pod struct {
	routing.Endpoint
	Node string // may be empty
}

// PodsIn returns the pods that EndpointSlices of a namespace have, by their
// names. One that stands in several slices is there several times, in no order.
func PodsIn(r *dialect.Reading, ns string) map[string][]Pod {
	pods := map[string][]Pod{}
	for item := range r.Bag(cellID{Kind: slicesIn, NS: ns}) {
		addPods(pods, r, ns, item.(sliceName).name)
	}
	return pods
}

// PodsOf does the same for the EndpointSlices of a Service.
func PodsOf(r *dialect.Reading, ns, service string) map[string][]Pod {
	pods := map[string][]Pod{}
	for name := range r.Bag(cellID{Kind: slicesOf, NS: ns, Name: service}) {
		addPods(pods, r, ns, name.(string))
	}
	return pods
}

func addPods(pods map[string][]Pod, r *dialect.Reading, ns, slice string) {
	s, _ := r.Value(cellID{Kind: sliceCell, NS: ns, Name: slice}).(*addressSlice)
	if s == nil {
		return
	}
	for _, e := range s.endpoints {
		if e.Workload != "" {
			e.Addr = netip.AddrPortFrom(e.addr, 0)
			pods[e.Workload] = append(pods[e.Workload], Pod{e.Endpoint, e.node})
		}
	}
}

// TLSPolicyOf returns the name of the BackendTLSPolicy that decides about TLS to
// a Service, or to the first of its ports that has one; empty: none does.
func TLSPolicyOf(r *dialect.Reading, ns, service string) string {
	order, _ := r.Value(cellID{Kind: policyOrderCell, NS: ns, Name: service}).(map[string]string)
	for _, port := range slices.Sorted(maps.Keys(order)) {
		return order[port]
	}
	return ""
}
