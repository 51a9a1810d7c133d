package gatewayapi

import (
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// classState is what a GatewayClass comes to.
type classState uint8

const (
	classForeign  classState = iota // another controller's, or nobody's
	classRejected                   // ours, and not in order
	classOurs
)

// class judges a GatewayClass. Gateways read it, also where there is no object.
func (t *Translator) class(r *reading) outcome {
	gc := object[gatewayv1.GatewayClass](r, "GatewayClass", "", r.id.name)
	if gc == nil {
		state := classForeign
		if r.id.name == t.opts.DefaultClass && r.id.name != "" {
			state = classOurs
		}
		return outcome{value: state, gone: true}
	}
	if gc.Spec.ControllerName != t.opts.controllerName() {
		return outcome{value: classForeign}
	}
	report := newReport("GatewayClass", gc)
	accepted := yes("Accepted")
	state := classOurs
	if ref := gc.Spec.ParametersRef; ref != nil {
		state = classRejected
		accepted = no("InvalidParameters", "parametersRef names a %s: no parameters are known", ref.Kind)
		report.problems([]note{accepted.at("spec.parametersRef")})
	}
	report.Conditions = conditions(gc.Generation, accepted.as("Accepted"))
	return outcome{value: state, report: report}
}
