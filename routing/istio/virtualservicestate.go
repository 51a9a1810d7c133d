package istio

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairway.dev/routing"
	"fairway.dev/routing/dialect"
	"fairway.dev/routing/gatewayapi"
)

// A rival is a VirtualService with a rule that takes every request of a host on
// a listener.
type rival struct {
	born            int64
	namespace, name string
}

// Before puts the older one first, then the one whose name comes first.
func (v rival) Before(o dialect.Ordered) bool {
	w := o.(rival)
	return cmp.Or(cmp.Compare(v.born, w.born), strings.Compare(v.namespace+"/"+v.name, w.namespace+"/"+w.name)) < 0
}

// rivals lets others know where the VirtualService takes every request.
func (b *virtualServiceBuilder) rivals() {
	born := int64(math.MaxInt64) // without an age: the youngest
	if t := b.o.CreationTimestamp; !t.IsZero() {
		born = t.Truncate(time.Second).Unix()
	}
	for _, c := range b.claims {
		if c.takesAll != (routing.Origin{}) {
			b.out.Gifts = append(b.out.Gifts, dialect.Gift{To: hostAt(rivalsAt, c), Item: rival{born, b.key.Namespace, b.key.Name}})
		}
	}
}

// hostAt names a cell, or a bag, of a host on a listener.
func hostAt(kind dialect.Kind, c hostClaim) dialect.ID {
	return dialect.ID{Kind: kind, NS: string(c.listener), Name: c.host}
}

// A precedent is who comes before others on a host of a listener. Its zero keys
// are nobody's.
type precedent struct {
	route  routing.ObjectKey // of Gateway API: one that has the host too
	closes routing.ObjectKey // of those, one that takes every request
	first  routing.ObjectKey // the VirtualService whose rule for every request counts
}

// precedence finds who comes before others.
func (j *joint) precedence(r *reading) dialect.Outcome {
	var p precedent
	lower := func(old, k routing.ObjectKey) routing.ObjectKey {
		if old == (routing.ObjectKey{}) || k.Compare(old) < 0 {
			return k
		}
		return old
	}
	for _, route := range gatewayapi.RoutesOn(r.Reading, routing.ListenerName(r.ID.NS), r.ID.Name) {
		if p.route = lower(p.route, route.Route); route.TakesAll {
			p.closes = lower(p.closes, route.Route)
		}
	}
	if order := r.Order(dialect.ID{Kind: rivalsAt, NS: r.ID.NS, Name: r.ID.Name}); len(order) > 0 {
		v := order[0].(rival)
		p.first = routing.ObjectKey{Kind: KindVirtualService, Namespace: v.namespace, Name: v.name}
	}
	return dialect.Outcome{Value: p}
}

// virtualServiceState reports what has come of a VirtualService.
func (j *joint) virtualServiceState(r *reading) dialect.Outcome {
	key := routing.ObjectKey{Kind: KindVirtualService, Namespace: r.ID.NS, Name: r.ID.Name}
	v, _ := r.Value(serviceID(virtualServiceCell, key)).(*routed)
	if v == nil {
		return dialect.Outcome{Gone: true}
	}
	found := remarks{list: ofObject(v.problems, key)}
	refused := v.refused
	if v.delegate {
		refused = r.delegateState(key, &found)
	} else {
		r.shadows(key, v, &found)
	}
	// Who reads a few alone reads what is not in force.
	slices.SortStableFunc(found.list, func(a, b *routing.Problem) int {
		return cmp.Compare(slices.Index(levels, a.Level), slices.Index(levels, b.Level))
	})
	return dialect.Outcome{Report: &dialect.Report{
		Object:     key,
		Conditions: conditions(v.generation, refused, found.list),
		Problems:   found.list,
	}}
}

// levels are in the order of their gravity.
var levels = []routing.Level{routing.Error, routing.Warning, routing.Info}

// ofObject are the problems that an object has.
func ofObject(list []*routing.Problem, key routing.ObjectKey) []*routing.Problem {
	var own []*routing.Problem
	for _, p := range list {
		if p.Origin.At("") == key.Origin() {
			own = append(own, p)
		}
	}
	return own
}

// delegateState gathers what those have found who name the delegate.
func (r *reading) delegateState(key routing.ObjectKey, found *remarks) refusal {
	roots := r.Bag(serviceID(rootsOf, key))
	if len(roots) == 0 {
		found.warn(key.Origin().At("spec.hosts"), reasonDelegateUnused, "name it in the delegate of another VirtualService, or add hosts",
			"without hosts it is a delegate, and no VirtualService names it")
		return refusal{reasonDelegateUnused, "no VirtualService names it"}
	}
	var keys []routing.ObjectKey
	for k := range roots {
		keys = append(keys, k.(routing.ObjectKey))
	}
	slices.SortFunc(keys, routing.ObjectKey.Compare)
	refused := refusal{reasonDelegateUnused, "none of the VirtualServices that name it is in force with it"}
	for _, k := range keys {
		root, _ := r.Value(serviceID(virtualServiceCell, k)).(*routed)
		if root == nil {
			continue
		}
		if root.refused == (refusal{}) && slices.Contains(root.uses, key) {
			refused = refusal{}
		}
		for _, p := range ofObject(root.problems, key) {
			found.add(p.Level, p.Origin, p.Reason, p.Fix, "%w", p.Err)
		}
	}
	return refused
}

// shadows tells of those who come before the VirtualService on its hosts.
func (r *reading) shadows(key routing.ObjectKey, v *routed, found *remarks) {
	var routes, closed, older shadowers
	for _, c := range v.claims {
		p := r.Value(hostAt(precedenceCell, c)).(precedent)
		none := routing.ObjectKey{}
		switch {
		case p.closes != none:
			closed.add(p.closes, key.Origin().At("spec.hosts"), c.host)
		case p.route != none:
			routes.add(p.route, key.Origin().At("spec.hosts"), c.host)
		}
		if c.takesAll != (routing.Origin{}) && p.first != none && p.first != key {
			older.add(p.first, c.takesAll, c.host)
		}
	}
	for _, p := range closed.list {
		found.warn(p.at, reasonShadowed, "give it another host, or narrow that route",
			"no request for %s gets here: %s takes them all, and comes first", strings.Join(p.hosts, ", "), p.by)
	}
	for _, p := range routes.list {
		found.note(p.at, reasonGatewayAPIFirst, "", "%s has %s too: its rules come first", p.by, strings.Join(p.hosts, ", "))
	}
	for _, p := range older.list {
		found.warn(p.at, reasonShadowed, "match something in this rule, or in that one's",
			"no request for %s gets here: %s is older and takes all that is left", strings.Join(p.hosts, ", "), p.by)
	}
}

// shadowers are hosts at which others come first.
type shadowers struct{ list []place }

type place struct {
	by    routing.ObjectKey
	at    routing.Origin
	hosts []string
}

func (l *shadowers) add(by routing.ObjectKey, at routing.Origin, host string) {
	i := slices.IndexFunc(l.list, func(p place) bool { return p.by == by && p.at == at })
	if i < 0 {
		i = len(l.list)
		l.list = append(l.list, place{by: by, at: at})
	}
	if p := &l.list[i]; !slices.Contains(p.hosts, host) {
		p.hosts = append(p.hosts, host)
	}
}

// conditions are Accepted, and where it is and something of the object is not
// in force, PartiallyInvalid.
func conditions(generation int64, refused refusal, found []*routing.Problem) []metav1.Condition {
	accepted := metav1.Condition{Type: "Accepted", Status: metav1.ConditionTrue, Reason: "Accepted", ObservedGeneration: generation}
	if refused != (refusal{}) {
		accepted.Status, accepted.Reason, accepted.Message = metav1.ConditionFalse, refused.reason, refused.message
		return []metav1.Condition{accepted}
	}
	list := []metav1.Condition{accepted}
	for _, p := range found {
		if p.Level == routing.Error {
			return append(list, metav1.Condition{
				Type: "PartiallyInvalid", Status: metav1.ConditionTrue, Reason: string(p.Reason),
				Message: p.Origin.Field + ": " + p.Err.Error(), ObservedGeneration: generation,
			})
		}
	}
	return list
}
