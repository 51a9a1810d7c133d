package cluster

import (
	"context"
	"slices"
	"time"

	networking "istio.io/api/networking/v1alpha3"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"fairway.dev/routing"
	"fairway.dev/routing/istio"
)

// supplyTime bounds how long Changes wait for Pods to be listed: what selects
// some would be without endpoints until then.
const supplyTime = 2 * time.Second

// A demand is for Pods: they are of use only to objects that select some, and
// to waypoints, and there may be a great many of them. It belongs to the
// goroutine that owns the World.
type demand struct {
	by      map[routing.ObjectKey]bool // the objects that can be read only with Pods
	selects bool                       // there are some of these
	mesh    bool                       // Options.WantsPods said so
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
	s.demand.mesh = s.opts.WantsPods != nil && s.opts.WantsPods()
	before := s.demand.selects
	s.demand.selects = len(s.demand.by) > 0
	switch wanted := s.demand.selects || s.demand.mesh; {
	case wanted && l.watcher == nil:
		s.watch(ctx, l, l.kind.versions[0])
	case !wanted && l.watcher != nil:
		s.drop(l, d)
	}
	if s.demand.selects != before {
		s.demand.waiting, s.demand.overdue = !before, false
		s.alarm(supplyTime, func(a *alarms) { a.supply = true })
	}
}

// podsDue reports whether Pods are still to be read: without them a waypoint
// knows nobody, and what is made of the World would take away whom it knew. For
// those that we may not list Patience is the bound, and ten times as long for
// those that the API server fails to list.
func (s *Source) podsDue() bool {
	if !s.demand.mesh {
		return false
	}
	l := s.line(istio.KindPod)
	s.state.Lock()
	came, err := l.synced, l.err
	s.state.Unlock()
	switch {
	case came:
		return false
	case err == nil || isAway(err):
		return true
	case apierrors.IsForbidden(err):
		return s.patience < 1
	}
	return s.patience < 2
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
