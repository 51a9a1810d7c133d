package hop

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"fairway.dev/gateway/http2"
	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
)

// A Dialer opens tunnels, and connections to gateways that take requests. Each
// loop has connections of its own, which tunnels to one address and identity
// share. With strangers those share none whose Source differs: the connection is
// all that a stranger knows of the client.
type Dialer struct {
	opt    DialerOptions
	limits []*http2.Limits // by loop; one for all where there is one
	closed atomic.Bool
	local  loop.Local[links]

	mu    sync.Mutex
	loops []*links
}

// ErrNoCertificate is wrapped by errors that mean that DialerOptions.TLS has
// nothing to show to peers.
var ErrNoCertificate = errors.New("no certificate of the mesh")

var errDialerClosed = errors.New("the dialer is closed")

// NewDialer returns a Dialer without connections.
func NewDialer(o DialerOptions) *Dialer {
	o.Streams = cmp.Or(o.Streams, 100)
	o.Idle = cmp.Or(o.Idle, 5*time.Minute)
	o.PingAfter = cmp.Or(o.PingAfter, pingAfter)
	o.PingTimeout = cmp.Or(o.PingTimeout, pingTimeout)
	if o.Dial == nil {
		o.Dial = dialLoop
	}
	d := &Dialer{opt: o}
	for _, l := range o.Limits {
		d.limits = append(d.limits, fill(l, ClientLimits()))
	}
	if d.limits == nil {
		d.limits = []*http2.Limits{ClientLimits()}
	}
	return d
}

// dialLoop is the DialFunc of real sockets.
func dialLoop(l *loop.Loop, addr netip.AddrPort, how loop.Opening, timeout time.Duration,
	done func(c Conner, alpn string, err error)) (cancel func()) {
	return l.Dial(addr, how, timeout, func(s *loop.Socket, alpn string, err error) {
		if err != nil {
			done(nil, "", err) // not a nil *Socket in an interface
			return
		}
		done(s, alpn, nil)
	})
}

// Dial opens a tunnel within timeout: done is called with a *Conn once the far
// end has accepted it. Where requests are to be sent and the peer speaks Native,
// done is called with a connection to the peer itself and native is true: it is
// the caller's alone, who puts NewClient on it before done returns.
//
// An error wraps loop.ErrRefused where nothing listens, os.ErrDeadlineExceeded
// at the timeout, and a *Refusal where the peer has answered: then alone it is
// known that there is a peer. done is called once, on l, from a later event;
// never after the returned cancel. Dial is called on l.
func (d *Dialer) Dial(l *loop.Loop, to Target, timeout time.Duration, done func(c Conner, native bool, err error)) (cancel func()) {
	if to.Within != "" {
		return d.dialWithin(l, to, timeout, done)
	}
	return d.dial(l, to, timeout, done)
}

func (d *Dialer) dial(l *loop.Loop, to Target, timeout time.Duration, done func(c Conner, native bool, err error)) (cancel func()) {
	o := &opening{on: d.of(l), to: to, timeout: timeout, done: done}
	o.timer.Fire = func() { o.giveUp(os.ErrDeadlineExceeded) }
	l.Arm(&o.timer, timeout)
	o.place()
	return o.cancel
}

// Drain lets the connections that there are end with their last tunnel, and has
// those who dial from now on get others: for a gateway whose own certificate, or
// whose trust, is another. Any goroutine may call it.
func (d *Dialer) Drain() { d.each((*links).drain) }

// Close ends all tunnels, and opens no more. Connections that were handed over
// stay. Any goroutine may call it.
func (d *Dialer) Close() {
	d.closed.Store(true)
	d.each((*links).close)
}

func (d *Dialer) each(f func(*links)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, on := range d.loops {
		on.loop.Post(func() { f(on) })
	}
}

// of returns what belongs to a loop.
func (d *Dialer) of(l *loop.Loop) *links {
	on := d.local.Of(l)
	if on.dialer == nil {
		on.dialer, on.loop, on.limits = d, l, d.limits[0]
		if len(d.limits) > l.Index() {
			on.limits = d.limits[l.Index()]
		}
		on.peers = make(map[peerKey]*peer)
		d.mu.Lock()
		d.loops = append(d.loops, on)
		d.mu.Unlock()
	}
	return on
}

// An opening is a Dial that has not ended.
type opening struct {
	on      *links
	to      Target
	timeout time.Duration
	done    func(c Conner, native bool, err error)
	timer   loop.Timer
	ended   bool

	awaits *connecting // the connection that it waits for, or nil
	link   *link       // that it asks on
	conn   *Conn       // whose answer it waits for, or nil
	tries  int
}

// maxTries is how often a tunnel is asked for whose connection went away: it has
// carried nothing, and so it may.
const maxTries = 3

// place finds a connection, or has one made.
func (o *opening) place() {
	if o.on.dialer.closed.Load() {
		o.on.loop.Defer(func() { o.giveUp(errDialerClosed) })
		return
	}
	p := o.on.peer(peerKey{o.to.Addr, o.to.Identity, o.to.Within != ""})
	if !(o.to.Requests && p.native) {
		if k := p.room(o.to.Source); k != nil {
			o.ask(k)
			return
		}
		if c := p.onItsWay(o.to.Source); c != nil {
			c.join(o)
			return
		}
	}
	p.connect(o)
}

// ask opens a tunnel on a connection.
func (o *opening) ask(k *link) {
	o.tries++
	c := &Conn{loop: o.on.loop, peer: k.about, opening: o}
	o.link, o.conn = k, c
	req := message.Request{Method: "CONNECT", Authority: o.to.Authority, Length: message.Unknown}
	switch {
	case k.native:
		tell(&req.Fields, &message.Hop{Source: o.to.Source, Client: o.to.Client}, nil)
	case o.to.Client.IsValid():
		req.Fields.Add(message.Forwarded, `for="`+o.to.Client.String()+`"`) // RFC 7239 section 6
	}
	c.stream = k.client.Open(&req, false, (*incoming)(c))
}

// answered takes the answer to CONNECT.
func (o *opening) answered(resp *message.Response) {
	switch {
	case resp.Status < 200:
	case resp.Status < 300:
		o.link.used = true
		c := o.conn
		c.opening = nil
		o.end(c, false, nil)
	default:
		o.link.used = true
		o.leave()
		o.end(nil, false, &Refusal{Status: resp.Status, Reason: fmt.Sprintf("the peer answers with %d", resp.Status)})
	}
}

// lost hears that the CONNECT has come to nothing. What the peer has not begun
// to process, or may have closed before it has read it, is asked for again.
func (o *opening) lost(err error) {
	o.conn.opening = nil
	o.conn = nil
	var e *message.Error
	again := errors.As(err, &e) && (e.Reason == message.Refused || e.Reason == message.Gone && o.link.used)
	if again && o.tries < maxTries {
		o.place()
		return
	}
	o.end(nil, false, err)
}

// leave withdraws from whatever it waits for.
func (o *opening) leave() {
	if c := o.awaits; c != nil {
		o.awaits = nil
		c.part(o)
	}
	if c := o.conn; c != nil {
		o.conn = nil
		c.opening, c.state = nil, closed
		c.drop(errClosed)
	}
}

func (o *opening) giveUp(err error) {
	o.leave()
	o.end(nil, false, err)
}

func (o *opening) cancel() {
	o.leave()
	o.ended = true
	o.on.loop.Drop(&o.timer)
}

// end tells how it ended.
func (o *opening) end(c Conner, native bool, err error) {
	if o.ended {
		return
	}
	o.ended = true
	o.on.loop.Drop(&o.timer)
	if err != nil {
		o.done(nil, native, fmt.Errorf("tunnel to %s by %s: %w", o.to.Authority, o.to.Addr, err))
		return
	}
	o.done(c, native, nil)
}

// opened is how a connection to a peer begins. Whose tunnels lead to others is to
// take us for a stranger.
func (d *Dialer) opened(to peerKey) (loop.Opening, error) {
	if to.outer {
		config, err := d.secured(to.identity, "h2")
		return loop.Opening{TLS: config}, err
	}
	config, err := d.secured(to.identity, Native, "h2")
	return loop.Opening{TLS: config}, err
}

func (d *Dialer) secured(identity string, protocols ...string) (*tls.Config, error) {
	config := d.opt.TLS(identity)
	if config == nil {
		return nil, fmt.Errorf("TLS to %s: %w", identity, ErrNoCertificate)
	}
	config = config.Clone()
	config.NextProtos = protocols
	return config, nil
}
