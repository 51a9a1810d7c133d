package http2

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	h2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
)

// A peer is the other end of a connection under test, in words of the
// protocol: it writes frames with golang.org/x/net's Framer, right ones and
// wrong ones, and reads what comes back as text, a line a frame.
type peer struct {
	t    testing.TB
	loop *loop.Loop
	end  *loop.PipeConn // ours
	far  *loop.PipeConn // of the codec under test
	srv  *Server
	cli  *Client

	in, out bytes.Buffer
	*h2.Framer
	enc     *hpack.Encoder
	encoded bytes.Buffer
	dec     *hpack.Decoder
	sent    []byte // all of it
	drip    bool   // send byte by byte
	eof     bool
	gone    bool

	counted   []Kind
	exchanges []*exchange
	onRequest func(*exchange) // at the end of a request's head
	freed     int             // calls of OnFree
	closed    []error         // calls of OnClosed
}

func (p *peer) Data(b []byte)    { p.in.Write(b) }
func (p *peer) EOF()             { p.eof = true }
func (p *peer) Drained()         {}
func (p *peer) Closed(err error) { p.gone = true }

func newPeer(t testing.TB) *peer {
	p := &peer{t: t, loop: loop.NewManual(time.Unix(1e9, 0))}
	p.end, p.far = loop.Pipe(p.loop)
	p.end.Handle(p)
	p.Framer = h2.NewFramer(&p.out, &p.in)
	p.AllowIllegalWrites, p.AllowIllegalReads = true, true
	p.enc = hpack.NewEncoder(&p.encoded)
	p.dec = hpack.NewDecoder(4096, nil)
	return p
}

// client returns a client of a new Server. It has said nothing yet.
func client(t testing.TB, lim Limits) *peer {
	p := newPeer(t)
	lim.Count = func(k Kind) { p.counted = append(p.counted, k) }
	at := &message.Peer{Remote: netip.MustParseAddrPort("192.0.2.1:999"), RemoteIP: "192.0.2.1"}
	p.srv = NewServer(p.far, at, p, &lim)
	p.far.Handle(p.srv)
	return p
}

// greet does what comes before the first request, and forgets the answer.
func (p *peer) greet(settings ...h2.Setting) *peer {
	if p.srv != nil {
		p.out.WriteString(h2.ClientPreface)
	}
	p.WriteSettings(settings...)
	p.WriteSettingsAck()
	p.send()
	p.got()
	return p
}

// send hands over what was written.
func (p *peer) send() {
	if p.drip {
		p.sendIn(1)
	} else {
		p.sendIn(p.out.Len())
	}
}

// sendIn hands it over in pieces.
func (p *peer) sendIn(piece int) {
	b := bytes.Clone(p.out.Bytes())
	p.sent = append(p.sent, b...)
	p.out.Reset()
	for len(b) > 0 {
		n := min(piece, len(b))
		p.end.Write(b[:n])
		p.loop.Settle()
		b = b[n:]
	}
	p.loop.Settle()
}

// block encodes fields: names and values in turn.
func (p *peer) block(fields ...string) []byte {
	p.encoded.Reset()
	for i := 0; i < len(fields); i += 2 {
		p.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return bytes.Clone(p.encoded.Bytes())
}

var (
	get  = []string{":method", "GET", ":scheme", "http", ":path", "/", ":authority", "shop.example"}
	post = []string{":method", "POST", ":scheme", "http", ":path", "/", ":authority", "shop.example"}
)

func with(fields []string, more ...string) []string {
	return append(append([]string{}, fields...), more...)
}

// headers writes HEADERS; an open one leaves the stream open.
func (p *peer) headers(id uint32, fields ...string) {
	p.WriteHeaders(h2.HeadersFrameParam{StreamID: id, BlockFragment: p.block(fields...), EndStream: true, EndHeaders: true})
}

func (p *peer) headersOpen(id uint32, fields ...string) {
	p.WriteHeaders(h2.HeadersFrameParam{StreamID: id, BlockFragment: p.block(fields...), EndHeaders: true})
}

// got settles and returns the frames that came, a line each.
func (p *peer) got() string {
	p.loop.Settle()
	var lines []string
	if p.cli != nil {
		if rest, ok := bytes.CutPrefix(p.in.Bytes(), []byte(h2.ClientPreface)); ok {
			p.in.Next(p.in.Len() - len(rest))
			lines = append(lines, "preface")
		}
	}
	for p.in.Len() > 0 {
		f, err := p.ReadFrame()
		if err != nil {
			p.t.Fatalf("reading our frames: %v", err)
		}
		lines = append(lines, p.line(f))
	}
	if p.eof || p.gone {
		lines = append(lines, "closed")
		p.eof, p.gone = false, false
	}
	return strings.Join(lines, "\n")
}

func (p *peer) line(f h2.Frame) string {
	h := f.Header()
	line := h.Type.String()
	if h.StreamID != 0 {
		line += fmt.Sprint(" ", h.StreamID)
	}
	switch f := f.(type) {
	case *h2.HeadersFrame:
		block := bytes.Clone(f.HeaderBlockFragment())
		for ended := f.HeadersEnded(); !ended; {
			next, err := p.ReadFrame()
			if err != nil {
				p.t.Fatal(err)
			}
			part := next.(*h2.ContinuationFrame)
			block, ended = append(block, part.HeaderBlockFragment()...), part.HeadersEnded()
		}
		fields, err := p.dec.DecodeFull(block)
		if err != nil {
			p.t.Fatal(err)
		}
		for _, f := range fields {
			line += " " + f.Name + "=" + f.Value
		}
		if f.StreamEnded() {
			line += " END"
		}
	case *h2.DataFrame:
		if len(f.Data()) <= 32 {
			line += fmt.Sprintf(" %q", f.Data())
		} else {
			line += fmt.Sprintf(" %d bytes", len(f.Data()))
		}
		if f.StreamEnded() {
			line += " END"
		}
	case *h2.SettingsFrame:
		if f.IsAck() {
			return line + " ack"
		}
		f.ForeachSetting(func(s h2.Setting) error {
			line += fmt.Sprintf(" %v=%d", s.ID, s.Val)
			return nil
		})
	case *h2.PingFrame:
		line += fmt.Sprintf(" %q", f.Data[:])
		if f.IsAck() {
			line += " ack"
		}
	case *h2.RSTStreamFrame:
		line += " " + f.ErrCode.String()
	case *h2.GoAwayFrame:
		line += fmt.Sprintf(" %d %v", f.LastStreamID, f.ErrCode)
	case *h2.WindowUpdateFrame:
		line += fmt.Sprint(" ", f.Increment)
	}
	return line
}

// want checks the frames that came, a line each.
func (p *peer) want(lines ...string) {
	p.t.Helper()
	if got, want := p.got(), strings.Join(lines, "\n"); got != want {
		p.t.Errorf("got\n  %s\nwant\n  %s", strings.ReplaceAll(got, "\n", "\n  "), strings.ReplaceAll(want, "\n", "\n  "))
	}
}

// An exchange is what a handler saw of a request, and its way back.
type exchange struct {
	message.ServerStream
	req     string // "GET http shop.example /path?query, name: value, ..."
	body    []byte
	events  []string // "end", "end trailer: value", "abort <reason>", "drained"
	hold    bool     // withhold Consumed
	request *message.Request
	atEnd   func() // at the request's end
}

// Exchange lets the peer stand in for the proxy.
func (p *peer) Exchange(s message.ServerStream, req *message.Request, last bool) message.Receiver {
	x := &exchange{ServerStream: s, request: req}
	if s.Peer().RemoteIP != "192.0.2.1" {
		p.t.Errorf("Peer() is %v", s.Peer())
	}
	x.req = strings.TrimSpace(req.Method+" "+req.Scheme+" "+req.Authority+" "+req.Path+req.Query) + lines(req.Fields)
	if last {
		x.events = append(x.events, "end")
	}
	p.exchanges = append(p.exchanges, x)
	if p.onRequest != nil {
		p.onRequest(x)
	}
	if last && x.atEnd != nil {
		x.atEnd()
	}
	return x
}

func lines(fields message.Fields) (s string) {
	for _, f := range fields {
		s += ", " + f.Text + ": " + f.Value
	}
	return s
}

func (x *exchange) Data(p []byte) {
	x.body = append(x.body, p...)
	if !x.hold {
		x.Consumed(len(p))
	}
}
func (x *exchange) End(trailers message.Fields) {
	x.events = append(x.events, "end"+lines(trailers))
	if x.atEnd != nil {
		x.atEnd()
	}
}
func (x *exchange) Abort(err error) {
	x.events = append(x.events, "abort "+err.(*message.Error).Reason.String())
	x.ServerStream.Abort(err)
}
func (x *exchange) Drained() { x.events = append(x.events, "drained") }

// send is a body for the client; end ends the response.
func (x *exchange) send(body string) { x.ServerStream.Data([]byte(body)) }
func (x *exchange) end(trailers ...string) {
	var f message.Fields
	for i := 0; i < len(trailers); i += 2 {
		f.Append(trailers[i], trailers[i+1])
	}
	x.ServerStream.End(f)
}

// head sends a response head.
func (x *exchange) head(status int, fields ...string) {
	resp := &message.Response{Status: status, Length: message.Unknown}
	for i := 0; i < len(fields); i += 2 {
		resp.Fields.Append(fields[i], fields[i+1])
	}
	x.Head(resp, false)
}

// answer is a whole response.
func (x *exchange) answer(status int) {
	x.Head(&message.Response{Status: status, Length: message.Unknown}, true)
}

// saw is what the handler saw of the exchange i, from 0.
func (p *peer) saw(i int) string {
	if i >= len(p.exchanges) {
		return "nothing"
	}
	x := p.exchanges[i]
	s := x.req
	if len(x.body) > 0 {
		s += fmt.Sprintf("; %q", x.body)
	}
	return s + "; " + strings.Join(x.events, "; ")
}

func (p *peer) wantSaw(i int, want string) {
	p.t.Helper()
	if got := p.saw(i); got != want {
		p.t.Errorf("exchange %d: the handler saw %s, want %s", i, got, want)
	}
}

// backend returns a backend of a new Client. It has said nothing yet.
func backend(t testing.TB, opts ClientOptions) *peer {
	p := newPeer(t)
	var lim Limits
	if opts.Limits != nil {
		lim = *opts.Limits
	}
	lim.Count = func(k Kind) { p.counted = append(p.counted, k) }
	opts.Limits = &lim
	opts.OnFree = func(*Client) { p.freed++ }
	opts.OnClosed = func(_ *Client, err error) { p.closed = append(p.closed, err) }
	p.cli = NewClient(p.far, opts)
	p.far.Handle(p.cli)
	return p
}

// A response is what the user of a Client saw, and its way to the backend.
type response struct {
	message.Stream
	events []string // "200, name: value", body bytes, "end", "abort <reason>", "drained"
	hold   bool     // withhold Consumed
	onHead func()
	err    *message.Error
}

// ask opens a request.
func (p *peer) ask(req message.Request, last bool) *response {
	r := &response{}
	if req.Method == "" {
		req.Method = "GET"
	}
	req.Scheme, req.Authority, req.Path = "http", "backend", "/"
	r.Stream = p.cli.Open(&req, last, r)
	return r
}

func (r *response) Head(resp *message.Response, last bool) {
	s := fmt.Sprint(resp.Status, lines(resp.Fields))
	if resp.Length >= 0 {
		s += fmt.Sprint(", length ", resp.Length)
	}
	if last {
		s += ", last"
	}
	r.events = append(r.events, s)
	if r.onHead != nil {
		r.onHead()
	}
}

func (r *response) Data(p []byte) {
	r.events = append(r.events, fmt.Sprintf("%q", p))
	if !r.hold {
		r.Consumed(len(p))
	}
}
func (r *response) End(trailers message.Fields) { r.events = append(r.events, "end"+lines(trailers)) }
func (r *response) Abort(err error) {
	r.err = err.(*message.Error)
	r.events = append(r.events, "abort "+r.err.Reason.String())
}
func (r *response) Drained() { r.events = append(r.events, "drained") }

func (r *response) saw() string { return strings.Join(r.events, "; ") }

func (p *peer) wantSeen(r *response, want string) {
	p.t.Helper()
	p.loop.Settle()
	if got := r.saw(); got != want {
		p.t.Errorf("the user saw %s, want %s", got, want)
	}
}
