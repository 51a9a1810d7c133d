package upstream

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/resolve"
	"fairway.dev/routing"
)

// ErrUnresolved says that the cluster's endpoints are the addresses of the
// request's host, and that these are not known yet: Cluster.Resolve finds them.
var ErrUnresolved = errors.New("addresses of the host are not known yet")

// ErrNoAddress says that DNS has no address that the request may be sent to:
// answer 503 (DF).
var ErrNoAddress = errors.New("host has no address to send to")

const (
	maxHosts       = 1024            // of a cluster, and
	hostIdle       = 5 * time.Minute // without a request they are forgotten
	resolveTimeout = 5 * time.Second
)

// hostCluster is the part of a cluster that is one host of routing.ResolveHost:
// endpoints and health of its own, and the settings of the whole.
type hostCluster struct {
	*Cluster
	stop func()
	port uint16
	used atomic.Int64 // instant of the last request

	// Set.mu guards what follows.
	answered bool
	err      error // why it has no endpoints
	waiting  []func(error)
}

// hosts are the hosts that the addresses are known of. The map never changes.
type hosts map[string]*hostCluster

// hostOf returns the host of an authority as names are compared.
func hostOf(authority string) string {
	host := authority
	if rest, ok := strings.CutPrefix(host, "["); ok {
		host, _, _ = strings.Cut(rest, "]")
	} else {
		host, _, _ = strings.Cut(host, ":")
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// pickHost is Pick where the request's host says which endpoints there are.
func (c *Cluster) pickHost(l *loop.Loop, want *Want) (*Endpoint, error) {
	known := c.hosts.Load()
	if known == nil {
		return nil, ErrUnresolved
	}
	h := (*known)[hostOf(want.Host)]
	if h == nil {
		return nil, ErrUnresolved
	}
	h.used.Store(c.set.instant(l.Now()))
	ep, err := h.Cluster.Pick(l, want)
	if errors.Is(err, ErrNoEndpoints) && len(h.view.Load().all) == 0 {
		return nil, ErrNoAddress
	}
	return ep, err
}

// Resolve finds the addresses of a host for which Pick says ErrUnresolved. done
// is called once, on l and from a later event, with nil or with an error that
// wraps ErrNoAddress or ErrOverflow; never after cancel.
//
// A name leads to addresses of the internet only ([resolve.IsPublic]): who asks
// for it is a stranger, and whose name it is may be another. Hosts of one's own
// network are for the list of endpoints.
func (c *Cluster) Resolve(l *loop.Loop, authority string, done func(error)) (cancel func()) {
	host := strings.Clone(hostOf(authority))
	q := &hostQuestion{loop: l, done: done}
	q.timer.Fire = func() { q.end(fmt.Errorf("%w: %s: %w", ErrNoAddress, host, ErrTimeout)) }
	l.Arm(&q.timer, resolveTimeout)
	now := c.set.instant(l.Now())
	go c.askFor(host, now, q)
	return q.cancel
}

// A hostQuestion is who waits for a host's addresses, on its loop.
type hostQuestion struct {
	loop  *loop.Loop
	timer loop.Timer
	done  func(error)
}

func (q *hostQuestion) end(err error) {
	if done := q.done; done != nil {
		q.cancel()
		done(err)
	}
}

func (q *hostQuestion) cancel() {
	q.done = nil
	q.loop.Drop(&q.timer)
}

// answer is end from any goroutine.
func (q *hostQuestion) answer(err error) { q.loop.Post(func() { q.end(err) }) }

// askFor watches a host, unless somebody does, and tells q what comes of it.
// Changes take Set.mu, which loops do not: so this runs beside them.
func (c *Cluster) askFor(host string, now instant, q *hostQuestion) {
	c.set.mu.Lock()
	defer c.set.mu.Unlock()
	h := c.asked[host]
	port, ok := c.portOf(host)
	switch {
	case !ok || c.Spec().Resolve != routing.ResolveHost || c.set.o.Watch == nil || c.removed:
		q.answer(fmt.Errorf("%w: %s is not a host of the cluster", ErrNoAddress, host))
		return
	case h == nil:
		if h = c.addHost(host, port, now); h == nil {
			q.answer(fmt.Errorf("%w: %d hosts", ErrOverflow, maxHosts))
			return
		}
	}
	if h.answered {
		q.answer(h.err)
		return
	}
	h.waiting = append(h.waiting, q.answer)
}

// addHost makes room for a host and follows its name; nil where there is none.
func (c *Cluster) addHost(host string, port uint16, now instant) *hostCluster {
	c.forgetHosts(now)
	if len(c.asked) >= maxHosts {
		return nil
	}
	if c.asked == nil {
		c.asked = map[string]*hostCluster{}
	}
	h := &hostCluster{Cluster: newCluster(c.set, hostSpec(c.Spec(), host)), port: port}
	h.used.Store(now)
	c.asked[host] = h
	h.stop = c.set.o.Watch(host, func(addrs []netip.Addr, err error) { c.resolved(host, h, addrs, err) })
	return h
}

// hostSpec is the cluster's spec as it is for one host.
func hostSpec(spec *routing.Cluster, host string) *routing.Cluster {
	own := *spec
	own.Resolve = routing.ResolveAll
	if t := own.TLS; t != nil && t.NameFromHost && t.ServerName == "" {
		named := *t
		named.ServerName, named.NameFromHost = host, false
		own.TLS = &named
	}
	return &own
}

// resolved takes the addresses of a host. It takes Set.mu.
func (c *Cluster) resolved(host string, h *hostCluster, addrs []netip.Addr, err error) {
	c.set.mu.Lock()
	defer c.set.mu.Unlock()
	if c.asked[host] != h {
		return
	}
	var list []routing.Endpoint
	for _, addr := range addrs {
		if resolve.IsPublic(addr) {
			list = append(list, routing.Endpoint{Addr: netip.AddrPortFrom(addr, h.port), Ready: true, Serving: true, Workload: host})
		}
	}
	h.answered, h.err = true, nil
	switch {
	case err != nil:
		h.err = fmt.Errorf("%w: %s: %w", ErrNoAddress, host, err)
	case len(list) == 0:
		h.err = fmt.Errorf("%w: %s: %v, want addresses of the internet", ErrNoAddress, host, addrs)
	}
	h.setEndpoints(list)
	c.publishHosts()
	for _, tell := range h.waiting {
		tell(h.err)
	}
	h.waiting = nil
}

// portOf returns the port of a host: that of the first endpoint in the list whose
// name covers it. A request may name no other host.
func (c *Cluster) portOf(host string) (port uint16, ok bool) {
	for i := range c.list {
		if e := &c.list[i]; e.Host != "" && covers(e.Host, host) {
			return e.Addr.Port(), true
		}
	}
	return 0, false
}

// covers reports whether a name, or "*.example.com" and "*", is for host.
func covers(pattern, host string) bool {
	suffix, wild := strings.CutPrefix(pattern, "*")
	if wild {
		return len(host) > len(suffix) && strings.HasSuffix(host, suffix)
	}
	return pattern == host
}

// limitHosts lets go of hosts that the list has no longer, or at another port.
func (c *Cluster) limitHosts() {
	for host, h := range c.asked {
		if port, ok := c.portOf(host); !ok || port != h.port {
			c.forgetHost(host, h)
		}
	}
	if c.asked != nil {
		c.publishHosts()
	}
}

// publishHosts lets picks see the hosts that there are.
func (c *Cluster) publishHosts() {
	known := make(hosts, len(c.asked))
	for host, h := range c.asked {
		if h.answered {
			known[host] = h
		}
	}
	c.hosts.Store(&known)
}

// forgetHosts lets go of hosts that nobody has asked for in a while.
func (c *Cluster) forgetHosts(now instant) {
	for host, h := range c.asked {
		if h.answered && now-h.used.Load() > instant(hostIdle) {
			c.forgetHost(host, h)
		}
	}
	c.publishHosts()
}

func (c *Cluster) forgetHost(host string, h *hostCluster) {
	delete(c.asked, host)
	h.stop()
	h.retire(h.view.Load().endpoints())
	for _, tell := range h.waiting {
		tell(fmt.Errorf("%w: %s: cluster removed", ErrNoAddress, host))
	}
}

// configureHosts puts new settings in force for all hosts, or lets go of them
// where the cluster has none any longer.
func (c *Cluster) configureHosts(spec *routing.Cluster) {
	for host, h := range c.asked {
		if spec.Resolve == routing.ResolveHost {
			h.configure(hostSpec(spec, host))
		} else {
			c.forgetHost(host, h)
		}
	}
	if c.asked != nil {
		c.publishHosts()
	}
}
