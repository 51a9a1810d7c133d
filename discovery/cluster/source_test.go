package cluster

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing"
)

// deadline is how long a test waits for what has to come.
const deadline = 30 * time.Second

// An observer is who the Changes are given to. While it looks at one the World
// stands still.
type observer struct {
	*Source
	t       testing.TB
	changes chan Change
	resume  chan struct{}
	looking bool
	log     *journal
	wants   map[routing.ObjectKey]bool // Secrets and ConfigMaps that are read
}

// A journal is a log that can be waited on.
type journal struct {
	mu   sync.Mutex
	more *sync.Cond
	text bytes.Buffer
}

func newJournal() *journal {
	j := &journal{}
	j.more = sync.NewCond(&j.mu)
	return j
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.more.Broadcast()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// wait waits until done, which is asked again after each line.
func (j *journal) wait(t testing.TB, done func() bool) {
	t.Helper()
	late := false
	timer := time.AfterFunc(deadline, func() {
		j.mu.Lock()
		defer j.mu.Unlock()
		late = true
		j.more.Broadcast()
	})
	defer timer.Stop()
	j.mu.Lock()
	defer j.mu.Unlock()
	for !done() {
		if late {
			t.Fatalf("it has not come; log:\n%s", &j.text)
		}
		j.more.Wait()
	}
}

// observe runs a Source of the server's cluster until the test ends.
func observe(t testing.TB, a *apiServer, opts Options) *observer {
	t.Helper()
	o := &observer{t: t, changes: make(chan Change), resume: make(chan struct{}), log: newJournal(), wants: map[routing.ObjectKey]bool{}}
	opts.Log = slog.New(slog.NewTextHandler(o.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	opts.Version = "v1.2.3"
	opts.Wanted = func(k routing.ObjectKey) bool { return o.wants[k] }
	s, err := New(a.config(), opts)
	if err != nil {
		t.Fatal(err)
	}
	s.backoff = wait.Backoff{Duration: time.Millisecond, Factor: 2, Steps: 4, Cap: 10 * time.Millisecond}
	o.Source = s
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		done <- s.Run(ctx, func(c Change) {
			select {
			case o.changes <- c:
			case <-ctx.Done():
				return
			}
			select {
			case <-o.resume:
			case <-ctx.Done():
			}
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return o
}

// next returns the next Change.
func (o *observer) next() Change {
	o.t.Helper()
	o.goOn()
	select {
	case c := <-o.changes:
		o.looking = true
		return c
	case <-time.After(deadline):
		text := o.log.String()
		o.t.Fatalf("no Change; log:\n%s", text[:min(len(text), 4000)])
		panic("unreachable")
	}
}

// goOn lets apply return.
func (o *observer) goOn() {
	if o.looking {
		o.looking = false
		o.resume <- struct{}{}
	}
}

// start waits for the first Changes, and returns the keys of all objects.
func (o *observer) start() []routing.ObjectKey {
	o.t.Helper()
	first := o.next()
	if !first.More {
		o.t.Error("the first Change has no More")
	}
	keys := first.Keys
	for {
		c := o.next()
		keys = append(keys, c.Keys...)
		if !c.More {
			return keys
		}
	}
}

// wait goes through Changes until done, and returns all their keys.
func (o *observer) wait(done func(keys []string) bool) (keys []string) {
	o.t.Helper()
	for !done(keys) {
		keys = append(keys, texts(o.next().Keys)...)
	}
	return keys
}

func texts(keys []routing.ObjectKey) (list []string) {
	for _, k := range keys {
		list = append(list, k.String())
	}
	return list
}

func key(kind, namespace, name string) routing.ObjectKey {
	return routing.ObjectKey{Kind: kind, Namespace: namespace, Name: name}
}

func get[T any](t testing.TB, o *observer, k routing.ObjectKey) *T {
	t.Helper()
	got, ok := o.Get(k).(*T)
	if !ok {
		t.Fatalf("Get(%v) = %T, want %T", k, o.Get(k), new(T))
	}
	return got
}

const shop = `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: fairway}
spec: {controllerName: fairway.dev/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata:
  name: edge
  namespace: shop
  labels: {team: cart}
  annotations: {kubectl.kubernetes.io/last-applied-configuration: "{}", fairway.dev/x: one, argocd.argoproj.io/id: z}
  finalizers: [example.com/keep]
spec:
  gatewayClassName: fairway
  listeners: [{name: http, port: 80, protocol: HTTP}]
status: {addresses: [{type: IPAddress, value: 192.0.2.1}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: cart, namespace: shop}
spec:
  parentRefs: [{name: edge}]
  rules: [{backendRefs: [{name: cart, port: 8080}]}]
---
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop, labels: {app: cart}, annotations: {fairway.dev/slow-start: 10s}}
spec: {clusterIP: 10.96.0.1, trafficDistribution: PreferSameNode, ports: [{name: http, port: 8080}]}
status: {loadBalancer: {ingress: [{ip: 192.0.2.9}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: cart-1
  namespace: shop
  labels: {kubernetes.io/service-name: cart, endpointslice.kubernetes.io/managed-by: x}
  annotations: {endpoints.kubernetes.io/last-change-trigger-time: now}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints:
- addresses: [10.0.0.1]
  nodeName: n1
  zone: a
  hints: {forZones: [{name: b}], forNodes: [{name: n2}]}
  targetRef: {kind: Pod, namespace: shop, name: cart-0, uid: "1"}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {team: cart}}
spec: {finalizers: [kubernetes]}
status: {phase: Active}
---
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {topology.kubernetes.io/zone: a, kubernetes.io/hostname: n1}}
spec: {podCIDR: 10.0.0.0/24}
---
apiVersion: v1
kind: Secret
metadata: {name: tls, namespace: shop, annotations: {kubectl.kubernetes.io/last-applied-configuration: "secret"}}
type: kubernetes.io/tls
data: {tls.crt: Y2VydA==, tls.key: a2V5}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: ca, namespace: shop}
data: {ca.crt: root}
`

func TestWorldOfACluster(t *testing.T) {
	for _, streams := range []bool{true, false} {
		t.Run(fmt.Sprintf("streaming lists %v", streams), func(t *testing.T) {
			a := newAPIServer(t)
			a.streams = streams
			a.apply(shop)
			o := observe(t, a, Options{})
			if ready, unfinished := o.Synced(); ready || len(unfinished) == 0 {
				t.Errorf("Synced() = %v, %q before anything is read", ready, unfinished)
			}
			keys := texts(o.start())
			keys = slices.DeleteFunc(keys, func(k string) bool { return strings.HasPrefix(k, definitions) })
			want := []string{
				"EndpointSlice shop/cart-1", "Gateway shop/edge", "GatewayClass fairway", "HTTPRoute shop/cart",
				"Namespace shop", "Node n1", "Service shop/cart",
			}
			if !slices.Equal(keys, want) {
				t.Errorf("keys %q, want %q", keys, want)
			}
			checkTrimmed(t, o)
			o.waitReady()
			if ready, unfinished := o.Synced(); !ready || unfinished != nil {
				t.Errorf("Synced() = %v, %q", ready, unfinished)
			}
			if agents := a.userAgents(); !slices.Equal(agents, []string{"fairway-control/v1.2.3"}) {
				t.Errorf("User-Agents %q", agents)
			}
			if n := a.count("GET secrets/shop/tls"); n != 0 {
				t.Errorf("a Secret that nobody reads was fetched %d times", n)
			}
			for _, k := range o.Kinds() {
				if !k.Synced || k.Err != nil || k.Version == "" || k.Restarts != 0 {
					t.Errorf("state %+v", k)
				}
			}
		})
	}
}

// checkTrimmed looks at what is left of shop's objects.
func checkTrimmed(t *testing.T, o *observer) {
	t.Helper()
	g := get[gatewayv1.Gateway](t, o, key("Gateway", "shop", "edge"))
	if want := map[string]string{"fairway.dev/x": "one"}; !maps.Equal(g.Annotations, want) || g.ManagedFields != nil || g.Finalizers != nil {
		t.Errorf("Gateway's metadata %+v, want annotations %v and nothing that nobody reads", g.ObjectMeta, want)
	}
	if len(g.Spec.Listeners) != 1 || len(g.Status.Addresses) != 1 || g.UID == "" || g.ResourceVersion == "" || g.CreationTimestamp.IsZero() || g.Labels["team"] != "cart" {
		t.Errorf("Gateway %+v lacks what is read", g)
	}
	svc := get[corev1.Service](t, o, key("Service", "shop", "cart"))
	if svc.Status.LoadBalancer.Ingress != nil || svc.ResourceVersion != "" || svc.Spec.ClusterIP != "10.96.0.1" || svc.Annotations["fairway.dev/slow-start"] != "10s" ||
		svc.Spec.TrafficDistribution == nil || *svc.Spec.TrafficDistribution != corev1.ServiceTrafficDistributionPreferSameNode {
		t.Errorf("Service %+v", svc)
	}
	want := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: "cart-1", Namespace: "shop", Labels: map[string]string{discoveryv1.LabelServiceName: "cart"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: new("http"), Port: new(int32(8080))}},
		Endpoints: []discoveryv1.Endpoint{{
			Addresses: []string{"10.0.0.1"}, Zone: new("a"), NodeName: new("n1"),
			Hints:     &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: "b"}}, ForNodes: []discoveryv1.ForNode{{Name: "n2"}}},
			TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: "cart-0"},
		}},
	}
	if got := o.Get(key("EndpointSlice", "shop", "cart-1")); !reflect.DeepEqual(got, want) {
		t.Errorf("EndpointSlice %+v, want %+v", got, want)
	}
	if ns := get[corev1.Namespace](t, o, key("Namespace", "", "shop")); ns.Labels["team"] != "cart" || ns.Spec.Finalizers != nil {
		t.Errorf("Namespace %+v", ns)
	}
	node := get[metav1.PartialObjectMetadata](t, o, key("Node", "", "n1"))
	if !maps.Equal(node.Labels, map[string]string{corev1.LabelTopologyZone: "a"}) {
		t.Errorf("Node's labels %v, want the zone", node.Labels)
	}
	crd := get[metav1.PartialObjectMetadata](t, o, key(definitions, "", "gateways.gateway.networking.k8s.io"))
	if !maps.Equal(crd.Annotations, map[string]string{"gateway.networking.k8s.io/bundle-version": "v1.6.3"}) {
		t.Errorf("definition's annotations %v", crd.Annotations)
	}
}

func TestEdits(t *testing.T) {
	a := newAPIServer(t)
	a.apply(shop)
	o := observe(t, a, Options{})
	o.start()
	route := `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: %s, namespace: shop%s}
spec:
  parentRefs: [{name: %s}]
  rules: [{backendRefs: [{name: cart, port: 8080}]}]
`
	steps := []struct {
		name           string
		do             func()
		keys, statuses []string
	}{
		{"a new object", func() { a.apply(fmt.Sprintf(route, "new", "", "edge")) }, []string{"HTTPRoute shop/new"}, nil},
		{"an edited spec", func() { a.apply(fmt.Sprintf(route, "cart", "", "other")) }, []string{"HTTPRoute shop/cart"}, nil},
		{"a label", func() { a.apply(fmt.Sprintf(route, "cart", ", labels: {a: b}", "other")) }, []string{"HTTPRoute shop/cart"}, nil},
		{"an annotation of ours", func() {
			a.apply(fmt.Sprintf(route, "cart", ", labels: {a: b}, annotations: {fairway.dev/a: b}", "other"))
		}, []string{"HTTPRoute shop/cart"}, nil},
		{"an annotation of others", func() {
			a.apply(fmt.Sprintf(route, "cart", ", labels: {a: b}, annotations: {fairway.dev/a: b, other/c: d}", "other"))
		}, nil, []string{"HTTPRoute shop/cart"}},
		{"a status", func() {
			a.apply(fmt.Sprintf(route, "new", "", "edge") + "status: {parents: [{parentRef: {name: edge}, controllerName: example.com/c}]}")
		}, nil, []string{"HTTPRoute shop/new"}},
		{"a deletion", func() { a.delete("HTTPRoute", "shop/new") }, []string{"HTTPRoute shop/new"}, nil},
		{"one made anew", func() { a.delete("HTTPRoute", "shop/cart"); a.apply(fmt.Sprintf(route, "cart", "", "edge")) }, []string{"HTTPRoute shop/cart"}, nil},
		{"a Service's status and the next thing", func() {
			svc := strings.Split(shop, "\n---\n")[3]
			a.apply(strings.Replace(svc, "192.0.2.9", "192.0.2.10", 1))
			a.apply(strings.Replace(svc, "port: 8080", "port: 8081", 1))
		}, []string{"Service shop/cart"}, nil},
	}
	for i, s := range steps {
		s.do()
		version := fmt.Sprint(a.version)
		// What follows a step on the same watch comes after it.
		marker := fmt.Sprintf("HTTPRoute shop/marker-%d", i)
		if strings.HasPrefix(s.name, "a Service") {
			marker = fmt.Sprintf("Service shop/marker-%d", i)
			a.apply(fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata: {name: marker-%d, namespace: shop}\n", i))
		} else {
			a.apply(fmt.Sprintf(route, fmt.Sprintf("marker-%d", i), "", "edge"))
		}
		var got, statuses []string
		for !slices.Contains(got, marker) {
			c := o.next()
			if c.More {
				t.Errorf("%s: More, but nothing was asked for", s.name)
			}
			got, statuses = append(got, texts(c.Keys)...), append(statuses, texts(c.Statuses)...)
		}
		slices.Sort(got)
		got = slices.DeleteFunc(slices.Compact(got), func(k string) bool { return k == marker })
		if !slices.Equal(got, s.keys) || !slices.Equal(statuses, s.statuses) {
			t.Errorf("%s: keys %q, statuses %q, want %q and %q", s.name, got, statuses, s.keys, s.statuses)
		}
		if s.statuses != nil {
			if r := get[gatewayv1.HTTPRoute](t, o, routeKey(s.statuses[0])); r.ResourceVersion != version {
				t.Errorf("%s: Get has resourceVersion %s, want %s", s.name, r.ResourceVersion, version)
			}
		}
	}
	if r := get[gatewayv1.HTTPRoute](t, o, routeKey("HTTPRoute shop/cart")); r.Spec.ParentRefs[0].Name != "edge" {
		t.Errorf("HTTPRoute shop/cart is %+v, want the last one", r)
	}
	if r := o.Get(routeKey("HTTPRoute shop/new")); r != nil {
		t.Errorf("HTTPRoute shop/new is %v, want none", r)
	}
}

func routeKey(text string) routing.ObjectKey {
	_, name, _ := strings.Cut(text, "shop/")
	return key("HTTPRoute", "shop", name)
}

// The API server may be away for long, forget what it was asked, and come
// back: only what has really changed is reported.
func TestServerAway(t *testing.T) {
	for _, forgets := range []bool{false, true} {
		t.Run(fmt.Sprintf("forgets %v", forgets), func(t *testing.T) {
			a := newAPIServer(t)
			a.apply(shop)
			o := observe(t, a, Options{})
			o.start()
			before := o.Get(key("HTTPRoute", "shop", "cart"))
			o.goOn()
			a.down()
			o.waitState(func(s []KindState) bool {
				return !slices.ContainsFunc(s, func(k KindState) bool { return k.Err == nil })
			})
			if ready, unfinished := o.Synced(); !ready || len(unfinished) != len(kinds)-1 { // but Pods, which nobody demands
				t.Errorf("Synced() = %v, %q: want ready, and all kinds named", ready, unfinished)
			}
			a.delete("Service", "shop/cart")
			a.apply("apiVersion: v1\nkind: Service\nmetadata: {name: other, namespace: shop}\nspec: {ports: [{port: 80}]}\n")
			if forgets {
				a.compact()
			}
			a.up()
			got := o.wait(func(keys []string) bool { return len(keys) >= 2 })
			if slices.Sort(got); !slices.Equal(got, []string{"Service shop/cart", "Service shop/other"}) {
				t.Errorf("after the server was away %q changed", got)
			}
			o.goOn()
			o.waitState(func(s []KindState) bool {
				return !slices.ContainsFunc(s, func(k KindState) bool { return k.Err != nil || k.Restarts == 0 })
			})
			a.apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: last}\n")
			if got := texts(o.next().Keys); !slices.Equal(got, []string{"Namespace last"}) {
				t.Errorf("then %q changed, want nothing more than a new Namespace", got)
			}
			if o.Get(key("HTTPRoute", "shop", "cart")) != before {
				t.Error("an object that did not change was replaced")
			}
			for _, want := range []string{"API server away", "API server back"} {
				if !strings.Contains(o.log.String(), want) {
					t.Errorf("log lacks %q:\n%s", want, o.log)
				}
			}
		})
	}
}

// Without an API server there is no World, rather than an empty one.
func TestServerAwayAtTheStart(t *testing.T) {
	a := newAPIServer(t)
	a.apply(shop)
	a.down()
	o := observe(t, a, Options{Patience: time.Nanosecond})
	o.waitState(func(s []KindState) bool {
		return slices.ContainsFunc(s, func(k KindState) bool { return k.Err != nil })
	})
	a.up()
	if keys := texts(o.start()); !slices.Contains(keys, "HTTPRoute shop/cart") {
		t.Errorf("keys %q, want all", keys)
	}
}

// waitState waits for states of the kinds.
func (o *observer) waitState(done func([]KindState) bool) {
	o.t.Helper()
	o.log.wait(o.t, func() bool { return done(o.Kinds()) })
}

// waitReady lets apply return for the first Change without More.
func (o *observer) waitReady() {
	o.t.Helper()
	o.goOn()
	o.log.wait(o.t, func() bool { return strings.Contains(o.log.text.String(), "all objects are read") })
}

// A kind that one can do without is waited for, and not for ever.
func TestRefusedKind(t *testing.T) {
	tests := []struct {
		status int
		want   string
	}{
		{http.StatusForbidden, "User cannot list resource"},
		{http.StatusInternalServerError, "conversion webhook failed"},
	}
	for _, tt := range tests {
		a := newAPIServer(t)
		a.apply(shop)
		a.refuses["nodes"] = tt.status
		o := observe(t, a, Options{Patience: time.Millisecond})
		if keys := texts(o.start()); !slices.Contains(keys, "Gateway shop/edge") || slices.Contains(keys, "Node n1") {
			t.Errorf("%d: keys %q, want the others", tt.status, keys)
		}
		o.waitReady()
		ready, unfinished := o.Synced()
		if !ready || len(unfinished) != 1 || !strings.HasPrefix(unfinished[0], "Node: ") || !strings.Contains(unfinished[0], tt.want) {
			t.Errorf("%d: Synced() = %v, %q", tt.status, ready, unfinished)
		}
		if n := strings.Count(o.log.String(), "kind cannot be watched"); n != 1 {
			t.Errorf("%d: %d lines say so, want 1:\n%s", tt.status, n, o.log)
		}
		a.set(func() { delete(a.refuses, "nodes") })
		if keys := texts(o.next().Keys); !slices.Equal(keys, []string{"Node n1"}) {
			t.Errorf("%d: %q came, want the node", tt.status, keys)
		}
	}
}

// Who has lost the right to list routes, and begins anew, must not take it for
// that there are none.
func TestRefusedKindThatIsNeeded(t *testing.T) {
	for _, status := range []int{http.StatusForbidden, http.StatusInternalServerError} {
		for _, kind := range []string{"httproutes", "secrets", "referencegrants", "endpointslices"} {
			a := newAPIServer(t)
			a.apply(shop)
			a.refuses[kind] = status
			o := observe(t, a, Options{Patience: time.Millisecond})
			o.log.wait(t, func() bool { return strings.Contains(o.log.text.String(), "before this kind is listed") })
			o.log.wait(t, func() bool { return strings.Contains(o.log.text.String(), "kind cannot be watched") })
			if ready, unfinished := o.Synced(); ready || len(unfinished) == 0 {
				t.Errorf("%d for %s: Synced() = %v, %q, want it to wait for that kind", status, kind, ready, unfinished)
			}
			select {
			case c := <-o.changes:
				t.Errorf("%d for %s: %v was made without it", status, kind, c)
			default:
			}
			a.set(func() { delete(a.refuses, kind) })
			if keys := texts(o.start()); !slices.Contains(keys, "HTTPRoute shop/cart") || !slices.Contains(keys, "Gateway shop/edge") {
				t.Errorf("%d for %s: keys %q, want all", status, kind, keys)
			}
		}
	}
}
