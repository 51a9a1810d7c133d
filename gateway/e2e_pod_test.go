package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

// callee is the pod db-0 of shop, which is called at its own address.
const callee = 20

// newPodMesh is a mesh whose waypoint in shop is for pods as well, where db-0
// declares a port, and has its capture port. It returns what the pod serves there.
func newPodMesh(t *testing.T) (m *mesh, declared int) {
	t.Helper()
	m = newMesh(t)
	declared = m.servePod(http.HandlerFunc(echo))
	m.manifests["mesh.yaml"] = strings.NewReplacer(
		"metadata: {name: waypoint, namespace: shop}\nspec:\n  gatewayClassName",
		"metadata: {name: waypoint, namespace: shop, labels: {istio.io/waypoint-for: all}}\nspec:\n  gatewayClassName",
		"cart.shop.80", fmt.Sprintf("Pod.db-0.shop.%d", declared),
	).Replace(m.manifests["mesh.yaml"])
	m.manifests["pod.yaml"] = fmt.Sprintf(`---
apiVersion: v1
kind: Pod
metadata: {name: db-0, namespace: shop, labels: {app: db}}
spec: {serviceAccountName: db, nodeName: one, containers: [{name: c, image: c, ports: [{containerPort: %d}]}]}
status: {phase: Running, podIP: %[2]s, podIPs: [{ip: %[2]s}]}
`, declared, m.addr(callee))
	return m, declared
}

// servePod has the pod serve HTTP, and returns the port.
func (m *mesh) servePod(h http.Handler) int {
	s := httptest.NewUnstartedServer(h)
	s.Listener.Close()
	s.Listener = m.listenPod()
	s.Start()
	m.t.Cleanup(s.Close)
	return int(netip.MustParseAddrPort(s.Listener.Addr().String()).Port())
}

func (m *mesh) listenPod() net.Listener {
	m.t.Helper()
	ln, err := net.Listen("tcp", m.addr(callee)+":0")
	if err != nil {
		m.t.Fatal(err)
	}
	return ln
}

// onDB is a selector of db-0.
const onDB = `selector: {matchLabels: {app: db}}`

// istio.io/waypoint-for: a tunnel to a pod's own address is for its waypoint, at
// whatever port; policies that select the pod hold there.
func TestTunnelsToPods(t *testing.T) {
	t.Parallel()
	m, declared := newPodMesh(t)
	other := m.servePod(http.HandlerFunc(echo))
	m.manifests["policy.yaml"] = security("AuthorizationPolicy", "no-secrets", `{`+onDB+`, action: DENY, rules: [{to: [{operation: {paths: ["/secret"]}}]}]}`) +
		security("AuthorizationPolicy", "front-only", `{`+onDB+`, action: ALLOW, rules: [{from: [{source: {principals: ["cluster.local/ns/web/sa/front"]}}]}]}`) +
		security("AuthorizationPolicy", "at-the-waypoint", `{targetRefs: [{kind: Gateway, group: gateway.networking.k8s.io, name: waypoint}], action: DENY, rules: [{to: [{operation: {paths: ["/gateway"]}}]}]}`)
	shop := m.start("shop", nil)
	front, stock := m.identify(spiffe("web", "front")), m.identify(spiffe("shop", "stock"))
	for _, tt := range []struct {
		as     string
		port   int
		path   string
		status int
		policy string
	}{
		{front, declared, "/view", 200, ""},
		{front, other, "/view", 200, ""},
		{front, other, "/secret", 403, "AuthorizationPolicy/shop/no-secrets refuses"},
		{front, other, "/gateway", 403, "AuthorizationPolicy/shop/at-the-waypoint refuses"},
		{stock, other, "/view", 403, "no ALLOW policy holds of AuthorizationPolicy/shop/front-only"},
	} {
		c, err := m.hbone(shopWaypoint, tt.as)
		if err != nil {
			t.Fatal(err)
		}
		authority := fmt.Sprintf("%s:%d", m.addr(callee), tt.port)
		status, w, r, err := m.tunnel(c, authority)
		if err != nil || status != 200 {
			t.Fatalf("%s: status %d, error %v; want 200", authority, status, err)
		}
		resp, _, err := getThrough(w, r, tt.path)
		if err != nil || resp.StatusCode != tt.status {
			t.Errorf("port %d, %s: %v, error %v; want %d", tt.port, tt.path, resp, err, tt.status)
		}
		if tt.policy != "" {
			shop.awaitAccess(`"policy":"` + tt.policy)
		}
	}
	if got := shop.page("/debug/explain?url=" + fmt.Sprintf("http://%s:%d/secret", m.addr(callee), other) + "&source=spiffe://cluster.local/ns/web/sa/front"); !strings.Contains(got, "AuthorizationPolicy/shop/no-secrets refuses") {
		t.Errorf("explain says\n%s\nwant who refuses", got)
	}
}

// What is not HTTP goes through as it is, to the port that was dialled; a port at
// which nobody listens is none, and harms no other.
func TestStreamsToPods(t *testing.T) {
	t.Parallel()
	m, _ := newPodMesh(t)
	ln := m.listenPod()
	echoOn(t, ln, "hello ")
	m.start("shop", nil)
	c, err := m.hbone(shopWaypoint, m.identify(spiffe("web", "front")))
	if err != nil {
		t.Fatal(err)
	}
	nobody := m.listenPod()
	nobody.Close()
	status, _, r, err := m.tunnel(c, nobody.Addr().String())
	if err == nil && status == 200 {
		if got, _ := io.ReadAll(r); len(got) > 0 {
			t.Errorf("a port at which nobody listens says %q", got)
		}
	}
	status, w, r, err := m.tunnel(c, ln.Addr().String())
	if err != nil || status != 200 {
		t.Fatalf("status %d, error %v; want 200", status, err)
	}
	io.WriteString(w, "x\x00y")
	w.Close()
	if got, err := io.ReadAll(r); err != nil || string(got) != "hello x\x00y" {
		t.Errorf("%q came back, error %v; want what was sent", got, err)
	}
}

// Law 13 for pods: what a pod dials is put to its own waypoint, hops to that of the
// pod that is called, and goes from there to the port that was dialled.
func TestCapturedConnectionsToPods(t *testing.T) {
	t.Parallel()
	m, _ := newPodMesh(t)
	m.manifests["policy.yaml"] = security("AuthorizationPolicy", "web-only", `{`+onDB+`, action: ALLOW, rules: [{from: [{source: {namespaces: [web]}}]}]}`)
	shop := m.start("shop", nil)
	m.start("web", nil)
	m.want(200, webPod, webWaypoint, "/")
	shop.awaitAccess(`"source_principal":"spiffe://cluster.local/ns/web/sa/front"`)
	m.want(403, shopPod, shopWaypoint, "/") // one pass, as it is the caller's as well
	shop.awaitAccess(`"policy":"no ALLOW policy holds of AuthorizationPolicy/shop/web-only"`)
}

// Law 15 for pods.
func TestPodsWhoseWaypointHasNoPods(t *testing.T) {
	t.Parallel()
	m, _ := newPodMesh(t)
	m.manifests["mesh.yaml"] = strings.Replace(m.manifests["mesh.yaml"], "endpoints: [{addresses: ["+m.addr(shopWaypoint)+"]}]", "endpoints: []", 1)
	web := m.start("web", nil)
	m.want(503, webPod, webWaypoint, "/")
	web.awaitAccess(`"flags":"UH"`)
}

// PeerAuthentication of the pod: STRICT at one of its ports.
func TestStrictPortsOfPods(t *testing.T) {
	t.Parallel()
	m, declared := newPodMesh(t)
	m.manifests["peer.yaml"] = security("PeerAuthentication", "db", fmt.Sprintf(`{%s, mtls: {mode: PERMISSIVE}, portLevelMtls: {%d: {mode: STRICT}}}`, onDB, declared))
	shop := m.start("shop", nil)
	m.want(200, shopPod, shopWaypoint, "/")
	if a, err := m.ask(stranger, shopWaypoint, "/"); err == nil {
		t.Errorf("who has not proved who he is gets %d", a.StatusCode)
	}
	if line := shop.await("connection refused"); !strings.Contains(line, "STRICT") {
		t.Errorf("the log says %s, want that mTLS is STRICT", line)
	}
}
