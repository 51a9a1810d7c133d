package tracing

import (
	"net/netip"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"fairway.dev/gateway/message"
	"fairway.dev/gateway/telemetry"
	"fairway.dev/gateway/wire"
	"fairway.dev/routing"
)

// Numbers of fields of OTLP's messages, by the names that they have in
// opentelemetry.proto.trace.v1 and common.v1.
const (
	requestResourceSpans = 1
	resourceSpansOf      = 1
	resourceSpansScope   = 2
	resourceAttributes   = 1
	scopeSpansScope      = 1
	scopeSpansSpans      = 2
	scopeName            = 1
	spanTraceID          = 1
	spanSpanID           = 2
	spanTraceState       = 3
	spanParentID         = 4
	spanName             = 5
	spanKind             = 6
	spanStart            = 7
	spanEnd              = 8
	spanAttributes       = 9
	spanStatus           = 15
	spanFlags            = 16
	statusCode           = 3
	keyValueKey          = 1
	keyValueValue        = 2
	valueString          = 1
	valueInt             = 3

	kindServer  = 2
	statusError = 2
)

// An Exchange is what a span tells of.
type Exchange struct {
	Context Context
	State   string // tracestate, as it came
	Fields  message.Fields
	Scheme  string
	Route   string
	Cluster string
	Record  *telemetry.Record
}

// appendSpan appends a span as a field of ScopeSpans. Attributes have the names
// of OpenTelemetry's semantic conventions for HTTP servers, and those three of
// Istio's that people search by.
func (t *Tracer) appendSpan(b []byte, x *Exchange) []byte {
	r := x.Record
	return wire.AppendMessage(b, scopeSpansSpans, func(b []byte) []byte {
		b = wire.AppendBytes(b, spanTraceID, x.Context.Trace[:])
		b = wire.AppendBytes(b, spanSpanID, x.Context.Span[:])
		b = wire.AppendText(b, spanTraceState, x.State)
		if x.Context.Parent != [8]byte{} {
			b = wire.AppendBytes(b, spanParentID, x.Context.Parent[:])
		}
		name := r.Method
		if x.Route != "" {
			name += " " + x.Route
		}
		b = wire.AppendText(b, spanName, name)
		b = protowire.AppendTag(b, spanKind, protowire.VarintType)
		b = protowire.AppendVarint(b, kindServer)
		b = appendTime(b, spanStart, r.Start)
		b = appendTime(b, spanEnd, r.Start.Add(r.Duration))
		b = t.appendAttributes(b, x)
		if failed(r) {
			b = wire.AppendMessage(b, spanStatus, func(b []byte) []byte {
				b = protowire.AppendTag(b, statusCode, protowire.VarintType)
				return protowire.AppendVarint(b, statusError)
			})
		}
		b = protowire.AppendTag(b, spanFlags, protowire.Fixed32Type)
		return protowire.AppendFixed32(b, 1) // sampled
	})
}

// failed reports whether the exchange is an error of the server's.
func failed(r *telemetry.Record) bool {
	return r.Status == 0 || r.Status >= 500 || r.GRPCStatus > 0
}

func (t *Tracer) appendAttributes(b []byte, x *Exchange) []byte {
	r := x.Record
	b = attribute(b, "http.request.method", r.Method)
	b = attribute(b, "url.scheme", x.Scheme)
	b = attribute(b, "url.path", r.Path)
	b = attribute(b, "server.address", r.Authority)
	b = attribute(b, "network.protocol.version", version(r.Proto))
	b = attribute(b, "client.address", addressOf(r.Remote))
	b = attribute(b, "user_agent.original", r.UserAgent)
	b = number(b, "http.response.status_code", int64(r.Status))
	if r.GRPCStatus >= 0 {
		b = number(b, "rpc.grpc.status_code", int64(r.GRPCStatus))
	}
	b = number(b, "http.request.body.size", r.BytesReceived)
	b = number(b, "http.response.body.size", r.BytesSent)
	if r.Endpoint.IsValid() {
		b = attribute(b, "network.peer.address", addressOf(r.Endpoint))
		b = number(b, "network.peer.port", int64(r.Endpoint.Port()))
	}
	b = attribute(b, "guid:x-request-id", r.RequestID)
	b = attribute(b, "upstream_cluster", x.Cluster)
	if r.Flags != 0 {
		b = attribute(b, "response_flags", string(r.Flags.Append(nil)))
	}
	for i := range t.tags {
		b = attribute(b, t.tags[i].Name, valueOf(&t.tags[i], &x.Fields))
	}
	return b
}

func valueOf(tag *routing.Tag, f *message.Fields) string {
	if tag.Header == "" {
		return tag.Literal
	}
	if value, ok := f.Value(tag.Header); ok {
		return value
	}
	return tag.Default
}

func version(p message.Proto) string {
	if p == message.HTTP2 {
		return "2"
	}
	return "1.1"
}

func addressOf(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.Addr().String()
}

// attribute appends an attribute of the span, unless its value is empty.
func attribute(b []byte, key, value string) []byte {
	if value == "" {
		return b
	}
	return wire.AppendMessage(b, spanAttributes, func(b []byte) []byte { return keyValue(b, key, value) })
}

func keyValue(b []byte, key, value string) []byte {
	b = wire.AppendText(b, keyValueKey, key)
	return wire.AppendMessage(b, keyValueValue, func(b []byte) []byte { return wire.AppendText(b, valueString, value) })
}

func number(b []byte, key string, n int64) []byte {
	return wire.AppendMessage(b, spanAttributes, func(b []byte) []byte {
		b = wire.AppendText(b, keyValueKey, key)
		return wire.AppendMessage(b, keyValueValue, func(b []byte) []byte {
			b = protowire.AppendTag(b, valueInt, protowire.VarintType)
			return protowire.AppendVarint(b, uint64(n))
		})
	})
}

func appendTime(b []byte, field protowire.Number, t time.Time) []byte {
	b = protowire.AppendTag(b, field, protowire.Fixed64Type)
	return protowire.AppendFixed64(b, uint64(t.UnixNano()))
}

// export returns the request that carries spans, already encoded, of a service.
func export(service, version string, spans []byte) []byte {
	resource := func(b []byte) []byte {
		b = wire.AppendMessage(b, resourceAttributes, func(b []byte) []byte { return keyValue(b, "service.name", service) })
		return wire.AppendMessage(b, resourceAttributes, func(b []byte) []byte { return keyValue(b, "telemetry.sdk.name", "fairway") })
	}
	scope := func(b []byte) []byte {
		b = wire.AppendText(b, scopeName, "fairway.dev/gateway")
		return wire.AppendText(b, scopeName+1, version)
	}
	return wire.AppendMessage(make([]byte, 0, len(spans)+256), requestResourceSpans, func(b []byte) []byte {
		b = wire.AppendMessage(b, resourceSpansOf, resource)
		return wire.AppendMessage(b, resourceSpansScope, func(b []byte) []byte {
			b = wire.AppendMessage(b, scopeSpansScope, scope)
			return append(b, spans...)
		})
	})
}
