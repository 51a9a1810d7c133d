package v1alpha1

import (
	"fmt"
	"strings"
	"testing"
)

// A Gateway's own parameters are for whoever may write Gateways, in place of
// whom the control plane makes pods: they say nothing that would run another
// program, read Secrets, or have privileges, unless a cluster's admin lets them.
func TestUndelegated(t *testing.T) {
	tests := []struct {
		own  string
		want Delegation // that it takes; empty: none
		at   string
	}{
		{"pods: {replicas: 3, labels: {a: b}, resources: {requests: {cpu: 1}}, lowPorts: Capability}", "", ""},
		{"service: {type: NodePort, annotations: {a: b}}\nautoscaling: {maxReplicas: 3}\nproxyProtocol: {mode: Required}", "", ""},
		{"pods: {env: [{name: A, value: b}, {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]}", "", ""},
		{"pods: {env: [{name: CPU, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}]}", "", ""},
		{"pods: {image: example.com/mine}", DelegateImage, "spec.pods.image"},
		// The runtime prints a GOMEMLIMIT that it cannot read.
		{"pods: {env: [{name: A, value: b}, {name: GOMEMLIMIT, valueFrom: {secretKeyRef: {name: s, key: k}}}]}", DelegateEnvironment, "spec.pods.env[1].valueFrom"},
		{"pods: {env: [{name: A, valueFrom: {configMapKeyRef: {name: c, key: k}}}]}", DelegateEnvironment, "spec.pods.env[0].valueFrom"},
		{"pods: {env: [{name: A, valueFrom: {fieldRef: {fieldPath: metadata.name}, secretKeyRef: {name: s, key: k}}}]}", DelegateEnvironment, "spec.pods.env[0].valueFrom"},
		{"pods: {priorityClassName: system-node-critical}", DelegatePriorityClass, "spec.pods.priorityClassName"},
		{"overlays: [{kind: Deployment, patch: {spec: {template: {spec: {hostNetwork: true}}}}}]", DelegateOverlays, "spec.overlays"},
		{"delegated: [Image]\npods: {image: example.com/mine}", DelegateImage, "spec.pods.image"},
	}
	all := []Delegation{DelegateImage, DelegateEnvironment, DelegatePriorityClass, DelegateOverlays, DelegateExternalIPs}
	for _, tt := range tests {
		own := parameters(t, tt.own)
		for _, class := range []*GatewayParameters{nil, {}} {
			err := Undelegated(class, own)
			if got := fmt.Sprint(err); (err == nil) != (tt.want == "") || !strings.Contains(got, tt.at) || !strings.Contains(got, string(tt.want)) {
				t.Errorf("%s: %v, want %q for want of %q", tt.own, err, tt.at, tt.want)
			}
		}
		for _, given := range all {
			class := &GatewayParameters{Spec: GatewayParametersSpec{Delegated: []Delegation{given}}}
			if err := Undelegated(class, own); (err == nil) != (tt.want == "" || tt.want == given) {
				t.Errorf("%s, where the class delegates %s: %v", tt.own, given, err)
			}
		}
	}
	if err := Undelegated(nil, nil); err != nil {
		t.Error(err)
	}
}
