package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fairway.dev/tlsmgr/identity"
)

// A mesh is two namespaces, web and shop, each with its waypoint, on loopback:
// processes of the real program that serve one folder.
type mesh struct {
	t         *testing.T
	ca        *identity.CA
	base      byte // of the addresses: 127.BASE.0.N
	manifests map[string]string
	capture   int
}

// meshes counts the meshes of the tests, so that each has addresses of its own.
var meshes atomic.Uint32

// Where a mesh's parts are.
const (
	webWaypoint  = 2
	shopWaypoint = 3
	webPod       = 10 // service account front
	shopPod      = 11 // service account stock
	stranger     = 12 // of no pod
)

func newMesh(t *testing.T) *mesh {
	t.Helper()
	ca, err := identity.NewCA("cluster.local")
	if err != nil {
		t.Fatal(err)
	}
	m := &mesh{t: t, ca: ca, base: byte(100 + meshes.Add(1)), capture: freePort(t)}
	m.manifests = map[string]string{"mesh.yaml": m.world()}
	return m
}

func (m *mesh) addr(n int) string { return fmt.Sprintf("127.%d.0.%d", m.base, n) }

// world is what the two namespaces have in common with most meshes: Service
// cart of shop, at 10.96.0.5, is what is called.
func (m *mesh) world() string {
	return m.namespace("web", webWaypoint) + m.namespace("shop", shopWaypoint) +
		m.pod("web", "front", webPod) + m.pod("shop", "stock", shopPod) + m.ports("cart.shop.80")
}

// namespace is one with its waypoint.
func (m *mesh) namespace(ns string, at int) string {
	return fmt.Sprintf(`---
apiVersion: v1
kind: Namespace
metadata: {name: %[1]s, labels: {istio.io/use-waypoint: waypoint, istio.io/dataplane-mode: ambient}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: %[1]s}
spec:
  gatewayClassName: fairway
  listeners:
  - {name: mesh, port: 15008, protocol: HBONE}
---
apiVersion: v1
kind: Service
metadata: {name: waypoint, namespace: %[1]s, labels: {gateway.networking.k8s.io/gateway-name: waypoint}}
spec: {clusterIP: 10.96.1.%[2]d, ports: [{name: mesh, port: 15008}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: waypoint, namespace: %[1]s, labels: {kubernetes.io/service-name: waypoint}}
addressType: IPv4
ports: [{name: mesh, port: 15008}]
endpoints: [{addresses: [%[3]s]}]
`, ns, at, m.addr(at))
}

// pod is one that is called as its service account is.
func (m *mesh) pod(ns, account string, at int) string {
	return fmt.Sprintf(`---
apiVersion: v1
kind: Pod
metadata: {name: %[1]s, namespace: %[2]s}
spec: {serviceAccountName: %[1]s, nodeName: one, containers: [{name: c, image: c}]}
status: {phase: Running, podIP: %[3]s, podIPs: [{ip: %[3]s}]}
`, account, ns, m.addr(at))
}

// ports has the mesh's capture port stand for one of a Service.
func (m *mesh) ports(key string) string {
	return fmt.Sprintf(`---
apiVersion: v1
kind: ConfigMap
metadata: {name: fairway-mesh-ports, namespace: fairway-system}
data: {%s: "%d"}
`, key, m.capture)
}

// cart is Service cart with its backend.
func (m *mesh) cart(appProtocol string, port int) string {
	return strings.Replace(serviceWith("cart", appProtocol, port), "spec: {ports", "spec: {clusterIP: 10.96.0.5, clusterIPs: [10.96.0.5], ports", 1)
}

// identify writes who somebody is to a folder, as -identity has it.
func (m *mesh) identify(id identity.ID) string {
	m.t.Helper()
	return m.identifyBy(m.ca, id)
}

func (m *mesh) identifyBy(ca *identity.CA, id identity.ID) string {
	m.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		m.t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		m.t.Fatal(err)
	}
	chain, err := ca.Sign(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr}), identity.Claim{ID: id})
	if err != nil {
		m.t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		m.t.Fatal(err)
	}
	dir := m.t.TempDir()
	for name, text := range map[string][]byte{
		"cert-chain.pem": chain[0], "key.pem": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), "root-cert.pem": m.ca.Bundle().PEM(),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			m.t.Fatal(err)
		}
	}
	return dir
}

// spiffe is who a service account of the mesh is.
func spiffe(ns, name string) identity.ID {
	return identity.ID{TrustDomain: "cluster.local", Namespace: ns, ServiceAccount: name}
}

// start runs the waypoint of a namespace, with more manifests.
func (m *mesh) start(ns string, manifests map[string]string) *rig {
	m.t.Helper()
	at := map[string]int{"web": webWaypoint, "shop": shopWaypoint}[ns]
	all := map[string]string{}
	for _, list := range []map[string]string{m.manifests, manifests} {
		for name, text := range list {
			all[name] = text
		}
	}
	return startRig(m.t, nil, all, "-bind", m.addr(at), "-gateway", ns+"/waypoint", "-identity", m.identify(spiffe(ns, "waypoint")))
}

// client sends what it dials to a waypoint's port for cart, from the address of
// a pod, as a node agent would have it.
func (m *mesh) client(from, waypoint int) *http.Client {
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return m.dial(ctx, from, waypoint) },
	}
	m.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
}

func (m *mesh) dial(ctx context.Context, from, waypoint int) (net.Conn, error) {
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(m.addr(from)), 0)), Timeout: 5 * time.Second}
	return d.DialContext(ctx, "tcp", fmt.Sprintf("%s:%d", m.addr(waypoint), m.capture))
}

// carriesNothing holds that a stream that no policy allows is closed at once.
func (m *mesh) carriesNothing(from, waypoint int) {
	m.t.Helper()
	c, err := m.dial(m.t.Context(), from, waypoint)
	if err != nil {
		m.t.Fatal(err)
	}
	defer c.Close()
	if got, _ := discard(c); got != "" {
		m.t.Errorf("a stream that no policy allows has carried %q", got)
	}
}

// ask is a request of a pod for cart.
func (m *mesh) ask(from, waypoint int, path string, headers ...string) (answer, error) {
	req, err := http.NewRequestWithContext(m.t.Context(), http.MethodGet, "http://cart.shop"+path, nil)
	if err != nil {
		return answer{}, err
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	return do(m.client(from, waypoint), req)
}

// want is ask that fails the test unless the answer has the status.
func (m *mesh) want(status, from, waypoint int, path string, headers ...string) answer {
	m.t.Helper()
	a, err := m.ask(from, waypoint, path, headers...)
	if err != nil {
		m.t.Fatalf("%s: %v", path, err)
	}
	if a.StatusCode != status {
		m.t.Errorf("%s: status %d, want %d: %s", path, a.StatusCode, status, a.body)
	}
	return a
}

// echo answers with what it was asked, and with the fields that say who asked.
func echo(w http.ResponseWriter, r *http.Request) {
	for _, name := range []string{"X-Forwarded-For", "X-Fairway-Source", "X-Fairway-Target", "X-Consumer", "X-Producer", "Forwarded", "Baggage"} {
		if v := r.Header.Get(name); v != "" {
			w.Header().Set("Seen-"+name, v)
		}
	}
	fmt.Fprintf(w, "%s %s %s", r.Method, r.Host, r.URL.RequestURI())
}

// meshRoute is an HTTPRoute of a namespace with cart as its parent, that sets a
// field of the request.
func meshRoute(ns, field string) string {
	return fmt.Sprintf(`---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: %[1]s-route, namespace: %[1]s}
spec:
  parentRefs: [{group: "", kind: Service, name: cart, namespace: shop}]
  rules:
  - filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: %[2]s, value: %[1]s}]}}]
    backendRefs: [{name: cart, namespace: shop, port: 80}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: from-%[1]s, namespace: shop}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: %[1]s}]
  to: [{group: "", kind: Service}]
`, ns, field)
}

// Law 13: pod, waypoint of its namespace, mTLS, waypoint of the other, pod.
// Consumer routes apply at the one, producer routes at the other.
func TestHopBetweenWaypoints(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	m.manifests["cart.yaml"] = m.cart("http", startBackend(t, echo))
	m.manifests["consumer.yaml"] = meshRoute("web", "X-Consumer")
	shop := m.start("shop", nil)
	m.start("web", nil)
	a := m.want(200, webPod, webWaypoint, "/a?b=c", "X-Fairway-Source: spiffe://cluster.local/ns/shop/sa/admin", "Baggage: x=y")
	if a.body != "GET cart.shop /a?b=c" || a.Header.Get("Seen-X-Consumer") != "web" {
		t.Errorf("the pod of shop saw %q, %v", a.body, a.Header)
	}
	for _, name := range []string{"Seen-X-Fairway-Source", "Seen-X-Fairway-Target", "Seen-Baggage"} {
		if v := a.Header.Get(name); v != "" {
			t.Errorf("the pod of shop saw %s %q, want none", name, v)
		}
	}
	if got := a.Header.Get("Seen-X-Forwarded-For"); got != m.addr(webPod) {
		t.Errorf("X-Forwarded-For %q, want the pod's address %s", got, m.addr(webPod))
	}
	// A pod of shop goes by its own waypoint, where the consumer route of web is not.
	if a := m.want(200, shopPod, shopWaypoint, "/"); a.Header.Get("Seen-X-Consumer") != "" {
		t.Errorf("the consumer route of web holds for shop: %v", a.Header)
	}
	for _, want := range []string{`"source_principal":"spiffe://cluster.local/ns/web/sa/front"`, `"listener":"shop/waypoint/cart.shop:80"`} {
		shop.awaitAccess(want)
	}
}

// awaitAccess waits for the access log to have a text.
func (r *rig) awaitAccess(text string) {
	r.t.Helper()
	deadline := time.After(patience)
	for {
		r.mu.Lock()
		log := r.out.String()
		r.mu.Unlock()
		if strings.Contains(log, text) {
			return
		}
		select {
		case <-r.wrote:
		case <-deadline:
			r.t.Fatalf("the access log has no %s:\n%s", text, log)
		}
	}
}

// discard reads a connection to its end.
func discard(c net.Conn) (string, error) {
	b, err := io.ReadAll(c)
	return string(b), err
}

// startEchoing is a backend of bytes that speaks first, unless greeting is empty,
// and then repeats what it gets. It returns its port.
func startEchoing(t *testing.T, greeting string) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	echoOn(t, ln, greeting)
	return ln.Addr().(*net.TCPAddr).Port
}

// echoOn does so on ln, which it closes when the test ends.
func echoOn(t *testing.T, ln net.Listener, greeting string) {
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.WriteString(c, greeting)
				io.Copy(c, c)
			}()
		}
	}()
}
