package istio

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"fairway.dev/routing"
	"fairway.dev/routing/dialect"
	"fairway.dev/routing/gatewayapi"
)

// Reasons for what is odd about a ServiceEntry or a WorkloadEntry.
const (
	reasonConflictingHost = "ConflictingHost" // another object stands for the host
	reasonNoEndpoints     = "NoEndpoints"     // nothing to send to
	reasonFarEndpoint     = "FarEndpoint"     // an endpoint of another network
)

// An entry is what a ServiceEntry asks for.
type entry struct {
	name       string
	hosts      []string
	ports      []entryPort
	resolution networking.ServiceEntry_Resolution
	endpoints  []workload
	selector   map[string]string // nil: no workloadSelector
	sans       []string
	found      complaints

	// What waypoints need to know.
	labels      map[string]string
	annotations map[string]string
	created     time.Time
	addresses   []string // those that clients dial
}

// An entryPort is a port of a ServiceEntry.
type entryPort struct {
	number, target uint32
	name           string
	protocol       string // in upper case
}

// entry reads a ServiceEntry, and puts it among those that have its hosts.
func (j *joint) entry(r *reading) dialect.Outcome {
	o := object[networkingv1.ServiceEntry](r, KindServiceEntry, r.ID.NS, r.ID.Name)
	if o == nil {
		return dialect.Outcome{Gone: true}
	}
	spec := &o.Spec
	p := &specParser{network: gatewayapi.NetworkOf(r.Reading), accounts: r.accountsIn(r.ID.NS)}
	v := &entry{
		name: o.Name, resolution: spec.Resolution, sans: slices.Clone(spec.SubjectAltNames),
		labels: o.Labels, annotations: o.Annotations, created: o.CreationTimestamp.Time, addresses: addressesOf(o),
	}
	out := dialect.Outcome{Value: v}
	exportTo := exportList(spec.ExportTo, r.mesh().exportServices)
	for i, host := range spec.Hosts {
		host = strings.ToLower(strings.TrimSuffix(host, "."))
		if err := checkHostPattern(host); err != nil || host == "*" {
			p.refuse(fmt.Sprintf("spec.hosts[%d]", i), reasonInvalidHost, `%q: want the name of a host, or "*.NAME"`, host)
			continue
		}
		v.hosts = append(v.hosts, host)
		out.Gifts = append(out.Gifts, dialect.Gift{
			To:   dialect.ID{Kind: entriesOf, Name: host},
			Item: claim{created: birth(o), ns: o.Namespace, name: o.Name, host: host, exportTo: exportTo},
		})
	}
	for i, a := range spec.Addresses {
		if strings.Contains(a, "/") {
			p.find(routing.Info, field("spec.addresses", i), reasonIneffectiveField, "write single addresses", "%s: clients reach waypoints by single addresses alone", a)
		}
	}
	p.entryPorts(v, spec.Ports)
	p.entryEndpoints(v, spec)
	if spec.Location == networking.ServiceEntry_MESH_INTERNAL {
		p.find(routing.Info, "spec.location", reasonMeshTLS, "enrol it by the label istio.io/use-waypoint", "MESH_INTERNAL: mTLS of the mesh is up to the waypoint: gateways send as they do to others")
	}
	v.found = p.found
	if len(v.hosts) > 0 {
		out.Gifts = append(out.Gifts, callee(r.ID.NS, aim{KindServiceEntry, o.Name}))
	}
	return out
}

// protocols are those of ServiceEntry.ports, and what they are to HTTP routes.
var protocols = map[string]routing.Upstream{
	"HTTP": routing.UpstreamHTTP1, "HTTP_PROXY": routing.UpstreamHTTP1, "GRPC-WEB": routing.UpstreamHTTP1,
	"HTTP2": routing.UpstreamHTTP2, "GRPC": routing.UpstreamHTTP2,
	"HTTPS": routing.UpstreamHTTP1, "TLS": routing.UpstreamHTTP1,
	"TCP": routing.UpstreamHTTP1, "MONGO": routing.UpstreamHTTP1, "REDIS": routing.UpstreamHTTP1, "MYSQL": routing.UpstreamHTTP1,
}

func (p *specParser) entryPorts(v *entry, ports []*networking.ServicePort) {
	for i, port := range ports {
		at := fmt.Sprintf("spec.ports[%d]", i)
		number, target := port.GetNumber(), port.GetTargetPort()
		switch {
		case number < 1 || number > 65535 || target > 65535:
			p.refuse(at+".number", reasonInvalidPort, "port %d, targetPort %d: want 1-65535", number, target)
			continue
		case slices.ContainsFunc(v.ports, func(q entryPort) bool { return q.number == number }):
			p.refuse(at, reasonDuplicateName, "port %d is there already: the first one counts", number)
			continue
		}
		out := entryPort{number, target, port.Name, strings.ToUpper(port.Protocol)}
		if out.protocol == "UDP" {
			p.find(routing.Info, at+".protocol", reasonUnsupportedField, "", "UDP: no route of the dialect sends datagrams")
			continue
		}
		if out.protocol == "" {
			out.protocol = "TCP"
		}
		if protocols[out.protocol] == "" {
			p.refuse(at+".protocol", reasonInvalidProtocol, "%s: want HTTP, HTTPS, GRPC, HTTP2, MONGO, TCP or TLS; it is taken for TCP", port.Protocol)
			out.protocol = "TCP"
		}
		hint, _, _ := strings.Cut(strings.ToUpper(port.Name), "-")
		if hint != out.protocol && protocols[hint] != "" && !(hint == "GRPC" && out.protocol == "GRPC-WEB") {
			p.find(routing.Warning, at+".name", reasonPortName, "name the port as its protocol is", "port %s has protocol %s, which counts", port.Name, out.protocol)
		}
		v.ports = append(v.ports, out)
	}
	if len(v.ports) == 0 {
		p.find(routing.Warning, "spec.ports", reasonMissingField, "name a port", "without ports nothing can be sent to the hosts")
	}
}

// entryEndpoints reads where the hosts are.
func (p *specParser) entryEndpoints(v *entry, spec *networking.ServiceEntry) {
	if spec.WorkloadSelector != nil {
		v.selector = map[string]string{}
		maps.Copy(v.selector, spec.WorkloadSelector.Labels)
		if len(spec.Endpoints) > 0 {
			p.refuse("spec.workloadSelector", reasonInvalidValue, "endpoints and a workloadSelector: want one of them; endpoints count")
			v.selector = nil
		}
	}
	named := v.resolution == networking.ServiceEntry_DNS || v.resolution == networking.ServiceEntry_DNS_ROUND_ROBIN
	for i, e := range spec.Endpoints {
		w, ok := p.workload(fmt.Sprintf("spec.endpoints[%d]", i), e, e.GetLabels())
		switch {
		case !ok:
			continue
		case w.host != "" && !named:
			p.refuse(fmt.Sprintf("spec.endpoints[%d].address", i), reasonInvalidAddress, "%s: want an IP address with resolution %s", w.host, v.resolution)
			continue
		}
		v.endpoints = append(v.endpoints, w)
	}
	p.resolution(v, spec)
}

// resolution checks that what the resolution needs is there.
func (p *specParser) resolution(v *entry, spec *networking.ServiceEntry) {
	wild := slices.ContainsFunc(v.hosts, isWild)
	nowhere := len(spec.Endpoints) == 0 && v.selector == nil
	switch v.resolution {
	case networking.ServiceEntry_STATIC:
		if nowhere {
			p.find(routing.Warning, "spec.endpoints", reasonNoEndpoints, "name endpoints, or a workloadSelector", "resolution STATIC without endpoints: requests are answered with 503")
		}
	case networking.ServiceEntry_DNS, networking.ServiceEntry_DNS_ROUND_ROBIN:
		if wild && nowhere {
			p.refuse("spec.endpoints", reasonNoEndpoints, "resolution %s: want endpoints, as DNS has no address for a host with '*'", v.resolution)
		}
		if v.resolution == networking.ServiceEntry_DNS_ROUND_ROBIN && len(v.endpoints) > 1 {
			p.refuse("spec.endpoints", reasonInvalidValue, "%d endpoints with resolution DNS_ROUND_ROBIN: want one; the first counts", len(v.endpoints))
			v.endpoints = v.endpoints[:1]
		}
	case networking.ServiceEntry_NONE:
		p.find(routing.Info, "spec.resolution", reasonIneffectiveField, "use resolution DNS, or DYNAMIC_DNS for hosts with '*'",
			"NONE: what comes to a gateway was sent to the gateway's own address: it goes where DNS says that the host is")
		fallthrough
	case networking.ServiceEntry_DYNAMIC_DNS:
		if len(spec.Endpoints) > 0 || v.selector != nil {
			p.find(routing.Warning, "spec.endpoints", reasonIneffectiveField, "use resolution STATIC or DNS", "resolution %s: endpoints do not count", v.resolution)
		}
	default:
		p.refuse("spec.resolution", reasonInvalidValue, "%d: want STATIC, DNS, DNS_ROUND_ROBIN, DYNAMIC_DNS or NONE", v.resolution)
	}
}

func isWild(host string) bool { return strings.HasPrefix(host, "*") }

// port returns the port of a number, or nil.
func (e *entry) port(number int) *entryPort {
	i := slices.IndexFunc(e.ports, func(p entryPort) bool { return int(p.number) == number })
	if i < 0 {
		return nil
	}
	return &e.ports[i]
}

// to is the port of the endpoints that say nothing themselves.
func (p *entryPort) to() uint32 {
	if p.target != 0 {
		return p.target
	}
	return p.number
}

// entryFor returns the ServiceEntry of a namespace that stands for a host, which
// is the oldest that has it; nil where there is none.
func (r *reading) entryFor(ns, host string) *entry {
	for _, c := range r.claims(dialect.ID{Kind: entriesOf, Name: host}) {
		if c.ns == ns {
			e, _ := r.Value(dialect.ID{Kind: entryCell, NS: ns, Name: c.name}).(*entry)
			return e
		}
	}
	return nil
}

// clusterOfEntry names the cluster of a host's port, and has it there.
func (r *reading) clusterOfEntry(host string, svc service, t target) resolution {
	e := r.entryFor(svc.ns, host)
	if e == nil {
		return unresolved(reasonHostNotFound, "host %s: no ServiceEntry has it", host)
	}
	var ports []uint32
	for _, p := range e.ports {
		ports = append(ports, p.number)
	}
	port, bad := choosePort(host, t, ports)
	if bad.reason != "" {
		return bad
	}
	t.port = int(port)
	if t.use != uses[useHTTP] && e.resolve(host) == routing.ResolveHost {
		return unresolved(reasonUnsupportedField, "host %s with resolution %s: a stream names no host to look up", host, e.resolution)
	}
	s, bad := r.shapeFor(host, svc.ns, &t)
	if bad.reason != "" {
		return bad
	}
	if _, err := r.tlsFor(s, host, t, e.sans); err != nil {
		return unresolved(reasonInvalidTLSSettings, "host %s: %v", host, err)
	}
	id := dialect.ID{Kind: entryClusterCell, NS: svc.ns, Name: host, Part: t.part()}
	r.Value(id)
	return resolution{cluster: entryClusterName(id)}
}

// entryClusterName is "ServiceEntry/egress/api.example.com:443", with the marks
// of a target's part.
func entryClusterName(id dialect.ID) routing.ClusterName {
	return routing.ClusterName(KindServiceEntry + "/" + id.NS + "/" + id.Name + ":" + id.Part)
}

// entryCluster makes the cluster of a port of a host of ServiceEntries. Its
// cell is that of the host, and not of the object that stands for it.
func (j *joint) entryCluster(r *reading) dialect.Outcome {
	ns, host, t := r.ID.NS, r.ID.Name, parseTarget(r.ID.Part)
	e := r.entryFor(ns, host)
	if e == nil {
		return dialect.Outcome{}
	}
	port := e.port(t.port)
	if port == nil {
		return dialect.Outcome{}
	}
	s := r.shapeOf(t.client, host, ns)
	word, err := r.tlsFor(s, host, t, e.sans)
	if err != nil {
		return dialect.Outcome{}
	}
	r.Value(dialect.ID{Kind: entryEndpointsCell, NS: ns, Name: host, Part: r.ID.Part})
	c := &routing.Cluster{
		Name:      entryClusterName(r.ID),
		Origin:    routing.Origin{Kind: KindServiceEntry, Namespace: ns, Name: e.name},
		Protocol:  protocols[port.protocol],
		TLS:       word.tls,
		Resolve:   e.resolve(host),
		Service:   host,
		Namespace: ns,
		Port:      uint16(port.number),
		Hop:       gatewayapi.HopOf(r.Reading, e.enrolled(ns), uint16(port.number)),
	}
	if t.use != uses[useHTTP] {
		c.Protocol = routing.UpstreamTCP
	}
	r.goFar(c, e, host)
	r.finish(c, s, t, s.own, port.protocol == "HTTP")
	return dialect.Outcome{Parts: []any{c}}
}

// resolve says how names of endpoints of a host become addresses.
func (e *entry) resolve(host string) routing.Resolution {
	switch e.resolution {
	case networking.ServiceEntry_DNS_ROUND_ROBIN:
		return routing.ResolveOne
	case networking.ServiceEntry_NONE, networking.ServiceEntry_DYNAMIC_DNS:
		if isWild(host) {
			return routing.ResolveHost
		}
	}
	return routing.ResolveAll
}

// entryEndpoints makes the endpoints of a cluster of a host. Of a host that each
// request names, there is one endpoint: the hosts that it may name, and the port.
func (j *joint) entryEndpoints(r *reading) dialect.Outcome {
	ns, host, t := r.ID.NS, r.ID.Name, parseTarget(r.ID.Part)
	out := &routing.Endpoints{Cluster: entryClusterName(r.ID)}
	e := r.entryFor(ns, host)
	if e == nil || e.port(t.port) == nil {
		return dialect.Outcome{Parts: []any{out}}
	}
	port := e.port(t.port)
	var list []workload
	switch e.resolution {
	case networking.ServiceEntry_STATIC:
		list = r.members(ns, e)
	case networking.ServiceEntry_DNS, networking.ServiceEntry_DNS_ROUND_ROBIN:
		if list = r.members(ns, e); len(list) == 0 && e.selector == nil && !isWild(host) {
			list = []workload{{host: host}}
		}
	default:
		list = []workload{{host: host}}
	}
	s := r.shapeOf(t.client, host, ns)
	places := r.placesOf(s, t)
	var there []workload
	for _, w := range list {
		labels, ok := s.picks(t.subset)
		switch {
		case !ok || !selects(w.labels, labels):
		case w.network != "":
			there = append(there, w)
		default:
			out.List = append(out.List, w.endpoint(w.portFor(port.name, port.to()), places, r.spotOf(w.node)))
		}
	}
	sortEndpoints(out.List)
	if networks := r.networks(ns, e); len(networks) > 1 && !isWild(host) {
		out.List = append(out.List, r.farEndpoints(host, uint16(port.number), e.sans, there)...)
	}
	return dialect.Outcome{Parts: []any{out}}
}

// picks returns the labels by which a subset picks endpoints; false where there
// is no such subset.
func (s *shape) picks(name string) (map[string]string, bool) {
	if name == "" {
		return nil, true
	}
	sub, ok := s.subset(name)
	if !ok {
		return nil, false
	}
	return sub.labels, true
}

// addrPort is the address of an endpoint whose address is a name.
func addrPort(addr netip.Addr, port uint32) netip.AddrPort {
	return netip.AddrPortFrom(addr, uint16(port))
}
