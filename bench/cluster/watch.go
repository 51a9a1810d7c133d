package main

import (
	"context"
	"fmt"
	"reflect"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// A count is what attachedRoutes was at a time.
type count struct {
	at     time.Time
	routes int32
}

// A diary is what a watch of Gateways and HTTPRoutes has seen of statuses.
type diary struct {
	gateway string

	mu      sync.Mutex
	counts  []count                   // of gateway, one for each write of its status
	last    gatewayv1.GatewayStatus   // of gateway
	routes  map[string]int            // writes of routes' statuses
	foreign int                       // writes to other Gateways
	parents map[string]map[string]int // entries of a route's status, by controller
}

// keepDiary watches the namespace of an edge until ctx ends. If a watch breaks
// off sooner, cancel is called.
func (l *lab) keepDiary(ctx context.Context, cancel context.CancelCauseFunc, e *edge) (*diary, error) {
	gateways, routes := l.gateways.GatewayV1().Gateways(e.namespace), l.gateways.GatewayV1().HTTPRoutes(e.namespace)
	now, err := gateways.Get(ctx, e.name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	o := metav1.ListOptions{ResourceVersion: now.ResourceVersion}
	d := &diary{gateway: e.name, last: now.Status, routes: map[string]int{}, parents: map[string]map[string]int{}}
	for _, open := range []func(context.Context, metav1.ListOptions) (watch.Interface, error){gateways.Watch, routes.Watch} {
		w, err := open(ctx, o)
		if err != nil {
			return nil, err
		}
		go func() {
			defer w.Stop()
			for event := range w.ResultChan() {
				if event.Type == watch.Error {
					break
				}
				d.write(event.Type, event.Object)
			}
			cancel(fmt.Errorf("a watch of namespace %s broke off", e.namespace))
		}()
	}
	return d, nil
}

// write takes an event down.
func (d *diary) write(kind watch.EventType, object runtime.Object) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch o := object.(type) {
	case *gatewayv1.Gateway:
		switch {
		case kind == watch.Modified && o.Name != d.gateway:
			d.foreign++
		case kind == watch.Modified && !reflect.DeepEqual(o.Status, d.last):
			d.last = o.Status
			d.counts = append(d.counts, count{time.Now(), attached(o)})
		}
	case *gatewayv1.HTTPRoute:
		if kind == watch.Deleted {
			delete(d.parents, o.Name)
			return
		}
		if kind == watch.Modified {
			d.routes[o.Name]++
		}
		by := map[string]int{}
		for _, p := range o.Status.Parents {
			by[string(p.ControllerName)]++
		}
		d.parents[o.Name] = by
	}
}

// attached is the number of routes that a Gateway says are attached to its
// first listener.
func attached(g *gatewayv1.Gateway) int32 {
	if len(g.Status.Listeners) == 0 {
		return 0
	}
	return g.Status.Listeners[0].AttachedRoutes
}

// since returns when, counted from a time, attachedRoutes became what it is
// now, if that is n.
func (d *diary) since(from time.Time, n int32) (time.Duration, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.counts) == 0 || d.counts[len(d.counts)-1].routes != n {
		return 0, false
	}
	first := len(d.counts) - 1
	for first > 0 && d.counts[first-1].routes == n {
		first--
	}
	return max(0, d.counts[first].at.Sub(from)), true
}

// tally is what a diary adds up to.
type tally struct {
	gateway, foreign int // writes
	routes, most     int // writes to routes, and to the one with the most
	with             int // routes that have an entry
	others           int // entries by anybody but controller
}

func (d *diary) tally(controller string) tally {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := tally{gateway: len(d.counts), foreign: d.foreign}
	for _, n := range d.routes {
		t.routes += n
		t.most = max(t.most, n)
	}
	for _, by := range d.parents {
		if by[controller] > 0 {
			t.with++
		}
		for name, n := range by {
			if name != controller {
				t.others += n
			} else {
				t.others += n - 1 // one parent of ours has one entry
			}
		}
	}
	return t
}
