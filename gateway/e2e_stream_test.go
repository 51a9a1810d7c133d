package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/net/http2"
)

// toBackend is the manifests of an edge whose every request goes to a backend.
func toBackend(t *testing.T, appProtocol string, h http.HandlerFunc) map[string]string {
	return map[string]string{
		"gateway.yaml": edge,
		"all.yaml": route("all", "\"*.example.com\"", "  - backendRefs: [{name: a, port: 80}]") +
			serviceWith("a", appProtocol, startBackend(t, h)),
	}
}

// ways are the protocols between client and gateway, and gateway and backend.
var ways = []struct{ name, scheme, appProtocol string }{
	{"http1 to http1", "http", ""},
	{"http2 to http1", "https", ""},
	{"http1 to h2c", "http", "kubernetes.io/h2c"},
	{"http2 to h2c", "https", "kubernetes.io/h2c"},
}

func (r *rig) shop(scheme, path string) string {
	port := r.vars["HTTP"]
	if scheme == "https" {
		port = r.vars["HTTPS"]
	}
	return fmt.Sprintf("%s://shop.example.com:%d%s", scheme, port, path)
}

func TestLargeBodiesStreamBothWays(t *testing.T) {
	const size = 8 << 20
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			r := startRig(t, nil, toBackend(t, way.appProtocol, func(w http.ResponseWriter, req *http.Request) {
				w.Header().Set("Trailer", "X-Sum")
				http.NewResponseController(w).EnableFullDuplex()
				sum := sha256.New()
				io.Copy(io.MultiWriter(w, sum), req.Body)
				w.Header().Set("X-Sum", fmt.Sprintf("%x", sum.Sum(nil)))
			}))
			sent := sha256.New()
			body := io.TeeReader(io.LimitReader(rand.NewChaCha8([32]byte{1}), size), sent)
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.shop(way.scheme, "/echo"), body)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := r.client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			got := sha256.New()
			n, err := io.Copy(got, resp.Body)
			if err != nil || n != size {
				t.Fatalf("%d bytes came back, error %v; want %d", n, err, size)
			}
			want := fmt.Sprintf("%x", sent.Sum(nil))
			if fmt.Sprintf("%x", got.Sum(nil)) != want {
				t.Error("the body was changed on its way")
			}
			if resp.Trailer.Get("X-Sum") != want {
				t.Errorf("trailer X-Sum is %q, want the body's sum", resp.Trailer.Get("X-Sum"))
			}
		})
	}
}

// TestMessagesPassAtOnce holds that nothing waits for more: a stream that
// goes back and forth, as gRPC's do, moves message by message.
func TestMessagesPassAtOnce(t *testing.T) {
	r := startRig(t, nil, toBackend(t, "kubernetes.io/h2c", func(w http.ResponseWriter, req *http.Request) {
		w.WriteHeader(200)
		w.(http.Flusher).Flush()
		lines := bufio.NewScanner(req.Body)
		for lines.Scan() {
			fmt.Fprintf(w, "%s back\n", lines.Text())
			w.(http.Flusher).Flush()
		}
	}))
	reader, writer := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.shop("https", "/"), reader)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := r.client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answers := bufio.NewReader(resp.Body)
	for i := range 20 {
		fmt.Fprintf(writer, "message %d\n", i)
		line, err := answers.ReadString('\n')
		if want := fmt.Sprintf("message %d back\n", i); line != want || err != nil {
			t.Fatalf("got %q, %v; want %q before the next message is sent", line, err, want)
		}
	}
	writer.Close()
	if rest, err := io.ReadAll(answers); len(rest) > 0 || err != nil {
		t.Errorf("after the end: %q, %v", rest, err)
	}
}

func TestClientAbortCancelsTheTry(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			arrived, cancelled := make(chan struct{}), make(chan struct{})
			r := startRig(t, nil, toBackend(t, way.appProtocol, func(w http.ResponseWriter, req *http.Request) {
				close(arrived)
				<-req.Context().Done()
				close(cancelled)
			}))
			ctx, cancel := context.WithCancel(t.Context())
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.shop(way.scheme, "/"), nil)
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				<-arrived
				cancel()
			}()
			if _, err := r.client().Do(req); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want the cancellation", err)
			}
			<-cancelled
		})
	}
}

// upgrade switches a connection to a protocol that echoes lines.
func upgradeBackend(w http.ResponseWriter, req *http.Request) {
	if req.Header.Get("Upgrade") != "websocket" {
		http.Error(w, "want an upgrade", http.StatusBadRequest)
		return
	}
	conn, buf, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	for {
		line, err := buf.ReadString('\n')
		if err != nil {
			return
		}
		io.WriteString(conn, "echo "+line)
	}
}

func TestWebSocketLivesThroughEdits(t *testing.T) {
	manifests := toBackend(t, "kubernetes.io/ws", upgradeBackend)
	r := startRig(t, nil, manifests)
	conn, err := net.Dial("tcp", r.addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "GET /chat HTTP/1.1\r\nHost: shop.example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("status %s, want 101", resp.Status)
	}
	for i := range 5 {
		fmt.Fprintf(conn, "line %d\n", i)
		line, err := in.ReadString('\n')
		if want := fmt.Sprintf("echo line %d\n", i); line != want || err != nil {
			t.Fatalf("after %d edits: got %q, %v; want %q", i, line, err, want)
		}
		r.edit("all.yaml", strings.Replace(manifests["all.yaml"], "rules:",
			fmt.Sprintf("rules:\n  - matches: [{path: {value: /edit-%d}}]\n    backendRefs: [{name: a, port: 80}]", i), 1))
	}
}

func TestPriorKnowledgeHTTP2(t *testing.T) {
	r := startRig(t, nil, toBackend(t, "", named("a")))
	c := &http.Client{Transport: &http2.Transport{
		AllowHTTP: true,
		DialTLSContext: func(ctx context.Context, network, _ string, _ *tls.Config) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, r.addr())
		},
	}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.shop("http", "/"), nil)
	if err != nil {
		t.Fatal(err)
	}
	a, err := do(c, req)
	if err != nil {
		t.Fatal(err)
	}
	if a.StatusCode != 200 || a.ProtoMajor != 2 {
		t.Errorf("%s %s, want HTTP/2 200", a.Proto, a.Status)
	}
}

func TestExpectContinuePasses(t *testing.T) {
	r := startRig(t, nil, toBackend(t, "", func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body) // net/http sends 100 now
		fmt.Fprintf(w, "%d bytes", len(body))
	}))
	conn, err := net.Dial("tcp", r.addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "POST / HTTP/1.1\r\nHost: shop.example.com\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
	in := bufio.NewReader(conn)
	line, err := in.ReadString('\n')
	if !strings.HasPrefix(line, "HTTP/1.1 100") {
		t.Fatalf("got %q, %v; want 100 Continue before the body is sent (RFC 9110 section 10.1.1)", line, err)
	}
	if _, err := in.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	io.WriteString(conn, "hello")
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, _ := io.ReadAll(resp.Body); string(body) != "5 bytes" {
		t.Errorf("the backend answered %q, want 5 bytes", body)
	}
}
