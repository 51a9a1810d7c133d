package telemetry

import (
	"fmt"
	"strings"
	"testing"
)

var (
	front = Party{Workload: "front-v1", Namespace: "web", Principal: "spiffe://cluster.local/ns/web/sa/front", App: "front", Version: "v1", Service: "front", Revision: "v1"}
	stock = Party{Workload: "cart-v2", Namespace: "shop", Principal: "spiffe://cluster.local/ns/shop/sa/cart", App: "cart", Service: "cart"}
)

var cartDoor = Labels{Gateway: "shop/waypoint", Listener: "shop/waypoint/cart.shop:80", Service: "cart", Namespace: "shop"}

// waypoint-wire.md C.9: what Kiali and Istio's dashboards go by, for all metrics.
func TestWaypointsCarryIstiosLabels(t *testing.T) {
	const (
		destination = `destination_app="cart",destination_canonical_revision="latest",destination_canonical_service="cart",destination_cluster="Kubernetes",` +
			`destination_principal="spiffe://cluster.local/ns/shop/sa/cart",destination_service="cart.shop.svc.cluster.local",destination_service_name="cart",` +
			`destination_service_namespace="shop",destination_version="unknown",destination_workload="cart-v2",destination_workload_namespace="shop"`
		source = `source_app="front",source_canonical_revision="v1",source_canonical_service="front",source_cluster="Kubernetes",` +
			`source_principal="spiffe://cluster.local/ns/web/sa/front",source_version="v1",source_workload="front-v1",source_workload_namespace="web"`
		unknownSource = `source_app="unknown",source_canonical_revision="unknown",source_canonical_service="unknown",source_cluster="unknown",` +
			`source_principal="unknown",source_version="unknown",source_workload="unknown",source_workload_namespace="unknown"`
		beyond = `destination_app="unknown",destination_canonical_revision="unknown",destination_canonical_service="cart",destination_cluster="Kubernetes",` +
			`destination_principal="unknown",destination_service="cart.shop.svc.cluster.local",destination_service_name="cart",` +
			`destination_service_namespace="shop",destination_version="unknown",destination_workload="unknown",destination_workload_namespace="shop"`
		account = `source_app="unknown",source_canonical_revision="latest",source_canonical_service="unknown",source_cluster="Kubernetes",` +
			`source_principal="spiffe://cluster.local/ns/web/sa/back",source_version="unknown",source_workload="unknown",source_workload_namespace="web"`
	)
	for _, tt := range []struct {
		name                                      string
		ends                                      Ends
		security, reporter, destination, whoAsked string
	}{
		{"through TLS of the mesh", Ends{From: front.ID(), To: stock.ID(), Door: true, Mutual: true}, "mutual_tls", "waypoint", destination, source},
		{"captured", Ends{From: front.ID(), To: stock.ID(), Door: true}, "none", "waypoint", destination, source},
		{"of nobody that is known", Ends{To: stock.ID(), Door: true}, "none", "waypoint", destination, unknownSource},
		{"of whom the identity is known", Ends{From: PartyOf("spiffe://cluster.local/ns/web/sa/back").ID(), To: stock.ID(), Door: true, Mutual: true}, "mutual_tls", "waypoint", destination, account},
		{"to another waypoint", Ends{From: front.ID(), Door: true, Onward: true}, "unknown", "source", beyond, source},
	} {
		m := New(Options{Cluster: "Kubernetes", Principal: func() string { return "spiffe://cluster.local/ns/shop/sa/waypoint" }})
		e := m.Exchanges(cartDoor)
		r := record(200)
		r.Ends = tt.ends
		e.Observe(0, r)
		s := &StreamRecord{Ends: tt.ends}
		e.OpenStream(0, s)
		e.StreamBytes(0, s, 1, 2)
		e.CloseStream(0, s)
		all := fmt.Sprintf(`connection_security_policy=%q,%s,`, tt.security, tt.destination)
		for name, want := range map[string]string{
			"istio_requests_total":                      all + `grpc_response_status="",reporter="` + tt.reporter + `",request_protocol="http",response_code="200",response_flags="-",` + tt.whoAsked + "} 1",
			"istio_request_duration_milliseconds_count": all + `reporter="` + tt.reporter + `",request_protocol="http",` + tt.whoAsked + "} 1",
			"istio_request_bytes_count":                 all + `reporter="` + tt.reporter + `",request_protocol="http",` + tt.whoAsked + "} 1",
			"istio_response_bytes_sum":                  all + `reporter="` + tt.reporter + `",request_protocol="http",` + tt.whoAsked + "} 1024",
			"istio_tcp_connections_opened_total":        all + `reporter="` + tt.reporter + `",request_protocol="tcp",response_flags="-",` + tt.whoAsked + "} 1",
			"istio_tcp_connections_closed_total":        all + `reporter="` + tt.reporter + `",request_protocol="tcp",response_flags="-",` + tt.whoAsked + "} 1",
			"istio_tcp_received_bytes_total":            all + `reporter="` + tt.reporter + `",request_protocol="tcp",response_flags="-",` + tt.whoAsked + "} 1",
			"istio_tcp_sent_bytes_total":                all + `reporter="` + tt.reporter + `",request_protocol="tcp",response_flags="-",` + tt.whoAsked + "} 2",
		} {
			if got := with(page(t, m), name); len(got) != 1 || got[0] != name+"{"+want {
				t.Errorf("%s: the page has\n%s\nwant\n%s{%s", tt.name, strings.Join(got, "\n"), name, want)
			}
		}
	}
}

// The budget at a waypoint: a thousand Services of which each is called by a
// hundred workloads, near and through others.
func TestManyCallersStayUnderAThousandSeries(t *testing.T) {
	m := New(Options{Loops: 2})
	total := 0
	for i := range 1000 {
		e := m.Exchanges(Labels{Gateway: "shop/waypoint", Service: fmt.Sprint("svc", i), Namespace: "shop"})
		for j := range 100 {
			from := Party{Workload: fmt.Sprint("w", j), Namespace: "web"}.ID()
			r := record(200 + j%2)
			r.Ends = Ends{From: from, Door: true, Onward: i%2 == 0, Mutual: j%3 == 0}
			if i%2 == 1 {
				r.Ends.To = Party{Workload: fmt.Sprint("svc", i)}.ID()
			}
			e.Observe(j%2, r)
			s := &StreamRecord{Ends: r.Ends, Flags: Flags(j)}
			e.OpenStream(0, s)
			e.CloseStream(0, s)
			total++
		}
	}
	lines := page(t, m)
	if len(lines) >= 1000 {
		t.Errorf("%d series, want under 1000", len(lines))
	}
	for _, name := range []string{"istio_requests_total", "istio_request_duration_milliseconds_count", "istio_tcp_connections_closed_total"} {
		if got := sum(t, lines, name); got != float64(total) {
			t.Errorf("%s sums to %v, want %d: folding must lose nothing", name, got, total)
		}
	}
}

// Where there is no room for each caller, Services still are told apart.
func TestCallersAreCountedTogetherBeforeServicesAre(t *testing.T) {
	m := New(Options{})
	for i := range 20 {
		e := m.Exchanges(Labels{Service: fmt.Sprint("svc", i), Namespace: "shop"})
		for j := range 100 {
			r := record(200)
			r.Ends = Ends{From: Party{Workload: fmt.Sprint("w", j)}.ID(), Door: true}
			e.Observe(0, r)
		}
	}
	lines := page(t, m)
	for i := range 20 {
		label := fmt.Sprintf(`destination_service_name="svc%d"`, i)
		if got := with(lines, "istio_requests_total", label, `source_workload="other"`); len(got) != 1 {
			t.Errorf("svc%d has no series of its own for its many callers: %q", i, got)
		}
	}
	if got := sum(t, with(lines, "istio_requests_total", `destination_service="other"`), "istio_requests_total"); got != 0 {
		t.Errorf("%v requests are of no Service, want none", got)
	}
}

func TestPartyOf(t *testing.T) {
	for identity, want := range map[string]string{
		"spiffe://cluster.local/ns/web/sa/front": "web", "spiffe://td/ns/a/sa/b": "a", "spiffe://td/web": "", "": "", "spiffe://td/ns/web": "",
	} {
		if got := PartyOf(identity); got.Namespace != want || got.Principal != identity {
			t.Errorf("PartyOf(%q) = %+v, want namespace %q", identity, got, want)
		}
	}
}
