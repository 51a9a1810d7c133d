package hop

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"fairway.dev/gateway/http2"
	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
)

const (
	edgeID = "spiffe://cluster.local/ns/edge/sa/gateway"
	shopID = "spiffe://cluster.local/ns/shop/sa/waypoint"
	cartID = "spiffe://cluster.local/ns/shop/sa/cart"
	cart   = "10.96.0.5:80"
)

var (
	shopAt  = netip.MustParseAddrPort("10.0.0.7:15008")
	aClient = netip.MustParseAddrPort("192.0.2.1:4711")
)

// certificate is one that proves an identity: what is left of it once TLS has
// verified the chain.
func certificate(id string) *x509.Certificate {
	u, err := url.Parse(id)
	if err != nil {
		panic("bug: " + err.Error())
	}
	return &x509.Certificate{URIs: []*url.URL{u}}
}

// A rig is a gateway that dials and one that is dialled, in memory.
type rig struct {
	t      testing.TB
	loop   *loop.Loop
	host   *fakeHost
	dialer *Dialer
	own    string // who the dialler proves to be
	alpn   string // what TLS agrees on

	dials   []*pipeDial
	servers []*Server
	ends    []*loop.PipeConn // of the servers
	refused []string
	fail    error // of dials
	hang    bool  // dials do not end
}

type pipeDial struct {
	addr      netip.AddrPort
	how       loop.Opening
	timeout   time.Duration
	near      *loop.PipeConn
	cancelled bool
	end       func()
}

func newRig(t testing.TB, alpn string) *rig {
	r := &rig{t: t, loop: loop.NewManual(time.Unix(1e9, 0)), own: edgeID, alpn: alpn}
	r.host = &fakeHost{rig: r, refuse: map[string]*Refusal{}}
	r.dialer = NewDialer(DialerOptions{
		TLS:  func(id string) *tls.Config { return &tls.Config{ServerName: id} },
		Dial: r.dial,
	})
	return r
}

func (r *rig) dial(l *loop.Loop, addr netip.AddrPort, how loop.Opening, timeout time.Duration, done func(Conner, string, error)) func() {
	d := &pipeDial{addr: addr, how: how, timeout: timeout}
	r.dials = append(r.dials, d)
	d.end = func() {
		switch {
		case d.cancelled:
		case r.fail != nil:
			done(nil, "", r.fail)
		default:
			d.near = r.serve()
			done(d.near, r.alpn, nil)
		}
	}
	if !r.hang {
		l.Defer(d.end)
	}
	return func() { d.cancelled = true }
}

// serve makes a Server, and returns the client's end of its connection.
func (r *rig) serve() *loop.PipeConn {
	near, far := loop.Pipe(r.loop)
	peer := &message.Peer{Remote: netip.MustParseAddrPort("10.0.0.1:555"), RemoteIP: "10.0.0.1"}
	if r.own != "" {
		peer.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{certificate(r.own)}, NegotiatedProtocol: r.alpn}
	}
	s := NewServer(far, peer, ServerOptions{Host: r.host, Refused: func(a *Arrival, why *Refusal) {
		r.refused = append(r.refused, fmt.Sprintf("%s of %s: %d %s", a.Authority, a.Peer.Identity, why.Status, why.Reason))
	}})
	far.Handle(s)
	r.servers, r.ends = append(r.servers, s), append(r.ends, far)
	return near
}

// A fakeHost remembers what it was asked for, and takes it.
type fakeHost struct {
	rig        *rig
	refuse     map[string]*Refusal // by authority
	generation uint64
	arrivals   []Arrival
	exchanges  int // answers to Exchange
	tunnels    []*end
	take       func(*Conn) // in place of an end
	handler    message.Handler
}

func (h *fakeHost) Generation() uint64 { return h.generation }

func (h *fakeHost) arrived(a *Arrival) error {
	h.arrivals = append(h.arrivals, *a)
	if why := h.refuse[a.Authority]; why != nil {
		return why
	}
	return nil
}

func (h *fakeHost) Tunnel(_ *loop.Loop, a *Arrival) (func(*Conn), error) {
	if err := h.arrived(a); err != nil {
		return nil, err
	}
	return func(c *Conn) {
		if h.take != nil {
			h.take(c)
			return
		}
		e := &end{conn: c}
		h.tunnels = append(h.tunnels, e)
		c.Handle(e)
		c.Accept()
	}, nil
}

func (h *fakeHost) Exchange(_ *loop.Loop, a *Arrival) (*message.Peer, message.Handler, error) {
	if err := h.arrived(a); err != nil {
		return nil, nil, err
	}
	h.exchanges++
	return &message.Peer{Remote: a.Client, Identity: a.Source, Gateway: a.Peer.Identity}, h.handler, nil
}

// An end is the Handler of one end of a tunnel.
type end struct {
	conn    loop.Conn
	got     bytes.Buffer
	events  []string // "eof", "drained", "closed", "closed: why"
	onData  func(p []byte)
	onEvent func(event string)
}

func (e *end) Data(p []byte) {
	e.got.Write(p)
	if e.onData != nil {
		e.onData(p)
	}
}
func (e *end) EOF()     { e.event("eof") }
func (e *end) Drained() { e.event("drained") }
func (e *end) Closed(err error) {
	var m *message.Error
	switch {
	case err == nil:
		e.event("closed")
	case errors.As(err, &m):
		e.event("closed: " + m.Reason.String())
	default:
		e.event("closed: " + err.Error())
	}
}

func (e *end) event(s string) {
	e.events = append(e.events, s)
	if e.onEvent != nil {
		e.onEvent(s)
	}
}

func (e *end) String() string {
	return strings.Join(append([]string{e.got.String()}, e.events...), "; ")
}

// want checks what an end has got and heard.
func (e *end) want(t testing.TB, want string) {
	t.Helper()
	if got := e.String(); got != want {
		t.Errorf("the end heard %q, want %q", got, want)
	}
}

// A dialled is what a Dial came to.
type dialled struct {
	conn   Conner
	native bool
	err    error
	calls  int
	cancel func()
}

func (r *rig) target() Target {
	return Target{Addr: shopAt, Identity: shopID, Authority: cart, Source: cartID, Client: aClient}
}

func (r *rig) begin(to Target) *dialled {
	d := &dialled{}
	d.cancel = r.dialer.Dial(r.loop, to, 10*time.Second, func(c Conner, native bool, err error) {
		d.conn, d.native, d.err = c, native, err
		d.calls++
	})
	if d.calls > 0 {
		r.t.Error("done was called from inside Dial")
	}
	return d
}

// tunnel opens a tunnel and returns both ends.
func (r *rig) tunnel(to Target) (near, far *end) {
	r.t.Helper()
	n := len(r.host.tunnels)
	d := r.begin(to)
	r.loop.Settle()
	if d.err != nil || d.calls != 1 || len(r.host.tunnels) != n+1 {
		r.t.Fatalf("Dial: error %v, done called %d times, %d tunnels", d.err, d.calls, len(r.host.tunnels)-n)
	}
	near = &end{conn: d.conn}
	d.conn.Handle(near)
	return near, r.host.tunnels[n]
}

func (e *end) tunnel() *Conn { return e.conn.(*Conn) }

// client is the connection of a Dialer.
func (r *rig) client(i int) *http2.Client {
	r.t.Helper()
	p := r.dialer.of(r.loop).peers[peerKey{addr: shopAt, identity: shopID}]
	if p == nil || len(p.links) <= i {
		r.t.Fatalf("no connection %d", i)
	}
	return p.links[i].client
}
