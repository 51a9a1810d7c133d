package admin

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"fairway.dev/gateway/telemetry"
	"fairway.dev/routing"
)

// secret stands for key material that must not be on any page.
const secret = "MHcCAQEEIJ7s3cr3t"

// spec has a listener without TLS and one with, two routes, one of which is
// broken, and a certificate.
func spec() *routing.Spec {
	attached := []routing.Attachment{
		{Listener: "shop/edge/http", Hosts: []string{"shop.example"}},
		{Listener: "shop/edge/https", Hosts: []string{"shop.example"}},
	}
	backend := []routing.Backend{{Cluster: "shop/cart:8080", Weight: 1}}
	return &routing.Spec{
		Listeners: map[routing.ListenerName]*routing.Listener{
			"shop/edge/http": {Name: "shop/edge/http", Gateway: "shop/edge", Port: 8080, Protocol: routing.HTTP},
			"shop/edge/https": {Name: "shop/edge/https", Gateway: "shop/edge", Port: 443, Protocol: routing.HTTPS,
				TLS: &routing.ListenerTLS{Certificates: []routing.CertificateName{"shop/tls"}}},
		},
		Clusters: map[routing.ClusterName]*routing.Cluster{"shop/cart:8080": {Name: "shop/cart:8080"}},
		Routes: map[routing.RouteName]*routing.Route{
			"HTTPRoute/shop/cart": {Name: "HTTPRoute/shop/cart", Attached: attached, Rules: []routing.Rule{{
				Matches: []routing.Match{
					{Path: routing.PathMatch{Value: "/cart"}, Headers: []routing.ValueMatch{{Name: "canary", Value: "yes"}}},
					{Path: routing.PathMatch{Value: "/secure"}, Headers: []routing.ValueMatch{{Name: "x-forwarded-proto", Value: "https"}}},
					{Path: routing.PathMatch{Value: "/"}},
				},
				Action: routing.Action{Backends: backend},
			}}},
			"HTTPRoute/shop/broken": {Name: "HTTPRoute/shop/broken", Attached: attached, Rules: []routing.Rule{{
				Matches: []routing.Match{{Path: routing.PathMatch{Kind: routing.PathRegex, Value: "("}}},
				Action:  routing.Action{Backends: backend},
			}}},
		},
		Certificates: map[routing.CertificateName]*routing.Certificate{
			"shop/tls": {Name: "shop/tls", Chain: []byte("public"), Key: []byte("-----BEGIN EC PRIVATE KEY-----\n" + secret + "\n")},
		},
	}
}

// handler is that of a gateway in which spec is in force.
func handler(t *testing.T) http.Handler {
	t.Helper()
	snap, problems := routing.Compile(spec())
	problems = append(problems, &routing.Problem{
		Origin: routing.Origin{Kind: "Secret", Namespace: "shop", Name: "old", File: "tls.yaml", Line: 7},
		Reason: "InvalidCertificateRef", Err: errors.New("no PEM in tls.crt"),
	})
	return New(Options{
		Ready:    func() (bool, []string) { return true, nil },
		Metrics:  telemetry.New(telemetry.Options{}).Handler(),
		Snapshot: func() *routing.Snapshot { return snap },
		Problems: func() []*routing.Problem { return problems },
		Upstream: func() any { return map[string]int{"shop/cart:8080": 1} },
		Identity: func() any { return map[string]string{"from": "istiod.istio-system.svc:15012"} },
		Fleet:    func() any { return []string{"shop/edge-1"} },
	})
}

func get(h http.Handler, target string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", target, nil)
	r.Host = "127.0.0.1:9090"
	r.RemoteAddr = "127.0.0.1:4711"
	h.ServeHTTP(w, r)
	return w
}

func TestDebugPagesAreForThisMachine(t *testing.T) {
	h := handler(t)
	tests := []struct {
		remote, path string
		want         int
	}{
		{"127.0.0.1:4711", "/debug/snapshot", 200},
		{"[::1]:4711", "/debug/snapshot", 200},
		{"[::ffff:127.0.0.1]:4711", "/debug/snapshot", 200},
		{"10.244.1.7:4711", "/debug/snapshot", 403},
		{"10.244.1.7:4711", "/debug/pprof/heap", 403},
		{"[fd00::7]:4711", "/debug/", 403},
		{"@", "/debug/", 403},
		{"10.244.1.7:4711", "/metrics", 200},
		{"10.244.1.7:4711", "/readyz", 200},
	}
	for _, tt := range tests {
		w := httptest.NewRecorder()
		r := httptest.NewRequest("GET", tt.path, nil)
		r.Host, r.RemoteAddr = "10.244.1.9:15021", tt.remote
		h.ServeHTTP(w, r)
		if w.Code != tt.want {
			t.Errorf("GET %s from %s: %d, want %d", tt.path, tt.remote, w.Code, tt.want)
		}
	}
}

func TestPages(t *testing.T) {
	h := handler(t)
	tests := []struct {
		target string
		status int
		want   string // a regular expression
	}{
		{"/livez", 200, `^ok\n$`},
		{"/readyz", 200, `^ok\n$`},
		{"/metrics", 200, `(?m)^fairway_build_info`},
		{"/debug/", 200, `Ready\.[\s\S]*/debug/snapshot\?format=json`},
		{"/debug/snapshot", 200, `(?m)^port \*:443 HTTPS$`},
		{"/debug/snapshot?format=json", 200, `"shop/edge/https"`},
		{"/debug/snapshot?format=yaml", 400, `format "yaml": want text or json`},
		{"/debug/problems", 200, `(?m)^InvalidCertificateRef: Secret shop/old: no PEM in tls\.crt \(tls\.yaml:7\)$`},
		{"/debug/problems?format=json", 200, `"reason": "InvalidCertificateRef"`},
		{"/debug/upstream", 200, `"shop/cart:8080": 1`},
		{"/debug/identity", 200, `"from": "istiod.istio-system.svc:15012"`},
		{"/debug/fleet", 200, `"shop/edge-1"`},
		{"/debug/explain?url=http://shop.example/cart", 200, `passed over:[^\n]*no header canary[\s\S]*taken:`},
		{"/debug/explain?url=shop.example", 400, `want http://host/path`},
		{"/debug/pprof/", 200, `goroutine`},
		{"/debug/pprof/goroutine?debug=1", 200, `goroutine profile`},
		{"/debug/pprof/profile?seconds=61", 400, `want at most 60`},
		{"/debug/pprof/trace?seconds=NaN", 400, `want at most 60`},
		{"/debug/pprof/heap?seconds=1e9", 400, `want at most 60`},
		{"/debug/none", 404, ``},
		{"/none", 404, ``},
		{"/", 302, ``},
	}
	for _, tt := range tests {
		w := get(h, tt.target)
		if w.Code != tt.status || !regexp.MustCompile(tt.want).MatchString(w.Body.String()) {
			t.Errorf("GET %s: %d %s\nwant %d and a match of %s", tt.target, w.Code, w.Body, tt.status, tt.want)
		}
	}
}

func TestReadyzNamesWhatIsNotDone(t *testing.T) {
	ready, unfinished := false, []string{"configuration read", "listeners bound"}
	h := New(Options{Ready: func() (bool, []string) { return ready, unfinished }})
	if w := get(h, "/readyz"); w.Code != 503 || w.Body.String() != "not ready\n- configuration read\n- listeners bound\n" {
		t.Errorf("/readyz: %d %q, want 503 and both tasks", w.Code, w.Body)
	}
	if w := get(h, "/debug/"); !strings.Contains(w.Body.String(), "configuration read, listeners bound") {
		t.Errorf("the index does not say what is not done: %s", w.Body)
	}
	ready, unfinished = true, nil
	if w := get(h, "/readyz"); w.Code != 200 {
		t.Errorf("/readyz: %d, want 200", w.Code)
	}
	ready, unfinished = false, []string{"draining"}
	if w := get(h, "/readyz"); w.Code != 503 || !strings.Contains(w.Body.String(), "- draining\n") {
		t.Errorf("/readyz while draining: %d %q, want 503", w.Code, w.Body)
	}
	if w := get(h, "/livez"); w.Code != 200 {
		t.Errorf("/livez while draining: %d, want 200: it lives", w.Code)
	}
}

func TestBeforeAnythingIsInForce(t *testing.T) {
	h := New(Options{Snapshot: func() *routing.Snapshot { return nil }})
	for _, target := range []string{"/debug/snapshot", "/debug/explain?url=http://shop.example/"} {
		if w := get(h, target); w.Code != 503 {
			t.Errorf("GET %s: %d, want 503", target, w.Code)
		}
	}
	for _, target := range []string{"/debug/problems", "/debug/upstream", "/metrics", "/readyz"} {
		if w := get(h, target); w.Code != 404 {
			t.Errorf("GET %s without its function: %d, want 404", target, w.Code)
		}
	}
}

func TestNothingCanBeChanged(t *testing.T) {
	h := handler(t)
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS"} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, "http://127.0.0.1/debug/snapshot", nil))
		if w.Code != 405 || w.Header().Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: %d, Allow %q; want 405 and GET, HEAD", method, w.Code, w.Header().Get("Allow"))
		}
	}
}

func TestNoPageShowsAKey(t *testing.T) {
	h := handler(t)
	encoded, err := json.Marshal([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	inner := strings.TrimRight(strings.Trim(string(encoded), `"`), "=")
	for _, target := range []string{
		"/debug/", "/debug/snapshot", "/debug/snapshot?format=json", "/debug/problems", "/debug/problems?format=json",
		"/debug/upstream", "/metrics", "/debug/explain?url=https://shop.example/cart", "/debug/pprof/goroutine?debug=2",
	} {
		w := get(h, target)
		if body := w.Body.String(); w.Code != 200 || strings.Contains(body, secret) ||
			strings.Contains(body, inner[4:len(inner)-4]) || strings.Contains(body, "PRIVATE KEY") {
			t.Errorf("GET %s: %d, with a key on it:\n%s", target, w.Code, body)
		}
	}
}

// A page of the open web can have its own name resolve to 127.0.0.1, and then
// read what the browser gets from there.
func TestDebugPagesAreNotForMadeUpNames(t *testing.T) {
	h := handler(t)
	tests := []struct {
		host, path string
		want       int
	}{
		{"127.0.0.1:9090", "/debug/snapshot", 200},
		{"[::1]:9090", "/debug/snapshot", 200},
		{"localhost:9090", "/debug/snapshot", 200},
		{"edge.localhost", "/debug/snapshot", 200},
		{"evil.example:9090", "/debug/snapshot", 403},
		{"127.0.0.1.evil.example", "/debug/pprof/", 403},
		{"edge.shop.svc:9090", "/metrics", 200}, // Prometheus may come by name
		{"edge.shop.svc:9090", "/readyz", 200},
	}
	for _, tt := range tests {
		w := httptest.NewRecorder()
		r := httptest.NewRequest("GET", tt.path, nil)
		r.Host, r.RemoteAddr = tt.host, "127.0.0.1:4711"
		h.ServeHTTP(w, r)
		if w.Code != tt.want {
			t.Errorf("GET %s at %s: %d, want %d", tt.path, tt.host, w.Code, tt.want)
		}
	}
}

func TestTheIndexNeedsNothingFromElsewhere(t *testing.T) {
	body := get(handler(t), "/debug/").Body.String()
	for _, external := range []string{"<script", "<link", "<img", `src=`, "@import", "url(http"} {
		if strings.Contains(body, external) {
			t.Errorf("the index contains %s:\n%s", external, body)
		}
	}
	if bare := get(New(Options{}), "/debug/").Body.String(); strings.Contains(bare, "/debug/fleet") || !strings.Contains(bare, "/debug/pprof/") {
		t.Errorf("the index links to pages that are not there, or not to those that are:\n%s", bare)
	}
	if !strings.Contains(body, "2 parts of the configuration are not in force") {
		t.Errorf("the index does not tell of problems:\n%s", body)
	}
}

func TestServerBoundsEveryStep(t *testing.T) {
	s := NewServer(handler(t), slog.New(slog.DiscardHandler))
	for name, d := range map[string]time.Duration{
		"ReadHeaderTimeout": s.ReadHeaderTimeout, "ReadTimeout": s.ReadTimeout,
		"WriteTimeout": s.WriteTimeout, "IdleTimeout": s.IdleTimeout,
	} {
		if d <= 0 {
			t.Errorf("%s = %v, want a bound", name, d)
		}
	}
}
