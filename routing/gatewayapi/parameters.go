package gatewayapi

import (
	"fmt"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing/v1alpha1"
)

// parameters reads the object that a parametersRef names.
func (r *reading) parameters(group gatewayv1.Group, kind gatewayv1.Kind, ns, name string) (*v1alpha1.GatewayParameters, error) {
	if string(group) != v1alpha1.GroupVersion.Group || kind != "GatewayParameters" {
		return nil, fmt.Errorf("%s %s: want GatewayParameters.%s", printKind(group, kind), name, v1alpha1.GroupVersion.Group)
	}
	if ns == "" {
		return nil, fmt.Errorf("GatewayParameters %s: want a namespace", name)
	}
	p := object[v1alpha1.GatewayParameters](r, "GatewayParameters", ns, name)
	if p == nil {
		return nil, fmt.Errorf("GatewayParameters %s/%s: not found", ns, name)
	}
	return p, nil
}
