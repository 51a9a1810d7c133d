package provision

import (
	"testing"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing/gatewayapi"
	"fairway.dev/routing/v1alpha1"
)

// Whoever selects a Gateway's pods by the labels that translation knows of
// finds them.
func TestPodsHaveTheLabelsThatTheySelect(t *testing.T) {
	w := Wanted{Gateway: &gatewayv1.Gateway{}, Parameters: &v1alpha1.GatewayParameters{}}
	w.Gateway.Name, w.Gateway.Spec.GatewayClassName = "edge", "fairway"
	w.Gateway.Spec.Infrastructure = &gatewayv1.GatewayInfrastructure{Labels: map[gatewayv1.LabelKey]gatewayv1.LabelValue{
		"istio": "ingressgateway", "team": "shop", "app.kubernetes.io/name": "theirs",
	}}
	w.Parameters.Spec.Pods = &v1alpha1.Pods{Labels: map[string]string{"team": "edge", "tier": "front"}}
	got := w.podTemplate(&Options{}).Labels
	for k, want := range gatewayapi.PodLabels(w.Gateway, w.Parameters) {
		if got[k] != want {
			t.Errorf("label %s of the pods is %q, and selectors have %q", k, got[k], want)
		}
	}
}
