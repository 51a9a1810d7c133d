package main

import (
	"bufio"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// rateLimit is a RateLimitPolicy on an object of the tests' namespace, its spec
// but for that.
func rateLimit(name, kind, target, spec string) string {
	return fmt.Sprintf(`---
apiVersion: fairway.dev/v1alpha1
kind: RateLimitPolicy
metadata: {name: %s, namespace: shop}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: %s, %s}]
%s
`, name, kind, target, spec)
}

// wantEach asks for a URL as often as there are statuses, and returns the last
// answer.
func (r *rig) wantEach(url string, statuses []int, headers ...string) (last answer) {
	r.t.Helper()
	for _, status := range statuses {
		last = r.want(url, status, headers...)
	}
	return last
}

// RateLimitPolicy on a Gateway, on one of its listeners and on an HTTPRoute: what
// is over a limit gets 429 (RFC 6585 section 4) and Retry-After.
func TestRateLimitPolicy(t *testing.T) {
	t.Parallel()
	r := startRig(t, nil, map[string]string{
		"edge.yaml":    edge,
		"service.yaml": service("web", startBackend(t, named("web"))),
		"routes.yaml": route("web", "a.test", "  - {backendRefs: [{name: web, port: 80}]}") +
			route("api", "api.test", "  - {name: read, matches: [{path: {value: /read}}], backendRefs: [{name: web, port: 80}]}\n  - {backendRefs: [{name: web, port: 80}]}"),
		"edge-limit.yaml": rateLimit("edge", "Gateway", "name: edge, sectionName: http",
			"  rules: [{name: all, requests: 5, per: 1h, matches: [{path: {type: PathPrefix, value: /limited}}]}]"),
		"api-limit.yaml": rateLimit("api", "HTTPRoute", "name: api, sectionName: read",
			`  rules: [{requests: 2, per: 1h, by: ["header:X-User"]}]`),
	})
	a := r.wantEach(r.url("/limited"), []int{200, 200, 200, 200, 200}, "Host: a.test")
	if got := a.Header.Get("X-Ratelimit-Limit") + "; " + a.Header.Get("X-Ratelimit-Remaining"); got != "5, 5;w=3600; 0" {
		t.Errorf("the fifth answer says %q", got)
	}
	a = r.want(r.url("/limited"), 429, "Host: api.test")
	if wait, err := strconv.Atoi(a.Header.Get("Retry-After")); err != nil || wait < 1 || wait > 3600/5 {
		t.Errorf("the sixth answer says Retry-After: %q, want seconds until the next request passes", a.Header.Get("Retry-After"))
	}
	r.want(r.url("/else"), 200, "Host: a.test")

	for _, user := range []string{"ann", "bob"} {
		r.wantEach(r.url("/read"), []int{200, 200, 429}, "Host: api.test", "X-User: "+user)
		r.want(r.url("/write"), 200, "Host: api.test", "X-User: "+user)
	}
	r.wantEach(r.url("/read"), []int{200, 200, 200}, "Host: api.test")

	r.edit("api-limit.yaml", rateLimit("api", "HTTPRoute", "name: api", `  rules: [{requests: 1, per: 1h, by: ["header:X-User"]}]`))
	r.wantEach(r.url("/write"), []int{200, 429}, "Host: api.test", "X-User: ann")
	r.want(r.url("/limited"), 429, "Host: a.test") // what was not edited has its counts

	if n := r.logged(`"policy":"RateLimitPolicy/shop/edge all"`); n != 2 {
		t.Errorf("%d lines of the access log name the Gateway's policy, want 2", n)
	}
}

// A counter is a store that speaks Redis's protocol, as far as gateways do.
type counter struct {
	mu     sync.Mutex
	counts map[string]int
}

// startCounter serves a counter, and returns its port.
func startCounter(t *testing.T) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	c := &counter{counts: map[string]int{}}
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go c.serve(conn)
		}
	}()
	return ln.Addr().(*net.TCPAddr).Port
}

// serve answers INCR with the count, and PEXPIRE with 1.
func (c *counter) serve(conn net.Conn) {
	defer conn.Close()
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		switch lines.Text() {
		case "INCR":
			lines.Scan() // how long the key is
			lines.Scan()
			c.mu.Lock()
			c.counts[lines.Text()]++
			n := c.counts[lines.Text()]
			c.mu.Unlock()
			fmt.Fprintf(conn, ":%d\r\n", n)
		case "PEXPIRE":
			fmt.Fprint(conn, ":1\r\n")
		}
	}
}

// RateLimitPolicySpec.shared: the pods of all gateways count together.
func TestSharedRateLimit(t *testing.T) {
	t.Parallel()
	web, store := startBackend(t, named("web")), startCounter(t)
	pod := func() *rig {
		return startRig(t, nil, map[string]string{
			"edge.yaml":    edge,
			"service.yaml": service("web", web) + strings.ReplaceAll(service("counts", store), "name: web", "name: redis"),
			"route.yaml":   route("web", "a.test", "  - {backendRefs: [{name: web, port: 80}]}"),
			"limit.yaml": rateLimit("all", "HTTPRoute", "name: web",
				"  rules: [{name: all, requests: 3, per: 24h}]\n  failClosed: true\n  shared: {timeout: 1s, redis: {backendRef: {name: counts, port: 80}}}"),
		})
	}
	one, two := pod(), pod()
	one.wantEach(one.url("/"), []int{200, 200}, "Host: a.test")
	two.wantEach(two.url("/"), []int{200, 429}, "Host: a.test")
	if a := one.want(one.url("/"), 429, "Host: a.test"); a.Header.Get("X-Ratelimit-Remaining") != "0" {
		t.Errorf("who is over the limit is told %v", a.Header)
	}
}
