package upstream

import (
	"net/netip"
	"time"

	"fairway.dev/gateway/loop"
)

// A Conn is a connection that has no Handler yet: *loop.Socket, or in tests
// *loop.PipeConn.
type Conn interface {
	loop.Conn
	Handle(loop.Handler)
}

// A DialFunc connects to addr on l, and opens the connection as said. It calls
// done once, on l, from a later event; never after cancel was called. alpn is
// what TLS agreed on.
type DialFunc func(l *loop.Loop, addr netip.AddrPort, how loop.Opening, timeout time.Duration,
	done func(conn Conn, alpn string, err error)) (cancel func())

// dialLoop is the DialFunc of real sockets.
func dialLoop(l *loop.Loop, addr netip.AddrPort, how loop.Opening, timeout time.Duration,
	done func(conn Conn, alpn string, err error)) (cancel func()) {
	return l.Dial(addr, how, timeout, func(s *loop.Socket, alpn string, err error) {
		if err != nil {
			done(nil, "", err) // not a nil *Socket in an interface
			return
		}
		done(s, alpn, nil)
	})
}
