package istio

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairway.dev/routing"
	"fairway.dev/routing/dialect"
	"fairway.dev/routing/dialecttest"
)

// manyServices are n Services in one namespace with a pod each, a rule with
// a subset, and a route to each subset; and a rule for all of them in the root
// namespace.
func manyServices(n int) dialecttest.World {
	w := dialecttest.World{}
	all := &networkingv1.DestinationRule{ObjectMeta: metav1.ObjectMeta{Namespace: "istio-system", Name: "all"}}
	all.Spec.Host = "*.local"
	w.Put(KindDestinationRule, all)
	for i := range n {
		name := fmt.Sprintf("s%d", i)
		svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}}
		svc.Spec.Ports = []corev1.ServicePort{{Name: "http", Port: 80}}
		w.Put("Service", svc)
		w.Put("EndpointSlice", sliceOf(name, "10.0.0.1"))
		w.Put(KindPod, podOf(name, "v1", "1"))
		w.Put(KindDestinationRule, ruleOf(name, 10))
		send := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "send-" + name}}
		send.Data = map[string]string{"lines": name + "|v1 from shop by infra"}
		w.Put("ConfigMap", send)
	}
	return w
}

func sliceOf(name, addr string) *discoveryv1.EndpointSlice {
	port, portName := int32(80), "http"
	s := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name + "-1"}}
	s.Labels = map[string]string{discoveryv1.LabelServiceName: name}
	s.Ports = []discoveryv1.EndpointPort{{Name: &portName, Port: &port}}
	s.Endpoints = []discoveryv1.Endpoint{{Addresses: []string{addr}, TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: name + "-pod"}}}
	return s
}

func podOf(name, version, resource string) *corev1.Pod {
	p := &corev1.Pod{}
	p.Namespace, p.Name, p.ResourceVersion = "shop", name+"-pod", resource
	p.Labels = map[string]string{"version": version}
	return p
}

func ruleOf(name string, limit int32) *networkingv1.DestinationRule {
	o := &networkingv1.DestinationRule{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}}
	o.Spec.Host = name
	o.Spec.TrafficPolicy = &networking.TrafficPolicy{ConnectionPool: &networking.ConnectionPoolSettings{
		Http: &networking.ConnectionPoolSettings_HTTPSettings{Http2MaxRequests: limit},
	}}
	o.Spec.Subsets = []*networking.Subset{{Name: "v1", Labels: map[string]string{"version": "v1"}}}
	return o
}

// TestEditsTouchTheirOwnClusters holds the cost of what changes often: whatever
// the number of Services, an edit runs the formulas of one, and no route's.
func TestEditsTouchTheirOwnClusters(t *testing.T) {
	w := manyServices(300)
	tr := newSender(w, inCluster)
	tr.Update(w.Keys())
	var ran []dialect.ID
	tr.Sheet().Trace(func(id dialect.ID) { ran = append(ran, id) })
	tests := []struct {
		name     string
		kind     string
		edited   metav1.Object
		clusters []routing.ClusterName // with a new part
		most     int                   // formulas
	}{
		{"what is not a label of a pod", KindPod, podOf("s7", "v1", "2"), nil, 3},
		{"a label of a pod", KindPod, podOf("s7", "v2", "3"), []routing.ClusterName{"shop/s7:80|v1"}, 5}, // and who the pod is, for the mesh
		{"a slice", "EndpointSlice", sliceOf("s7", "10.0.0.2"), nil, 3},                                  // its pod is in no subset now
		{"a pod in a subset again", KindPod, podOf("s7", "v1", "4"), []routing.ClusterName{"shop/s7:80|v1"}, 5},
		{"an address", "EndpointSlice", sliceOf("s7", "10.0.0.3"), []routing.ClusterName{"shop/s7:80|v1"}, 3},
		{"a trafficPolicy", KindDestinationRule, ruleOf("s7", 20), []routing.ClusterName{"shop/s7:80|v1"}, 10},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ran = nil
			d, _ := tr.Update([]routing.ObjectKey{w.Put(tt.kind, tt.edited)})
			names := map[routing.ClusterName]bool{}
			for _, c := range d.Clusters {
				names[c.Name] = true
			}
			for _, e := range d.Endpoints {
				names[e.Cluster] = true
			}
			if got := slices.Sorted(maps.Keys(names)); !slices.Equal(got, tt.clusters) {
				t.Errorf("clusters %v have new parts, want %v", got, tt.clusters)
			}
			for _, id := range ran {
				if !strings.Contains(id.Name, "s7") || id.Kind == sendCell {
					t.Errorf("the formula of %v ran", id)
				}
			}
			if len(ran) > tt.most {
				t.Errorf("%d formulas ran, want at most %d: %v", len(ran), tt.most, ran)
			}
		})
	}
}

func BenchmarkEditedRule(b *testing.B) {
	w := manyServices(5000)
	tr := newSender(w, inCluster)
	tr.Update(w.Keys())
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		tr.Update([]routing.ObjectKey{w.Put(KindDestinationRule, ruleOf("s7", int32(1+i%100)))})
	}
}
