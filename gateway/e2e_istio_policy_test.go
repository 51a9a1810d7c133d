package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
)

// workloads is a Service whose pods, one a port, have a label "version" of v1,
// v2 and so on.
func workloads(name string, ports ...int) string {
	text := service(name, ports...)
	for i := range ports {
		text = strings.Replace(text, "endpoints: [{addresses: [127.0.0.1]}]",
			fmt.Sprintf("endpoints: [{addresses: [127.0.0.1], targetRef: {kind: Pod, name: %s-%d, namespace: shop}}]", name, i), 1)
		text += fmt.Sprintf("---\napiVersion: v1\nkind: Pod\nmetadata: {name: %[1]s-%[2]d, namespace: shop, labels: {app: %[1]s, version: v%[3]d}}\n", name, i, i+1)
	}
	return text
}

// destinationRule is one for a Service of the tests, its spec but for the host.
func destinationRule(host, spec string) string {
	return fmt.Sprintf("---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: %s, namespace: shop}\nspec:\n  host: %s\n%s", host, host, spec)
}

// who asks for a URL and returns the backend's name, or the status.
func (r *rig) who(c *http.Client, host, path string, headers ...string) string {
	r.t.Helper()
	a := r.ask(c, host, "GET "+path, headers...)
	if name := a.Header.Get("X-Backend"); name != "" && a.StatusCode == 200 {
		return name
	}
	return fmt.Sprint(a.StatusCode)
}

// logged returns the lines of the access log that have a text, once the gateway
// has ended.
func (r *rig) logged(text string) int {
	r.t.Helper()
	if err := r.terminate(); err != nil {
		r.t.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for line := range strings.Lines(r.out.String()) {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// networking.istio.io/v1 DestinationRule: subsets, hashing, outlier detection,
// and that HTTPRoutes to the Service obey too.
func TestDestinationRule(t *testing.T) {
	t.Parallel()
	fails := func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusInternalServerError) }
	one, two, three := startBackend(t, named("v1")), startBackend(t, named("v2")), startBackend(t, named("v3"))
	r := startRig(t, nil, map[string]string{
		"edge.yaml": istioEdge,
		"api.yaml":  strings.Replace(edge[:strings.Index(edge, "  - name: https")], "{{.HTTP}}", "{{.HTTPS}}", 1),
		"a.yaml": workloads("a", one, two, three) + destinationRule("a", `  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
  - {name: both, labels: {app: a}, trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x-user}}}}
  - {name: sticky, labels: {app: a}, trafficPolicy: {loadBalancer: {consistentHash: {httpCookie: {name: at, ttl: 60s, path: /}}}}}
  - {name: none, labels: {version: v9}}
`),
		"sick.yaml": workloads("sick", one, startBackend(t, fails)) + destinationRule("sick", `  trafficPolicy:
    loadBalancer: {simple: ROUND_ROBIN}
    outlierDetection: {consecutive5xxErrors: 2, interval: 1s, baseEjectionTime: 60s}
`),
		"vs.yaml": virtualService("a", "a.test", rules(
			"{match: [{uri: {prefix: /v1}}], route: [{destination: {host: a, subset: v1}}]}",
			"{match: [{uri: {prefix: /v2}}], route: [{destination: {host: a, subset: v2}}]}",
			"{match: [{uri: {prefix: /hash}}], route: [{destination: {host: a, subset: both}}]}",
			"{match: [{uri: {prefix: /cookie}}], route: [{destination: {host: a, subset: sticky}}]}",
			"{match: [{uri: {prefix: /none}}], route: [{destination: {host: a, subset: none}}]}",
			"{match: [{uri: {prefix: /sick}}], "+destination("sick")+"}")),
		"route.yaml": route("sick", "api.test", "  - {backendRefs: [{name: sick, port: 80}]}"),
	})
	c := r.client()
	for range 10 {
		if a, b := r.who(c, "a.test", "/v1"), r.who(c, "a.test", "/v2"); a != "v1" || b != "v2" {
			t.Fatalf("subsets v1 and v2 are %s and %s", a, b)
		}
	}
	if got := r.who(c, "a.test", "/none"); got != "503" {
		t.Errorf("a subset without endpoints: %s, want 503", got)
	}
	all := map[string]bool{}
	for user := range 30 {
		at := r.who(c, "a.test", "/hash", fmt.Sprint("X-User: ", user))
		all[at] = true
		if again := r.who(r.client(), "a.test", "/hash", fmt.Sprint("X-User: ", user)); again != at {
			t.Errorf("user %d went to %s, and then to %s", user, at, again)
		}
	}
	if len(all) != 3 {
		t.Errorf("30 users are on %v, want all three", all)
	}
	a := r.ask(c, "a.test", "GET /cookie")
	cookie := a.Header.Get("Set-Cookie")
	if !strings.HasPrefix(cookie, "at=") || !strings.Contains(cookie, "Max-Age=60") {
		t.Errorf("Set-Cookie: %q, want a cookie for 60 s", cookie)
	}
	value, _, _ := strings.Cut(cookie, ";")
	for range 5 {
		if got := r.who(r.client(), "a.test", "/cookie", "Cookie: "+value); got != a.Header.Get("X-Backend") {
			t.Errorf("with its cookie a client went to %s, and before to %s", got, a.Header.Get("X-Backend"))
		}
	}
	failed := 0
	for range 20 {
		if r.who(c, "a.test", "/sick") != "v1" {
			failed++
		}
	}
	if failed != 2 {
		t.Errorf("%d requests failed before the endpoint was ejected, want 2 (consecutive5xxErrors)", failed)
	}
	// The HTTPRoute's requests are to the same cluster: its health is known.
	for range 5 {
		req, _ := http.NewRequest("GET", fmt.Sprintf("http://127.0.0.1:%v/", r.vars["HTTPS"]), nil)
		req.Host = "api.test"
		if got, err := do(c, req); err != nil || got.Header.Get("X-Backend") != "v1" {
			t.Errorf("by the HTTPRoute: %v, %v", got.Response, err)
		}
	}
}

// Circuit breaking of Istio's task: one connection, one that waits; what comes
// on top is refused at once, and the log says UO.
func TestCircuitBreaking(t *testing.T) {
	t.Parallel()
	arrived, release := make(chan struct{}, 10), make(chan struct{})
	r := startRig(t, nil, map[string]string{
		"edge.yaml": istioEdge,
		"a.yaml": service("a", startBackend(t, func(w http.ResponseWriter, r *http.Request) {
			arrived <- struct{}{}
			<-release
		})) + destinationRule("a", "  trafficPolicy: {connectionPool: {tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1}}}\n"),
		"vs.yaml": virtualService("a", "a.test", rules(destination("a"))),
	})
	statuses := make(chan int, 10)
	var asking sync.WaitGroup
	ask := func() {
		asking.Go(func() { statuses <- r.ask(r.client(), "a.test", "GET /").StatusCode })
	}
	ask()
	<-arrived
	for range 5 { // one of them waits, the others are too many
		ask()
	}
	for range 4 {
		if status := <-statuses; status != 503 {
			t.Errorf("status %d of one too many, want 503", status)
		}
	}
	close(release)
	for range 2 {
		if status := <-statuses; status != 200 {
			t.Errorf("status %d of one that was let in, want 200", status)
		}
	}
	asking.Wait()
	if n := r.logged(`"flags":"UO"`); n != 4 {
		t.Errorf("%d lines of the log have UO, want 4", n)
	}
}

// networking.istio.io/v1 ServiceEntry, and TLS origination by a
// DestinationRule, as in Istio's task of egress.
func TestServiceEntry(t *testing.T) {
	t.Parallel()
	outside := httptest.NewTLSServer(named("outside"))
	t.Cleanup(outside.Close)
	at := netip.MustParseAddrPort(outside.Listener.Addr().String())
	vm := startBackend(t, named("vm"))
	r := startRig(t, nil, map[string]string{
		"edge.yaml": istioEdge,
		"out.yaml": fmt.Sprintf(`---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: out, namespace: shop}
spec:
  hosts: [api.outside.test]
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: %d}]
  location: MESH_EXTERNAL
  resolution: STATIC
  endpoints: [{address: 127.0.0.1}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: vm, namespace: shop}
spec:
  hosts: [vm.shop.test]
  ports: [{number: 80, name: http, protocol: HTTP}]
  location: MESH_INTERNAL
  resolution: STATIC
  workloadSelector: {labels: {app: vm}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: vm-1, namespace: shop}
spec: {address: 127.0.0.1, labels: {app: vm}, ports: {http: %d}}
`, at.Port(), vm) + strings.Replace(destinationRule("out", "  trafficPolicy: {tls: {mode: SIMPLE, insecureSkipVerify: true}}\n"), "host: out", "host: api.outside.test", 1),
		"vs.yaml": virtualService("out", "out.test", rules(
			"{match: [{uri: {prefix: /vm}}], route: [{destination: {host: vm.shop.test, port: {number: 80}}}]}",
			"{route: [{destination: {host: api.outside.test, port: {number: 80}}}]}")),
	})
	c := r.client()
	if got := r.who(c, "out.test", "/vm"); got != "vm" {
		t.Errorf("a WorkloadEntry that a ServiceEntry selects: %s", got)
	}
	if got := r.who(c, "out.test", "/"); got != "outside" {
		t.Errorf("a ServiceEntry with TLS origination: %s", got)
	}
}
