package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"fairway.dev/gateway/loop/looptest"
)

// A load asks without a pause, and counts what comes back.
type load struct {
	r       *rig
	workers sync.WaitGroup

	mu       sync.Mutex
	answered sync.Cond
	epoch    int            // of await
	seen     map[string]int // answers to what was asked in this epoch, by X-Backend
	total    int            // of seen
	stopped  bool
	leaving  bool // the gateway is on its way out: it takes no new connections
}

// startLoad asks url on behalf of shop.example.com until finish. Whatever is
// not a 200 fails the test.
func (r *rig) startLoad(url string) *load {
	l := &load{r: r, seen: map[string]int{}}
	l.answered.L = &l.mu
	c := r.client()
	c.Transport.(*http.Transport).TLSClientConfig.InsecureSkipVerify = true
	for range 8 {
		l.workers.Go(func() {
			for l.ask(c, url) {
			}
		})
	}
	return l
}

// ask asks once, and reports whether to go on.
func (l *load) ask(c *http.Client, url string) bool {
	l.mu.Lock()
	epoch := l.epoch
	l.mu.Unlock()
	a, err := l.r.get(c, url, "Host: shop.example.com")
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.answered.Broadcast()
	var dial *net.OpError
	switch {
	case l.leaving && errors.As(err, &dial) && dial.Op == "dial":
		return false
	case err != nil || a.StatusCode != http.StatusOK:
		l.r.t.Errorf("%v, %v %s", err, a.Response, a.body)
		l.stopped = true
	case epoch == l.epoch:
		l.total++
		l.seen[a.Header.Get("X-Backend")]++
	}
	return !l.stopped
}

// await returns who answered the next n requests, of those that are not under
// way yet.
func (l *load) await(n int) map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.epoch++
	l.seen, l.total = map[string]int{}, 0
	for l.total < n && !l.stopped {
		l.answered.Wait()
	}
	return maps.Clone(l.seen)
}

// finish comes before the test's end, which cancels what is under way.
func (l *load) finish() {
	l.mu.Lock()
	l.stopped = true
	l.mu.Unlock()
	l.workers.Wait()
}

// few are as many answers as show what is in force.
const few = 40

func TestPortOfServiceFlipsUnderLoad(t *testing.T) {
	rule := func(port int) string {
		return route("shop", "shop.example.com", fmt.Sprintf("  - backendRefs: [{name: a, port: %d}]", port))
	}
	r := startRig(t, map[string]any{"One": startBackend(t, named("one")), "Two": startBackend(t, named("two"))}, map[string]string{
		"gateway.yaml": edge,
		"shop.yaml":    rule(80),
		"a.yaml": `
apiVersion: v1
kind: Service
metadata: {name: a, namespace: shop}
spec: {ports: [{name: one, port: 80}, {name: two, port: 81}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: a, namespace: shop, labels: {kubernetes.io/service-name: a}}
addressType: IPv4
ports: [{name: one, port: {{.One}}}, {name: two, port: {{.Two}}}]
endpoints: [{addresses: [127.0.0.1]}]
`,
	})
	l := r.startLoad(r.url("/"))
	defer l.finish()
	for i := range 10 {
		r.edit("shop.yaml", rule(80+(i+1)%2))
		want := []string{"two", "one"}[i%2]
		if seen := l.await(few); len(seen) != 1 || seen[want] == 0 {
			t.Fatalf("after edit %d the backends are %v, want %s alone", i, seen, want)
		}
	}
}

func TestEndpointsLeaveUnderLoad(t *testing.T) {
	one, two := startBackend(t, named("one")), startBackend(t, named("two"))
	r := startRig(t, nil, map[string]string{
		"gateway.yaml": edge,
		"shop.yaml":    route("shop", "shop.example.com", "  - backendRefs: [{name: a, port: 80}]"),
		"a.yaml":       service("a", one, two),
	})
	l := r.startLoad(r.url("/"))
	defer l.finish()
	for range 5 {
		r.edit("a.yaml", service("a", one))
		if seen := l.await(few); seen["two"] > 0 {
			t.Errorf("%d requests went to an endpoint that has left", seen["two"])
		}
		r.edit("a.yaml", service("a", one, two))
		if seen := l.await(few); seen["one"] == 0 || seen["two"] == 0 {
			t.Errorf("the backends are %v, want both", seen)
		}
	}
}

func TestConfigMapMountSwapsUnderLoad(t *testing.T) {
	r := startRig(t, nil, map[string]string{
		"gateway.yaml":  edge,
		"backends.yaml": service("a", startBackend(t, named("a"))) + service("b", startBackend(t, named("b"))),
	})
	mount := filepath.Join(r.dir, "mount")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Mkdir(mount, 0o755))
	must(os.Symlink("..data/shop.yaml", filepath.Join(mount, "shop.yaml")))
	// swap does what the kubelet does: a new folder, and one rename.
	swap := func(i int, text string) {
		t.Helper()
		folder := fmt.Sprintf("..version_%d", i)
		r.drainLines()
		must(os.Mkdir(filepath.Join(mount, folder), 0o755))
		must(os.WriteFile(filepath.Join(mount, folder, "shop.yaml"), []byte(text), 0o644))
		must(os.Symlink(folder, filepath.Join(mount, "..data_tmp")))
		must(os.Rename(filepath.Join(mount, "..data_tmp"), filepath.Join(mount, "..data")))
		must(os.RemoveAll(filepath.Join(mount, fmt.Sprintf("..version_%d", i-1))))
		r.await("HTTPRoute shop/shop")
	}
	swap(0, canary(1, 0))
	l := r.startLoad(r.url("/"))
	defer l.finish()
	for i := 1; i <= 6; i++ {
		swap(i, canary((i+1)%2, i%2))
		want := []string{"a", "b"}[i%2]
		if seen := l.await(few); len(seen) != 1 || seen[want] == 0 {
			t.Fatalf("after swap %d the backends are %v, want %s alone", i, seen, want)
		}
	}
}

func TestGatewayComesAndGoesBesideAnother(t *testing.T) {
	r := startRig(t, map[string]any{"Other": freePort(t)}, map[string]string{
		"gateway.yaml":  edge,
		"shop.yaml":     canary(1, 0),
		"backends.yaml": service("a", startBackend(t, named("a"))) + service("b", startBackend(t, named("b"))),
	})
	other := fmt.Sprintf("http://shop.example.com:%d/", r.vars["Other"])
	second := strings.NewReplacer("name: edge", "name: second", "{{.HTTP}}", "{{.Other}}").Replace(edge[:strings.Index(edge, "  - name: https")]) +
		strings.NewReplacer("name: edge", "name: second", "name: shop,", "name: second,").Replace(canary(0, 1))
	l := r.startLoad(r.url("/"))
	defer l.finish()
	for range 5 {
		r.edit("second.yaml", second)
		if a := r.want(other, 200); a.Header.Get("X-Backend") != "b" {
			t.Errorf("the second Gateway's answer is of %q, want b", a.Header.Get("X-Backend"))
		}
		r.drainLines()
		if err := os.Remove(filepath.Join(r.dir, "second.yaml")); err != nil {
			t.Fatal(err)
		}
		r.await("configuration applied")
		if seen := l.await(few); seen["b"] > 0 {
			t.Errorf("the first Gateway's backends are %v, want a alone", seen)
		}
	}
}

func TestPortOfListenerChanges(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	r := startRig(t, nil, map[string]string{
		"gateway.yaml": edge,
		"shop.yaml":    canary(1, 0),
		"backends.yaml": service("b") + service("a", startBackend(t, func(w http.ResponseWriter, req *http.Request) {
			if req.URL.Path == "/begun" {
				close(arrived)
				<-release
			}
		})),
	})
	old := r.url("/begun")
	begun := make(chan error, 1)
	go func() {
		a, err := r.get(r.client(), old, "Host: shop.example.com")
		if err == nil && a.StatusCode != http.StatusOK {
			err = errors.New(a.Status)
		}
		begun <- err
	}()
	<-arrived
	// A connection that is there, and says what it wants after the port has left.
	late, err := net.Dial("tcp", r.addr())
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	r.vars["HTTP"] = freePort(t)
	r.edit("gateway.yaml", edge)
	r.want(r.url("/"), 200, "Host: shop.example.com")
	fmt.Fprint(late, "GET / HTTP/1.1\r\nHost: shop.example.com\r\n\r\n")
	answer := make([]byte, len("HTTP/1.1 200"))
	if _, err := late.Read(answer); string(answer) != "HTTP/1.1 200" {
		t.Errorf("the connection of the old port got %q, %v; want 200", answer, err)
	}
	close(release)
	if err := <-begun; err != nil {
		t.Errorf("the request that was under way ended with %v", err)
	}
}

func TestSecretRotatesUnderLoad(t *testing.T) {
	secret := func() (manifest string, roots *x509.CertPool) {
		server, client := looptest.TLSConfigs(t)
		key, err := x509.MarshalPKCS8PrivateKey(server.Certificates[0].PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		encode := func(kind string, der []byte) string {
			return base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
		}
		return fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: cert, namespace: shop}\ntype: kubernetes.io/tls\ndata: {tls.crt: %s, tls.key: %s}\n",
			encode("CERTIFICATE", server.Certificates[0].Certificate[0]), encode("PRIVATE KEY", key)), client.RootCAs
	}
	first, _ := secret()
	gateway := strings.Replace(edge, "options: {fairway.dev/certificate: local-ca}", "certificateRefs: [{name: cert}]", 1)
	r := startRig(t, nil, map[string]string{
		"gateway.yaml":  strings.Replace(gateway, "    hostname: \"*.example.com\"\n", "", 1),
		"secret.yaml":   first,
		"shop.yaml":     canary(1, 0),
		"backends.yaml": service("a", startBackend(t, named("a"))) + service("b"),
	})
	url := fmt.Sprintf("https://shop.example.com:%d/", r.vars["HTTPS"])
	l := r.startLoad(url)
	defer l.finish()
	for range 5 {
		next, roots := secret()
		r.edit("secret.yaml", next)
		conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", r.vars["HTTPS"]), &tls.Config{RootCAs: roots, ServerName: "localhost"})
		if err != nil {
			t.Fatalf("handshake after the rotation: %v", err)
		}
		conn.Close()
		l.await(few)
	}
}

func TestTerminatedUnderLoad(t *testing.T) {
	r := startRig(t, nil, map[string]string{
		"gateway.yaml":  edge,
		"shop.yaml":     canary(1, 0),
		"backends.yaml": service("a", startBackend(t, named("a"))) + service("b"),
	})
	loads := []*load{r.startLoad(r.url("/")), r.startLoad(fmt.Sprintf("https://shop.example.com:%d/", r.vars["HTTPS"]))}
	for _, l := range loads {
		defer l.finish()
		l.await(few)
		l.mu.Lock()
		l.leaving = true
		l.mu.Unlock()
	}
	if err := r.terminate(); err != nil {
		t.Errorf("the gateway ended with %v", err)
	}
}

func TestPortInUseIsTakenWhenFree(t *testing.T) {
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	r := startRig(t, map[string]any{"HTTP": other.Addr().(*net.TCPAddr).Port}, map[string]string{
		"gateway.yaml":  edge,
		"shop.yaml":     canary(1, 0),
		"backends.yaml": service("a", startBackend(t, named("a"))) + service("b"),
	})
	if page := r.page("/debug/problems"); !strings.Contains(page, "PortUnavailable: Gateway shop/edge spec.listeners[0].port") {
		t.Errorf("/debug/problems does not tell of the port:\n%s", page)
	}
	other.Close()
	r.await("unbound=0")
	r.want(r.url("/"), 200, "Host: shop.example.com")
	if page := r.page("/debug/problems"); strings.Contains(page, "PortUnavailable") {
		t.Errorf("/debug/problems still tells of the port:\n%s", page)
	}
}
