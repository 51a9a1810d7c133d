package istio

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"fairway.dev/routing"
	"fairway.dev/routing/analysis"
)

// meshGateway is the Gateway that stands for all sidecars, and for waypoints.
const meshGateway = "mesh"

// A refusal is why nothing of a VirtualService is in force; zero: something is.
type refusal struct{ reason, message string }

// or prefers what is said first, but that there is only the mesh comes last.
func (r refusal) or(next refusal) refusal {
	if r.reason == "" || r.reason == reasonMeshOnly {
		return next
	}
	return r
}

// findDoors finds where the VirtualService applies, or says why it does nowhere.
func (b *virtualServiceBuilder) findDoors() refusal {
	hosts := b.hosts()
	if len(hosts) == 0 {
		return refusal{string(analysis.InvalidHost), "none of its hosts can be served"}
	}
	var refused refusal
	gateways := b.o.Spec.Gateways
	if len(gateways) == 0 {
		gateways = []string{meshGateway}
	}
	for i, name := range gateways {
		refused = refused.or(b.findDoorsOf(b.origin("spec.gateways["+itoa(i)+"]"), name, hosts))
	}
	if len(b.doors) > 0 {
		return refusal{}
	}
	return refused
}

// findDoorsOf finds those of one Gateway.
func (b *virtualServiceBuilder) findDoorsOf(at routing.Origin, name string, hosts []string) refusal {
	if name == meshGateway {
		return b.meshDoors(at)
	}
	found, problem := b.r.doors(gatewayRef(name, b.key.Namespace), b.key.Namespace, hosts)
	if problem != nil {
		p := *problem
		if p.Origin == (routing.Origin{}) {
			p.Origin = at
		}
		b.remarks.add(p.Level, p.Origin, p.Reason, p.Fix, "%w", p.Err)
	}
	shown := slices.DeleteFunc(slices.Clone(found), func(d door) bool { return !b.shows(clientOf(d)) })
	b.doors = append(b.doors, shown...)
	switch {
	case len(shown) > 0:
		return refusal{}
	case len(found) > 0:
		b.remarks.wrong(b.origin("spec.exportTo"), reasonNotExported, `add the namespace, or "*"`,
			"Gateway %s is served by pods of namespace %s, to which it is not exported", name, clientOf(found[0]))
		return refusal{reasonNotExported, "it is not exported to the namespace of its Gateway's pods"}
	case problem != nil:
		return refusal{string(problem.Reason), problem.Err.Error()}
	}
	return refusal{reasonNoMatchingServer, "no server of its Gateways has one of its hosts"}
}

// hosts are those of the VirtualService, in full and in lower case.
func (b *virtualServiceBuilder) hosts() []string {
	var list []string
	for i, h := range b.o.Spec.Hosts {
		full := fullHost(h, b.key.Namespace, b.r.j.opts.ClusterDomain)
		if err := hostFlaw(full); err != "" {
			b.remarks.wrong(b.origin("spec.hosts["+itoa(i)+"]"), analysis.InvalidHost,
				`write a DNS name, or "*." and one, without a port`, "%q: %s", h, err)
			continue
		}
		if !slices.Contains(list, full) {
			list = append(list, full)
		}
	}
	return list
}

// fullHost makes a name of Kubernetes out of one without a dot
// (VirtualService.hosts), in lower case.
func fullHost(host, namespace, domain string) string {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if host == "" || strings.ContainsAny(host, ".*:[") {
		return host
	}
	return host + "." + namespace + ".svc." + domain
}

// hostFlaw says why no request can be for a host; empty: some can.
func hostFlaw(host string) string {
	if host == "*" {
		return ""
	}
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return ""
	}
	rest := strings.TrimPrefix(host, "*.")
	switch {
	case rest == "":
		return "want a name"
	case strings.Contains(rest, "*"):
		return `want "*" alone, or as the first label`
	case strings.Contains(rest, ":"):
		return "want no port: that of a request's host does not count"
	case len(rest) > 253:
		return "longer than 253 bytes"
	}
	for label := range strings.SplitSeq(rest, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return "the label " + strconv.Quote(label) + " is not one of a DNS name"
		}
	}
	return ""
}

// hostCovers reports whether all names of narrow are of wide too.
func hostCovers(wide, narrow string) bool {
	if wide == "*" || wide == narrow {
		return true
	}
	suffix, ok := strings.CutPrefix(wide, "*")
	return ok && strings.HasSuffix(narrow, suffix) && len(narrow) > len(suffix)
}

// hostsIn are the names that both lists have, as the narrower one has them.
func hostsIn(list, others []string) []string {
	var both []string
	for _, h := range list {
		for _, o := range others {
			switch {
			case hostCovers(o, h):
				both = append(both, h)
			case hostCovers(h, o):
				both = append(both, o)
			}
		}
	}
	slices.Sort(both)
	return slices.Compact(both)
}

// gatewayRef is "namespace/name" of a Gateway as an object of a namespace names
// it: "name", "namespace/name", "./name", or of old "name.namespace.svc...".
func gatewayRef(name, namespace string) string {
	if ns, rest, ok := strings.Cut(name, "/"); ok {
		if ns == "." {
			ns = namespace
		}
		return ns + "/" + rest
	}
	if first, rest, ok := strings.Cut(name, "."); ok {
		ns, _, _ := strings.Cut(rest, ".")
		return ns + "/" + first
	}
	return namespace + "/" + name
}

// clientOf is the namespace whose rules count for what is sent from a door: of
// the workloads that it is for, or of the pods that serve it.
func clientOf(d door) string {
	if d.inside != nil && d.inside.From != "" {
		return d.inside.From
	}
	ns, _, _ := strings.Cut(d.fleet, "/")
	return ns
}

// shows reports whether the VirtualService is exported to a namespace.
func (b *virtualServiceBuilder) shows(namespace string) bool {
	return b.exported(b.o, namespace)
}

// exported reports whether a VirtualService is exported to a namespace. One that
// does not say is to those of MeshConfig.
func (b *virtualServiceBuilder) exported(o *networkingv1.VirtualService, namespace string) bool {
	list := o.Spec.ExportTo
	if len(list) == 0 {
		list = b.r.mesh().exportVirtualServices
	}
	return exportedTo(list, o.Namespace, namespace)
}

// exportedTo reports whether exportTo of an object of a namespace shows it to
// another: none at all shows it to all of them.
func exportedTo(list []string, own, namespace string) bool {
	return len(list) == 0 || slices.ContainsFunc(list, func(to string) bool {
		return to == "*" || to == "." && own == namespace || to == namespace
	})
}
