package http2

import (
	"errors"
	"time"

	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
)

// A pinger notices a backend that is gone without a word. While streams are
// open it asks after PingAfter of silence, and then less and less often:
// servers of gRPC disconnect who sends them more than two PINGs within 5
// minutes of each other and nothing for them to answer in between.
type pinger struct {
	c       *Client
	timer   loop.Timer
	heard   time.Time     // when bytes came last
	wait    time.Duration // of silence until the next PING
	pending bool          // nothing has come since the last PING
}

// longestPing is the most that the pinger waits, and pingBackoff how it gets
// there.
const (
	longestPing = 10 * time.Minute
	pingBackoff = 4
)

func (c *Client) pingAfter() time.Duration   { return orElse(c.opts.PingAfter, 30*time.Second) }
func (c *Client) pingTimeout() time.Duration { return orElse(c.opts.PingTimeout, 10*time.Second) }

var errSilent = &message.Error{Reason: message.Gone, Err: errors.New("the backend does not answer PING")}

func (p *pinger) begin(c *Client) {
	p.c = c
	p.timer.Fire = p.fire
	p.heard, p.wait = c.loop.Now(), c.pingAfter()
	if c.opts.PingAlways && p.wait > 0 {
		c.loop.Arm(&p.timer, p.wait)
	}
}

// hear notes that bytes came.
func (p *pinger) hear() { p.heard, p.pending = p.c.loop.Now(), false }

// opened hears of a new stream. One that follows a long silence asks at once,
// so that it need not wait long on a connection that is dead.
func (p *pinger) opened() {
	if p.wait < 0 || p.pending || p.c.opts.PingAlways {
		return
	}
	silent, after := p.c.loop.Now().Sub(p.heard), p.c.pingAfter()
	if silent >= after {
		p.ask()
	} else if p.c.streams.n == 1 {
		p.wait = after
		p.c.loop.Arm(&p.timer, after-silent)
	}
}

func (p *pinger) ask() {
	p.c.writePing(0, pingPayload)
	p.pending = true
	if !p.c.opts.PingAlways {
		p.wait = min(p.wait*pingBackoff, longestPing)
	}
	p.c.traffic = false
	p.c.loop.Arm(&p.timer, p.c.pingTimeout())
}

var pingPayload = []byte("anybody?")

// fire asks, or looks for the answer.
func (p *pinger) fire() {
	c := p.c
	if p.pending && !c.closed {
		c.busy = true
		c.kill(errSilent)
		c.leave()
		return
	}
	if c.closed || c.streams.n == 0 && !c.opts.PingAlways {
		return
	}
	if c.traffic {
		p.wait = c.pingAfter()
	}
	if silent := c.loop.Now().Sub(p.heard); silent < p.wait {
		c.loop.Arm(&p.timer, p.wait-silent)
		return
	}
	p.ask()
}
