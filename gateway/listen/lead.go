package listen

import (
	"errors"

	"fairway.dev/gateway/proxyproto"
)

// errSlowHeader is told to Port.Lead where a header was not whole in time.
var errSlowHeader = errors.New("no whole PROXY protocol header in time")

// lead has a connection be one of the port that its header leads to, with the
// bytes that came behind that.
func (c *conn) lead(said proxyproto.Header, err error, p []byte) {
	to, denied := c.port.Lead(&c.peer, said, err)
	switch {
	case errors.Is(err, proxyproto.ErrNone):
		c.refuse(ProxyHeaderMissing, denied)
	case errors.Is(err, errSlowHeader):
		c.refuse(ProxyHeaderSlow, denied)
	case err != nil:
		c.refuse(ProxyHeaderMalformed, denied)
	case denied != nil:
		c.refuse(LedNowhere, denied)
	default:
		c.become(to)
		c.proceed(p)
	}
}

// become has the connection count as one of another port.
func (c *conn) become(to *Port) {
	i := c.owner.loop.Index()
	if f := c.port.Closed; f != nil {
		f(i)
	}
	c.port, c.led = to, true
	c.peer.Listener, c.peer.RemoteIP = to.Mark, c.peer.Remote.Addr().String()
	if f := to.Opened; f != nil {
		f(i)
	}
}
