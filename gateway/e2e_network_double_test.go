package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/net/http2"
)

// throughIstio has network one take the gateways of network two for Istio's, and
// cart for what the identity of an account of shop has.
func throughIstio(one map[string]string, account string) {
	one["two.yaml"] = strings.Replace(one["two.yaml"], "fairway-remote", "istio-remote", 1)
	one["cart.yaml"] = strings.Replace(one["cart.yaml"], "spec:\n", fmt.Sprintf("spec:\n  subjectAltNames: [%q]\n", spiffe("shop", account)), 1)
}

const waypointOnly = "{" + onCart + `, action: ALLOW, rules: [{from: [{source: {principals: ["cluster.local/ns/web/sa/waypoint"]}}]}]}`

// Double HBONE, both ways of it: a waypoint opens a tunnel within another, and an
// east-west gateway passes on what is in it to the waypoint, whose policies are
// asked about who has opened the inner one.
func TestDoubleHBONE(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	one, two := two(m, "http", startBackend(t, echo))
	throughIstio(one, "waypoint")
	two["policy.yaml"] = security("AuthorizationPolicy", "waypoint-only", waypointOnly)
	shop := m.startIn(two, shopWaypoint, "shop", "waypoint")
	m.startIn(two, eastWest, "istio-system", "eastwest")
	web := m.startIn(one, webWaypoint, "web", "waypoint")
	for range 3 {
		a := m.want(200, webPod, webWaypoint, "/a?b=c")
		if a.body != "GET cart.shop /a?b=c" || a.Header.Get("Seen-X-Fairway-Source") != "" {
			t.Errorf("the pod of shop saw %q, %v", a.body, a.Header)
		}
	}
	shop.awaitAccess(`"source_principal":"spiffe://cluster.local/ns/web/sa/waypoint"`)
	shop.awaitAccess(`"listener":"shop/waypoint/cart.shop:80"`)

	web.edit("cart.yaml", strings.Replace(one["cart.yaml"], "sa/waypoint", "sa/other", 1))
	m.want(503, webPod, webWaypoint, "/")
	if line := web.await("hop failed"); !strings.Contains(line, "peer is spiffe://cluster.local/ns/shop/sa/waypoint, want spiffe://cluster.local/ns/shop/sa/other") {
		t.Errorf("the log says %s, want whom it found and whom it wanted", line)
	}
}

// double opens HBONE within a tunnel, as Istio's ztunnel does.
func (m *mesh) double(c *http2.ClientConn, authority, dir string) (*http2.ClientConn, error) {
	m.t.Helper()
	status, w, r, err := m.tunnel(c, authority)
	if err != nil || status != 200 {
		return nil, fmt.Errorf("status %d, error %w", status, err)
	}
	own, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert-chain.pem"), filepath.Join(dir, "key.pem"))
	if err != nil {
		m.t.Fatal(err)
	}
	near, far := net.Pipe()
	m.t.Cleanup(func() { near.Close() })
	go func() { io.Copy(w, far); w.Close() }()
	go func() { io.Copy(far, r); far.Close() }()
	secure := tls.Client(near, &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{own}, MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}})
	if err := secure.HandshakeContext(m.t.Context()); err != nil {
		return nil, err
	}
	if who := secure.ConnectionState().PeerCertificates[0].URIs[0].String(); who != spiffe("shop", "waypoint").String() {
		return nil, fmt.Errorf("who is within is %s", who)
	}
	return new(http2.Transport).NewClientConn(secure)
}

// ztunnel at our east-west gateway: who is within is asked by the caller himself.
// What is no HBONE, and what has nobody to take it, gets nothing.
func TestStrangersAtTheEastWestGateway(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	_, two := two(m, "http", startBackend(t, echo))
	two["policy.yaml"] = security("AuthorizationPolicy", "front-only", frontOnly)
	two["plain.yaml"] = strings.NewReplacer("cart", "plain", "10.96.0.5", "10.96.0.9", "namespace: shop", "namespace: open").Replace(two["cart.yaml"])
	m.startIn(two, shopWaypoint, "shop", "waypoint")
	facing := m.startIn(two, eastWest, "istio-system", "eastwest")
	const cart = "cart.shop.svc.cluster.local:80"
	for account, want := range map[string]int{"front": 200, "back": 403} {
		dir := m.identify(spiffe("web", account))
		outer, err := m.hbone(eastWest, dir)
		if err != nil {
			t.Fatal(err)
		}
		inner, err := m.double(outer, cart, dir)
		if err != nil {
			t.Fatal(err)
		}
		status, w, r, err := m.tunnel(inner, cart, "x-forwarded-network: one", "baggage: k8s.namespace.name=web")
		if err != nil || status != 200 {
			t.Fatalf("%s: status %d, error %v; want a tunnel", account, status, err)
		}
		if resp, _, err := getThrough(w, r, "/"); err != nil || resp.StatusCode != want {
			t.Errorf("%s: %v, error %v; want %d", account, resp, err, want)
		}
	}

	outer, err := m.hbone(eastWest, m.identify(spiffe("web", "front")))
	if err != nil {
		t.Fatal(err)
	}
	_, w, r, err := m.tunnel(outer, cart)
	if err != nil {
		t.Fatal(err)
	}
	if resp, body, err := getThrough(w, r, "/"); err == nil {
		t.Errorf("a request that is in no tunnel within was answered with %v, %q", resp, body)
	}
	// Whose pods take no HBONE, and who has no waypoint, is not for strangers.
	if status, _, _, err := m.tunnel(outer, "plain.open.svc.cluster.local:80"); err == nil && status == 200 {
		t.Error("HBONE is passed on to a pod that takes none")
	}
	facing.awaitAccess(`"listener":"istio-system/eastwest/plain.open:80"`)
	for authority, why := range map[string]string{"secret.shop.svc.cluster.local:80": "nothing is served at", "cart.shop.svc.cluster.local:81": "nothing is served at"} {
		if status, _, _, err := m.tunnel(outer, authority); err != nil || status != 404 {
			t.Errorf("%s: status %d, error %v; want 404", authority, status, err)
		}
		if line := facing.await("hop refused"); !strings.Contains(line, why) {
			t.Errorf("%s: the log says %s, want %q", authority, line, why)
		}
	}
}

// A host that is here and there: here as long as somebody is healthy, and then by
// the gateways of the other network; and who came from there is not sent back.
func TestHostInTwoNetworks(t *testing.T) {
	t.Parallel()
	for _, class := range []string{"fairway-remote", "istio-remote"} {
		m := newMesh(t)
		one, two := two(m, "http", startBackend(t, named("there")))
		if class == "istio-remote" {
			throughIstio(one, "waypoint")
		}
		cart := one["cart.yaml"]
		here := func(port int) string {
			return strings.Replace(cart, "endpoints: [{network: two}]", fmt.Sprintf(
				"endpoints: [{network: two}, {address: 127.0.0.1, network: one, ports: {http: %d}}]", port), 1)
		}
		one["cart.yaml"] = here(startBackend(t, named("here")))
		m.startIn(two, shopWaypoint, "shop", "waypoint")
		m.startIn(two, eastWest, "istio-system", "eastwest")
		web := m.startIn(one, webWaypoint, "web", "waypoint")
		for range 10 {
			if a := m.want(200, webPod, webWaypoint, "/"); a.Header.Get("X-Backend") != "here" {
				t.Errorf("%s: %v answers, want who is here", class, a.Header)
			}
		}
		web.edit("cart.yaml", here(freePort(t)))
		for range 10 {
			if a := m.want(200, webPod, webWaypoint, "/"); a.Header.Get("X-Backend") != "there" {
				t.Errorf("%s: %v answers, want who is there", class, a.Header)
			}
		}
	}
}
