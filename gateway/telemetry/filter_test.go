package telemetry

import (
	"net/netip"
	"testing"
	"time"

	"fairway.dev/gateway/message"
)

// Telemetry's accessLogging.filter.expression.
func TestFilter(t *testing.T) {
	m := New(Options{Loops: 1})
	e := m.Exchanges(Labels{Cluster: "shop/cart:80", Route: "HTTPRoute/shop/cart"})
	r := &Record{
		Method: "GET", Path: "/cart/1", Authority: "shop.example.com", Status: 503, GRPCStatus: -1, Flags: NoHealthyUpstream | UpstreamRetryLimit,
		Duration: 20 * time.Millisecond, Remote: netip.MustParseAddrPort("192.0.2.1:1234"), Client: VerifiedClient, UserAgent: "curl",
	}
	var f message.Fields
	f.Append("X-Tenant", "blue")
	for expression, want := range map[string]bool{
		"true":                          true,
		"response.code >= 400":          true,
		"response.code < 400":           false,
		"has(response.code)":            true,
		"response.flags.contains('UH')": true,
		"request.url_path.startsWith('/cart') && connection.mtls":  true,
		"request.headers['x-tenant'] == 'red'":                     false,
		"'x-tenant' in request.headers":                            true,
		"request.headers['none'] == ''":                            false, // an error
		"request.duration > duration('10ms')":                      true,
		"source.address == '192.0.2.1' && upstream.port == 0":      true,
		"xds.cluster_name == 'shop/cart:80' && request.id == ''":   true,
		"request.host.matches('^shop[.]') && request.size == 0":    true,
		"request.useragent == 'curl' && request.scheme == 'https'": true,
	} {
		filter, err := NewFilter(expression)
		if err != nil {
			t.Errorf("%s: %v", expression, err)
			continue
		}
		if got := filter.Passes(e, r, "https", f); got != want {
			t.Errorf("%s: %t, want %t", expression, got, want)
		}
	}
	if !(*Filter)(nil).Passes(e, r, "https", f) {
		t.Error("no filter keeps an exchange back")
	}
}

func TestBadFilters(t *testing.T) {
	for _, expression := range []string{"", "response.code", "response.cod > 1", "nothing == 1", "response.code >", "metadata.x == 'y'"} {
		if _, err := NewFilter(expression); err == nil {
			t.Errorf("%q is taken for a filter", expression)
		}
	}
}

// TestCostlyFilter holds that an expression which costs much is given up.
func TestCostlyFilter(t *testing.T) {
	filter, err := NewFilter("[1,2,3,4,5,6,7,8,9,10].all(a, [1,2,3,4,5,6,7,8,9,10].all(b, [1,2,3,4,5,6,7,8,9,10].all(c, [1,2,3,4,5,6,7,8,9,10].all(d, response.code + a + b + c + d > 0))))")
	if err != nil {
		t.Fatal(err)
	}
	if filter.Passes(New(Options{Loops: 1}).Exchanges(Labels{}), &Record{Status: 200}, "http", nil) {
		t.Error("an expression over its cost was evaluated to its end")
	}
}

func FuzzFilter(f *testing.F) {
	f.Add("response.code >= 400 && request.headers['a'] == 'b'")
	e, r := New(Options{Loops: 1}).Exchanges(Labels{}), &Record{Status: 200}
	f.Fuzz(func(t *testing.T, expression string) {
		if filter, err := NewFilter(expression); err == nil {
			filter.Passes(e, r, "http", nil)
		}
	})
}
