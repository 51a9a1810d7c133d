package main

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"fairway.dev/gateway/loop/looptest"
)

// streamEdge is a Gateway with a TCP port, and one with listeners of protocol
// TLS and HTTPS.
const streamEdge = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec:
  gatewayClassName: fairway
  listeners:
  - {name: tcp, port: {{.HTTP}}, protocol: TCP}
  - {name: pass, port: {{.HTTPS}}, protocol: TLS, hostname: pass.example.com, tls: {mode: Passthrough}}
  - name: end
    port: {{.HTTPS}}
    protocol: TLS
    hostname: "*.example.com"
    tls: {mode: Terminate, options: {fairway.dev/certificate: local-ca}}
  - name: web
    port: {{.HTTPS}}
    protocol: HTTPS
    hostname: web.example.com
    tls: {options: {fairway.dev/certificate: local-ca}}
`

// streamRouteOf is a TCPRoute or TLSRoute of the edge Gateway to one Service.
func streamRouteOf(kind, name, section, hostname, backend string) string {
	if hostname != "" {
		hostname = "\n  hostnames: [" + hostname + "]"
	}
	return fmt.Sprintf(`---
apiVersion: gateway.networking.k8s.io/v1
kind: %s
metadata: {name: %s, namespace: shop}
spec:%s
  parentRefs: [{name: edge, sectionName: %s}]
  rules:
  - backendRefs: [{name: %s, port: 80}]
`, kind, name, hostname, section, backend)
}

// startTalker is a backend of bytes that says its name, with the one in the
// ClientHello where it has TLS, then repeats what it gets.
func startTalker(t *testing.T, name string, config *tls.Config) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go talk(c, name, config)
		}
	}()
	return ln.Addr().(*net.TCPAddr).Port
}

func talk(c net.Conn, name string, config *tls.Config) {
	if config != nil {
		secure := tls.Server(c, config)
		if secure.Handshake() != nil {
			c.Close()
			return
		}
		name += " for " + secure.ConnectionState().ServerName
		c = secure
	}
	defer c.Close()
	fmt.Fprintln(c, name)
	io.Copy(c, c)
}

// dialPort opens a connection to one of the rig's ports.
func (r *rig) dialPort(port string) *net.TCPConn {
	r.t.Helper()
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", r.vars[port]))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c.(*net.TCPConn)
}

// wantTalk fails the test unless who is behind c says its name and repeats.
func wantTalk(t *testing.T, c net.Conn, name string) {
	t.Helper()
	r := bufio.NewReader(c)
	if line, err := r.ReadString('\n'); line != name+"\n" {
		t.Fatalf("got %q, %v; want %s", line, err, name)
	}
	fmt.Fprintln(c, "echo")
	if line, err := r.ReadString('\n'); line != "echo\n" {
		t.Errorf("%s repeats %q, %v", name, line, err)
	}
}

func (r *rig) handshake(name string) (*tls.Conn, error) {
	c := tls.Client(r.dialPort("HTTPS"), &tls.Config{ServerName: name, InsecureSkipVerify: true})
	return c, c.Handshake()
}

func TestStreamRoutes(t *testing.T) {
	server, _ := looptest.TLSConfigs(t)
	r := startRig(t, nil, map[string]string{
		"gateway.yaml": streamEdge,
		"routes.yaml": streamRouteOf("TCPRoute", "db", "tcp", "", "db") + service("db", startTalker(t, "db", nil)) +
			streamRouteOf("TLSRoute", "pass", "pass", "pass.example.com", "secure") + service("secure", startTalker(t, "secure", server)) +
			streamRouteOf("TLSRoute", "end", "end", "end.example.com", "db") +
			streamRouteOf("TLSRoute", "gone", "end", "gone.example.com", "nobody") +
			strings.ReplaceAll(route("web", "web.example.com", "  - backendRefs: [{name: web, port: 80}]"), "[{name: edge}]", "[{name: edge, sectionName: web}]") +
			service("web", startBackend(t, named("web"))),
	})

	tcp := r.dialPort("HTTP")
	wantTalk(t, tcp, "db")
	for name, want := range map[string]string{"pass.example.com": "secure for pass.example.com", "end.example.com": "db"} {
		c, err := r.handshake(name)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		wantTalk(t, c, want)
	}
	r.want(fmt.Sprintf("https://web.example.com:%d/", r.vars["HTTPS"]), 200)
	// Closed by FIN, not by an alert: no listener, no route, no backend.
	for _, name := range []string{"example.org", "other.example.com", "gone.example.com"} {
		if _, err := r.handshake(name); err != io.EOF {
			t.Errorf("%s: %v, want EOF", name, err)
		}
	}

	// An edit sends new connections elsewhere, and closes none.
	r.edit("routes.yaml", streamRouteOf("TCPRoute", "db", "tcp", "", "new")+service("new", startTalker(t, "new", nil)))
	wantTalk(t, r.dialPort("HTTP"), "new")
	fmt.Fprintln(tcp, "still here")
	if line, err := bufio.NewReader(tcp).ReadString('\n'); line != "still here\n" {
		t.Errorf("the stream from before the edit: %q, %v", line, err)
	}
	if err := tcp.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(tcp); len(rest) > 0 || err != nil {
		t.Errorf("then %q, %v; want its end", rest, err)
	}
	page := r.page("/metrics")
	for _, want := range []string{"istio_tcp_connections_opened_total{", "istio_tcp_received_bytes_total{", `request_protocol="tcp"`, `response_flags="NR"`} {
		if !strings.Contains(page, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
}

func TestStreamsAreCutAtTheEndOfTheDrain(t *testing.T) {
	r := startRig(t, nil, map[string]string{
		"gateway.yaml": streamEdge,
		"routes.yaml":  streamRouteOf("TCPRoute", "db", "tcp", "", "db") + service("db", startTalker(t, "db", nil)),
	}, "-drain", "1s")
	c := r.dialPort("HTTP")
	wantTalk(t, c, "db")
	r.terminate()
	if _, err := io.ReadAll(c); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("after the drain: %v, want a reset", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if log := r.out.String(); !strings.Contains(log, `"protocol":"TCP"`) || !strings.Contains(log, `"route":"TCPRoute/shop/db"`) {
		t.Errorf("access log %q lacks the stream", log)
	}
}
