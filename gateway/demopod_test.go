package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestDemoEchoesDatagrams(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		echoDatagrams(conn, "dns")
	}()
	client, err := net.Dial("udp", conn.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	client.SetDeadline(time.Now().Add(10 * time.Second))
	buf := make([]byte, 100)
	for _, say := range []string{"a longer one first", "short", ""} {
		client.Write([]byte(say))
		n, err := client.Read(buf)
		if got := string(buf[:n]); err != nil || got != "dns: "+say {
			t.Errorf("%q is answered with %q, %v", say, got, err)
		}
	}
	conn.Close()
	<-done
}

// A demo backend is as slow, and fails, as the query says; what it was asked is
// in its log, but for the kubelet's probes.
func TestDemoBackendDoesAsTheQuerySays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // nothing really waits
		var out strings.Builder
		h := logged(&out, demoBackend("reviews-v1"))
		ask := func(target, agent string) *httptest.ResponseRecorder {
			w := httptest.NewRecorder()
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
			r.Header.Set("User-Agent", agent)
			h.ServeHTTP(w, r)
			return w
		}
		began := time.Now()
		w := ask("http://shop.example/reviews?delay=2s&status=503", "curl/8")
		if took := time.Since(began); took != 2*time.Second || w.Code != 503 || w.Header().Get("X-Backend") != "reviews-v1" {
			t.Errorf("%d of %q after %v, want 503 of reviews-v1 after 2s", w.Code, w.Header().Get("X-Backend"), took)
		}
		if w := ask("/?status=9&delay=x", "kube-probe/1.35"); w.Code != 200 {
			t.Errorf("a query that says nothing is answered with %d, want 200", w.Code)
		}
		if want := "GET shop.example /reviews?delay=2s&status=503\n"; out.String() != want {
			t.Errorf("the log says %q, want %q", out.String(), want)
		}
	})
}
