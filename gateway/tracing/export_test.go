package tracing

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"fairway.dev/gateway/telemetry"
	"fairway.dev/routing"
)

// A tree is a protobuf message without its schema: its fields by number.
type tree map[protowire.Number][][]byte

// parse reads a message; numbers are kept as their bytes on the wire.
func parse(t *testing.T, b []byte) tree {
	t.Helper()
	m := tree{}
	for len(b) > 0 {
		n, kind, size := protowire.ConsumeTag(b)
		if size < 0 {
			t.Fatalf("no message: %x", b)
		}
		b = b[size:]
		size = protowire.ConsumeFieldValue(n, kind, b)
		if size < 0 {
			t.Fatalf("field %d: %x", n, b)
		}
		value := b[:size]
		if kind == protowire.BytesType {
			value, _ = protowire.ConsumeBytes(b)
		}
		m[n] = append(m[n], value)
		b = b[size:]
	}
	return m
}

// at goes down a path of fields, each the first of its number.
func (m tree) at(t *testing.T, path ...protowire.Number) tree {
	t.Helper()
	for _, n := range path {
		if len(m[n]) == 0 {
			t.Fatalf("no field %d", n)
		}
		m = parse(t, m[n][0])
	}
	return m
}

func attributesOf(t *testing.T, list [][]byte) map[string]string {
	t.Helper()
	values := map[string]string{}
	for _, kv := range list {
		m := parse(t, kv)
		value := parse(t, m[keyValueValue][0])
		text := ""
		if s := value[valueString]; len(s) > 0 {
			text = string(s[0])
		} else if n, size := protowire.ConsumeVarint(value[valueInt][0]); size > 0 {
			text = "#" + string(rune('0'+n%10))
		}
		values[string(m[keyValueKey][0])] = text
	}
	return values
}

// A collector takes exports by both of OTLP's transports.
type collector struct {
	bodies chan []byte
	status string // grpc-status to answer
	code   int
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	if r.URL.Path == grpcPath {
		if r.ProtoMajor != 2 || r.Header.Get("Content-Type") != "application/grpc" {
			http.Error(w, "not gRPC", http.StatusUnsupportedMediaType)
			return
		}
		body = body[5:]
		w.Header().Set("Trailer", "Grpc-Status")
		w.WriteHeader(c.code)
		w.Header().Set("Grpc-Status", c.status)
	} else {
		w.WriteHeader(c.code)
	}
	c.bodies <- body
}

func startCollector(t *testing.T, c *collector) string {
	t.Helper()
	s := httptest.NewUnstartedServer(c)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func newExporter(t *testing.T, address string) (*Exporter, *telemetry.Metrics) {
	m := telemetry.New(telemetry.Options{Loops: 1})
	return New(Options{
		Loops: 1, Version: "test", Spans: m.Spans, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Dial: func(ctx context.Context, name routing.ClusterName, _ string) (net.Conn, error) {
			if name != "obs/collector:4317" {
				t.Errorf("dials %s", name)
			}
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		},
	}), m
}

func anExchange(c Context) *Exchange {
	return &Exchange{
		Context: c, Scheme: "https", Route: "HTTPRoute/shop/cart", Cluster: "shop/cart:80", Fields: fields("x-user", "anna"),
		Record: &telemetry.Record{
			Start: time.Unix(1, 0), Duration: time.Second, Method: "GET", Path: "/cart", Authority: "shop.example.com", Status: 503,
			GRPCStatus: -1, Flags: telemetry.NoHealthyUpstream, Remote: netip.MustParseAddrPort("192.0.2.1:1"), RequestID: "id",
		},
	}
}

// TestExport holds what a collector gets, over gRPC and over HTTP.
func TestExport(t *testing.T) {
	for name, path := range map[string]string{"gRPC": "", "HTTP": "/v1/traces"} {
		c := &collector{bodies: make(chan []byte, 1), status: "0", code: 200}
		e, m := newExporter(t, startCollector(t, c))
		tracer := e.Set([]*routing.Tracing{{
			Cluster: "obs/collector:4317", Path: path, Service: "edge.shop", Percent: 100,
			Tags: []routing.Tag{{Name: "env", Literal: "test"}, {Name: "user", Header: "X-User"}, {Name: "tier", Header: "x-tier", Default: "none"}},
		}})[0]
		f := fields()
		x := anExchange(tracer.Begin(0, &f))
		tracer.End(0, x)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		e.Run(ctx) // what is left is sent
		resource := parse(t, <-c.bodies).at(t, requestResourceSpans)
		if got := attributesOf(t, resource.at(t, resourceSpansOf)[resourceAttributes]); got["service.name"] != "edge.shop" {
			t.Errorf("%s: resource %v", name, got)
		}
		span := resource.at(t, resourceSpansScope, scopeSpansSpans)
		if got := string(span[spanName][0]); got != "GET HTTPRoute/shop/cart" {
			t.Errorf("%s: name %q", name, got)
		}
		if got := span[spanTraceID][0]; string(got) != string(x.Context.Trace[:]) || span[spanParentID] != nil || span[spanStatus] == nil {
			t.Errorf("%s: trace %x, parent %x, status %x", name, got, span[spanParentID], span[spanStatus])
		}
		got := attributesOf(t, span[spanAttributes])
		for key, want := range map[string]string{
			"http.request.method": "GET", "url.scheme": "https", "url.path": "/cart", "server.address": "shop.example.com", "client.address": "192.0.2.1",
			"http.response.status_code": "#3", "response_flags": "UH", "upstream_cluster": "shop/cart:80", "guid:x-request-id": "id",
			"env": "test", "user": "anna", "tier": "none",
		} {
			if got[key] != want {
				t.Errorf("%s: attribute %s is %q, want %q", name, key, got[key], want)
			}
		}
		if n := m.Spans.Total(telemetry.SpanSent); n != 1 {
			t.Errorf("%s: %d spans counted as sent, want 1", name, n)
		}
	}
}

// TestCollectorAway holds that spans which nobody takes are counted, and that
// only so many wait.
func TestCollectorAway(t *testing.T) {
	for name, c := range map[string]*collector{
		"gRPC refuses": {bodies: make(chan []byte, 1), status: "14", code: 200},
		"HTTP refuses": {bodies: make(chan []byte, 1), status: "0", code: 503},
	} {
		e, m := newExporter(t, startCollector(t, c))
		tracer := e.Set([]*routing.Tracing{{Cluster: "obs/collector:4317", Percent: 100}})[0]
		f := fields()
		x := anExchange(tracer.Begin(0, &f))
		const spans = 8000 // more than fit
		for range spans {
			tracer.End(0, x)
		}
		e.sendAll(t.Context(), map[string]*client{})
		dropped, failed := m.Spans.Total(telemetry.SpanDropped), m.Spans.Total(telemetry.SpanFailed)
		if dropped == 0 || failed == 0 || dropped+failed != spans {
			t.Errorf("%s: %d dropped, %d failed; want some of each, %d in all", name, dropped, failed, spans)
		}
	}
}

// TestSet holds that a Tracer lives as long as it is wanted, and that what it
// holds in the end is sent.
func TestSet(t *testing.T) {
	c := &collector{bodies: make(chan []byte, 2), status: "0", code: 200}
	e, m := newExporter(t, startCollector(t, c))
	a, b := &routing.Tracing{Cluster: "obs/collector:4317", Percent: 100}, &routing.Tracing{Cluster: "obs/collector:4317", Percent: 1, Silent: true}
	first := e.Set([]*routing.Tracing{a, nil, b})
	second := e.Set([]*routing.Tracing{b, {Cluster: "obs/collector:4317", Percent: 100}})
	if first[1] != nil || second[0] != first[2] || second[1] != first[0] {
		t.Error("the same tracing has another Tracer")
	}
	f := fields()
	first[0].End(0, anExchange(first[0].Begin(0, &f)))
	first[2].End(0, anExchange(Context{Sampled: true})) // Silent
	first[0].End(0, anExchange(Context{}))              // not sampled
	e.Set(nil)
	clients := map[string]*client{}
	e.sendAll(t.Context(), clients)
	e.sendAll(t.Context(), clients)
	if n := m.Spans.Total(telemetry.SpanSent); n != 1 || len(clients) != 0 {
		t.Errorf("%d spans sent and %d clients left, want 1 and none", n, len(clients))
	}
}

// TestStrangersBytes holds that a span is UTF-8, whatever a client sent: a
// collector refuses all spans of a request for one that is not.
func TestStrangersBytes(t *testing.T) {
	c := &collector{bodies: make(chan []byte, 1), status: "0", code: 200}
	e, _ := newExporter(t, startCollector(t, c))
	tracer := e.Set([]*routing.Tracing{{Cluster: "obs/collector:4317", Percent: 100, Tags: []routing.Tag{{Name: "user", Header: "x-user"}}}})[0]
	f := fields()
	x := anExchange(tracer.Begin(0, &f))
	x.State, x.Fields, x.Record.Path, x.Record.UserAgent = "a=\xff", fields("x-user", "\xfe"), "/\xff", "\xc0\x80"
	tracer.End(0, x)
	e.sendAll(t.Context(), map[string]*client{})
	span := parse(t, <-c.bodies).at(t, requestResourceSpans, resourceSpansScope, scopeSpansSpans)
	texts := [][]byte{span[spanTraceState][0]}
	for _, kv := range span[spanAttributes] {
		texts = append(texts, parse(t, kv).at(t, keyValueValue)[valueString]...)
	}
	for _, text := range texts {
		if !utf8.Valid(text) {
			t.Errorf("%q is not UTF-8", text)
		}
	}
}
