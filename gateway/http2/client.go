package http2

import (
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"time"

	h2 "golang.org/x/net/http2"

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
	// It is called once, and never from inside a call on the Client or a
	// Stream. If nil, nothing is told.
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

	// PingAlways asks after each PingAfter of silence, while no streams are open
	// too: for backends that are known to allow it.
	PingAlways bool

	// Connects says that the backend is known to take extended CONNECT: requests
	// with an Upgrade need not wait for its SETTINGS to say so (RFC 8441 section 3).
	Connects bool

	// Limits bound what the backend may do. If nil, the zero Limits hold.
	Limits *Limits
}

// A Client is a connection to a backend: a message.Client, and the
// loop.Handler of its Conn.
type Client struct {
	conn
	opts ClientOptions

	next     uint32 // the id of the next stream
	allowed  int    // streams at once, as far as the backend has a say
	connects bool   // it takes extended CONNECT (RFC 8441)
	refusing bool   // no more streams: drained, or GOAWAY came
	used     bool   // a response has come
	freed    bool   // tellFree is on its way
	tellFree func()
}

var _ message.Client = (*Client)(nil)

// NewClient speaks HTTP/2 on conn. The caller makes the Client the
// connection's Handler. Requests may be opened at once.
func NewClient(conn loop.Conn, opts ClientOptions) *Client {
	c := &Client{opts: opts, next: 1, connects: opts.Connects}
	c.client = true
	c.allowed = orElse(opts.MaxStreams, 100)
	c.begin(conn, c, opts.Limits)
	c.tellFree = c.free
	c.ping.begin(orElse(opts.PingAfter, 30*time.Second), orElse(opts.PingTimeout, 10*time.Second), opts.PingAlways)
	conn.Write([]byte(h2.ClientPreface))
	c.writeSettings(c.lim.connWindow(),
		h2.Setting{ID: h2.SettingEnablePush, Val: 0},
		h2.Setting{ID: h2.SettingInitialWindowSize, Val: uint32(c.lim.streamWindow())},
		h2.Setting{ID: h2.SettingMaxHeaderListSize, Val: uint32(c.lim.headerBytes())},
	)
	return c
}

// Free returns how many more requests the connection takes now.
func (c *Client) Free() int {
	if c.closed || c.refusing || c.next > maxStreamID {
		return 0
	}
	return max(c.allowed-c.streams.n, 0)
}

// Streams returns how many streams are open.
func (c *Client) Streams() int { return c.streams.n }

// Open sends a request and returns its stream, which must not be used again
// once it is over: it becomes another request's then. A request with an
// Upgrade is refused, from a later event, by a backend that does not take
// extended CONNECT. One with the Method CONNECT and none opens a tunnel (RFC
// 9113 section 8.5): of its head the Authority and the Fields are sent, and it
// is never the last of its message. After a 2xx, which never is either, the
// stream carries raw bytes both ways.
func (c *Client) Open(req *message.Request, last bool, r message.ClientReceiver) message.Stream {
	if c.Free() == 0 {
		return c.unopened(r, errNotFree)
	}
	if req.Upgrade != "" && !c.connects {
		return c.unopened(r, errNoConnect)
	}
	s := c.newStream(c.next)
	c.open(s)
	c.next += 2
	s.recv, s.heads = r, r
	s.headOnly, s.upgrade, s.unused = req.Method == "HEAD", req.Upgrade != "", c.used
	s.connect = req.Method == "CONNECT" && !s.upgrade
	last = last && !s.upgrade && !s.connect
	if key, ok := req.Fields.Get(message.SecWebSocketKey); ok && s.upgrade {
		s.accept = acceptOf(key)
	}
	w := c.shared.space()
	w.out = c.encoder.request(frameRoom(w.out), req, last)
	c.writeHeaders(s.id, w.out, last)
	c.shared.takeBack(w)
	s.localDone, s.userDone = last, last
	c.ping.opened()
	return s
}

var (
	errNotFree   = &message.Error{Reason: message.Refused, Err: errors.New("the connection takes no more requests")}
	errNoConnect = &message.Error{Reason: message.Refused, Err: errors.New("the backend does not take extended CONNECT (RFC 8441)")}
)

// unopened returns a stream that never was on the wire, and says so later.
func (c *Client) unopened(r message.ClientReceiver, err error) message.Stream {
	s := new(unopened)
	c.loop.Defer(func() {
		if !s.aborted {
			r.Abort(err)
		}
	})
	return s
}

type unopened struct{ aborted bool }

func (s *unopened) Data([]byte)        {}
func (s *unopened) End(message.Fields) {}
func (s *unopened) Abort(error)        { s.aborted = true }
func (s *unopened) Queued() int        { return 0 }
func (s *unopened) Consumed(int)       {}

// Drain takes no more requests and closes when the last has ended.
func (c *Client) Drain() {
	c.refusing = true
	c.streamClosed()
}

// streamClosed tells that there is room, or closes a connection that is done.
func (c *Client) streamClosed() {
	switch {
	case c.closed:
	case c.refusing && c.streams.n == 0:
		c.writeGoAway(0, h2.ErrCodeNo, "")
		c.shut(nil)
	case !c.refusing && !c.freed && c.opts.OnFree != nil:
		c.freed = true
		c.loop.Defer(c.tellFree)
	}
}

func (c *Client) free() {
	c.freed = false
	if c.Free() > 0 {
		c.opts.OnFree(c)
	}
}

func (c *Client) gone(err error) {
	if c.opts.OnClosed != nil {
		c.opts.OnClosed(c, err)
	}
}

func (c *Client) lastID() uint32 { return 0 }

func (c *Client) idle(id uint32) bool { return id%2 == 0 || id >= c.next }

func (c *Client) pinged([]byte) {} // the pinger has heard

func (c *Client) setting(id h2.SettingID, v uint32) {
	switch id {
	case h2.SettingMaxConcurrentStreams:
		before := c.Free()
		c.allowed = int(min(v, uint32(orElse(c.opts.MaxStreams, 100))))
		if c.Free() > before {
			c.streamClosed()
		}
	case h2.SettingEnableConnectProtocol:
		c.connects = v == 1
	}
}

// goAway takes no more streams to this backend. Those above last it has not
// begun to process.
func (c *Client) goAway(last uint32) {
	c.refusing = true
	var refused []uint32
	for s := c.streams.first(); s != nil; s = c.streams.after(s) {
		if s.id > last {
			refused = append(refused, s.id)
		}
	}
	for _, id := range refused {
		if s := c.streams.get(id); s != nil {
			s.die(errGoAway)
		}
	}
	c.streamClosed()
}

var errGoAway = &message.Error{Reason: message.Refused, Err: errors.New("GOAWAY: the backend leaves before this stream")}

// headers takes a header block: a response head, or trailers.
func (c *Client) headers(id uint32, last, dependsOnItself bool, w *workspace) {
	s := c.streams.get(id)
	switch {
	case s == nil:
		c.closedStream(id, "HEADERS")
	case dependsOnItself:
		s.reset(h2.ErrCodeProtocol, errDependsOnSelf)
	case s.headed:
		s.takeTrailers(last, w)
	case w.block.excess != fits:
		c.lim.count(HeaderSize)
		s.reset(h2.ErrCodeEnhanceYourCalm, errHeadLarge)
	default:
		c.used = true
		s.takeHead(last, w)
	}
}

// maxInterims is how many 1xx heads a response may have.
const maxInterims = 16

var (
	errHeadLarge     = &message.Error{Reason: message.TooLarge, Err: errors.New("a response head over the limits")}
	errInterims      = &message.Error{Reason: message.TooLarge, Err: errors.New("more interim responses than anybody needs")}
	errTrailersLarge = &message.Error{Reason: message.TooLarge, Err: errors.New("trailers over the limits")}
)

// takeHead takes a response head.
func (s *stream) takeHead(last bool, w *workspace) {
	resp, err := w.response()
	switch {
	case err != nil:
		s.reset(h2.ErrCodeProtocol, err)
		return
	case resp.Status < 200 && last:
		s.reset(h2.ErrCodeProtocol, errEarlyEnd)
		return
	}
	s.unused = false
	if resp.Status < 200 {
		if s.interims++; s.interims > maxInterims {
			s.reset(h2.ErrCodeEnhanceYourCalm, errInterims)
			return
		}
		s.heads.Head(resp, false)
		return
	}
	s.headed = true
	s.noBody = s.headOnly || resp.Status == 204 || resp.Status == 304
	switch {
	case s.upgrade && resp.Status < 300:
		s.accepted(resp)
	case s.connect && resp.Status < 300:
		// RFC 9110 section 9.3.6: what it says of a length means nothing.
		s.tunnel, s.noBody = true, false
		resp.Length = message.Unknown
	case s.noBody:
		s.expect = 0
	default:
		s.expect = resp.Length
	}
	if last && s.expect > 0 {
		s.reset(h2.ErrCodeProtocol, errLength)
		return
	}
	if last && s.tunnel { // what opens a tunnel is never the last of its message
		s.heads.Head(resp, false)
		s.remoteEnd(nil)
		return
	}
	if last {
		s.remoteDone, s.heardEnd = true, true
	}
	s.heads.Head(resp, last)
	if last {
		s.settle()
	}
}

// acceptOf returns the Sec-WebSocket-Accept for a Sec-WebSocket-Key (RFC 6455
// section 4.2.2).
func acceptOf(key string) (accept [28]byte) {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	base64.StdEncoding.Encode(accept[:], sum[:])
	return accept
}

// accepted makes the 101 that an HTTP/1 client waits for of the 2xx that
// accepts an extended CONNECT (RFC 8441 section 5).
func (s *stream) accepted(resp *message.Response) {
	s.tunnel = true
	resp.Status, resp.Length = 101, message.Unknown
	if s.accept[0] != 0 {
		resp.Fields.Set(message.SecWebSocketAccept, message.Text(s.accept[:]))
	}
}
