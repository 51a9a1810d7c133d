package cluster

import (
	"context"
	"slices"
	"time"

	networking "istio.io/api/networking/v1alpha3"

	"fairway.dev/routing"
	"fairway.dev/routing/istio"
)

// supplyTime bounds how long Changes wait for Pods to be listed: what selects
// some would be without endpoints until then.
const supplyTime = 2 * time.Second

// A demand is for Pods: their labels are of use only to objects that select
// some, and there may be a great many of them. It belongs to the goroutine that
// owns the World.
type demand struct {
	by      map[routing.ObjectKey]bool // the objects that can be read only with Pods
	held    difference                 // what waits for Pods
	waiting bool
	overdue bool // they were waited for long enough
}

// note takes in an object that is put into the World.
func (d *demand) note(k routing.ObjectKey, o object) {
	kind := kindNamed(k.Kind)
	if kind.demands == nil || !kind.demands(o) {
		delete(d.by, k)
		return
	}
	if d.by == nil {
		d.by = map[routing.ObjectKey]bool{}
	}
	d.by[k] = true
}

func (d *demand) forget(k routing.ObjectKey) { delete(d.by, k) }

// supply begins and ends the watch of Pods.
func (s *Source) supply(ctx context.Context, d *difference) {
	l := s.line(istio.KindPod)
	switch wanted := len(s.demand.by) > 0; {
	case wanted && l.watcher == nil:
		s.watch(ctx, l, l.kind.versions[0])
		s.demand.waiting, s.demand.overdue = true, false
		s.alarm(supplyTime, func(a *alarms) { a.supply = true })
	case !wanted && l.watcher != nil:
		s.drop(l, d)
		s.demand.waiting = false
	}
}

// supplying reports whether d is to wait for Pods, and keeps it until they are
// there; then it is all that has waited.
func (s *Source) supplying(d *difference) bool {
	w := &s.demand
	d.keys = append(w.held.keys, d.keys...)
	d.statuses = append(w.held.statuses, d.statuses...)
	w.held = difference{}
	l := s.line(istio.KindPod)
	s.state.Lock()
	came := l.synced || l.err != nil
	s.state.Unlock()
	if !w.waiting || came || w.overdue {
		w.waiting = false
		return false
	}
	w.held = *d
	return true
}

// readsPods reports whether a DestinationRule looks at labels of pods: of
// subsets, or of where pods are (istio-locality, failoverPriority).
func readsPods(rule *networking.DestinationRule) bool {
	policies := []*networking.LoadBalancerSettings{rule.GetTrafficPolicy().GetLoadBalancer()}
	for _, port := range rule.GetTrafficPolicy().GetPortLevelSettings() {
		policies = append(policies, port.GetLoadBalancer())
	}
	return len(rule.Subsets) > 0 || slices.ContainsFunc(policies, func(b *networking.LoadBalancerSettings) bool {
		return b.GetLocalityLbSetting() != nil
	})
}
