package istio

import (
	"fmt"
	"runtime"
	"testing"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing"
	"fairway.dev/routing/dialect"
	"fairway.dev/routing/dialecttest"
)

// manyRoutes are n VirtualServices on hosts of their own, and as many again on
// one host that they share, behind one Gateway.
func manyRoutes(n int) dialecttest.World {
	w := dialecttest.World{}
	fleet := &gatewayv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: "istio-system", Name: "ingress", CreationTimestamp: dialecttest.Day(1)}}
	fleet.Spec.GatewayClassName = "fairway"
	fleet.Spec.Infrastructure = &gatewayv1.GatewayInfrastructure{Labels: map[gatewayv1.LabelKey]gatewayv1.LabelValue{"istio": "ingressgateway"}}
	w.Put("Gateway", fleet)
	edge := &networkingv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "edge", CreationTimestamp: dialecttest.Day(1)}}
	edge.Spec.Selector = map[string]string{"istio": "ingressgateway"}
	edge.Spec.Servers = []*networking.Server{{Port: &networking.Port{Number: 80, Name: "http", Protocol: "HTTP"}, Hosts: []string{"*"}}}
	w.Put(KindGateway, edge)
	for _, name := range []string{"one", "two"} {
		svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}}
		svc.Spec.Ports = []corev1.ServicePort{{Name: "http", Port: 80}}
		w.Put("Service", svc)
	}
	for i := range n {
		w.Put(KindVirtualService, splitRoute(fmt.Sprintf("own%d", i), fmt.Sprintf("own%d.example.com", i), "/", 90))
		w.Put(KindVirtualService, splitRoute(fmt.Sprintf("shared%d", i), "shared.example.com", fmt.Sprintf("/p%d", i), 90))
	}
	return w
}

// splitRoute sends what is under a path to two Services.
func splitRoute(name, host, path string, weight int32) *networkingv1.VirtualService {
	o := &networkingv1.VirtualService{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, CreationTimestamp: dialecttest.Day(2)}}
	o.Spec.Hosts, o.Spec.Gateways = []string{host}, []string{"edge"}
	prefix := &networking.StringMatch{MatchType: &networking.StringMatch_Prefix{Prefix: path}}
	o.Spec.Http = []*networking.HTTPRoute{{
		Match: []*networking.HTTPMatchRequest{{Uri: prefix}},
		Route: []*networking.HTTPRouteDestination{
			{Destination: &networking.Destination{Host: "one"}, Weight: weight},
			{Destination: &networking.Destination{Host: "two"}, Weight: 100 - weight},
		},
	}}
	return o
}

// TestAnEditOfOneVirtualServiceRunsOnlyItsOwn counts formulas: the number must
// not depend on how many others there are, on the same host neither.
func TestAnEditOfOneVirtualServiceRunsOnlyItsOwn(t *testing.T) {
	put := func(o *networkingv1.VirtualService) func(dialecttest.World) routing.ObjectKey {
		return func(w dialecttest.World) routing.ObjectKey { return w.Put(KindVirtualService, o) }
	}
	remove := func(name string) func(dialecttest.World) routing.ObjectKey {
		return func(w dialecttest.World) routing.ObjectKey {
			k := routing.ObjectKey{Kind: KindVirtualService, Namespace: "shop", Name: name}
			delete(w, k)
			return k
		}
	}
	edits := []struct {
		name string
		edit func(dialecttest.World) routing.ObjectKey
		want int // formulas that run: one of them looks whether it is for the mesh
	}{
		{"a weight", put(splitRoute("own1", "own1.example.com", "/", 80)), 2},
		{"a weight on the shared host", put(splitRoute("shared1", "shared.example.com", "/p1", 80)), 2},
		{"a path", put(splitRoute("own1", "own1.example.com", "/x", 80)), 4},
		{"a host", put(splitRoute("own1", "new1.example.com", "/x", 80)), 4},
		{"an added one", put(splitRoute("more", "more.example.com", "/", 90)), 4},
		{"an added one on the shared host", put(splitRoute("more2", "shared.example.com", "/more", 90)), 3},
		{"a removed one", remove("more"), 4},
		{"a removed one on the shared host", remove("more2"), 3},
	}
	for _, size := range []int{3, 300} {
		w := manyRoutes(size)
		tr := newTranslator(w, inCluster)
		tr.Update(w.Keys())
		var ran []dialect.ID
		tr.Sheet().Trace(func(id dialect.ID) { ran = append(ran, id) })
		for _, e := range edits {
			ran = nil
			tr.Update([]routing.ObjectKey{e.edit(w)})
			if len(ran) != e.want {
				t.Errorf("with %d VirtualServices, an edit of %s runs %d formulas, want %d: %v", 2*size, e.name, len(ran), e.want, ran)
			}
		}
	}
}

// BenchmarkVirtualServices is 5,000 VirtualServices, half of them on one host.
func BenchmarkVirtualServices(b *testing.B) {
	w := manyRoutes(2500)
	keys := w.Keys()
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			before := heapBytes()
			tr := newTranslator(w, inCluster)
			held, _ := tr.Update(keys)
			b.ReportMetric(float64(heapBytes()-before)/(1<<20), "MiB")
			runtime.KeepAlive(tr)
			runtime.KeepAlive(held)
		}
	})
	tr := newTranslator(w, inCluster)
	tr.Update(keys)
	run := func(name string, edit func(n int) *networkingv1.VirtualService) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				n++
				tr.Update([]routing.ObjectKey{w.Put(KindVirtualService, edit(n))})
			}
		})
	}
	run("weight", func(n int) *networkingv1.VirtualService {
		return splitRoute("own7", "own7.example.com", "/", int32(n%100))
	})
	run("weight on the shared host", func(n int) *networkingv1.VirtualService {
		return splitRoute("shared7", "shared.example.com", "/p7", int32(n%100))
	})
	run("host", func(n int) *networkingv1.VirtualService {
		return splitRoute("own7", fmt.Sprintf("x%d.example.com", n), "/", 90)
	})
	run("catch-all of the shared host", func(n int) *networkingv1.VirtualService {
		return splitRoute("shared7", "shared.example.com", []string{"/", "/p7"}[n%2], 90)
	})
}

// heapBytes is what the heap holds.
func heapBytes() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
