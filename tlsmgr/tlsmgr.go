// Package tlsmgr decides which certificate a client is shown.
//
// A [Store] keeps key pairs by name, each parsed once. From them and a port's
// listeners it makes a [Table], which is immutable: the name in a ClientHello
// leads to a listener, and there to the first certificate, in the author's
// order, that covers the name and suits the client. A [Server] is one port's
// tls.Config, which stays while tables come and go, so that clients resume
// their sessions across changes. Where a listener names no certificates, a
// [LocalCA] issues them. A listener may ask its clients for certificates too.
//
// Keys never show: no error, no String and no JSON holds one.
//
// The package knows nothing of Kubernetes, routes or loops: names are names.
package tlsmgr

import (
	"crypto/tls"
	"sync/atomic"
)

// A Server is how one port terminates TLS, unless a listener says otherwise:
// versions 1.2 and 1.3, forward secrecy only, X25519MLKEM768 first (as
// crypto/tls has it). For HTTP, HTTP/2 and HTTP/1.1 by ALPN.
//
// # Sessions
//
// Clients resume their sessions by tickets that are sealed with keys of the
// Server: crypto/tls makes them, renews them each day, and opens tickets for a
// week. They are in this process's memory alone, so another gateway, another
// port, and the same one after a restart make a full handshake of a ticket.
// (Also when the first of a port's listeners begins to ask for certificates, or
// for versions or suites of its own, or the last one ends to: that is another
// configuration, with other keys.)
//
// The listeners of a port share the keys. A session that began with a name of
// one listener may go on with another's, if the client so wants: by RFC 8446
// section 4.6.1 it should want that only where the first certificate covered
// the other name. It gives the client nothing, as a listener that checks its
// clients takes a session only from whom it would take a handshake:
//
//   - The certificate that a session began with is in its ticket, and must lead
//     to the roots that this listener has now, or the handshake is a full one.
//     It is verified anew then, and the handshake fails where it does not hold.
//   - A session without a certificate is not resumed where one is required.
//   - A session with a certificate is not resumed where none is asked for.
//   - A session is not resumed with a version or suite that the listener does
//     not have.
type Server struct {
	alpn   []string
	plain  *tls.Config // while no listener of the port has a configuration of its own
	varied *tls.Config
	table  atomic.Pointer[Table]
}

// NewServer returns a Server for HTTP that knows no certificates yet: it
// refuses all handshakes until Use.
func NewServer() *Server { return newServer([]string{"h2", "http/1.1"}) }

// NewStreamServer returns one for connections whose bytes are handed on. Who
// will take them, and what is spoken there, is not known: ALPN chooses nothing.
func NewStreamServer() *Server { return newServer(nil) }

func newServer(alpn []string) *Server {
	s := &Server{alpn: alpn}
	s.table.Store(&Table{})
	certificate := func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		return s.table.Load().Certificate(hello)
	}
	s.plain, s.varied = s.newConfig(certificate), s.newConfig(certificate)
	s.varied.GetConfigForClient = s.configFor
	return s
}

func (s *Server) newConfig(certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)) *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     s.alpn,
		GetCertificate: certificate,
		// What is sent in a round is gathered before it is sealed: small
		// records at the start of a connection would only cost.
		DynamicRecordSizingDisabled: true,
	}
}

// Config returns the configuration of the port's handshakes. It is the same
// until a Use that changes whether any listener has a configuration of its own:
// ask again after each. Do not change it, nor clone it: sessions are resumed between
// connections that share it.
func (s *Server) Config() *tls.Config {
	if s.table.Load().varied {
		return s.varied
	}
	return s.plain
}

// Use puts t in force for the handshakes that begin from now on. Connections
// that are open stay as they are.
func (s *Server) Use(t *Table) { s.table.Store(t) }

// configFor returns the configuration of one handshake with a listener that has
// its own: it checks its clients, or wants other versions or suites; nil with
// another.
func (s *Server) configFor(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	t := s.table.Load()
	site := t.siteFor(hello)
	if site == nil || site.closed || !site.varied() {
		return nil, nil
	}
	config := s.newConfig(t.Certificate)
	site.limit(config)
	if site.clients != nil {
		site.clients.ask(config, hello.Conn)
	}
	return config, nil
}
