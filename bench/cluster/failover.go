package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
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
// says anything of retries: that there should be none cannot be said, as the
// API's least number of attempts is 1.
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
	bad, period := backends[0], l.period(failoverPeriod)
	found := map[string]chan *answers{}
	for _, method := range failoverMethods {
		of := make(chan *answers, 1)
		found[method] = of
		go func() { of <- askOnAndOn(asking, e, method, bad.name) }()
	}
	err = comeAndGo(ctx, bad, period)
	stop()
	t.found("backends; routes; rules, each of them to all backends", "%d; %d; %d", failoverBackends, failoverRoutes, failoverRoutes*rulesPerRoute)
	for _, method := range failoverMethods {
		(<-found[method]).report(t, method, period)
	}
	return err
}

// failoverMethods are what is asked with: a GET may be sent again, a POST only
// where nothing of it was sent.
var failoverMethods = []string{http.MethodGet, http.MethodPost}

func (a *answers) report(t *table, method string, period time.Duration) {
	// Of as many requests the bad backend's fair share while it was well.
	fair := a.sent / failoverBackends / 2
	bar := fair * 5300 / 5500
	t.found(fmt.Sprintf("%s, one every %v; a backend is well and fails, %v each, %d times: requests", method, requestEvery, period, failovers), "%d", a.sent)
	t.judged(method+": errors", "at most 50", a.failed <= 50, "%d", a.failed)
	t.judged(method+": successes of that backend", fmt.Sprintf("at least %d of about %d", bar, fair), a.bad >= bar, "%d", a.bad)
	for _, what := range slices.Sorted(maps.Keys(a.kinds)) {
		t.found(method+": errors: "+what, "%d", a.kinds[what])
	}
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
		rules = append(rules, rule(fmt.Sprintf("/%d", i*rulesPerRoute+n), "backend", 80))
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
	bad          int // successes of the backend that comes and goes
	kinds        map[string]int
}

// askOnAndOn asks for one rule after the other until ctx ends.
func askOnAndOn(ctx context.Context, e *edge, method, bad string) *answers {
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
		status, header, err := c.do(context.WithoutCancel(ctx), method, failoverURL(i))
		a.sent++
		switch {
		case err != nil:
			a.failed++
			a.kinds[err.Error()]++
		case status != http.StatusOK:
			a.failed++
			a.kinds[fmt.Sprint(status)]++
		case header.Get("X-Backend") == bad:
			a.bad++
		}
	}
}
