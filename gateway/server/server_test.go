package server

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"fairway.dev/gateway/telemetry"
	"fairway.dev/routing"
)

func start(t *testing.T) *Server {
	t.Helper()
	s, err := New(Options{
		Loops: 2, Bind: netip.MustParseAddr("127.0.0.1"),
		Metrics: telemetry.New(telemetry.Options{Loops: 2}), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// answering returns the change that makes everything on a port go to a
// backend that answers with text.
func answering(t *testing.T, port uint16, text string) *routing.Delta {
	t.Helper()
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, text) }))
	t.Cleanup(backend.Close)
	cluster := routing.ClusterName(text)
	return &routing.Delta{
		Listeners: []*routing.Listener{{Name: "l", Gateway: "g", Port: port, Protocol: routing.HTTP}},
		Clusters:  []*routing.Cluster{{Name: cluster, Protocol: routing.UpstreamHTTP1}},
		Endpoints: []*routing.Endpoints{{Cluster: cluster, List: []routing.Endpoint{{
			Addr: netip.MustParseAddrPort(backend.Listener.Addr().String()), Ready: true, Serving: true,
		}}}},
		Routes: []*routing.Route{{
			Name:     "r",
			Attached: []routing.Attachment{{Listener: "l", Hosts: []string{"*"}}},
			Rules:    []routing.Rule{{Action: routing.Action{Backends: []routing.Backend{{Cluster: cluster, Weight: 1}}}}},
		}},
	}
}

func freePort(t *testing.T) (port uint16, release func()) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return uint16(ln.Addr().(*net.TCPAddr).Port), func() { ln.Close() }
}

func get(t *testing.T, port uint16) string {
	t.Helper()
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	resp, err := c.Get(fmt.Sprintf("http://127.0.0.1:%d/", port))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestUpdateIsInForceWhenItReturns(t *testing.T) {
	s := start(t)
	port, release := freePort(t)
	release()
	if ready, _ := s.Ready(); ready {
		t.Error("ready before the first Update")
	}
	for i, text := range []string{"one", "two", "three"} {
		if problems := s.Update(answering(t, port, text)); len(problems) > 0 {
			t.Fatalf("problems: %v", problems)
		}
		if got := get(t, port); got != text {
			t.Errorf("after update %d: %q, want %q", i+1, got, text)
		}
		if g := s.Generation(); g != uint64(i+1) {
			t.Errorf("generation %d, want %d", g, i+1)
		}
	}
	if ready, waits := s.Ready(); !ready {
		t.Errorf("not ready after Update: %v", waits)
	}
}

func TestTakenPortIsAProblemUntilItIsFree(t *testing.T) {
	s := start(t)
	port, release := freePort(t)
	problems := s.Update(answering(t, port, "late"))
	if len(problems) != 1 || problems[0].Reason != PortUnavailable {
		t.Fatalf("problems %v, want one %s", problems, PortUnavailable)
	}
	release()
	s.mu.Lock()
	s.applyPorts() // what the timer does
	s.mu.Unlock()
	if got := get(t, port); got != "late" {
		t.Errorf("got %q, want late", got)
	}
	if left := *s.unbound.Load(); len(left) > 0 {
		t.Errorf("problems %v after the port was bound", left)
	}
}

func TestDrainWaitsForConnections(t *testing.T) {
	s := start(t)
	port, release := freePort(t)
	release()
	s.Update(answering(t, port, "x"))
	idle, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	get(t, port) // the idle connection has been accepted before
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := s.Drain(ctx, 0); err != nil {
		t.Errorf("drain: %v", err)
	}
	if ready, _ := s.Ready(); ready {
		t.Error("ready while draining")
	}
	if c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
		c.Close()
		t.Error("a connection was accepted after the drain")
	}
}

// What a backend sends that is no response is counted by reason, apart from
// what clients send.
func TestRefusalsOfBackendsAreCounted(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx")
		}
	}()
	s := start(t)
	port, release := freePort(t)
	release()
	d := answering(t, port, "x")
	d.Endpoints[0].List[0].Addr = netip.MustParseAddrPort(ln.Addr().String())
	s.Update(d)
	resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/", port))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	page := httptest.NewRecorder()
	s.options.Metrics.Handler().ServeHTTP(page, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{
		`fairway_backend_http1_refused_total{reason="several_lengths"} 1`, `fairway_http1_refused_total{reason="several_lengths"} 0`,
	} {
		if !strings.Contains(page.Body.String(), want+"\n") {
			t.Errorf("no line %s", want)
		}
	}
}
