package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"fairway.dev/gateway/hop"
	"fairway.dev/tlsmgr/identity"
)

// hbone opens a connection of HBONE to a waypoint as who a folder says: as
// strangers do, or with more protocols as others of the fleet.
func (m *mesh) hbone(waypoint int, dir string, protocols ...string) (*http2.ClientConn, error) {
	m.t.Helper()
	own, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert-chain.pem"), filepath.Join(dir, "key.pem"))
	if err != nil {
		m.t.Fatal(err)
	}
	conn, err := tls.Dial("tcp", m.addr(waypoint)+":15008", &tls.Config{
		InsecureSkipVerify: true, Certificates: []tls.Certificate{own}, MinVersion: tls.VersionTLS13, NextProtos: append(protocols, "h2"),
	})
	if err != nil {
		return nil, err
	}
	m.t.Cleanup(func() { conn.Close() })
	return new(http2.Transport).NewClientConn(conn)
}

// tunnel opens a CONNECT to an authority, and returns its status and its two
// directions.
func (m *mesh) tunnel(c *http2.ClientConn, authority string, headers ...string) (int, io.WriteCloser, io.ReadCloser, error) {
	up, write := io.Pipe()
	req := &http.Request{Method: http.MethodConnect, Host: authority, URL: authorityURL(authority), Header: http.Header{}, Body: up}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	ctx, cancel := context.WithTimeout(m.t.Context(), patience)
	m.t.Cleanup(cancel)
	resp, err := c.RoundTrip(req.WithContext(ctx))
	if err != nil {
		return 0, nil, nil, err
	}
	m.t.Cleanup(func() { resp.Body.Close() })
	return resp.StatusCode, write, resp.Body, nil
}

// authorityURL is what x/net/http2 wants for a CONNECT.
func authorityURL(host string) *url.URL { return &url.URL{Host: host} }

// getThrough asks for a path through a tunnel.
func getThrough(w io.Writer, r io.Reader, path string) (*http.Response, string, error) {
	if _, err := fmt.Fprintf(w, "GET %s HTTP/1.1\r\nHost: cart.shop\r\n\r\n", path); err != nil {
		return nil, "", err
	}
	resp, err := http.ReadResponse(bufio.NewReader(r), nil)
	if err != nil {
		return nil, "", err
	}
	body, err := io.ReadAll(resp.Body)
	return resp, string(body), err
}

// waypoint-wire.md C.2, as ztunnel asks: the pod's own identity, CONNECT to the
// Service's address.
func TestTunnelsOfStrangers(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	m.manifests["cart.yaml"] = m.cart("http", startBackend(t, echo))
	m.manifests["producer.yaml"] = meshRoute("shop", "X-Producer")
	shop := m.start("shop", nil)
	c, err := m.hbone(shopWaypoint, m.identify(spiffe("web", "front")))
	if err != nil {
		t.Fatal(err)
	}
	for _, authority := range []string{"10.96.0.5:80", "cart.shop.svc.cluster.local:80"} {
		status, w, r, err := m.tunnel(c, authority, "forwarded: for=10.9.9.9", "baggage: k8s.namespace.name=shop",
			"x-fairway-source: spiffe://cluster.local/ns/web/sa/admin")
		if err != nil || status != 200 {
			t.Fatalf("%s: status %d, error %v; want 200", authority, status, err)
		}
		resp, body, err := getThrough(w, r, "/x")
		if err != nil || resp.StatusCode != 200 || body != "GET cart.shop /x" || resp.Header.Get("Seen-X-Producer") != "shop" {
			t.Errorf("%s: %v, %q, error %v", authority, resp, body, err)
		}
	}
	shop.awaitAccess(`"source_principal":"spiffe://cluster.local/ns/web/sa/front"`)
}

// Laws 11, 14, 15 and 16: what is refused, with the line that says why.
func TestHopsThatAreRefused(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	m.manifests["cart.yaml"] = m.cart("http", startBackend(t, echo))
	shop := m.start("shop", nil)
	front, gateway := m.identify(spiffe("web", "front")), m.identify(spiffe("web", "waypoint"))
	for _, tt := range []struct {
		name, as, authority, source string
		status                      int
		why                         string
	}{
		{"a workload that vouches for another", front, "10.96.0.5:80", "spiffe://cluster.local/ns/web/sa/admin", 401, "is no gateway that may vouch for others"},
		{"a workload that says that nobody asks", front, "10.96.0.5:80", "unknown", 401, "is no gateway that may vouch for others"},
		{"a waypoint that vouches for a foreign namespace", gateway, "10.96.0.5:80", "spiffe://cluster.local/ns/shop/sa/stock", 401, "may not vouch for spiffe://cluster.local/ns/shop/sa/stock"},
		{"a waypoint that vouches for a foreign trust domain", gateway, "10.96.0.5:80", "spiffe://evil.example/ns/web/sa/front", 401, "may not vouch for"},
		{"a waypoint that vouches for nonsense", gateway, "10.96.0.5:80", "admin", 400, "identity"},
		{"an address without a door", front, "10.96.0.6:80", "", 404, "nothing is served at 10.96.0.6:80"},
		{"a port without a door", front, "10.96.0.5:81", "", 404, "nothing is served at 10.96.0.5:81"},
		{"an authority that is none", front, "10.96.0.5", "", 400, "authority"},
	} {
		c, err := m.hbone(shopWaypoint, tt.as, hop.Native)
		if err != nil {
			t.Fatal(err)
		}
		var headers []string
		if tt.source != "" {
			headers = []string{"x-fairway-source: " + tt.source}
		}
		status, _, _, err := m.tunnel(c, tt.authority, headers...)
		if err != nil || status != tt.status {
			t.Errorf("%s: status %d, error %v; want %d", tt.name, status, err, tt.status)
		}
		if line := shop.await("hop refused"); !strings.Contains(line, tt.why) {
			t.Errorf("%s: the log says %s, want %q", tt.name, line, tt.why)
		}
	}
	other, err := identity.NewCA("cluster.local")
	if err != nil {
		t.Fatal(err)
	}
	for name, dir := range map[string]string{
		"a foreign CA":           m.identifyBy(other, spiffe("web", "front")),
		"a foreign trust domain": m.identify(identity.ID{TrustDomain: "other.example", Namespace: "web", ServiceAccount: "front"}),
	} {
		c, err := m.hbone(shopWaypoint, dir)
		if err == nil { // TLS 1.3: the server's refusal comes behind the client's handshake
			_, _, _, err = m.tunnel(c, "10.96.0.5:80")
		}
		if err == nil {
			t.Errorf("%s: a tunnel was opened", name)
		}
		shop.await("TLS handshake failed")
	}
	if _, err := net.Dial("tcp", m.addr(shopWaypoint)+":15008"); err != nil {
		t.Error(err)
	}
}

// security is AuthorizationPolicy, PeerAuthentication or RequestAuthentication of
// shop, with a spec in YAML's flow style.
func security(kind, name, spec string) string {
	return fmt.Sprintf("---\napiVersion: security.istio.io/v1\nkind: %s\nmetadata: {name: %s, namespace: shop}\nspec: %s\n", kind, name, spec)
}

const onCart = `targetRefs: [{kind: Service, group: "", name: cart}]`

// D.5: who is allowed is decided at the callee's waypoint, by who the caller's
// has vouched for; the log says which policy refused.
func TestAuthorizationAtTheWaypoint(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	m.manifests["cart.yaml"] = m.cart("http", startBackend(t, echo))
	m.manifests["policy.yaml"] = security("AuthorizationPolicy", "viewers", `{`+onCart+`, action: ALLOW, rules: [
		{from: [{source: {principals: ["cluster.local/ns/web/sa/front"]}}], to: [{operation: {methods: [GET], paths: ["/view/*"]}}]},
		{from: [{source: {namespaces: [shop]}}]}]}`) +
		security("AuthorizationPolicy", "never", `{`+onCart+`, action: DENY, rules: [{to: [{operation: {paths: ["/view/secret"]}}]}]}`)
	shop := m.start("shop", nil)
	m.start("web", nil)
	m.want(200, webPod, webWaypoint, "/view/a")
	m.want(200, shopPod, shopWaypoint, "/anything")
	m.want(403, webPod, webWaypoint, "/view/secret")
	shop.awaitAccess(`"policy":"AuthorizationPolicy/shop/never refuses"`)
	m.want(403, webPod, webWaypoint, "/edit")
	shop.awaitAccess(`"policy":"no ALLOW policy holds of AuthorizationPolicy/shop/viewers"`)
	// Whom the caller's waypoint does not know, the callee's does not take for it.
	m.want(403, stranger, webWaypoint, "/view/a")
}

// A policy that cannot be had refuses, and one bad object harms no other Service.
func TestPolicyThatCannotCompile(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	m.manifests["cart.yaml"] = m.cart("http", startBackend(t, echo))
	m.manifests["policy.yaml"] = security("AuthorizationPolicy", "odd", `{`+onCart+`, action: ALLOW, rules: [{when: [{key: "no.such.key", values: [x]}]}]}`)
	shop := m.start("shop", nil)
	m.want(403, shopPod, shopWaypoint, "/")
	shop.awaitAccess(`"policy":"AuthorizationPolicy/shop/odd refuses all`)
	if page := shop.page("/debug/problems"); !strings.Contains(page, "AuthorizationPolicy shop/odd") {
		t.Errorf("/debug/problems does not name the policy:\n%s", page)
	}
}

// D.7 STRICT: who has not proved who it is, and for whom nobody vouches, is
// closed; with PERMISSIVE it is let in.
func TestStrictRefusesWhoNobodyKnows(t *testing.T) {
	t.Parallel()
	for mode, want := range map[string]bool{"PERMISSIVE": true, "STRICT": false} {
		m := newMesh(t)
		m.manifests["cart.yaml"] = m.cart("http", startBackend(t, echo))
		m.manifests["peer.yaml"] = security("PeerAuthentication", "default", "{mtls: {mode: "+mode+"}}")
		shop := m.start("shop", nil)
		m.want(200, shopPod, shopWaypoint, "/")
		_, err := m.ask(stranger, shopWaypoint, "/")
		if (err == nil) != want {
			t.Errorf("%s: error %v, want one: %v", mode, err, !want)
		}
		if !want {
			if line := shop.await("connection refused"); !strings.Contains(line, "STRICT") {
				t.Errorf("the log says %s, want that mTLS is STRICT", line)
			}
		}
	}
}

// D.6: a token without a signature does not hold, and none is as good as one that
// says nothing.
func TestTokenWithoutSignature(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	m.manifests["cart.yaml"] = m.cart("http", startBackend(t, echo))
	m.manifests["token.yaml"] = security("RequestAuthentication", "tokens", `{`+onCart+`, jwtRules: [{issuer: "https://issuer.example", jwks: '{"keys":[]}'}]}`)
	shop := m.start("shop", nil)
	encode := base64.RawURLEncoding.EncodeToString
	token := encode([]byte(`{"alg":"none"}`)) + "." + encode([]byte(`{"iss":"https://issuer.example","sub":"admin"}`)) + "."
	m.want(401, shopPod, shopWaypoint, "/", "Authorization: Bearer "+token)
	shop.awaitAccess(`"flags":"UAEX"`)
	m.want(200, shopPod, shopWaypoint, "/")
}

// Law 15: a waypoint without pods is one that nobody gets through.
func TestWaypointWithoutPods(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	backend := startBackend(t, echo)
	m.manifests["cart.yaml"] = m.cart("http", backend)
	m.manifests["mesh.yaml"] = strings.Replace(m.manifests["mesh.yaml"], "endpoints: [{addresses: ["+m.addr(shopWaypoint)+"]}]", "endpoints: []", 1)
	web := m.start("web", nil)
	m.want(503, webPod, webWaypoint, "/")
	web.awaitAccess(`"flags":"UH"`)
}

// TCP goes through tunnels, half closed at its ends.
func TestStreamsHop(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	m.manifests["cart.yaml"] = m.cart("tcp", startEchoing(t, "hello "))
	m.manifests["policy.yaml"] = security("AuthorizationPolicy", "web-only", `{`+onCart+`, action: ALLOW, rules: [{from: [{source: {namespaces: [web]}}]}]}`)
	shop := m.start("shop", nil)
	m.start("web", nil)
	c, err := m.dial(t.Context(), webPod, webWaypoint)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, strings.Repeat("x", 1<<20))
	c.(*net.TCPConn).CloseWrite()
	got, err := discard(c)
	if want := "hello " + strings.Repeat("x", 1<<20); err != nil || got != want {
		t.Errorf("%d bytes came back, error %v; want %d", len(got), err, len(want))
	}
	shop.awaitAccess(`"source_principal":"spiffe://cluster.local/ns/web/sa/front"`)
	// shop's own pods may not.
	m.carriesNothing(shopPod, shopWaypoint)
	shop.awaitAccess(`"policy":"no ALLOW policy holds of AuthorizationPolicy/shop/web-only"`)
}

// An edge goes by the waypoint of its backend, and what it knows of its client is
// believed there.
func TestEdgeHopsToTheWaypoint(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	m.manifests["cart.yaml"] = m.cart("http", startBackend(t, echo))
	m.manifests["policy.yaml"] = security("AuthorizationPolicy", "edge-only", `{`+onCart+`, action: ALLOW, rules: [{from: [{source: {principals: ["cluster.local/ns/shop/sa/edge"]}}]}]}`)
	shop := m.start("shop", nil)
	m.manifests["edge.yaml"] = edge
	m.manifests["route.yaml"] = route("cart", "shop.example.com", "  - backendRefs: [{name: cart, port: 80}]")
	r := startRig(t, nil, m.manifests, "-gateway", "shop/edge", "-identity", m.identify(spiffe("shop", "edge")))
	shop.drainLines()
	for name, text := range map[string]string{"edge.yaml": strings.ReplaceAll(strings.ReplaceAll(edge, "{{.HTTPS}}", "444"), "{{.HTTP}}", "81")} {
		shop.edit(name, text) // so that it knows the edge
	}
	a := r.want(r.url("/"), 200, "Host: shop.example.com")
	if got := a.Header.Get("Seen-X-Forwarded-For"); got != "127.0.0.1" {
		t.Errorf("X-Forwarded-For %q, want the client's address", got)
	}
	shop.awaitAccess(`"source_principal":"spiffe://cluster.local/ns/shop/sa/edge"`)
}
