package istio

import (
	"cmp"
	"reflect"
	"slices"
	"strconv"
	"strings"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"fairway.dev/routing"
	"fairway.dev/routing/analysis"
	"fairway.dev/routing/dialect"
)

// Bags of VirtualServices.
const (
	rootsOf  = dialect.Bags + routeKinds + iota // of a delegate: the VirtualServices that name it
	rivalsAt                                    // of a host on a listener: the VirtualServices that have it
)

// Cells of VirtualServices.
const (
	virtualServiceCell      = dialect.Routes + routeKinds          // what it comes to
	precedenceCell          = dialect.Verdicts + routeKinds + iota // of a host on a listener: who comes before others
	virtualServiceStateCell                                        // its report
)

func (j *joint) joinRoutes(s *dialect.Sheet) {
	j.gateway.TellRoutes()
	s.Plant(KindVirtualService, func(k routing.ObjectKey) []dialect.ID {
		return []dialect.ID{serviceID(consumersCell, k), serviceID(virtualServiceCell, k), serviceID(virtualServiceStateCell, k)}
	})
	j.define(s, consumersCell, j.consumers)
	j.define(s, virtualServiceCell, j.virtualService)
	j.define(s, precedenceCell, j.precedence)
	j.define(s, virtualServiceStateCell, j.virtualServiceState)
}

// serviceID names a cell of a VirtualService.
func serviceID(kind dialect.Kind, k routing.ObjectKey) dialect.ID {
	return dialect.ID{Kind: kind, NS: k.Namespace, Name: k.Name}
}

// A routed is what a VirtualService comes to, but for who comes before it.
type routed struct {
	generation int64
	delegate   bool // it has no hosts: others name it
	refused    refusal
	claims     []hostClaim
	uses       []routing.ObjectKey // its delegates
	problems   []*routing.Problem  // its own, and theirs
}

// A hostClaim is a host that a VirtualService has on a listener.
type hostClaim struct {
	listener routing.ListenerName
	host     string
	takesAll routing.Origin // of the rule that takes every request there; zero: none does
}

// A virtualServiceBuilder gathers what a VirtualService comes to.
type virtualServiceBuilder struct {
	r       *reading
	o       *networkingv1.VirtualService
	key     routing.ObjectKey
	remarks remarks
	reached reached
	doors   []door
	out     dialect.Outcome
	claims  []hostClaim
	claimed map[hostClaim]int // where in claims a host is, without takesAll
	uses    []routing.ObjectKey
}

// virtualService translates a VirtualService: a route for its http rules, one
// for its tcp rules, and one for each match of its tls rules, once more where
// doors or clients make a difference.
func (j *joint) virtualService(r *reading) dialect.Outcome {
	o := object[networkingv1.VirtualService](r, KindVirtualService, r.ID.NS, r.ID.Name)
	if o == nil {
		return dialect.Outcome{Gone: true}
	}
	b := &virtualServiceBuilder{
		r: r, o: o, key: routing.ObjectKey{Kind: KindVirtualService, Namespace: r.ID.NS, Name: r.ID.Name},
		claimed: map[hostClaim]int{},
	}
	v := &routed{generation: o.Generation}
	if len(o.Spec.Hosts) == 0 {
		v.delegate = true
	} else {
		v.refused = b.route()
	}
	b.reached.report(&b.remarks)
	b.static()
	v.problems = b.remarks.list
	v.claims, v.uses = b.claims, b.uses
	b.rivals()
	b.out.Value = v
	return b.out
}

// route attaches the rules to doors. It says why nothing is in force.
func (b *virtualServiceBuilder) route() refusal {
	if refused := b.findDoors(); refused != (refusal{}) {
		return refused
	}
	b.http()
	b.tls()
	b.tcp()
	if len(b.out.Parts) == 0 {
		return refusal{reasonNoRule, "no rule applies to a server of its Gateways"}
	}
	return refusal{}
}

func (b *virtualServiceBuilder) origin(field string) routing.Origin { return b.key.Origin().At(field) }

// A view is what can make a difference to rules: what does not is left zero.
type view struct {
	gateway string
	port    uint32
	client  string // namespace of the gateway pods
}

func (v view) compare(w view) int {
	return cmp.Or(strings.Compare(v.gateway, w.gateway), cmp.Compare(v.port, w.port), strings.Compare(v.client, w.client))
}

// mark tells the part of a group from those of others, by what they differ in.
// No name of an object has '#'.
func (g *group) mark(among []*group) string {
	differ := func(is func(view) bool) bool {
		return slices.ContainsFunc(among, func(o *group) bool { return !is(o.view) })
	}
	s := "#"
	if v := g.view.gateway; differ(func(o view) bool { return o.gateway == v }) {
		s += v
	}
	if v := g.view.port; differ(func(o view) bool { return o.port == v }) {
		s += ":" + itoa(int(v))
	}
	if v := g.view.client; differ(func(o view) bool { return o.client == v }) {
		s += "@" + v
	}
	return s
}

// A group is doors at which the rules are the same.
type group struct {
	view  view // the first
	rules []routing.Rule
	doors []door
}

// groups translates rules for each view of doors, and unites those that come to
// the same.
func groups(doors []door, viewOf func(door) view, translate func(door) []routing.Rule) []*group {
	byView := map[view]*group{}
	var list []*group
	for _, d := range doors {
		v := viewOf(d)
		g := byView[v]
		if g == nil {
			rules := translate(d)
			if i := slices.IndexFunc(list, func(g *group) bool { return reflect.DeepEqual(g.rules, rules) }); i >= 0 {
				g = list[i]
			} else {
				g = &group{view: v, rules: rules}
				list = append(list, g)
			}
			byView[v] = g
		}
		if v.compare(g.view) < 0 {
			g.view = v
		}
		g.doors = append(g.doors, d)
	}
	slices.SortFunc(list, func(a, b *group) int { return a.view.compare(b.view) })
	return list
}

// add puts the parts of groups into the Spec. The mark says which rules they
// are; hosts, those of a door.
func (b *virtualServiceBuilder) add(mark string, list []*group, hosts func(door) []string) {
	list = slices.DeleteFunc(list, func(g *group) bool { return len(g.rules) == 0 })
	for _, g := range list {
		name := string(b.key.Kind) + "/" + b.key.Namespace + "/" + b.key.Name + mark
		if len(list) > 1 {
			name += g.mark(list)
		}
		attached := attachments(g.doors, hosts)
		if len(attached) == 0 {
			continue
		}
		b.out.Parts = append(b.out.Parts, &routing.Route{
			Name:     routing.RouteName(name),
			Origin:   b.key.Origin(),
			Created:  b.o.CreationTimestamp.Time,
			Attached: attached,
			Rules:    g.rules,
			Ordered:  true,
		})
		b.claim(g, attached)
	}
}

// attachments are the hosts of doors by listener, each once: two Gateways may
// lead to one listener.
func attachments(doors []door, hosts func(door) []string) []routing.Attachment {
	var list []routing.Attachment
	at := map[routing.ListenerName]int{} // a listener may have thousands of doors, and a Gateway as many listeners
	for _, d := range doors {
		names := hosts(d)
		if len(names) == 0 {
			continue
		}
		i, ok := at[d.listener]
		if !ok {
			i = len(list)
			at[d.listener] = i
			list = append(list, routing.Attachment{Listener: d.listener})
		}
		list[i].Hosts = append(list[i].Hosts, names...)
	}
	for i := range list {
		slices.Sort(list[i].Hosts)
		list[i].Hosts = slices.Compact(list[i].Hosts)
	}
	slices.SortFunc(list, func(x, y routing.Attachment) int { return cmp.Compare(x.Listener, y.Listener) })
	return list
}

// claim notes the hosts of a part.
func (b *virtualServiceBuilder) claim(g *group, attached []routing.Attachment) {
	var all routing.Origin
	if last := &g.rules[len(g.rules)-1]; len(last.Matches) == 0 {
		all = last.Origin
	}
	for _, a := range attached {
		for _, h := range a.Hosts {
			at := hostClaim{listener: a.Listener, host: h}
			i, ok := b.claimed[at]
			if !ok {
				i = len(b.claims)
				b.claimed[at] = i
				b.claims = append(b.claims, at)
			}
			if b.claims[i].takesAll == (routing.Origin{}) {
				b.claims[i].takesAll = all
			}
		}
	}
}

// static adds what package analysis finds odd in the object alone; what it finds
// wrong has been found here, where it stands in the way of something.
func (b *virtualServiceBuilder) static() {
	for _, p := range analysis.Validate(b.o) {
		if p.Level != routing.Error && !slices.ContainsFunc(b.remarks.list, func(q *routing.Problem) bool {
			return q.Origin == p.Origin && q.Reason == p.Reason
		}) {
			b.remarks.list = append(b.remarks.list, p)
		}
	}
}

// itoa writes the index of an element of a list.
func itoa(n int) string { return strconv.Itoa(n) }
