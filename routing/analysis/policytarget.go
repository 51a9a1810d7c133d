package analysis

import "istio.io/api/type/v1beta1"

// maxTargets is how many targets a policy may have.
const maxTargets = 16

// A targeted spec says by a selector or by targets what a policy is about.
type targeted interface {
	GetSelector() *v1beta1.WorkloadSelector
	GetTargetRef() *v1beta1.PolicyTargetReference
	GetTargetRefs() []*v1beta1.PolicyTargetReference
}

// targets checks what a policy is about.
func (f *findings) targets(spec targeted) {
	f.excludes("spec", choice{"selector", spec.GetSelector() != nil}, choice{"targetRef", spec.GetTargetRef() != nil},
		choice{"targetRefs", len(spec.GetTargetRefs()) > 0})
	f.selector(spec.GetSelector())
	if ref := spec.GetTargetRef(); ref != nil {
		f.warn("spec.targetRef", DeprecatedField, "write targetRefs", "targetRef has a successor")
		f.target("spec.targetRef", ref)
	}
	for i, ref := range spec.GetTargetRefs() {
		f.target(at("spec.targetRefs", i), ref)
	}
	if n := len(spec.GetTargetRefs()); n > maxTargets {
		f.refuse("spec.targetRefs", InvalidValue, "write several policies", "%d targets: want at most %d", n, maxTargets)
	}
}

func (f *findings) selector(s *v1beta1.WorkloadSelector) {
	if s == nil {
		return
	}
	if len(s.MatchLabels) == 0 {
		f.warn("spec.selector", IneffectiveField, "add labels, or take the selector out", "no labels: it selects all")
	}
	f.labels("spec.selector.matchLabels", s.MatchLabels)
}

// targetGroups are the kinds that a policy may be about, and their groups.
var targetGroups = map[string]string{
	"Gateway": "gateway.networking.k8s.io", "GatewayClass": "gateway.networking.k8s.io",
	"Service": "", "ServiceEntry": "networking.istio.io",
}

func (f *findings) target(field string, ref *v1beta1.PolicyTargetReference) {
	group, known := targetGroups[ref.GetKind()]
	own := ref.GetGroup()
	if own == "core" {
		own = ""
	}
	if !known || group != own {
		f.refuse(field, UnsupportedTarget, "name a Gateway or GatewayClass of gateway.networking.k8s.io, a Service, or a ServiceEntry of networking.istio.io",
			"%s of %q: no policy can be about it", ref.GetKind(), ref.GetGroup())
	}
	if ref.GetName() == "" {
		f.refuse(field+".name", MissingField, "name the object", "no name")
	}
	if ns := ref.GetNamespace(); ns != "" && ns != f.origin.Namespace {
		f.refuse(field+".namespace", UnsupportedTarget, "write the policy in that namespace", "namespace %s: a policy is about objects of its own", ns)
	}
}
