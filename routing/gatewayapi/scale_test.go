package gatewayapi

import (
	"fmt"
	"runtime"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing"
)

// setWorld has a Gateway with n ListenerSets in namespaces of their own, each
// with an HTTPS listener of its own hostname, and routes to one Service.
func setWorld(n, routes int) world {
	w := world{}
	gw := &gatewayv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: "infra", Name: "edge", CreationTimestamp: day(1)}}
	gw.Spec.GatewayClassName = "fairway"
	all := gatewayv1.NamespacesFromAll
	gw.Spec.AllowedListeners = &gatewayv1.AllowedListeners{Namespaces: &gatewayv1.ListenerNamespaces{From: &all}}
	gw.Spec.Listeners = []gatewayv1.Listener{{Name: "http", Port: 80, Protocol: "HTTP"}}
	w.put("Gateway", gw)
	for i := range n {
		ns := largeNamespace(i)
		pair := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "pair"}, Type: corev1.SecretTypeTLS}
		pair.Data = map[string][]byte{corev1.TLSCertKey: pairs()[0].chain, corev1.TLSPrivateKeyKey: pairs()[0].key}
		w.put("Secret", pair)
		w.put("ListenerSet", largeSet(i, fmt.Sprintf("h%d.example.com", i)))
		svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "s0"}}
		svc.Spec.Ports = []corev1.ServicePort{{Name: "http", Port: 80}}
		w.put("Service", svc)
		slice := largeSlice(0, 3)
		slice.Namespace = ns
		w.put("EndpointSlice", slice)
		for j := range routes {
			w.put("HTTPRoute", setRoute(i, j, 1))
		}
	}
	return w
}

func largeNamespace(i int) string { return fmt.Sprintf("ns%d", i) }

func largeSet(i int, host string) *gatewayv1.ListenerSet {
	o := &gatewayv1.ListenerSet{ObjectMeta: metav1.ObjectMeta{Namespace: largeNamespace(i), Name: "set", CreationTimestamp: day(2)}}
	infra, name := gatewayv1.Namespace("infra"), gatewayv1.Hostname(host)
	o.Spec.ParentRef = gatewayv1.ParentGatewayReference{Namespace: &infra, Name: "edge"}
	o.Spec.Listeners = []gatewayv1.ListenerEntry{{
		Name: "https", Port: 443, Protocol: "HTTPS", Hostname: &name,
		TLS: &gatewayv1.ListenerTLSConfig{CertificateRefs: []gatewayv1.SecretObjectReference{{Name: "pair"}}},
	}}
	return o
}

// setRoute is a route of a ListenerSet.
func setRoute(i, j int, weight int32) *gatewayv1.HTTPRoute {
	o := largeRoute(0, weight, "ignored")
	kind := gatewayv1.Kind("ListenerSet")
	path := fmt.Sprintf("/p%d", j)
	o.Namespace, o.Name, o.Spec.Hostnames = largeNamespace(i), fmt.Sprintf("r%d", j), nil
	o.Spec.ParentRefs = []gatewayv1.ParentReference{{Kind: &kind, Name: "set"}}
	o.Spec.Rules[0].Matches[0].Path.Value = &path
	return o
}

// TestAnEditOfOneListenerSetRunsOnlyItsOwn counts formulas, as
// TestAnEditRunsOnlyWhatReadsIt does: the number must not depend on how many
// other sets there are.
func TestAnEditOfOneListenerSetRunsOnlyItsOwn(t *testing.T) {
	edits := []struct {
		name           string
		edit           func(world) routing.ObjectKey
		isolated, want int // formulas that run, where Gateways are isolated and where they are not
	}{
		{"weight", func(w world) routing.ObjectKey { return w.put("HTTPRoute", setRoute(1, 0, 2)) }, 3, 3},
		{"an added route", func(w world) routing.ObjectKey { return w.put("HTTPRoute", setRoute(1, 99, 1)) }, 4, 4},
		{"hostname", func(w world) routing.ObjectKey { return w.put("ListenerSet", largeSet(1, "other.example.com")) }, 12, 15},
		// It comes before all others in rank.
		{"an added set", func(w world) routing.ObjectKey { return w.put("ListenerSet", largeSet(-1, "new.example.com")) }, 8, 10},
		{"a stolen hostname", func(w world) routing.ObjectKey { return w.put("ListenerSet", largeSet(-1, "h0.example.com")) }, 14, 17},
		{"a removed set", func(w world) routing.ObjectKey { k := setKey(-1); delete(w, k); return k }, 16, 18},
		{"the Gateway", edgeWithListener, 11, 15},
	}
	for _, isolated := range []bool{true, false} {
		for _, size := range []int{3, 300} {
			w := setWorld(size, 2)
			tr := New(w, Options{DefaultClass: "fairway", Isolated: isolated})
			tr.Update(w.keys())
			ran := 0
			tr.sheet.Trace(func(cellID) { ran++ })
			for _, e := range edits {
				want := e.want
				if isolated {
					want = e.isolated
				}
				ran = 0
				tr.Update([]routing.ObjectKey{e.edit(w)})
				if ran != want {
					t.Errorf("with %d sets, isolated %t, an edit of %s runs %d formulas, want %d", size, isolated, e.name, ran, want)
				}
			}
		}
	}
}

func setKey(i int) routing.ObjectKey {
	return routing.ObjectKey{Kind: "ListenerSet", Namespace: largeNamespace(i), Name: "set"}
}

// edgeWithListener gives the Gateway another listener.
func edgeWithListener(w world) routing.ObjectKey {
	was := w[routing.ObjectKey{Kind: "Gateway", Namespace: "infra", Name: "edge"}].(*gatewayv1.Gateway)
	o := was.DeepCopy()
	o.Spec.Listeners = append(o.Spec.Listeners, gatewayv1.Listener{Name: "more", Port: 81, Protocol: "HTTP"})
	return w.put("Gateway", o)
}

// benchmarkEdits measures the translation of all of w, and returns what measures
// edits of it; those are counted from 1.
func benchmarkEdits(b *testing.B, w world) (run func(name string, edit func(n int) routing.ObjectKey)) {
	keys := w.keys()
	opts := Options{DefaultClass: "fairway", Isolated: true}
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			before := heapBytes()
			tr := New(w, opts)
			held, _ := tr.Update(keys)
			b.ReportMetric(float64(heapBytes()-before)/(1<<20), "MiB")
			runtime.KeepAlive(tr)
			runtime.KeepAlive(held)
		}
	})
	tr := New(w, opts)
	tr.Update(keys)
	return func(name string, edit func(n int) routing.ObjectKey) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				n++
				tr.Update([]routing.ObjectKey{edit(n)})
			}
		})
	}
}

// BenchmarkListenerSets is 40,000 routes on 2,500 ListenerSets.
func BenchmarkListenerSets(b *testing.B) {
	w := setWorld(2500, 16)
	run := benchmarkEdits(b, w)
	run("weight", func(n int) routing.ObjectKey { return w.put("HTTPRoute", setRoute(7, 3, int32(1+n%100))) })
	run("hostname", func(n int) routing.ObjectKey {
		return w.put("ListenerSet", largeSet(7, fmt.Sprintf("x%d.example.com", n)))
	})
	run("added and removed", func(n int) routing.ObjectKey {
		if n%2 == 0 {
			delete(w, setKey(-1))
			return setKey(-1)
		}
		return w.put("ListenerSet", largeSet(-1, "new.example.com"))
	})
}
