package hop

import (
	"fairway.dev/gateway/http2"
	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
)

// A Client is a connection to a gateway that speaks Native: an http2.Client
// that tells with each request what its Hop says.
type Client struct {
	*http2.Client
	text []byte
}

var _ message.Client = (*Client)(nil)

// NewClient sends requests on conn, which a Dialer has handed over as native.
// The peer is asked by PING as a Dialer's is, and its Limits are ClientLimits,
// where o does not say otherwise. The caller makes the Client the connection's
// Handler.
func NewClient(conn loop.Conn, o http2.ClientOptions) *Client {
	if o.PingAfter == 0 {
		o.PingAfter, o.PingTimeout, o.PingAlways = pingAfter, pingTimeout, true
	}
	if o.MaxStreams == 0 {
		o.MaxStreams = maxStreams
	}
	o.Connects = true
	o.Limits = fill(o.Limits, ClientLimits())
	return &Client{Client: http2.NewClient(conn, o)}
}

// Open sends a request. Its fields are as they were when Open returns, but for
// those that only a gateway says and that came with it: those are gone.
func (c *Client) Open(req *message.Request, last bool, r message.ClientReceiver) message.Stream {
	var n int
	n, c.text = tell(&req.Fields, &req.Hop, c.text)
	s := c.Client.Open(req, last, r)
	req.Fields = req.Fields[:len(req.Fields)-n]
	return s
}
