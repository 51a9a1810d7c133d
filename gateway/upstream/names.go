package upstream

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"

	"fairway.dev/routing"
)

// errNameless is ErrNoEndpoints where the reason is that DNS has no address for
// their names.
var errNameless = fmt.Errorf("%w: %w", ErrNoEndpoints, ErrNoAddress)

// A hostName is a name that endpoints of a cluster have in place of an address.
// Set.mu guards it.
type hostName struct {
	stop   func()
	addrs  []netip.Addr
	chosen netip.Addr // of a cluster that uses one at a time
}

// putEndpoints puts a list of endpoints in force, and follows the names in it.
// Set.mu is held, as for all that follows here.
func (c *Cluster) putEndpoints(list []routing.Endpoint) {
	c.list = list
	c.follow()
	c.limitHosts()
	c.setEndpoints(c.addressed())
}

// follow watches the names of the endpoints, and no others any more.
func (c *Cluster) follow() {
	wanted := map[string]bool{}
	for i := range c.list {
		if host := c.list[i].Host; host != "" && c.Spec().Resolve != routing.ResolveHost {
			wanted[host] = true
		}
	}
	for host, n := range c.names {
		if !wanted[host] {
			n.stop()
			delete(c.names, host)
		}
	}
	watch := c.set.o.Watch
	for host := range wanted {
		if c.names[host] != nil || watch == nil {
			continue
		}
		if c.names == nil {
			c.names = map[string]*hostName{}
		}
		n := &hostName{}
		c.names[host] = n
		n.stop = watch(host, func(addrs []netip.Addr, err error) { c.renamed(host, n, addrs, err) })
	}
}

// unfollow ends what follow began.
func (c *Cluster) unfollow() {
	for _, n := range c.names {
		n.stop()
	}
	c.names = nil
}

// renamed takes the addresses that a name has now. It takes Set.mu.
func (c *Cluster) renamed(host string, n *hostName, addrs []netip.Addr, err error) {
	c.set.mu.Lock()
	defer c.set.mu.Unlock()
	if c.names[host] != n {
		return
	}
	if log := c.set.o.Log; log != nil && err != nil {
		log.Warn("name of endpoints not resolved", "cluster", c.name, "endpoint", host, "err", err)
	}
	n.addrs = addrs
	c.setEndpoints(c.addressed())
}

// addressed returns the endpoints with the addresses of their names, as the
// cluster wants them.
func (c *Cluster) addressed() []routing.Endpoint {
	if c.Spec().Resolve == routing.ResolveHost {
		return nil // each host has its own
	}
	if !slices.ContainsFunc(c.list, func(e routing.Endpoint) bool { return e.Host != "" }) {
		return c.list
	}
	one := c.Spec().Resolve == routing.ResolveOne
	var list []routing.Endpoint
	for _, e := range c.list {
		if e.Host == "" {
			list = append(list, e)
			continue
		}
		n := c.names[e.Host]
		if n == nil {
			continue
		}
		addrs := n.addrs
		if one {
			addrs = n.choose()
		}
		port := e.Addr.Port()
		for _, addr := range addrs {
			e.Addr = netip.AddrPortFrom(addr, port)
			list = append(list, e)
		}
	}
	return list
}

// choose returns the one address to use: a random one, for as long as the name
// has it. So connections outlive answers that differ only in their order.
func (n *hostName) choose() []netip.Addr {
	if len(n.addrs) == 0 {
		return nil
	}
	if !slices.Contains(n.addrs, n.chosen) {
		n.chosen = n.addrs[rand.IntN(len(n.addrs))]
	}
	return []netip.Addr{n.chosen}
}
