package listen

import (
	"cmp"
	"crypto/tls"
	"net/netip"
	"time"

	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
)

// A Conn is a connection that has no Handler yet.
type Conn interface {
	loop.Conn
	Handle(loop.Handler)
}

// conn is a client's connection. It stands between the socket and the codec:
// before there is a codec it finds out which, and at the end it counts.
type conn struct {
	owner *perLoop
	from  *socket
	port  *Port
	conn  Conn // *loop.Socket, or *adopted
	codec Codec
	peer  message.Peer

	stage  stage
	first  []byte // that have come, and do not show yet what they are
	choice Choice
	timer  loop.Timer

	prev, next *conn
	drained    bool
	led        bool // port is what Port.Lead has said
	ebbs       bool // it was there when an ebb began
}

// lastWord is how long the client of a port that has left may take to say the
// first thing on a connection that it has just opened.
const lastWord = time.Second

// begin starts a connection on its loop.
func (l *perLoop) begin(k *socket, fd int, remote netip.AddrPort) {
	sock, err := l.loop.Adopt(fd, remote)
	if err != nil {
		l.count.Add(-1)
		l.set.open.Add(-1)
		l.set.opt.Log.Error("connection dropped", "peer", remote, "err", err)
		return
	}
	c := &conn{owner: l, from: k, port: k.port.Load(), conn: sock, drained: k.closing.Load()}
	c.peer = message.Peer{
		Remote: remote, RemoteIP: remote.Addr().String(), Local: sock.Local(), Listener: c.port.Mark,
	}
	sock.OnClose(c.ended)
	c.opened()
	c.enter()
}

// opened counts the connection, and takes its bytes.
func (c *conn) opened() {
	c.owner.add(c)
	if f := c.port.Opened; f != nil {
		f(c.owner.loop.Index())
	}
	c.conn.Handle(c)
}

// await bounds a wait.
func (c *conn) await(d time.Duration, late func()) {
	c.timer.Fire = late
	c.owner.loop.Arm(&c.timer, d)
}

// awaitFirst bounds the wait for a client that connected and says nothing.
func (c *conn) awaitFirst() {
	switch {
	case c.port.Detect:
		c.await(cmp.Or(c.port.DetectTimeout, time.Second), c.undetected)
	case c.drained:
		c.await(lastWord, c.abandon)
	default:
		c.await(c.owner.set.opt.FirstByteTimeout, c.firstSlow)
	}
}

func (c *conn) firstSlow() { c.refuse(FirstByteSlow, nil) }

// secured is called when the TLS handshake has ended.
func (c *conn) secured(state tls.ConnectionState, err error) {
	if f := c.owner.set.opt.Events.Handshake; f != nil {
		f(c.owner.loop.Index(), err)
	}
	if err != nil {
		c.owner.set.opt.Log.Debug("TLS handshake failed", "peer", c.peer.Remote, "err", err)
		return
	}
	c.peer.TLS, c.peer.ClientRoots = &state, c.conn.(*loop.Socket).ClientRoots()
	switch {
	case c.choice.Codecs != nil:
		c.speak(c.choice.Codecs)
	case state.NegotiatedProtocol == "h2":
		c.speak(c.owner.set.opt.HTTP2)
	default:
		c.speak(c.owner.set.opt.HTTP1)
	}
	if c.drained {
		c.timer.Fire = c.codec.Drain
		c.owner.loop.Arm(&c.timer, lastWord)
	}
}

func (c *conn) speak(codecs Codecs) {
	c.codec = codecs(c.conn, &c.peer)
	c.conn.Handle(c.codec)
}

// EOF ends a connection that never said what it speaks. Where any bytes may be
// what they are, those that have come are all.
func (c *conn) EOF() {
	if c.stage != atPreface || !c.port.Detect || c.first == nil {
		c.abandon()
		return
	}
	c.otherwise(c.first)
	if c.codec != nil {
		c.codec.EOF()
	}
}

// Drained does nothing: nothing was written.
func (c *conn) Drained() {}

// Closed does nothing: ended counts.
func (c *conn) Closed(error) {}

func (c *conn) abandon() { c.conn.Close() }

// ended counts the end of the connection.
func (c *conn) ended() {
	l := c.owner
	l.loop.Drop(&c.timer)
	l.remove(c)
	l.count.Add(-1)
	l.set.open.Add(-1)
	if f := c.port.Closed; f != nil {
		f(l.loop.Index())
	}
}

func (l *perLoop) add(c *conn) {
	c.next = l.conns
	if c.next != nil {
		c.next.prev = c
	}
	l.conns = c
}

func (l *perLoop) remove(c *conn) {
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		l.conns = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	}
	c.prev, c.next = nil, nil
}

// drain lets the connections from one socket finish, or all where from is nil.
func (l *perLoop) drain(from *socket) {
	for c := l.conns; c != nil; {
		next := c.next
		if (from == nil || c.from == from) && !c.drained {
			c.drain()
		}
		c = next
	}
}

// drain lets the connection finish. What has asked for nothing yet may still
// do so: its first request may be on its way, or here and not yet read.
func (c *conn) drain() {
	c.drained = true
	switch {
	case c.codec != nil:
		c.codec.Drain()
	case c.stage == atPreface && !c.port.Detect: // who is to be detected, is soon
		c.awaitFirst()
	}
}
