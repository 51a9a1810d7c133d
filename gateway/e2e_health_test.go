package main

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestHealthCheck holds that an endpoint which says that it is not well gets no
// requests, and gets them again once it is.
func TestHealthCheck(t *testing.T) {
	t.Parallel()
	var sick atomic.Bool
	asked := make(chan bool, 1000) // whether the endpoint was sick
	answer := named("a")
	a := startBackend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz" {
			answer(w, r)
			return
		}
		if sick.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		select {
		case asked <- sick.Load():
		default:
		}
	})
	checked := strings.Replace(service("a", a, startBackend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz" {
			named("b")(w, r)
		}
	})), "metadata: {name: a, namespace: shop}", "metadata: {name: a, namespace: shop, annotations: {fairway.dev/load-balancing: round-robin, "+
		"fairway.dev/health-check: 'http=/healthz,interval=50ms,unhealthy=1'}}", 1)
	r := startRig(t, nil, map[string]string{"edge.yaml": edge, "a.yaml": checked, "shop.yaml": route("shop", "shop.test", "  - backendRefs: [{name: a, port: 80}]")})
	c := r.client()
	told := func(state bool) {
		sick.Store(state)
		for heard := range asked {
			if heard == state {
				return
			}
		}
	}
	// share asks until the endpoint's share of 20 requests is as wanted.
	share := func(about string, as func(n int) bool) {
		t.Helper()
		for end := time.Now().Add(patience); ; {
			n := 0
			for range 20 {
				if r.who(c, "shop.test", "/") == "a" {
					n++
				}
			}
			if as(n) {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%s: %d of 20 requests", about, n)
			}
		}
	}
	share("well", func(n int) bool { return n > 0 })
	told(true)
	share("not well", func(n int) bool { return n == 0 })
	told(false)
	share("well again", func(n int) bool { return n > 0 })
}
