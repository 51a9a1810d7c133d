package provision

import (
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/discovery/apitest"
)

// object reads YAML into an API type.
func object[T any](t *testing.T, text string) *T {
	t.Helper()
	if text == "" {
		return nil
	}
	var o apitest.Object
	if err := yaml.Unmarshal([]byte(text), &o); err != nil {
		t.Fatal(err)
	}
	out := new(T)
	read(t, o, out)
	return out
}

func TestWhyNoPodIsReady(t *testing.T) {
	tests := []struct {
		name, deployment, pod string
		reason                gatewayv1.GatewayConditionReason
		about                 string
	}{
		{"no Deployment yet", "", "", gatewayv1.GatewayReasonPending, "being made"},
		{"no pod yet", "{spec: {replicas: 2}}", "", gatewayv1.GatewayReasonPending, "no pod is ready yet"},
		{"scaled to nothing", "{metadata: {name: d}, spec: {replicas: 0}}", "", gatewayv1.GatewayReasonNoResources, "Deployment d has 0 replicas"},
		{"a quota", "{metadata: {name: d}, status: {conditions: [{type: ReplicaFailure, status: 'True', message: exceeded quota}]}}", "",
			gatewayv1.GatewayReasonNoResources, "exceeded quota"},
		{"no room", "{}", "{metadata: {name: p}, status: {conditions: [{type: PodScheduled, status: 'False', reason: Unschedulable, message: 0/2 nodes}]}}",
			gatewayv1.GatewayReasonNoResources, "pod p: 0/2 nodes"},
		{"the sysctl", "{}", "{metadata: {name: p}, status: {phase: Failed, reason: SysctlForbidden}}",
			gatewayv1.GatewayReasonNoResources, "spec.pods.lowPorts of GatewayParameters to Capability"},
		{"no image", "{}", "{metadata: {name: p}, status: {containerStatuses: [{name: fairway, state: {waiting: {reason: ImagePullBackOff, message: not found}}}]}}",
			gatewayv1.GatewayReasonPending, "container fairway: ImagePullBackOff: not found"},
		{"starting", "{}", "{metadata: {name: p}, status: {containerStatuses: [{name: fairway, state: {waiting: {reason: ContainerCreating}}}]}}",
			gatewayv1.GatewayReasonPending, "no pod is ready yet"},
		{"a novel", "{}", "{metadata: {name: p}, status: {conditions: [{type: PodScheduled, status: 'False', reason: Unschedulable, message: " + strings.Repeat("é", 2000) + "}]}}",
			gatewayv1.GatewayReasonNoResources, "…"},
	}
	w := wanted(t, gateway(t, ""), "{}")
	for _, tt := range tests {
		var pods []*corev1.Pod
		if p := object[corev1.Pod](t, tt.pod); p != nil {
			pods = append(pods, p)
		}
		d := object[appsv1.Deployment](t, tt.deployment)
		got := w.podTrouble(0, d, pods)
		if got.Reason != tt.reason || !strings.Contains(got.Message, tt.about) || len(got.Message) > 1100 || !validText(got.Message) {
			t.Errorf("%s: %s: %q, want %s: %q", tt.name, got.Reason, got.Message, tt.reason, tt.about)
		}
		if got := w.podTrouble(1, d, pods); got != nil {
			t.Errorf("%s: %+v, though a pod is ready", tt.name, got)
		}
	}
}

func validText(s string) bool { return strings.ToValidUTF8(s, "") == s }

// A pod's trouble reaches its Gateway.
func TestTroubleOfPodsIsWatched(t *testing.T) {
	bubble(t, func(r *rig) {
		r.want1("edge")
		r.server.Apply(`{kind: Pod, metadata: {name: p, namespace: shop, labels: {app.kubernetes.io/managed-by: fairway,
			app.kubernetes.io/component: gateway, app.kubernetes.io/instance: edge-fairway}},
			status: {conditions: [{type: PodScheduled, status: 'False', reason: Unschedulable, message: 0/2 nodes}]}}`)
		r.settle()
		r.expect("edge", gatewayv1.GatewayReasonNoResources, "0/2 nodes")
		r.server.Delete("Pod", "shop", "p")
		r.settle()
		r.expect("edge", gatewayv1.GatewayReasonPending, "no pod is ready yet")
	})
}

// Trouble that somebody has to do something about comes before what time heals.
func TestOrderOfTroubles(t *testing.T) {
	bubble(t, func(r *rig) {
		r.server.Apply(`{kind: PodDisruptionBudget, metadata: {name: edge-fairway, namespace: shop}, spec: {minAvailable: 1}}`)
		r.want("edge", "addresses: [{value: 203.0.113.1}]", "{}", http80)
		r.settle()
		r.expect("edge", NameTaken, "")
		r.server.Delete(kindBudget, "shop", "edge-fairway")
		for range 11 {
			r.settle()
		}
		r.expect("edge", gatewayv1.GatewayReasonAddressNotUsable, "203.0.113.1")
		r.want1("edge")
		r.expect("edge", gatewayv1.GatewayReasonPending, "")
		r.edit("kube-controller-manager", kindDeployment, "edge-fairway", "status.readyReplicas", 1)
		r.expect("edge", gatewayv1.GatewayReasonAddressNotAssigned, "")
	})
}
