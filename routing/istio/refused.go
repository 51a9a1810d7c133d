package istio

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairway.dev/routing"
	"fairway.dev/routing/dialect"
)

// refused are kinds of the API that are not for gateways of ours: why, and what
// does the same.
var refused = map[string]struct {
	level        routing.Level
	why, instead string
}{
	KindEnvoyFilter: {routing.Error, "it edits the configuration of Envoy, which does not run here",
		"say it by a VirtualService, a DestinationRule or GatewayParameters"},
	KindSidecar: {routing.Warning, "it is for sidecars, and there are none: gateways see all that is exported to them",
		"say by exportTo who may use a host"},
	KindWasmPlugin: {routing.Error, "it is a filter of Envoy, which does not run here",
		"ask a server about requests by the filter ExternalAuth of an HTTPRoute"},
}

// refuse reports an object of such a kind.
func refuse(r *reading) dialect.Outcome {
	k := routing.ObjectKey{Kind: r.ID.Part, Namespace: r.ID.NS, Name: r.ID.Name}
	o, _ := r.Get(k).(metav1.Object)
	if o == nil {
		return dialect.Outcome{Gone: true}
	}
	why := refused[k.Kind]
	report := &dialect.Report{Object: k, Conditions: []metav1.Condition{{
		Type: "Accepted", Status: metav1.ConditionFalse, Reason: reasonUnsupportedKind, Message: why.why, ObservedGeneration: o.GetGeneration(),
	}}}
	report.Find(why.level, "", reasonUnsupportedKind, why.why, why.instead)
	return dialect.Outcome{Report: report}
}
