package cluster

import (
	"net/http"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	security "istio.io/api/security/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const meshPod = `
apiVersion: v1
kind: Pod
metadata:
  name: cart-7d9f8b6c5d-x2k4j
  namespace: shop
  labels: {app: cart, pod-template-hash: 7d9f8b6c5d}
  annotations: {ambient.istio.io/redirection: enabled, cni.example.com/ip: 10.0.0.1}
  ownerReferences:
  - {apiVersion: v1, kind: Thing, name: other, uid: "1"}
  - {apiVersion: apps/v1, kind: ReplicaSet, name: cart-7d9f8b6c5d, uid: "2", controller: true, blockOwnerDeletion: true}
  finalizers: [example.com/keep]
spec:
  serviceAccountName: cart
  nodeName: n1
  initContainers: [{name: sidecar, image: sidecar, ports: [{containerPort: 9000}]}]
  containers: [{name: cart, image: cart, ports: [{name: http, containerPort: 8080}, {containerPort: 53, protocol: UDP}]}]
status:
  phase: Running
  podIP: 10.0.0.1
  podIPs: [{ip: 10.0.0.1}, {ip: "fd00::1"}]
  conditions: [{type: Ready, status: "True"}]
`

var meshPodKey = key("Pod", "shop", "cart-7d9f8b6c5d-x2k4j")

// Of a Pod there is who and where it is, and of what else becomes of it no Change.
func TestPodIsTrimmed(t *testing.T) {
	a := newAPIServer(t)
	a.apply(meshPod)
	o := observe(t, a, Options{WantsPods: func() bool { return true }})
	o.start()
	yes := true
	want := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: "cart-7d9f8b6c5d-x2k4j", Labels: map[string]string{"app": "cart", "pod-template-hash": "7d9f8b6c5d"},
			Annotations:     map[string]string{"ambient.istio.io/redirection": "enabled"},
			OwnerReferences: []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "cart-7d9f8b6c5d", Controller: &yes}},
		},
		Spec: corev1.PodSpec{ServiceAccountName: "cart", NodeName: "n1", Containers: []corev1.Container{{
			Ports: []corev1.ContainerPort{{ContainerPort: 9000}, {Name: "http", ContainerPort: 8080}},
		}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIPs: []corev1.PodIP{{IP: "10.0.0.1"}, {IP: "fd00::1"}}},
	}
	if got := o.Get(meshPodKey); !reflect.DeepEqual(got, want) {
		t.Errorf("Pod %+v, want %+v", got, want)
	}
	a.apply(strings.NewReplacer("image: cart", "image: other", `Ready, status: "True"`, `Ready, status: "False"`).Replace(meshPod))
	a.apply(strings.Replace(meshPod, "phase: Running", "phase: Succeeded", 1))
	if keys := texts(o.next().Keys); !slices.Equal(keys, []string{meshPodKey.String()}) {
		t.Errorf("keys %q, want the Pod", keys)
	}
	if p := get[corev1.Pod](t, o, meshPodKey); p.Status.Phase != corev1.PodSucceeded {
		t.Errorf("phase %s, want the one of the second edit: the first says nothing new", p.Status.Phase)
	}
}

// What is made of the World without Pods would take away whom waypoints know: it
// is not said to be all before they are there.
func TestPodsOfTheMesh(t *testing.T) {
	a := newAPIServer(t)
	a.apply(shop)
	a.apply(pods)
	wants := false
	o := observe(t, a, Options{WantsPods: func() bool { return wants }})
	if c := o.next(); !c.More || slices.Contains(texts(c.Keys), "Pod shop/reviews-1") {
		t.Errorf("first Change %+v: want More, and no Pods that nobody wants yet", c)
	}
	wants = true
	var keys []string
	for {
		c := o.next()
		keys = append(keys, texts(c.Keys)...)
		if !c.More {
			break
		}
	}
	if want := []string{"Pod shop/reviews-1", "Pod shop/reviews-2"}; !slices.Equal(keys, want) {
		t.Errorf("keys %q came before all was there, want %q", keys, want)
	}
	a.apply(strings.Replace(pods, "nodeName: n1", "nodeName: n2", 1))
	if keys := texts(o.next().Keys); !slices.Equal(keys, []string{"Pod shop/reviews-1"}) {
		t.Errorf("keys %q, want the one on another node", keys)
	}
	wants = false
	a.apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n")
	o.wait(func(keys []string) bool { return slices.Contains(keys, "Pod shop/reviews-1") })
	if o.Get(key("Pod", "shop", "reviews-1")) != nil {
		t.Error("Pods are held though nobody wants them")
	}
}

// Who may not list Pods goes on without them after a while, and who cannot be
// asked is waited for.
func TestPodsOfTheMeshRefused(t *testing.T) {
	for _, patience := range []time.Duration{time.Millisecond, time.Hour} {
		a := newAPIServer(t)
		a.apply(shop)
		a.apply(pods)
		a.refuses["pods"] = http.StatusForbidden
		wants := false
		o := observe(t, a, Options{Patience: patience, WantsPods: func() bool { return wants }})
		o.next()
		wants = true
		if patience < time.Hour {
			o.start1()
			a.set(func() { delete(a.refuses, "pods") })
			o.wait(func(keys []string) bool { return slices.Contains(keys, "Pod shop/reviews-1") })
			continue
		}
		o.goOn()
		a.waitFor("WATCH pods") // which is how they are listed, and is refused
		a.apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n")
		if c := o.next(); !c.More {
			t.Errorf("Change %+v without Pods, want More", c)
		}
		a.set(func() { delete(a.refuses, "pods") })
		o.start1()
		get[corev1.Pod](t, o, key("Pod", "shop", "reviews-1"))
	}
}

// Kinds that say who may pass are read like Istio's others.
func TestSecurityKinds(t *testing.T) {
	a := newAPIServer(t)
	a.apply(`
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: viewers, namespace: shop}
spec: {action: DENY, rules: [{to: [{operation: {methods: [POST]}}]}]}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: shop}
spec: {mtls: {mode: STRICT}}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop, annotations: {fairway.dev/waypoint-missing: allow, argocd.argoproj.io/id: z}, labels: {istio.io/use-waypoint: waypoint}}
`)
	o := observe(t, a, Options{})
	o.start()
	policy := get[securityv1.AuthorizationPolicy](t, o, key("AuthorizationPolicy", "shop", "viewers"))
	if policy.Spec.Action != security.AuthorizationPolicy_DENY || policy.Spec.Rules[0].To[0].Operation.Methods[0] != "POST" {
		t.Errorf("AuthorizationPolicy %v", &policy.Spec)
	}
	peer := get[securityv1.PeerAuthentication](t, o, key("PeerAuthentication", "shop", "default"))
	if peer.Spec.Mtls.Mode != security.PeerAuthentication_MutualTLS_STRICT {
		t.Errorf("PeerAuthentication %v", &peer.Spec)
	}
	ns := get[corev1.Namespace](t, o, key("Namespace", "", "shop"))
	if len(ns.Annotations) != 1 || ns.Annotations["fairway.dev/waypoint-missing"] != "allow" || ns.Labels["istio.io/use-waypoint"] != "waypoint" {
		t.Errorf("Namespace %+v, want what the mesh reads", ns.ObjectMeta)
	}
}

// crowd is a Pod as controllers make them: N is a number, H its hundreds.
const crowd = `
apiVersion: v1
kind: Pod
metadata:
  name: app-N-7d9f8b6c5d-x2k4j
  namespace: town-H
  labels: {app.kubernetes.io/name: app-N, app.kubernetes.io/managed-by: Helm, helm.sh/chart: app-1.2.3, pod-template-hash: 7d9f8b6c5d}
  annotations: {checksum/config: 0d7f0c0e7c2b4c0e9f7e3b0b0a9d3c1e0d7f0c0e7c2b4c0e9f7e3b0b0a9d3c1e, prometheus.io/scrape: "true"}
  ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: app-N-7d9f8b6c5d, uid: 0d7f0c0e-7c2b-4c0e-9f7e-3b0b0a9d3c1e, controller: true}]
spec:
  serviceAccountName: app-N
  nodeName: node-1
  containers: [{name: app, image: registry.example.com/app:1.2.3, env: [{name: A, value: b}], ports: [{containerPort: 8080}]}]
status:
  phase: Running
  podIPs: [{ip: 10.0.H.1}]
  conditions: [{type: Ready, status: "True"}]
`

// 10,000 Pods take 20 MiB of the 500 that control may have, beside what watching
// takes without any, which is nearly 2 of what is measured here.
func TestSizeOfPods(t *testing.T) {
	const n, most = 1000, 5 << 20
	a := newAPIServer(t)
	a.settle(crowd, n)
	before := heap()
	o := observe(t, a, Options{WantsPods: func() bool { return true }})
	if keys := o.start(); len(keys) < n {
		t.Fatalf("%d objects, want %d", len(keys), n)
	}
	grown := heap() - before
	t.Logf("%.2f MiB", float64(grown)/(1<<20))
	if grown > most {
		t.Errorf("%d Pods take %d bytes, want at most %d", n, grown, most)
	}
	runtime.KeepAlive(o)
}

// What many pods say of their ports is held once, however many different things
// are said.
func TestPortsOfPodsAreShared(t *testing.T) {
	say := func(port int32) []corev1.Container {
		return portsOnce([]corev1.Container{{Image: "a"}, {Image: "b", Ports: []corev1.ContainerPort{{ContainerPort: port}}}})
	}
	if a, b := say(80), say(80); &a[0] != &b[0] || len(a) != 1 || a[0].Ports[0].ContainerPort != 80 || a[0].Image != "" {
		t.Errorf("%+v and %+v, want one of the port alone", a, b)
	}
	if got := portsOnce([]corev1.Container{{Image: "a"}}); got != nil {
		t.Errorf("of no port there is %+v", got)
	}
	for port := range int32(2 * maxPortLists) {
		say(port)
	}
	portLists.Lock()
	defer portLists.Unlock()
	if n := len(portLists.known); n > maxPortLists {
		t.Errorf("%d lists are held, want at most %d", n, maxPortLists)
	}
}
