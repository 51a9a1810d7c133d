package cluster

import (
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	networkingv1alpha3 "istio.io/client-go/pkg/apis/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing/istio"
)

const bookinfo = `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: shop, annotations: {istio.io/rev: default, kubectl.kubernetes.io/last-applied-configuration: "{}"}}
spec:
  hosts: [reviews]
  later: {a: field}
  http:
  - timeout: 1.5s
    retries: {attempts: 0}
    route: [{destination: {host: reviews}}]
status:
  observedGeneration: "7"
  conditions: [{type: example.com/Seen, status: "True", later: 1}]
---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: lua, namespace: shop}
spec: {configPatches: [{applyTo: CLUSTER}]}
`

const subsets = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews, namespace: shop}
spec: {host: reviews, subsets: [{name: v2, labels: {version: v2}}]}
`

const pods = `
apiVersion: v1
kind: Pod
metadata: {name: reviews-1, namespace: shop, labels: {version: v1}, annotations: {cni.example.com/ip: 10.0.0.1}}
spec: {nodeName: n1}
---
apiVersion: v1
kind: Pod
metadata: {name: reviews-2, namespace: shop, labels: {version: v2}}
spec: {nodeName: n1}
`

// Both APIs have a kind Gateway, and whoever has a key knows which is meant.
func TestGatewaysOfTwoAPIs(t *testing.T) {
	a := newAPIServer(t)
	a.apply(shop)
	a.apply(bookinfo)
	o := observe(t, a, Options{})
	keys := texts(o.start())
	for _, want := range []string{"Gateway shop/edge", "Gateway.networking.istio.io shop/edge"} {
		if !slices.Contains(keys, want) {
			t.Errorf("keys %q, want %s among them", keys, want)
		}
	}
	get[gatewayv1.Gateway](t, o, key("Gateway", "shop", "edge"))
	g := get[networkingv1.Gateway](t, o, key(istio.KindGateway, "shop", "edge"))
	if g.Spec.Selector["istio"] != "ingressgateway" || g.Spec.Servers[0].Port.Number != 80 {
		t.Errorf("Gateway %v", &g.Spec)
	}
	if r, ok := o.Resource(istio.KindGateway); !ok || r.Group != istioGroup || r.Resource != "gateways" {
		t.Errorf("Resource = %v, %v", r, ok)
	}
}

// Istio's specs are protobuf messages; what their statuses say is kept as it
// came, as nobody here knows all words of it.
func TestIstioObjects(t *testing.T) {
	a := newAPIServer(t)
	a.serve("VirtualService", "v1beta1")
	a.apply(bookinfo)
	o := observe(t, a, Options{})
	o.start()
	k := key("VirtualService", "shop", "reviews")
	v := get[networkingv1.VirtualService](t, o, k)
	h := v.Spec.Http[0]
	if h.Timeout.AsDuration() != 1500*time.Millisecond || h.Retries.Attempts != 0 || h.Route[0].Destination.Host != "reviews" {
		t.Errorf("VirtualService %v", &v.Spec)
	}
	if len(v.Annotations) != 1 || v.Annotations["istio.io/rev"] == "" || len(v.Status.Conditions) != 0 {
		t.Errorf("metadata %+v, status %v: want annotations of istio.io and no status", v.ObjectMeta, &v.Status)
	}
	status, apart := o.Status(k)
	if want := `{"conditions":[{"later":1,"status":"True","type":"example.com/Seen"}],"observedGeneration":"7"}`; !apart || string(status) != want {
		t.Errorf("Status = %s, %v, want %s", status, apart, want)
	}
	if f := get[networkingv1alpha3.EnvoyFilter](t, o, key("EnvoyFilter", "shop", "lua")); len(f.Spec.ConfigPatches) != 0 {
		t.Errorf("EnvoyFilter %v: what is refused is held", &f.Spec)
	}
	if _, apart := o.Status(key("HTTPRoute", "shop", "cart")); apart {
		t.Error("an HTTPRoute's status is kept apart")
	}

	// A status alone is no change for a translation.
	a.apply(strings.Replace(bookinfo, `observedGeneration: "7"`, `observedGeneration: "8"`, 1))
	c := o.next()
	for !slices.Contains(c.Statuses, k) && len(c.Keys) == 0 {
		c = o.next()
	}
	status, _ = o.Status(k)
	if len(c.Keys) != 0 || !strings.Contains(string(status), `"8"`) {
		t.Errorf("Change %v, status %s", c, status)
	}
	a.delete("VirtualService", "shop/reviews")
	o.wait(func([]string) bool { return o.Get(k) == nil })
	if status, _ := o.Status(k); status != nil {
		t.Errorf("Status = %s of an object that is gone", status)
	}
}

// Pods are watched while something selects some of them, and what does is
// given together with them.
func TestPodsOnDemand(t *testing.T) {
	a := newAPIServer(t)
	a.apply(shop)
	a.apply(pods)
	o := observe(t, a, Options{})
	if keys := texts(o.start()); slices.Contains(keys, "Pod shop/reviews-1") {
		t.Errorf("keys %q: nobody needs Pods", keys)
	}
	if n := a.count("WATCH pods") + a.count("LIST pods"); n != 0 {
		t.Errorf("Pods were asked for %d times", n)
	}

	a.apply(subsets)
	keys := texts(o.next().Keys)
	if want := []string{"DestinationRule shop/reviews", "Pod shop/reviews-1", "Pod shop/reviews-2"}; !slices.Equal(keys, want) {
		t.Errorf("keys %q, want %q in one Change", keys, want)
	}
	p := get[corev1.Pod](t, o, key("Pod", "shop", "reviews-1"))
	if p.Labels["version"] != "v1" || p.Annotations != nil || p.Spec.NodeName != "n1" {
		t.Errorf("Pod %+v, want its labels and its node", p)
	}

	// What else becomes of a Pod is no Change.
	a.apply(strings.Replace(pods, "nodeName: n1", "nodeName: n1, priority: 7", 1))
	a.apply(strings.Replace(pods, "version: v2", "version: v3", 1))
	if keys := texts(o.next().Keys); !slices.Equal(keys, []string{"Pod shop/reviews-2"}) {
		t.Errorf("keys %q, want the one with other labels", keys)
	}

	a.delete("DestinationRule", "shop/reviews")
	o.wait(func([]string) bool { return o.Get(key("DestinationRule", "shop", "reviews")) == nil })
	if o.Get(key("Pod", "shop", "reviews-1")) != nil {
		t.Error("Pods are held though nobody needs them")
	}
	o.goOn()
	a.apply(subsets)
	o.wait(func(keys []string) bool { return slices.Contains(keys, "Pod shop/reviews-1") })
}

// With a rule that needs them, the first Change has Pods.
func TestPodsFromTheBeginning(t *testing.T) {
	a := newAPIServer(t)
	a.apply(pods)
	a.apply(subsets)
	o := observe(t, a, Options{})
	if keys := texts(o.next().Keys); !slices.Contains(keys, "Pod shop/reviews-1") {
		t.Errorf("keys %q, want Pods", keys)
	}
}

// Who may not list Pods has everything else.
func TestPodsRefused(t *testing.T) {
	a := newAPIServer(t)
	a.apply(pods)
	a.refuses["pods"] = http.StatusForbidden
	o := observe(t, a, Options{})
	o.start()
	a.apply(subsets)
	if keys := texts(o.next().Keys); !slices.Equal(keys, []string{"DestinationRule shop/reviews"}) {
		t.Errorf("keys %q, want the rule", keys)
	}
	a.set(func() { delete(a.refuses, "pods") })
	o.wait(func(keys []string) bool { return slices.Contains(keys, "Pod shop/reviews-1") })
}

// What Istio's agents say of a workload's health is read; what else its status
// says is not.
func TestHealthOfAWorkload(t *testing.T) {
	const vm = `
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: vm, namespace: shop, annotations: {proxy.istio.io/health-checks-enabled: "true"}}
spec: {address: 192.0.2.7}
status: {conditions: [{type: Healthy, status: "True", lastProbeTime: "2026-01-02T03:04:05Z"}, {type: fairway.dev/Accepted, status: "True"}]}
`
	a := newAPIServer(t)
	a.apply(vm)
	o := observe(t, a, Options{})
	o.start()
	k := key("WorkloadEntry", "shop", "vm")
	e := get[networkingv1.WorkloadEntry](t, o, k)
	if len(e.Status.Conditions) != 1 || e.Status.Conditions[0].Status != "True" || e.Annotations["proxy.istio.io/health-checks-enabled"] != "true" {
		t.Errorf("WorkloadEntry %v, annotations %v: want its health", &e.Status, e.Annotations)
	}
	a.apply(strings.Replace(vm, `lastProbeTime: "2026-01-02T03:04:05Z"`, `lastProbeTime: "2026-01-02T03:04:15Z"`, 1))
	for c := o.next(); !slices.Contains(c.Statuses, k); c = o.next() {
		if slices.Contains(c.Keys, k) {
			t.Error("another probe with the same result is a change for a translation")
		}
	}
	a.apply(strings.Replace(vm, `type: Healthy, status: "True"`, `type: Healthy, status: "False"`, 1))
	o.wait(func(keys []string) bool { return slices.Contains(keys, k.String()) })
	if e := get[networkingv1.WorkloadEntry](t, o, k); e.Status.Conditions[0].Status != "False" {
		t.Errorf("status %v, want it unhealthy", &e.Status)
	}
}

// villa is a VirtualService as people write them: N is a number.
const villa = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: route-N
  namespace: town-H
  labels: {app.kubernetes.io/name: app-N, app.kubernetes.io/managed-by: Helm, helm.sh/chart: app-1.2.3}
spec:
  hosts: [app-N.example.com]
  gateways: [gateways/edge]
  http:
  - match: [{uri: {prefix: /api}, headers: {x-version: {exact: v2}}}]
    route: [{destination: {host: app-N, subset: v2, port: {number: 8080}}}]
    timeout: 5s
    retries: {attempts: 3, perTryTimeout: 2s}
  - route: [{destination: {host: app-N, subset: v1, port: {number: 8080}}, weight: 90}, {destination: {host: app-N, subset: v2, port: {number: 8080}}, weight: 10}]
status:
  observedGeneration: 1
  conditions:
  - {type: fairway.dev/Accepted, status: "True", reason: Accepted, message: "", lastTransitionTime: "2026-01-02T03:04:05Z", observedGeneration: 1}
  - {type: fairway.dev/Programmed, status: "True", reason: Programmed, message: "", lastTransitionTime: "2026-01-02T03:04:05Z", observedGeneration: 1}
`

// 5,000 VirtualServices are to take no more than 5,000 HTTPRoutes with their
// Services and slices: see TestSize.
func TestSizeOfVirtualServices(t *testing.T) {
	const n, most = 1000, 8 << 20
	a := newAPIServer(t)
	a.settle(villa, n)
	before := heap()
	o := observe(t, a, Options{})
	if keys := o.start(); len(keys) < n {
		t.Fatalf("%d objects, want %d", len(keys), n)
	}
	grown := heap() - before
	t.Logf("%.1f MiB", float64(grown)/(1<<20))
	if grown > most {
		t.Errorf("%d VirtualServices take %d bytes, want at most %d", n, grown, most)
	}
	runtime.KeepAlive(o)
}
