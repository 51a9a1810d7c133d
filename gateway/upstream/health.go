package upstream

import (
	"errors"
	"math"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"fairway.dev/gateway/hop"
	"fairway.dev/gateway/loop"
	"fairway.dev/routing"
)

const (
	refusedFor    = time.Second            // an endpoint that refused is out for, before the first probe
	probeInterval = 250 * time.Millisecond // between probes
	probeTimeout  = time.Second            // of one
	maxEjection   = time.Minute            // the longest ejection for failures, unless Base is longer
	forgetAfter   = time.Minute            // in without an ejection, after which the next is the first again
	minReturn     = time.Second            // the shortest slow return
	maxReturn     = 10 * time.Second       // and the longest
)

// wholeShare is the share of a member that takes all that its weight says; a
// slow return begins at a tenth.
const (
	wholeShare = 1000
	leastShare = wholeShare / 10
)

const (
	longAgo instant = math.MinInt64
	forever instant = math.MaxInt64
)

// health is whether, and how much, an endpoint is used. Picks read atomics;
// what changes them holds mu.
type health struct {
	unsteady atomic.Int64          // until this instant one has to look at the rest
	outUntil atomic.Int64          // forever while it refuses
	from     atomic.Int64          // its slow return began or will begin; forever: with the first look
	length   atomic.Int64          // of the slow return, in nanoseconds
	streaks  atomic.Uint64         // failures in a row: see streaks
	total    atomic.Int64          // ejections since it came
	sick     atomic.Bool           // by its health checks
	slope    atomic.Pointer[slope] // of the slow return; nil: a straight one from leastShare

	mu   sync.Mutex
	row  int // ejections for failures, each soon after the one before
	turn int // number of times that it began to refuse
}

func (h *health) init() {
	h.unsteady.Store(longAgo)
	h.outUntil.Store(longAgo)
}

// steady reports whether an endpoint takes its whole share.
func (h *health) steady(now instant) bool { return h.unsteady.Load() <= now }

// share returns which part of wholeShare an endpoint takes: 0 while it is out.
func (h *health) share(now instant) int64 {
	if h.steady(now) {
		return wholeShare
	}
	return h.unsteadyShare(now)
}

func (h *health) unsteadyShare(now instant) int64 {
	if h.outUntil.Load() > now || h.sick.Load() {
		return 0
	}
	s := h.slope.Load()
	from, length := h.from.Load(), h.length.Load()
	if from == forever {
		h.beginReturn(now)
		return s.at(0)
	}
	if length <= 0 || now-from >= length {
		return wholeShare
	}
	return s.at(float64(now-from) / float64(length))
}

// A slope is how the share of an endpoint grows with time (WarmupConfiguration).
type slope struct {
	least int64
	bend  float64 // what the part of the time that has passed is raised to
}

// newSlope returns nil for a straight one from leastShare.
func newSlope(c *routing.Cluster) *slope {
	if c.SlowStartLeast <= 0 && c.SlowStartAggression <= 0 {
		return nil
	}
	s := &slope{leastShare, 1}
	if c.SlowStartLeast > 0 {
		s.least = max(1, int64(min(c.SlowStartLeast, 100)*wholeShare/100))
	}
	if c.SlowStartAggression > 0 {
		s.bend = 1 / c.SlowStartAggression
	}
	return s
}

// at returns the share after a part of the time.
func (s *slope) at(part float64) int64 {
	if s == nil {
		return max(leastShare, int64(wholeShare*part))
	}
	return max(s.least, int64(wholeShare*math.Pow(part, s.bend)))
}

// beginReturn begins a new endpoint's slow start, with the first request that
// might go to it.
func (h *health) beginReturn(now instant) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.from.Load() == forever {
		h.from.Store(now)
		h.settle()
	}
}

// startSlowly makes a new endpoint take its share little by little.
func (h *health) startSlowly(d time.Duration, s *slope) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.slope.Store(s)
	h.length.Store(int64(d))
	h.from.Store(forever)
	h.unsteady.Store(forever)
}

// leave takes an endpoint out until then. mu is held.
func (h *health) leave(until instant) {
	h.streaks.Store(0)
	h.total.Add(1)
	h.outUntil.Store(until)
	h.from.Store(until)
	h.unsteady.Store(forever)
}

// comeBack sets a slow return that begins at from after being out for d. mu
// is held.
func (h *health) comeBack(from instant, d time.Duration) {
	length := int64(min(max(d, minReturn), maxReturn))
	h.slope.Store(nil)
	h.length.Store(length)
	h.from.Store(from)
	h.settle()
}

// settle says from when on nobody has to look closer. mu is held.
func (h *health) settle() {
	out, from := h.outUntil.Load(), h.from.Load()
	if out == forever || from == forever || h.sick.Load() {
		h.unsteady.Store(forever)
		return
	}
	h.unsteady.Store(max(out, from+h.length.Load()))
}

// answered draws conclusions from a response's status.
func (ep *Endpoint) answered(l *loop.Loop, status int) {
	d := ep.cluster.view.Load().config.outliers
	switch {
	case d != nil && (d.counts(status) || isGatewayError(status)):
		ep.strike(l, d, func(s streaks) (streaks, bool) { return d.judge(s, status) })
	case d == nil && isGatewayError(status):
		ep.failed(l)
	default:
		ep.succeeded()
	}
}

// failed counts a failure, and ejects ep where they are too many.
func (ep *Endpoint) failed(l *loop.Loop) {
	c := ep.cluster
	cfg := c.view.Load().config
	if d := cfg.outliers; d != nil {
		ep.strike(l, d, d.judgeLocal)
		return
	}
	if cfg.ejection.Off || int(ep.health.streaks.Add(1)) < cfg.ejection.Consecutive {
		return
	}
	ep.health.streaks.Store(0)
	if c.ejectForFailures(ep, c.set.instant(l.Now())) {
		c.tellEjected(ep, CauseFailures)
	}
}

// ejectForFailures ejects ep unless too many are out already.
func (c *Cluster) ejectForFailures(ep *Endpoint, now instant) bool {
	c.ejecting.Lock()
	defer c.ejecting.Unlock()
	v := c.view.Load()
	n, out := len(v.usable), v.ejected(now)
	if n < 2 || out > 0 && (out+1)*100 > v.config.ejection.MaxPercent*n {
		return false
	}
	return ep.health.eject(now, v.config.ejection.Base)
}

// eject takes the endpoint out for base, doubled with each ejection that
// follows closely upon the one before. It reports false where it is out.
func (h *health) eject(now instant, base time.Duration) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	until := h.outUntil.Load()
	if until > now {
		return false
	}
	if until != longAgo && now-until < int64(forgetAfter) {
		h.row++
	} else {
		h.row = 0
	}
	d := max(base, maxEjection)
	if h.row < 16 { // shifts no further than a duration is wide
		d = min(base<<h.row, d)
	}
	h.leave(now + int64(d))
	h.comeBack(now+int64(d), d)
	return true
}

// connectFailed draws conclusions from a connection to ep that came to
// nothing, and failed so many tries.
func (ep *Endpoint) connectFailed(l *loop.Loop, err error, tries int) {
	var refusal *hop.Refusal
	switch {
	case ep.anyPort():
	case errors.As(err, &refusal):
		ep.turnedAway(l, refusal, tries)
	case isOurs(err):
	case ep.waypoint && errors.Is(err, os.ErrDeadlineExceeded):
		ep.suspect(l)
	case isRefused(err) && ep.cluster.view.Load().config.outliers == nil:
		ep.refuse(l)
	default:
		for range max(tries, 1) {
			ep.failed(l)
		}
	}
}

// isRefused reports whether err means that nothing can be reached there.
func isRefused(err error) bool {
	return errors.Is(err, loop.ErrRefused) || errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.ENETUNREACH)
}

// isOurs reports whether a connection failed for something that this process
// or machine lacks. It says nothing about the endpoint.
func isOurs(err error) bool {
	if errors.Is(err, errNoCertificate) || errors.Is(err, hop.ErrNoCertificate) {
		return true
	}
	for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM,
		syscall.EADDRNOTAVAIL, syscall.EPERM, syscall.EACCES} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// refuse takes ep out until a connection succeeds, and sees to it that one is
// tried.
func (ep *Endpoint) refuse(l *loop.Loop) {
	if ep.health.outUntil.Load() == forever || ep.gone.Load() {
		return
	}
	turn, ok := ep.health.beginRefusing()
	if !ok {
		return
	}
	ep.cluster.tellEjected(ep, CauseRefused)
	pr := &prober{ep: ep, loop: l, turn: turn}
	pr.timer.Fire = pr.probe
	l.Arm(&pr.timer, refusedFor)
}

// unreachable takes ep out, at which nobody takes datagrams. A probe by TCP
// would not tell when somebody does again, so it comes back by itself.
func (ep *Endpoint) unreachable(l *loop.Loop) {
	c := ep.cluster
	cfg := c.view.Load().config
	if cfg.outliers != nil {
		ep.failed(l)
		return
	}
	if !ep.gone.Load() && ep.health.eject(c.set.instant(l.Now()), cfg.ejection.Base) {
		c.tellEjected(ep, CauseRefused)
	}
}

func (h *health) beginRefusing() (turn int, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.outUntil.Load() == forever {
		return 0, false
	}
	h.turn++
	h.leave(forever)
	return h.turn, true
}

// reachable tells that a connection to ep succeeded: where it refused before,
// it comes back.
func (ep *Endpoint) reachable(l *loop.Loop) {
	if ep.health.outUntil.Load() == forever {
		ep.health.endRefusing(ep.cluster.set.instant(l.Now()))
		ep.cluster.tide.Add(1)
	}
}

func (h *health) endRefusing(now instant) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.outUntil.Load() != forever {
		return
	}
	// Not the longer, the longer it was out: a connection has shown that it is back.
	h.comeBack(now, minReturn)
	h.outUntil.Store(longAgo)
	h.settle()
}

// refuses reports whether the endpoint has refused since that turn.
func (h *health) refuses(turn int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.turn == turn && h.outUntil.Load() == forever
}

// A prober brings an endpoint back that refuses connections. It lives on the
// loop that found out.
type prober struct {
	ep    *Endpoint
	loop  *loop.Loop
	turn  int
	timer loop.Timer
}

func (pr *prober) probe() {
	ep := pr.ep
	if ep.gone.Load() || !ep.health.refuses(pr.turn) {
		return
	}
	ep.knock(pr.loop, func(err error) {
		if err != nil {
			pr.loop.Arm(&pr.timer, probeInterval)
			return
		}
		ep.reachable(pr.loop)
	})
}

// knock finds out whether somebody is at ep, and hangs up.
func (ep *Endpoint) knock(l *loop.Loop, done func(error)) {
	if ep.waypoint && ep.tunnels() && ep.cluster.set.o.Hop != nil {
		ep.knockByHop(l, done)
		return
	}
	var how loop.Opening
	if !ep.tunnels() {
		how.First = ep.cluster.view.Load().config.way.header(nil)
	}
	ep.cluster.set.o.Dial(l, ep.near(), how, probeTimeout, func(conn Conn, _ string, err error) {
		if err == nil {
			conn.Close()
		}
		done(err)
	})
}

func (c *Cluster) tellEjected(ep *Endpoint, cause Cause) {
	c.tide.Add(1)
	if count := c.set.o.OnEject; count != nil {
		count(c, ep, cause)
	}
	if log := c.set.o.Log; log != nil {
		log.Info("endpoint ejected", "cluster", c.name, "endpoint", ep.addr, "reason", cause.String())
	}
}
