package listen

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/netip"

	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
	"fairway.dev/gateway/proxyproto"
	"fairway.dev/routing"
)

// A Choice is what is done with a connection.
type Choice struct {
	// TLS ends its TLS; nil leaves the bytes as they are.
	TLS *tls.Config
	// Codecs makes who takes its bytes. Nil is HTTP, as ALPN says.
	Codecs Codecs
}

// A Choose decides about a connection, on its loop, by its two ends and by the
// name that the client gave in its ClientHello: in lower case, empty without
// one.
type Choose func(l *loop.Loop, peer *message.Peer, name string) Choice

// A stage is what a connection's first bytes are looked at for.
type stage uint8

const (
	atPreface     stage = iota // whether plain HTTP is HTTP/2
	atProxyHeader              // a PROXY protocol header
	atHello                    // the name in a ClientHello
	atHandshake                // nothing: crypto/tls has them
)

// preface begins an HTTP/2 connection by prior knowledge (RFC 9113 section 3.4).
// No HTTP/1 request begins so: PRI is no method.
var preface = []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")

// enter begins with what the port has its connections begin with.
func (c *conn) enter() {
	if c.port.ProxyProtocol == routing.ProxyProtocolOff && c.port.Lead == nil {
		c.proceed(nil)
		return
	}
	c.stage = atProxyHeader
	c.await(c.owner.set.opt.HandshakeTimeout, c.headerSlow)
}

// proceed goes on behind a PROXY protocol header, with the bytes that came
// with it. They are valid during the call.
func (c *conn) proceed(p []byte) {
	c.first = nil
	c.owner.loop.Disarm(&c.timer)
	if f := c.port.Peer; f != nil && !c.tunnel() {
		f(&c.peer)
	}
	if f := c.port.Refuse; f != nil {
		if err := f(&c.peer); err != nil {
			c.refuse(NotAllowed, err)
			return
		}
	}
	switch port := c.port; {
	case port.Peek:
		c.stage = atHello
		c.await(c.owner.set.opt.HandshakeTimeout, c.helloSlow)
	case port.Choose != nil && !port.Detect:
		c.follow(port.Choose(c.owner.loop, &c.peer, ""), p)
		return
	case port.TLS != nil || port.Codecs != nil:
		c.follow(Choice{TLS: port.TLS, Codecs: port.Codecs}, p)
		return
	default:
		c.stage = atPreface
		c.awaitFirst()
	}
	c.accept()
	if len(p) > 0 {
		c.Data(p)
	}
}

// Data takes the first bytes, until they show what they are looked at for.
func (c *conn) Data(p []byte) {
	if c.first != nil {
		c.first = append(c.first, p...)
		p = c.first
	}
	switch c.stage {
	case atProxyHeader:
		c.readHeader(p)
	case atHello:
		c.readHello(p)
	case atPreface:
		c.readPreface(p)
	}
}

// keep holds on to p until more has come.
func (c *conn) keep(p []byte) {
	if c.first == nil {
		c.first = append(make([]byte, 0, len(p)), p...)
	}
}

func (c *conn) readHeader(p []byte) {
	h, size, err := proxyproto.Parse(p)
	switch {
	case c.port.Lead != nil && (size > 0 || err != nil):
		c.lead(h, err, p[size:])
	case errors.Is(err, proxyproto.ErrNone) && c.port.ProxyProtocol == routing.ProxyProtocolOptional:
		c.proceed(p)
	case errors.Is(err, proxyproto.ErrNone):
		c.refuse(ProxyHeaderMissing, err)
	case err != nil:
		c.refuse(ProxyHeaderMalformed, err)
	case size == 0:
		c.keep(p)
	default:
		if h.Known() {
			c.comesFrom(h.Source, h.Destination)
		}
		c.proceed(p[size:])
	}
}

// comesFrom makes the client who the header says.
func (c *conn) comesFrom(remote, local netip.AddrPort) {
	c.peer.Remote, c.peer.Local = remote, local
	c.peer.RemoteIP = remote.Addr().String()
}

// headerSlow is called where a header did not come in time. Where it may be
// missing and nothing has come at all, the client waits for the server.
func (c *conn) headerSlow() {
	switch {
	case c.port.Lead != nil:
		c.lead(proxyproto.Header{}, errSlowHeader, nil)
	case c.port.ProxyProtocol == routing.ProxyProtocolOptional && c.first == nil:
		c.proceed(nil)
	default:
		c.refuse(ProxyHeaderSlow, nil)
	}
}

func (c *conn) readHello(p []byte) {
	name, whole, err := serverName(p)
	switch {
	case errors.Is(err, errLongHello), err == nil && !whole && len(p) >= maxHello:
		c.refuse(HelloTooLong, errLongHello)
	case err != nil:
		c.refuse(HelloMalformed, err)
	case !whole:
		c.keep(p)
	default:
		c.owner.loop.Disarm(&c.timer)
		c.follow(c.port.Choose(c.owner.loop, &c.peer, name), p)
	}
}

func (c *conn) helloSlow() { c.refuse(HelloSlow, nil) }

// follow does what was chosen, with the bytes that have come.
func (c *conn) follow(choice Choice, p []byte) {
	c.choice = choice
	if choice.TLS == nil {
		c.speak(choice.Codecs)
		c.handOn(p)
		return
	}
	c.keep(p) // the handshake reads them later
	first := c.first
	c.first, c.stage = nil, atHandshake
	sock, ok := c.conn.(*loop.Socket)
	if !ok {
		c.refuse(TunnelTLS, nil)
		return
	}
	sock.ServeTLS(choice.TLS, first, c.owner.set.opt.HandshakeTimeout, c.secured)
}

func (c *conn) readPreface(p []byte) {
	if len(p) < len(preface) && bytes.HasPrefix(preface, p) {
		c.keep(p)
		return
	}
	codecs := c.owner.set.opt.HTTP1
	switch {
	case bytes.HasPrefix(p, preface):
		codecs = c.owner.set.opt.HTTP2
	case c.port.Detect:
		is, sure := beginsRequest(p)
		if !sure {
			c.keep(p)
			return
		}
		if !is {
			c.otherwise(p)
			return
		}
	}
	c.speak(codecs)
	c.handOn(p)
}

// undetected is called where a client has not shown in time that it speaks HTTP.
func (c *conn) undetected() { c.otherwise(c.first) }

// otherwise hands a connection on that is not HTTP.
func (c *conn) otherwise(p []byte) {
	c.follow(c.port.Choose(c.owner.loop, &c.peer, ""), p)
}

// handOn gives the codec the bytes that were looked at.
func (c *conn) handOn(p []byte) {
	c.first = nil
	c.owner.loop.Drop(&c.timer)
	if len(p) > 0 {
		c.codec.Data(p)
	}
	if c.drained {
		c.codec.Drain()
	}
}

// refuse closes a connection that nobody can speak with.
func (c *conn) refuse(why Refusal, err error) {
	set := c.owner.set
	if f := set.opt.Events.Refused; f != nil {
		f(c.owner.loop.Index(), why)
	}
	level := slog.LevelDebug
	if why == NotAllowed {
		level = slog.LevelInfo // nobody else tells which policy it was
	}
	set.opt.Log.Log(context.Background(), level, "connection refused", "peer", c.peer.Remote, "reason", refusalText[why], "err", err)
	c.conn.Close()
}
