package feed

import (
	"fmt"
	"runtime"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing"
	"fairway.dev/routing/gatewayapi"
)

// objects are those of a Kubernetes cluster.
type objects map[routing.ObjectKey]any

func (c objects) Get(k routing.ObjectKey) any { return c[k] }

func (c objects) put(kind string, o metav1.Object) routing.ObjectKey {
	k := routing.ObjectKey{Kind: kind, Namespace: o.GetNamespace(), Name: o.GetName()}
	c[k] = o
	return k
}

// meshOf has namespaces with a waypoint each, which their workloads call through,
// and so many Services over them, each with an endpoint.
func meshOf(waypoints, services int) objects {
	c := objects{}
	for i := range waypoints {
		ns := fmt.Sprintf("ns%d", i)
		c.put("Namespace", &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns, Labels: map[string]string{"istio.io/use-waypoint": "waypoint"}}})
		gw := &gatewayv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "waypoint"}}
		gw.Spec.GatewayClassName = "fairway"
		gw.Spec.Listeners = []gatewayv1.Listener{{Name: "mesh", Port: routing.HBONEPort, Protocol: "HBONE"}}
		c.put("Gateway", gw)
		c.put("EndpointSlice", sliceOf(ns, "waypoint", routing.HBONEPort))
	}
	numbers := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "fairway-system", Name: "fairway-mesh-ports"}, Data: map[string]string{}}
	for i := range services {
		ns, name := fmt.Sprintf("ns%d", i%waypoints), fmt.Sprintf("s%d", i)
		c.put("Service", serviceOf(ns, name, i, 80))
		c.put("EndpointSlice", sliceOf(ns, name, 8080))
		numbers.Data[name+"."+ns+".80"] = fmt.Sprint(gatewayapi.FirstMeshPort + i)
	}
	c.put("ConfigMap", numbers)
	return c
}

func serviceOf(ns, name string, i int, port int32) *corev1.Service {
	o := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}}
	o.Spec.ClusterIPs = []string{fmt.Sprintf("10.96.%d.%d", i/250, i%250+1)}
	o.Spec.Ports = []corev1.ServicePort{{Name: "http", Port: port}}
	return o
}

func sliceOf(ns, service string, port int32) *discoveryv1.EndpointSlice {
	name, ready := "http", true
	return &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: ns, Name: service, Labels: map[string]string{"kubernetes.io/service-name": service}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{"10.1.2.3"}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}},
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Port: &port}},
	}
}

func (c objects) keys() []routing.ObjectKey {
	var keys []routing.ObjectKey
	for k := range c {
		keys = append(keys, k)
	}
	return keys
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// An edit of a Service makes two doors, however many waypoints there are, and
// changes what these have in common and what its own waypoint has, and nothing of
// the others'.
func TestAnEditOfAServiceCostsNoWaypoints(t *testing.T) {
	for _, waypoints := range []int{3, 30} {
		c := meshOf(waypoints, 90)
		tr := gatewayapi.New(c, gatewayapi.Options{DefaultClass: "fairway", Isolated: true})
		d, _ := tr.Update(c.keys())
		if want := 90 + 90 + waypoints; len(d.Listeners) != want {
			t.Errorf("%d waypoints have %d listeners, want %d: each Service's own door and one for the others", waypoints, len(d.Listeners), want)
		}
		w := newWorld(newViewSet(), quiet)
		w.update(d)
		edited := serviceOf("ns1", "s1", 1, 80)
		edited.Spec.ClusterIPs = []string{"10.97.0.1"}
		d, _ = tr.Update([]routing.ObjectKey{c.put("Service", edited)})
		if len(d.Listeners) != 2 || len(d.Removed.Listeners) != 0 {
			t.Errorf("with %d waypoints an edit makes %d listeners, want 2", waypoints, len(d.Listeners))
		}
		touched := 0
		numbers := map[*view]uint64{}
		for _, v := range w.views.views {
			numbers[v] = v.number
		}
		for _, v := range w.update(d) {
			if v.number != numbers[v] && v.gateway != routing.CallingGateways && v.gateway != CaptureGateway {
				touched++
			}
		}
		if touched != 1 {
			t.Errorf("with %d waypoints an edit changes what %d of them have of their own, want 1", waypoints, touched)
		}
	}
}

// BenchmarkWaypoints is 5,000 Services at 100 waypoints. Those had a door each for
// each Service: 500,100 listeners, of which control held 395 MiB where they are
// translated and 725 MiB in the feed, and 100 changed with a Service. Now it is
// 10,100 listeners, 53 MiB and 31 MiB, and 2. A pod gets as much as before, 3.4 MB
// in 10,301 parts: 52 more, as it has the others' door beside its waypoint's own.
func BenchmarkWaypoints(b *testing.B) {
	const waypoints, services = 100, 5000
	c := meshOf(waypoints, services)
	for b.Loop() {
		before := heap()
		tr := gatewayapi.New(c, gatewayapi.Options{DefaultClass: "fairway", Isolated: true})
		d, _ := tr.Update(c.keys())
		b.ReportMetric(float64(len(d.Listeners)), "listeners")
		translated := heap()
		b.ReportMetric(float64(translated-before)/(1<<20), "translator-MiB")
		w := newWorld(newViewSet(), quiet)
		w.update(d)
		d = nil
		b.ReportMetric(float64(heap()-translated)/(1<<20), "feed-MiB")
		bytes, parts := 0, 0
		for _, e := range (&subscription{from: w.views.of("ns1/waypoint").collection}).entries() {
			if e.resource != nil {
				bytes += e.resource.size()
				parts++
			}
		}
		b.ReportMetric(float64(bytes), "B/pod")
		b.ReportMetric(float64(parts), "parts/pod")
		edited := serviceOf("ns1", "s1", 1, 80)
		edited.Spec.ClusterIPs = []string{"10.97.0.1"}
		d, _ = tr.Update([]routing.ObjectKey{c.put("Service", edited)})
		b.ReportMetric(float64(len(d.Listeners)), "listeners/edit")
		runtime.KeepAlive(w)
		runtime.KeepAlive(tr)
	}
}
