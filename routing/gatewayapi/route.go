package gatewayapi

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing"
)

// A routeObject is what all kinds of routes have in common.
type routeObject struct {
	meta  *metav1.ObjectMeta
	refs  []gatewayv1.ParentReference
	hosts []gatewayv1.Hostname
}

// routeObject reads the route that a cell is for, or returns nil.
func (r *reading) routeObject() *routeObject {
	return routeOf(r.Get(routing.ObjectKey{Kind: r.ID.Part, Namespace: r.ID.NS, Name: r.ID.Name}))
}

// routeOf returns what a route of any kind has in common with others, or nil.
func routeOf(o any) *routeObject {
	switch o := o.(type) {
	case *gatewayv1.HTTPRoute:
		return &routeObject{&o.ObjectMeta, o.Spec.ParentRefs, o.Spec.Hostnames}
	case *gatewayv1.GRPCRoute:
		return &routeObject{&o.ObjectMeta, o.Spec.ParentRefs, o.Spec.Hostnames}
	case *gatewayv1.TLSRoute:
		return &routeObject{&o.ObjectMeta, o.Spec.ParentRefs, o.Spec.Hostnames}
	case *gatewayv1.TCPRoute:
		return &routeObject{&o.ObjectMeta, o.Spec.ParentRefs, nil}
	case *gatewayv1.UDPRoute:
		return &routeObject{&o.ObjectMeta, o.Spec.ParentRefs, nil}
	}
	return nil
}

// repeats reports whether two parentRefs say the same: the status has one entry
// for them, as nothing would tell two apart.
func (o *routeObject) repeats(p, q parent) bool {
	a, b := &o.refs[p.ref], &o.refs[q.ref]
	return p.at == q.at && or(a.SectionName, "") == or(b.SectionName, "") && or(a.Port, 0) == or(b.Port, 0)
}

// route puts a route together from its rules and where it is attached, and
// reports it.
func (t *Translator) route(r *reading) outcome {
	o := r.routeObject()
	if o == nil {
		return outcome{Gone: true}
	}
	a := r.Value(cellID{Kind: attachCell, NS: r.ID.NS, Name: r.ID.Name, Part: r.ID.Part}).(*attachment)
	if len(a.parents) == 0 {
		return outcome{}
	}
	b := &routeBuilder{t: t, r: r, o: o, report: newReport(r.ID.Part, o.meta)}
	for i := range a.parents {
		if !slices.ContainsFunc(a.parents[:i], func(p parent) bool { return o.repeats(p, a.parents[i]) }) {
			b.parent(&a.parents[i])
		}
	}
	// What is wrong with the rules where TLS is passed through is wrong with
	// them elsewhere too.
	if rules := cmp.Or(b.rules[0], b.rules[1]); rules != nil {
		b.report.Problems = append(b.report.Problems, rules.problems...)
	}
	return b.outcome(a)
}

// A routeBuilder gathers what a route comes to, parent by parent.
type routeBuilder struct {
	t      *Translator
	r      *reading
	o      *routeObject
	report *Report

	toldHosts bool // see ignoresHosts

	rules    [2]*ruleSet // nil until they are read; the second where TLS is passed through
	attached map[variant][]routing.Attachment
	gifts    []gift
}

// rulesAt returns the rules of the route at listeners that pass TLS through,
// or at others.
func (b *routeBuilder) rulesAt(passthrough bool) *ruleSet {
	i := 0
	if passthrough {
		i = 1
	}
	if b.rules[i] == nil {
		b.rules[i] = b.r.Value(rulesID(b.r.ID, passthrough)).(*ruleSet)
	}
	return b.rules[i]
}

func (b *routeBuilder) parent(p *parent) {
	field := "spec.parentRefs[" + itoa(p.ref) + "]"
	if p.absent != "" {
		b.report.Problem(field, reasonParentNotFound, p.absent+": not found")
		return
	}
	b.ignoresHosts(p)
	accepted := p.accepted
	var entries []entry
	if accepted.ok() {
		accepted, entries = b.withoutRivals(field, p)
	} else {
		reportNotes(b.report, []note{accepted.at(field)})
	}
	// Of a route that is at listeners of both kinds, what is wrong at one that
	// passes TLS through is wrong at the others too.
	rules := b.rulesAt(b.r.ID.Part == "TLSRoute" && !slices.ContainsFunc(entries, func(e entry) bool { return !e.passes }))
	if accepted.ok() {
		accepted = rules.accepted()
		for _, e := range entries {
			b.attach(p, &e, accepted.ok())
		}
		if rules.use != tlsUse && rules.use != udpUse { // where no policy has a say
			for _, service := range rules.services {
				b.give(gift{To: cellID{Kind: usersOf, NS: service.ns, Name: service.name}, Item: p.gateway})
			}
		}
	}
	list := []metav1.Condition{accepted.as("Accepted"), rules.resolved.as("ResolvedRefs")}
	if partly := rules.partly(); accepted.ok() && partly.ok() {
		list = append(list, partly.as(string(gatewayv1.RouteConditionPartiallyInvalid)))
	}
	b.report.Parents = append(b.report.Parents, gatewayv1.RouteParentStatus{
		ParentRef:      b.o.refs[p.ref],
		ControllerName: b.t.opts.controllerName(),
		Conditions:     conditions(b.o.meta.Generation, list...),
	})
}

// withoutRivals returns the entries that no older route of the other kind has,
// and the verdict of a parent that is left with none.
func (b *routeBuilder) withoutRivals(field string, p *parent) (verdict, []entry) {
	accepted := p.accepted
	var entries []entry
	for _, e := range p.entries {
		winner := b.t.rivals.lostTo(cellID{Kind: attachCell, NS: b.r.ID.NS, Name: b.r.ID.Name, Part: b.r.ID.Part}, e.listener)
		if winner == nil {
			entries = append(entries, e)
			continue
		}
		accepted = no(reasonHostnameConflict, "listener %s: the older %s %s/%s has the hostname",
			e.section, winner.route.Part, winner.route.NS, winner.route.Name)
		b.report.Problem(field, reasonHostnameConflict, accepted.message)
	}
	if entries != nil {
		accepted = p.accepted
	}
	return accepted, entries
}

// attach counts a route at a listener, and puts it there if the listener is in
// force.
func (b *routeBuilder) attach(p *parent, e *entry, accepted bool) {
	if p.at.kind != serviceHolder {
		if accepted {
			b.give(gift{To: p.at.cell(routesAt), Item: string(e.section)})
		}
		open := b.r.Value(p.at.cell(openCell)).([]gatewayv1.SectionName)
		if !slices.Contains(open, e.section) {
			return
		}
	}
	b.tellHosts(e)
	v := variant{passthrough: e.passes}
	if len(b.rulesAt(e.passes).secure) > 0 {
		v.client = b.r.Value(p.gateway.cell(identityCell, "")).(identity).certificate
	}
	if !slices.ContainsFunc(b.attached[v], func(a routing.Attachment) bool { return a.Listener == e.listener }) {
		if b.attached == nil {
			b.attached = map[variant][]routing.Attachment{}
		}
		b.attached[v] = append(b.attached[v], routing.Attachment{Listener: e.listener, Hosts: e.hosts})
	}
}

// give notes a gift once: two parentRefs to one listener attach one route.
func (b *routeBuilder) give(g gift) {
	if !slices.Contains(b.gifts, g) {
		b.gifts = append(b.gifts, g)
	}
}

func (b *routeBuilder) outcome(a *attachment) outcome {
	out := outcome{Report: b.report, Gifts: b.gifts}
	b.unite()
	variants := slices.SortedFunc(maps.Keys(b.attached), variant.compare)
	for _, v := range variants {
		rules := b.rulesAt(v.passthrough)
		if len(rules.rules) == 0 {
			continue
		}
		for _, c := range rules.clusters {
			b.r.Value(rules.as(v.client, c)) // there as long as the route is
		}
		out.Parts = append(out.Parts, b.part(a, v, !variants[0].passthrough))
	}
	return out
}

// unite makes one variant of a TLSRoute where the rules come to the same, if
// TLS is passed through or not.
func (b *routeBuilder) unite() {
	through, ended := variant{passthrough: true}, variant{}
	if len(b.attached[through]) == 0 || len(b.attached[ended]) == 0 ||
		!reflect.DeepEqual(b.rulesAt(true).rules, b.rulesAt(false).rules) {
		return
	}
	b.attached[ended] = append(b.attached[ended], b.attached[through]...)
	delete(b.attached, through)
}

// part is a variant of the route. It is mixed where some pass TLS through and
// others do not.
func (b *routeBuilder) part(a *attachment, v variant, mixed bool) *routing.Route {
	attached := b.attached[v]
	slices.SortFunc(attached, func(x, y routing.Attachment) int { return cmp.Compare(x.Listener, y.Listener) })
	return &routing.Route{
		Name:     routing.RouteName(b.r.ID.Part + "/" + b.r.ID.NS + "/" + b.r.ID.Name + v.mark(mixed)),
		Origin:   b.report.Object.Origin(),
		Created:  a.created,
		Attached: attached,
		Rules:    b.rulesAt(v.passthrough).rulesAs(v.client),
	}
}

// A ruleSet is what the rules of a route come to, wherever it is attached.
type ruleSet struct {
	use      use
	rules    []routing.Rule
	sound    int // of the author's rules, those that do something of what they say
	flaws    []flaw
	resolved verdict
	problems []*routing.Problem
	clusters []cellID     // that the rules send to
	secure   []cellID     // of these, those that speak TLS
	services []parentName // that the rules name
}

// A flaw is why a rule does not do all that its author wrote.
type flaw struct {
	reason gatewayv1.RouteConditionReason
	text   string
}

// accepted is the verdict of a route whose parents let it in. It is turned
// away only if nothing of it is left; its rules that answer with an error stay
// in force even so, as what they would have done may have kept somebody out.
func (s *ruleSet) accepted() verdict {
	if s.sound == 0 && len(s.flaws) > 0 {
		return no(string(s.flaws[0].reason), "%s", s.flaws[0].text)
	}
	return yes(string(gatewayv1.RouteReasonAccepted))
}

// partly is PartiallyInvalid, whose message has to begin with "Dropped Rule".
func (s *ruleSet) partly() verdict {
	if len(s.flaws) == 0 {
		return verdict{}
	}
	texts := make([]string, len(s.flaws))
	for i, f := range s.flaws {
		texts[i] = f.text
	}
	v := yes(string(gatewayv1.RouteReasonUnsupportedValue))
	v.message = "Dropped Rule: " + strings.Join(texts, "; ")
	return v
}
