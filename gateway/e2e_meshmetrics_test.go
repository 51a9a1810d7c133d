package main

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// workload is a pod with the labels that Istio's telemetry goes by.
func (m *mesh) workload(ns, account string, at int) string {
	return strings.Replace(m.pod(ns, account, at), "namespace: "+ns+"}", "namespace: "+ns+`, labels: {app: `+account+`, version: v1, pod-template-hash: 5d4f8c7b9},
  ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: `+account+`-v1-5d4f8c7b9, uid: u, controller: true}]}`, 1)
}

// labelled returns the lines of the metrics page that have all of the texts.
func (r *rig) labelled(texts ...string) (lines []string) {
	r.t.Helper()
next:
	for line := range strings.Lines(r.page("/metrics")) {
		for _, text := range texts {
			if !strings.Contains(line, text) {
				continue next
			}
		}
		lines = append(lines, strings.TrimSpace(line))
	}
	return lines
}

// wantSeries fails the test unless exactly one series of a metric has the labels,
// with that value.
func (r *rig) wantSeries(name, value string, labels ...string) {
	r.t.Helper()
	got := r.labelled(append(labels, name+"{")...)
	if len(got) != 1 || !strings.HasSuffix(got[0], " "+value) {
		r.t.Errorf("%s: %d series with %q, want one of %s:\n%s", name, len(got), labels, value, strings.Join(r.labelled(name+"{"), "\n"))
	}
}

// What Istio's labels say of the two pods of a mesh, and of Service cart.
const (
	frontSource = `source_app="front",source_canonical_revision="v1",source_canonical_service="front",source_cluster="unknown",` +
		`source_principal="spiffe://cluster.local/ns/web/sa/front",source_version="v1",source_workload="front-v1",source_workload_namespace="web"`
	frontByName = `source_app="unknown",source_canonical_revision="latest",source_canonical_service="unknown",source_cluster="unknown",` +
		`source_principal="spiffe://cluster.local/ns/web/sa/front",source_version="unknown",source_workload="unknown",source_workload_namespace="web"`
	stockSource = `source_app="stock",source_canonical_revision="v1",source_canonical_service="stock",source_cluster="unknown",` +
		`source_principal="spiffe://cluster.local/ns/shop/sa/stock",source_version="v1",source_workload="stock-v1",source_workload_namespace="shop"`
	cartService     = `destination_service="cart.shop.svc.cluster.local",destination_service_name="cart",destination_service_namespace="shop"`
	backDestination = `destination_app="back",destination_canonical_revision="v1",destination_canonical_service="back",destination_cluster="unknown",` +
		`destination_principal="spiffe://cluster.local/ns/shop/sa/back",` + cartService + `,destination_version="v1",destination_workload="back-v1",destination_workload_namespace="shop"`
)

// waypoint-wire.md C.9: what waypoints tell Kiali and Istio's dashboards, of
// captured clients, of those of another waypoint, and of strangers' tunnels.
func TestMeshMetrics(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	m.manifests["mesh.yaml"] = m.namespace("web", webWaypoint) + m.namespace("shop", shopWaypoint) + m.ports("cart.shop.80") +
		m.workload("web", "front", webPod) + m.workload("shop", "stock", shopPod) + strings.ReplaceAll(m.workload("shop", "back", backPod), m.addr(backPod), "127.0.0.1")
	m.manifests["cart.yaml"] = m.cart("http", startBackend(t, echo))
	m.manifests["policy.yaml"] = security("AuthorizationPolicy", "never", `{`+onCart+`, action: DENY, rules: [{to: [{operation: {paths: ["/never"]}}]}]}`)
	shop := m.start("shop", nil)
	web := m.start("web", nil)
	m.want(200, webPod, webWaypoint, "/")
	m.want(200, webPod, webWaypoint, "/")
	m.want(200, shopPod, shopWaypoint, "/")
	m.want(403, shopPod, shopWaypoint, "/never")
	m.want(200, stranger, shopWaypoint, "/")
	c, err := m.hbone(shopWaypoint, m.identify(spiffe("web", "other")))
	if err != nil {
		t.Fatal(err)
	}
	status, w, r, err := m.tunnel(c, "10.96.0.5:80")
	if err != nil || status != 200 {
		t.Fatalf("status %d, error %v; want a tunnel", status, err)
	}
	if _, _, err := getThrough(w, r, "/"); err != nil {
		t.Fatal(err)
	}
	shop.awaitAccess(`sa/other"`)

	const requests = "istio_requests_total"
	web.wantSeries(requests, "2", `reporter="source"`, frontSource, cartService, `response_code="200"`, `connection_security_policy="unknown"`)
	shop.wantSeries(requests, "2", `reporter="waypoint"`, frontByName, backDestination, `connection_security_policy="mutual_tls"`,
		`request_protocol="http"`, `response_flags="-"`, `grpc_response_status=""`)
	shop.wantSeries(requests, "1", `reporter="waypoint"`, stockSource, backDestination, `response_code="200"`, `connection_security_policy="none"`)
	shop.wantSeries(requests, "1", `reporter="waypoint"`, stockSource, cartService, `destination_workload="unknown"`, `response_code="403"`, `response_flags="UAEX"`)
	shop.wantSeries(requests, "1", `source_principal="unknown",source_version="unknown",source_workload="unknown"`, backDestination)
	shop.wantSeries(requests, "1", `source_principal="spiffe://cluster.local/ns/web/sa/other"`, `source_workload_namespace="web"`, backDestination, `"mutual_tls"`)
	for _, name := range []string{"istio_request_duration_milliseconds_count", "istio_request_bytes_count", "istio_response_bytes_count"} {
		shop.wantSeries(name, "1", `reporter="waypoint"`, stockSource, backDestination)
		web.wantSeries(name, "2", `reporter="source"`, frontSource)
	}
}

// The same of TCP.
func TestMeshStreamMetrics(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	m.manifests["mesh.yaml"] = m.namespace("web", webWaypoint) + m.namespace("shop", shopWaypoint) + m.ports("cart.shop.80") +
		m.workload("web", "front", webPod) + strings.ReplaceAll(m.workload("shop", "back", backPod), m.addr(backPod), "127.0.0.1")
	m.manifests["cart.yaml"] = m.cart("tcp", startEchoing(t, ""))
	shop := m.start("shop", nil)
	web := m.start("web", nil)
	conn, err := m.dial(t.Context(), webPod, webWaypoint)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	io.WriteString(conn, "hello")
	conn.(*net.TCPConn).CloseWrite()
	if got, err := discard(conn); got != "hello" || err != nil {
		t.Fatalf("%q, %v came back", got, err)
	}
	shop.awaitAccess(`"protocol":"TCP"`)
	web.awaitAccess(`"protocol":"TCP"`)
	for name, value := range map[string]string{
		"istio_tcp_connections_opened_total": "1", "istio_tcp_connections_closed_total": "1", "istio_tcp_received_bytes_total": "5", "istio_tcp_sent_bytes_total": "5",
	} {
		web.wantSeries(name, value, `reporter="source"`, frontSource, cartService, `request_protocol="tcp"`)
		shop.wantSeries(name, value, `reporter="waypoint"`, frontByName, backDestination, `connection_security_policy="mutual_tls"`, `response_flags="-"`)
	}
}
