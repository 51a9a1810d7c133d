package gatewayapi

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing"
)

// meshOfServices has namespaces with a waypoint each, and n Services over them,
// each with a slice of three endpoints and a producer route.
func meshOfServices(n, namespaces int) world {
	w := world{}
	for i := range namespaces {
		ns := largeNamespace(i)
		w.put("Namespace", &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns, Labels: map[string]string{waypointLabel: "waypoint"}}})
		gw := &gatewayv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "waypoint", CreationTimestamp: day(1)}}
		gw.Spec.GatewayClassName = "fairway"
		gw.Spec.Listeners = []gatewayv1.Listener{{Name: "mesh", Port: 15008, Protocol: hboneProtocol}}
		w.put("Gateway", gw)
		w.put("EndpointSlice", waypointSlice(ns, true))
	}
	ports := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "fairway-system", Name: "fairway-mesh-ports"}, Data: map[string]string{}}
	for i := range n {
		ns := largeNamespace(i % namespaces)
		w.put("Service", meshService(ns, i))
		slice := largeSlice(i, 3)
		slice.Namespace = ns
		w.put("EndpointSlice", slice)
		w.put("HTTPRoute", meshRoute(ns, ns, i, 1))
		ports.Data[fmt.Sprintf("s%d.%s.80", i, ns)] = fmt.Sprint(FirstMeshPort + i)
	}
	w.put("ConfigMap", ports)
	return w
}

func waypointSlice(ns string, ready bool) metav1.Object {
	o := largeSlice(0, 1)
	o.Namespace, o.Name, o.Labels = ns, "waypoint", map[string]string{"kubernetes.io/service-name": "waypoint"}
	o.Endpoints[0].Conditions.Ready = &ready
	return o
}

func meshService(ns string, i int) *corev1.Service {
	o := largeService(fmt.Sprintf("s%d", i))
	o.Namespace = ns
	o.Spec.ClusterIPs = []string{fmt.Sprintf("10.96.%d.%d", i/256, i%256)}
	return o
}

// meshRoute is a route of a namespace whose parent is a Service.
func meshRoute(from, ns string, i int, weight int32) *gatewayv1.HTTPRoute {
	o := largeRoute(i, weight, "ignored")
	group, kind, of := gatewayv1.Group(""), gatewayv1.Kind("Service"), gatewayv1.Namespace(ns)
	name := gatewayv1.ObjectName(fmt.Sprintf("s%d", i))
	o.Namespace, o.Spec.Hostnames = from, nil
	o.Spec.ParentRefs = []gatewayv1.ParentReference{{Group: &group, Kind: &kind, Namespace: &of, Name: name}}
	o.Spec.Rules[0].BackendRefs[0].Namespace = &of
	return o
}

// portMoved gives the port of a Service another number.
func portMoved(w world) routing.ObjectKey {
	k := routing.ObjectKey{Kind: "ConfigMap", Namespace: "fairway-system", Name: "fairway-mesh-ports"}
	o := w[k].(*corev1.ConfigMap).DeepCopy()
	o.Data["s1.ns1.80"] = "50000"
	return w.put("ConfigMap", o)
}

// TestAnEditInTheMeshRunsOnlyWhatReadsIt counts formulas: the number must not
// depend on how many other Services there are.
func TestAnEditInTheMeshRunsOnlyWhatReadsIt(t *testing.T) {
	edits := []struct {
		name string
		edit func(world) routing.ObjectKey
		want int
	}{
		{"a producer route", func(w world) routing.ObjectKey { return w.put("HTTPRoute", meshRoute("ns1", "ns1", 1, 2)) }, 3}, // attach, rules, route
		{"a consumer route", func(w world) routing.ObjectKey { return w.put("HTTPRoute", meshRoute("ns2", "ns1", 1, 2)) }, 7}, // those, permit, mentions, facade, and the producer's attach
		{"endpoints", func(w world) routing.ObjectKey {
			o := largeSlice(1, 5)
			o.Namespace = "ns1"
			return w.put("EndpointSlice", o)
		}, 2},
		{"a pod of a waypoint more", func(w world) routing.ObjectKey {
			o := largeSlice(0, 2)
			o.Namespace, o.Name, o.Labels = "ns1", "waypoint", map[string]string{"kubernetes.io/service-name": "waypoint"}
			return w.put("EndpointSlice", o)
		}, 3}, // slice, ready, waypoint
		{"a Service's address", func(w world) routing.ObjectKey {
			o := meshService("ns1", 1)
			o.Spec.ClusterIPs = []string{"10.96.255.1"}
			return w.put("Service", o)
		}, 7},
	}
	for _, size := range []int{6, 600} {
		w := meshOfServices(size, 3)
		tr := New(w, Options{DefaultClass: "fairway", Isolated: true})
		tr.Update(w.keys())
		ran := 0
		var list []cellID
		tr.sheet.Trace(func(id cellID) { ran++; list = append(list, id) })
		for _, e := range edits {
			ran, list = 0, nil
			tr.Update([]routing.ObjectKey{e.edit(w)})
			if ran != e.want {
				t.Errorf("with %d Services an edit of %s runs %d formulas, want %d: %v", size, e.name, ran, e.want, list)
			}
		}
	}
}

// meshOfPods adds n pods to each namespace of a mesh, whose waypoints are for them
// too.
func (w world) meshOfPods(n, namespaces int, waypointFor string) world {
	for i := range namespaces {
		ns := largeNamespace(i)
		gw := *w[routing.ObjectKey{Kind: "Gateway", Namespace: ns, Name: "waypoint"}].(*gatewayv1.Gateway)
		gw.Labels = map[string]string{waypointForLabel: waypointFor}
		w.put("Gateway", &gw)
		for j := range n {
			w.put("Pod", meshPod(ns, i*n+j))
		}
	}
	return w
}

func meshPod(ns string, i int) *corev1.Pod {
	o := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: fmt.Sprintf("p%d", i), Labels: map[string]string{"app": "cart"}}}
	o.Spec.Containers = []corev1.Container{{Ports: []corev1.ContainerPort{{ContainerPort: 8080}, {ContainerPort: 9090}}}}
	o.Status.Phase = corev1.PodRunning
	o.Status.PodIPs = []corev1.PodIP{{IP: fmt.Sprintf("10.%d.%d.%d", i>>16&255, i>>8&255, i&255)}}
	return o
}

// A pod more, or less, is what it reads itself, whoever its waypoint is for and
// however many others there are.
func TestAPodRunsOnlyItself(t *testing.T) {
	for _, waypointFor := range []string{"service", "workload", "all"} {
		for _, size := range []int{3, 300} {
			w := meshOfServices(6, 3).meshOfPods(size, 3, waypointFor)
			tr := New(w, Options{DefaultClass: "fairway", Isolated: true})
			tr.Update(w.keys())
			var list []cellID
			tr.sheet.Trace(func(id cellID) { list = append(list, id) })
			moved := meshPod("ns1", size)
			moved.Status.PodIPs[0].IP = "10.255.0.1"
			doors := 6 // any port and two, at its own waypoint and shared by the others
			if waypointFor == "service" {
				doors = 0
			}
			if waypointFor == "workload" {
				doors = 3 // as no connections of workloads go through it
			}
			for name, edit := range map[string]struct {
				key      routing.ObjectKey
				formulas int
			}{
				"one that comes": {w.put("Pod", meshPod("ns1", 999)), 2}, // pod, workload
				"one that moves": {w.put("Pod", moved), 2},
			} {
				list = nil
				d, _ := tr.Update([]routing.ObjectKey{edit.key})
				if len(list) != edit.formulas || len(d.Listeners) != doors {
					t.Errorf("waypoints for %s, %d pods: %s runs %v and makes %d listeners; want %d formulas, %d listeners",
						waypointFor, 3*size, name, list, len(d.Listeners), edit.formulas, doors)
				}
			}
		}
	}
}

// A port that gets its number costs the Services whose numbers are kept beside
// it: one in 256.
func TestAPortOfTheMeshCostsItsShard(t *testing.T) {
	w := meshOfServices(600, 20)
	tr := New(w, Options{DefaultClass: "fairway", Isolated: true})
	tr.Update(w.keys())
	services := 0
	tr.sheet.Trace(func(id cellID) {
		if id.Kind == facadeCell {
			services++
		}
	})
	d, _ := tr.Update([]routing.ObjectKey{portMoved(w)})
	if len(d.Captures) != 1 || d.Captures[0].To != 50000 || len(d.Listeners) != 2 {
		t.Errorf("a port moved: %d captures, %d listeners, want 1 and its 2 doors: its waypoint's, and that of the 19 others", len(d.Captures), len(d.Listeners))
	}
	if services > 12 {
		t.Errorf("%d of 600 Services ran again, want those of a shard", services)
	}
	d, _ = tr.Update([]routing.ObjectKey{gone(w, "Gateway", "ns7", "waypoint")})
	if n := slices.DeleteFunc(d.Removed.Listeners, func(l routing.ListenerName) bool { return !strings.HasPrefix(string(l), "ns7/") }); len(n) != 31 {
		t.Errorf("a waypoint that goes takes %d listeners with it, want the doors of its 30 Services and its own", len(n))
	}
}

// A waypoint more through which workloads call is told to the others, and makes
// neither doors nor work for Services.
func TestAWaypointMoreMakesNoDoors(t *testing.T) {
	w := meshOfServices(600, 20)
	tr := New(w, Options{DefaultClass: "fairway", Isolated: true})
	tr.Update(w.keys())
	services := 0
	tr.sheet.Trace(func(id cellID) {
		if id.Kind == facadeCell {
			services++
		}
	})
	ns := largeNamespace(20)
	gw := *w[routing.ObjectKey{Kind: "Gateway", Namespace: "ns1", Name: "waypoint"}].(*gatewayv1.Gateway)
	gw.Namespace = ns
	d, _ := tr.Update([]routing.ObjectKey{
		w.put("Gateway", &gw), w.put("EndpointSlice", waypointSlice(ns, true)),
		w.put("Namespace", &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns, Labels: map[string]string{waypointLabel: "waypoint"}}}),
	})
	for _, l := range d.Listeners {
		if l.Inside {
			t.Errorf("it makes the door %s", l.Name)
		}
		if l.Gateway == ns+"/waypoint" && !l.Calls() {
			t.Error("its listener does not say that workloads call through it")
		}
	}
	if services > 0 || len(d.Listeners) != 21 {
		t.Errorf("%d Services ran again, and %d listeners changed; want none, and those of protocol HBONE", services, len(d.Listeners))
	}
}

// gone takes an object out of a world.
func gone(w world, kind, ns, name string) routing.ObjectKey {
	k := routing.ObjectKey{Kind: kind, Namespace: ns, Name: name}
	delete(w, k)
	return k
}

// BenchmarkPods says what a pod costs: with three waypoints, and two ports that it
// declares.
func BenchmarkPods(b *testing.B) {
	const each = 3000
	for _, waypointFor := range []string{"service", "all"} {
		w := meshOfServices(30, 3).meshOfPods(each, 3, waypointFor)
		keys := w.keys()
		opts := Options{DefaultClass: "fairway", Isolated: true}
		b.Run("first, for "+waypointFor, func(b *testing.B) {
			for b.Loop() {
				before := heapBytes()
				tr := New(w, opts)
				held, _ := tr.Update(keys)
				b.ReportMetric(float64(heapBytes()-before)/(3*each), "B/pod")
				runtime.KeepAlive(tr)
				runtime.KeepAlive(held)
			}
		})
		tr := New(w, opts)
		tr.Update(keys)
		b.Run("moves, for "+waypointFor, func(b *testing.B) {
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				o := meshPod("ns1", each)
				o.Status.PodIPs[0].IP = fmt.Sprintf("10.255.0.%d", n%250)
				tr.Update([]routing.ObjectKey{w.put("Pod", o)})
			}
		})
	}
}

// BenchmarkMesh is 5,000 Services at three waypoints: 10,000 doors, of which waypoints
// share one half.
func BenchmarkMesh(b *testing.B) {
	w := meshOfServices(5000, 3)
	run := benchmarkEdits(b, w)
	run("weight", func(n int) routing.ObjectKey { return w.put("HTTPRoute", meshRoute("ns1", "ns1", 7, int32(1+n%100))) })
	run("Service", func(n int) routing.ObjectKey {
		o := meshService("ns1", 7)
		o.Spec.Ports[0].Port = int32(80 + n%2)
		return w.put("Service", o)
	})
	run("port", func(n int) routing.ObjectKey {
		k := portMoved(w)
		w[k].(*corev1.ConfigMap).Data["s1.ns1.80"] = fmt.Sprint(50000 + n%2)
		return k
	})
	run("waypoint ready", func(n int) routing.ObjectKey { return w.put("EndpointSlice", waypointSlice("ns1", n%2 == 0)) })
	run("Namespace enrolled", func(n int) routing.ObjectKey {
		o := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "ns1", Labels: map[string]string{}}}
		if n%2 == 0 {
			o.Labels[waypointLabel] = "waypoint"
		}
		return w.put("Namespace", o)
	})
}
