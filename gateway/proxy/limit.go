package proxy

import (
	"slices"
	"sync/atomic"

	"fairway.dev/gateway/message"
	"fairway.dev/gateway/policy"
	"fairway.dev/gateway/policy/ratelimit"
	"fairway.dev/routing"
)

// limits are what counts the requests of a rule that come in by one listener. They
// are made when somebody comes, and again when a policy is another.
type limits struct {
	listener *routing.Listener
	names    []routing.PolicyName // the listener's, then the rule's own
	found    []*routing.Policy    // that have the names, nil for one that is not there
	// lacking is one of the rule's own that is not there, or bounds nothing: then
	// nobody passes. Empty: there is none.
	lacking routing.PolicyName
	set     *ratelimit.Set // of all at once, so that a policy on both counts once

	checked atomic.Pointer[routing.Snapshot] // in which all that is as it was
}

// limitSet is the rate limits among policies; nil: there are none.
func (p *Proxy) limitSet(policies []*routing.Policy) *ratelimit.Set {
	if !slices.ContainsFunc(policies, func(x *routing.Policy) bool { return x.RateLimit != nil }) {
		return nil
	}
	return p.o.Limits.Set(policies)
}

// limitsOf returns the limits of a rule that has some of its own. What two loops
// make at once is made again for one of them.
func (p *Proxy) limitsOf(r *rule, l *routing.Listener, snap *routing.Snapshot) *limits {
	var list []*limits
	if known := r.counted.Load(); known != nil {
		list = *known
	}
	for _, x := range list {
		if x.listener == l && x.holds(snap) {
			return x
		}
	}
	list = slices.DeleteFunc(slices.Clone(list), func(x *limits) bool {
		return x.listener == l || snap.Listener(x.listener.Name) != x.listener
	})
	x := p.newLimits(r, l, snap)
	list = append(list, x)
	r.counted.Store(&list)
	return x
}

func (x *limits) holds(snap *routing.Snapshot) bool {
	if x.checked.Load() == snap {
		return true
	}
	if !areFound(x.found, x.names, snap) || x.set.Forgotten() {
		return false
	}
	x.checked.Store(snap)
	return true
}

func (p *Proxy) newLimits(r *rule, l *routing.Listener, snap *routing.Snapshot) *limits {
	x := &limits{listener: l, names: slices.Concat(l.Policies, r.policies)}
	var there []*routing.Policy
	for i, name := range x.names {
		found := snap.Policy(name)
		x.found = append(x.found, found)
		switch {
		case found != nil && found.RateLimit != nil:
			if !slices.Contains(there, found) {
				there = append(there, found)
			}
		case i >= len(l.Policies):
			x.lacking = name
		}
	}
	x.set = p.o.Limits.Set(there)
	x.checked.Store(snap)
	return x
}

// prepareLimits forgets the counts of policies that are neither in snap nor in the
// Snapshot in force, some of whose requests may be about to be counted.
func (p *Proxy) prepareLimits(snap *routing.Snapshot) {
	var needed []*routing.Policy
	for _, s := range []*routing.Snapshot{snap, p.snap.Load()} {
		if s != nil {
			needed = slices.AppendSeq(needed, s.RateLimits())
		}
	}
	p.o.Limits.Retain(needed)
}

// A count is what rate limits have said of a request so far.
type count struct {
	on   *local
	hear func(ratelimit.Decision) // c.heard

	counting
}

// counting is what of a count ends with its exchange.
type counting struct {
	e         *exchange
	set       *ratelimit.Set
	decision  ratelimit.Decision
	questions []*ratelimit.Question
	asked     int    // of the questions
	cancel    func() // the one that a store is asked; nil: none
	fields    []policy.Edit
}

// limit counts a request, and goes on with it once it is clear that it may pass.
func (e *exchange) limit() {
	set := e.limitsOn()
	if set == nil {
		e.answer(&denied)
		return
	}
	c := e.on.takeCount(e)
	e.count, c.set = c, set
	now, a := e.on.loop.Now(), e.countable()
	if c.decision = set.Take(now, a); c.decision.Allowed {
		c.questions = set.Questions(c.questions, now, a)
	}
	a.Request.Claims = nil
	if !c.decision.Allowed {
		e.refuse()
		return
	}
	e.askStore()
}

// limitsOn returns what counts the request; nil: a policy is lacking.
func (e *exchange) limitsOn() *ratelimit.Set {
	if len(e.rule.policies) == 0 {
		return e.guard.limits
	}
	x := e.on.proxy.limitsOf(e.rule, e.listener, e.snap)
	if x.lacking != "" {
		e.rec.Policy = string(x.lacking) + " refuses all: there is no such rate limit"
		return nil
	}
	return x.set
}

// countable is what rate limits look at. Who asks for it takes the claims out
// again.
func (e *exchange) countable() *ratelimit.Attributes {
	a := &e.on.countable
	a.Request, a.Client, a.Identity = e.question(), e.remoteIP(), e.peer.Identity
	if e.proved != nil {
		a.Request.Claims = e.proved
	}
	return a
}

// askStore asks the next of the stores in which the request counts, and lets it go
// on where all have been.
func (e *exchange) askStore() {
	c := e.count
	if c.asked == len(c.questions) {
		e.authorize()
		return
	}
	q := c.questions[c.asked]
	c.asked++
	if q.OfService() {
		e.consult(q)
		return
	}
	c.cancel = q.Ask(e.on.loop, c.hear)
}

// heard takes what a store says that is not asked by an inquiry.
func (c *count) heard(d ratelimit.Decision) {
	c.cancel = nil
	c.e.counted(&d)
}

// counted goes on with what a store has decided.
func (e *exchange) counted(d *ratelimit.Decision) {
	c := e.count
	e.moved()
	if d.Failed && d.Allowed {
		if e.rec.Audit != "" {
			e.rec.Audit += ", "
		}
		e.rec.Audit += string(d.Policy) + " has not counted it"
	}
	if c.decision.Tighten(d); c.decision.Allowed {
		e.askStore()
		return
	}
	a := e.countable()
	c.set.GiveBack(a)
	a.Request.Claims = nil
	e.refuse()
}

// refuse answers a request that is over a limit, or that nobody could count.
func (e *exchange) refuse() {
	d := &e.count.decision
	e.rec.Policy = string(d.Policy)
	if d.Rule != "" {
		e.rec.Policy += " " + d.Rule
	}
	if d.Failed {
		e.answer(&uncounted)
		return
	}
	e.answer(&overLimit)
}

// tell has the response say what is left of the limit, unless one that is nearer
// to the workload says so already.
func (c *count) tell(f *message.Fields) {
	if _, told := f.Value("x-ratelimit-limit"); told {
		return
	}
	c.fields = c.decision.Fields(c.fields[:0])
	for i := range c.fields {
		editField(f, &c.fields[i])
	}
}

func (l *local) takeCount(e *exchange) *count {
	var c *count
	if n := len(l.counts); n > 0 {
		c = l.counts[n-1]
		l.counts = l.counts[:n-1]
	} else {
		c = &count{on: l}
		c.hear = c.heard
	}
	c.e = e
	return c
}

// leave takes a count out of its exchange, which is over.
func (c *count) leave() {
	if c.cancel != nil {
		c.cancel()
	}
	clear(c.questions)
	c.counting = counting{questions: c.questions[:0], fields: c.fields[:0]}
	if len(c.on.counts) < keepObjects {
		c.on.counts = append(c.on.counts, c)
	}
}
