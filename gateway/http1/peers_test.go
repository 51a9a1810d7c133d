package http1

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
)

// noon is when manual loops begin.
var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

const noonField = "Date: Sat, 21 Nov 2026 12:00:00 GMT\r\n"

var plain = &message.Peer{Remote: netip.MustParseAddrPort("192.0.2.1:4711"), RemoteIP: "192.0.2.1"}

// far is the other end of a Pipe: it collects what is sent to it.
type far struct {
	*loop.PipeConn
	got    strings.Builder
	eof    bool
	closed bool
	err    error
}

func (f *far) Data(p []byte)    { f.got.Write(p) }
func (f *far) EOF()             { f.eof = true }
func (f *far) Drained()         {}
func (f *far) Closed(err error) { f.closed, f.err = true, err }

// over reports whether our end has given the connection up.
func (f *far) over() bool { return f.eof || f.closed }

// send sends bytes and lets all happen that they set off.
func (f *far) send(s string) {
	f.Write([]byte(s))
	f.Loop().Settle()
}

// take returns what has arrived since the last time.
func (f *far) take() string {
	f.Loop().Settle()
	s := f.got.String()
	f.got.Reset()
	return s
}

func newFar(l *loop.Loop) (*far, *loop.PipeConn) {
	theirs, ours := loop.Pipe(l)
	f := &far{PipeConn: theirs}
	theirs.Handle(f)
	return f, ours
}

// user is the proxy's side of an exchange: it notes what it hears.
type user struct {
	s     message.ServerStream
	req   *message.Request // valid until the response ends
	last  bool
	heads []string // of responses
	body  strings.Builder
	tail  string
	ended bool
	err   error

	drained int
	hold    bool // withholds Consumed
	unsaid  int  // what Consumed was not told
	onHead  func(resp *message.Response, last bool)
	onData  func(p []byte)
	onEnd   func()
	stream  message.Stream
}

func (u *user) Data(p []byte) {
	u.body.Write(p)
	if u.onData != nil {
		u.onData(p)
	}
	if u.hold {
		u.unsaid += len(p)
		return
	}
	if u.stream != nil {
		u.stream.Consumed(len(p))
	}
}

func (u *user) End(trailers message.Fields) {
	u.ended, u.tail = true, list(trailers)
	if u.onEnd != nil {
		u.onEnd()
	}
}

func (u *user) Abort(err error) { u.err = err }
func (u *user) Drained()        { u.drained++ }

func (u *user) Head(resp *message.Response, last bool) {
	u.heads = append(u.heads, fmt.Sprintf("%s %d %q %d %s", resp.Proto, resp.Status, resp.Reason, resp.Length, list(resp.Fields)))
	u.ended = u.ended || last
	if u.onHead != nil {
		u.onHead(resp, last)
	}
}

// reason returns the Reason of what the user was told.
func (u *user) reason() message.Reason {
	if err, ok := u.err.(*message.Error); ok {
		return err.Reason
	}
	return 0
}

func list(f message.Fields) string {
	var b strings.Builder
	for _, x := range f {
		fmt.Fprintf(&b, "[%s: %s]", x.Text, x.Value)
	}
	return b.String()
}

// say writes a request's head as tests compare it.
func say(r *message.Request) string {
	s := fmt.Sprintf("%s %s %s %s|%s %s %d", r.Proto, r.Method, r.Authority, r.Path, r.Query, list(r.Fields), r.Length)
	if r.Upgrade != "" {
		s += " upgrade=" + r.Upgrade
	}
	if r.Trailers {
		s += " trailers"
	}
	return s
}

// desk is a Server between a far client and users.
type desk struct {
	far     *far
	ours    *loop.PipeConn
	server  *Server
	loop    *loop.Loop
	users   []*user
	said    []string // requests as they came
	refused []string
	// answer is called at each request; nil leaves it to the test.
	answer func(u *user)
}

func (d *desk) Exchange(s message.ServerStream, req *message.Request, last bool) message.Receiver {
	u := &user{s: s, req: req, last: last, stream: s}
	d.users = append(d.users, u)
	d.said = append(d.said, say(req))
	if d.answer != nil {
		d.answer(u)
	}
	return u
}

func newDesk(lim Limits) *desk {
	d := &desk{loop: loop.NewManual(noon)}
	lim.Count = func(why Refusal) { d.refused = append(d.refused, why.String()) }
	f, ours := newFar(d.loop)
	d.far, d.ours = f, ours
	d.server = NewServer(ours, plain, d, &lim)
	ours.Handle(d.server)
	return d
}

// user returns the user of the only request that must have come.
func (d *desk) user(t *testing.T) *user {
	t.Helper()
	if len(d.users) != 1 {
		t.Fatalf("%d requests came, want 1; answered %q, refused %v", len(d.users), d.far.take(), d.refused)
	}
	return d.users[0]
}

// ok answers with 200 and a body.
func (u *user) ok(body string) {
	u.s.Head(&message.Response{Status: 200, Length: int64(len(body))}, body == "")
	if body != "" {
		u.s.Data([]byte(body))
		u.s.End(nil)
	}
}

// okText is what ok sends.
func okText(body string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n%s", noonField, len(body), body)
}

// phone is a Client between a user and a far backend.
type phone struct {
	far    *far
	ours   *loop.PipeConn
	client *Client
	loop   *loop.Loop
	free   int
	closed int
	err    error
	// refused names what was counted.
	refused []string
}

func newPhone(lim Limits) *phone {
	p := &phone{loop: loop.NewManual(noon)}
	lim.Count = func(why Refusal) { p.refused = append(p.refused, why.String()) }
	f, ours := newFar(p.loop)
	p.far, p.ours = f, ours
	p.client = NewClient(ours, ClientOptions{
		OnFree:   func(*Client) { p.free++ },
		OnClosed: func(_ *Client, err error) { p.closed++; p.err = err },
		Limits:   &lim,
	})
	ours.Handle(p.client)
	return p
}

// call opens a request.
func (p *phone) call(req *message.Request, last bool) *user {
	u := &user{}
	u.stream = p.client.Open(req, last, u)
	p.loop.Settle()
	return u
}

func get(path string) *message.Request {
	return &message.Request{Method: "GET", Authority: "shop.example", Path: path, Proto: message.HTTP11}
}
