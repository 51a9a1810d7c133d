package istio

import (
	"cmp"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"istio.io/api/type/v1beta1"

	"fairway.dev/routing"
	"fairway.dev/routing/dialect"
	"fairway.dev/routing/gatewayapi"
)

// A reach is what a policy is about: Telemetry and the policies of security say
// it alike.
type reach struct {
	ns, name string
	created  time.Time
	targets  []aim
	selector map[string]string // labels of pods; nil, as targets are: all
	// mesh says that it stands in the root namespace: without targets and without
	// a selector it is for all namespaces, and where selectsAll is set, as of what
	// is about security, with a selector too.
	mesh, selectsAll bool
}

// An aim is an object that a policy names.
type aim struct{ kind, name string }

// nobody is an aim that is no object's: a policy with a target that cannot be is
// not for all instead.
var nobody = aim{}

// targetGroups are the groups of the kinds that a policy may name.
var targetGroups = map[string]string{
	"Gateway": gatewayv1.GroupName, "GatewayClass": gatewayv1.GroupName, "Service": "", KindServiceEntry: "networking.istio.io",
}

// A reaching policy knows how far it reaches.
type reaching interface{ about() *reach }

func (s *reach) about() *reach { return s }

// aimed is what the specs of policies have in common.
type aimed interface {
	GetSelector() *v1beta1.WorkloadSelector
	GetTargetRef() *v1beta1.PolicyTargetReference
	GetTargetRefs() []*v1beta1.PolicyTargetReference
}

func (j *joint) reachOf(o metav1.Object, spec aimed, found *complaints) reach {
	s := reach{ns: o.GetNamespace(), name: o.GetName(), created: o.GetCreationTimestamp().Time}
	if labels := spec.GetSelector().GetMatchLabels(); len(labels) > 0 {
		s.selector = labels
	}
	s.mesh = s.ns == j.opts.RootNamespace
	if ref := spec.GetTargetRef(); ref != nil {
		s.targets = append(s.targets, j.aimOf(ref, s.ns, "spec.targetRef", found))
	}
	for i, ref := range spec.GetTargetRefs() {
		s.targets = append(s.targets, j.aimOf(ref, s.ns, field("spec.targetRefs", i), found))
	}
	return s
}

func (j *joint) aimOf(ref *v1beta1.PolicyTargetReference, ns, at string, found *complaints) aim {
	group, known := targetGroups[ref.GetKind()]
	switch own := ref.GetGroup(); {
	case !known || group != own && !(group == "" && own == "core"):
		found.wrong(at, reasonUnsupportedTarget, "name a Gateway or GatewayClass of gateway.networking.k8s.io, a Service, or a ServiceEntry of networking.istio.io",
			"%s of %q: no policy can be about it", ref.GetKind(), own)
		return nobody
	case ref.GetNamespace() != "" && ref.GetNamespace() != ns:
		found.wrong(at+".namespace", reasonUnsupportedTarget, "write the policy in that namespace",
			"namespace %s: a policy is about objects of its own", ref.GetNamespace())
		return nobody
	case ref.GetKind() == "GatewayClass" && ns != j.opts.RootNamespace:
		found.wrong(at, reasonUnsupportedTarget, "write the policy in namespace "+j.opts.RootNamespace,
			"GatewayClass %s: only a policy of namespace %s is for all Gateways of a class", ref.GetName(), j.opts.RootNamespace)
		return nobody
	}
	return aim{ref.GetKind(), ref.GetName()}
}

// A post is where policies are in force: a listener of a Gateway, or a door of
// a waypoint.
type post struct {
	at fleetName // the Gateway whose pods serve it
	// ns is the namespace whose policies are about it, and labels what their
	// selectors look at: the Gateway's own, and those of its pods; of a door those
	// of what it is for, and of all the pods behind it.
	ns     string
	labels map[string]string
	door   *gatewayapi.Door // nil: a listener
}

// width orders reaches, the narrowest first: something of a namespace, the
// namespace, the mesh.
func (s *reach) width(p post) int {
	switch {
	case len(s.targets) > 0 || s.selector != nil:
		return 0
	case s.ns == p.ns:
		return 1
	}
	return 2
}

// covers reports whether a policy is about what is at a post.
func (r *reading) covers(s *reach, p post) bool {
	own := s.ns == p.ns
	switch {
	case len(s.targets) > 0:
		return (s.selector == nil || r.picks(p, s.selector)) &&
			slices.ContainsFunc(s.targets, func(a aim) bool { return r.aims(s, a, p) })
	case s.selector != nil:
		return (own || s.mesh && s.selectsAll) && r.picks(p, s.selector)
	}
	return own || s.mesh
}

// picks reports whether a selector picks what is at a post. The Fleet of a folder
// has no pods, and is picked by all, as it serves the Gateways of all.
func (r *reading) picks(p post, selector map[string]string) bool {
	return selects(p.labels, selector) || r.j.opts.AnySelector && p.door == nil && p.labels == nil
}

// aims reports whether a target of a policy is what a post has to do with.
func (r *reading) aims(s *reach, a aim, p post) bool {
	switch a.kind {
	case nobody.kind:
		return false
	case "Gateway":
		return p.at == fleetName{s.ns, a.name}
	case "GatewayClass":
		return r.Value(p.at.cell(classCell, "")).(string) == a.name
	}
	return p.door != nil && p.door.Kind == a.kind && p.door.Namespace == s.ns && p.door.Name == a.name
}

// gatewayClass tells which GatewayClass a Gateway of Gateway API has: all that is read
// of one here.
func gatewayClass(r *reading) dialect.Outcome {
	class := ""
	if o := object[gatewayv1.Gateway](r, "Gateway", r.ID.NS, r.ID.Name); o != nil {
		class = string(o.Spec.GatewayClassName)
	}
	return dialect.Outcome{Value: class}
}

// policiesOn returns the policies of a kind that are about what is at a post: the
// narrowest first, of several alike the oldest.
func policiesOn[P reaching](r *reading, bag, cell dialect.Kind, p post) []P {
	var list []P
	namespaces := []string{p.ns, p.at.ns, r.j.opts.RootNamespace}
	slices.Sort(namespaces)
	for _, ns := range slices.Compact(namespaces) {
		for item := range r.Bag(dialect.ID{Kind: bag, NS: ns}) {
			v, ok := r.Value(dialect.ID{Kind: cell, NS: ns, Name: item.(string)}).(P)
			if ok && r.covers(v.about(), p) {
				list = append(list, v)
			}
		}
	}
	slices.SortFunc(list, func(a, b P) int {
		s, t := a.about(), b.about()
		return cmp.Or(cmp.Compare(s.width(p), t.width(p)), s.created.Compare(t.created), cmp.Compare(s.ns, t.ns), cmp.Compare(s.name, t.name))
	})
	return list
}

// applyPolicies edits a listener of a Gateway as the policies about it say. What
// comes in by HBONE is for doors, which have theirs.
func (j *joint) applyPolicies(r *reading, at fleetName, labels map[string]string, l *routing.Listener) {
	if l.Protocol == routing.HBONE {
		return
	}
	p := post{at: at, ns: at.ns, labels: labels}
	r.tell(p, l)
	r.prove(p, l)
	r.authorize(p, l)
}

// applyToDoor does the same for a door of a waypoint. Who enforces is the waypoint
// of what the door is for; another one, which clients go by on their way there,
// tells only.
func (j *joint) applyToDoor(r *reading, d gatewayapi.Door, l *routing.Listener) {
	p := post{ns: d.Namespace, labels: d.Selector, door: &d}
	if !d.Shared {
		p.at.ns, p.at.name, _ = strings.Cut(d.Gateway, "/")
	}
	r.tell(p, l)
	if d.Own {
		r.prove(p, l)
		r.authorize(p, l)
		l.Strict = r.strictDoor(d)
	}
}
