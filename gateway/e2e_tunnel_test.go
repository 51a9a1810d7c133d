package main

import (
	"bufio"
	"fmt"
	"net/http"
	"testing"

	"fairway.dev/gateway/hop"
)

// Law 11: a gateway is believed what it says of the client, and not what the
// client says through a tunnel of the gateway's: its bytes nobody has looked at.
func TestFieldsInATunnelAreTheClients(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	m.manifests["cart.yaml"] = m.cart("http", startBackend(t, echo))
	m.manifests["policy.yaml"] = security("AuthorizationPolicy", "office", `{`+onCart+`, action: ALLOW, rules: [
		{from: [{source: {remoteIpBlocks: [10.1.0.0/16]}}]}, {to: [{operation: {paths: [/open]}}]}]}`)
	m.start("shop", nil)
	c, err := m.hbone(shopWaypoint, m.identify(spiffe("web", "waypoint")), hop.Native)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{"/open": 200, "/": 403} {
		status, w, r, err := m.tunnel(c, "10.96.0.5:80", "x-fairway-source: "+spiffe("web", "front").String(), "x-fairway-client: 192.0.2.1:4711")
		if err != nil || status != 200 {
			t.Fatalf("status %d, error %v; want a tunnel", status, err)
		}
		if _, err := fmt.Fprintf(w, "GET %s HTTP/1.1\r\nHost: cart.shop\r\nX-Forwarded-For: 10.1.1.1\r\n\r\n", path); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(r), nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != want {
			t.Errorf("%s: status %d, want %d", path, resp.StatusCode, want)
		}
		if got := resp.Header.Get("Seen-X-Forwarded-For"); want == 200 && got != "192.0.2.1" {
			t.Errorf("X-Forwarded-For %q, want what the gateway says: 192.0.2.1", got)
		}
	}
}
