package proxy

import (
	"crypto/tls"
	"net/netip"
	"strings"

	"fairway.dev/gateway/message"
)

// A client is an exchange as a client's codec has it: a message.ServerStream.
type client struct {
	s    *stage
	req  *message.Request
	mem  arena
	peer message.Peer
	recv message.Receiver

	interim  []int
	resp     message.Response
	headed   bool
	body     string
	trailers message.Fields
	ended    bool
	aborted  error
	queued   int
	consumed int
	sent     bool // the request ended
	gone     bool // the codec has aborted the request
}

// request makes a client with a request, whose lines are fields; "Host: " is
// the authority.
func (s *stage) request(method, target string, lines ...string) *client {
	c := &client{s: s}
	c.peer = message.Peer{
		Remote: netip.MustParseAddrPort("192.0.2.7:5000"), RemoteIP: "192.0.2.7",
		Local: netip.MustParseAddrPort("192.0.2.1:80"), Listener: s.bind,
	}
	scheme := "http"
	if s.tls {
		scheme, c.peer.TLS = "https", &tls.ConnectionState{}
	}
	path, query, ok := strings.Cut(target, "?")
	if ok {
		query = "?" + query
	}
	c.req = &message.Request{
		Method: c.mem.hold(method), Scheme: scheme, Authority: c.mem.hold("shop.example"),
		Path: c.mem.hold(path), Query: c.mem.hold(query), Proto: message.HTTP11,
	}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		switch name {
		case "Host":
			c.req.Authority = c.mem.hold(value)
		case "Upgrade":
			c.req.Upgrade = c.mem.hold(value)
		default:
			c.req.Fields.Append(c.mem.hold(name), c.mem.hold(value))
		}
	}
	return c
}

// send begins the exchange of a request without a body.
func (c *client) send() *client {
	c.sent = c.req.Upgrade == ""
	return c.begin(c.sent)
}

// open begins the exchange of a request whose body is to come.
func (c *client) open() *client {
	c.req.Length = message.Unknown
	return c.begin(false)
}

func (c *client) begin(last bool) *client {
	recv := c.s.handler.Exchange(c, c.req, last)
	if !c.done() {
		c.recv = recv
	}
	c.s.loop.Settle()
	return c
}

// get sends a GET.
func (s *stage) get(target string, lines ...string) *client {
	return s.request("GET", target, lines...).send()
}

// getAs sends a GET as somebody: what of who is not set is as ever.
func (s *stage) getAs(who message.Peer, target string, lines ...string) *client {
	c := s.request("GET", target, lines...)
	c.peer.Identity, c.peer.Vouch, c.peer.Gateway = who.Identity, who.Vouch, who.Gateway
	if who.Remote.IsValid() {
		c.peer.Remote, c.peer.RemoteIP = who.Remote, who.Remote.Addr().String()
	}
	return c.send()
}

func (c *client) done() bool { return c.ended || c.aborted != nil }

// over takes the request away, as codecs do.
func (c *client) over() {
	c.recv = nil
	c.mem.poison()
}

func (c *client) tunnel() bool { return c.resp.Status == 101 }

func (c *client) Peer() *message.Peer { return &c.peer }
func (c *client) Queued() int         { return c.queued }

func (c *client) Consumed(n int) {
	if c.done() && !c.tunnel() {
		c.s.t.Error("Consumed to the client after the end")
	}
	c.consumed += n
}

func (c *client) Head(resp *message.Response, last bool) {
	if c.done() || c.headed || c.gone {
		c.s.t.Errorf("Head %d to the client after the end (headed %v, gone %v)", resp.Status, c.headed, c.gone)
	}
	if resp.Status < 200 && resp.Status != 101 {
		c.interim = append(c.interim, resp.Status)
		return
	}
	c.headed = true
	r := *resp
	r.Fields = nil
	for _, f := range resp.Fields {
		r.Fields = append(r.Fields, message.Field{Text: strings.Clone(f.Text), Value: strings.Clone(f.Value), ID: f.ID})
	}
	c.resp = r
	if last {
		c.ended = true
		c.over()
	}
}

func (c *client) Data(p []byte) {
	if c.done() || !c.headed || c.gone {
		c.s.t.Error("Data to the client out of turn")
	}
	c.body += string(p)
}

func (c *client) End(trailers message.Fields) {
	if c.done() || !c.headed {
		c.s.t.Error("End to the client out of turn")
	}
	c.ended = true
	c.trailers = append(c.trailers, trailers...)
	if !c.tunnel() || c.sent {
		c.over()
	}
}

func (c *client) Abort(err error) {
	if c.aborted != nil || c.ended && !c.tunnel() {
		c.s.t.Error("Abort to the client after the end")
	}
	c.aborted = err
	c.over()
}

// upload sends body bytes.
func (c *client) upload(p string) {
	b := []byte(p)
	c.recv.Data(b)
	clear(b)
	c.s.loop.Settle()
}

func (c *client) finish(lines ...string) {
	c.sent = true
	both := c.tunnel() && c.ended
	c.recv.End(fields(lines...))
	if both {
		c.over()
	}
	c.s.loop.Settle()
}

// leave goes away, or breaks the protocol.
func (c *client) leave(why message.Reason) {
	c.gone = true
	c.recv.Abort(&message.Error{Reason: why})
	if c.aborted == nil && !c.ended {
		c.s.t.Error("the proxy did not make the last call on an aborted stream")
	}
	c.over()
	c.s.loop.Settle()
}

// field returns the values of a response's field.
func (c *client) field(name string) string {
	v, _ := c.resp.Fields.Value(strings.ToLower(name))
	return v
}
