package v1alpha1

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// Delegation is something that the control plane's powers make out of
// parameters, and that not everybody has who may write them.
//
// +kubebuilder:validation:Enum=Image;Environment;PriorityClass;Overlays;ExternalIPs
type Delegation string

// The values of delegated.
const (
	// DelegateImage is pods.image: any program, in the Gateway's namespace.
	DelegateImage Delegation = "Image"
	// DelegateEnvironment is pods.env from Secrets and ConfigMaps, which the
	// author may not be able to read.
	DelegateEnvironment Delegation = "Environment"
	// DelegatePriorityClass is pods.priorityClassName: whose pods give way.
	DelegatePriorityClass Delegation = "PriorityClass"
	// DelegateOverlays is overlays: pods of any privilege.
	DelegateOverlays Delegation = "Overlays"
	// DelegateExternalIPs is spec.addresses of Gateways whose Service is of type
	// ClusterIP or NodePort: any address, also one that is somebody else's.
	DelegateExternalIPs Delegation = "ExternalIPs"
)

// Delegates reports whether the parameters, a class's or merged ones, leave
// something to Gateways.
func (p *GatewayParameters) Delegates(d Delegation) bool {
	return p != nil && slices.Contains(p.Spec.Delegated, d)
}

// Undelegated returns an error if a Gateway's own parameters say what their
// class does not leave to them. Either may be nil.
func Undelegated(class, gateway *GatewayParameters) error {
	if gateway == nil {
		return nil
	}
	for _, use := range gateway.Spec.uses() {
		if !class.Delegates(use.what) {
			return fmt.Errorf("%s: not for a Gateway's own parameters, unless its class's have %s in spec.delegated", use.field, use.what)
		}
	}
	return nil
}

// A use is a field that is set, and what it takes.
type use struct {
	field string
	what  Delegation
}

// uses are the fields that are set and take a delegation, in order.
func (s *GatewayParametersSpec) uses() (list []use) {
	if pods := s.Pods; pods != nil {
		if pods.Image != nil {
			list = append(list, use{"spec.pods.image", DelegateImage})
		}
		for i, v := range pods.Env {
			// What a pod knows of itself is no secret.
			if from := v.ValueFrom; from != nil && *from != (corev1.EnvVarSource{FieldRef: from.FieldRef, ResourceFieldRef: from.ResourceFieldRef}) {
				list = append(list, use{fmt.Sprintf("spec.pods.env[%d].valueFrom", i), DelegateEnvironment})
			}
		}
		if pods.PriorityClassName != nil {
			list = append(list, use{"spec.pods.priorityClassName", DelegatePriorityClass})
		}
	}
	if len(s.Overlays) > 0 {
		list = append(list, use{"spec.overlays", DelegateOverlays})
	}
	return list
}
