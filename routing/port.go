package routing

import "net/netip"

// A PortKey is what a socket is bound to.
type PortKey struct {
	Addr netip.Addr // zero: the server's default
	Port uint16
	UDP  bool // a TCP and a UDP port of one number are two ports
}

// A Port is what is served on one address and port: the listeners that share it.
type Port struct {
	Key PortKey
	// Protocol is HTTP, HTTPS, TCP or UDP. HTTPS stands for HTTPS and TLS
	// listeners together: the name in the ClientHello tells them apart.
	Protocol Protocol
}

// Listeners returns the listeners of the port, by name.
func (p *Port) Listeners() []*Listener { return nil }

// ListenerFor returns the listener with the most specific hostname that covers
// a server name (SNI or Host; lower case, no port): the exact one, else the
// longest wildcard, else the one without a hostname, else nil. An empty sni
// means that the client named none.
func (p *Port) ListenerFor(sni string) *Listener { return nil }
