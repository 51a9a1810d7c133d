// Package tlsmgr decides which certificate a client is shown.
//
// A [Store] keeps key pairs by name, each parsed once. From them and a port's
// listeners it makes a [Table], which is immutable: the name in a ClientHello
// leads to a listener, and there to the first certificate, in the author's
// order, that covers the name and suits the client. A [Server] is one port's
// tls.Config, which stays while tables come and go, so that clients resume
// their sessions across changes. Where a listener names no certificates, a
// [LocalCA] issues them.
//
// Keys never show: no error, no String and no JSON holds one.
//
// The package knows nothing of Kubernetes, routes or loops: names are names.
package tlsmgr

import (
	"crypto/tls"
	"sync/atomic"
)

// A Server is how one port terminates TLS: versions 1.2 and 1.3, forward
// secrecy only, X25519MLKEM768 first (as crypto/tls has it). For HTTP, HTTP/2
// and HTTP/1.1 by ALPN. Session tickets are sealed with keys that crypto/tls makes
// and renews each day for as long as the Server lives.
type Server struct {
	config *tls.Config
	table  atomic.Pointer[Table]
}

// NewServer returns a Server for HTTP that knows no certificates yet: it
// refuses all handshakes until Use.
func NewServer() *Server { return newServer([]string{"h2", "http/1.1"}) }

// NewStreamServer returns one for connections whose bytes are handed on. Who
// will take them, and what is spoken there, is not known: ALPN chooses nothing.
func NewStreamServer() *Server { return newServer(nil) }

func newServer(alpn []string) *Server {
	s := &Server{}
	s.table.Store(&Table{})
	s.config = &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: alpn,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			return s.table.Load().Certificate(hello)
		},
		// What is sent in a round is gathered before it is sealed: small
		// records at the start of a connection would only cost.
		DynamicRecordSizingDisabled: true,
	}
	return s
}

// Config returns the one configuration of the port. Do not change it, nor
// clone it: sessions are resumed between connections that share it.
func (s *Server) Config() *tls.Config { return s.config }

// Use puts t in force for the handshakes that begin from now on. Connections
// that are open stay as they are.
func (s *Server) Use(t *Table) { s.table.Store(t) }
