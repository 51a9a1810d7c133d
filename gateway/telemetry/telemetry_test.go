package telemetry

import (
	"bufio"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"fairway.dev/gateway/message"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

// page scrapes m and returns the lines that are not comments.
func page(t testing.TB, m *Metrics) []string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("metrics page: status %d: %s", w.Code, w.Body)
	}
	var lines []string
	for s := bufio.NewScanner(w.Body); s.Scan(); {
		if !strings.HasPrefix(s.Text(), "#") {
			lines = append(lines, s.Text())
		}
	}
	return lines
}

// with returns the lines of a metric that contain all of the labels given.
func with(lines []string, name string, labels ...string) []string {
	var found []string
next:
	for _, line := range lines {
		if rest, ok := strings.CutPrefix(line, name); !ok || rest[0] != '{' && rest[0] != ' ' {
			continue
		}
		for _, l := range labels {
			if !strings.Contains(line, l) {
				continue next
			}
		}
		found = append(found, line)
	}
	return found
}

// value returns the value at the end of the only line of a metric.
func value(t testing.TB, m *Metrics, name string, labels ...string) string {
	t.Helper()
	found := with(page(t, m), name, labels...)
	if len(found) != 1 {
		t.Fatalf("%s %q: %d lines, want 1: %q", name, labels, len(found), found)
	}
	return found[0][strings.LastIndexByte(found[0], ' ')+1:]
}

func record(status int) *Record {
	return &Record{Status: status, GRPCStatus: -1, Proto: message.HTTP11, Duration: 3 * time.Millisecond, BytesSent: 1024}
}

var cart = Labels{
	Gateway: "shop/edge", Listener: "shop/edge/https", Route: "HTTPRoute/shop/cart", Rule: "0",
	Cluster: "shop/cart:8080", Service: "cart", Namespace: "shop",
}

func TestRequestsCarryIstiosLabels(t *testing.T) {
	m := New(Options{Principal: func() string { return "spiffe://cluster.local/ns/shop/sa/edge" }, Cluster: "Kubernetes"})
	e := m.Exchanges(cart)
	e.Observe(0, record(200))
	e.Observe(0, record(200))
	e.Observe(0, &Record{Status: 503, GRPCStatus: -1, Flags: UpstreamFailure | UpstreamRetryLimit})

	got := with(page(t, m), "istio_requests_total", `response_code="200"`)
	want := `istio_requests_total{connection_security_policy="unknown",destination_app="unknown",` +
		`destination_canonical_revision="unknown",destination_canonical_service="cart",destination_cluster="Kubernetes",` +
		`destination_principal="unknown",destination_service="cart.shop.svc.cluster.local",destination_service_name="cart",` +
		`destination_service_namespace="shop",destination_version="unknown",destination_workload="unknown",` +
		`destination_workload_namespace="shop",grpc_response_status="",reporter="source",request_protocol="http",` +
		`response_code="200",response_flags="-",source_app="edge",source_canonical_revision="latest",` +
		`source_canonical_service="edge",source_cluster="Kubernetes",source_principal="spiffe://cluster.local/ns/shop/sa/edge",` +
		`source_version="unknown",source_workload="edge",source_workload_namespace="shop"} 2`
	if len(got) != 1 || got[0] != want {
		t.Errorf("page has\n%s\nwant\n%s", strings.Join(got, "\n"), want)
	}
	if got := value(t, m, "istio_requests_total", `response_code="503"`, `response_flags="UF,URX"`); got != "1" {
		t.Errorf("503 counted %s times, want 1", got)
	}
}

func TestLabelsThatAreNotUTF8DoNotSpoilThePage(t *testing.T) {
	m := New(Options{})
	m.Exchanges(Labels{Service: "caf\xe9", Namespace: "shop"}).Observe(0, record(200))
	if got := value(t, m, "istio_requests_total", `destination_service_name="caf?"`); got != "1" {
		t.Errorf("counted %s times, want 1", got)
	}
}

func TestGRPCIsAProtocolOfItsOwn(t *testing.T) {
	m := New(Options{})
	e := m.Exchanges(cart)
	e.Observe(0, &Record{Status: 200, GRPCStatus: 14})
	e.Observe(0, &Record{Status: 200, GRPCStatus: 0})
	e.Observe(0, &Record{Status: 200, GRPCStatus: 100000}) // what a backend may send
	for _, status := range []string{"14", "0", "254"} {
		if got := value(t, m, "istio_requests_total", `request_protocol="grpc"`, `grpc_response_status="`+status+`"`); got != "1" {
			t.Errorf("status %s counted %s times, want 1", status, got)
		}
	}
	if got := value(t, m, "istio_request_duration_milliseconds_count", `request_protocol="grpc"`); got != "3" {
		t.Errorf("durations of gRPC = %s, want 3", got)
	}
}

func TestHistogramsOfExchanges(t *testing.T) {
	m := New(Options{Loops: 2})
	e := m.Exchanges(cart)
	e.Observe(0, &Record{Status: 200, GRPCStatus: -1, Duration: time.Millisecond, BytesReceived: 1000})              // a bound belongs to its bucket
	e.Observe(1, &Record{Status: 200, GRPCStatus: -1, Duration: 7500 * time.Microsecond, BytesSent: 5000})           // another loop
	e.Observe(1, &Record{Status: 500, GRPCStatus: -1, Duration: time.Minute, BytesReceived: 1, BytesSent: 10 << 20}) // over all bounds
	tests := []struct{ name, label, want string }{
		{"istio_request_duration_milliseconds_bucket", `le="1"`, "1"},
		{"istio_request_duration_milliseconds_bucket", `le="5"`, "1"},
		{"istio_request_duration_milliseconds_bucket", `le="10"`, "2"},
		{"istio_request_duration_milliseconds_bucket", `le="5000"`, "2"},
		{"istio_request_duration_milliseconds_bucket", `le="+Inf"`, "3"},
		{"istio_request_duration_milliseconds_sum", "", "60008.5"},
		{"istio_request_duration_milliseconds_count", "", "3"},
		{"istio_request_bytes_bucket", `le="1000"`, "3"},
		{"istio_request_bytes_sum", "", "1001"},
		{"istio_response_bytes_bucket", `le="1000"`, "1"},
		{"istio_response_bytes_bucket", `le="10000"`, "2"},
		{"istio_response_bytes_bucket", `le="1e+06"`, "2"},
		{"istio_response_bytes_count", "", "3"},
		{"istio_response_bytes_sum", "", "1.049076e+07"},
	}
	for _, tt := range tests {
		if got := value(t, m, tt.name, tt.label); got != tt.want {
			t.Errorf("%s{%s} = %s, want %s", tt.name, tt.label, got, tt.want)
		}
	}
}

// The budget of the design: under 1,000 series with 5,000 routes, all used,
// with several outcomes, listeners, streams, and all codecs' refusals.
func TestFiveThousandRoutesStayUnderAThousandSeries(t *testing.T) {
	m := New(Options{Loops: 4})
	for _, codec := range []string{"http1", "http2", "backend_http1", "backend_http2", "listen"} {
		kinds := make([]string, 24)
		for i := range kinds {
			kinds[i] = fmt.Sprint("kind", i)
		}
		Refusals[uint8](m, codec, kinds)
	}
	for i := range 100 {
		for _, protocol := range []string{"http1", "http2"} {
			m.Connections(fmt.Sprintf("10.0.0.1:%d", 8000+i), protocol).Open(0)
		}
	}
	for i := range 5000 {
		e := m.Exchanges(Labels{Gateway: "shop/edge", Service: fmt.Sprint("svc", i), Namespace: "shop"})
		for loop := range 4 {
			e.Observe(loop, record(200))
			e.Observe(loop, &Record{Status: 200, GRPCStatus: 0})
		}
		e.Observe(0, &Record{Status: 503, GRPCStatus: -1, Flags: NoHealthyUpstream})
		e.Observe(0, record(200+i%400)) // statuses that backends make up
		for kind := range numStreamKinds {
			e.OpenStream(0, &StreamRecord{Kind: kind})
			e.CloseStream(0, &StreamRecord{Kind: kind, Flags: Flags(i)})
		}
	}
	lines := page(t, m)
	t.Logf("%d series, %d of them istio_*", len(lines), strings.Count(strings.Join(lines, "\n"), "istio_"))
	if len(lines) >= 1000 {
		t.Errorf("%d series, want under 1000", len(lines))
	}
	for name, want := range map[string]float64{
		"istio_requests_total":               5000 * (4*2 + 2),
		"istio_tcp_connections_opened_total": 5000 * float64(numStreamKinds),
		"istio_tcp_connections_closed_total": 5000 * float64(numStreamKinds),
	} {
		if got := sum(t, lines, name); got != want {
			t.Errorf("%s sums to %v, want %v: folding must lose nothing", name, got, want)
		}
	}
	if len(with(lines, "istio_requests_total", `destination_service="other"`)) == 0 {
		t.Error("no destination_service=\"other\": what has no room must be counted there")
	}
}

// sum adds up the lines of a metric.
func sum(t testing.TB, lines []string, name string) (total float64) {
	t.Helper()
	for _, line := range with(lines, name) {
		var n float64
		if _, err := fmt.Sscan(line[strings.LastIndexByte(line, ' ')+1:], &n); err != nil {
			t.Fatal(err)
		}
		total += n
	}
	return total
}

func TestSeriesHaveARoomByBudget(t *testing.T) {
	tests := []struct {
		total, cost int
		want        room
	}{
		{800, 30, room{counters: 251, otherCounters: 36, perDestination: 31, histograms: 12, streams: 53, otherStreams: 23}},
		{10, 30, room{counters: 1, otherCounters: 1, perDestination: 1, histograms: -2, noHistograms: true}}, // counters only
		{120, 30, room{counters: 37, otherCounters: 5, perDestination: 4, histograms: 0, streams: 8}},        // histograms only of "other"
	}
	for _, tt := range tests {
		if got := roomFor(tt.total, tt.cost); got != tt.want {
			t.Errorf("roomFor(%d, %d) = %+v, want %+v", tt.total, tt.cost, got, tt.want)
		}
	}
}

func TestWithoutABoundEachDestinationHasItsOwn(t *testing.T) {
	m := New(Options{Series: -1})
	for i := range 300 {
		m.Exchanges(Labels{Service: fmt.Sprint("svc", i), Namespace: "shop"}).Observe(0, record(200))
	}
	lines := page(t, m)
	for _, name := range []string{"istio_requests_total", "istio_request_duration_milliseconds_count"} {
		if n := len(with(lines, name)); n != 300 {
			t.Errorf("%s: %d series, want 300", name, n)
		}
	}
}

// A backend may answer with any status: it must not take the room of others.
func TestOneDestinationCannotTakeAllSeries(t *testing.T) {
	m := New(Options{})
	noisy := m.Exchanges(Labels{Service: "noisy", Namespace: "shop"})
	for status := 100; status < 1000; status++ {
		noisy.Observe(0, record(status))
	}
	m.Exchanges(cart).Observe(0, record(200))
	if got := value(t, m, "istio_requests_total", `destination_service_name="cart"`); got != "1" {
		t.Errorf("cart counted %s times, want 1", got)
	}
	if got := value(t, m, "istio_requests_total", `response_code="other"`); got == "0" {
		t.Error("nothing counted under response_code=\"other\"")
	}
}

func TestIdleSeriesMakeRoom(t *testing.T) {
	now := time.Unix(1e9, 0)
	m := New(Options{Series: 100, Now: func() time.Time { return now }})
	var all []*Exchanges
	for i := range 50 {
		e := m.Exchanges(Labels{Service: fmt.Sprint("svc", i), Namespace: "shop"})
		e.Observe(0, record(200))
		all = append(all, e)
	}
	late := `destination_service_name="svc49"`
	if lines := with(page(t, m), "istio_requests_total", late); len(lines) != 0 {
		t.Fatalf("svc49 came too late for a series of its own, but has %q", lines)
	}
	for range 3 { // half an hour after half an hour, svc0 and svc49 are used
		now = now.Add(30 * time.Minute)
		all[0].Observe(0, record(200))
		all[49].Observe(0, record(200))
		page(t, m)
	}
	all[49].Observe(0, record(200))
	if got := value(t, m, "istio_requests_total", late); got != "1" {
		t.Errorf("svc49 counted %s times since there is room, want 1", got)
	}
	if got := value(t, m, "istio_requests_total", `destination_service_name="svc0"`); got != "4" {
		t.Errorf("svc0, which was never idle, counted %s times, want 4", got)
	}
	if lines := with(page(t, m), "istio_requests_total", `destination_service_name="svc1"`); len(lines) != 0 {
		t.Errorf("svc1 is idle since %v but still has %q", 90*time.Minute, lines)
	}
}

func TestWhatIsCountedShows(t *testing.T) {
	m := New(Options{Loops: 2})
	m.Handshakes.Count(0, HandshakeOK)
	m.Handshakes.Count(1, HandshakeOK)
	m.Limits.Add(1, LimitUpstreamPending, 3)
	m.Upstream.Watch(func() UpstreamState {
		return UpstreamState{Active: 5, Pending: 4, Connections: 3, Endpoints: 2, Ejected: 1}
	})
	c := m.Connections("127.0.0.1:8080", "http1")
	c.Open(0)
	c.Open(1)
	c.Close(0)
	refused := Refusals[uint8](m, "http1", []string{"", "bare_cr"})
	refused.Count(0, 1)
	tests := []struct{ name, label, want string }{
		{"fairway_tls_handshakes_total", `outcome="ok"`, "2"},
		{"fairway_tls_handshakes_total", `outcome="timeout"`, "0"}, // from the start, so that rates see the first
		{"fairway_limits_total", `limit="upstream_pending"`, "3"},
		{"fairway_upstream_requests_active", "", "5"},
		{"fairway_upstream_requests_pending", "", "4"},
		{"fairway_upstream_connections_open", "", "3"},
		{"fairway_upstream_endpoints", "", "2"},
		{"fairway_upstream_endpoints_ejected", "", "1"},
		{"fairway_connections_open", `listener="127.0.0.1:8080",protocol="http1"`, "1"},
		{"fairway_connections_total", `listener="127.0.0.1:8080",protocol="http1"`, "2"},
		{"fairway_http1_refused_total", `reason="bare_cr"`, "1"}, // and no line for the empty kind
		{"fairway_build_info", `version=""`, "1"},
	}
	for _, tt := range tests {
		if got := value(t, m, tt.name, tt.label); got != tt.want {
			t.Errorf("%s{%s} = %s, want %s", tt.name, tt.label, got, tt.want)
		}
	}
	if m.Connections("127.0.0.1:8080", "http1") != c {
		t.Error("Connections made two counters for one listener and protocol")
	}
}

func TestConfigIsWhatIsInForce(t *testing.T) {
	m := New(Options{})
	m.Config.Applied(7, time.Unix(1000, 0), 3*time.Millisecond)
	m.Config.Problems(map[string]int{"InvalidMatch": 2, "BackendNotFound": 1})
	m.Config.Problems(map[string]int{"BackendNotFound": 4})
	m.Config.Certificates(2, time.Unix(5000, 0))
	m.Config.Failed()
	tests := []struct{ name, label, want string }{
		{"fairway_generation", "", "7"},
		{"fairway_last_reload_successful", "", "0"},
		{"fairway_last_reload_success_timestamp_seconds", "", "1000"},
		{"fairway_apply_duration_seconds_count", "", "1"},
		{"fairway_problems", "BackendNotFound", "4"},
		{"fairway_problems", "InvalidMatch", "0"}, // solved, and shown as such
		{"fairway_certificate_first_expiry_timestamp_seconds", "", "5000"},
	}
	for _, tt := range tests {
		if got := value(t, m, tt.name, tt.label); got != tt.want {
			t.Errorf("%s{%s} = %s, want %s", tt.name, tt.label, got, tt.want)
		}
	}
}

func TestPrometheusFindsNothingToBlameInNames(t *testing.T) {
	m := New(Options{})
	m.Exchanges(cart).Observe(0, record(200))
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if !strings.HasPrefix(p.Metric, "istio_") { // Istio's names are Istio's
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

func TestObserveDoesNotAllocate(t *testing.T) {
	m := New(Options{Loops: 2})
	e := m.Exchanges(cart)
	c := m.Connections("127.0.0.1:8080", "http1")
	ok, failed := record(200), record(503)
	if n := testing.AllocsPerRun(1000, func() {
		e.Observe(1, ok)
		e.Observe(1, failed)
		c.Open(1)
		m.Limits.Count(1, LimitRetries)
	}); n != 0 {
		t.Errorf("observing allocates %v times, want 0", n)
	}
}

// Loops count while others scrape, while series expire and while rows are
// resolved again: run with -race.
func TestLoopsAndScrapesDoNotRace(t *testing.T) {
	const loops, rounds, rules = 4, 300, 20
	var mu sync.Mutex
	now := time.Unix(1e9, 0)
	m := New(Options{Loops: loops, Series: 60, Now: func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		now = now.Add(30 * time.Second)
		return now
	}})
	all := make([]*Exchanges, rules)
	for i := range all {
		all[i] = m.Exchanges(Labels{Service: fmt.Sprint("svc", i), Namespace: "shop"})
	}
	c := m.Connections("127.0.0.1:8080", "http1")
	var wg sync.WaitGroup
	for loop := range loops {
		wg.Go(func() {
			for i := range rounds {
				for j, e := range all {
					e.Observe(loop, record(200+(i+j)%3))
					e.StreamBytes(loop, &StreamRecord{}, 1, 1)
				}
				c.Open(loop)
				c.Close(loop)
			}
		})
	}
	wg.Go(func() {
		for range 20 {
			w := httptest.NewRecorder()
			m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
			if w.Code != 200 {
				t.Errorf("scrape: %d %s", w.Code, w.Body)
			}
		}
	})
	wg.Wait()
	if got := value(t, m, "fairway_connections_total"); got != fmt.Sprint(loops*rounds) {
		t.Errorf("connections = %s, want %d", got, loops*rounds)
	}
}

func BenchmarkObserve(b *testing.B) {
	m := New(Options{})
	e := m.Exchanges(cart)
	r := record(200)
	b.ReportAllocs()
	for b.Loop() {
		e.Observe(0, r)
	}
}

func BenchmarkScrape(b *testing.B) {
	m := New(Options{Loops: 2})
	for i := range 5000 {
		e := m.Exchanges(Labels{Service: fmt.Sprint("svc", i), Namespace: "shop"})
		e.Observe(0, record(200))
		e.Observe(1, record(503))
	}
	b.ReportAllocs()
	for b.Loop() {
		page(b, m)
	}
}

// A ServiceEntry has a namespace, and its host is a name already.
func TestDestinationOfAServiceEntry(t *testing.T) {
	m := New(Options{})
	for service, want := range map[string]string{"cart": "cart.shop.svc.cluster.local", "api.example": "api.example"} {
		if d := m.destination(Labels{Service: service, Namespace: "shop"}); d.host != want || d.namespace != "shop" || d.service != service {
			t.Errorf("%s: host %s of namespace %s, want %s of shop", service, d.host, d.namespace, want)
		}
	}
}
