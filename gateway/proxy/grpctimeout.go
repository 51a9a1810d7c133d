package proxy

import (
	"math"
	"time"

	"fairway.dev/gateway/message"
)

// maxGRPCTimeout is the most digits that a grpc-timeout has.
const maxGRPCTimeout = 8

// grpcTimeout reads the value of a grpc-timeout field: digits and a unit (gRPC
// over HTTP2, Requests: Timeout). It reports false for what is none, which
// counts as no field at all, and for one of centuries.
func grpcTimeout(value string) (time.Duration, bool) {
	digits := len(value) - 1
	if digits < 1 || digits > maxGRPCTimeout {
		return 0, false
	}
	var unit time.Duration
	switch value[digits] {
	case 'H':
		unit = time.Hour
	case 'M':
		unit = time.Minute
	case 'S':
		unit = time.Second
	case 'm':
		unit = time.Millisecond
	case 'u':
		unit = time.Microsecond
	case 'n':
		unit = time.Nanosecond
	default:
		return 0, false
	}
	n := time.Duration(0)
	for i := range digits {
		c := value[i]
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + time.Duration(c-'0')
	}
	if n > math.MaxInt64/unit {
		return 0, false
	}
	return n * unit, true
}

// bound arms the deadline of the exchange: the rule's, or the gRPC client's own
// where that is sooner.
func (e *exchange) bound() {
	d := e.rule.request
	if e.grpc {
		if text, ok := e.req.Fields.Get(message.GRPCTimeout); ok {
			if own, ok := grpcTimeout(text); ok && (d == 0 || own < d) {
				d, e.hurried = max(own, 1), true
			}
		}
	}
	if d > 0 {
		e.on.loop.Arm(&e.deadline, d)
	}
}
