package server

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"fairway.dev/gateway/telemetry"
	"fairway.dev/gateway/upstream"
	"fairway.dev/routing"
)

// until waits for the endpoints of the one cluster to be as they are wanted.
func until(t *testing.T, s *Server, wanted func([]upstream.EndpointStats) bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !wanted(s.Clusters()[0].Endpoints); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("endpoints: %+v", s.Clusters()[0].Endpoints)
		}
	}
}

// A name of an endpoint leads to its addresses.
func TestServerResolvesNames(t *testing.T) {
	s := start(t)
	port, release := freePort(t)
	release()
	d := answering(t, port, "named")
	e := &d.Endpoints[0].List[0]
	e.Host, e.Addr = "localhost", netip.AddrPortFrom(netip.Addr{}, e.Addr.Port())
	s.Update(d)
	until(t, s, func(list []upstream.EndpointStats) bool { return len(list) > 0 })
	if got := get(t, port); got != "named" {
		t.Errorf("got %q, want the backend's answer", got)
	}
}

// A health check that fails takes its endpoint out, as long as it does; that
// shows on the metrics page.
func TestServerChecksHealth(t *testing.T) {
	metrics := telemetry.New(telemetry.Options{Loops: 1})
	s, err := New(Options{Loops: 1, Bind: netip.MustParseAddr("127.0.0.1"), Metrics: metrics, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	port, release := freePort(t)
	release()
	d := answering(t, port, "good")
	var sick atomic.Bool
	sick.Store(true)
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/healthz" && sick.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		io.WriteString(w, "other")
	}))
	t.Cleanup(other.Close)
	d.Clusters[0].Health = &routing.HealthCheck{
		HTTP: &routing.HTTPCheck{Path: "/healthz"}, Interval: 20 * time.Millisecond, Timeout: 10 * time.Second, Unhealthy: 1,
	}
	d.Endpoints[0].List = append(d.Endpoints[0].List, routing.Endpoint{
		Addr: netip.MustParseAddrPort(other.Listener.Addr().String()), Ready: true, Serving: true,
	})
	s.Update(d)
	until(t, s, func(list []upstream.EndpointStats) bool { return list[1].Health == upstream.Unhealthy })
	for range 20 {
		if got := get(t, port); got != "good" {
			t.Fatalf("an answer from %q, which is unhealthy", got)
		}
	}
	if got := s.upstreamState(); got.Unhealthy != 1 || got.Ejected != 0 {
		t.Errorf("%d unhealthy, %d ejected; want 1, 0", got.Unhealthy, got.Ejected)
	}
	sick.Store(false)
	until(t, s, func(list []upstream.EndpointStats) bool { return list[1].Health != upstream.Unhealthy })
}
