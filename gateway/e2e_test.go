package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

func TestServesHTTPAndHTTPS(t *testing.T) {
	r := startRig(t, map[string]any{"A": startBackend(t, named("a"))}, map[string]string{
		"gateway.yaml": edge,
		"route.yaml":   route("shop", "shop.example.com", "  - backendRefs: [{name: a, port: 80}]") + service("a"),
		"a.yaml":       "{{/* the slice comes with another file */}}" + service("b"),
		"slice.json": `{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
			"metadata": {"name": "a", "namespace": "shop", "labels": {"kubernetes.io/service-name": "a"}},
			"addressType": "IPv4", "ports": [{"name": "web", "port": {{.A}}}], "endpoints": [{"addresses": ["127.0.0.1"]}]}`,
	})
	a := r.want(fmt.Sprintf("http://shop.example.com:%d/cart?x=1", r.vars["HTTP"]), 200)
	if want := fmt.Sprintf("a GET shop.example.com:%d /cart?x=1", r.vars["HTTP"]); a.body != want {
		t.Errorf("the backend saw %q, want %q", a.body, want)
	}
	a = r.want(fmt.Sprintf("https://shop.example.com:%d/", r.vars["HTTPS"]), 200)
	if a.ProtoMajor != 2 {
		t.Errorf("HTTPS was spoken as %s, want HTTP/2 by ALPN", a.Proto)
	}
	r.want(fmt.Sprintf("http://other.example.com:%d/", r.vars["HTTP"]), 404)
	for path, want := range map[string]string{
		"/livez": "", "/readyz": "", "/metrics": "istio_requests_total{", "/debug/snapshot": "route HTTPRoute/shop/shop",
		"/debug/problems": "", "/debug/upstream": "shop/a:80",
	} {
		if page := r.page(path); !strings.Contains(page, want) {
			t.Errorf("%s lacks %q:\n%s", path, want, page)
		}
	}
}

// canary is the route of the tests that edit weights.
func canary(a, b int) string {
	return route("shop", "shop.example.com", fmt.Sprintf(
		"  - backendRefs: [{name: a, port: 80, weight: %d}, {name: b, port: 80, weight: %d}]", a, b))
}

func TestCanaryEditUnderLoad(t *testing.T) {
	r := startRig(t, nil, map[string]string{
		"gateway.yaml":  edge,
		"shop.yaml":     canary(90, 10),
		"backends.yaml": service("a", startBackend(t, named("a"))) + service("b", startBackend(t, named("b"))),
	})
	const workers, edits = 16, 20
	c := r.client()
	var stop atomic.Bool
	var done, toB, failed atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for !stop.Load() {
				a, err := r.get(c, r.url("/"), "Host: shop.example.com")
				if err != nil || a.StatusCode != 200 {
					failed.Add(1)
					t.Errorf("status %v, error %v", a.Response, err)
					return
				}
				done.Add(1)
				if a.Header.Get("X-Backend") == "b" {
					toB.Add(1)
				}
			}
		})
	}
	for i := range edits {
		r.edit("shop.yaml", canary(100-5*i, 5*i))
	}
	// The last edit is in force: from here on all of the new split.
	r.edit("shop.yaml", canary(0, 1))
	a := r.want(r.url("/"), 200, "Host: shop.example.com")
	if got := a.Header.Get("X-Backend"); got != "b" {
		t.Errorf("after the edit %s answered, want b", got)
	}
	stop.Store(true)
	wg.Wait()
	t.Logf("%d requests, %d to b, %d failed, over %d edits", done.Load(), toB.Load(), failed.Load(), edits+1)
}

func TestWeightsSplit(t *testing.T) {
	r := startRig(t, nil, map[string]string{
		"gateway.yaml":  edge,
		"shop.yaml":     canary(70, 30),
		"backends.yaml": service("a", startBackend(t, named("a"))) + service("b", startBackend(t, named("b"))),
	})
	c, n, toB := r.client(), 2000, 0
	for range n {
		a, err := r.get(c, r.url("/"), "Host: shop.example.com")
		if err != nil {
			t.Fatal(err)
		}
		if a.Header.Get("X-Backend") == "b" {
			toB++
		}
	}
	if share := float64(toB) / float64(n); share < 0.25 || share > 0.35 { // 5 sigma
		t.Errorf("%.3f of %d requests went to b, want 0.30", share, n)
	}
}

func TestBadFileKeepsLastGood(t *testing.T) {
	r := startRig(t, nil, map[string]string{
		"gateway.yaml":  edge,
		"shop.yaml":     canary(1, 0),
		"backends.yaml": service("a", startBackend(t, named("a"))) + service("b"),
	})
	r.edit("shop.yaml", "apiVersion: [unclosed")
	r.want(r.url("/"), 200, "Host: shop.example.com")
	if page := r.page("/debug/problems"); !strings.Contains(page, "shop.yaml") {
		t.Errorf("/debug/problems does not name the file:\n%s", page)
	}
	if page := r.page("/metrics"); !strings.Contains(page, "fairway_manifest_files_stale 1") {
		t.Errorf("the gauge of stale files is not 1")
	}
	r.edit("shop.yaml", canary(1, 0))
	if page := r.page("/metrics"); !strings.Contains(page, "fairway_manifest_files_stale 0") {
		t.Errorf("the gauge of stale files is not 0 after the file was mended")
	}
}

func TestBadPartsHarmNothingElse(t *testing.T) {
	good := startBackend(t, named("good"))
	taken := freePort(t)
	r := startRig(t, map[string]any{"Taken": taken}, map[string]string{
		"gateway.yaml": edge,
		"twins.yaml": `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: twins, namespace: shop}
spec:
  gatewayClassName: fairway
  listeners:
  - {name: one, port: {{.Taken}}, protocol: HTTP}
  - {name: two, port: {{.Taken}}, protocol: HTTP}
`,
		"good.yaml": route("good", "good.example.com", "  - backendRefs: [{name: good, port: 80}]") + service("good", good),
		"regex.yaml": route("regex", "regex.example.com",
			"  - matches: [{path: {type: RegularExpression, value: '/a('}}]\n    backendRefs: [{name: good, port: 80}]\n"+
				"  - matches: [{path: {value: /ok}}]\n    backendRefs: [{name: good, port: 80}]"),
		"nothing.yaml": route("nothing", "nothing.example.com", "  - backendRefs: [{name: nothing, port: 80}]"),
		"empty.yaml":   route("empty", "empty.example.com", "  - backendRefs: [{name: empty, port: 80}]") + service("empty"),
		"foreign.yaml": route("foreign", "foreign.example.com", "  - backendRefs: [{name: good, namespace: other, port: 80}]") + `---
apiVersion: v1
kind: Service
metadata: {name: good, namespace: other}
spec: {ports: [{port: 80}]}
`,
		"secret.yaml": `
apiVersion: v1
kind: Secret
metadata: {name: broken, namespace: shop}
type: kubernetes.io/tls
stringData: {tls.crt: nonsense, tls.key: nonsense}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: broken, namespace: shop}
spec:
  gatewayClassName: fairway
  listeners:
  - {name: https, port: {{.Taken}}, protocol: HTTPS, tls: {certificateRefs: [{name: broken}]}}
`,
		"unknown.yaml": "apiVersion: example.com/v1\nkind: Riddle\nmetadata: {name: x}\n",
		"zz-good.yaml": route("good", "two.example.com", "  - backendRefs: [{name: good, port: 80}]"),
		"binary.yaml":  "\x00\x01\x02",
	})
	status := func(host string, want int) {
		t.Helper()
		r.want(r.url("/"), want, "Host: "+host)
	}
	status("good.example.com", 200)
	status("nothing.example.com", 500)
	status("empty.example.com", 503)
	status("foreign.example.com", 500)
	r.want(r.url("/ok"), 200, "Host: regex.example.com")
	r.want(r.url("/a"), 404, "Host: regex.example.com")
	problems := r.page("/debug/problems")
	for _, want := range []string{"regex.yaml", "nothing.yaml", "foreign.yaml", "secret.yaml", "unknown.yaml", "binary.yaml", "zz-good.yaml", "twins.yaml"} {
		if !strings.Contains(problems, want) {
			t.Errorf("/debug/problems does not mention %q", want)
		}
	}
	if t.Failed() {
		t.Log(problems)
	}
}

func TestCheckPrintsPlacesAndFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "route.yaml")
	text := strings.ReplaceAll(edge, "{{.HTTP}}", "8080")
	text = strings.ReplaceAll(text, "{{.HTTPS}}", "8443") +
		route("shop", "shop.example.com", "  - backendRefs:\n    - {name: nothing, port: 80}")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := run(t.Context(), []string{"check", dir}, &out); err != errFound {
		t.Errorf("check returned %v, want errFound", err)
	}
	line := strings.Count(text[:strings.Index(text, "name: nothing")], "\n") + 1
	for _, want := range []string{fmt.Sprintf("%s:%d", path, line), "BackendNotFound", "Accepted=True", "ResolvedRefs=False"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("check does not print %q:\n%s", want, out.String())
		}
	}
}

func TestExplainOfflineAndRunning(t *testing.T) {
	r := startRig(t, nil, map[string]string{
		"gateway.yaml": edge,
		"shop.yaml": route("shop", "shop.example.com",
			"  - matches: [{path: {value: /cart}, headers: [{name: x-user, value: ann}]}]\n    backendRefs: [{name: a, port: 80}]\n"+
				"  - backendRefs: [{name: a, port: 80}]"),
		"a.yaml": service("a", startBackend(t, named("a"))),
	})
	target := fmt.Sprintf("http://shop.example.com:%d/cart", r.vars["HTTP"])
	for _, where := range [][]string{{"-manifests", r.dir}, {"-admin", r.admin}} {
		var out bytes.Buffer
		if err := run(t.Context(), append(append([]string{"explain"}, where...), "GET", target), &out); err != nil {
			t.Errorf("explain %v: %v", where, err)
		}
		for _, want := range []string{"HTTPRoute shop/shop", "rules[1]", "rules[0]", "x-user"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("explain %v does not mention %q:\n%s", where, want, out.String())
			}
		}
	}
}

func TestDrainFinishesWhatWasBegun(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	slow := startBackend(t, func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-release
		io.WriteString(w, "done")
	})
	r := startRig(t, nil, map[string]string{
		"gateway.yaml": edge,
		"shop.yaml":    route("shop", "shop.example.com", "  - backendRefs: [{name: a, port: 80}]") + service("a", slow),
	})
	type outcome struct {
		answer
		err error
	}
	got := make(chan outcome, 1)
	c := r.client()
	go func() {
		a, err := r.get(c, r.url("/"), "Host: shop.example.com")
		got <- outcome{a, err}
	}()
	<-arrived
	ended := make(chan error, 1)
	go func() { ended <- r.terminate() }()
	r.await("draining")
	close(release)
	if o := <-got; o.err != nil || o.body != "done" {
		t.Errorf("the request under way ended with %q, %v; want done", o.body, o.err)
	}
	if err := <-ended; err != nil {
		t.Errorf("the gateway ended with %v, want status 0", err)
	}
}

func TestDeadEndpointIsPassedOver(t *testing.T) {
	r := startRig(t, nil, map[string]string{
		"gateway.yaml": edge,
		"shop.yaml": route("shop", "shop.example.com", "  - backendRefs: [{name: a, port: 80}]") +
			service("a", startBackend(t, named("a")), freePort(t)),
	})
	c := r.client()
	for range 200 {
		a, err := r.get(c, r.url("/"), "Host: shop.example.com")
		if err != nil || a.StatusCode != 200 {
			t.Fatalf("status %v, error %v; want 200 from the endpoint that lives", a.Response, err)
		}
	}
	if page := r.page("/debug/upstream"); !strings.Contains(page, "refusing") {
		t.Errorf("the dead endpoint is not marked:\n%s", page)
	}
}

func TestAccessLogTellsEachRequest(t *testing.T) {
	r := startRig(t, nil, map[string]string{
		"gateway.yaml": edge,
		"shop.yaml": route("shop", "shop.example.com", "  - backendRefs: [{name: a, port: 80}]") +
			service("a", startBackend(t, named("a"))),
	})
	r.want(r.url("/cart?secret=1"), 200, "Host: shop.example.com")
	if err := r.terminate(); err != nil {
		t.Error(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	line := r.out.String()
	for _, want := range []string{`"method":"GET"`, `"path":"/cart"`, `"status":200`, `shop/a:80`} {
		if !strings.Contains(line, want) {
			t.Errorf("the access log lacks %s:\n%s", want, line)
		}
	}
	if strings.Contains(line, "secret") {
		t.Errorf("the access log shows the query:\n%s", line)
	}
}
