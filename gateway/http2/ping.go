package http2

import (
	"errors"
	"time"

	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
)

// A pinger notices a peer that is gone without a word. While streams are open
// it asks after a silence, and then less and less often: servers of gRPC
// disconnect who sends them more than two PINGs within 5 minutes of each other
// and nothing for them to answer in between. Or it asks always.
type pinger struct {
	c              *conn
	after, timeout time.Duration // after < 0: never
	always         bool          // with no streams too, and no less often

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

var errSilent = &message.Error{Reason: message.Gone, Err: errors.New("the peer does not answer PING")}

// begin starts the watch, if there is to be one.
func (p *pinger) begin(after, timeout time.Duration, always bool) {
	p.after, p.timeout, p.always = after, timeout, always
	p.timer.Fire = p.fire
	p.heard, p.wait = p.c.loop.Now(), after
	if always && after > 0 {
		p.c.loop.Arm(&p.timer, after)
	}
}

// hear notes that bytes came.
func (p *pinger) hear() {
	p.heard = p.c.loop.Now()
	if p.pending {
		p.pending = false
		p.c.loop.Arm(&p.timer, p.wait)
	}
}

// opened hears of a new stream. One that follows a long silence asks at once,
// so that it need not wait long on a connection that is dead.
func (p *pinger) opened() {
	if p.wait < 0 || p.pending || p.always {
		return
	}
	silent := p.c.loop.Now().Sub(p.heard)
	if silent >= p.after {
		p.ask()
	} else if p.c.streams.n == 1 {
		p.wait = p.after
		p.c.loop.Arm(&p.timer, p.after-silent)
	}
}

func (p *pinger) ask() {
	p.c.writePing(0, pingPayload)
	p.pending = true
	if !p.always {
		p.wait = min(p.wait*pingBackoff, longestPing)
	}
	p.c.traffic = false
	p.c.loop.Arm(&p.timer, p.timeout)
}

var pingPayload = []byte("anybody?")

// fire asks, or looks for the answer.
func (p *pinger) fire() {
	c := p.c
	if p.pending && !c.closed {
		c.busy = true
		c.lim.count(Silent)
		c.kill(errSilent)
		c.leave()
		return
	}
	if c.closed || c.streams.n == 0 && !p.always {
		return
	}
	if c.traffic {
		p.wait = p.after
	}
	if silent := c.loop.Now().Sub(p.heard); silent < p.wait {
		c.loop.Arm(&p.timer, p.wait-silent)
		return
	}
	p.ask()
}
