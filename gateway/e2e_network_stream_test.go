package main

import (
	"crypto/tls"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"

	"fairway.dev/gateway/loop/looptest"
)

// Bytes go from network to network as requests do: half closed at their ends, and
// past the policies of the waypoint there.
func TestStreamsHopBetweenNetworks(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	one, two := two(m, "tcp", startEchoing(t, "hello "))
	two["policy.yaml"] = security("AuthorizationPolicy", "front-only", frontOnly)
	shop := m.startIn(two, shopWaypoint, "shop", "waypoint")
	facing := m.startIn(two, eastWest, "istio-system", "eastwest")
	one["network.yaml"] = networkNamed("two") // the flag beats the label
	m.startIn(one, webWaypoint, "web", "waypoint", "-network", "one")
	c, err := m.dial(t.Context(), webPod, webWaypoint)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	sent := strings.Repeat("x", 1<<20)
	io.WriteString(c, sent)
	c.(*net.TCPConn).CloseWrite()
	if got, err := discard(c); err != nil || got != "hello "+sent {
		t.Errorf("%d bytes came back, error %v; want %d", len(got), err, len("hello "+sent))
	}
	const principal = `"source_principal":"spiffe://cluster.local/ns/web/sa/`
	facing.awaitAccess(`"listener":"istio-system/eastwest/cart.shop:80"`)
	shop.awaitAccess(principal + `front"`)

	m.carriesNothing(backPod, webWaypoint)
	shop.awaitAccess(`"policy":"no ALLOW policy holds of AuthorizationPolicy/shop/front-only"`)
}

// TLS of the client's own goes through all of it, and ends at the backend.
func TestTLSHopsBetweenNetworks(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	server, _ := looptest.TLSConfigs(t)
	one, two := two(m, "tls", startTalker(t, "cart", server))
	m.startIn(two, shopWaypoint, "shop", "waypoint")
	m.startIn(two, eastWest, "istio-system", "eastwest")
	m.startIn(one, webWaypoint, "web", "waypoint")
	c, err := m.dial(t.Context(), webPod, webWaypoint)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	wantTalk(t, tls.Client(c, &tls.Config{InsecureSkipVerify: true, ServerName: "cart.example.com"}), "cart for cart.example.com")
}

// An east-west gateway's listener for TLS that is passed through by its name, as
// sidecars of another network and clients without a mesh ask for: names are those
// of AUTO_PASSTHROUGH, and the Service is reached past its waypoint's policies.
func TestEastWestPassesTLSThrough(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	server, _ := looptest.TLSConfigs(t)
	port := strconv.Itoa(freePort(t))
	_, two := two(m, "tls", startTalker(t, "cart", server))
	two["eastwest.yaml"] = strings.Replace(two["eastwest.yaml"], "protocol: HBONE}",
		"protocol: HBONE}, {name: tls, port: "+port+", protocol: TLS, hostname: cart.example.com, tls: {mode: Passthrough}}", 1)
	two["route.yaml"] = `---
apiVersion: gateway.networking.k8s.io/v1
kind: TLSRoute
metadata: {name: cart, namespace: istio-system}
spec:
  parentRefs: [{name: eastwest, sectionName: tls}]
  hostnames: [cart.example.com]
  rules: [{backendRefs: [{name: cart, namespace: shop, port: 80}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: eastwest, namespace: shop}
spec:
  from: [{group: gateway.networking.k8s.io, kind: TLSRoute, namespace: istio-system}]
  to: [{group: "", kind: Service}]
`
	two["gateway.yaml"] = `---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: automatic, namespace: istio-system}
spec:
  selector: {gateway.networking.k8s.io/gateway-name: eastwest}
  servers:
  - {port: {number: ` + port + `, name: tls, protocol: TLS}, tls: {mode: AUTO_PASSTHROUGH}, hosts: ["*.shop.svc.cluster.local"]}
`
	shop := m.startIn(two, shopWaypoint, "shop", "waypoint")
	m.startIn(two, eastWest, "istio-system", "eastwest")
	dial := func(name string) *tls.Conn {
		c, err := net.Dial("tcp", m.addr(eastWest)+":"+port)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return tls.Client(c, &tls.Config{InsecureSkipVerify: true, ServerName: name})
	}
	for _, name := range []string{"cart.example.com", "outbound_.80_._.cart.shop.svc.cluster.local"} {
		c := dial(name)
		wantTalk(t, c, "cart for "+name)
		c.Close()
		shop.awaitAccess(`"server_name":"` + name + `"`)
	}
	if dial("outbound_.80_._.secret.web.svc.cluster.local").Handshake() == nil {
		t.Error("a name that no listener has is answered")
	}
}
