package gatewayapi

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// classes say which protocols can share a port: those of one class, which
// hostnames tell apart at the same moment, in a request or in a ClientHello.
var classes = map[gatewayv1.ProtocolType]string{
	gatewayv1.HTTPProtocolType:  "HTTP",
	gatewayv1.HTTPSProtocolType: "TLS",
	gatewayv1.TLSProtocolType:   "TLS",
	gatewayv1.TCPProtocolType:   "TCP",
	gatewayv1.UDPProtocolType:   "UDP",
	hboneProtocol:               "HBONE",
}

// A rank orders the objects whose listeners a Gateway merges
// (ListenerSetSpec.listeners): the Gateway itself, then the older ListenerSet,
// then by "{namespace}/{name}".
type rank struct {
	set      bool
	created  int64
	ns, name string
}

func (a rank) compare(b rank) int {
	if a.set != b.set {
		return cmp.Compare(truth(a.set), truth(b.set))
	}
	return cmp.Or(cmp.Compare(a.created, b.created), cmp.Compare(a.ns+"/"+a.name, b.ns+"/"+b.name))
}

func truth(b bool) int {
	if b {
		return 1
	}
	return 0
}

// A stake is an object's interest in a port of a Gateway: the class of its
// listeners there; none if they are of several, which no port can be, or if
// none of them can be told from the others.
type stake struct {
	by    rank
	class string
}

func (s stake) Before(other ordered) bool { return s.by.compare(other.(stake).by) < 0 }

// A bid is a listener that wants a hostname on a port of a Gateway.
type bid struct {
	by       rank
	section  gatewayv1.SectionName
	protocol gatewayv1.ProtocolType
	void     bool // the stake of its object has no class
}

// stakes are the gifts by which the listeners of an object take part in who
// gets what at their Gateway. What a listener refers to plays no part: a lost
// Secret does not give its hostname away.
func (o *roster) stakes() []gift {
	var out []gift
	byPort := map[string]bool{}
	for _, l := range o.listeners {
		if !l.accepted.ok() {
			continue
		}
		b := o.bid(l)
		out = append(out, gift{To: o.gateway.cell(bidsFor, l.socket+"/"+pattern(l.hostname)), Item: b})
		if l.speaksTLS() {
			for w := range wider(pattern(l.hostname)) {
				out = append(out, gift{To: o.gateway.cell(bidsUnder, l.socket+"/"+w), Item: b})
			}
		}
		if byPort[l.socket] {
			continue
		}
		byPort[l.socket] = true
		s := stake{by: o.rank}
		if !l.void {
			s.class = classes[l.protocol]
		}
		out = append(out, gift{To: o.gateway.cell(stakesIn, l.socket), Item: s})
	}
	return out
}

func (o *roster) bid(l *listener) bid { return bid{o.rank, l.name, l.protocol, l.void} }

// findVoid marks the listeners of an object whose stake in their port has no
// class.
func findVoid(list []*listener) {
	clear := map[string]bool{} // ports on which a listener can be told from all others
	mixed := map[string]bool{} // ports with listeners of several classes
	for _, l := range list {
		if l.accepted.ok() {
			mixed[l.socket] = mixed[l.socket] || sibling(list, l, l.isStranger) != nil
			clear[l.socket] = clear[l.socket] || sibling(list, l, l.isTwin) == nil
		}
	}
	for _, l := range list {
		l.void = mixed[l.socket] || !clear[l.socket]
	}
}

// sibling finds another listener of an object on the port of l; nil if there
// is none.
func sibling(list []*listener, l *listener, found func(*listener) bool) *listener {
	for _, m := range list {
		if m != l && m.accepted.ok() && m.socket == l.socket && found(m) {
			return m
		}
	}
	return nil
}

// isStranger and isTwin are the two ways in which a listener on the same port
// cannot be told from l.
func (l *listener) isStranger(m *listener) bool { return classes[m.protocol] != classes[l.protocol] }
func (l *listener) isTwin(m *listener) bool     { return !l.isStranger(m) && m.hostname == l.hostname }

// owner finds the first object in rank that says one thing only about a port
// of a Gateway. Its value is that object's stake; zero if there is none.
func (t *Translator) owner(r *reading) outcome {
	var first stake
	for _, s := range r.Order(cellID{Kind: stakesIn, NS: r.ID.NS, Name: r.ID.Name, Part: r.ID.Part}) {
		if s.(stake).class != "" {
			first = s.(stake)
			break
		}
	}
	return outcome{Value: first}
}

// socket decides what a port of a Gateway speaks: what its owner says. It is
// a cell of its own as nothing changes for others where the owner changes and
// says the same.
func (t *Translator) socket(r *reading) outcome {
	return outcome{Value: r.Value(cellID{Kind: ownerCell, NS: r.ID.NS, Name: r.ID.Name, Part: r.ID.Part}).(stake).class}
}

// hostname decides who has a hostname on a port of a Gateway: the first object
// in rank that wants it once. Its value is that bid; zero if there is none.
func (t *Translator) hostname(r *reading) outcome {
	part := strings.SplitN(r.ID.Part, "/", 3) // 443, tcp, the hostname
	gw, socket := parentName{r.ID.NS, r.ID.Name}, part[0]+"/"+part[1]
	class := r.Value(gw.cell(socketCell, socket)).(string)
	var bids []bid
	for item := range r.Bag(gw.cell(bidsFor, r.ID.Part)) {
		if b := item.(bid); classes[b.protocol] == class && !r.unsettled(gw, socket, b) {
			bids = append(bids, b)
		}
	}
	slices.SortFunc(bids, func(a, b bid) int { return a.by.compare(b.by) })
	for i, b := range bids {
		before, after := i > 0 && bids[i-1].by == b.by, i+1 < len(bids) && bids[i+1].by == b.by
		if !before && !after {
			return outcome{Value: b}
		}
	}
	return outcome{Value: bid{}}
}

// unsettled reports whether the stake of a bid's object has no class, on a port
// that nobody before it has settled: then none of its listeners counts.
func (r *reading) unsettled(gw parentName, socket string, b bid) bool {
	return b.void && b.by.compare(r.Value(gw.cell(ownerCell, socket)).(stake).by) < 0
}

// A place is what the listeners beside it leave to a listener.
type place struct {
	conflict verdict // Conflicted
	overlap  verdict // OverlappingTLSConfig; zero where there is none
}

// standing finds the places of the listeners of an object. Its value is
// a []place, one for each listener.
func (t *Translator) standing(r *reading) outcome {
	o := r.roster(holderOf(r.ID))
	if o == nil {
		return outcome{Gone: true}
	}
	if !o.admitted {
		return outcome{}
	}
	places := make([]place, len(o.listeners))
	var out outcome
	for i, l := range o.listeners {
		places[i].conflict = verdict{status: metav1.ConditionFalse, reason: string(gatewayv1.ListenerReasonNoConflicts)}
		if !l.accepted.ok() {
			continue
		}
		if v := o.conflict(r, l); v.reason != "" {
			places[i].conflict = v
		} else if !t.opts.Isolated {
			out.Gifts = append(out.Gifts, t.claims(r, o, l)...)
		}
		if l.speaksTLS() {
			places[i].overlap = o.overlap(r, l)
		}
	}
	out.Value = places
	return out
}

// conflict says why a listener cannot be told from others of its Gateway, or
// nothing. Of those of one object none is served (GatewaySpec.listeners: an
// implementation "MUST NOT pick one conflicting Listener as the winner");
// between objects rank decides. Who is not served keeps nobody else away.
func (o *roster) conflict(r *reading, l *listener) verdict {
	socket, host, b := l.socket, pattern(l.hostname), o.bid(l)
	class := r.Value(o.gateway.cell(socketCell, socket)).(string)
	if class == "" || r.unsettled(o.gateway, socket, b) {
		if m := sibling(o.listeners, l, l.isStranger); m != nil {
			return conflicted(gatewayv1.ListenerReasonProtocolConflict, "listener %s has protocol %s on the same port", m.name, m.protocol)
		}
		return o.twins(l)
	}
	if class != classes[l.protocol] {
		return conflicted(gatewayv1.ListenerReasonProtocolConflict, "%s has another protocol on port %d",
			o.mention(r.Value(o.gateway.cell(ownerCell, socket)).(stake).by), l.port)
	}
	best := r.Value(o.gateway.cell(hostnameCell, socket+"/"+host)).(bid)
	if best == b {
		return verdict{}
	}
	if best == (bid{}) || best.by.compare(o.rank) > 0 {
		return o.twins(l)
	}
	return indistinct(l, o.mention(best.by), best.protocol)
}

// twins is the conflict of a listener with those of its object that have its
// port and hostname: one of another protocol, if there is one.
func (o *roster) twins(l *listener) verdict {
	m := sibling(o.listeners, l, func(m *listener) bool { return l.isTwin(m) && m.protocol != l.protocol })
	if m == nil {
		m = sibling(o.listeners, l, l.isTwin)
	}
	return indistinct(l, "listener "+string(m.name), m.protocol)
}

// indistinct is the conflict of a listener with another that has its port and
// hostname. Protocols without hostnames have no conflict of hostnames.
func indistinct(l *listener, who string, protocol gatewayv1.ProtocolType) verdict {
	switch {
	case protocol != l.protocol:
		return conflicted(gatewayv1.ListenerReasonProtocolConflict, "%s has the same port and hostname, with protocol %s", who, protocol)
	case l.isNameless():
		return conflicted(gatewayv1.ListenerReasonProtocolConflict, "%s has the same port, which has no hostnames", who)
	}
	return conflicted(gatewayv1.ListenerReasonHostnameConflict, "%s has the same port and hostname", who)
}

// mention names an object to the author of another, who need not know what
// there is in namespaces of others (ListenerSetSpec.listeners).
func (o *roster) mention(by rank) string {
	switch {
	case !by.set:
		return "Gateway " + by.ns + "/" + by.name
	case by.ns == o.rank.ns:
		return "ListenerSet " + by.ns + "/" + by.name
	}
	return "a ListenerSet that comes first"
}

// overlap says whether the hostname of a listener covers that of another on
// the same port, or the other way round.
func (o *roster) overlap(r *reading, l *listener) verdict {
	socket, host := l.socket, pattern(l.hostname)
	found := len(r.Bag(o.gateway.cell(bidsUnder, socket+"/"+host))) > 0
	for w := range wider(host) {
		for item := range r.Bag(o.gateway.cell(bidsFor, socket+"/"+w)) {
			found = found || classes[item.(bid).protocol] == classes[l.protocol]
		}
	}
	if !found {
		return verdict{}
	}
	who := "another listener on the port"
	if m := sibling(o.listeners, l, func(m *listener) bool {
		return m.speaksTLS() && m.hostname != l.hostname && overlap(pattern(m.hostname), host)
	}); m != nil {
		who = "listener " + string(m.name)
	}
	return verdict{metav1.ConditionTrue, string(gatewayv1.ListenerReasonOverlappingHostnames), "the hostname overlaps with that of " + who}
}

func conflicted(reason gatewayv1.ListenerConditionReason, format string, args ...any) verdict {
	return verdict{metav1.ConditionTrue, string(reason), fmt.Sprintf(format, args...)}
}
