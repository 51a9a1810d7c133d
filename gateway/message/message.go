// Package message is an HTTP message as the wire had it, whatever the version:
// a head that is a flat list of fields, and a body that streams.
//
// Codecs (http1, http2) turn bytes into messages and back; proxy joins a
// request to a response. Framing never shows here: a codec takes
// Content-Length, Transfer-Encoding, Connection, the fields that Connection
// names, Keep-Alive, Proxy-Connection, TE, Upgrade and Host out of the fields
// and says what they meant ([Request.Length], [Request.Authority],
// [Request.Upgrade]), and puts back what the next hop's protocol wants.
//
// The one law: strings and slices in a message point into buffers that are
// used again. They are valid until the exchange ends (a request) or the call
// returns (a response, trailers, body bytes). Who keeps one clones it.
package message

import "net/netip"

// Proto is the protocol that a message came over.
type Proto uint8

const (
	HTTP10 Proto = iota + 1
	HTTP11
	HTTP2
	HTTP3
)

// String returns the form used in access logs: "HTTP/1.1", "HTTP/2".
func (p Proto) String() string {
	switch p {
	case HTTP10:
		return "HTTP/1.0"
	case HTTP11:
		return "HTTP/1.1"
	case HTTP2:
		return "HTTP/2"
	case HTTP3:
		return "HTTP/3"
	}
	return "unknown"
}

// Unknown is the Length of a body whose size its head did not tell.
const Unknown = -1

// A Request is the head of a request.
type Request struct {
	Method    string
	Scheme    string // "http" or "https": what the client used to reach us
	Authority string // Host or :authority, as sent; never empty for HTTP/1.1 and later
	Path      string // origin form up to '?', "*" for OPTIONS *
	Query     string // from '?' on, with it; "" when there is none
	Fields    Fields
	Length    int64 // of the body in bytes, or Unknown; 0 when there is none
	Proto     Proto

	// Upgrade is the protocol that the client wants to switch to, in lower
	// case ("websocket"), or empty. HTTP/1.1's Upgrade and HTTP/2's extended
	// CONNECT (RFC 8441) both arrive here, with Method GET. Such a request is
	// never handed on as the last of its message: what follows a 101 is the
	// new protocol's. Who gets another status ends it without a body.
	Upgrade string

	// Trailers says that the client takes trailers (TE: trailers).
	Trailers bool

	// Old says of a request that a gateway has sent as one of HTTP/2 that the
	// client speaks HTTP/1 to that.
	Old bool

	// Hop says what a gateway that the request is sent by is to know.
	Hop Hop

	arena Arena
}

// A Hop is what one gateway tells the next one about a request, besides the
// request. The zero Hop is that of a request that goes to its backend.
type Hop struct {
	Target string         // the address that is dialled at the far end
	Source string         // the identity that this gateway vouches for, or Nobody; empty: the request is its own
	Client netip.AddrPort // of the client's connection
	Within string         // who has to be reached through the far end, which is a stranger (hop.Target); not told
	Old    bool           // the client speaks HTTP/1
}

// Nobody is the Source of a Hop whose client is not known: what it asks for is
// not asked for by the gateway.
const Nobody = "unknown"

// A Response is the head of a response.
type Response struct {
	Status int
	Reason string // HTTP/1's reason phrase; empty means the usual one
	Fields Fields
	// Length is that of the body in bytes, or Unknown. A response to HEAD and
	// a 304 may state a Length and have no body.
	Length int64
	Proto  Proto
}

// Hold copies b to memory that lives as long as r does, and returns the copy.
// Codecs hold a head with it once and let the fields point into the copy.
func (r *Request) Hold(b []byte) []byte { return r.arena.Hold(b) }

// Spoken returns what the client has spoken that the request is of.
func (r *Request) Spoken() Proto {
	if r.Old {
		return HTTP11
	}
	return r.Proto
}

// Reset empties r for its next use and keeps its memory, unless a large head
// made that memory large.
func (r *Request) Reset() {
	fields, arena := r.Fields[:0], r.arena
	if cap(fields) > 128 {
		fields = nil
	}
	arena.Reset()
	*r = Request{Fields: fields, arena: arena}
}
