package istio

import (
	"fmt"
	"slices"
	"strings"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairway.dev/routing"
	"fairway.dev/routing/dialect"
	"fairway.dev/routing/gatewayapi"
)

// Reasons of what only the others can tell.
const (
	reasonDuplicateRule = "DuplicateRule"  // an older DestinationRule of the namespace has the host
	reasonSubsetEmpty   = "SubsetEmpty"    // no endpoint has the labels
	reasonPlainText     = "PlainTextToTLS" // requests for a port of HTTPS that nobody adds TLS to
	reasonOverridden    = "Overridden"     // what the Service's author says comes first
)

func newReport(kind string, o metav1.Object) *dialect.Report {
	return &dialect.Report{Object: routing.ObjectKey{Kind: kind, Namespace: o.GetNamespace(), Name: o.GetName()}}
}

// ruleState reports a DestinationRule.
func (j *joint) ruleState(r *reading) dialect.Outcome {
	o := object[networkingv1.DestinationRule](r, KindDestinationRule, r.ID.NS, r.ID.Name)
	v, _ := r.Value(dialect.ID{Kind: ruleCell, NS: r.ID.NS, Name: r.ID.Name}).(*rule)
	if o == nil || v == nil {
		return dialect.Outcome{Gone: true}
	}
	report := newReport(KindDestinationRule, o)
	if v.host == "" {
		v.found.report(report)
		report.Conditions = accepted(o.Generation, fmt.Sprintf("host %q: want the name of a host", o.Spec.Host))
		return dialect.Outcome{Report: report}
	}
	p := &specParser{found: slices.Clone(v.found)}
	r.checkRivals(p, v)
	r.checkSelector(p, v)
	if !isWild(v.host) {
		r.checkRuleHost(p, v)
	}
	p.found.report(report)
	report.Conditions = accepted(o.Generation, "")
	return dialect.Outcome{Report: report}
}

// checkRivals looks for rules of the namespace for the same host that count
// before this one.
func (r *reading) checkRivals(p *specParser, v *rule) {
	bag := dialect.ID{Kind: rulesOf, NS: r.ID.NS, Name: v.host}
	if isWild(v.host) {
		bag = dialect.ID{Kind: wildRulesIn, NS: r.ID.NS}
	}
	for _, c := range r.claims(bag) {
		if c.name == v.name {
			return
		}
		first, _ := r.Value(dialect.ID{Kind: ruleCell, NS: c.ns, Name: c.name}).(*rule)
		if first == nil || first.host != v.host || (first.selector == nil) != (v.selector == nil) {
			continue
		}
		p.find(routing.Warning, "spec.host", reasonDuplicateRule, "make one rule of them",
			"DestinationRule %s/%s is older and has the host too: its subsets and those of this one count, and the trafficPolicy of the first that has one", r.ID.NS, c.name)
		for i, s := range v.subsets {
			if slices.ContainsFunc(first.subsets, func(t subset) bool { return t.name == s.name }) {
				p.find(routing.Error, fmt.Sprintf("spec.subsets[%d]", i), reasonDuplicateSubset, "give it another name",
					"subset %s of DestinationRule %s/%s counts", s.name, r.ID.NS, c.name)
			}
		}
		if v.policy != nil && first.policy != nil {
			p.find(routing.Error, "spec.trafficPolicy", reasonDuplicateRule, "make one rule of them",
				"that of DestinationRule %s/%s counts", r.ID.NS, c.name)
		}
	}
}

// checkSelector says which gateways a rule is for. Those of a namespace share
// their clusters, so it is for all of them or for none.
func (r *reading) checkSelector(p *specParser, v *rule) {
	if v.selector == nil || r.j.opts.AnySelector {
		return
	}
	picked, all := 0, r.Bag(dialect.ID{Kind: podsIn, NS: r.ID.NS})
	for name := range all {
		labels, _ := r.Value(dialect.ID{Kind: fleetLabelsCell, NS: r.ID.NS, Name: name.(string)}).(map[string]string)
		picked += truth(selects(labels, v.selector))
	}
	switch {
	case picked == 0:
		p.find(routing.Warning, "spec.workloadSelector", reasonIneffectiveField, "check the labels of the gateway pods",
			"picks the pods of no Gateway of namespace %s", r.ID.NS)
	case picked < len(all):
		p.find(routing.Warning, "spec.workloadSelector", reasonIneffectiveField, "move the other Gateways to another namespace",
			"picks the pods of %d of %d Gateways of namespace %s: the rule counts for all of them", picked, len(all), r.ID.NS)
	}
}

// checkRuleHost compares a rule with what stands for its host.
func (r *reading) checkRuleHost(p *specParser, v *rule) {
	svc := r.serviceAt(r.ID.NS, v.host)
	var ports []int
	var workloads []workload
	switch svc.kind {
	case "":
		p.find(routing.Error, "spec.host", reasonHostNotFound, "check the name; a short one is of the rule's namespace",
			"%s: no Service, and no ServiceEntry that the namespace may see", v.host)
		return
	case "Service":
		o := object[corev1.Service](r, "Service", svc.ns, svc.name)
		for _, port := range o.Spec.Ports {
			ports = append(ports, int(port.Port))
		}
		workloads = r.workloadsOfService(svc, o)
		r.checkOverridden(p, v, o)
	case KindServiceEntry:
		e := r.entryFor(svc.ns, v.host)
		if e == nil {
			return
		}
		for _, port := range e.ports {
			ports = append(ports, int(port.number))
		}
		workloads = r.members(svc.ns, e)
	}
	r.checkReach(p, svc)
	v.checkPorts(p, ports)
	for i, s := range v.subsets {
		if len(s.labels) > 0 && len(workloads) > 0 && !slices.ContainsFunc(workloads, func(w workload) bool { return selects(w.labels, s.labels) }) {
			p.find(routing.Warning, fmt.Sprintf("spec.subsets[%d].labels", i), reasonSubsetEmpty, "check the labels of the pods",
				"subset %s: none of the %d endpoints of %s has them", s.name, len(workloads), v.host)
		}
	}
}

// workloadsOfService returns the labels of what is behind a Service.
func (r *reading) workloadsOfService(svc service, o *corev1.Service) []workload {
	var list []workload
	for pod := range gatewayapi.PodsOf(r.Reading, svc.ns, svc.name) {
		list = append(list, workload{name: pod, labels: r.podLabels(svc.ns, pod)})
	}
	if len(o.Spec.Selector) > 0 {
		list = append(list, r.workloadsOf(svc.ns, o.Spec.Selector)...)
	}
	return list
}

// checkReach says where a rule counts that is neither the host's author's nor
// the mesh's.
func (r *reading) checkReach(p *specParser, svc service) {
	if r.ID.NS == svc.ns || r.ID.NS == r.j.opts.RootNamespace || r.j.opts.AnySelector {
		return
	}
	if len(r.Bag(dialect.ID{Kind: podsIn, NS: r.ID.NS})) == 0 {
		p.find(routing.Info, "metadata.namespace", reasonIneffectiveField, "move it to namespace "+svc.ns,
			"a rule for a host of namespace %s counts for gateways of its own namespace alone, and there are none", svc.ns)
	}
}

func (v *rule) checkPorts(p *specParser, ports []int) {
	check := func(field string, q *policy) {
		if q == nil {
			return
		}
		var missing []int
		for port := range q.ports {
			if !slices.Contains(ports, port) {
				missing = append(missing, port)
			}
		}
		slices.Sort(missing)
		for _, port := range missing {
			p.find(routing.Warning, field+".portLevelSettings", reasonPortNotFound, "name a port of the Service, not of its pods", "%s has no port %d", v.host, port)
		}
	}
	check("spec.trafficPolicy", v.policy)
	for i, s := range v.subsets {
		check(fmt.Sprintf("spec.subsets[%d].trafficPolicy", i), s.policy)
	}
}

// checkOverridden says which settings the Service's author has decided already.
func (r *reading) checkOverridden(p *specParser, v *rule, o *corev1.Service) {
	if v.policy == nil {
		return
	}
	said := map[string]bool{}
	if b := v.policy.balance; b != nil {
		said["load-balancing"], said["slow-start"] = b.balance.Kind != "", b.slowStart > 0
	}
	if c := v.policy.pool; c != nil {
		said["connect-timeout"] = c.connectTimeout > 0
		said["idle-timeout"] = c.httpIdle > 0 || c.tcpIdle > 0
		said["max-requests"] = c.limits.Requests > 0
		said["max-pending"] = c.limits.Pending > 0
		said["max-requests-per-connection"] = c.limits.RequestsOnConn > 0
	}
	said["ejection"] = v.policy.outliers != nil
	said["proxy-protocol"] = v.policy.proxyProtocol > 0
	var names []string
	for name, ours := range said {
		if _, theirs := o.Annotations["fairway.dev/"+name]; ours && theirs {
			names = append(names, "fairway.dev/"+name)
		}
	}
	slices.Sort(names)
	if len(names) > 0 {
		p.find(routing.Info, "spec.trafficPolicy", reasonOverridden, "remove them from the Service",
			"annotations of Service %s/%s come first, but for gateways whose namespace has the rule: %s", o.Namespace, o.Name, strings.Join(names, ", "))
	}
	if policy := gatewayapi.TLSPolicyOf(r.Reading, o.Namespace, o.Name); policy != "" && v.policy.tls != nil && !v.policy.tls.mesh {
		p.find(routing.Warning, "spec.trafficPolicy.tls", reasonOverridden, "remove one of them",
			"BackendTLSPolicy %s/%s decides about TLS", o.Namespace, policy)
	}
}

// entryState reports a ServiceEntry.
func (j *joint) entryState(r *reading) dialect.Outcome {
	o := object[networkingv1.ServiceEntry](r, KindServiceEntry, r.ID.NS, r.ID.Name)
	v, _ := r.Value(dialect.ID{Kind: entryCell, NS: r.ID.NS, Name: r.ID.Name}).(*entry)
	if o == nil || v == nil {
		return dialect.Outcome{Gone: true}
	}
	report := newReport(KindServiceEntry, o)
	p := &specParser{found: slices.Clone(v.found)}
	for i, host := range v.hosts {
		r.checkEntryHost(p, fmt.Sprintf("spec.hosts[%d]", i), v, host)
	}
	r.checkDoors(p, v)
	r.checkNetworks(p, v)
	if v.selector != nil && len(r.members(r.ID.NS, v)) == 0 {
		p.find(routing.Warning, "spec.workloadSelector", reasonNoEndpoints, "check the labels; a pod is found by a Service that picks it",
			"picks no WorkloadEntry and no pod of namespace %s", r.ID.NS)
	}
	p.found.report(report)
	invalid := ""
	if len(v.hosts) == 0 {
		invalid = "no host that is valid"
	}
	report.Conditions = accepted(o.Generation, invalid)
	return dialect.Outcome{Report: report}
}

// checkEntryHost says who else stands for a host of a ServiceEntry.
func (r *reading) checkEntryHost(p *specParser, field string, v *entry, host string) {
	if ns, name, ok := r.j.serviceOf(host); ok && object[corev1.Service](r, "Service", ns, name) != nil {
		p.find(routing.Warning, field, reasonConflictingHost, "give it another host",
			"Service %s/%s stands for %s: of this entry subjectAltNames alone count, if it is of the Service's namespace", ns, name, host)
		return
	}
	for _, c := range r.claims(dialect.ID{Kind: entriesOf, Name: host}) {
		switch {
		case c.ns == r.ID.NS && c.name == v.name:
			r.checkOrigination(p, v, host)
			return
		case c.ns == r.ID.NS:
			p.find(routing.Error, field, reasonConflictingHost, "make one entry of them",
				"ServiceEntry %s/%s is older and stands for %s", c.ns, c.name, host)
			return
		case exported(c.exportTo, c.ns, everybody):
			p.find(routing.Warning, field, reasonConflictingHost, "export one of them to its own namespace (exportTo)",
				"ServiceEntry %s/%s is older and stands for %s everywhere but in namespace %s", c.ns, c.name, host, r.ID.NS)
		}
	}
}

// checkOrigination says that requests for a port of HTTPS go in plain text.
func (r *reading) checkOrigination(p *specParser, v *entry, host string) {
	for i, port := range v.ports {
		if port.protocol != "HTTPS" {
			continue
		}
		q := r.shapeOf(everybody, host, r.ID.NS).effective(target{port: int(port.number)})
		if q == nil || q.tls == nil {
			p.find(routing.Info, fmt.Sprintf("spec.ports[%d].protocol", i), reasonPlainText, "add a DestinationRule with tls.mode SIMPLE, if http routes send to it",
				"HTTPS: http routes send to port %d of %s without TLS unless a DestinationRule adds it", port.number, host)
		}
	}
}
