package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"
)

func start(t *testing.T) *backend {
	t.Helper()
	b, err := startBackend("b")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.close)
	return b
}

// A backend that fails resets the connections it has and refuses new ones; then
// it is there again on the same port.
func TestBackendFailsAndRecovers(t *testing.T) {
	b := start(t)
	port := b.port
	conn, err := net.Dial("tcp", addressOf(b))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	request := func(c net.Conn) (string, error) {
		c.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := c.Write([]byte("GET / HTTP/1.1\r\nHost: b\r\n\r\n")); err != nil {
			return "", err
		}
		buf := make([]byte, 1024)
		n, err := c.Read(buf)
		return string(buf[:n]), err
	}
	if text, err := request(conn); err != nil || !strings.Contains(text, "200 OK") || !strings.Contains(text, "X-Backend: b") {
		t.Fatalf("%q, %v, want an answer with the backend's name", text, err)
	}
	b.fail()
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("an open connection: %v, want a reset", err)
	}
	if c, err := net.Dial("tcp", addressOf(b)); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a new connection: %v, %v, want it refused", c, err)
	}
	if err := b.listen(); err != nil || b.port != port {
		t.Fatalf("port %d, %v, want %d again", b.port, err, port)
	}
	again, err := net.Dial("tcp", addressOf(b))
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if _, err := request(again); err != nil || b.served.Load() != 2 {
		t.Errorf("%v, %d served, want 2", err, b.served.Load())
	}
}

func addressOf(b *backend) string {
	return (&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(b.port)}).String()
}

// clientOf returns a client of a server that takes all hosts' names for its own.
func clientOf(t *testing.T, h http.HandlerFunc) *client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	c := newClient(&edge{})
	c.http.Transport.(*http.Transport).DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", s.Listener.Addr().String())
	}
	t.Cleanup(c.close)
	return c
}

// Between 404 and 200 nothing else is right.
func TestAnswered(t *testing.T) {
	tests := []struct {
		statuses []int
		wrong    int
	}{
		{[]int{200}, 0},
		{[]int{404, 404, 200}, 0},
		{[]int{404, 500, 301, 404, 503, 200}, 3},
	}
	for _, tt := range tests {
		n := 0
		c := clientOf(t, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(tt.statuses[n])
			n++
		})
		if wrong, err := c.answered(t.Context(), "http://x.example/", time.Minute); err != nil || wrong != tt.wrong {
			t.Errorf("%v: %d wrong, %v, want %d", tt.statuses, wrong, err, tt.wrong)
		}
	}
	c := clientOf(t, http.NotFound)
	if _, err := c.answered(t.Context(), "http://x.example/", time.Millisecond); err == nil {
		t.Error("no error where the answer never comes")
	}
}

// An answer has to be of one edit: its backend and its header belong together.
func TestMixedAnswersAreCounted(t *testing.T) {
	f := &flipping{wrong: map[string]int{}, seen: map[string]bool{}}
	header := func(edit, backend string) http.Header {
		return http.Header{"X-Edit": {edit}, "X-Backend": {backend}}
	}
	f.take(200, header("80 2", "80"), nil)
	f.take(200, header("8080 3", "8080"), nil)
	f.take(200, header("8080 3", "80"), nil)
	f.take(200, http.Header{}, nil)
	f.take(503, nil, nil)
	f.take(0, nil, errors.New("reset"))
	if f.mixed != 2 || f.requests != 6 || f.wrong["Service Unavailable"] != 1 || f.wrong["reset"] != 1 || !f.seen["80 2"] {
		t.Errorf("%d mixed of %d, wrong %v, seen %v", f.mixed, f.requests, f.wrong, f.seen)
	}
}
