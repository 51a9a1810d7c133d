package istio

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairway.dev/routing"
	"fairway.dev/routing/dialect"
	"fairway.dev/routing/gatewayapi"
)

// A destination is what a route sends to.
type destination struct {
	host   string // as it is written: short names are of namespace
	subset string
	port   uint32 // 0: the only one
	// listener is the port that counts where port is 0 and there are several;
	// 0: none.
	listener uint32
	// namespace is that of the object which names it.
	namespace string
	// client is the namespace of the gateway pods that send: its
	// DestinationRules count first.
	client string
	use    use
}

// use is what is sent.
type use uint8

const (
	useHTTP use = iota
	useTCP
	useTLS // passed through: no policy adds another TLS
)

// uses are gatewayapi's words for them, which end names of clusters too.
var uses = [...]gatewayapi.Use{useHTTP: gatewayapi.UseHTTP, useTCP: gatewayapi.UseTCP, useTLS: gatewayapi.UseTLS}

// A resolution is what a destination comes to: a cluster, or why there is none.
type resolution struct {
	cluster routing.ClusterName
	reason  routing.Reason
	message string
}

// Reasons for which there is no cluster.
const (
	reasonHostNotFound       = "HostNotFound"       // neither a Service nor a ServiceEntry that the client may see
	reasonPortNotFound       = "PortNotFound"       // the host has no such port
	reasonPortRequired       = "PortRequired"       // the host has several ports, and none is named
	reasonSubsetNotFound     = "SubsetNotFound"     // no DestinationRule that counts has the subset
	reasonInvalidTLSSettings = "InvalidTLSSettings" // what a DestinationRule wants of TLS cannot be had
)

func unresolved(reason routing.Reason, format string, args ...any) resolution {
	return resolution{reason: reason, message: fmt.Sprintf(format, args...)}
}

// Bags of what can be sent to.
const (
	rulesOf     = dialect.Bags + serviceKinds + iota // the DestinationRules of a namespace for a host
	wildRulesIn                                      // of a namespace, those whose host has a wildcard
	entriesOf                                        // the ServiceEntries that have a host
	workloadsIn                                      // the WorkloadEntries of a namespace
	podsIn                                           // of a namespace: the labels that pods of a fleet have
)

// What objects ask for.
const (
	ruleCell        = dialect.Parsed + serviceKinds + iota // DestinationRule
	entryCell                                              // ServiceEntry
	workloadCell                                           // WorkloadEntry
	podCell                                                // Pod: its labels
	nodeCell                                               // Node: where it is
	fleetLabelsCell                                        // Gateway of Gateway API: the labels of its pods
	hostCell                                               // who stands for a host, as a client sees it
	shapeCell                                              // of a host: the DestinationRules that count for a client
	selectionCell                                          // of a ServiceEntry: the workloads that its selector picks
)

// What can be sent to.
const (
	entryEndpointsCell = dialect.Backends + serviceKinds + iota // of a cluster
	entryClusterCell                                            // a cluster of a host of ServiceEntries
	destinationCell                                             // what a destination comes to
)

// entryDoorsCell is of a ServiceEntry: its doors.
const entryDoorsCell = dialect.Listeners + serviceKinds

// What is reported of what came of them.
const (
	ruleStateCell     = dialect.Verdicts + serviceKinds + iota // DestinationRule
	entryStateCell                                             // ServiceEntry
	workloadStateCell                                          // WorkloadEntry
)

func (j *joint) joinServices(s *dialect.Sheet) {
	for kind, formula := range map[dialect.Kind]func(*reading) dialect.Outcome{
		ruleCell:           j.rule,
		entryCell:          j.entry,
		workloadCell:       j.workload,
		podCell:            j.pod,
		nodeCell:           j.node,
		fleetLabelsCell:    j.fleetLabels,
		hostCell:           j.host,
		shapeCell:          j.shape,
		selectionCell:      j.selection,
		entryEndpointsCell: j.entryEndpoints,
		entryClusterCell:   j.entryCluster,
		entryDoorsCell:     j.entryDoors,
		destinationCell:    j.destination,
		ruleStateCell:      j.ruleState,
		entryStateCell:     j.entryState,
		workloadStateCell:  j.workloadState,
	} {
		j.define(s, kind, formula)
	}
	for kind, cells := range map[string][]dialect.Kind{
		KindDestinationRule: {ruleCell, ruleStateCell},
		KindServiceEntry:    {entryCell, entryDoorsCell, entryStateCell},
		KindWorkloadEntry:   {workloadCell, workloadStateCell},
		"Gateway":           {fleetLabelsCell},
	} {
		s.Plant(kind, func(k routing.ObjectKey) []dialect.ID {
			ids := make([]dialect.ID, len(cells))
			for i, c := range cells {
				ids[i] = dialect.ID{Kind: c, NS: k.Namespace, Name: k.Name}
			}
			return ids
		})
	}
	j.gateway.Join(gatewayapi.Shaper{
		Secures: func(r *dialect.Reading, s gatewayapi.Shaping) bool { return j.secures(&reading{r, j}, s) },
		Shape: func(r *dialect.Reading, s gatewayapi.Shaping, c *routing.Cluster) bool {
			return j.shapeService(&reading{r, j}, s, c)
		},
		Endpoints: func(r *dialect.Reading, s gatewayapi.Shaping, list []routing.Endpoint) []routing.Endpoint {
			return j.serviceEndpoints(&reading{r, j}, s, list)
		},
		Listener: func(r *dialect.Reading, ns, name string, labels map[string]string, l *routing.Listener) {
			j.applyPolicies(&reading{r, j}, fleetName{ns, name}, labels, l)
		},
		Door: func(r *dialect.Reading, d gatewayapi.Door, _ map[string]string, l *routing.Listener) {
			j.applyToDoor(&reading{r, j}, d, l)
		},
		Apart: func(r *dialect.Reading, ns, name string) bool {
			return j.tellsApart(&reading{r, j}, fleetName{ns, name})
		},
		Workload: func(r *dialect.Reading, ns string, labels map[string]string, w *routing.Workload) {
			j.applyToWorkload(&reading{r, j}, ns, labels, w)
		},
	})
}

// fullName returns the host that a name in an object of a namespace stands for:
// one without a dot is that of a Service beside the object.
func (j *joint) fullName(host, ns string) string {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "" || strings.ContainsAny(host, ".*") {
		return host
	}
	return host + "." + ns + ".svc." + j.opts.ClusterDomain
}

// serviceOf returns the Service that a host would be the name of.
func (j *joint) serviceOf(host string) (ns, name string, ok bool) {
	prefix, ok := strings.CutSuffix(host, ".svc."+j.opts.ClusterDomain)
	if !ok {
		return "", "", false
	}
	name, ns, ok = strings.Cut(prefix, ".")
	return ns, name, ok && name != "" && ns != "" && !strings.Contains(ns, ".")
}

func (j *joint) hostOf(ns, service string) string {
	return service + "." + ns + ".svc." + j.opts.ClusterDomain
}

// everybody is the client of what all gateways share: it sees what is exported
// to all namespaces.
const everybody = ""

// exported reports whether what an object of a namespace exports to a list of
// namespaces, joined by commas, is for a client.
func exported(to, ns, client string) bool {
	if to == "" {
		return true
	}
	for t := range strings.SplitSeq(to, ",") {
		switch t = strings.TrimSpace(t); {
		case t == "*", t == "." && client == ns, client != everybody && t == client:
			return true
		}
	}
	return false
}

// exportList joins an exportTo, or what the mesh has for objects without one.
func exportList(own, mesh []string) string {
	if len(own) == 0 {
		own = mesh
	}
	return strings.Join(own, ",")
}

// birth orders objects by age; one without a creationTimestamp is the youngest.
func birth(o metav1.Object) int64 {
	t := o.GetCreationTimestamp()
	if t.IsZero() {
		return math.MaxInt64
	}
	return t.UnixNano()
}

// A claim is an object that says something of a host. Those that come first
// count first.
type claim struct {
	selects  bool // has a workloadSelector (DestinationRule)
	created  int64
	ns, name string
	host     string
	exportTo string // joined by commas
}

// Before is the order of age, but that rules for some pods alone come first.
func (c claim) Before(o dialect.Ordered) bool {
	d := o.(claim)
	if c.selects != d.selects {
		return c.selects
	}
	return cmp.Or(cmp.Compare(c.created, d.created), cmp.Compare(c.ns, d.ns), cmp.Compare(c.name, d.name), cmp.Compare(c.host, d.host), cmp.Compare(c.exportTo, d.exportTo)) < 0
}

// claims yields the claims in a bag, in their order.
func (r *reading) claims(bag dialect.ID) []claim {
	order := r.Order(bag)
	out := make([]claim, len(order))
	for i, o := range order {
		out[i] = o.(claim)
	}
	return out
}

// A service is what stands for a host.
type service struct {
	kind     string // "Service", KindServiceEntry; empty: nothing does
	ns, name string // of a ServiceEntry the object's, which is the oldest of its namespace with the host
}

// serviceAt returns what stands for a host, as a client sees it.
func (r *reading) serviceAt(client, host string) service {
	return r.Value(dialect.ID{Kind: hostCell, NS: client, Name: host}).(service)
}

// exportAnnotation is what exportTo of a ServiceEntry is, of a Service.
const exportAnnotation = "networking.istio.io/exportTo"

// host decides who stands for a host. A Service comes before any ServiceEntry,
// so that nobody can take its name; of ServiceEntries one in the client's
// namespace comes first, and then the oldest.
func (j *joint) host(r *reading) dialect.Outcome {
	client, host := r.ID.NS, r.ID.Name
	if ns, name, ok := j.serviceOf(host); ok {
		svc := object[corev1.Service](r, "Service", ns, name)
		to, said := "", false
		if svc != nil {
			to, said = svc.Annotations[exportAnnotation]
		}
		if !said {
			to = exportList(nil, r.mesh().exportServices)
		}
		if svc != nil && exported(to, ns, client) {
			return dialect.Outcome{Value: service{"Service", ns, name}}
		}
	}
	var found service
	taken := map[string]bool{} // namespaces whose oldest was seen
	for _, c := range r.claims(dialect.ID{Kind: entriesOf, Name: host}) {
		if taken[c.ns] {
			continue
		}
		taken[c.ns] = true
		if exported(c.exportTo, c.ns, client) && (found.kind == "" || c.ns == client) {
			found = service{KindServiceEntry, c.ns, c.name}
		}
	}
	return dialect.Outcome{Value: found}
}

// resolve finds the cluster of a destination, and has it there. Clients whose
// DestinationRules are the same get the same cluster.
func (r *reading) resolve(d destination) resolution {
	port := strconv.Itoa(int(d.port))
	if d.port == 0 {
		port = strconv.Itoa(-int(d.listener))
	}
	return r.Value(dialect.ID{
		Kind: destinationCell,
		NS:   d.client,
		Name: r.j.fullName(d.host, d.namespace),
		Part: port + string(uses[d.use]) + mark(d.subset, everybody),
	}).(resolution)
}

// mark ends the name of a cluster of a subset, and of one that the rules of
// a client's namespace have made: "|v1~edge".
func mark(subset, client string) string {
	s := ""
	if subset != "" {
		s = "|" + subset
	}
	if client != everybody {
		s += "~" + client
	}
	return s
}

func parseMark(s string) (subset, client string) {
	s, client, _ = strings.Cut(s, "~")
	return strings.TrimPrefix(s, "|"), client
}

// A route to a cluster: its part of a cell's id, "8080#tcp|v1~edge". A port
// below 0 is a listener's, which counts where the host has several.
type target struct {
	port   int
	use    gatewayapi.Use
	subset string
	client string
}

func parseTarget(part string) target {
	var t target
	if i := strings.IndexAny(part, "|~"); i >= 0 {
		t.subset, t.client = parseMark(part[i:])
		part = part[:i]
	}
	number, _, _ := strings.Cut(part, "#")
	t.use = gatewayapi.Use(part[len(number):])
	port, err := strconv.Atoi(number)
	if err != nil {
		panic("bug: a target without a port")
	}
	t.port = port
	return t
}

func (t target) part() string {
	return strconv.Itoa(t.port) + string(t.use) + mark(t.subset, t.client)
}

// destination is a cell of its own so that what a route reads of a host is only
// which cluster it has.
func (j *joint) destination(r *reading) dialect.Outcome {
	t := parseTarget(r.ID.Part)
	t.client = r.ID.NS
	return dialect.Outcome{Value: r.clusterOf(r.ID.Name, t)}
}

func (r *reading) clusterOf(host string, t target) resolution {
	svc := r.serviceAt(t.client, host)
	switch svc.kind {
	case "Service":
		return r.clusterOfService(host, svc, t)
	case KindServiceEntry:
		return r.clusterOfEntry(host, svc, t)
	}
	if _, _, ok := r.j.serviceOf(host); ok {
		return unresolved(reasonHostNotFound, "host %s: no such Service, and no ServiceEntry has it", host)
	}
	return unresolved(reasonHostNotFound, "host %s: no ServiceEntry that namespace %s may see has it, and it is not the name of a Service "+
		"(NAME, or NAME.NAMESPACE.svc.%s)", host, t.client, r.j.opts.ClusterDomain)
}

// choosePort returns which of a host's ports is meant.
func choosePort(host string, t target, ports []uint32) (uint32, resolution) {
	list := make([]string, len(ports))
	for i, p := range ports {
		list[i] = strconv.Itoa(int(p))
		if int(p) == t.port || int(p) == -t.port && len(ports) > 1 {
			return p, resolution{}
		}
	}
	switch {
	case len(ports) == 0:
		return 0, unresolved(reasonPortNotFound, "host %s has no ports", host)
	case t.port > 0:
		return 0, unresolved(reasonPortNotFound, "host %s: no port %d: want one of %s", host, t.port, strings.Join(list, ", "))
	case len(ports) > 1:
		return 0, unresolved(reasonPortRequired, "host %s has ports %s: want one of them named", host, strings.Join(list, ", "))
	}
	return ports[0], resolution{}
}

// clusterOfService names the cluster of a Service's port: the one that routes
// of Gateway API send to, unless a subset or the client's own rules make it
// another.
func (r *reading) clusterOfService(host string, svc service, t target) resolution {
	o := object[corev1.Service](r, "Service", svc.ns, svc.name)
	if o == nil {
		return unresolved(reasonHostNotFound, "host %s: no such Service", host)
	}
	var ports []uint32
	for _, p := range o.Spec.Ports {
		if p.Protocol == "" || p.Protocol == corev1.ProtocolTCP {
			ports = append(ports, uint32(p.Port))
		}
	}
	port, bad := choosePort(host, t, ports)
	if bad.reason != "" {
		return bad
	}
	t.port = int(port)
	s, bad := r.shapeFor(host, svc.ns, &t)
	if bad.reason != "" {
		return bad
	}
	to := gatewayapi.Backend{Namespace: svc.ns, Name: svc.name, Port: uint16(port), Use: t.use, Mark: mark(t.subset, t.client)}
	if _, err := r.tlsFor(s, host, t, nil); err != nil {
		return unresolved(reasonInvalidTLSSettings, "host %s: %v", host, err)
	}
	name, reason, message := gatewayapi.ClusterOf(r.Reading, to)
	return resolution{name, reason, message}
}

// shapeFor returns the rules for a host that count for a target's client, and
// says in the target whether the cluster is the client's own.
func (r *reading) shapeFor(host, ns string, t *target) (*shape, resolution) {
	own, all := r.shapeOf(t.client, host, ns), r.shapeOf(everybody, host, ns)
	if t.subset != "" {
		if _, ok := own.subset(t.subset); !ok {
			return nil, unresolved(reasonSubsetNotFound, "host %s: no DestinationRule that counts for namespace %s has subset %q", host, t.client, t.subset)
		}
	}
	if own.same(all) && !own.hasCredential(*t) {
		t.client = everybody
		return all, resolution{}
	}
	return own, resolution{}
}
