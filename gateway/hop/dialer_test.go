package hop

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"fairway.dev/gateway/http2"
	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
)

func TestConnectionsAreOpenedToWhoHasToAnswer(t *testing.T) {
	r := newRig(t, Native)
	r.tunnel(r.target())
	d := r.dials[0]
	if d.addr != shopAt || d.how.TLS.ServerName != shopID || !slices.Equal(d.how.TLS.NextProtos, []string{Native, "h2"}) || d.timeout != 10*time.Second {
		t.Errorf("dialled %v as %q with %v within %v", d.addr, d.how.TLS.ServerName, d.how.TLS.NextProtos, d.timeout)
	}
}

// Law: strangers know of a client only what the connection says, and so no two
// identities share one. Gateways of ours are told with each tunnel.
func TestWhoSharesAConnection(t *testing.T) {
	r := func(alpn string) *rig { return newRig(t, alpn) }
	other := func(f func(*Target)) func(*rig) Target {
		return func(r *rig) Target {
			to := r.target()
			f(&to)
			return to
		}
	}
	tests := []struct {
		name   string
		alpn   string
		to     func(*rig) Target
		shares bool
	}{
		{"the same", "h2", other(func(*Target) {}), true},
		{"another authority", "h2", other(func(to *Target) { to.Authority = "10.96.0.6:80" }), true},
		{"another client of the identity", "h2", other(func(to *Target) { to.Client = netip.MustParseAddrPort("192.0.2.2:1") }), true},
		{"another source to a stranger", "h2", other(func(to *Target) { to.Source = shopID }), false},
		{"no source to a stranger", "h2", other(func(to *Target) { to.Source = "" }), false},
		{"another source to a gateway", Native, other(func(to *Target) { to.Source = shopID }), true},
		{"another identity there", Native, other(func(to *Target) { to.Identity = cartID }), false},
		{"another address", Native, other(func(to *Target) { to.Addr = netip.MustParseAddrPort("10.0.0.8:15008") }), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			one := r(tt.alpn)
			one.tunnel(one.target())
			one.tunnel(tt.to(one))
			if got := len(one.dials) == 1; got != tt.shares {
				t.Errorf("in turn: %d connections, want them shared %v", len(one.dials), tt.shares)
			}
			two := r(tt.alpn) // both at once, before anything is known of the peer
			a, b := two.begin(two.target()), two.begin(tt.to(two))
			two.loop.Settle()
			if a.err != nil || b.err != nil {
				t.Fatal(a.err, b.err)
			}
			if len(two.dials) == 1 && !tt.shares {
				t.Error("at once: one connection, want two")
			}
		})
	}
}

func TestStrangersAreToldByForwarded(t *testing.T) {
	for _, tt := range []struct{ client, want string }{
		{"192.0.2.1:4711", `for="192.0.2.1:4711"`},
		{"[2001:db8::1]:80", `for="[2001:db8::1]:80"`}, // RFC 7239 section 6
		{"", ""},
	} {
		l := loop.NewManual(time.Unix(1e9, 0))
		seen := &talk{}
		d := NewDialer(DialerOptions{
			TLS: func(string) *tls.Config { return &tls.Config{} },
			Dial: func(l *loop.Loop, _ netip.AddrPort, _ loop.Opening, _ time.Duration, done func(Conner, string, error)) func() {
				near, far := loop.Pipe(l)
				far.Handle(http2.NewServer(far, &message.Peer{}, seen, ServerLimits()))
				l.Defer(func() { done(near, "h2", nil) })
				return func() {}
			},
		})
		to := Target{Addr: shopAt, Identity: shopID, Authority: cart, Source: cartID}
		if tt.client != "" {
			to.Client = netip.MustParseAddrPort(tt.client)
		}
		var failed error
		d.Dial(l, to, time.Second, func(_ Conner, _ bool, err error) { failed = err })
		l.Settle()
		want := "CONNECT " + cart
		if tt.want != "" {
			want += ", forwarded: " + tt.want
		}
		if failed != nil || seen.said != want {
			t.Errorf("error %v, the stranger heard %q, want %q", failed, seen.said, want)
		}
	}
}

// A talk opens a tunnel for everybody, and keeps what was said.
type talk struct{ said string }

func (x *talk) Exchange(s message.ServerStream, req *message.Request, last bool) message.Receiver {
	x.said = req.Method + " " + req.Authority
	for _, f := range req.Fields {
		x.said += ", " + f.Text + ": " + f.Value
	}
	s.Head(accepted, false)
	return nothing{}
}

func TestRequestsToGatewaysAndStrangers(t *testing.T) {
	for _, alpn := range []string{Native, "h2"} {
		t.Run(alpn, func(t *testing.T) {
			r := newRig(t, alpn)
			r.host.handler = &talker{}
			to := r.target()
			to.Requests = true
			var all []*dialled
			for range 3 {
				all = append(all, r.begin(to))
			}
			r.loop.Settle()
			for i, d := range all {
				if d.err != nil || d.calls != 1 || d.native != (alpn == Native) {
					t.Fatalf("request %d: native %v, error %v, done called %d times", i, d.native, d.err, d.calls)
				}
				if _, tunnel := d.conn.(*Conn); tunnel == d.native {
					t.Errorf("request %d has a %T", i, d.conn)
				}
			}
			if alpn == "h2" {
				if len(r.dials) != 1 || len(r.host.tunnels) != 3 {
					t.Errorf("%d connections and %d tunnels to a stranger, want 1 and 3", len(r.dials), len(r.host.tunnels))
				}
				return
			}
			if len(r.dials) != 3 {
				t.Errorf("%d connections, want each to have its own", len(r.dials))
			}
			c := NewClient(all[0].conn, http2.ClientOptions{})
			all[0].conn.Handle(c)
			a := ask(c, message.Request{Method: "GET", Scheme: "http", Authority: "a", Path: "/", Hop: message.Hop{Target: cart, Source: cartID}})
			r.loop.Settle()
			if !strings.Contains(a.body, cartID) {
				t.Errorf("the answer is %d %q", a.status, a.body)
			}
			// A tunnel has a connection of its own beside them, and then shares it.
			r.tunnel(r.target())
			r.tunnel(r.target())
			if len(r.dials) != 4 {
				t.Errorf("%d connections, want one more for tunnels", len(r.dials))
			}
			if d := r.begin(to); d != nil {
				r.loop.Settle()
				if !d.native || len(r.dials) != 5 {
					t.Errorf("native %v with %d connections, want one more that is its own", d.native, len(r.dials))
				}
			}
		})
	}
}

// What will be one's alone is nothing to wait for.
func TestTunnelsDoNotWaitForRequestsConnections(t *testing.T) {
	r := newRig(t, Native)
	r.dialer.opt.Streams = 1
	r.tunnel(r.target())
	to := r.target()
	to.Requests = true
	a, b := r.begin(to), r.begin(r.target())
	if len(r.dials) != 3 {
		t.Errorf("%d connections are opened, want each to have its own", len(r.dials))
	}
	r.loop.Settle()
	if a.err != nil || b.err != nil || !a.native || b.native || len(r.dials) != 3 {
		t.Errorf("errors %v and %v, native %v and %v with %d connections", a.err, b.err, a.native, b.native, len(r.dials))
	}
}

func TestHowDialsFail(t *testing.T) {
	refuses := func(r *rig) { r.host.refuse[cart] = &Refusal{Status: 403, Reason: "policy"} }
	tests := []struct {
		name   string
		before func(*rig)
		check  func(error) bool
	}{
		{"nobody listens", func(r *rig) { r.fail = fmt.Errorf("connect: %w", loop.ErrRefused) },
			func(err error) bool { return errors.Is(err, loop.ErrRefused) }},
		{"the other side of the network hangs", func(r *rig) { r.hang = true },
			func(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }},
		{"the peer does not answer", func(r *rig) { r.host.take = func(*Conn) {} },
			func(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }},
		{"the peer refuses", refuses, func(err error) bool {
			var why *Refusal
			return errors.As(err, &why) && why.Status == 403 && strings.Contains(err.Error(), "403") && strings.Contains(err.Error(), shopAt.String())
		}},
		{"the peer speaks something else", func(r *rig) { r.alpn = "http/1.1" },
			func(err error) bool { return strings.Contains(err.Error(), `"http/1.1"`) }},
		{"the peer agrees on nothing", func(r *rig) { r.alpn = "" },
			func(err error) bool { return strings.Contains(err.Error(), "want fairway-hop/1 or h2") }},
		{"no certificate of our own", func(r *rig) { r.dialer.opt.TLS = func(string) *tls.Config { return nil } },
			func(err error) bool { return errors.Is(err, ErrNoCertificate) }},
		{"closed", func(r *rig) { r.dialer.Close() },
			func(err error) bool { return errors.Is(err, errDialerClosed) }},
		{"the tunnel is reset instead of opened", func(r *rig) {
			r.host.take = func(c *Conn) { c.answer = nil; c.Reset() }
		}, func(err error) bool {
			var e *message.Error
			return errors.As(err, &e) && e.Reason == message.Reset
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, "h2")
			tt.before(r)
			d, e := r.begin(r.target()), r.begin(r.target())
			r.loop.Advance(10 * time.Second)
			for _, d := range []*dialled{d, e} {
				if d.err == nil || !tt.check(d.err) || d.conn != nil || d.calls != 1 {
					t.Errorf("done was called %d times with %v, %v", d.calls, d.conn, d.err)
				}
			}
			r.loop.Advance(6 * time.Minute)
			if n := len(r.dialer.of(r.loop).peers); n != 0 {
				t.Errorf("%d peers are remembered, want none without connections", n)
			}
		})
	}
}

func TestCancelledDials(t *testing.T) {
	r := newRig(t, "h2")
	r.hang = true
	a, b := r.begin(r.target()), r.begin(r.target())
	a.cancel()
	if r.dials[0].cancelled {
		t.Error("the connection was given up that another waits for")
	}
	b.cancel()
	b.cancel()
	if !r.dials[0].cancelled || len(r.dialer.of(r.loop).peers) != 0 {
		t.Error("the connection is still being opened, want it given up with the last who waited")
	}
	r.hang = false
	c := r.begin(r.target())
	r.loop.Settle()
	c.cancel() // after the end: nothing
	r.loop.Advance(time.Hour)
	if a.calls+b.calls != 0 || c.calls != 1 {
		t.Errorf("done was called %d, %d and %d times, want 0, 0 and 1", a.calls, b.calls, c.calls)
	}
}

func TestTunnelsPerConnection(t *testing.T) {
	r := newRig(t, "h2")
	for range 100 {
		r.tunnel(r.target())
	}
	near, far := r.tunnel(r.target())
	if len(r.dials) != 2 {
		t.Errorf("%d connections for 101 tunnels, want 2", len(r.dials))
	}
	near.conn.Reset()
	far.conn.Reset()
	r.host.tunnels[0].conn.Reset()
	r.loop.Settle()
	r.tunnel(r.target())
	if len(r.dials) != 2 || r.client(0).Streams() != 100 {
		t.Errorf("%d connections, want the room of the first to be used again", len(r.dials))
	}
}

func TestIdleConnectionsAreClosed(t *testing.T) {
	r := newRig(t, "h2")
	near, far := r.tunnel(r.target())
	r.loop.Advance(time.Hour) // a tunnel may rest
	near.conn.Finish()
	far.conn.Finish()
	r.loop.Settle()
	r.loop.Advance(5*time.Minute - time.Second)
	if r.dials[0].near.Closed() {
		t.Error("the connection is closed, want it kept for 5 minutes")
	}
	r.loop.Advance(2 * time.Second)
	if !r.dials[0].near.Closed() || len(r.dialer.of(r.loop).peers) != 0 {
		t.Error("the connection is open after 5 minutes without a tunnel")
	}
}

// A tunnel that the peer has not begun to open is asked for on another
// connection (RFC 9113 section 8.7).
func TestTunnelsAreAskedForAgain(t *testing.T) {
	r := newRig(t, "h2")
	r.tunnel(r.target())
	far := r.ends[0]
	far.Block() // what the peer says is on its way
	r.servers[0].Close()
	d := r.begin(r.target())
	r.loop.Settle()
	if d.err != nil || d.calls != 1 || len(r.dials) != 2 {
		t.Errorf("error %v with %d connections, want a tunnel on the second", d.err, len(r.dials))
	}
	// But not for ever.
	r = newRig(t, "h2")
	r.host.take = func(c *Conn) { c.stream.Abort(&message.Error{Reason: message.Refused}) }
	d = r.begin(r.target())
	r.loop.Settle()
	var e *message.Error
	if !errors.As(d.err, &e) || e.Reason != message.Refused || len(r.host.arrivals) != maxTries {
		t.Errorf("error %v after %d tries, want %d", d.err, len(r.host.arrivals), maxTries)
	}
}

func TestDrainOfADialer(t *testing.T) {
	r := newRig(t, Native)
	near, far := r.tunnel(r.target())
	r.dialer.Drain()
	r.loop.Settle()
	near.conn.Write([]byte("still"))
	r.loop.Settle()
	far.want(t, "still")
	r.tunnel(r.target())
	if len(r.dials) != 2 {
		t.Errorf("%d connections, want another after Drain", len(r.dials))
	}
	near.conn.Reset()
	r.loop.Advance(time.Second)
	if !r.dials[0].near.Closed() {
		t.Error("the drained connection is open without a tunnel")
	}
}

func TestCloseOfADialer(t *testing.T) {
	r := newRig(t, Native)
	near, far := r.tunnel(r.target())
	r.host.take = func(*Conn) {}
	asking := r.begin(r.target())
	r.loop.Settle()
	r.hang = true
	to := r.target()
	to.Identity = cartID
	waiting := r.begin(to)
	r.dialer.Close()
	r.loop.Settle()
	near.want(t, "; closed: cancelled")
	far.want(t, "; closed: connection closed")
	if asking.calls != 1 || asking.err == nil || waiting.calls != 1 || !errors.Is(waiting.err, errDialerClosed) {
		t.Errorf("one asking heard %v, one waiting %v; want errors", asking.err, waiting.err)
	}
}
