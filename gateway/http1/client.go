package http1

import (
	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
)

// ClientOptions are what a Client's owner wants to know and to bound.
type ClientOptions struct {
	// OnFree, if not nil, is called each time that an exchange has ended and
	// left the connection ready for the next. Open may be called in it.
	OnFree func(*Client)
	// OnClosed, if not nil, is called once, when the connection is over: also
	// after Close and Drain, then with a nil error. It never comes from
	// inside a call made on the Client or a Stream.
	OnClosed func(*Client, error)
	// Limits bound what a backend may send. Nil limits are the defaults.
	Limits *Limits
}

// A Client is the gateway's end of a connection to a backend. It is the
// loop.Handler of that connection, and a message.Client.
type Client struct {
	conn loop.Conn
	opts ClientOptions
}

var _ message.Client = (*Client)(nil)

// NewClient returns a Client on conn, which is connected. The caller makes it
// the handler of conn.
func NewClient(conn loop.Conn, opts ClientOptions) *Client {
	return &Client{conn: conn, opts: opts}
}

// Open sends a request and returns its stream. The stream is over when the
// request was ended and the receiver heard of the response's end, or when
// either was aborted: the connection may be another's then.
func (c *Client) Open(req *message.Request, last bool, r message.ClientReceiver) message.Stream {
	return nil
}

// Free returns 1 when a request may be sent now, else 0.
func (c *Client) Free() int { return 0 }

// Close ends the connection at once. An exchange under way is aborted, from
// a later event.
func (c *Client) Close() {}

// Drain ends the connection after the exchange under way, or now.
func (c *Client) Drain() {}

// Data, EOF, Drained and Closed are the connection's events.
func (c *Client) Data(p []byte)    {}
func (c *Client) EOF()             {}
func (c *Client) Drained()         {}
func (c *Client) Closed(err error) {}
