package upstream

import (
	"time"

	"fairway.dev/gateway/loop"
	"fairway.dev/routing"
)

// The defaults of routing.OutlierDetection, which are Istio's; the longest
// ejection is Envoy's max_ejection_time.
const (
	defaultOutlierRow      = 5
	defaultOutlierInterval = 10 * time.Second
	defaultOutlierBase     = 30 * time.Second
	defaultOutlierMax      = 10 // percent
	longestOutlier         = 300 * time.Second
)

// outliers is a routing.OutlierDetection with its defaults. It never changes.
type outliers struct {
	answers, gateway, local uint64 // failures in a row that eject; 0: off
	split                   bool
	interval, base, longest instant
	maxPercent, minHealth   int
	codes                   [10]uint64 // statuses that count as answers' failures
}

func newOutliers(o *routing.OutlierDetection) *outliers {
	if o == nil {
		return nil
	}
	d := &outliers{
		answers: streak(o.Consecutive5xx, defaultOutlierRow), gateway: streak(o.ConsecutiveGateway, 0),
		split:    o.Split,
		interval: instant(positive(o.Interval, defaultOutlierInterval)), base: instant(positive(o.Base, defaultOutlierBase)),
		maxPercent: min(positive(o.MaxPercent, defaultOutlierMax), 100), minHealth: min(max(o.MinHealthPercent, 0), 100),
	}
	if o.Split {
		d.local = streak(o.ConsecutiveLocal, defaultOutlierRow)
	}
	d.longest = max(d.base, instant(longestOutlier))
	for _, code := range o.Codes {
		if code >= 0 && code < 64*len(d.codes) {
			d.codes[code/64] |= 1 << (code % 64)
		}
	}
	if len(o.Codes) == 0 {
		for code := 500; code < 600; code++ {
			d.codes[code/64] |= 1 << (code % 64)
		}
	}
	return d
}

// streak resolves a number of failures in a row: 0 is the default, negative is off.
func streak(n, byDefault int) uint64 {
	switch {
	case n == 0:
		return uint64(byDefault)
	case n < 0:
		return 0
	}
	return min(uint64(n), mostStreak)
}

func (d *outliers) counts(status int) bool {
	return status < 64*len(d.codes) && d.codes[status/64]&(1<<(status%64)) != 0
}

// sweep returns the first moment from t on at which endpoints are looked at.
// What Envoy does in each such moment is calculated here when somebody asks: so
// that there is no timer, and all gateways and loops agree.
func (d *outliers) sweep(t instant) instant { return (t + d.interval - 1) / d.interval * d.interval }

// streaks are failures in a row, by kind, in one word: a success that follows
// none reads it and is done. Without outliers only the first count is used.
type streaks uint64

const (
	streakBits = 21
	mostStreak = 1<<streakBits - 1
)

func newStreaks(answers, gateway, local uint64) streaks {
	return streaks(min(answers, mostStreak) | min(gateway, mostStreak)<<streakBits | min(local, mostStreak)<<(2*streakBits))
}

func (s streaks) split() (answers, gateway, local uint64) {
	return uint64(s) & mostStreak, uint64(s) >> streakBits & mostStreak, uint64(s) >> (2 * streakBits)
}

// isGatewayError reports whether a status is that of a gateway whose backend
// fails (consecutive_gateway_failure).
func isGatewayError(status int) bool { return status >= 502 && status <= 504 }

// judge adds a response's status to what came before it in a row. It reports
// whether one row is long enough to eject; that row begins anew then.
func (d *outliers) judge(s streaks, status int) (next streaks, eject bool) {
	answers, gateway, _ := s.split()
	if isGatewayError(status) {
		gateway++
	} else {
		gateway = 0
	}
	if d.counts(status) {
		answers++
	} else {
		answers = 0
	}
	return d.due(answers, gateway, 0)
}

// judgeLocal is judge for a failure without a response: it counts as a status
// 503 does, unless such failures are split from what endpoints answer.
func (d *outliers) judgeLocal(s streaks) (next streaks, eject bool) {
	answers, gateway, local := s.split()
	if d.split {
		return d.due(answers, gateway, local+1)
	}
	return d.due(answers+1, gateway+1, local)
}

func (d *outliers) due(answers, gateway, local uint64) (next streaks, eject bool) {
	for _, row := range []struct {
		n     *uint64
		limit uint64
	}{{&answers, d.answers}, {&gateway, d.gateway}, {&local, d.local}} {
		if row.limit > 0 && *row.n >= row.limit {
			*row.n, eject = 0, true
		}
	}
	return newStreaks(answers, gateway, local), eject
}

// strike adds to ep's streaks what judge says, and ejects it where it is time.
func (ep *Endpoint) strike(l *loop.Loop, d *outliers, judge func(streaks) (streaks, bool)) {
	c := ep.cluster
	now := c.set.instant(l.Now())
	if ep.health.outUntil.Load() > now {
		return // it begins anew once it is back
	}
	for {
		old := ep.health.streaks.Load()
		next, eject := judge(streaks(old))
		if !ep.health.streaks.CompareAndSwap(old, uint64(next)) {
			continue
		}
		if eject && c.ejectOutlier(ep, now, d) {
			c.tellEjected(ep, CauseOutlier)
		}
		return
	}
}

// ejectOutlier ejects ep unless too many are out already; one always may be.
func (c *Cluster) ejectOutlier(ep *Endpoint, now instant, d *outliers) bool {
	c.ejecting.Lock()
	defer c.ejecting.Unlock()
	v := c.view.Load()
	if out := v.ejected(now); out > 0 && out*100 >= d.maxPercent*len(v.usable) {
		return false
	}
	return ep.health.ejectOutlier(now, d)
}

// ejected returns how many of the endpoints are out for failures.
func (v *view) ejected(now instant) (n int) {
	for _, m := range v.usable {
		if m.ep.health.outUntil.Load() > now {
			n++
		}
	}
	return n
}

// ejectOutlier takes the endpoint out for base times the number of its
// ejections, which falls by one with each sweep that finds it in. It comes back
// with a sweep too, and with all of its share.
func (h *health) ejectOutlier(now instant, d *outliers) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	back := h.outUntil.Load()
	if back > now {
		return false
	}
	if back == longAgo {
		h.row = 0
	} else {
		h.row -= min(h.row, int((now-back)/d.interval))
	}
	if d.base*instant(h.row) < d.longest {
		h.row++
	}
	until := d.sweep(now + min(d.base*instant(h.row), d.longest))
	h.leave(until)
	h.length.Store(0)
	h.settle()
	return true
}
