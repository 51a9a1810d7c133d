package cluster

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/yaml"
)

// town is what n routes to n Services of a pod each are made of, as people
// write them and controllers fill them in: N is a number, H its hundreds.
const town = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: route-N
  namespace: town-H
  labels: {app.kubernetes.io/name: app-N, app.kubernetes.io/managed-by: Helm, helm.sh/chart: app-1.2.3}
  annotations: {meta.helm.sh/release-name: app-N, meta.helm.sh/release-namespace: town-H}
spec:
  parentRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge, namespace: gateways}]
  hostnames: [app-N.example.com]
  rules:
  - matches: [{path: {type: PathPrefix, value: /}}]
    backendRefs: [{group: "", kind: Service, name: app-N, port: 8080, weight: 1}]
  - matches: [{path: {type: PathPrefix, value: /api}, headers: [{type: Exact, name: x-version, value: v2}]}]
    backendRefs: [{group: "", kind: Service, name: app-N, port: 8080, weight: 1}]
    filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-a, value: b}]}}]
status:
  parents:
  - controllerName: fairway.dev/gateway-controller
    parentRef: {group: gateway.networking.k8s.io, kind: Gateway, name: edge, namespace: gateways}
    conditions:
    - {type: Accepted, status: "True", reason: Accepted, message: "", lastTransitionTime: "2026-01-02T03:04:05Z", observedGeneration: 1}
    - {type: ResolvedRefs, status: "True", reason: ResolvedRefs, message: "", lastTransitionTime: "2026-01-02T03:04:05Z", observedGeneration: 1}
---
apiVersion: v1
kind: Service
metadata:
  name: app-N
  namespace: town-H
  labels: {app.kubernetes.io/name: app-N, app.kubernetes.io/managed-by: Helm, helm.sh/chart: app-1.2.3}
spec:
  clusterIP: 10.96.0.1
  clusterIPs: [10.96.0.1]
  internalTrafficPolicy: Cluster
  ipFamilies: [IPv4]
  ipFamilyPolicy: SingleStack
  ports: [{name: http, port: 8080, protocol: TCP, targetPort: http}]
  selector: {app.kubernetes.io/name: app-N}
  sessionAffinity: None
  type: ClusterIP
status: {loadBalancer: {}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: app-N-abcde
  namespace: town-H
  labels: {kubernetes.io/service-name: app-N, endpointslice.kubernetes.io/managed-by: endpointslice-controller.k8s.io}
addressType: IPv4
ports: [{name: http, port: 8080, protocol: TCP}]
endpoints:
- addresses: [10.0.H.1]
  conditions: {ready: true, serving: true, terminating: false}
  nodeName: node-1
  zone: europe-west1-b
  targetRef: {kind: Pod, namespace: town-H, name: app-N-7d9f8b6c5d-x2k4j, uid: 0d7f0c0e-7c2b-4c0e-9f7e-3b0b0a9d3c1e}
`

// settle makes n of each of the objects of a town.
func (a *apiServer) settle(town string, n int) {
	for _, text := range strings.Split(town, "\n---\n") {
		template, err := yaml.ToJSON([]byte(text))
		if err != nil {
			a.t.Fatal(err)
		}
		for i := range n {
			var o resource
			if err := json.Unmarshal(number(template, i), &o); err != nil {
				a.t.Fatal(err)
			}
			a.put(o)
		}
	}
}

// number puts a number into a template.
func number(template []byte, i int) []byte {
	return []byte(strings.NewReplacer("-N", fmt.Sprintf("-%d", i), "-H", fmt.Sprintf("-%d", i/100), ".H.", fmt.Sprintf(".%d.", i/100)).Replace(string(template)))
}

// heap is what lives.
func heap() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// What control may have is 500 MiB with 5,000 routes, Services and pods: the
// World is to take 8 % of that.
func TestSize(t *testing.T) {
	const n, most = 1000, 8 << 20
	a := newAPIServer(t)
	a.settle(town, n)
	before := heap()
	o := observe(t, a, Options{})
	if keys := o.start(); len(keys) < 3*n {
		t.Fatalf("%d objects, want %d", len(keys), 3*n)
	}
	grown := heap() - before
	t.Logf("%.1f MiB", float64(grown)/(1<<20))
	if grown > most {
		t.Errorf("%d routes, Services and EndpointSlices take %d bytes, want at most %d", n, grown, most)
	}
	runtime.KeepAlive(o)
}

// A new route among thousands, from the API server to the call of apply.
func BenchmarkNewRoute(b *testing.B) {
	for _, n := range []int{1, 5000} {
		b.Run(fmt.Sprintf("among %d", n), func(b *testing.B) {
			a := newAPIServer(b)
			a.settle(town, n)
			o := observe(b, a, Options{})
			o.start()
			text, _, _ := strings.Cut(town, "\n---\n")
			template, err := yaml.ToJSON([]byte(text))
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for i := n; b.Loop(); i++ {
				var r resource
				if err := json.Unmarshal(number(template, i), &r); err != nil {
					b.Fatal(err)
				}
				o.goOn()
				a.put(r)
				if c := o.next(); len(c.Keys) != 1 {
					b.Fatalf("Change %v", c)
				}
			}
		})
	}
}
