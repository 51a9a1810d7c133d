package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fairway.dev/gateway/hop"
	"fairway.dev/tlsmgr/identity"
)

// identifyUntil is identify with a certificate that ends at a time, which the CA
// does not sign by itself where that has passed.
func (m *mesh) identifyUntil(id identity.ID, end time.Time) string {
	m.t.Helper()
	files, err := m.ca.Files()
	if err != nil {
		m.t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(files.Cert, files.Key)
	if err != nil {
		m.t.Fatal(err)
	}
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		m.t.Fatal(err)
	}
	leaf, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: end.Add(-24 * time.Hour), NotAfter: end, URIs: []*url.URL{id.URL()},
		KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, pair.Leaf, own.Public(), pair.PrivateKey)
	if err != nil {
		m.t.Fatal(err)
	}
	dir := m.identify(id)
	ownKey, err := x509.MarshalPKCS8PrivateKey(own)
	if err != nil {
		m.t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"cert-chain.pem": {Type: "CERTIFICATE", Bytes: leaf}, "key.pem": {Type: "PRIVATE KEY", Bytes: ownKey}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			m.t.Fatal(err)
		}
	}
	return dir
}

var hourAgo = time.Now().Add(-time.Hour)

// waypoint-wire.md C.1: who shows a certificate that has expired opens no tunnel.
func TestExpiredPeerIsRefused(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	m.manifests["cart.yaml"] = m.cart("http", startBackend(t, echo))
	shop := m.start("shop", nil)
	for _, protocols := range [][]string{nil, {hop.Native}} {
		for _, tt := range []struct {
			until time.Time
			opens bool
		}{{time.Now().Add(time.Hour), true}, {hourAgo, false}} {
			c, err := m.hbone(shopWaypoint, m.identifyUntil(spiffe("web", "front"), tt.until), protocols...)
			if err == nil { // TLS 1.3: the server's refusal comes behind the client's handshake
				_, _, _, err = m.tunnel(c, "10.96.0.5:80")
			}
			if (err == nil) != tt.opens {
				t.Errorf("%q, a certificate until %v: error %v, want a tunnel: %v", protocols, tt.until, err, tt.opens)
			}
			if tt.opens {
				continue
			}
			line := shop.await("hop refused")
			for _, want := range []string{"certificate has expired", "claimed=spiffe://cluster.local/ns/web/sa/front"} {
				if !strings.Contains(line, want) {
					t.Errorf("the log says %s, want %q", line, want)
				}
			}
		}
	}
}

// The other end: a waypoint whose certificate has expired, is of a foreign root, or
// of another service account, is not sent anything.
func TestWaypointThatIsNotBelieved(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	m.manifests["cart.yaml"] = m.cart("http", startBackend(t, echo))
	foreign, err := identity.NewCA("cluster.local")
	if err != nil {
		t.Fatal(err)
	}
	shown := make(chan *tls.Certificate, 1)
	ln, err := tls.Listen("tcp", m.addr(shopWaypoint)+":15008", &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{hop.Native}, ClientAuth: tls.RequireAnyClientCert,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			c := <-shown
			shown <- c
			return c, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	heard := make(chan int, 100)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				n, _ := c.Read(make([]byte, 1))
				heard <- n
			}()
		}
	}()
	waypoint := spiffe("shop", "waypoint")
	for _, tt := range []struct{ name, dir, why string }{
		{"an expired certificate", m.identifyUntil(waypoint, hourAgo), "certificate has expired"},
		{"a foreign root", m.identifyBy(foreign, waypoint), "certificate signed by unknown authority"},
		{"another service account", m.identify(spiffe("shop", "stock")), "peer is spiffe://cluster.local/ns/shop/sa/stock, want spiffe://cluster.local/ns/shop/sa/waypoint"},
	} {
		cert, err := tls.LoadX509KeyPair(filepath.Join(tt.dir, "cert-chain.pem"), filepath.Join(tt.dir, "key.pem"))
		if err != nil {
			t.Fatal(err)
		}
		shown <- &cert
		web := m.start("web", nil)
		m.want(503, webPod, webWaypoint, "/")
		web.awaitAccess(`"flags":"U`)
		if line := web.await("hop failed"); !strings.Contains(line, tt.why) || !strings.Contains(line, "wanted="+waypoint.String()) {
			t.Errorf("%s: the log says %s, want %q", tt.name, line, tt.why)
		}
		web.terminate()
		<-shown
	}
	ln.Close()
	for len(heard) > 0 {
		if <-heard > 0 {
			t.Error("the waypoint that is not believed was sent something")
		}
	}
}

// Law 11: what clients say of who they are changes nothing about who they are, at
// a waypoint and at the edge.
func TestSpoofedIdentityHeaders(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	m.manifests["cart.yaml"] = m.cart("http", startBackend(t, echo))
	m.manifests["policy.yaml"] = security("AuthorizationPolicy", "admin-only", `{`+onCart+`, action: ALLOW, rules: [
		{from: [{source: {principals: ["cluster.local/ns/web/sa/admin"]}}]}, {from: [{source: {remoteIpBlocks: ["192.0.2.0/24"]}}]}]}`)
	shop := m.start("shop", nil)
	m.start("web", nil)
	const admin = "spiffe://cluster.local/ns/web/sa/admin"
	spoofed := []string{"X-Fairway-Source: " + admin, "X-Fairway-Client: 192.0.2.1:1", "X-Fairway-Target: 10.96.0.5:80",
		"X-Forwarded-Client-Cert: By=x;URI=" + admin, "X-Forwarded-For: 192.0.2.1", "Forwarded: for=192.0.2.1",
		"Baggage: k8s.namespace.name=web,k8s.deployment.name=admin", "X-Envoy-External-Address: 192.0.2.1", "X-Istio-Source: waypoint"}
	const refused = `"policy":"no ALLOW policy holds of AuthorizationPolicy/shop/admin-only"`
	for _, tt := range []struct {
		name           string
		from, waypoint int
		want           string // of the access log
	}{
		{"a pod of the Service's namespace", shopPod, shopWaypoint, `"source_principal":"spiffe://cluster.local/ns/shop/sa/stock",` + refused},
		{"a pod of another one", webPod, webWaypoint, `"source_principal":"spiffe://cluster.local/ns/web/sa/front",` + refused},
		{"who is nobody", stranger, shopWaypoint, `"tls":false,` + refused},
	} {
		m.want(403, tt.from, tt.waypoint, "/", spoofed...)
		shop.awaitAccess(tt.want)
	}

	m.manifests["edge.yaml"] = edge
	m.manifests["route.yaml"] = route("cart", "shop.example.com", "  - backendRefs: [{name: cart, port: 80}]")
	r := startRig(t, nil, m.manifests, "-gateway", "shop/edge", "-identity", m.identify(spiffe("shop", "edge")))
	shop.edit("edge.yaml", strings.ReplaceAll(strings.ReplaceAll(edge, "{{.HTTPS}}", "444"), "{{.HTTP}}", "81"))
	r.want(r.url("/"), 403, append(spoofed, "Host: shop.example.com")...)
	shop.awaitAccess(`"source_principal":"spiffe://cluster.local/ns/shop/sa/edge",` + refused)
}

// Law 15: a waypoint that is scaled to zero lets nobody through: who would have
// sent something says of it whose pods are missing. The node agent says so of
// those who go there without a waypoint of their own: see the tests of capture.
func TestWaypointScaledToZero(t *testing.T) {
	t.Parallel()
	const why = `"policy":"no pod of waypoint shop/waypoint is there"`
	for _, appProtocol := range []string{"http", "tcp"} {
		t.Run(appProtocol, func(t *testing.T) {
			t.Parallel()
			m := newMesh(t)
			m.manifests["cart.yaml"] = m.cart(appProtocol, startBackend(t, echo))
			m.start("shop", nil)
			web := m.start("web", nil)
			m.want(200, webPod, webWaypoint, "/")
			web.edit("mesh.yaml", strings.Replace(m.world(), "endpoints: [{addresses: ["+m.addr(shopWaypoint)+"]}]", "endpoints: []", 1))
			if appProtocol == "http" {
				m.want(503, webPod, webWaypoint, "/")
			} else if a, err := m.ask(webPod, webWaypoint, "/"); err == nil {
				t.Errorf("without a waypoint: %v, want a connection that ends", a)
			}
			web.awaitAccess(`"flags":"UH"`)
			web.awaitAccess(why)
		})
	}
	t.Run("deleted", func(t *testing.T) {
		t.Parallel()
		m := newMesh(t)
		m.manifests["cart.yaml"] = m.cart("http", startBackend(t, echo))
		web := m.start("web", nil)
		_, rest, _ := strings.Cut(m.namespace("shop", shopWaypoint), "---\napiVersion: gateway")
		web.edit("mesh.yaml", strings.Replace(m.world(), "---\napiVersion: gateway"+rest, "", 1))
		m.want(503, webPod, webWaypoint, "/")
		web.awaitAccess(`"policy":"no waypoint of the backend is there"`)
	})
	t.Run("edge", func(t *testing.T) {
		t.Parallel()
		m := newMesh(t)
		m.manifests["cart.yaml"] = m.cart("http", startBackend(t, echo))
		m.manifests["mesh.yaml"] = strings.Replace(m.world(), "endpoints: [{addresses: ["+m.addr(shopWaypoint)+"]}]", "endpoints: []", 1)
		m.manifests["edge.yaml"] = edge
		m.manifests["route.yaml"] = route("cart", "shop.example.com", "  - backendRefs: [{name: cart, port: 80}]")
		r := startRig(t, nil, m.manifests, "-gateway", "shop/edge", "-identity", m.identify(spiffe("shop", "edge")))
		r.want(r.url("/"), 503, "Host: shop.example.com")
		r.awaitAccess(why)
	})
}

// A tunnel without TLS, and one without a certificate, are none.
func TestHopWithoutProof(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	m.manifests["cart.yaml"] = m.cart("http", startBackend(t, echo))
	shop := m.start("shop", nil)
	plain, err := net.Dial("tcp", m.addr(shopWaypoint)+":15008")
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if _, err := plain.Write([]byte("CONNECT 10.96.0.5:80 HTTP/1.1\r\nHost: 10.96.0.5:80\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if got, _ := discard(plain); strings.Contains(got, "200") {
		t.Errorf("without TLS: %q", got)
	}
	shop.await("TLS handshake failed")
	conn, err := tls.Dial("tcp", m.addr(shopWaypoint)+":15008", &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}})
	if err == nil {
		defer conn.Close()
		_, err = conn.Read(make([]byte, 1))
	}
	if err == nil || !strings.Contains(err.Error(), "certificate required") {
		t.Errorf("without a certificate: error %v, want that one is required", err)
	}
	if line := shop.await("TLS handshake failed"); !strings.Contains(line, "didn't provide a certificate") {
		t.Errorf("the log says %s, want that there is no certificate", line)
	}
}
