package main

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

const (
	manyAttached = 1000
	// settle is how long writes are awaited that should not come.
	settle = 3 * time.Second
)

// attachedRoutes creates and deletes routes: of our Gateway, of ours and of
// somebody else's, and of somebody else's alone.
func attachedRoutes(ctx context.Context, l *lab, t *table) error {
	const namespace = "bench-attached"
	e, err := l.openEdge(ctx, namespace)
	if err != nil {
		return err
	}
	foreign, err := l.foreignGateway(ctx, namespace)
	if err != nil {
		return err
	}
	if err := l.backend(ctx, namespace, "backend", []port{{"http", 80, 8080}}, nowhere(0)); err != nil {
		return err
	}
	list, err := l.processes(ctx, e)
	if err != nil {
		return err
	}
	ours := gatewayv1.ParentReference{Name: gatewayv1.ObjectName(e.name)}
	n := l.count(manyAttached)
	t.found("routes", "%d, created and deleted by %d writers", n, writers)
	for _, kind := range []struct {
		about   string
		parents []gatewayv1.ParentReference
		count   int32
	}{
		{"of our Gateway", []gatewayv1.ParentReference{ours}, int32(n)},
		{"of ours and of another class's", []gatewayv1.ParentReference{ours, foreign}, int32(n)},
		{"of another class's alone", []gatewayv1.ParentReference{foreign}, 0},
	} {
		s := &attaching{lab: l, edge: e, leading: list[0], routes: n, parents: kind.parents, count: kind.count}
		if err := s.run(ctx, t, kind.about); err != nil {
			return fmt.Errorf("routes %s: %w", kind.about, err)
		}
	}
	return nil
}

// foreignGateway makes a Gateway of a class that nobody serves.
func (l *lab) foreignGateway(ctx context.Context, namespace string) (gatewayv1.ParentReference, error) {
	class := &gatewayv1.GatewayClass{
		ObjectMeta: metav1.ObjectMeta{Name: "bench-foreign", Labels: map[string]string{mark: "true"}},
		Spec:       gatewayv1.GatewayClassSpec{ControllerName: "bench.fairway.dev/nobody"},
	}
	if _, err := l.gateways.GatewayV1().GatewayClasses().Create(ctx, class, metav1.CreateOptions{}); err != nil {
		return gatewayv1.ParentReference{}, err
	}
	g := gateway(namespace, "foreign", class.Name)
	_, err := l.gateways.GatewayV1().Gateways(namespace).Create(ctx, g, metav1.CreateOptions{})
	return gatewayv1.ParentReference{Name: gatewayv1.ObjectName(g.Name)}, err
}

// attaching creates routes and deletes them again.
type attaching struct {
	*lab
	edge    *edge
	leading process
	routes  int
	parents []gatewayv1.ParentReference
	count   int32 // what attachedRoutes should become
}

func (s *attaching) run(ctx context.Context, t *table, about string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	class, err := s.gateways.GatewayV1().GatewayClasses().Get(ctx, s.class, metav1.GetOptions{})
	if err != nil {
		return err
	}
	d, err := s.keepDiary(ctx, cancel, s.edge)
	if err != nil {
		return err
	}
	before, err := s.metrics(ctx, &s.leading.pod)
	if err != nil {
		return err
	}
	up, err := s.change(ctx, d, s.count, s.create)
	if err != nil {
		return err
	}
	pause(ctx, settle)
	full := d.tally(string(class.Spec.ControllerName))
	down, err := s.change(ctx, d, 0, s.remove)
	if err != nil {
		return err
	}
	pause(ctx, settle)
	after, err := s.metrics(ctx, &s.leading.pod)
	if err != nil {
		return err
	}
	all := d.tally(string(class.Spec.ControllerName))
	const cpu = "process_cpu_seconds_total"
	s.report(t, about, up, down, full, all)
	t.found(about+": CPU of control, leading", "%.2f s", after.values[cpu]-before.values[cpu])
	return context.Cause(ctx)
}

func (s *attaching) report(t *table, about string, up, down time.Duration, full, all tally) {
	if s.count == 0 {
		t.none(about+": writes of a Gateway's status", all.gateway+all.foreign)
		t.none(about+": writes of the routes' status", all.routes)
		return
	}
	t.atMost(about+": the last one created until attachedRoutes is right", up, time.Second)
	t.atMost(about+": the last one deleted until it is 0", down, 15*time.Second)
	t.judged(about+": writes of the Gateway's status", "at most 50", all.gateway <= 50, "%d", all.gateway)
	t.judged(about+": routes with an entry of ours", fmt.Sprint(s.routes), full.with == s.routes, "%d", full.with)
	t.none(about+": entries that are not ours to write", full.others)
	t.judged(about+": writes of a route's status", "1 each", full.routes == s.routes && full.most == 1,
		"%d in all, at most %d of one", full.routes, full.most)
	t.none(about+": writes of the other Gateway's status", all.foreign)
}

// change does something to every route, and returns how long after the last
// one the Gateway's status said so.
func (s *attaching) change(ctx context.Context, d *diary, count int32, do func(ctx context.Context, i int) error) (time.Duration, error) {
	if err := all(ctx, s.routes, do); err != nil {
		return 0, err
	}
	done := time.Now()
	if s.count == 0 {
		return 0, nil
	}
	var took time.Duration
	err := await(ctx, time.Minute, 5*time.Millisecond, fmt.Sprintf("attachedRoutes is %d", count), func() bool {
		var ok bool
		took, ok = d.since(done, count)
		return ok
	})
	return took, err
}

func (s *attaching) create(ctx context.Context, i int) error {
	r := route(s.edge.namespace, fmt.Sprintf("route-%d", i), fmt.Sprintf("host-%d.example", i), s.parents[0], rule("/", "backend", 80))
	r.Spec.ParentRefs = s.parents
	return s.createRoute(ctx, r)
}

func (s *attaching) remove(ctx context.Context, i int) error {
	return s.gateways.GatewayV1().HTTPRoutes(s.edge.namespace).Delete(ctx, fmt.Sprintf("route-%d", i), metav1.DeleteOptions{})
}
