package main

import (
	"fmt"
	"strings"
	"testing"

	"fairway.dev/gateway/hop"
)

// Where more of a mesh's parts are, of two networks.
const (
	eastWest = 4
	backPod  = 13 // service account back of web
)

// networkNamed is the root namespace of a cluster, which says its network.
func networkNamed(name string) string {
	return fmt.Sprintf("---\napiVersion: v1\nkind: Namespace\nmetadata: {name: istio-system, labels: {topology.istio.io/network: %s}}\n", name)
}

// networkGateway is a Gateway with an HBONE listener, of a network.
func networkGateway(network, class, ns, name, more string) string {
	return fmt.Sprintf(`---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: %[4]s, namespace: %[3]s, labels: {topology.istio.io/network: %[1]s}}
spec: {gatewayClassName: %[2]s, listeners: [{name: mesh, port: 15008, protocol: HBONE}]%[5]s}
`, network, class, ns, name, more)
}

// two is a mesh of two networks, each with a folder of its own, as two clusters
// are: web is in network one, and shop in network two, which has an east-west
// gateway. In network one cart is a ServiceEntry.
func two(m *mesh, appProtocol string, backend int) (one, two map[string]string) {
	entry := `---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: cart, namespace: web}
spec:
  hosts: [cart.shop.svc.cluster.local]
  addresses: [240.240.0.5]
  ports: [{number: 80, name: ` + appProtocol + `, protocol: ` + strings.ToUpper(appProtocol) + `}]
  resolution: STATIC
  endpoints: [{network: two}]
`
	one = map[string]string{
		"network.yaml": networkNamed("one"),
		"mesh.yaml": m.namespace("web", webWaypoint) + m.pod("web", "front", webPod) + m.pod("web", "back", backPod) +
			m.ports("ServiceEntry.cart.web.80"),
		"two.yaml":  networkGateway("two", "fairway-remote", "istio-system", "eastwest", ", addresses: [{value: "+m.addr(eastWest)+"}]"),
		"cart.yaml": entry,
	}
	two = map[string]string{
		"network.yaml":  networkNamed("two"),
		"mesh.yaml":     m.namespace("shop", shopWaypoint) + m.pod("shop", "stock", shopPod) + m.ports("cart.shop.80"),
		"eastwest.yaml": networkGateway("two", "fairway", "istio-system", "eastwest", ""),
		"one.yaml":      networkGateway("one", "fairway-remote", "web", "waypoint", ""),
		"cart.yaml": strings.Replace(m.cart(appProtocol, backend), "{name: cart, namespace: shop}",
			`{name: cart, namespace: shop, labels: {istio.io/global: "true"}}`, 1),
		"secret.yaml": strings.ReplaceAll(m.cart(appProtocol, backend), "cart", "secret"),
	}
	return one, two
}

// startIn runs a gateway of a mesh with a folder of its own.
func (m *mesh) startIn(folder map[string]string, at int, ns, name string, more ...string) *rig {
	m.t.Helper()
	args := []string{"-bind", m.addr(at), "-gateway", ns + "/" + name, "-identity", m.identify(spiffe(ns, name))}
	return startRig(m.t, nil, folder, append(args, more...)...)
}

const frontOnly = "{" + onCart + `, action: ALLOW, rules: [{from: [{source: {principals: ["cluster.local/ns/web/sa/front"]}}]}]}`

// topology.istio.io/network: pod, its waypoint, the east-west gateway of the other
// network, the waypoint of the Service there, pod. That waypoint knows who calls.
func TestHopBetweenNetworks(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	one, two := two(m, "http", startBackend(t, echo))
	two["policy.yaml"] = security("AuthorizationPolicy", "front-only", frontOnly)
	shop := m.startIn(two, shopWaypoint, "shop", "waypoint")
	facing := m.startIn(two, eastWest, "istio-system", "eastwest")
	m.startIn(one, webWaypoint, "web", "waypoint")

	a := m.want(200, webPod, webWaypoint, "/a?b=c")
	if a.body != "GET cart.shop /a?b=c" || a.Header.Get("Seen-X-Fairway-Source") != "" {
		t.Errorf("the pod of shop saw %q, %v", a.body, a.Header)
	}
	if got := a.Header.Get("Seen-X-Forwarded-For"); got != m.addr(webPod) {
		t.Errorf("X-Forwarded-For %q, want the pod's address %s", got, m.addr(webPod))
	}
	const principal = `"source_principal":"spiffe://cluster.local/ns/web/sa/`
	facing.awaitAccess(`"listener":"istio-system/eastwest/cart.shop:80"`)
	facing.awaitAccess(principal + `front"`)
	shop.awaitAccess(`"listener":"shop/waypoint/cart.shop:80"`)
	shop.awaitAccess(principal + `front"`)

	// Policy is asked on the way in, about who called.
	m.want(403, backPod, webWaypoint, "/")
	shop.awaitAccess(principal + `back"`)
	shop.awaitAccess(`"policy":"no ALLOW policy holds of AuthorizationPolicy/shop/front-only"`)
	m.want(403, stranger, webWaypoint, "/") // whom nobody knows is nobody there, too: not the gateway between
}

// Law 14 between networks: what the east-west gateway does not believe, and does
// not have.
func TestEastWestGatewayRefuses(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	_, two := two(m, "http", startBackend(t, echo))
	two["policy.yaml"] = security("AuthorizationPolicy", "front-only", frontOnly)
	m.startIn(two, shopWaypoint, "shop", "waypoint")
	facing := m.startIn(two, eastWest, "istio-system", "eastwest")
	const cart = "cart.shop.svc.cluster.local:80"
	for _, tt := range []struct {
		name, ns, account, authority, source string
		status                               int
		why                                  string
	}{
		{"a remote gateway that vouches for a namespace that is not its own", "web", "waypoint", cart, "spiffe://cluster.local/ns/shop/sa/stock", 401, "may not vouch for"},
		{"a remote gateway that vouches for a foreign trust domain", "web", "waypoint", cart, "spiffe://evil.example/ns/web/sa/front", 401, "may not vouch for"},
		{"a workload that vouches for another", "web", "back", cart, "spiffe://cluster.local/ns/web/sa/front", 401, "is no gateway that may vouch for others"},
		{"a Service that is not exported", "web", "waypoint", "secret.shop.svc.cluster.local:80", "", 404, "nothing is served at"},
		{"a port without a door", "web", "waypoint", "cart.shop.svc.cluster.local:81", "", 404, "nothing is served at"},
	} {
		c, err := m.hbone(eastWest, m.identify(spiffe(tt.ns, tt.account)), hop.Native)
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
		if line := facing.await("hop refused"); !strings.Contains(line, tt.why) {
			t.Errorf("%s: the log says %s, want %q", tt.name, line, tt.why)
		}
	}
	// Who proves himself is himself, also behind it.
	for account, want := range map[string]int{"front": 200, "back": 403} {
		c, err := m.hbone(eastWest, m.identify(spiffe("web", account)), hop.Native)
		if err != nil {
			t.Fatal(err)
		}
		status, w, r, err := m.tunnel(c, cart)
		if err != nil || status != 200 {
			t.Fatalf("%s: status %d, error %v; want a tunnel", account, status, err)
		}
		if resp, _, err := getThrough(w, r, "/"); err != nil || resp.StatusCode != want {
			t.Errorf("%s: %v, error %v; want %d", account, resp, err, want)
		}
	}
}
