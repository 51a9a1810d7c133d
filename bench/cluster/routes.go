package main

import (
	"context"
	"fmt"
	"time"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

const (
	manyRoutesCount   = 5000
	crowdNamespaces   = 50
	crowdBackendPort  = 8080
	lastInForceWithin = time.Minute
)

// manyRoutes makes many routes, each with a Service and an EndpointSlice of its
// own, in many namespaces.
func manyRoutes(ctx context.Context, l *lab, t *table) error {
	e, err := l.openEdge(ctx, "bench-routes")
	if err != nil {
		return err
	}
	s := &scattered{lab: l, edge: e, count: l.count(manyRoutesCount)}
	c := &crowd{
		lab: l, edge: e, editOne: s.edit, moveOne: s.move,
		control: budget{memory: 500, rest: 0.01},
		pod:     budget{memory: 80, rest: 0.01, series: 1000},
	}
	c.create = func(ctx context.Context) error {
		began := time.Now()
		if err := s.create(ctx); err != nil {
			return err
		}
		t.found("routes, Services, EndpointSlices", "%d of each in %d namespaces, created in %s", s.count, s.spaces(), short(time.Since(began)))
		took, err := l.lastInForce(ctx, e)
		t.found("one more route, right after them, is answered after", "%s", short(took))
		return err
	}
	return c.measure(ctx, t)
}

// scattered are routes in many namespaces.
type scattered struct {
	*lab
	edge  *edge
	count int
}

func (s *scattered) spaces() int { return min(crowdNamespaces, s.count) }

func crowdNamespace(i int) string { return fmt.Sprintf("bench-crowd-%d", i) }

func (s *scattered) namespace(i int) string { return crowdNamespace(i % s.spaces()) }

func crowdNames(n int) []string {
	var names []string
	for i := range n {
		names = append(names, crowdNamespace(i))
	}
	return names
}

// app is the name of a route and of its Service.
func app(i int) string { return fmt.Sprintf("app-%d", i) }

var crowdPorts = []port{{"http", 80, crowdBackendPort}}

func (s *scattered) create(ctx context.Context) error {
	if err := s.namespaces(ctx, crowdNames(s.spaces())...); err != nil {
		return err
	}
	return all(ctx, s.count, func(ctx context.Context, i int) error {
		if err := s.backend(ctx, s.namespace(i), app(i), crowdPorts, nowhere(i)); err != nil {
			return err
		}
		return s.createRoute(ctx, s.route(i, 0))
	})
}

func (s *scattered) route(i, edit int) *gatewayv1.HTTPRoute {
	return route(s.namespace(i), app(i), app(i)+".example.com", s.edge.parent(), rule(fmt.Sprintf("/%d", edit), app(i), 80))
}

func (s *scattered) edit(ctx context.Context, edit int) error {
	return s.editRoute(ctx, s.route(edit*7%s.count, edit))
}

func (s *scattered) move(ctx context.Context, edit int) error {
	i := edit * 11 % s.count
	return s.moveBackend(ctx, s.namespace(i), app(i), crowdPorts, nowhere(s.count+edit))
}

// lastInForce makes one more route, to a backend that answers, and returns how
// long it took until it was answered.
func (l *lab) lastInForce(ctx context.Context, e *edge) (time.Duration, error) {
	b, err := startBackend("last")
	if err != nil {
		return 0, err
	}
	defer b.close()
	if err := l.backend(ctx, e.namespace, "last", b.ports(), l.backends); err != nil {
		return 0, err
	}
	if err := l.createRoute(ctx, route(e.namespace, "last", "last.example", e.parent(), rule("/", "last", 80))); err != nil {
		return 0, err
	}
	created := time.Now()
	c := newClient(e)
	defer c.close()
	_, err = c.answered(ctx, "http://last.example/", lastInForceWithin)
	return time.Since(created), err
}
