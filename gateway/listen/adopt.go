package listen

import (
	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
)

// Adopt takes what has come out of a tunnel as a connection of port, on its own
// loop, and is its Handler when it returns. Peer is who the client is, and gets
// the port's Mark. Where it has a method Accept, that is called once somebody
// wants to hear the client, who says nothing before; and codecs may call it.
//
// It is counted and drained as others are, but belongs to no socket: see Retain.
// What the port says of PROXY protocol does not hold, and no TLS can end here
// (TunnelTLS).
func (s *Set) Adopt(tunnel Conn, port *Port, peer message.Peer) {
	l := s.loops[tunnel.Loop().Index()]
	if !s.hasRoom() {
		tunnel.Close()
		s.turnAway(l)
		return
	}
	s.open.Add(1)
	l.count.Add(1)
	a := &adopted{Conn: tunnel}
	c := &conn{owner: l, port: port, conn: a, peer: peer}
	a.ended = c.ended
	c.peer.Listener, c.peer.RemoteIP = port.Mark, peer.Remote.Addr().String()
	c.opened()
	c.proceed(nil)
}

// Retain drains the connections that were adopted or led to ports whose Mark is
// not in force any more. Those that were accepted are drained with their socket.
// The function is called on the loops.
func (s *Set) Retain(inForce func(mark any) bool) {
	for _, l := range s.loops {
		l.loop.Post(func() {
			for c := l.conns; c != nil; {
				next := c.next
				if (c.tunnel() || c.led) && !c.drained && !inForce(c.port.Mark) {
					c.drain()
				}
				c = next
			}
		})
	}
}

// An adopted is a connection that tells, as a socket does, when it is over. It
// is the Handler of what it stands for.
type adopted struct {
	Conn
	handler  loop.Handler
	accepted bool
	ended    func() // nil once it was called
}

// Accept tells the far end of the tunnel that somebody takes it.
func (a *adopted) Accept() {
	if c, ok := a.Conn.(interface{ Accept() }); ok && !a.accepted {
		c.Accept()
	}
	a.accepted = true
}

// Handle sets who takes the bytes.
func (a *adopted) Handle(h loop.Handler) {
	first := a.handler == nil
	a.handler = h
	if first {
		a.Conn.Handle(a)
	}
}

// Close closes the connection at once.
func (a *adopted) Close() {
	a.Conn.Close()
	a.end()
}

// Reset is Close with a reset.
func (a *adopted) Reset() {
	a.Conn.Reset()
	a.end()
}

// Data, EOF, Drained and Closed implement loop.Handler.
func (a *adopted) Data(p []byte) { a.handler.Data(p) }
func (a *adopted) EOF()          { a.handler.EOF() }
func (a *adopted) Drained()      { a.handler.Drained() }

func (a *adopted) Closed(err error) {
	a.handler.Closed(err)
	a.end()
}

func (a *adopted) end() {
	if f := a.ended; f != nil {
		a.ended = nil
		f()
	}
}

// tunnel reports whether the connection was adopted.
func (c *conn) tunnel() bool {
	_, ok := c.conn.(*adopted)
	return ok
}

// accept has the client of a tunnel speak.
func (c *conn) accept() {
	if a, ok := c.conn.(*adopted); ok {
		a.Accept()
	}
}
