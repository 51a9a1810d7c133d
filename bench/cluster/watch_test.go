package main

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

func gatewayWith(name string, routes int32) *gatewayv1.Gateway {
	g := gateway("ns", name, "fairway")
	g.Status.Listeners = []gatewayv1.ListenerStatus{{Name: "http", AttachedRoutes: routes}}
	return g
}

func routeWith(name string, controllers ...string) *gatewayv1.HTTPRoute {
	r := &gatewayv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{Name: name}}
	for _, c := range controllers {
		r.Status.Parents = append(r.Status.Parents, gatewayv1.RouteParentStatus{ControllerName: gatewayv1.GatewayController(c)})
	}
	return r
}

// Only writes of statuses are counted, and those of an edge's Gateway apart
// from others'.
func TestDiary(t *testing.T) {
	d := &diary{gateway: "edge", last: gatewayWith("edge", 0).Status, routes: map[string]int{}, parents: map[string]map[string]int{}}
	began := time.Now()
	if _, ok := d.since(began, 2); ok {
		t.Error("the count is right before anything was written")
	}
	d.write(watch.Modified, gatewayWith("edge", 0)) // something but the status
	d.write(watch.Modified, gatewayWith("edge", 1))
	d.write(watch.Modified, gatewayWith("edge", 2))
	d.write(watch.Modified, gatewayWith("foreign", 2))
	d.write(watch.Added, routeWith("a"))
	d.write(watch.Modified, routeWith("a", "us"))
	d.write(watch.Added, routeWith("b"))
	d.write(watch.Modified, routeWith("b", "us", "us", "them"))
	d.write(watch.Modified, routeWith("b", "us", "us", "them"))
	d.write(watch.Added, routeWith("c"))
	want := tally{gateway: 2, foreign: 1, routes: 3, most: 2, with: 2, others: 2}
	if got := d.tally("us"); got != want {
		t.Errorf("tally = %+v, want %+v", got, want)
	}
	if took, ok := d.since(began, 2); !ok || took <= 0 {
		t.Errorf("since = %v, %v, want the time of the second write", took, ok)
	}
	if _, ok := d.since(began, 1); ok {
		t.Error("the count is taken for what it was once")
	}
	if took, ok := d.since(time.Now().Add(time.Hour), 2); !ok || took != 0 {
		t.Errorf("since a later time = %v, %v, want 0: it was right by then", took, ok)
	}
	d.write(watch.Deleted, routeWith("a", "us"))
	if got := d.tally("us"); got.with != 1 || got.routes != 3 {
		t.Errorf("after a route was deleted: %+v, want one with an entry and as many writes", got)
	}
}
