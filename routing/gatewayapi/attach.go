package gatewayapi

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing"
)

// Doors are what a holder lets routes know: an edit of the rest of it costs no
// route anything.
type doors struct {
	gateway parentName
	absent  string // the Gateway that a ListenerSet names, if it is not there
	ours    bool
	list    []door
	closed  string // why nobody is let in; empty where somebody may be
}

// A door is a listener as a route sees it.
type door struct {
	name     gatewayv1.SectionName
	port     uint16
	host     string // a pattern
	passes   bool   // TLS through
	kinds    []gatewayv1.RouteGroupKind
	from     gatewayv1.FromNamespaces
	selector labels.Selector
}

// doors sums up a holder for its routes. Where there is none its value is nil.
// Listeners that are not accepted are doors too: status
// does not keep a route from being attached.
func (t *Translator) doors(r *reading) outcome {
	h := holderOf(r.ID)
	o := r.roster(h)
	if o == nil {
		return outcome{}
	}
	f := r.frame(o.gateway)
	if f == nil {
		return outcome{Value: &doors{absent: "Gateway " + o.gateway.String()}}
	}
	d := &doors{gateway: o.gateway, ours: f.ours}
	if f.ours && !o.admitted {
		d.closed = fmt.Sprintf("Gateway %s does not allow %s", o.gateway, h)
	}
	for _, l := range o.listeners {
		d.list = append(d.list, door{l.name, l.port, pattern(l.hostname), l.passesThrough(), l.kinds, l.from, l.selector})
	}
	return outcome{Value: d}
}

// An attachment is where a route wants to be, and may be but for rivals.
type attachment struct {
	created time.Time
	parents []parent
	// claims says that the route keeps rivals away where it is attached: it
	// has something to do there.
	claims bool
}

// A parent is what a parentRef to a Gateway, a ListenerSet or a Service comes to.
// Those to Gateways of others, and to other kinds, leave no trace.
type parent struct {
	ref      int        // the index in spec.parentRefs
	at       holder     // that it names
	gateway  parentName // that at belongs to; of a Service the waypoint
	absent   string     // what is not there; empty where all is
	accepted verdict
	entries  []entry
}

// An entry is a listener that lets the route in, and the hosts it has there.
type entry struct {
	listener routing.ListenerName
	section  gatewayv1.SectionName
	hosts    []string
	passes   bool       // TLS through
	gateway  parentName // the waypoint of a door
}

// attach finds the listeners that let a route in.
func (t *Translator) attach(r *reading) outcome {
	o := r.routeObject()
	if o == nil {
		return outcome{Gone: true}
	}
	a := &attachment{created: o.meta.CreationTimestamp.Time}
	for i := range o.refs {
		ref := &o.refs[i]
		h := holder{string(or(ref.Kind, "Gateway")), string(or(ref.Namespace, gatewayv1.Namespace(r.ID.NS))), string(ref.Name)}
		if isService(ref) && meshRouteProtocols[r.ID.Part] != "" {
			if p, ours := r.serviceParent(o, i); ours {
				a.parents = append(a.parents, p)
				a.claims = a.claims || len(p.entries) > 0
			}
			continue
		}
		if or(ref.Group, gatewayv1.GroupName) != gatewayv1.GroupName || h.kind != "Gateway" && h.kind != "ListenerSet" {
			continue
		}
		d, _ := r.Value(h.cell(doorsCell)).(*doors)
		switch {
		case d == nil:
			a.parents = append(a.parents, parent{ref: i, at: h, absent: h.String()})
		case d.absent != "":
			a.parents = append(a.parents, parent{ref: i, at: h, absent: d.absent})
		case d.ours:
			p := parent{ref: i, at: h, gateway: d.gateway}
			p.accepted, p.entries = r.enter(o, ref, h, d)
			a.parents = append(a.parents, p)
			a.claims = a.claims || len(p.entries) > 0
		}
	}
	a.claims = a.claims && hasRivals(r.ID.Part)
	if a.claims {
		rules := r.Value(rulesID(r.ID, false)).(*ruleSet)
		a.claims = len(rules.rules) > 0 || rules.accepted().ok()
	}
	return outcome{Value: a}
}

// enter tries the doors of a holder, and says at which test the last failed.
func (r *reading) enter(o *routeObject, ref *gatewayv1.ParentReference, h holder, d *doors) (verdict, []entry) {
	if d.closed != "" {
		return no(string(gatewayv1.RouteReasonNoMatchingParent), "%s", d.closed), nil
	}
	named, allowed := false, false
	var entries []entry
	for i := range d.list {
		door := &d.list[i]
		if section := or(ref.SectionName, ""); section != "" && section != door.name || ref.Port != nil && *ref.Port != int32(door.port) {
			continue
		}
		named = true
		if !r.allows(door, h) {
			continue
		}
		allowed = true
		if hosts := hostsAt(door.host, o.hosts); len(hosts) > 0 {
			entries = append(entries, entry{listener: h.listener(door.name), section: door.name, hosts: hosts, passes: door.passes})
		}
	}
	switch {
	case !named:
		return no(string(gatewayv1.RouteReasonNoMatchingParent), "%s has no listener %s", h, printSection(ref)), nil
	case !allowed:
		return no(string(gatewayv1.RouteReasonNotAllowedByListeners),
			"no listener of %s allows %ss of namespace %s", h, r.ID.Part, r.ID.NS), nil
	case entries == nil:
		return no(string(gatewayv1.RouteReasonNoMatchingListenerHostname),
			"no listener of %s has a hostname in common with %s", h, printHosts(o.hosts)), nil
	}
	return yes(string(gatewayv1.RouteReasonAccepted)), entries
}

func printSection(ref *gatewayv1.ParentReference) string {
	s := string(or(ref.SectionName, ""))
	if ref.Port != nil {
		s = strings.TrimSpace(fmt.Sprintf("%s on port %d", s, *ref.Port))
	}
	return s
}

func printHosts(hosts []gatewayv1.Hostname) string {
	list := make([]string, len(hosts))
	for i, h := range hosts {
		list[i] = string(h)
	}
	return strings.Join(list, ", ")
}

// allows reports whether a listener's allowedRoutes let the cell's route in.
func (r *reading) allows(d *door, h holder) bool {
	if !slices.ContainsFunc(d.kinds, func(k gatewayv1.RouteGroupKind) bool { return string(k.Kind) == r.ID.Part }) {
		return false
	}
	switch d.from {
	case gatewayv1.NamespacesFromAll:
		return true
	case gatewayv1.NamespacesFromSame:
		return r.ID.NS == h.ns
	case gatewayv1.NamespacesFromSelector:
		return d.selector.Matches(namespaceLabels(object[corev1.Namespace](r, "Namespace", "", r.ID.NS), r.ID.NS))
	}
	return false
}

// namespaceLabels returns the labels of a namespace with the one that the API
// server gives to each, which a manifest does not have.
func namespaceLabels(ns *corev1.Namespace, name string) labels.Set {
	set := labels.Set{corev1.LabelMetadataName: name}
	if ns != nil {
		for k, v := range ns.Labels {
			set[k] = v
		}
	}
	return set
}

// hostsAt returns the hostnames of a route that a listener's overlap with.
// They stay as the author wrote them, also where the listener's is narrower:
// requests that come in by the listener have its hostname anyway, and what the
// author wrote decides which of two routes is the more specific.
func hostsAt(listener string, hosts []gatewayv1.Hostname) []string {
	if len(hosts) == 0 {
		return []string{anyHost}
	}
	var out []string
	for _, h := range hosts {
		if host := pattern(string(h)); overlap(host, listener) && !slices.Contains(out, host) {
			out = append(out, host)
		}
	}
	return out
}
