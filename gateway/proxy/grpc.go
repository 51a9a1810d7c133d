package proxy

import (
	"net/http"
	"strconv"
	"strings"

	"fairway.dev/gateway/message"
	"fairway.dev/gateway/telemetry"
)

// noteGRPC notes the status that fields or trailers of a gRPC response have.
func (e *exchange) noteGRPC(f message.Fields) {
	if !e.grpc {
		return
	}
	if text, ok := f.Get(message.GRPCStatus); ok {
		if n, err := strconv.ParseUint(text, 10, 8); err == nil {
			e.rec.GRPCStatus = int(n)
		}
	}
}

const (
	grpcCancelled         = 1
	grpcUnknown           = 2
	grpcDeadlineExceeded  = 4
	grpcResourceExhausted = 8
	grpcInternal          = 13
	grpcUnavailable       = 14
)

// settleGRPC fills in the gRPC status that a client takes for one that did
// not come.
func (e *exchange) settleGRPC() {
	if !e.grpc || e.rec.GRPCStatus >= 0 {
		return
	}
	switch {
	case e.rec.Flags&(telemetry.DownstreamClosed|telemetry.DownstreamReset) != 0:
		e.rec.GRPCStatus = grpcCancelled
	case e.rec.Status == http.StatusOK:
		e.rec.GRPCStatus = grpcUnknown
	default:
		e.rec.GRPCStatus = grpcStatus(e.rec.Status)
	}
}

// grpc returns what a is to a gRPC client.
func (a *answer) grpc() int {
	switch a {
	case &timedOut:
		return grpcDeadlineExceeded
	case &overLimit:
		// Of UNAVAILABLE, which the mapping has for 429, clients make a retry.
		return grpcResourceExhausted
	}
	return grpcStatus(a.status)
}

// grpcStatus maps a status as gRPC's http-grpc-status-mapping does.
func grpcStatus(status int) int {
	switch status {
	case 400:
		return grpcInternal
	case 401:
		return 16 // UNAUTHENTICATED
	case 403:
		return 7 // PERMISSION_DENIED
	case 404:
		return 12 // UNIMPLEMENTED
	case 429, 502, 503, 504:
		return grpcUnavailable
	}
	return grpcUnknown
}

var grpcDigits = [...]string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16"}

// httpStatuses are the HTTP statuses of gRPC's, as google.rpc.Code has them.
var httpStatuses = [len(grpcDigits)]int{
	200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401,
}

// maxGRPCMessage bounds the text of a grpc-message, in bytes before it is encoded.
const maxGRPCMessage = 1 << 10

// grpcMessage returns text as a grpc-message has it: percent-encoded but for
// what may stand in a field (gRPC over HTTP2, Responses: Percent-Encoded).
func grpcMessage(text string) string {
	text = strings.TrimSuffix(text[:min(len(text), maxGRPCMessage)], "\n")
	plain := func(c byte) bool { return c >= ' ' && c < 0x7f && c != '%' }
	for i := range len(text) {
		if plain(text[i]) {
			continue
		}
		b := []byte(text[:i])
		for ; i < len(text); i++ {
			if c := text[i]; plain(c) {
				b = append(b, c)
			} else {
				b = append(b, '%', upperHex[c>>4], upperHex[c&15])
			}
		}
		return string(b)
	}
	return text
}

const upperHex = "0123456789ABCDEF"
