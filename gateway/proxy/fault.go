package proxy

import (
	"net/http"
	"time"

	"fairway.dev/gateway/telemetry"
	"fairway.dev/routing"
)

// A fault is routing.Fault made ready.
type fault struct {
	delay            time.Duration
	delayed, aborted routing.Share
	abort            answer
	grpc             int // the status for gRPC requests
}

// abortText is Envoy's, which people look for.
const abortText = "fault filter abort"

func newFault(f *routing.Fault) *fault {
	if f == nil {
		return nil
	}
	n := &fault{
		delay: f.Delay, delayed: f.DelayShare, aborted: f.AbortShare,
		abort: answer{f.Status, telemetry.Faulted, abortText}, grpc: grpcStatus(f.Status),
	}
	if f.Status == 0 {
		n.grpc = grpcUnknown
		if f.GRPC > 0 && f.GRPC < len(httpStatuses) {
			n.grpc = f.GRPC
		}
		n.abort.status = httpStatuses[n.grpc]
	}
	if s := n.abort.status; s == http.StatusNoContent || s == http.StatusNotModified {
		n.abort.text = ""
	}
	return n
}

// takes draws whether s takes a request.
func (l *local) takes(s routing.Share) bool {
	return s.Numerator > 0 && s.Denominator > 0 && l.below(uint64(s.Denominator)) < uint64(s.Numerator)
}

// suffer draws what the rule's fault does to a request that may pass. One that
// it does anything to has no timeouts of the rule, and no retries
// (HTTPRoute.fault of a VirtualService).
func (e *exchange) suffer(f *fault) {
	l := e.on
	delayed := f.delay > 0 && l.takes(f.delayed)
	e.doomed = l.takes(f.aborted)
	e.faulted = delayed || e.doomed
	if e.faulted && !e.hurried {
		l.loop.Disarm(&e.deadline)
	}
	if delayed {
		e.rec.Flags |= telemetry.Delayed
		e.delayed = true
		l.loop.Arm(&e.pause, f.delay)
		return
	}
	e.carryOut()
}

// paused is what the pause timer fires: a delay is over, or a try may begin.
func (e *exchange) paused() {
	if !e.delayed {
		e.startTry()
		return
	}
	e.delayed = false
	e.moved()
	e.carryOut()
}

// die answers in place of the rule.
func (e *exchange) die(f *fault) {
	if !e.grpc {
		e.answer(&f.abort)
		return
	}
	e.rec.Flags |= f.abort.flags
	e.answerGRPC(f.grpc, abortText)
}
