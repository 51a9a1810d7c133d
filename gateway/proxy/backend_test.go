package proxy

import (
	"strings"

	"fairway.dev/gateway/message"
	"fairway.dev/gateway/upstream"
)

// quiet is the handler of a connection's other end: nothing is said on it, as
// the codecs are made up.
type quiet struct{}

func (quiet) Data([]byte)  {}
func (quiet) EOF()         {}
func (quiet) Drained()     {}
func (quiet) Closed(error) {}

// A conn is a connection to a backend: a message.Client.
type conn struct {
	s      *stage
	pipe   upstream.Conn
	port   uint16
	ev     upstream.ClientEvents
	busy   int
	served int
	drains bool
	closed bool
}

func (s *stage) newClient(c upstream.Conn, proto message.Proto, ev upstream.ClientEvents) message.Client {
	s.spoke = append(s.spoke, proto)
	for _, x := range s.conns {
		if x.pipe == c {
			x.ev = ev
			return x
		}
	}
	s.t.Fatal("a client for a connection that nobody dialed")
	return nil
}

func (c *conn) Free() int {
	if c.closed || c.drains {
		return 0
	}
	return c.s.room - c.busy
}

func (c *conn) Drain() {
	c.drains = true
	if c.busy == 0 {
		c.Close()
	}
}

func (c *conn) Close() {
	if !c.closed {
		c.closed = true
		c.pipe.Close()
		c.s.loop.Defer(func() { c.ev.Closed(nil) })
	}
}

func (c *conn) Open(req *message.Request, last bool, r message.ClientReceiver) message.Stream {
	if c.Free() == 0 {
		c.s.t.Fatal("Open on a connection that is not free")
	}
	c.busy++
	x := &call{conn: c, recv: r, ended: last, port: c.port, reused: c.served > 0, upgrade: req.Upgrade != ""}
	c.served++
	x.req = snapshotRequest(req)
	if req.Upgrade != "" && last {
		c.s.t.Error("a request for an upgrade was opened as the last of its message")
	}
	c.s.calls = append(c.s.calls, x)
	return x
}

// snapshotRequest copies a head out of the memory that is used again.
func snapshotRequest(req *message.Request) message.Request {
	r := *req
	for _, s := range []*string{&r.Method, &r.Scheme, &r.Authority, &r.Path, &r.Query} {
		*s = strings.Clone(*s)
	}
	r.Fields = nil
	for _, f := range req.Fields {
		r.Fields = append(r.Fields, message.Field{Text: strings.Clone(f.Text), Value: strings.Clone(f.Value), ID: f.ID})
	}
	return r
}

// A call is an exchange as a backend's codec has it: a message.Stream.
type call struct {
	conn   *conn
	recv   message.ClientReceiver
	req    message.Request
	port   uint16
	reused bool

	body     string
	trailers message.Fields
	ended    bool
	aborted  error
	queued   int
	consumed int

	upgrade, tunnel bool
	headed          bool
	answered        bool // the response ended, or was aborted
	over            bool
}

func (c *call) Data(p []byte) {
	if c.over || c.ended {
		c.conn.s.t.Errorf("Data to the backend after the end (over %v, ended %v)", c.over, c.ended)
	}
	if c.upgrade && !c.tunnel {
		c.conn.s.t.Error("Data before the backend switched protocols")
	}
	c.body += string(p)
}

func (c *call) End(trailers message.Fields) {
	if c.over || c.ended {
		c.conn.s.t.Errorf("End to the backend after the end (over %v, ended %v)", c.over, c.ended)
	}
	c.ended = true
	c.trailers = append(c.trailers, trailers...)
	c.free()
}

func (c *call) Abort(err error) {
	if c.over {
		c.conn.s.t.Error("Abort to the backend after the end")
		return
	}
	c.aborted = err
	c.over = true
	c.conn.busy--
	c.conn.Close()
}

func (c *call) Queued() int { return c.queued }

func (c *call) Consumed(n int) {
	if c.over {
		c.conn.s.t.Error("Consumed to the backend after the end")
	}
	c.consumed += n
}

// free gives the connection back once both directions have ended.
func (c *call) free() {
	if c.over || !c.ended || !c.answered {
		return
	}
	c.over = true
	c.conn.busy--
	if c.tunnel {
		c.conn.Close()
		return
	}
	c.conn.s.loop.Defer(c.conn.ev.Free)
}

// head sends a response's head, whose fields are "Name: value" lines.
func (c *call) head(status int, last bool, lines ...string) {
	resp := &message.Response{Status: status, Length: message.Unknown, Proto: message.HTTP11}
	var b arena
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		resp.Fields.Append(b.hold(name), b.hold(value))
	}
	c.headed = status >= 200 || status == 101
	c.tunnel = status == 101
	c.answered = last
	c.recv.Head(resp, last)
	b.poison()
	c.free()
}

func (c *call) data(p string) {
	b := []byte(p)
	c.recv.Data(b)
	clear(b)
}

func (c *call) end(lines ...string) {
	c.answered = true
	c.recv.End(fields(lines...))
	c.free()
}

// abort breaks the response off.
func (c *call) abort(why *message.Error) {
	c.answered = true
	c.recv.Abort(why)
	if !c.ended && c.aborted == nil {
		c.conn.s.t.Error("the proxy did not make the last call on an aborted stream")
	}
	if !c.over {
		c.over = true
		c.conn.busy--
	}
	c.conn.Close()
}

// reply answers with a whole response.
func (c *call) reply(status int, body string) {
	if body == "" {
		c.head(status, true)
		return
	}
	c.head(status, false)
	c.data(body)
	c.end()
}

// header returns the values of a request's field, as the backend got it.
func (c *call) header(name string) string {
	v, _ := c.req.Fields.Value(strings.ToLower(name))
	return v
}
