package upstream

import (
	"net/netip"

	"fairway.dev/gateway/loop"
)

// An Endpoint is one address of a cluster, with its health, its load and the
// connections to it. It is shared by all loops.
type Endpoint struct {
	addr netip.AddrPort
}

// Addr returns the endpoint's address.
func (ep *Endpoint) Addr() netip.AddrPort { return ep.addr }

// An Outcome is how a try ended. It feeds the endpoint's health.
type Outcome uint8

const (
	// Success: a response came, whatever its status but those of Failed.
	Success Outcome = iota
	// Failed: the status was 502, 503 or 504.
	Failed
	// Reset: the connection or the stream ended before a response's head.
	Reset
	// Timeout: no response's head in time.
	Timeout
	// NoConnection: ConnectFailed was called. The pool has drawn its
	// conclusions from that already.
	NoConnection
	// Abandoned: the try says nothing about the endpoint: the client went
	// away, or a reused connection turned out to be closed.
	Abandoned
)

// Done ends a try that Pick began, on l.
func (ep *Endpoint) Done(l *loop.Loop, o Outcome) {}
