// Package upstream keeps connections to backends: clusters of endpoints, how
// one is picked, whether it is healthy, and the connections to it.
package upstream

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
	"fairway.dev/routing"
)

// ErrNoEndpoints says that a cluster has no endpoint at all: answer 503 (UH).
var ErrNoEndpoints = errors.New("no endpoint to send to")

// ErrOverflow says that a limit of the cluster is reached: answer 503 (UO).
var ErrOverflow = errors.New("limit of the cluster reached")

// ErrTimeout says that no connection was had within the connect timeout (UF).
// It is wrapped by what ConnectFailed gets, as is [loop.ErrRefused].
var ErrTimeout = errors.New("no connection in time")

// A Conn is a connection that has no Handler yet: *loop.Socket, or in tests
// *loop.PipeConn.
type Conn interface {
	loop.Conn
	Handle(loop.Handler)
}

// A DialFunc connects to addr on l, with TLS where config is not nil. It calls
// done once, on l, from a later event; never after cancel was called. alpn is
// what TLS agreed on.
type DialFunc func(l *loop.Loop, addr netip.AddrPort, config *tls.Config, timeout time.Duration,
	done func(conn Conn, alpn string, err error)) (cancel func())

// ClientEvents are what a pool hears of a connection that it made.
type ClientEvents struct {
	// Free tells that an exchange has ended and Client.Free may have grown.
	Free func()
	// Closed tells that the connection is gone. It is the last call.
	Closed func(err error)
}

// A Limit is one of the limits of a cluster, for counting what passed it.
type Limit uint8

const (
	LimitRequests Limit = iota
	LimitPending
	LimitConnections
)

// A Cause is why an endpoint was ejected.
type Cause uint8

const (
	CauseRefused  Cause = iota // it refused a connection, or could not be reached
	CauseFailures              // failures in a row
)

// Options are what a Set needs.
type Options struct {
	// Loops are all loops of the process, in the order of their Index.
	Loops []*loop.Loop

	// Dial opens connections. If nil, loop.Dial.
	Dial DialFunc

	// NewClient puts a codec on a new connection. If nil, http1 and http2.
	NewClient func(conn Conn, proto message.Proto, ev ClientEvents) message.Client

	// Certificate returns the certificate that is shown to backends under a
	// name, nil where there is none. Any goroutine may call it.
	Certificate func(routing.CertificateName) *tls.Certificate

	// Log takes changes of state. If nil, nothing is logged.
	Log *slog.Logger

	// OnOverflow counts an exchange that a limit turned away. OnEject and
	// OnReturn count endpoints that are left out and taken in again. Nil ones
	// are skipped. They are called on loops and must not block.
	OnOverflow func(*Cluster, Limit)
	OnEject    func(*Cluster, *Endpoint, Cause)
	OnReturn   func(*Cluster, *Endpoint)
}
