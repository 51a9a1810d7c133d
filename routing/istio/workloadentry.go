package istio

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	meta "istio.io/api/meta/v1alpha1"
	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"

	"fairway.dev/routing"
	"fairway.dev/routing/dialect"
	"fairway.dev/routing/gatewayapi"
)

// A workload is an endpoint before its port is known: a WorkloadEntry, or a pod.
type workload struct {
	name     string // for logs
	addr     netip.Addr
	host     string            // a DNS name in place of addr
	ports    map[string]uint32 // by the names of the Service's ports
	labels   map[string]string
	locality string // region/zone/subzone
	weight   uint32
	state    *routing.Endpoint // a pod's conditions and place; nil: it is ready
	node     string            // of a pod
	sick     bool              // its own health check says so
	network  string            // that is not ours; empty: ours
	account  string            // the identity that its gateway leads to; of another network
}

// A workloadEntry is what a WorkloadEntry asks for.
type workloadEntry struct {
	workload
	usable bool
	found  complaints
}

// workload reads a WorkloadEntry, and puts it among those of its namespace.
func (j *joint) workload(r *reading) dialect.Outcome {
	o := object[networkingv1.WorkloadEntry](r, KindWorkloadEntry, r.ID.NS, r.ID.Name)
	if o == nil {
		return dialect.Outcome{Gone: true}
	}
	// The object's labels come before those of its spec, as in Istio.
	labels := maps.Clone(o.Spec.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	maps.Copy(labels, o.Labels)
	p := &specParser{network: gatewayapi.NetworkOf(r.Reading), accounts: r.accountsIn(r.ID.NS)}
	v := &workloadEntry{}
	if v.workload, v.usable = p.workload("spec", &o.Spec, labels); v.network != "" {
		p.find(routing.Info, "spec.network", reasonFarEndpoint, "",
			"in network %s: it is reached by the gateways there, while no workload of our own network is healthy", v.network)
	}
	v.name = o.Name
	v.sick = isSick(o)
	v.found = p.found
	out := dialect.Outcome{Value: v}
	if v.usable {
		out.Gifts = []dialect.Gift{{To: dialect.ID{Kind: workloadsIn, NS: r.ID.NS}, Item: r.ID.Name}}
	}
	return out
}

// isSick reports whether the workload's own health check, where it has one, has
// not found it healthy (the annotation and the condition of Istio's agents).
func isSick(o *networkingv1.WorkloadEntry) bool {
	if o.Annotations["proxy.istio.io/health-checks-enabled"] != "true" {
		return false
	}
	return !slices.ContainsFunc(o.Status.Conditions, func(c *meta.IstioCondition) bool {
		return c.Type == "Healthy" && c.Status == "True"
	})
}

// networkLabel says in which network a workload is.
const networkLabel = "topology.istio.io/network"

// workload reads a WorkloadEntry of any object. It reports whether there is an
// address in it.
func (p *specParser) workload(field string, e *networking.WorkloadEntry, labels map[string]string) (workload, bool) {
	if e == nil {
		p.refuse(field, reasonInvalidAddress, "want an address")
		return workload{}, false
	}
	w := workload{ports: maps.Clone(e.Ports), labels: maps.Clone(labels), locality: e.Locality, weight: e.Weight}
	for name, port := range w.ports {
		if port < 1 || port > 65535 {
			p.refuse(field+".ports["+name+"]", reasonInvalidPort, "port %d: want 1-65535", port)
			delete(w.ports, name)
		}
	}
	w.network = p.farNetwork(field, e, labels)
	switch {
	case e.ServiceAccount == "":
	case w.network == "":
		p.find(routing.Info, field+".serviceAccount", reasonMeshTLS, "", "mTLS of the mesh ends at the waypoint: the identity is not checked")
	default:
		w.account = p.account(field+".serviceAccount", e.ServiceAccount)
	}
	if w.network != "" && e.Address == "" {
		return w, true // its gateway knows
	}
	addr, err := netip.ParseAddr(e.Address)
	host := strings.ToLower(strings.TrimSuffix(e.Address, "."))
	switch {
	case err == nil && addr.Zone() == "":
		w.addr = addr.Unmap()
	case e.Address == "":
		p.refuse(field+".address", reasonInvalidAddress, "none: want an IP address, as gateways reach no workload by its network alone")
		return workload{}, false
	case strings.HasPrefix(e.Address, "unix:"):
		p.refuse(field+".address", reasonInvalidAddress, "%s: gateway pods have no such socket: want an IP address or a name", e.Address)
		return workload{}, false
	case isWild(host) || checkHostPattern(host) != nil:
		p.refuse(field+".address", reasonInvalidAddress, "%q: want an IP address or a name", e.Address)
		return workload{}, false
	default:
		w.host = host
	}
	return w, true
}

// farNetwork is the network that a workload is in, if that is not ours.
func (p *specParser) farNetwork(field string, e *networking.WorkloadEntry, labels map[string]string) string {
	label := labels[networkLabel]
	if p.network != "" {
		if network := cmp.Or(e.Network, label); network != p.network {
			return network
		}
		return ""
	}
	if e.Network != "" {
		p.find(routing.Info, field+".network", reasonIneffectiveField, "", "gateways reach all networks directly: %s is not told apart", e.Network)
	}
	if label != "" && label != e.Network {
		p.find(routing.Info, field+".labels["+networkLabel+"]", reasonIneffectiveField, "", "gateways reach all networks directly: %s is not told apart", label)
	}
	return ""
}

// portFor is the port that a workload has for a Service's port of that name.
func (w *workload) portFor(name string, otherwise uint32) uint32 {
	if p, ok := w.ports[name]; ok {
		return p
	}
	return otherwise
}

// endpoint makes an endpoint of a workload.
func (w *workload) endpoint(port uint32, places places, node spot) routing.Endpoint {
	e := routing.Endpoint{Ready: !w.sick, Serving: !w.sick}
	if w.state != nil {
		e = *w.state
	}
	e.Addr = addrPort(w.addr, port)
	if w.host != "" {
		e.Addr, e.Host = addrPort(netip.IPv4Unspecified(), port), w.host
	}
	e.Weight = w.weight
	if e.Workload == "" {
		e.Workload = w.name
	}
	if w.locality != "" {
		region, rest, _ := strings.Cut(w.locality, "/")
		zone, sub, _ := strings.Cut(rest, "/")
		e.Region, e.Zone, e.SubZone = region, zone, sub
	}
	places.place(&e, w.labels, node)
	return e
}

// pod tells which labels a pod has: all that is read of one, so that what else
// changes about it touches nothing.
func (j *joint) pod(r *reading) dialect.Outcome {
	o := object[corev1.Pod](r, KindPod, r.ID.NS, r.ID.Name)
	if o == nil {
		return dialect.Outcome{Value: map[string]string(nil)}
	}
	return dialect.Outcome{Value: maps.Clone(o.Labels)}
}

func (r *reading) podLabels(ns, name string) map[string]string {
	return r.Value(dialect.ID{Kind: podCell, NS: ns, Name: name}).(map[string]string)
}

// workloadsOf returns the WorkloadEntries of a namespace that a selector picks,
// in the order of their names.
func (r *reading) workloadsOf(ns string, selector map[string]string) []workload {
	var out []workload
	for name := range r.Bag(dialect.ID{Kind: workloadsIn, NS: ns}) {
		e, _ := r.Value(dialect.ID{Kind: workloadCell, NS: ns, Name: name.(string)}).(*workloadEntry)
		if e != nil && selects(e.labels, selector) {
			out = append(out, e.workload)
		}
	}
	slices.SortFunc(out, func(a, b workload) int { return strings.Compare(a.name, b.name) })
	return out
}

// workloadState reports a WorkloadEntry.
func (j *joint) workloadState(r *reading) dialect.Outcome {
	o := object[networkingv1.WorkloadEntry](r, KindWorkloadEntry, r.ID.NS, r.ID.Name)
	v, _ := r.Value(dialect.ID{Kind: workloadCell, NS: r.ID.NS, Name: r.ID.Name}).(*workloadEntry)
	if o == nil || v == nil {
		return dialect.Outcome{Gone: true}
	}
	report := newReport(KindWorkloadEntry, o)
	v.found.report(report)
	invalid := ""
	if !v.usable {
		invalid = fmt.Sprintf("address %q: no gateway can send to it", o.Spec.Address)
	}
	report.Conditions = accepted(o.Generation, invalid)
	return dialect.Outcome{Report: report}
}
