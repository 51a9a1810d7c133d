package proxy

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"

	"fairway.dev/gateway/message"
	"fairway.dev/gateway/policy/authz"
	"fairway.dev/gateway/policy/jwt"
	"fairway.dev/gateway/policy/ratelimit"
	"fairway.dev/gateway/telemetry"
	"fairway.dev/routing"
)

// A guard is the policies of a listener, made ready.
type guard struct {
	set    *authz.Set
	limits *ratelimit.Set    // nil: there are none
	found  []*routing.Policy // of the listener's names, nil for one that is not there
	trust  []string          // the trust domains, when it was made
	asks   map[*routing.ExternalAuth]*asker

	checked atomic.Pointer[routing.Snapshot] // in which all that is as it was
}

// guardOf returns the guard of l; nil: nobody is in the way. It is made when
// somebody comes to it, and again when a policy is another.
func (p *Proxy) guardOf(l *routing.Listener, snap *routing.Snapshot) *guard {
	if len(l.Policies) == 0 {
		return nil
	}
	if g, ok := p.guards.Load(l); ok && g.(*guard).holds(p, l, snap) {
		return g.(*guard)
	}
	g := p.newGuard(l, snap)
	p.guards.Store(l, g)
	return g
}

// holds reports whether the policies are those that l has now, and those who
// are asked are there as they were.
func (g *guard) holds(p *Proxy, l *routing.Listener, snap *routing.Snapshot) bool {
	if g.checked.Load() == snap {
		return true
	}
	if !areFound(g.found, l.Policies, snap) || g.limits != nil && g.limits.Forgotten() {
		return false
	}
	for ask, a := range g.asks {
		if a.cluster != p.o.Clusters.Cluster(ask.Cluster) {
			return false
		}
	}
	if !slices.Equal(g.trust, snap.TrustDomains()) {
		return false
	}
	g.checked.Store(snap)
	return true
}

// areFound reports whether found are the policies that have the names.
func areFound(found []*routing.Policy, names []routing.PolicyName, snap *routing.Snapshot) bool {
	for i, name := range names {
		if found[i] != snap.Policy(name) {
			return false
		}
	}
	return true
}

func (p *Proxy) newGuard(l *routing.Listener, snap *routing.Snapshot) *guard {
	g := &guard{trust: snap.TrustDomains(), asks: map[*routing.ExternalAuth]*asker{}}
	var there []*routing.Policy
	var missing []routing.PolicyName
	for _, name := range l.Policies {
		policy := snap.Policy(name)
		g.found = append(g.found, policy)
		if policy == nil {
			missing = append(missing, name)
			continue
		}
		there = append(there, policy)
		if a := policy.Authorization; a != nil && a.External != nil {
			g.asks[a.External] = p.asker(a.External)
		}
	}
	g.set, g.limits = authz.New(there, missing, g.trust), p.limitSet(there)
	g.checked.Store(snap)
	return g
}

// prepareGuards forgets the guards of listeners that are gone.
func (p *Proxy) prepareGuards(snap *routing.Snapshot) {
	p.guards.Range(func(l, _ any) bool {
		if snap.Listener(l.(*routing.Listener).Name) != l {
			p.guards.Delete(l)
		}
		return true
	})
}

// pass asks the policies of the listener whether the request may pass, and goes
// on with where it goes to.
func (e *exchange) pass(res *routing.Result, token *jwt.Token) {
	g := e.on.proxy.guardOf(res.Listener, e.snap)
	e.proved = token
	if g == nil {
		e.arrive(res)
		return
	}
	e.listener, e.guard, e.went = res.Listener, g, *res
	e.questions = g.set.Custom(e.questions[:0], e.attributes())
	e.askNext()
}

// askNext asks the next of those who have to let the request pass, and then the
// other policies.
func (e *exchange) askNext() {
	if len(e.questions) == 0 {
		e.judge()
		return
	}
	q := e.questions[0]
	e.questions = e.questions[1:]
	e.tellLost(e.listener)
	e.asking, e.refusing = e.guard.asks[q.Ask], q.Policy
	e.ask()
}

// judge decides by the policies that ask nobody.
func (e *exchange) judge() {
	d := e.guard.set.Check(e.attributes())
	e.asking, e.refusing = nil, ""
	if len(d.Audited)+len(d.Tried) > 0 {
		e.rec.Audit = audit(&d)
	}
	if !d.Allowed {
		e.tellLost(e.listener)
		e.rec.Policy = d.String()
		e.answer(&denied)
		return
	}
	e.arrive(&e.went)
}

// denied is what Istio says, too.
var denied = answer{403, telemetry.Unauthorized, "RBAC: access denied"}

// audit is what the log says of policies that refuse nobody.
func audit(d *authz.Decision) string {
	var texts []string
	for _, name := range d.Audited {
		texts = append(texts, fmt.Sprintf("%s holds", name))
	}
	for _, name := range d.Tried {
		texts = append(texts, fmt.Sprintf("%s would refuse", name))
	}
	return strings.Join(texts, ", ")
}

// attributes are what policies look at.
func (e *exchange) attributes() *authz.Attributes {
	a := &e.on.attributes
	a.Peer, a.Request = e.peer, e.req
	a.RemoteIP = e.remoteIP()
	a.Destination, a.Port = e.peer.Local.Addr(), e.peer.Local.Port()
	a.Host, a.Path, a.Token = e.req.Authority, e.plainPath(), nil
	if e.proved != nil {
		a.Token = e.proved
	}
	return a
}

// remoteIP is the client's address as far as X-Forwarded-For is believed: the
// first of the entries that identify has kept.
func (e *exchange) remoteIP() netip.Addr {
	list, _ := e.req.Fields.Get(message.XForwardedFor)
	first, _, _ := strings.Cut(list, ",")
	addr, err := netip.ParseAddr(strings.TrimSpace(first))
	if err != nil {
		return e.peer.Remote.Addr()
	}
	return addr.Unmap()
}

// errAsked is why a connection does not pass where somebody would have to be
// asked about it, and errUncountable why not where a limit is FailClosed.
var (
	errAsked       = errors.New("a CUSTOM policy is about requests, and these are none")
	errUncountable = errors.New("it counts requests, and these are none")
)

// passStream says why a connection of which no requests are seen may not pass.
func (l *local) passStream(to *routing.Listener, snap *routing.Snapshot, a *Arrival) error {
	g := l.proxy.guardOf(to, snap)
	if g == nil {
		return nil
	}
	x := &l.attributes
	x.Peer, x.Request, x.Token = a.peer(), nil, nil
	x.RemoteIP, x.Destination, x.Port = a.Source, a.Destination, a.peer().Local.Port()
	x.Host, x.Path = "", ""
	if q := g.set.Custom(nil, x); len(q) > 0 {
		return fmt.Errorf("%s refuses: %w", q[0].Policy, errAsked)
	}
	if d := g.set.Check(x); !d.Allowed {
		return errors.New(d.String())
	}
	for _, p := range g.found { // none is missing, or nobody would pass
		if p.RateLimit != nil && p.RateLimit.FailClosed {
			return fmt.Errorf("%s refuses: %w", p.Name, errUncountable)
		}
	}
	return nil
}
