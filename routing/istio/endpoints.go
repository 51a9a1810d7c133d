package istio

import (
	"cmp"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"fairway.dev/routing"
	"fairway.dev/routing/dialect"
	"fairway.dev/routing/gatewayapi"
)

// targetOf is what a cluster of a Service is, in this dialect's words.
func targetOf(s gatewayapi.Shaping) target {
	t := target{port: int(s.Port), use: s.Use}
	t.subset, t.client = parseMark(s.Mark)
	return t
}

// secures reports whether rules make a cluster of a Service speak TLS, or want
// it to and cannot have it.
func (j *joint) secures(r *reading, s gatewayapi.Shaping) bool {
	t, host := targetOf(s), j.hostOf(s.Namespace, s.Name)
	word, err := r.tlsFor(r.shapeOf(t.client, host, s.Namespace), host, t, nil)
	return err != nil || word.tls != nil
}

// shapeService gives a cluster of a Service what its rules say. It reports
// whether the cluster may be sent to. A BackendTLSPolicy has the only word on
// TLS where there is one.
func (j *joint) shapeService(r *reading, s gatewayapi.Shaping, c *routing.Cluster) bool {
	t, host := targetOf(s), j.hostOf(s.Namespace, s.Name)
	rules := r.shapeOf(t.client, host, s.Namespace)
	if t.subset != "" {
		if _, ok := rules.subset(t.subset); !ok {
			return false
		}
	}
	if !s.Policy {
		word, err := r.tlsFor(rules, host, t, r.decorations(host))
		switch {
		case err != nil:
			return false
		case word.says:
			c.TLS = word.tls
			if c.TLS == nil && c.Protocol == routing.UpstreamAuto {
				c.Protocol = routing.UpstreamHTTP1
			}
		}
	}
	r.finish(c, rules, t, rules.own, isHTTPPort(s.ServicePort))
	return true
}

// decorations are the subjectAltNames of the ServiceEntries that have the name
// of a Service among their hosts: that alone is theirs to say.
func (r *reading) decorations(host string) []string {
	ns, _, _ := r.j.serviceOf(host)
	if e := r.entryFor(ns, host); e != nil {
		return e.sans
	}
	return nil
}

// useDatagrams is gatewayapi's, and only its.
const useDatagrams gatewayapi.Use = "#udp"

// isHTTPPort reports whether a port's author says that it speaks HTTP/1.1.
func isHTTPPort(p *corev1.ServicePort) bool {
	if p.AppProtocol != nil {
		return strings.EqualFold(*p.AppProtocol, "http")
	}
	return p.Name == "http" || strings.HasPrefix(p.Name, "http-")
}

// finish gives a cluster what is not TLS: what its rules say, and then what the
// mesh says of all. http is for ports whose author says that they speak HTTP.
func (r *reading) finish(c *routing.Cluster, s *shape, t target, over, http bool) {
	p, mesh := s.effective(t), r.mesh()
	stream := c.Protocol == routing.UpstreamTCP || c.Protocol == routing.UpstreamUDP
	p.shape(c, stream, over)
	c.Balance.Locality = p.prefers(r.meshLocality())
	set(&c.ConnectTimeout, mesh.connectTimeout, false)
	if k := mesh.keepAlive; k != nil && c.KeepAlive == nil {
		var found specParser // MeshConfig's own Report says what is wrong with it
		c.KeepAlive = found.keepAlive("", k)
	}
	if mesh.upgradeHTTP2 && http && !stream && !p.keepsVersion() && c.Protocol == routing.UpstreamHTTP1 {
		c.Protocol = routing.UpstreamHTTP2
	}
}

// serviceEndpoints adds the WorkloadEntries that a Service's selector picks to
// what EndpointSlices have, and leaves those of a subset.
func (j *joint) serviceEndpoints(r *reading, s gatewayapi.Shaping, list []routing.Endpoint) []routing.Endpoint {
	t := targetOf(s)
	rules := r.shapeOf(t.client, j.hostOf(s.Namespace, s.Name), s.Namespace)
	labels, ok := rules.picks(t.subset)
	if !ok {
		return nil
	}
	where := r.placesOf(rules, t)
	if len(labels) > 0 {
		list = slices.DeleteFunc(slices.Clone(list), func(e routing.Endpoint) bool {
			return !selects(r.labelsOf(s.Namespace, e), labels)
		})
	}
	if where.wanted() {
		list = slices.Clone(list)
		r.placePods(list, s, where)
	}
	if len(s.Service.Spec.Selector) == 0 || s.ServicePort.Protocol == corev1.ProtocolUDP {
		return list
	}
	var there []workload
	for _, w := range r.workloadsOf(s.Namespace, s.Service.Spec.Selector) {
		port, ok := w.servicePort(s.ServicePort)
		switch {
		case !selects(w.labels, labels):
		case w.network != "":
			there = append(there, w)
		case ok:
			list = append(list, w.endpoint(port, where, spot{}))
		}
	}
	host := j.hostOf(s.Namespace, s.Name)
	return append(list, r.farEndpoints(host, uint16(s.ServicePort.Port), r.decorations(host), there)...)
}

// placePods says of endpoints where they are, by their pods' labels and nodes.
func (r *reading) placePods(list []routing.Endpoint, s gatewayapi.Shaping, where places) {
	nodes := map[string]string{}
	for pod, states := range gatewayapi.PodsOf(r.Reading, s.Namespace, s.Name) {
		nodes[pod] = nodeOf(states)
	}
	for i := range list {
		e := &list[i]
		where.place(e, r.labelsOf(s.Namespace, *e), r.spotOf(nodes[e.Workload]))
	}
}

// nodeOf returns the node that slices have for a pod: they all have the same.
func nodeOf(states []gatewayapi.Pod) string {
	node := ""
	for _, s := range states {
		node = max(node, s.Node)
	}
	return node
}

// A spot is where a node is.
type spot struct{ region, zone, subZone, host string }

// spotOf returns where a node is; nowhere if it is not known.
func (r *reading) spotOf(node string) spot {
	if node == "" {
		return spot{}
	}
	return r.Value(dialect.ID{Kind: nodeCell, Name: node}).(spot)
}

// node tells where a node is: all that is read of one.
func (j *joint) node(r *reading) dialect.Outcome {
	o, _ := r.Get(routing.ObjectKey{Kind: "Node", Name: r.ID.Name}).(metav1.Object)
	if o == nil {
		return dialect.Outcome{Value: spot{host: r.ID.Name}}
	}
	labels := o.GetLabels()
	return dialect.Outcome{Value: spot{labels[regionLabel], labels[zoneLabel], labels[subZoneLabel], r.ID.Name}}
}

// labelsOf returns the labels of the pod that an endpoint is.
func (r *reading) labelsOf(ns string, e routing.Endpoint) map[string]string {
	if e.Workload == "" {
		return nil
	}
	return r.podLabels(ns, e.Workload)
}

// servicePort is the port that a workload has for one of a Service: its own by
// the port's name, or by that of the targetPort, else the targetPort's number.
func (w *workload) servicePort(p *corev1.ServicePort) (uint32, bool) {
	if port, ok := w.ports[p.Name]; ok {
		return port, true
	}
	if p.TargetPort.Type == intstr.String {
		port, ok := w.ports[p.TargetPort.StrVal]
		return port, ok
	}
	if p.TargetPort.IntVal != 0 {
		return uint32(p.TargetPort.IntVal), true
	}
	return uint32(p.Port), true
}

// selection finds the workloads that a ServiceEntry's workloadSelector picks in
// its namespace: WorkloadEntries, and pods. Of pods EndpointSlices have the
// addresses, so one that no Service picks is not found.
func (j *joint) selection(r *reading) dialect.Outcome {
	e, _ := r.Value(dialect.ID{Kind: entryCell, NS: r.ID.NS, Name: r.ID.Name}).(*entry)
	if e == nil || e.selector == nil {
		return dialect.Outcome{Value: []workload(nil)}
	}
	list := r.workloadsOf(r.ID.NS, e.selector)
	for name, states := range gatewayapi.PodsIn(r.Reading, r.ID.NS) {
		labels := r.podLabels(r.ID.NS, name)
		if !selects(labels, e.selector) {
			continue
		}
		endpoints := make([]routing.Endpoint, len(states))
		for i := range states {
			endpoints[i] = states[i].Endpoint
		}
		sortEndpoints(endpoints)
		state := endpoints[0]
		state.ForZones, state.ForNodes = nil, nil // are for a Service's gateways
		list = append(list, workload{name: name, addr: state.Addr.Addr(), labels: labels, state: &state, node: nodeOf(states)})
	}
	slices.SortFunc(list, func(a, b workload) int {
		return cmp.Or(strings.Compare(a.name, b.name), a.addr.Compare(b.addr), strings.Compare(a.host, b.host))
	})
	return dialect.Outcome{Value: list}
}

// members returns the workloads that a ServiceEntry has.
func (r *reading) members(ns string, e *entry) []workload {
	list := e.endpoints
	if e.selector != nil {
		list = r.Value(dialect.ID{Kind: selectionCell, NS: ns, Name: e.name}).([]workload)
	}
	if e.resolution == networking.ServiceEntry_STATIC {
		list = slices.DeleteFunc(slices.Clone(list), func(w workload) bool { return w.host != "" })
	}
	return list
}

// places is what matters about where endpoints are.
type places struct{ locality *routing.Locality }

func (r *reading) placesOf(s *shape, t target) places {
	return places{s.effective(t).prefers(r.meshLocality())}
}

func (p places) wanted() bool { return p.locality != nil }

// Labels that say where a workload is: those of nodes, which newer clusters
// give to pods too, and Istio's for pods, "region.zone.subzone".
const (
	regionLabel   = "topology.kubernetes.io/region"
	zoneLabel     = "topology.kubernetes.io/zone"
	subZoneLabel  = "topology.istio.io/subzone"
	hostLabel     = "kubernetes.io/hostname"
	localityLabel = "istio-locality"
)

// place says in an endpoint where it is, as far as that counts: by its labels,
// or else by its node.
func (p places) place(e *routing.Endpoint, labels map[string]string, node spot) {
	if !p.wanted() {
		return
	}
	if l := labels[localityLabel]; l != "" {
		parts := append(strings.SplitN(strings.ReplaceAll(l, "/", "."), ".", 3), "", "")
		e.Region, e.Zone, e.SubZone = parts[0], parts[1], parts[2]
	}
	set(&e.Region, labels[regionLabel], false)
	set(&e.Zone, labels[zoneLabel], false)
	set(&e.SubZone, labels[subZoneLabel], false)
	set(&e.Region, node.region, false)
	set(&e.Zone, node.zone, false)
	set(&e.SubZone, node.subZone, false)
	for _, want := range p.locality.Priority {
		key, _, _ := strings.Cut(want, "=")
		value, ok := labels[key]
		switch key {
		case regionLabel:
			value, ok = e.Region, e.Region != ""
		case zoneLabel:
			value, ok = e.Zone, e.Zone != ""
		case hostLabel:
			value, ok = node.host, node.host != ""
		case subZoneLabel:
			value, ok = e.SubZone, e.SubZone != ""
		}
		if !ok {
			continue
		}
		if e.Labels == nil {
			e.Labels = map[string]string{}
		}
		e.Labels[key] = value
	}
}

// sortEndpoints sorts by address and name, the healthier first.
func sortEndpoints(list []routing.Endpoint) {
	slices.SortFunc(list, func(a, b routing.Endpoint) int {
		return cmp.Or(
			a.Addr.Compare(b.Addr),
			strings.Compare(a.Host, b.Host),
			truth(b.Ready)-truth(a.Ready),
			truth(b.Serving)-truth(a.Serving),
			strings.Compare(a.Workload, b.Workload),
			strings.Compare(a.Zone, b.Zone),
			cmp.Compare(a.Weight, b.Weight),
		)
	})
}

func truth(b bool) int {
	if b {
		return 1
	}
	return 0
}
