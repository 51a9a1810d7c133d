// Package tracing makes spans of exchanges and sends them to a collector in
// OTLP, the protocol of OpenTelemetry (1.x, protobuf over gRPC or HTTP).
//
// A request's place in a trace is read from traceparent (W3C Trace Context), or
// from B3's headers where there is none, and what its backend is sent names the
// gateway's own span. Who begins the trace decides whether it is sampled; where
// nobody has, a share of the requests is, by chance. traceparent is believed
// from strangers too: it is nobody's identity, and what a flood of sampled
// requests may cost is bounded, as spans wait in a bounded buffer and what has no
// room there is dropped and counted.
//
// Spans are written down on the loops and sent by one goroutine. A collector
// that is slow or away costs spans, never a request's time.
package tracing
