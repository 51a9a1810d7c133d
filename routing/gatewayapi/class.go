package gatewayapi

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing/v1alpha1"
)

// A class is what a GatewayClass comes to.
type class struct {
	state      classState
	parameters *v1alpha1.GatewayParameters // nil: none
}

// A classState says whose Gateways of a class are.
type classState uint8

const (
	classForeign  classState = iota // another controller's, or nobody's
	classRejected                   // ours, and not in order
	classOurs
)

// class judges a GatewayClass. Gateways read it, also where there is no object.
func (t *Translator) class(r *reading) outcome {
	gc := object[gatewayv1.GatewayClass](r, "GatewayClass", "", r.ID.Name)
	if gc == nil {
		c := class{state: classForeign}
		if r.ID.Name == t.opts.DefaultClass && r.ID.Name != "" {
			c.state = classOurs
		}
		return outcome{Value: c, Gone: true}
	}
	if gc.Spec.ControllerName != t.opts.controllerName() || slices.Contains(remoteClasses, gatewayv1.ObjectName(r.ID.Name)) {
		return outcome{Value: class{state: classForeign}}
	}
	report := newReport("GatewayClass", gc)
	report.SupportedFeatures = supportedFeatures()
	c := class{state: classOurs}
	accepted := yes(string(gatewayv1.GatewayClassReasonAccepted))
	if ref := gc.Spec.ParametersRef; ref != nil {
		p, err := r.parameters(ref.Group, ref.Kind, string(or(ref.Namespace, "")), ref.Name)
		if c.parameters = p; err != nil {
			c.state = classRejected
			accepted = no(string(gatewayv1.GatewayClassReasonInvalidParameters), "parametersRef: %v", err)
			reportNotes(report, []note{accepted.at("spec.parametersRef")})
		}
	}
	list := []metav1.Condition{accepted.as(string(gatewayv1.GatewayClassConditionStatusAccepted))}
	if v := r.supportedVersion(); v.reason != "" {
		list = append(list, v.as(string(gatewayv1.GatewayClassConditionStatusSupportedVersion)))
	}
	report.Conditions = conditions(gc.Generation, list...)
	return outcome{Value: c, Report: report}
}

// crds are the resources of Gateway API that we read, by the names of their
// CustomResourceDefinitions. The first is there in every cluster that has
// a GatewayClass.
var crds = []string{
	"gatewayclasses", "gateways", "listenersets", "httproutes", "grpcroutes", "tlsroutes", "tcproutes", "udproutes",
	"referencegrants", "backendtlspolicies",
}

// supportedRelease is the release whose types and documentation we follow;
// later patches of it only correct it.
const supportedRelease = "v1.6"

// supportedVersion is SupportedVersion: whether the CustomResourceDefinitions
// in the cluster are of the release that we know. Others are served as well as
// we can. Without any, as in a folder of manifests, there is nothing to say.
func (r *reading) supportedVersion() verdict {
	var strange []string
	found := false
	for _, name := range crds {
		name += "." + gatewayv1.GroupName
		crd := object[metav1.PartialObjectMetadata](r, "CustomResourceDefinition", "", name)
		if crd == nil {
			continue
		}
		found = true
		version := crd.Annotations["gateway.networking.k8s.io/bundle-version"]
		if version == "" {
			version = "of no version"
		} else if version == supportedRelease || strings.HasPrefix(version, supportedRelease+".") {
			continue
		}
		if !slices.Contains(strange, version) {
			strange = append(strange, version)
		}
	}
	switch {
	case !found:
		return verdict{}
	case len(strange) > 0:
		return no(string(gatewayv1.GatewayClassReasonUnsupportedVersion),
			"CustomResourceDefinitions of Gateway API are %s: want %s", strings.Join(strange, ", "), supportedRelease)
	}
	return yes(string(gatewayv1.GatewayClassReasonSupportedVersion))
}
