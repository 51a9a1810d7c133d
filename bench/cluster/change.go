package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

const (
	manyFlips   = 100
	flipEvery   = 200 * time.Millisecond
	changeHost  = "change.example"
	askers      = 4
	askersPause = 5 * time.Millisecond
)

// routeChange flips a route between two ports of a Service, and a header filter
// with it, while requests flow.
func routeChange(ctx context.Context, l *lab, t *table) error {
	f := &flipping{lab: l, namespace: "bench-change", wrong: map[string]int{}, seen: map[string]bool{}}
	var err error
	if f.edge, err = l.openEdge(ctx, f.namespace); err != nil {
		return err
	}
	var ports []port
	for _, number := range flipPorts {
		b, err := startBackend(fmt.Sprint(number))
		if err != nil {
			return err
		}
		defer b.close()
		ports = append(ports, port{"port-" + b.name, number, b.port})
	}
	if err := l.backend(ctx, f.namespace, "backend", ports, l.backends); err != nil {
		return err
	}
	if err := l.createRoute(ctx, f.route(0)); err != nil {
		return err
	}
	c := newClient(f.edge)
	defer c.close()
	if _, err := c.answered(ctx, "http://"+changeHost+"/", 30*time.Second); err != nil {
		return err
	}
	flips := l.count(manyFlips)
	if err := f.run(ctx, flips); err != nil {
		return err
	}
	t.found("edits, one every "+flipEvery.String(), "%d, of which clients have seen %d", flips, len(f.seen)-1)
	t.found("requests of "+fmt.Sprint(askers)+" clients", "%d", f.requests)
	failed := 0
	for what, n := range f.wrong {
		failed += n
		t.found("answered otherwise: "+what, "%d", n)
	}
	t.none("not answered with 200", failed)
	t.none("with the port of one edit and the header of another", f.mixed)
	return nil
}

var flipPorts = []int32{80, 8080}

// flipping is a route that changes, and who asks for it.
type flipping struct {
	*lab
	edge      *edge
	namespace string

	mu       sync.Mutex
	requests int
	wrong    map[string]int  // answers that are not 200
	seen     map[string]bool // edits, in answers
	mixed    int
}

// route is the route after a number of edits. Its header says which backend
// belongs to it.
func (f *flipping) route(edit int) *gatewayv1.HTTPRoute {
	number := flipPorts[edit%len(flipPorts)]
	return route(f.namespace, "change", changeHost, f.edge.parent(),
		rule("/", "backend", number, addHeader("x-edit", fmt.Sprintf("%d %d", number, edit))))
}

func (f *flipping) run(ctx context.Context, flips int) error {
	asking, stop := context.WithCancel(ctx)
	var tasks sync.WaitGroup
	for range askers {
		tasks.Go(func() { f.ask(asking) })
	}
	defer tasks.Wait()
	defer stop()
	for edit := 1; edit <= flips; edit++ {
		if !pause(ctx, flipEvery) {
			return ctx.Err()
		}
		if err := f.editRoute(ctx, f.route(edit)); err != nil {
			return err
		}
	}
	pause(ctx, time.Second)
	return ctx.Err()
}

// ask asks until ctx ends.
func (f *flipping) ask(ctx context.Context) {
	c := newClient(f.edge)
	defer c.close()
	for pause(ctx, askersPause) {
		// Not ctx: a request that was begun is waited for.
		status, header, err := c.get(context.WithoutCancel(ctx), "http://"+changeHost+"/")
		f.take(status, header, err)
	}
}

func (f *flipping) take(status int, header http.Header, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests++
	switch {
	case err != nil:
		f.wrong[err.Error()]++
		return
	case status != http.StatusOK:
		f.wrong[http.StatusText(status)]++
		return
	}
	edit := header.Get("X-Edit")
	f.seen[edit] = true
	var number, n int
	if _, err := fmt.Sscan(edit, &number, &n); err != nil || fmt.Sprint(number) != header.Get("X-Backend") {
		f.mixed++
	}
}
