package upstream

import (
	"net/netip"
	"reflect"
	"sync"
	"sync/atomic"

	"fairway.dev/gateway/loop"
	"fairway.dev/routing"
)

// A Cluster is a named set of endpoints with one way of talking to them. It
// is shared by all loops.
type Cluster struct {
	set  *Set
	name routing.ClusterName
	view atomic.Pointer[view] // stored under Set.mu

	places   places        // of connections to all endpoints
	ejecting sync.Mutex    // so that no two ejections pass MaxPercent together
	tide     atomic.Uint64 // rises whenever the health of an endpoint has changed

	hosts atomic.Pointer[hosts] // of routing.ResolveHost

	// Set.mu guards what follows.
	list    []routing.Endpoint // as it was put
	names   map[string]*hostName
	asked   map[string]*hostCluster
	removed bool

	_       [64]byte // what follows is written by all loops all the time
	active  atomic.Int64
	pending atomic.Int64
	retries atomic.Int64
	_       [40]byte
}

func newCluster(s *Set, spec *routing.Cluster) *Cluster {
	c := &Cluster{set: s, name: spec.Name}
	c.view.Store(c.newView(newConfig(spec, s.newWay(spec, nil), s.newBudget(spec, nil)), nil))
	c.warnOfTLS()
	return c
}

// Name returns the cluster's name.
func (c *Cluster) Name() routing.ClusterName { return c.name }

// Spec returns the cluster's settings in force. They do not change.
func (c *Cluster) Spec() *routing.Cluster { return c.view.Load().config.spec }

// Begin counts an exchange against the limit of active requests. False means
// that there are too many (UO); otherwise End is called once.
func (c *Cluster) Begin() bool {
	if c.active.Add(1) <= c.view.Load().config.requests {
		return true
	}
	c.active.Add(-1)
	c.overflow(LimitRequests)
	return false
}

// End ends what Begin began.
func (c *Cluster) End() { c.active.Add(-1) }

// BeginRetry counts a retry against the limit of retries under way. False means
// that there are too many (UO); otherwise EndRetry is called once, when its
// response has begun, or it has come to nothing.
func (c *Cluster) BeginRetry() bool {
	if c.retries.Add(1) <= c.view.Load().config.retries {
		return true
	}
	c.retries.Add(-1)
	c.overflow(LimitRetries)
	return false
}

// EndRetry ends what BeginRetry began.
func (c *Cluster) EndRetry() { c.retries.Add(-1) }

// LimitsRetries reports whether the cluster has a limit of retries of its own.
func (c *Cluster) LimitsRetries() bool { return c.view.Load().config.spec.Limits.Retries != 0 }

func (c *Cluster) overflow(which Limit) {
	if count := c.set.o.OnOverflow; count != nil {
		count(c, which)
	}
}

// A Want says what to pick.
type Want struct {
	Hash    uint64 // of the request, where HasHash: see Cluster.Hash
	HasHash bool
	Pinned  netip.AddrPort // the session's endpoint, used where it can be
	Tried   []*Endpoint    // left out unless there is no other
	Host    string         // the request's authority, for clusters that go where it says
	Here    bool           // of our own network alone: it came from another
}

// Spreads reports whether some endpoints of the cluster are gateways of other
// networks (Endpoint.Far).
func (c *Cluster) Spreads() bool { return c.view.Load().here != nil }

// Pick picks an endpoint for one try, on l. Its Done is called once when the
// try has ended, however it did. The error is ErrNoEndpoints, or for a cluster that
// goes where the request's host says, ErrUnresolved or ErrNoAddress.
func (c *Cluster) Pick(l *loop.Loop, want *Want) (*Endpoint, error) {
	v := c.view.Load()
	if v.byHost {
		return c.pickHost(l, want)
	}
	ch := &c.set.picks[l.Index()]
	ch.now = c.set.instant(l.Now())
	ch.tried = want.Tried
	if v.crowd != nil || v.here != nil {
		ch.tide = c.tide.Load()
	}
	m := v.choose(ch, want, l.Index())
	ch.tried = nil
	switch {
	case m == nil && v.nameless:
		return nil, errNameless
	case m == nil:
		return nil, ErrNoEndpoints
	}
	m.ep.inFlight.Add(1)
	return m.ep, nil
}

// configure puts new settings in force.
func (c *Cluster) configure(spec *routing.Cluster) {
	old := c.view.Load()
	cfg := newConfig(spec, c.set.newWay(spec, old.config.way), c.set.newBudget(spec, old.config.budget))
	if reflect.DeepEqual(old.config.spec.Balance, spec.Balance) && reflect.DeepEqual(old.config.spec.Outliers, spec.Outliers) &&
		old.config.spec.Resolve == spec.Resolve {
		next := *old
		next.config = cfg
		c.view.Store(&next)
	} else {
		c.view.Store(c.newView(cfg, old.all))
	}
	if old.config.spec.Resolve != spec.Resolve {
		c.putEndpoints(c.list)
	}
	c.configureHosts(spec)
	c.startChecks()
	if cfg.way != old.config.way {
		c.warnOfTLS()
		c.eachPool(old.endpoints(), (*pool).follow)
	}
}

func (c *Cluster) warnOfTLS() {
	if err := c.view.Load().config.way.err; err != nil && c.set.o.Log != nil {
		c.set.o.Log.Warn("cluster closed", "cluster", c.name, "origin", c.Spec().Origin, "err", err)
	}
}

// setEndpoints puts new endpoints in force. Of two with one address the first
// counts.
func (c *Cluster) setEndpoints(list []routing.Endpoint) {
	old := c.view.Load()
	known := make(map[netip.AddrPort]*Endpoint, len(old.all))
	for i := range old.all {
		known[old.all[i].ep.addr] = old.all[i].ep
	}
	used := make(map[*Endpoint]bool, len(old.usable))
	for _, m := range old.usable {
		used[m.ep] = true
	}
	members := make([]member, 0, len(list))
	seen := make(map[netip.AddrPort]bool, len(list))
	for _, e := range list {
		if seen[e.Addr] {
			continue
		}
		seen[e.Addr] = true
		ep := known[e.Addr]
		if ep == nil || !ep.is(&e) {
			ep = newEndpoint(c, &e)
		} else {
			delete(known, e.Addr)
		}
		members = append(members, member{ep: ep, weight: max(e.Weight, 1), spec: e})
	}
	next := c.newView(old.config, members)
	if slow := old.config.slowStart; slow > 0 && len(old.usable) > 0 {
		for _, m := range next.usable {
			if !used[m.ep] {
				m.ep.health.startSlowly(slow, old.config.slope)
			}
		}
	}
	c.view.Store(next)
	c.startChecks()
	left := make([]*Endpoint, 0, len(known))
	for _, ep := range known {
		left = append(left, ep)
	}
	c.retire(left)
}

// retire drains the pools of endpoints that are used no more.
func (c *Cluster) retire(left []*Endpoint) {
	for _, ep := range left {
		ep.gone.Store(true)
		ep.endCheck()
	}
	c.eachPool(left, (*pool).drain)
}

// eachPool runs f for the pools of eps, each on its loop.
func (c *Cluster) eachPool(eps []*Endpoint, f func(*pool)) {
	if len(eps) == 0 {
		return
	}
	for i, l := range c.set.o.Loops {
		l.Post(func() {
			for _, ep := range eps {
				ep.poolsOn(i, f)
			}
		})
	}
}
