// Package proxyproto reads and writes headers of the PROXY protocol, versions 1
// and 2: the first bytes of a connection, by which a proxy says for whom it has
// opened it (haproxy.org, doc/proxy-protocol.txt, revision 2020/03/05).
//
// The one law: a header is believed whole or not at all. What is not exactly as
// the specification has it is malformed, and no byte of it is taken for
// the connection's own.
//
// The package does not decide whether a header is wanted, nor from whom.
package proxyproto

import (
	"errors"
	"fmt"
	"net/netip"
)

// A Header is what a header says.
type Header struct {
	// Source is the client's address, and Destination the one that it
	// connected to. They are the zero AddrPort where the header names none
	// that can be used here: the proxy speaks for itself (LOCAL, as in its
	// health checks), or for a client of an unknown kind (UNKNOWN, AF_UNSPEC,
	// a Unix socket, datagrams). The connection's own addresses count then.
	Source, Destination netip.AddrPort
	// Identity is who the proxy says has proved to be the client: a SPIFFE ID,
	// as ztunnel sends it (TLV 0xD0 of version 2), or what somebody else means by
	// that type. It was not looked at. Empty: the header says nothing of it.
	Identity string
}

// Known reports whether the header names a client.
func (h Header) Known() bool { return h.Source.IsValid() }

// ErrNone says that what a connection begins with is no header.
var ErrNone = errors.New("no PROXY protocol header")

// errMalformed is wrapped by all that is wrong with a header.
var errMalformed = errors.New("malformed PROXY protocol header")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %w", errMalformed, fmt.Errorf(format, args...))
}

// MaxSize bounds a header, in bytes. The specification would have version 2 go
// to 64 KiB: what does not fit here would be certificates of clients, which
// nobody reads.
const MaxSize = 16 << 10

// Parse reads the header at the beginning of p and returns how many bytes it
// has: 0 where p ends before it does, and says nothing against one. The error
// is ErrNone where p begins with something else.
func Parse(p []byte) (h Header, size int, err error) {
	switch {
	case begins(p, signature1):
		return parse1(p)
	case begins(p, signature2):
		return parse2(p)
	}
	return Header{}, 0, ErrNone
}

// begins reports whether p begins with signature, as far as p goes.
func begins(p []byte, signature string) bool {
	n := min(len(p), len(signature))
	return string(p[:n]) == signature[:n]
}

// Append appends a header of a version, 1 or 2, to dst. One that names no
// client says that the proxy speaks for itself. The Identity is not written:
// nobody is to be believed about it who does not prove it.
func Append(dst []byte, version uint8, h Header) []byte {
	// One address of each family cannot be written: IPv4's becomes IPv6's.
	if from, to := h.Source.Addr(), h.Destination.Addr(); h.Known() && from.Unmap().Is4() != to.Unmap().Is4() {
		h.Source = netip.AddrPortFrom(mapped(from), h.Source.Port())
		h.Destination = netip.AddrPortFrom(mapped(to), h.Destination.Port())
	} else {
		h.Source = netip.AddrPortFrom(from.Unmap(), h.Source.Port())
		h.Destination = netip.AddrPortFrom(to.Unmap(), h.Destination.Port())
	}
	if version == 1 {
		return append1(dst, h)
	}
	return append2(dst, h)
}

// mapped returns a as an IPv6 address, without a zone.
func mapped(a netip.Addr) netip.Addr { return netip.AddrFrom16(a.As16()) }
