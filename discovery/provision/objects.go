package provision

import (
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Kinds of what is made, in the order in which it is written: what pods mount
// is there before they are.
const (
	kindServiceAccount = "ServiceAccount"
	kindConfigMap      = "ConfigMap"
	kindService        = "Service"
	kindDeployment     = "Deployment"
	kindBudget         = "PodDisruptionBudget"
	kindAutoscaler     = "HorizontalPodAutoscaler"
)

// rootsKey is the ConfigMap's key with the roots of trust, and the name of the
// file that pods have them in.
const rootsKey = "root-cert.pem"

func (w *Wanted) serviceAccount() *corev1.ServiceAccount {
	no := false
	return &corev1.ServiceAccount{
		ObjectMeta:                   w.meta(w.name()),
		AutomountServiceAccountToken: &no, // pods know nothing of the API server
	}
}

func (w *Wanted) configMap(roots []byte) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: w.meta(w.name()),
		Data:       map[string]string{rootsKey: string(roots)},
	}
}

func (w *Wanted) budget() *policyv1.PodDisruptionBudget {
	always := policyv1.AlwaysAllow
	spec := policyv1.PodDisruptionBudgetSpec{
		Selector: &metav1.LabelSelector{MatchLabels: w.selector()},
		// A pod that does not work protects nobody, and must not hold up the
		// drain of its node.
		UnhealthyPodEvictionPolicy: &always,
	}
	if d := w.spec().Disruption; d != nil && (d.MinAvailable != nil || d.MaxUnavailable != nil) {
		spec.MinAvailable, spec.MaxUnavailable = d.MinAvailable, d.MaxUnavailable
	} else {
		one := intstr.FromInt32(1)
		spec.MaxUnavailable = &one
	}
	return &policyv1.PodDisruptionBudget{
		ObjectMeta: w.meta(w.name()),
		Spec:       spec,
	}
}

// Defaults of autoscaling.
const (
	minReplicas = 2
	maxReplicas = 10
	targetCPU   = 80 // percent
)

// autoscaler is nil where nobody asks for one.
func (w *Wanted) autoscaler() *autoscalingv2.HorizontalPodAutoscaler {
	a := w.spec().Autoscaling
	if a == nil {
		return nil
	}
	least, most := w.replicaBounds()
	metrics := a.Metrics
	if cpu := a.TargetCPUUtilization; cpu != nil || len(metrics) == 0 {
		percent := or(cpu, targetCPU)
		metrics = append([]autoscalingv2.MetricSpec{{
			Type: autoscalingv2.ResourceMetricSourceType,
			Resource: &autoscalingv2.ResourceMetricSource{
				Name:   corev1.ResourceCPU,
				Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: &percent},
			},
		}}, metrics...)
	}
	return &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: w.meta(w.name()),
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: kindDeployment, Name: w.name()},
			MinReplicas:    &least,
			MaxReplicas:    most,
			Metrics:        metrics,
			Behavior:       a.Behavior,
		},
	}
}

// replicaBounds are those of the autoscaler: where one alone is given, the
// other's default gives way.
func (w *Wanted) replicaBounds() (least, most int32) {
	a := w.spec().Autoscaling
	switch {
	case a.MinReplicas == nil:
		most = or(a.MaxReplicas, maxReplicas)
		return min(minReplicas, most), most
	case a.MaxReplicas == nil:
		return *a.MinReplicas, max(maxReplicas, *a.MinReplicas)
	}
	return *a.MinReplicas, *a.MaxReplicas
}
