package gatewayapi

import (
	"fmt"
	"runtime"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing"
)

// largeWorld has a Gateway and n HTTPRoutes, each with a Service of its own.
func largeWorld(n int) world {
	w := world{}
	gw := &gatewayv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "edge", CreationTimestamp: day(1)}}
	gw.Spec.GatewayClassName = "fairway"
	gw.Spec.Listeners = []gatewayv1.Listener{{Name: "http", Port: 80, Protocol: "HTTP"}}
	w.put("Gateway", gw)
	for i := range n {
		w.put("HTTPRoute", largeRoute(i, 1, "shop.example.com"))
		w.put("Service", largeService(fmt.Sprintf("s%d", i)))
		w.put("EndpointSlice", largeSlice(i, 3))
	}
	return w
}

func largeService(name string) *corev1.Service {
	o := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}}
	o.Spec.Ports = []corev1.ServicePort{{Name: "http", Port: 80}}
	return o
}

func largeRoute(i int, weight int32, host gatewayv1.Hostname) *gatewayv1.HTTPRoute {
	port, path := gatewayv1.PortNumber(80), fmt.Sprintf("/p%d", i)
	o := &gatewayv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: fmt.Sprintf("r%d", i), CreationTimestamp: day(2)}}
	o.Spec.ParentRefs = []gatewayv1.ParentReference{{Name: "edge"}}
	o.Spec.Hostnames = []gatewayv1.Hostname{host}
	o.Spec.Rules = []gatewayv1.HTTPRouteRule{{
		Matches: []gatewayv1.HTTPRouteMatch{{Path: &gatewayv1.HTTPPathMatch{Value: &path}}},
		BackendRefs: []gatewayv1.HTTPBackendRef{{BackendRef: gatewayv1.BackendRef{
			BackendObjectReference: gatewayv1.BackendObjectReference{Name: gatewayv1.ObjectName(fmt.Sprintf("s%d", i)), Port: &port},
			Weight:                 &weight,
		}}},
	}}
	return o
}

func largeSlice(i, endpoints int) *discoveryv1.EndpointSlice {
	name, port := "http", int32(8080)
	o := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: fmt.Sprintf("s%d", i)}}
	o.Labels = map[string]string{discoveryv1.LabelServiceName: fmt.Sprintf("s%d", i)}
	o.AddressType = discoveryv1.AddressTypeIPv4
	o.Ports = []discoveryv1.EndpointPort{{Name: &name, Port: &port}}
	for j := range endpoints {
		o.Endpoints = append(o.Endpoints, discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("10.%d.%d.%d", i/256, i%256, j)}})
	}
	return o
}

var largeOptions = Options{DefaultClass: "fairway"}

// TestAnEditRunsOnlyWhatReadsIt counts formulas, in a small and in a large
// world: the number must not depend on how many others there are.
func TestAnEditRunsOnlyWhatReadsIt(t *testing.T) {
	edits := []struct {
		name string
		edit func(world) routing.ObjectKey
		want int
	}{
		{"weight", func(w world) routing.ObjectKey { return w.put("HTTPRoute", largeRoute(1, 2, "shop.example.com")) }, 3},    // attach, rules, route
		{"hostname", func(w world) routing.ObjectKey { return w.put("HTTPRoute", largeRoute(1, 2, "other.example.com")) }, 3}, // the same
		{"endpoints", func(w world) routing.ObjectKey { return w.put("EndpointSlice", largeSlice(1, 5)) }, 2},                 // slice, endpoints
		{"added", func(w world) routing.ObjectKey { return w.put("HTTPRoute", largeRoute(-1, 1, "shop.example.com")) }, 5},    // the same, backend, Gateway
		{"removed", func(w world) routing.ObjectKey { k := largeKey(-1); delete(w, k); return k }, 4},                         // attach, rules, route, Gateway
		{"unused Service", func(w world) routing.ObjectKey {
			return w.put("Service", &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "nobodys"}})
		}, 2}, // binding, facade: nobody else reads it
	}
	for _, size := range []int{2, 500} {
		w := largeWorld(size)
		tr := New(w, largeOptions)
		tr.Update(w.keys())
		ran := 0
		tr.sheet.Trace(func(cellID) { ran++ })
		for _, e := range edits {
			ran = 0
			tr.Update([]routing.ObjectKey{e.edit(w)})
			if ran != e.want {
				t.Errorf("with %d routes an edit of %s runs %d formulas, want %d", size, e.name, ran, e.want)
			}
		}
	}
}

func largeKey(i int) routing.ObjectKey {
	return routing.ObjectKey{Kind: "HTTPRoute", Namespace: "shop", Name: fmt.Sprintf("r%d", i)}
}

// BenchmarkUpdateOneOf5000 is the budget of an edited route: well under 1 ms.
func BenchmarkUpdateOneOf5000(b *testing.B) {
	w := largeWorld(5000)
	tr := New(w, largeOptions)
	tr.Update(w.keys())
	run := func(name string, edit func(n int) routing.ObjectKey) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				n++
				d, _ := tr.Update([]routing.ObjectKey{edit(n)})
				if len(d.Routes)+len(d.Endpoints) != 1 {
					b.Fatalf("an edit changes %d routes and %d endpoints, want one of both", len(d.Routes), len(d.Endpoints))
				}
			}
		})
	}
	run("weight", func(n int) routing.ObjectKey {
		return w.put("HTTPRoute", largeRoute(7, int32(1+n%100), "shop.example.com"))
	})
	run("hostname", func(n int) routing.ObjectKey {
		return w.put("HTTPRoute", largeRoute(7, 1, gatewayv1.Hostname(fmt.Sprintf("h%d.example.com", n))))
	})
	run("endpoints", func(n int) routing.ObjectKey { return w.put("EndpointSlice", largeSlice(7, 1+n%2)) })
}

func BenchmarkFirstUpdate5000(b *testing.B) {
	w := largeWorld(5000)
	keys := w.keys()
	b.ReportAllocs()
	for b.Loop() {
		New(w, largeOptions).Update(keys)
	}
}

// BenchmarkMemory5000 reports what a Translator holds for 5,000 routes with
// their Services, beside the objects.
func BenchmarkMemory5000(b *testing.B) {
	w := largeWorld(5000)
	keys := w.keys()
	for b.Loop() {
		before := heapBytes()
		tr := New(w, largeOptions)
		held, _ := tr.Update(keys)
		b.ReportMetric(float64(heapBytes()-before)/(1<<20), "MiB")
		runtime.KeepAlive(tr)
		runtime.KeepAlive(held)
	}
}

func heapBytes() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
