package telemetry

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
)

// A Handshake is how a TLS handshake with a client ended.
type Handshake uint8

const (
	HandshakeOK            Handshake = iota // it ended well
	HandshakeNoCertificate                  // no certificate for the name that the client asked for
	HandshakeClientRefused                  // the client showed no certificate, or not a valid one
	HandshakeNotTLS                         // what came was not TLS
	HandshakeNoCommon                       // no version, cipher or protocol in common
	HandshakeRefusedByPeer                  // the client sent an alert: it does not trust us, mostly
	HandshakeTimeout                        // it was not done in time
	HandshakeGone                           // the client left in the middle
	HandshakeOther                          // anything else
	numHandshakes
)

var handshakeText = [numHandshakes]string{
	HandshakeOK: "ok", HandshakeNoCertificate: "no_certificate",
	HandshakeClientRefused: "client_certificate",
	HandshakeNotTLS:        "not_tls", HandshakeNoCommon: "nothing_in_common", HandshakeRefusedByPeer: "refused_by_client",
	HandshakeTimeout: "timeout", HandshakeGone: "closed", HandshakeOther: "other",
}

// HandshakeOutcome sorts the error that crypto/tls ended a server's handshake
// with. A nil error is HandshakeOK.
func HandshakeOutcome(err error) Handshake {
	var record tls.RecordHeaderError
	var op *net.OpError
	var refused *tls.CertificateVerificationError
	switch {
	case err == nil:
		return HandshakeOK
	case errors.As(err, &refused):
		return HandshakeClientRefused
	case errors.Is(err, os.ErrDeadlineExceeded):
		return HandshakeTimeout
	case errors.As(err, &record):
		return HandshakeNotTLS
	case errors.As(err, &op) && op.Op == "remote error":
		return HandshakeRefusedByPeer
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return HandshakeGone
	}
	// crypto/tls has no types for these; its texts are old and stable, and a
	// test holds them.
	text := err.Error()
	switch {
	case strings.Contains(text, "client didn't provide a certificate"):
		return HandshakeClientRefused
	case strings.Contains(text, "no certificate"):
		return HandshakeNoCertificate
	case strings.Contains(text, "unsupported versions"), strings.Contains(text, "no cipher suite"),
		strings.Contains(text, "no application protocol"), strings.Contains(text, "unsupported application protocols"),
		strings.Contains(text, "no ECDHE curve"), strings.Contains(text, "no key exchanges"):
		return HandshakeNoCommon
	}
	return HandshakeOther
}

// A Limit is a bound that was reached. Those of the codecs have their own: see
// Refusals.
type Limit uint8

const (
	LimitConnections         Limit = iota // open connections from clients
	LimitUpstreamConnections              // connections to an endpoint
	LimitUpstreamRequests                 // active requests of a cluster
	LimitUpstreamPending                  // requests that wait for a connection
	LimitUpstreamWait                     // a request waited too long for a connection
	LimitRetries                          // retries under way
	LimitMirrors                          // mirrored requests under way
	LimitUDPSessions                      // sessions of datagrams on a port: the one idle for longest went
	numLimits
)

var limitText = [numLimits]string{
	LimitConnections: "connections", LimitUpstreamConnections: "upstream_connections",
	LimitUpstreamRequests: "upstream_requests", LimitUpstreamPending: "upstream_pending",
	LimitUpstreamWait: "upstream_wait", LimitRetries: "retries", LimitMirrors: "mirrors",
	LimitUDPSessions: "udp_sessions",
}

// An Ejection is why an endpoint was left out for a while.
type Ejection uint8

const (
	EjectedConnect     Ejection = iota // it refused a connection, or did not answer
	EjectedConsecutive                 // too many failed exchanges in a row
	EjectedOutlier                     // as its DestinationRule's outlierDetection says
	numEjections
)

var ejectionText = [numEjections]string{
	EjectedConnect: "connect", EjectedConsecutive: "consecutive", EjectedOutlier: "outlier",
}

// A LogOutcome is what became of an access log line.
type LogOutcome uint8

const (
	LogWritten LogOutcome = iota
	LogDropped            // the writer was too slow
	LogFailed             // the writer failed
	numLogOutcomes
)

var logOutcomeText = [numLogOutcomes]string{LogWritten: "written", LogDropped: "dropped", LogFailed: "failed"}

// A SpanOutcome is what became of a span.
type SpanOutcome uint8

const (
	SpanSent    SpanOutcome = iota
	SpanDropped             // too many waited
	SpanFailed              // its collector did not take it
	numSpanOutcomes
)

var spanOutcomeText = [numSpanOutcomes]string{SpanSent: "sent", SpanDropped: "dropped", SpanFailed: "failed"}
