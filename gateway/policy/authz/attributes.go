package authz

import (
	"net/netip"
	"strings"

	"fairway.dev/gateway/message"
	"fairway.dev/routing"
)

// Attributes are what is known of who asks, and for what. Use them again: they
// keep what policies make of them. They are for one goroutine.
type Attributes struct {
	// Peer is the other end of the connection: its address (source.ip), its
	// identity, and the name in its ClientHello.
	Peer *message.Peer
	// RemoteIP is the client's address as far as X-Forwarded-For is believed.
	// Invalid: it is in no block.
	RemoteIP netip.Addr
	// Destination and Port are what the client dialled.
	Destination netip.Addr
	Port        uint16

	// Request is nil on a connection of which no requests are seen. What follows
	// is of requests.
	Request *message.Request
	Host    string // as it was sent, with its port
	Path    string // normalised, without the query
	// Token has the claims of a token that was proved. Nil, and not a nil pointer
	// in an interface: there is none.
	Token routing.ClaimSource

	facts
}

const scheme = "spiffe://"

// facts are Attributes taken apart, once for all policies.
type facts struct {
	identity  string
	principal string // identity without its scheme; empty where it has another
	host      string // without its port, and without a dot at its end
	port      string // with its colon, ":80"; empty where the host came without
	sni       string
}

// prepare makes the facts.
func (a *Attributes) prepare() {
	a.facts = facts{identity: a.Peer.Identity, host: a.Host}
	if rest, ok := strings.CutPrefix(a.identity, scheme); ok {
		a.principal = rest
	}
	if a.Peer.TLS != nil {
		a.sni = a.Peer.TLS.ServerName
	}
	if i := portAt(a.host); i >= 0 {
		a.host, a.port = a.host[:i], a.host[i:]
	}
	a.host = strings.TrimSuffix(a.host, ".")
}

// portAt returns where the colon of the port is in an authority, or -1.
func portAt(authority string) int {
	i := strings.LastIndexByte(authority, ':')
	if i < strings.LastIndexByte(authority, ']') {
		return -1
	}
	return i
}

// source is the address of the connection's peer.
func (a *Attributes) source() netip.Addr { return a.Peer.Remote.Addr() }

// header returns what the fields of a name, in lower case, say together.
func (a *Attributes) header(lower string) (value string, there bool) {
	switch r := a.Request; lower {
	case ":method":
		return r.Method, r.Method != ""
	case ":authority", "host":
		return a.Host, a.Host != ""
	case ":scheme":
		return r.Scheme, r.Scheme != ""
	case ":path":
		return r.Path + r.Query, true
	default:
		return r.Fields.Value(lower)
	}
}
