package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

const (
	manyProbes = 3000
	// churnEvery is how often another route is edited meanwhile.
	churnEvery = 50 * time.Millisecond
)

// propagation adds routes one by one and asks each until it is served.
func propagation(ctx context.Context, l *lab, t *table) error {
	p := &prober{lab: l, namespace: "bench-propagation", count: l.count(manyProbes)}
	var err error
	if p.edge, err = l.openEdge(ctx, p.namespace); err != nil {
		return err
	}
	b, err := startBackend("backend")
	if err != nil {
		return err
	}
	defer b.close()
	if err := l.backend(ctx, p.namespace, "backend", b.ports(), l.backends); err != nil {
		return err
	}
	first, err := p.series(ctx, 0)
	if err != nil {
		return err
	}
	first.report(t, fmt.Sprintf("%d routes, to none", p.count))

	churning, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- p.churn(churning) }()
	second, err := p.series(ctx, p.count)
	stop()
	if err := errors.Join(err, <-ended); err != nil {
		return err
	}
	second.report(t, fmt.Sprintf("%d more, while one of the others is edited every %v", p.count, churnEvery))
	return nil
}

// A prober adds routes to an edge.
type prober struct {
	*lab
	edge      *edge
	namespace string
	count     int
}

// latencies are what a series of routes has found.
type latencies struct {
	served times // since the API server has answered
	asked  times // since it was asked
	wrong  int   // answers that were neither 404 nor, then, 200
}

// series adds p.count routes, the first of which has a number.
func (p *prober) series(ctx context.Context, from int) (*latencies, error) {
	c := newClient(p.edge)
	defer c.close()
	var found latencies
	for i := from; i < from+p.count; i++ {
		asked := time.Now()
		if err := p.createRoute(ctx, p.route(i, 0)); err != nil {
			return nil, err
		}
		taken := time.Now()
		wrong, err := c.answered(ctx, fmt.Sprintf("http://%s/%d", probeHost(i), i), 30*time.Second)
		if err != nil {
			return nil, err
		}
		found.served = append(found.served, time.Since(taken))
		found.asked = append(found.asked, time.Since(asked))
		found.wrong += wrong
	}
	return &found, nil
}

func probeHost(i int) string { return fmt.Sprintf("%d-route.example.com", i) }

// route has a rule for its own path, and one for all others to a backend that
// does not exist: who serves a part of it first answers 500.
func (p *prober) route(i, edit int) *gatewayv1.HTTPRoute {
	filter := addHeader("x-edit", fmt.Sprint(edit))
	return route(p.namespace, fmt.Sprintf("route-%d", i), probeHost(i), p.edge.parent(),
		rule(fmt.Sprintf("/%d", i), "backend", 80, filter), rule("/", "no-such-backend", 80, filter))
}

// churn edits the first p.count routes in turn until ctx ends. What it is
// about is that nobody else notices.
func (p *prober) churn(ctx context.Context) error {
	for edit := 1; pause(ctx, churnEvery); edit++ {
		if err := p.editRoute(ctx, p.route(edit%p.count, edit)); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

func (f *latencies) report(t *table, about string) {
	t.atMost(about+": mean", f.served.mean(), 15*time.Millisecond)
	t.found(about+": p50, p99", "%s, %s", short(f.served.quantile(0.5)), short(f.served.quantile(0.99)))
	t.atMost(about+": slowest", f.served.max(), 60*time.Millisecond)
	tenth := max(1, len(f.served)/10)
	t.found(about+": mean of the first and of the last tenth", "%s, %s",
		short(f.served[:tenth].mean()), short(f.served[len(f.served)-tenth:].mean()))
	t.found(about+": mean with the API server's own time", "%s", short(f.asked.mean()))
	t.none(about+": answers that are not 404, then 200", f.wrong)
}
