package main

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// A sandwich is the waypoint of shop in the mode of Istio's annotation
// waypoint-inbound-binding: PROXY/PORT, with a Service of HTTP, cart, and one of
// TCP, stock. The test is its ztunnel.
type sandwich struct {
	*rig
	t    *testing.T
	addr string // where ztunnel hands tunnels on
}

const sandwichPolicies = `---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: cart, namespace: shop}
spec:
  targetRefs: [{group: "", kind: Service, name: cart}]
  action: ALLOW
  rules:
  - from: [{source: {principals: [cluster.local/ns/web/sa/front]}}]
    to: [{operation: {paths: ["/open*"]}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: stock, namespace: shop}
spec:
  targetRefs: [{group: "", kind: Service, name: stock}]
  action: ALLOW
  rules:
  - from: [{source: {principals: [cluster.local/ns/web/sa/front]}}]
`

// startSandwich runs it on an address of loopback, with more manifests.
func startSandwich(t *testing.T, bind, more string, args ...string) *sandwich {
	t.Helper()
	m, port := newMesh(t), freePort(t)
	stock := startEchoing(t, "hello\n")
	m.manifests["mesh.yaml"] = m.namespace("web", webWaypoint) + strings.Replace(m.namespace("shop", shopWaypoint),
		"metadata: {name: waypoint, namespace: shop}", fmt.Sprintf("metadata: {name: waypoint, namespace: shop, annotations: {ambient.istio.io/waypoint-inbound-binding: PROXY/%d}}", port), 1)
	m.manifests["cart.yaml"] = strings.Replace(serviceWith("cart", "http", startBackend(t, echo)),
		"spec: {ports", `spec: {clusterIP: 10.96.0.5, clusterIPs: [10.96.0.5, "fd00::5"], ports`, 1)
	m.manifests["stock.yaml"] = strings.Replace(serviceWith("stock", "tcp", stock),
		"spec: {ports", `spec: {clusterIP: 10.96.0.6, clusterIPs: [10.96.0.6, "fd00::6"], ports`, 1)
	m.manifests["policies.yaml"] = sandwichPolicies
	m.manifests["more.yaml"] = more
	r := startRig(t, nil, m.manifests, append([]string{"-bind", bind, "-gateway", "shop/waypoint"}, args...)...)
	return &sandwich{r, t, netip.AddrPortFrom(netip.MustParseAddr(bind), uint16(port)).String()}
}

// proxyV2 is a header as ztunnel's, byte by byte: PROXY of version 2 over TCP
// (proxy-protocol.txt, section 2.2), with the identity in a TLV of type 0xD0.
func proxyV2(from, to, identity string) []byte {
	src, dst := netip.MustParseAddrPort(from), netip.MustParseAddrPort(to)
	body := append(src.Addr().AsSlice(), dst.Addr().AsSlice()...)
	body = append(body, byte(src.Port()>>8), byte(src.Port()), byte(dst.Port()>>8), byte(dst.Port()))
	if identity != "" {
		body = append(body, 0xD0, byte(len(identity)>>8), byte(len(identity)))
		body = append(body, identity...)
	}
	family := byte(0x11)
	if src.Addr().Is6() {
		family = 0x21
	}
	head := append([]byte("\r\n\r\n\x00\r\nQUIT\n"), 0x21, family, byte(len(body)>>8), byte(len(body)))
	return append(head, body...)
}

// send opens a connection that begins so.
func (s *sandwich) send(first []byte) net.Conn {
	s.t.Helper()
	c, err := net.DialTimeout("tcp", s.addr, patience)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write(first); err != nil {
		s.t.Fatal(err)
	}
	return c
}

// get asks for a path of cart, as what a header says.
func (s *sandwich) get(header []byte, path string) (*http.Response, string) {
	s.t.Helper()
	c := s.send(header)
	resp, body, err := getThrough(c, c, path)
	if err != nil {
		s.t.Fatalf("%s: %v", path, err)
	}
	return resp, body
}

const (
	front    = "spiffe://cluster.local/ns/web/sa/front"
	otherPod = "spiffe://cluster.local/ns/web/sa/other"
)

// Policy is asked about who ztunnel says that the client has proved to be, for
// requests and for connections, by both families of addresses.
func TestSandwich(t *testing.T) {
	t.Parallel()
	for _, on := range []struct{ bind, client, cart, stock string }{
		{"127.77.0.3", "10.1.0.1:51234", "10.96.0.5:80", "10.96.0.6:80"},
		{"::1", "[fd00:1::1]:51234", "[fd00::5]:80", "[fd00::6]:80"},
	} {
		t.Run(on.bind, func(t *testing.T) {
			t.Parallel()
			s := startSandwich(t, on.bind, "", "-captured")
			client := netip.MustParseAddrPort(on.client).Addr().String()
			resp, body := s.get(proxyV2(on.client, on.cart, front), "/open/x")
			if resp.StatusCode != 200 || body != "GET cart.shop /open/x" || resp.Header.Get("Seen-X-Forwarded-For") != client {
				t.Errorf("front at /open/x: %s, %q, %v", resp.Status, body, resp.Header)
			}
			s.awaitAccess(`"source_principal":"` + front + `"`)
			s.awaitAccess(`"remote":"` + on.client)
			for who, path := range map[string]string{front: "/closed", otherPod: "/open"} {
				if resp, _ := s.get(proxyV2(on.client, on.cart, who), path); resp.StatusCode != 403 {
					t.Errorf("%s at %s: %s, want 403", who, path, resp.Status)
				}
			}
			stock := s.send(append(proxyV2(on.client, on.stock, front), "again\n"...))
			lines := bufio.NewReader(stock)
			for _, want := range []string{"hello\n", "again\n"} {
				if got, err := lines.ReadString('\n'); got != want {
					t.Errorf("stock says %q, %v, want %q", got, err, want)
				}
			}
			if got, _ := discard(s.send(proxyV2(on.client, on.stock, otherPod))); got != "" {
				t.Errorf("stock says %q to somebody else", got)
			}
		})
	}
}

// What is forged, or half said, is closed without a word; the log says why.
func TestSandwichBelievesNoOtherHeaders(t *testing.T) {
	t.Parallel()
	s := startSandwich(t, "127.77.0.4", "", "-captured")
	const client, cart = "10.1.0.1:51234", "10.96.0.5:80"
	local := proxyV2(client, cart, front)
	local[12] = 0x20 // section 2.2: LOCAL
	twice := append(proxyV2(client, cart, front), "\xd0\x00\x01x"...)
	twice[15] += 4
	cut := proxyV2(client, cart, front)
	cut[29] = 0xff // the length of the identity
	for _, tt := range []struct {
		name  string
		first []byte
		want  []string
	}{
		{"no header", []byte("GET /open HTTP/1.1\r\nHost: cart.shop\r\n\r\n"), []string{"no PROXY protocol header", "status=400"}},
		{"version 1", []byte("PROXY TCP4 10.1.0.1 10.96.0.5 51234 80\r\nGET /open HTTP/1.1\r\n\r\n"), []string{"TLV 0xd0", "status=401"}},
		{"LOCAL", local, []string{"LOCAL", "status=400"}},
		{"nobody", proxyV2(client, cart, ""), []string{"no identity", "status=401", "peer=" + client, "target=" + cart}},
		{"two identities", twice, []string{"two TLVs of type 0xd0", "status=400"}},
		{"a TLV that is longer than the header", cut, []string{"malformed PROXY protocol header", "status=400"}},
		{"no SPIFFE ID", proxyV2(client, cart, "https://cluster.local/ns/web/sa/front"), []string{"another scheme", "status=401"}},
		{"a foreign trust domain", proxyV2(client, cart, "spiffe://other.example/ns/web/sa/front"), []string{"trust domain other.example", "status=401", "identity=spiffe://other.example/ns/web/sa/front"}},
		{"a destination without a door", proxyV2(client, "10.96.0.7:80", front), []string{"nothing is served at 10.96.0.7:80", "status=404", "identity=" + front}},
	} {
		if got, _ := discard(s.send(tt.first)); got != "" {
			t.Errorf("%s: answered with %q", tt.name, got)
		}
		line := s.await("hop refused")
		for _, want := range tt.want {
			if !strings.Contains(line, want) {
				t.Errorf("%s: the log says %s, want %q", tt.name, line, want)
			}
		}
	}
}

// Law 13 in a sandwich: what goes to a Service of another waypoint is dialled at
// the Service's address in plain text, where ztunnel takes it up.
func TestSandwichHopsByWayOfItsNodeProxy(t *testing.T) {
	t.Parallel()
	far, err := net.Listen("tcp", "127.77.0.9:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(echo)}
	t.Cleanup(func() { server.Close() })
	go server.Serve(far)
	s := startSandwich(t, "127.77.0.6", fmt.Sprintf(`---
apiVersion: v1
kind: Service
metadata: {name: site, namespace: web}
spec: {clusterIP: 127.77.0.9, clusterIPs: [127.77.0.9], ports: [{name: http, port: %d}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: cart, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: cart}]
  rules:
  - backendRefs: [{name: site, namespace: web, port: %[1]d}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: from-shop, namespace: web}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: shop}]
  to: [{group: "", kind: Service}]
`, far.Addr().(*net.TCPAddr).Port), "-captured")
	resp, body := s.get(proxyV2("10.1.0.1:51234", "10.96.0.5:80", front), "/open")
	if resp.StatusCode != 200 || body != "GET cart.shop /open" || resp.Header.Get("Seen-X-Fairway-Source") != "" {
		t.Errorf("%s, %q, %v", resp.Status, body, resp.Header)
	}
}

// A process that no node proxy captures is as without the annotation: it wants
// an identity of its own, to speak HBONE.
func TestSandwichIsForWhoIsCaptured(t *testing.T) {
	t.Parallel()
	startSandwich(t, "127.77.0.7", "").awaitLogged("NoMeshIdentity")
}
