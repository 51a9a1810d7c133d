package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// An issuer signs certificates for tests.
type issuer struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newIssuer(t *testing.T) *issuer {
	i := &issuer{t: t}
	i.cert, i.key = i.sign(&x509.Certificate{Subject: pkix.Name{CommonName: "issuer"}, IsCA: true, BasicConstraintsValid: true})
	return i
}

func (i *issuer) sign(template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	i.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		i.t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(1)
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, parentKey := template, key
	if i.cert != nil {
		parent, parentKey = i.cert, i.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		i.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		i.t.Fatal(err)
	}
	return cert, key
}

func inPEM(kind string, der []byte) string {
	return base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// secret is one of Istio's own shape, with a certificate for names and the
// issuer as the CA of clients.
func (i *issuer) secret(name string, names ...string) string {
	cert, key := i.sign(&x509.Certificate{Subject: pkix.Name{CommonName: name}, DNSNames: names})
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		i.t.Fatal(err)
	}
	return fmt.Sprintf(`---
apiVersion: v1
kind: Secret
metadata: {name: %s, namespace: istio-system}
type: Opaque
data: {cert: %s, key: %s, cacert: %s}
`, name, inPEM("CERTIFICATE", cert.Raw), inPEM("PRIVATE KEY", der), inPEM("CERTIFICATE", i.cert.Raw))
}

// client returns a certificate of a client with a name.
func (i *issuer) client(name string) *tls.Certificate {
	cert, key := i.sign(&x509.Certificate{DNSNames: []string{name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return &tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
}

// visit asks for a host by TLS, on a connection for a name, and returns the
// status and who the server is; 0 where there is no connection.
func (r *rig) visit(port int, name, host string, edit ...func(*tls.Config)) (status int, server string) {
	r.t.Helper()
	config := &tls.Config{ServerName: name, InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}
	for _, f := range edit {
		f(config)
	}
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", fmt.Sprint("127.0.0.1:", port), config)
	if err != nil {
		return 0, ""
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	server = conn.ConnectionState().PeerCertificates[0].Subject.CommonName
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", host)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, server
	}
	resp.Body.Close()
	return resp.StatusCode, server
}

func shows(cert *tls.Certificate) func(*tls.Config) {
	return func(c *tls.Config) {
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
	}
}

func upToTLS12(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }

// istioGateway is a Gateway of Istio's with servers, and a VirtualService that
// sends all its hosts to Service a.
func istioGateway(name, created, servers string) string {
	return fmt.Sprintf(`---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: %[1]s, namespace: shop, creationTimestamp: "%[2]s"}
spec:
  selector: {istio: ingressgateway}
  servers:
%[3]s
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: %[1]s, namespace: shop}
spec:
  hosts: ["*"]
  gateways: [%[1]s]
  http: [{route: [{destination: {host: a, port: {number: 80}}}]}]
  tls: [{match: [{sniHosts: [pass.example.com]}], route: [{destination: {host: secure, port: {number: 80}}}]}]
  tcp: [{route: [{destination: {host: a, port: {number: 80}}}]}]
`, name, created, servers)
}

// The fields of a server's tls, by what clients see of them.
func TestIstioGatewayTLS(t *testing.T) {
	ca, others := newIssuer(t), newIssuer(t)
	r := startRig(t, nil, map[string]string{
		"gateway.yaml": istioGateway("edge", "2026-01-01T00:00:00Z", `
  - port: {number: {{.HTTPS}}, name: https-web, protocol: HTTPS}
    hosts: [web.example.com, same.example.com]
    tls: {mode: SIMPLE, credentialName: web}
  - port: {number: {{.HTTPS}}, name: https-new, protocol: HTTPS}
    hosts: [new.example.com]
    tls: {mode: SIMPLE, credentialName: web, minProtocolVersion: TLSV1_3}
  - port: {number: {{.HTTPS}}, name: https-mutual, protocol: HTTPS}
    hosts: [mutual.example.com]
    tls: {mode: MUTUAL, credentialName: web, subjectAltNames: [friend.example.com]}
  - port: {number: {{.HTTPS}}, name: https-optional, protocol: HTTPS}
    hosts: [optional.example.com]
    tls: {mode: OPTIONAL_MUTUAL, credentialName: web}
  - port: {number: {{.HTTPS}}, name: https-late, protocol: HTTPS}
    hosts: [late.example.com]
    tls: {mode: SIMPLE, credentialName: late}
  - port: {number: {{.HTTPS}}, name: https-any, protocol: HTTPS}
    hosts: ["*.example.com"]
    tls: {mode: SIMPLE, credentialName: any}`),
		"younger.yaml": istioGateway("younger", "2026-02-01T00:00:00Z", `
  - port: {number: {{.HTTPS}}, name: https, protocol: HTTPS}
    hosts: [web.example.com, own.example.com]
    tls: {mode: SIMPLE, credentialName: younger}`),
		"secrets.yaml": ca.secret("web", "web.example.com") + ca.secret("any", "*.example.com") + ca.secret("younger", "own.example.com"),
		"a.yaml":       service("a", startBackend(t, named("a"))),
	})
	port := r.vars["HTTPS"].(int)
	friend, stranger := shows(ca.client("friend.example.com")), shows(others.client("friend.example.com"))
	tests := []struct {
		name       string
		sni, host  string
		edit       func(*tls.Config)
		wantStatus int // 0: no connection
		wantServer string
	}{
		{"credentialName is of the pods' namespace", "web.example.com", "web.example.com", nil, 200, "web"},
		{"the older Gateway has the host", "web.example.com", "web.example.com", upToTLS12, 200, "web"},
		{"the younger one keeps its others", "own.example.com", "own.example.com", nil, 200, "younger"},
		{"hosts of one server share connections", "web.example.com", "same.example.com", nil, 200, "web"},
		{"those of two servers do not", "web.example.com", "new.example.com", nil, 421, "web"},
		{"minProtocolVersion", "new.example.com", "new.example.com", nil, 200, "web"},
		{"minProtocolVersion keeps the old out", "new.example.com", "new.example.com", upToTLS12, 0, ""},
		{"MUTUAL", "mutual.example.com", "mutual.example.com", friend, 200, "web"},
		{"MUTUAL without a certificate", "mutual.example.com", "mutual.example.com", nil, 0, "web"},
		{"MUTUAL with another's", "mutual.example.com", "mutual.example.com", stranger, 0, "web"},
		{"MUTUAL with another name", "mutual.example.com", "mutual.example.com", shows(ca.client("foe.example.com")), 0, "web"},
		{"MUTUAL by a connection for another host", "web.example.com", "mutual.example.com", nil, 421, "web"},
		{"OPTIONAL_MUTUAL without a certificate", "optional.example.com", "optional.example.com", nil, 200, "web"},
		{"OPTIONAL_MUTUAL with another's", "optional.example.com", "optional.example.com", stranger, 0, "web"},
		{"no Secret: nobody else takes the host", "late.example.com", "late.example.com", nil, 0, ""},
		{"a wildcard takes the rest", "rest.example.com", "rest.example.com", nil, 200, "any"},
		{"no host of any server", "example.org", "example.org", nil, 0, ""},
	}
	for _, tt := range tests {
		if tt.edit == nil {
			tt.edit = func(*tls.Config) {}
		}
		status, server := r.visit(port, tt.sni, tt.host, tt.edit)
		if status != tt.wantStatus || status != 0 && server != tt.wantServer {
			t.Errorf("%s: status %d of %q, want %d of %q", tt.name, status, server, tt.wantStatus, tt.wantServer)
		}
	}
	r.edit("late.yaml", ca.secret("late", "late.example.com"))
	if status, server := r.visit(port, "late.example.com", "late.example.com"); status != 200 || server != "late" {
		t.Errorf("once the Secret is there: status %d of %q, want 200 of late", status, server)
	}
}

// TLS that is passed through, by VirtualServices and to any Service, and plain
// TCP.
func TestIstioGatewayStreams(t *testing.T) {
	secure := httptest.NewTLSServer(http.HandlerFunc(named("secure")))
	t.Cleanup(secure.Close)
	backend := secure.Listener.Addr().(*net.TCPAddr).Port
	tcp := freePort(t)
	r := startRig(t, map[string]any{"TCP": tcp}, map[string]string{
		"gateway.yaml": istioGateway("edge", "2026-01-01T00:00:00Z", `
  - port: {number: {{.HTTPS}}, name: tls, protocol: TLS}
    hosts: [pass.example.com]
    tls: {mode: PASSTHROUGH}
  - port: {number: {{.HTTPS}}, name: tls-auto, protocol: TLS}
    hosts: ["*.local"]
    tls: {mode: AUTO_PASSTHROUGH}
  - port: {number: {{.TCP}}, name: tcp, protocol: TCP}
    hosts: ["*"]`),
		"a.yaml":      service("a", startBackend(t, named("a"))),
		"secure.yaml": service("secure", backend),
	})
	port := r.vars["HTTPS"].(int)
	for name, want := range map[string]int{
		"pass.example.com": 200,
		"outbound_.80_._.secure.shop.svc.cluster.local": 200, // AUTO_PASSTHROUGH needs no VirtualService
		"outbound_.81_._.secure.shop.svc.cluster.local": 0,   // no such port
		"secure.shop.svc.cluster.local":                 0,
		"other.example.com":                             0,
	} {
		if got, _ := r.visit(port, name, "x"); got != want {
			t.Errorf("%s: status %d, want %d", name, got, want)
		}
	}
	conn, err := net.DialTimeout("tcp", fmt.Sprint("127.0.0.1:", tcp), patience)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	if text, err := io.ReadAll(conn); err != nil || !strings.HasSuffix(string(text), "a GET x /") {
		t.Errorf("by TCP: %q, %v", text, err)
	}
}

// Plain HTTP: whose hosts are let in, which redirect, and ports that Gateway API
// has too.
func TestIstioGatewayHTTP(t *testing.T) {
	r := startRig(t, map[string]any{"SHARED": freePort(t)}, map[string]string{
		"edge.yaml": strings.Split(edge, "  - name: https")[0] + "  - {name: shared, port: {{.SHARED}}, protocol: HTTP}\n" +
			route("api", "api.example.com", "  - matches: [{path: {value: /}}]\n    backendRefs: [{name: b, port: 80}]"),
		"gateway.yaml": istioGateway("web", "2026-01-01T00:00:00Z", `
  - port: {number: {{.HTTP}}, name: http, protocol: HTTP}
    hosts: [web.example.com, "./own.example.com", "team/team.example.com"]
  - port: {number: {{.HTTPS}}, name: http-own, protocol: HTTP}
    hosts: [web.example.com]
  - port: {number: {{.HTTPS}}, name: http-old, protocol: HTTP}
    hosts: [old.example.com]
    tls: {httpsRedirect: true}
  - port: {number: {{.SHARED}}, name: http-shared, protocol: HTTP}
    hosts: ["*"]
    tls: {httpsRedirect: true}`),
		"a.yaml": service("a", startBackend(t, named("a"))),
		"b.yaml": service("b", startBackend(t, named("b"))),
	})
	tests := []struct {
		port, host string
		status     int
		backend    string
	}{
		{"HTTP", "web.example.com", 200, "a"},
		{"HTTP", "own.example.com", 200, "a"},
		{"HTTP", "team.example.com", 404, ""}, // for VirtualServices of another namespace
		{"HTTP", "other.example.com", 404, ""},
		{"HTTP", "api.example.com", 200, "b"}, // an HTTPRoute on the same port
		{"HTTPS", "web.example.com", 200, "a"},
		{"HTTPS", "old.example.com", 301, ""},
		{"HTTPS", "other.example.com", 404, ""},
		{"SHARED", "web.example.com", 301, ""},
		{"SHARED", "api.example.com", 200, "b"}, // routes of Gateway API come first
	}
	for _, tt := range tests {
		a := r.want(fmt.Sprintf("http://%s:%d/x?y=1", tt.host, r.vars[tt.port]), tt.status)
		if got := a.Header.Get("X-Backend"); got != tt.backend {
			t.Errorf("%s on %s: backend %q, want %q", tt.host, tt.port, got, tt.backend)
		}
		if want := fmt.Sprintf("https://%s:%d/x?y=1", tt.host, r.vars[tt.port]); tt.status == 301 && a.Header.Get("Location") != want {
			t.Errorf("%s on %s: to %q, want %q", tt.host, tt.port, a.Header.Get("Location"), want)
		}
	}
}
