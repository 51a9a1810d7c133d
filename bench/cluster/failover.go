package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

const (
	failoverBackends = 4
	failoverRoutes   = 16
	rulesPerRoute    = 16
	failovers        = 5
	failoverPeriod   = 22 * time.Second
	requestEvery     = 5 * time.Millisecond
	failoverHost     = "failover.example"
)

// failover sends requests while one of four backends comes and goes. No rule
// wants retries.
func failover(ctx context.Context, l *lab, t *table) error {
	const namespace = "bench-failover"
	e, err := l.openEdge(ctx, namespace)
	if err != nil {
		return err
	}
	backends, err := l.fallible(ctx, namespace)
	for _, b := range backends {
		defer b.close()
	}
	if err != nil {
		return err
	}
	for i := range failoverRoutes {
		if err := l.createRoute(ctx, failoverRoute(e, i)); err != nil {
			return err
		}
	}
	c := newClient(e)
	defer c.close()
	for i := range failoverRoutes * rulesPerRoute {
		if _, err := c.answered(ctx, failoverURL(i), 30*time.Second); err != nil {
			return err
		}
	}
	asking, stop := context.WithCancel(ctx)
	defer stop()
	found := make(chan *answers, 1)
	go func() { found <- askOnAndOn(asking, e) }()
	bad := backends[0]
	before := bad.served.Load()
	period := l.period(failoverPeriod)
	err = comeAndGo(ctx, bad, period)
	stop()
	a := <-found
	if err != nil {
		return err
	}
	// Of as many requests the bad backend's fair share while it was well.
	fair := a.sent / failoverBackends / 2
	bar := int64(fair) * 5300 / 5500
	t.found("backends; routes; rules, each with retry attempts 0", "%d; %d; %d", failoverBackends, failoverRoutes, failoverRoutes*rulesPerRoute)
	t.found(fmt.Sprintf("requests, one every %v; one backend well and failing, %v each", requestEvery, period), "%d, %d times", a.sent, failovers)
	t.judged("errors", "at most 50", a.failed <= 50, "%d", a.failed)
	successes := bad.served.Load() - before
	t.judged("successes of the backend that comes and goes", fmt.Sprintf("at least %d of about %d", bar, fair), successes >= bar, "%d", successes)
	for what, n := range a.kinds {
		t.found("errors: "+what, "%d", n)
	}
	return nil
}

// fallible makes a Service of backends here, each with an EndpointSlice of its
// own: their ports differ.
func (l *lab) fallible(ctx context.Context, namespace string) ([]*backend, error) {
	var backends []*backend
	for i := range failoverBackends {
		b, err := startBackend(fmt.Sprint("backend-", i))
		if err != nil {
			return backends, err
		}
		backends = append(backends, b)
		s := slice(namespace, "backend", b.name, b.ports(), l.backends)
		if _, err := l.core.DiscoveryV1().EndpointSlices(namespace).Create(ctx, s, metav1.CreateOptions{}); err != nil {
			return backends, err
		}
	}
	s := service(namespace, "backend", port{name: "http", number: 80})
	_, err := l.core.CoreV1().Services(namespace).Create(ctx, s, metav1.CreateOptions{})
	return backends, err
}

func failoverURL(i int) string {
	return fmt.Sprintf("http://%s/%d", failoverHost, i%(failoverRoutes*rulesPerRoute))
}

func failoverRoute(e *edge, i int) *gatewayv1.HTTPRoute {
	var rules []gatewayv1.HTTPRouteRule
	for n := range rulesPerRoute {
		r, attempts := rule(fmt.Sprintf("/%d", i*rulesPerRoute+n), "backend", 80), 0
		r.Retry = &gatewayv1.HTTPRouteRetry{Attempts: &attempts}
		rules = append(rules, r)
	}
	return route(e.namespace, fmt.Sprint("route-", i), failoverHost, e.parent(), rules...)
}

// comeAndGo lets a backend be well for a period, then fail for one, and so on.
func comeAndGo(ctx context.Context, b *backend, period time.Duration) error {
	for range failovers {
		if !pause(ctx, period) {
			return ctx.Err()
		}
		b.fail()
		ok := pause(ctx, period)
		if err := b.listen(); err != nil || !ok {
			return errors.Join(err, ctx.Err())
		}
	}
	return nil
}

// answers are what a client got.
type answers struct {
	sent, failed int
	kinds        map[string]int
}

// askOnAndOn asks for one rule after the other until ctx ends.
func askOnAndOn(ctx context.Context, e *edge) *answers {
	a := &answers{kinds: map[string]int{}}
	c := newClient(e)
	defer c.close()
	tick := time.NewTicker(requestEvery)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return a
		case <-tick.C:
		}
		status, _, err := c.get(context.WithoutCancel(ctx), failoverURL(i))
		a.sent++
		switch {
		case err != nil:
			a.failed++
			a.kinds[err.Error()]++
		case status != http.StatusOK:
			a.failed++
			a.kinds[fmt.Sprint(status)]++
		}
	}
}
