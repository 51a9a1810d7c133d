package upstream

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"fairway.dev/gateway/loop"
	"fairway.dev/routing"
)

// The defaults of routing.HealthCheck.
const (
	defaultCheckInterval  = 10 * time.Second
	defaultCheckTimeout   = time.Second
	defaultCheckUnhealthy = 3
	defaultCheckHealthy   = 1
)

const (
	// firstCheckWithin is when an endpoint that is new is asked, at most.
	firstCheckWithin = time.Second
	// maxChecks is how many endpoints one loop asks at a time. The others wait.
	maxChecks = 64
)

// A CheckOutcome is what a health check found.
type CheckOutcome uint8

const (
	CheckPassed CheckOutcome = iota
	CheckFailed              // another answer than was wanted, or no connection
	CheckTimeout
)

var errCheckTimeout = errors.New("no answer in time")

// A check asks one endpoint how it is, again and again, from one loop. That one
// is chosen by the endpoint's address, so that the loops share the work.
type check struct {
	ep       *Endpoint
	loop     *loop.Loop
	timer    loop.Timer // until the next question, or the end of this one
	question *question  // under way, or nil
	waiting  bool       // in the desk's queue
	passed   int        // in a row
	failed   int        // in a row
}

// A desk is a loop's checks that ask, and those that wait until they may.
type desk struct {
	asking int
	queue  []*check
	_      [32]byte // each loop writes its own
}

// startChecks sees to it that endpoints are asked where the cluster wants it.
// It is called with Set.mu held.
func (c *Cluster) startChecks() {
	v := c.view.Load()
	if v.config.spec.Health == nil {
		return
	}
	for i := range v.all {
		if v.all[i].spec.Ready && v.all[i].spec.Far == nil { // of whom it would be told how others are
			v.all[i].ep.startCheck()
		}
	}
}

// startCheck begins to ask ep, unless somebody does.
func (ep *Endpoint) startCheck() {
	loops := ep.cluster.set.o.Loops
	k := &check{ep: ep, loop: loops[ep.identity%uint64(len(loops))]}
	if ep.check.CompareAndSwap(nil, k) {
		k.loop.Post(k.begin)
	}
}

// endCheck ends ep's check at once.
func (ep *Endpoint) endCheck() {
	if k := ep.check.Load(); k != nil {
		k.loop.Post(k.end)
	}
}

// wanted returns what is to be asked, nil if nothing is. EndpointSlices have the
// first word: who is not ready is not asked.
func (k *check) wanted() *routing.HealthCheck {
	v := k.ep.cluster.view.Load()
	if m := v.byAddr[k.ep.addr]; m == nil || !m.spec.Ready || k.ep.gone.Load() {
		return nil
	}
	return v.config.spec.Health
}

func (k *check) begin() {
	k.timer.Fire = k.fire
	if h := k.wanted(); h != nil {
		k.loop.Arm(&k.timer, k.upTo(min(firstCheckWithin, positive(h.Interval, defaultCheckInterval))))
		return
	}
	k.end()
}

// upTo returns a random time up to d.
func (k *check) upTo(d time.Duration) time.Duration {
	rng := &k.ep.cluster.set.picks[k.loop.Index()].rng
	return time.Duration(rng.Uint64() % uint64(max(d, 1)))
}

func (k *check) desk() *desk { return &k.ep.cluster.set.desks[k.loop.Index()] }

// fire asks, or gives the question up that is under way.
func (k *check) fire() {
	if k.question != nil {
		k.question.end(errCheckTimeout)
		return
	}
	if k.wanted() == nil {
		k.end()
		return
	}
	if d := k.desk(); d.asking >= maxChecks {
		d.queue = append(d.queue, k)
		k.waiting = true
		return
	}
	k.ask()
}

func (k *check) ask() {
	k.waiting = false
	h := k.wanted()
	if h == nil {
		k.end()
		return
	}
	k.desk().asking++
	k.loop.Arm(&k.timer, positive(h.Timeout, defaultCheckTimeout))
	k.question = newQuestion(k, h)
	k.question.begin()
}

// heard takes the answer to the question, and lets the next who waits ask.
func (k *check) heard(err error) {
	k.question = nil
	k.leaveDesk()
	h := k.wanted()
	if h == nil {
		k.end()
		return
	}
	if err == nil || !isOurs(err) {
		k.judge(h, err)
	}
	// A tenth more or less keeps gateways that began together from going on so.
	interval := positive(h.Interval, defaultCheckInterval)
	k.loop.Arm(&k.timer, interval-interval/10+k.upTo(interval/5))
}

func (k *check) leaveDesk() {
	d := k.desk()
	d.asking--
	if len(d.queue) > 0 {
		next := d.queue[0]
		d.queue[0] = nil
		d.queue = d.queue[1:]
		k.loop.Defer(func() {
			if next.waiting {
				next.ask()
			}
		})
	}
}

// judge draws conclusions from an answer.
func (k *check) judge(h *routing.HealthCheck, err error) {
	c := k.ep.cluster
	c.tellChecked(k.ep, err)
	if err == nil {
		k.passed, k.failed = k.passed+1, 0
		k.ep.checkErr.Store(nil)
		if k.ep.health.sick.Load() && k.passed >= positive(h.Healthy, defaultCheckHealthy) {
			k.recover()
		}
		return
	}
	k.passed, k.failed = 0, k.failed+1
	text := err.Error()
	k.ep.checkErr.Store(&text)
	if k.failed >= positive(h.Unhealthy, defaultCheckUnhealthy) && k.ep.health.fallSick() {
		c.tide.Add(1)
		c.logHealth(k.ep, "endpoint is unhealthy", "err", err)
	}
}

func (k *check) recover() {
	c := k.ep.cluster
	cfg := c.view.Load().config
	k.ep.health.recover(c.set.instant(k.loop.Now()), cfg.slowStart, cfg.slope)
	c.tide.Add(1)
	c.logHealth(k.ep, "endpoint is healthy again")
}

// end ends the check. Who was unhealthy by it is no longer.
func (k *check) end() {
	if k.ep.check.Load() != k {
		return // ended before
	}
	k.loop.Drop(&k.timer)
	k.waiting = false
	if q := k.question; q != nil {
		k.question = nil
		q.close()
		k.leaveDesk()
	}
	if k.ep.health.sick.Load() {
		k.recover()
	}
	k.ep.checkErr.Store(nil)
	if k.ep.check.CompareAndSwap(k, nil) && k.wanted() != nil {
		k.ep.startCheck() // it became wanted again in this moment
	}
}

func (c *Cluster) tellChecked(ep *Endpoint, err error) {
	if count := c.set.o.OnCheck; count != nil {
		switch {
		case err == nil:
			count(c, ep, CheckPassed)
		case errors.Is(err, errCheckTimeout) || errors.Is(err, ErrTimeout):
			count(c, ep, CheckTimeout)
		default:
			count(c, ep, CheckFailed)
		}
	}
}

func (c *Cluster) logHealth(ep *Endpoint, what string, more ...any) {
	if log := c.set.o.Log; log != nil {
		log.Info(what, append([]any{"cluster", c.name, "endpoint", ep.addr}, more...)...)
	}
}

// fallSick takes an endpoint out until it recovers. It reports false where that
// is so already.
func (h *health) fallSick() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.sick.Load() {
		return false
	}
	h.sick.Store(true)
	h.settle()
	return true
}

// recover brings an endpoint back that was sick: like a new one where those
// start slowly, else like one that refused connections.
func (h *health) recover(now instant, slowStart time.Duration, s *slope) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sick.Store(false)
	switch {
	case h.outUntil.Load() > now: // out for other reasons, and back after that
	case slowStart > 0:
		h.slope.Store(s)
		h.length.Store(int64(slowStart))
		h.from.Store(now)
	default:
		h.comeBack(now, minReturn)
	}
	h.settle()
}

// checkAddr is where ep is asked.
func checkAddr(ep *Endpoint, h *routing.HealthCheck) netip.AddrPort {
	if h.Port != 0 {
		return netip.AddrPortFrom(ep.addr.Addr(), h.Port)
	}
	return ep.addr
}

// wrongStatus is the error of an answer with a status that is not wanted.
func wrongStatus(status int, wanted string) error {
	return fmt.Errorf("status %d, want %s", status, wanted)
}
