package istio

import (
	"cmp"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"istio.io/api/type/v1beta1"

	"fairway.dev/routing"
	"fairway.dev/routing/dialect"
)

// A reach is which gateways a policy is about: Telemetry and
// RequestAuthentication say it alike.
type reach struct {
	ns, name string
	created  time.Time
	targets  []string          // names of Gateways of Gateway API
	selector map[string]string // labels of pods; nil, as targets are: all
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

func reachOf(o metav1.Object, spec aimed, found *complaints) reach {
	s := reach{ns: o.GetNamespace(), name: o.GetName(), created: o.GetCreationTimestamp().Time, selector: spec.GetSelector().GetMatchLabels()}
	refs := spec.GetTargetRefs()
	if ref := spec.GetTargetRef(); ref != nil {
		refs = append(slices.Clone(refs), ref)
	}
	for _, ref := range refs {
		if ref.GetKind() == "Gateway" && ref.GetGroup() == "gateway.networking.k8s.io" && (ref.GetNamespace() == "" || ref.GetNamespace() == s.ns) {
			s.targets = append(s.targets, ref.GetName())
			continue
		}
		found.wrong("spec.targetRefs", reasonUnsupportedField, "name a Gateway of gateway.networking.k8s.io in this namespace",
			"%s %s of %q: only a Gateway of this namespace is reached", ref.GetKind(), ref.GetName(), ref.GetGroup())
		s.targets = append(s.targets, "") // nobody's name: the policy is not for all instead
	}
	return s
}

// width orders reaches, the narrowest first: some gateways of a namespace, the
// namespace, the mesh.
func (s *reach) width(at fleetName) int {
	switch {
	case len(s.targets) > 0 || s.selector != nil:
		return 0
	case s.ns == at.ns:
		return 1
	}
	return 2
}

// covers reports whether a policy is about a fleet whose pods have those labels.
func (s *reach) covers(at fleetName, labels map[string]string) bool {
	switch {
	case s.ns != at.ns && s.width(at) == 0:
		return false // it selects in its own namespace
	case len(s.targets) > 0 && !slices.Contains(s.targets, at.name):
		return false
	}
	return s.selector == nil || selects(labels, s.selector)
}

// policiesOn returns the policies of a kind that are about a fleet: the narrowest
// first, of several alike the oldest.
func policiesOn[P reaching](r *reading, bag, cell dialect.Kind, at fleetName, labels map[string]string) []P {
	var list []P
	for _, ns := range slices.Compact([]string{at.ns, r.j.opts.RootNamespace}) {
		for item := range r.Bag(dialect.ID{Kind: bag, NS: ns}) {
			p, ok := r.Value(dialect.ID{Kind: cell, NS: ns, Name: item.(string)}).(P)
			if ok && p.about().covers(at, labels) {
				list = append(list, p)
			}
		}
	}
	slices.SortFunc(list, func(a, b P) int {
		s, t := a.about(), b.about()
		return cmp.Or(cmp.Compare(s.width(at), t.width(at)), s.created.Compare(t.created), cmp.Compare(s.name, t.name))
	})
	return list
}

// applyPolicies edits a listener of a fleet as the policies about it say.
func (j *joint) applyPolicies(r *reading, at fleetName, labels map[string]string, l *routing.Listener) {
	j.tell(r, at, labels, l)
	j.prove(r, at, labels, l)
}
