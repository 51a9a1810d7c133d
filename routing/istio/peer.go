package istio

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	security "istio.io/api/security/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"fairway.dev/routing"
	"fairway.dev/routing/analysis"
	"fairway.dev/routing/dialect"
	"fairway.dev/routing/gatewayapi"
)

// Cells of PeerAuthentication.
const (
	peersIn        = dialect.Bags + peerKinds     // of a namespace
	peerReportCell = dialect.Verdicts + peerKinds // PeerAuthentication
)

func (j *joint) joinPeers(s *dialect.Sheet) {
	j.define(s, peerCell, j.peer)
	j.define(s, peerReportCell, j.reportPeer)
	j.define(s, servicePodsCell, servicePods)
	s.Plant(KindPeer, func(k routing.ObjectKey) []dialect.ID {
		return []dialect.ID{cellOf(peerCell, k), cellOf(peerReportCell, k)}
	})
}

// What is read of objects by themselves.
const (
	peerCell        = dialect.Parsed + peerKinds + iota // what one says
	servicePodsCell                                     // of a Service: whether a selector picks some of its pods
)

// A mode says whether clients have to prove who they are; the zero mode leaves it
// to who is wider.
type mode uint8

const (
	unset mode = iota
	permissive
	strict
)

func modeOf(m *security.PeerAuthentication_MutualTLS) mode {
	switch m.GetMode() {
	case security.PeerAuthentication_MutualTLS_UNSET:
		return unset
	case security.PeerAuthentication_MutualTLS_PERMISSIVE, security.PeerAuthentication_MutualTLS_DISABLE:
		return permissive
	}
	return strict // what is not known keeps out rather too many
}

// A peer is what a PeerAuthentication says.
type peer struct {
	reach
	mode  mode
	ports map[uint16]mode // of the pods; only with a selector
	found complaints
}

// peer parses a PeerAuthentication.
func (j *joint) peer(r *reading) dialect.Outcome {
	o := object[securityv1.PeerAuthentication](r, KindPeer, r.ID.NS, r.ID.Name)
	if o == nil {
		return dialect.Outcome{Gone: true}
	}
	p := &peer{mode: modeOf(o.Spec.Mtls)}
	p.ns, p.name, p.created = o.Namespace, o.Name, o.CreationTimestamp.Time
	if labels := o.Spec.GetSelector().GetMatchLabels(); len(labels) > 0 {
		p.selector = labels
		p.ports = map[uint16]mode{}
		for number, m := range o.Spec.PortLevelMtls {
			if number > 0 && number <= 65535 {
				p.ports[uint16(number)] = modeOf(m)
			}
		}
	}
	p.found.take(analysis.Validate(o))
	return dialect.Outcome{Value: p, Gifts: []dialect.Gift{{To: dialect.ID{Kind: peersIn, NS: r.ID.NS}, Item: r.ID.Name}}}
}

// peersOf returns the PeerAuthentications of a namespace, the oldest first.
func (r *reading) peersOf(ns string) []*peer {
	var list []*peer
	for item := range r.Bag(dialect.ID{Kind: peersIn, NS: ns}) {
		if p, _ := r.Value(dialect.ID{Kind: peerCell, NS: ns, Name: item.(string)}).(*peer); p != nil {
			list = append(list, p)
		}
	}
	slices.SortFunc(list, func(a, b *peer) int { return cmp.Or(a.created.Compare(b.created), strings.Compare(a.name, b.name)) })
	return list
}

// general is the mode of a namespace: that of its oldest PeerAuthentication without
// a selector, or else of the root namespace's.
func (r *reading) general(ns string) mode {
	for _, ns := range []string{ns, r.j.opts.RootNamespace} {
		list := r.peersOf(ns)
		i := slices.IndexFunc(list, func(p *peer) bool { return p.selector == nil })
		if i >= 0 && list[i].mode != unset {
			return list[i].mode
		}
	}
	return permissive
}

// applyToWorkload says who may connect to a pod: the oldest PeerAuthentication
// that selects it decides, and where that leaves it open the namespace's.
func (j *joint) applyToWorkload(r *reading, ns string, labels map[string]string, w *routing.Workload) {
	m, ports := r.general(ns), map[uint16]mode(nil)
	list := r.peersOf(ns)
	if i := slices.IndexFunc(list, func(p *peer) bool { return p.selector != nil && selects(labels, p.selector) }); i >= 0 {
		m, ports = cmp.Or(list[i].mode, m), list[i].ports
	}
	w.Strict = m == strict
	for _, port := range slices.Sorted(maps.Keys(ports)) {
		switch own := cmp.Or(ports[port], m); {
		case own == strict && !w.Strict:
			w.StrictPorts = append(w.StrictPorts, port)
		case own == permissive && w.Strict:
			w.Open = append(w.Open, port)
		}
	}
}

// strictDoor reports whether clients of a door have to have proved who they are:
// what is asked of clients of the pods behind it. Where it is more of some than
// of others, the most.
func (r *reading) strictDoor(d gatewayapi.Door) bool {
	m := r.general(d.Namespace)
	if d.Selector == nil {
		return m == strict
	}
	doubt, decided := false, false
	for _, p := range r.peersOf(d.Namespace) {
		switch {
		case p.selector == nil || decided:
		case selects(d.Selector, p.selector):
			m, decided = cmp.Or(r.portMode(p, d), p.mode, m), true
		case r.picksSome(d, p.selector):
			doubt = doubt || cmp.Or(r.portMode(p, d), p.mode) == strict
		}
	}
	return m == strict || doubt
}

// portMode is what portLevelMtls says of the port of the pods behind a door. Where
// it is not known which one that is, as several pods may name it otherwise, the
// strictest counts.
func (r *reading) portMode(p *peer, d gatewayapi.Door) mode {
	port, known := r.targetPort(d)
	if known {
		return p.ports[port]
	}
	for _, m := range p.ports {
		if m == strict {
			return strict
		}
	}
	return unset
}

// targetPort is the port of the pods behind a door.
func (r *reading) targetPort(d gatewayapi.Door) (port uint16, known bool) {
	if d.Kind != "Service" {
		return d.Port, d.Kind == KindPod && d.Port != 0
	}
	o := object[corev1.Service](r, "Service", d.Namespace, d.Name)
	if o == nil {
		return 0, false
	}
	i := slices.IndexFunc(o.Spec.Ports, func(p corev1.ServicePort) bool {
		return p.Port == int32(d.Port) && p.Protocol != corev1.ProtocolUDP && p.Protocol != corev1.ProtocolSCTP
	})
	switch {
	case i < 0 || o.Spec.Ports[i].TargetPort.Type == intstr.String:
		return 0, false
	case o.Spec.Ports[i].TargetPort.IntVal == 0:
		return d.Port, true
	}
	return uint16(o.Spec.Ports[i].TargetPort.IntVal), true
}

// picksSome reports whether a selector picks a pod behind a door.
func (r *reading) picksSome(d gatewayapi.Door, selector map[string]string) bool {
	return d.Kind == "Service" && r.picksOf(d.Namespace, d.Name, selector)
}

// picksOf reports whether a selector picks a pod of a Service.
func (r *reading) picksOf(ns, service string, selector map[string]string) bool {
	return r.Value(dialect.ID{Kind: servicePodsCell, NS: ns, Name: service, Part: labelText(selector)}).(bool)
}

// labelText writes labels as selectors of the API are written: "app=cart,v=1".
func labelText(labels map[string]string) string {
	var list []string
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		list = append(list, k+"="+labels[k])
	}
	return strings.Join(list, ",")
}

// servicePods tells whether labels are those of a pod of a Service. It is a cell
// of its own so that what reads it runs again only when that changes.
func servicePods(r *reading) dialect.Outcome {
	selector := map[string]string{}
	for text := range strings.SplitSeq(r.ID.Part, ",") {
		k, v, _ := strings.Cut(text, "=")
		selector[k] = v
	}
	picked := false
	for pod := range gatewayapi.PodsOf(r.Reading, r.ID.NS, r.ID.Name) {
		labels := r.podLabels(r.ID.NS, pod) // of each, so that what is read does not depend on the order
		picked = picked || selects(labels, selector)
	}
	return dialect.Outcome{Value: picked}
}

// reportPeer reports a PeerAuthentication.
func (j *joint) reportPeer(r *reading) dialect.Outcome {
	o := object[securityv1.PeerAuthentication](r, KindPeer, r.ID.NS, r.ID.Name)
	p, _ := r.Value(dialect.ID{Kind: peerCell, NS: r.ID.NS, Name: r.ID.Name}).(*peer)
	if o == nil || p == nil {
		return dialect.Outcome{Gone: true}
	}
	found := slices.Clone(p.found)
	if p.selector == nil {
		list := r.peersOf(r.ID.NS)
		i := slices.IndexFunc(list, func(q *peer) bool { return q.selector == nil })
		if first := list[i]; first != p {
			found.warn("metadata.name", reasonOverridden, "make one of them", "PeerAuthentication %s/%s is older, and decides for the namespace", first.ns, first.name)
		}
	}
	return dialect.Outcome{Report: reportPolicy(KindPeer, o, found)}
}
