package hop

import (
	"fmt"
	"os"
	"time"

	"fairway.dev/gateway/http2"
	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
)

// networkField says whence a tunnel within another comes (ztunnel's
// src/proxy/outbound.rs).
const networkField = "x-forwarded-network"

// elsewhere is what we say there. It is compared with the name of the far end's
// own network, and no more.
const elsewhere = "elsewhere"

// saysNetwork reports whether a CONNECT says that it comes from another network:
// who speaks in its own does not say which that is.
func saysNetwork(fields message.Fields) bool {
	for i := range fields {
		if f := &fields[i]; f.ID == message.Other && message.EqualFold(networkField, f.Text) {
			return true
		}
	}
	return false
}

// A nested is a Dial of one tunnel within another. The inner connection carries
// that one tunnel: a second might be meant for another pod, which is the outer
// gateway's choice, anew for each of its tunnels.
type nested struct {
	dialer *Dialer
	loop   *loop.Loop
	to     Target
	done   func(c Conner, native bool, err error)
	timer  loop.Timer
	undo   func() // ends what is under way; nil: nothing is
	client *http2.Client
	conn   *Conn // whose answer it waits for
	ended  bool
}

func (d *Dialer) dialWithin(l *loop.Loop, to Target, timeout time.Duration, done func(c Conner, native bool, err error)) (cancel func()) {
	n := &nested{dialer: d, loop: l, to: to, done: done}
	n.timer.Fire = func() { n.fail(os.ErrDeadlineExceeded) }
	l.Arm(&n.timer, timeout)
	outer := Target{Addr: to.Addr, Identity: to.Identity, Authority: to.Authority, Within: to.Within}
	n.undo = d.dial(l, outer, timeout, n.outer)
	return n.cancel
}

// outer begins TLS in the tunnel that has been opened.
func (n *nested) outer(c Conner, _ bool, err error) {
	if n.undo = nil; err != nil {
		n.end(nil, err)
		return
	}
	if n.ended {
		c.Close()
		return
	}
	config, err := n.dialer.secured(n.to.Within, "h2")
	if err != nil {
		c.Close()
		n.end(nil, err)
		return
	}
	n.undo = loop.SecureInner(c, config, n.secured)
}

// secured asks for the inner tunnel.
func (n *nested) secured(c *loop.Inner, alpn string, err error) {
	n.undo = nil
	if err == nil && alpn != "h2" {
		c.Close()
		err = fmt.Errorf("TLS in the tunnel agreed on protocol %q: want h2", alpn)
	}
	if err != nil {
		n.end(nil, err)
		return
	}
	if n.ended {
		c.Close()
		return
	}
	opt := &n.dialer.opt
	n.client = http2.NewClient(c, http2.ClientOptions{
		MaxStreams: 1, PingAfter: opt.PingAfter, PingTimeout: opt.PingTimeout, PingAlways: true, Limits: n.dialer.of(n.loop).limits,
		OnFree: func(client *http2.Client) {
			if client.Streams() == 0 {
				client.Drain() // and the outer tunnel ends with it
			}
		},
	})
	c.Handle(n.client)
	n.undo = n.client.Close
	about := &message.Peer{Remote: n.to.Addr, RemoteIP: n.to.Addr.Addr().String()}
	n.conn = &Conn{loop: n.loop, peer: about, opening: n}
	req := message.Request{Method: "CONNECT", Authority: n.to.Authority, Length: message.Unknown}
	if n.to.Client.IsValid() {
		req.Fields.Add(message.Forwarded, `for="`+n.to.Client.String()+`"`) // RFC 7239 section 6
	}
	req.Fields = append(req.Fields, message.Field{Text: networkField, Value: elsewhere})
	n.conn.stream = n.client.Open(&req, false, (*incoming)(n.conn))
}

// answered takes the answer to the inner CONNECT.
func (n *nested) answered(resp *message.Response) {
	switch {
	case resp.Status < 200:
	case resp.Status < 300:
		c := n.conn
		c.opening, n.undo = nil, nil
		n.end(c, nil)
	default:
		n.fail(&Refusal{Status: resp.Status, Reason: fmt.Sprintf("the peer within answers with %d", resp.Status)})
	}
}

// lost hears that the inner CONNECT has come to nothing.
func (n *nested) lost(err error) {
	n.conn.opening = nil
	n.fail(err)
}

func (n *nested) fail(err error) {
	n.leave()
	n.end(nil, err)
}

func (n *nested) cancel() {
	n.leave()
	n.ended = true
	n.loop.Drop(&n.timer)
}

// leave gives up what is under way.
func (n *nested) leave() {
	if n.conn != nil && n.conn.opening != nil {
		n.conn.opening, n.conn.state = nil, closed
		n.conn.over = true
	}
	if undo := n.undo; undo != nil {
		n.undo = nil
		n.loop.Defer(undo) // it may be under a call of what it ends
	}
}

func (n *nested) end(c Conner, err error) {
	if n.ended {
		return
	}
	n.ended = true
	n.loop.Drop(&n.timer)
	if err != nil {
		n.done(nil, false, fmt.Errorf("tunnel to %s within one to %s: %w", n.to.Authority, n.to.Addr, err))
		return
	}
	n.done(c, false, nil)
}
