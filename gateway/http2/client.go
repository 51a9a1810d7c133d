package http2

import (
	"time"

	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
)

// ClientOptions are what a Client needs to know.
type ClientOptions struct {
	// OnFree tells that Free has grown: an exchange ended, or the backend
	// allows more streams. It is never called from inside a call on the
	// Client or a Stream. If nil, nothing is told.
	OnFree func(*Client)

	// OnClosed tells that the connection is gone, and why: nil after a drain.
	// It is called once. If nil, nothing is told.
	OnClosed func(*Client, error)

	// MaxStreams bounds the streams open at once, where the backend allows
	// more. If zero, 100.
	MaxStreams int

	// PingAfter is how long the backend may be silent before a PING asks
	// whether it is there: while streams are open, and with the first request
	// after a longer silence. If zero, 30 seconds; if negative, never.
	PingAfter time.Duration

	// PingTimeout is how long the answer may take. If zero, 10 seconds.
	PingTimeout time.Duration

	// Limits bound what the backend may do. If nil, the zero Limits hold.
	Limits *Limits
}

// A Client is a connection to a backend: a message.Client, and the
// loop.Handler of its Conn.
type Client struct {
	conn loop.Conn
	opts ClientOptions
}

// NewClient speaks HTTP/2 on conn. The caller makes the Client the
// connection's Handler. Requests may be opened at once.
func NewClient(conn loop.Conn, opts ClientOptions) *Client {
	return &Client{conn: conn, opts: opts}
}

// Open sends a request.
func (c *Client) Open(req *message.Request, last bool, r message.ClientReceiver) message.Stream {
	return nil
}

// Free returns how many more requests the connection takes now.
func (c *Client) Free() int { return 0 }

// Close ends the connection at once; exchanges under way are aborted.
func (c *Client) Close() { c.conn.Close() }

// Drain takes no more requests and closes when the last has ended.
func (c *Client) Drain() {}

// Data takes bytes from the backend.
func (c *Client) Data(p []byte) {}

// EOF tells that the backend is gone.
func (c *Client) EOF() {}

// Drained lets what waits for room in the socket go on.
func (c *Client) Drained() {}

// Closed tells that the connection is gone.
func (c *Client) Closed(err error) {}
