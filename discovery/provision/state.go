package provision

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing/v1alpha1"
)

// report tells how the Gateway is, where that is news, and says when time
// alone may change it.
func (t *term) report(ctx context.Context, w *Wanted, f *fleet, trouble *Trouble) (time.Duration, error) {
	s := State{Gateway: keyOf(w.Gateway)}
	d, _ := t.cached(kindDeployment, w.Gateway.Namespace, w.name()).(*appsv1.Deployment)
	if d != nil {
		s.Ready = int(d.Status.ReadyReplicas)
	}
	addresses, lacks, again, err := t.addresses(ctx, w)
	s.Addresses = addresses
	// What somebody has to do something about comes first.
	for _, why := range []*Trouble{trouble, notUsable(lacks), w.podTrouble(s.Ready, d, t.podsOf(w)), lacks} {
		if why != nil {
			s.Trouble = why
			break
		}
	}
	if f.reported == nil || !reflect.DeepEqual(*f.reported, s) {
		f.reported = &s
		if t.o.Report != nil {
			t.o.Report(s)
		}
	}
	return again, err
}

// notUsable returns t if time alone will not help.
func notUsable(t *Trouble) *Trouble {
	if t != nil && t.Reason == gatewayv1.GatewayReasonAddressNotUsable {
		return t
	}
	return nil
}

func (t *term) podsOf(w *Wanted) []*corev1.Pod {
	list, err := t.pods.GetIndexer().ByIndex(owner, w.Gateway.Namespace+"/"+w.name())
	if err != nil {
		panic("bug: " + err.Error()) // the index is there
	}
	out := make([]*corev1.Pod, len(list))
	for i, o := range list {
		out[i] = o.(*corev1.Pod)
	}
	slices.SortFunc(out, func(a, b *corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// podTrouble is why no pod is ready; nil where one is.
func (w *Wanted) podTrouble(ready int, d *appsv1.Deployment, pods []*corev1.Pod) *Trouble {
	if ready > 0 {
		return nil
	}
	lacking := func(format string, args ...any) *Trouble {
		return &Trouble{gatewayv1.GatewayReasonNoResources, brief(fmt.Sprintf(format, args...))}
	}
	pending := func(format string, args ...any) *Trouble {
		return &Trouble{gatewayv1.GatewayReasonPending, brief(fmt.Sprintf(format, args...))}
	}
	switch {
	case d == nil:
		return pending("Deployment %s is being made", w.name())
	case d.Spec.Replicas != nil && *d.Spec.Replicas == 0:
		return lacking("Deployment %s has 0 replicas: want 1 or more", d.Name)
	}
	for _, c := range d.Status.Conditions {
		if c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue {
			return lacking("Deployment %s: %s", d.Name, c.Message)
		}
	}
	var waits string
	for _, p := range pods {
		if c := condition(p, corev1.PodScheduled); c != nil && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable {
			return lacking("pod %s: %s", p.Name, c.Message)
		}
		if p.Status.Phase == corev1.PodFailed && p.Status.Reason == "SysctlForbidden" {
			return lacking("pod %s: %s: the node forbids the sysctl net.ipv4.ip_unprivileged_port_start: allow it, or set spec.pods.lowPorts of GatewayParameters to %s",
				p.Name, p.Status.Reason, v1alpha1.LowPortsCapability)
		}
		for _, c := range p.Status.ContainerStatuses {
			// Of the usual way of a container nobody has to know.
			if s := c.State.Waiting; s != nil && s.Reason != "ContainerCreating" && s.Reason != "PodInitializing" {
				waits = fmt.Sprintf("pod %s: container %s: %s: %s", p.Name, c.Name, s.Reason, s.Message)
			}
		}
	}
	if waits != "" {
		return pending("%s", waits)
	}
	return pending("no pod is ready yet")
}

func condition(p *corev1.Pod, kind corev1.PodConditionType) *corev1.PodCondition {
	for i := range p.Status.Conditions {
		if p.Status.Conditions[i].Type == kind {
			return &p.Status.Conditions[i]
		}
	}
	return nil
}
