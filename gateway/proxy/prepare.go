package proxy

import (
	"cmp"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"fairway.dev/gateway/telemetry"
	"fairway.dev/gateway/upstream"
	"fairway.dev/routing"
)

// A rule is a routing.Target made ready for the loops: all that can be looked
// up or worked out once is. It does not change, but for counted.
type rule struct {
	shares []share
	limits []uint64 // of the shares: a draw below limits[i] is for shares[i] or one before
	total  uint64   // the last of limits

	request time.Duration // timeout of the whole exchange; 0 is none
	backend time.Duration // of one try; 0 is none
	retry   retryPolicy
	session *session // nil without one
	auth    *asker   // nil: nobody is asked
	fault   *fault   // nil: none

	policies []routing.PolicyName      // rate limits of its own
	counted  atomic.Pointer[[]*limits] // by listener; see limitsOf
}

// A share is one of the places where a rule sends its requests. A rule that
// answers by itself has a single one.
type share struct {
	// Exactly one of these decides.
	cluster  *upstream.Cluster
	redirect *redirect
	answer   *answer // for want of a cluster
	direct   *direct

	id       uint32 // of the cluster, in session tokens
	request  edits
	response edits
	rewrite  *rewrite // nil for none
	cors     *cors    // nil for none
	mirrors  []mirrorTo
	told     []told
	uses     []use // by loop
}

// told is who hears of the exchanges that come through one listener.
type told struct {
	listener  routing.ListenerName
	exchanges *telemetry.Exchanges
}

// Prepare makes the targets of snap that are new ready for the loops. It is
// called off the loops, after the clusters were put in Options.Clusters and
// before Publish.
func (p *Proxy) Prepare(snap *routing.Snapshot) {
	for _, t := range snap.Fresh() {
		t.Prepared = p.prepare(t)
	}
	p.prepareLost(snap)
	p.prepareWatches(snap)
	p.prepareTokens(snap)
	p.prepareGuards(snap)
	p.prepareLimits(snap)
}

// byListener is who hears of the requests of bound listeners that no rule takes.
// It never changes.
type byListener map[routing.ListenerName]*telemetry.Exchanges

// prepareLost keeps one for each listener of snap, the same while it stays.
func (p *Proxy) prepareLost(snap *routing.Snapshot) {
	known, now := *p.lost.Load(), byListener{}
	for _, port := range snap.Ports() {
		for _, l := range port.Listeners() {
			if now[l.Name] = known[l.Name]; now[l.Name] == nil {
				now[l.Name] = p.o.Metrics.Exchanges(telemetry.Labels{Listener: string(l.Name), Gateway: gatewayOf(l.Name)})
			}
		}
	}
	p.lost.Store(&now)
	p.doorsLost.Range(func(name, _ any) bool {
		if snap.Listener(name.(routing.ListenerName)) == nil {
			p.doorsLost.Delete(name)
		}
		return true
	})
}

// gatewayOf returns the Gateway of a listener, whose name is its Gateway's and
// its own; nothing of a door that gateways share: the process knows whose it is.
func gatewayOf(l routing.ListenerName) string {
	if strings.HasPrefix(string(l), routing.CallingGateways+"/") {
		return ""
	}
	if i := strings.LastIndexByte(string(l), '/'); i >= 0 {
		return string(l[:i])
	}
	return string(l)
}

func (p *Proxy) prepare(t *routing.Target) *rule {
	a := t.Action
	r := &rule{
		request: max(a.Timeouts.Request, 0),
		backend: max(a.Timeouts.Backend, 0),
		retry:   newRetryPolicy(a.Retry),
		auth:    p.asker(a.Auth),
		fault:   newFault(a.Fault),

		policies: a.Policies,
	}
	if a.Session != nil {
		r.session = newSession(a.Session, t.Route.Name, t.Index, p.o.SessionKey)
	}
	if a.Status != 0 || a.Redirect != nil || len(a.Backends) == 0 {
		s := p.share(t, &routing.Backend{Status: a.Status, Redirect: a.Redirect})
		if authored(t) {
			s.answer, s.direct = nil, newDirect(a)
		}
		r.shares, r.limits, r.total = []share{s}, []uint64{1}, 1
		return r
	}
	for i := range a.Backends {
		b := &a.Backends[i]
		r.total += uint64(b.Weight)
		r.shares = append(r.shares, p.share(t, b))
		r.limits = append(r.limits, r.total)
	}
	return r
}

// authored reports whether the rule's status is what its author wants answered.
// 500 stands in place of a rule that is closed. Gateway API has no such status:
// there 500 and 503 are for references that lead nowhere.
func authored(t *routing.Target) bool {
	status := t.Action.Status
	if status == 0 || status != t.Rule.Action.Status {
		return false
	}
	return status < 500 || t.Route.Ordered || t.Action.Body != ""
}

// share makes one share of a rule. What the rule asks for comes before what
// the backend does on the way there, and after it on the way back.
func (p *Proxy) share(t *routing.Target, b *routing.Backend) share {
	a := t.Action
	s := share{
		request:  newEdits(a.Request, b.Request),
		response: newEdits(b.Response, a.Response),
		rewrite:  newRewrite(a.Rewrite, b.Rewrite),
		cors:     newCORS(cmp.Or(b.CORS, a.CORS)),
		uses:     make([]use, p.o.Loops),
	}
	switch {
	case b.Redirect != nil:
		s.redirect = newRedirect(b.Redirect)
	case b.Status != 0:
		s.answer = lost(b.Status)
	default:
		s.cluster = p.o.Clusters.Cluster(b.Cluster)
		if s.cluster == nil {
			s.answer = lost(http.StatusInternalServerError)
		}
		s.id = clusterID(b.Cluster)
	}
	s.mirrors = p.mirrors(a.Mirrors, b.Mirrors)
	for i := range t.Route.Attached {
		name := t.Route.Attached[i].Listener
		s.told = append(s.told, told{name, p.o.Metrics.Exchanges(labels(t, b, name, s.cluster))})
	}
	return s
}

// labels names a share as metrics and log have it.
func labels(t *routing.Target, b *routing.Backend, l routing.ListenerName, c *upstream.Cluster) telemetry.Labels {
	names := telemetry.Labels{
		Listener: string(l),
		Gateway:  gatewayOf(l),
		Route:    string(t.Route.Name),
		Rule:     cmp.Or(t.Rule.Name, strconv.Itoa(t.Index)),
		Cluster:  string(b.Cluster),
	}
	if c != nil {
		names.Service, names.Namespace = c.Spec().Service, c.Spec().Namespace
	}
	return names
}

// lostAt returns who hears of what no rule of l takes. Doors are many, and most
// have a rule for everything: what they need is made once it is needed. A
// listener that has left the Snapshot may still have connections.
func (p *Proxy) lostAt(l *routing.Listener) *telemetry.Exchanges {
	if tell := (*p.lost.Load())[l.Name]; tell != nil || !l.Inside {
		return tell
	}
	if tell, ok := p.doorsLost.Load(l.Name); ok {
		return tell.(*telemetry.Exchanges)
	}
	// What a policy refuses has no rule either, and was for the door's Service.
	names := telemetry.Labels{Listener: string(l.Name), Gateway: gatewayOf(l.Name)}
	if c := p.o.Clusters.Cluster(l.To); c != nil {
		names.Service, names.Namespace = c.Spec().Service, c.Spec().Namespace
	}
	tell, _ := p.doorsLost.LoadOrStore(l.Name, p.o.Metrics.Exchanges(names))
	return tell.(*telemetry.Exchanges)
}

// tell returns who hears of exchanges through l. A route is attached to few.
func (s *share) tell(l *routing.Listener) *telemetry.Exchanges {
	for i := range s.told {
		if s.told[i].listener == l.Name {
			return s.told[i].exchanges
		}
	}
	panic("bug: a rule took a request of a listener that it is not attached to")
}

// draw picks a share by weight.
func (r *rule) draw(l *local) *share {
	if len(r.shares) > 1 {
		n := l.below(r.total)
		for i, limit := range r.limits {
			if n < limit {
				return &r.shares[i]
			}
		}
	}
	return &r.shares[0]
}
