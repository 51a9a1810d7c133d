package istio

import (
	"slices"

	networking "istio.io/api/networking/v1alpha3"

	"fairway.dev/routing"
	"fairway.dev/routing/gatewayapi"
)

// networks are those that the endpoints of an entry of a namespace are in, each
// once, in order; our own is "".
func (r *reading) networks(ns string, e *entry) []string {
	if e.resolution == networking.ServiceEntry_NONE || e.resolution == networking.ServiceEntry_DYNAMIC_DNS {
		return nil // endpoints do not count
	}
	var list []string
	for _, w := range r.members(ns, e) {
		list = append(list, w.network)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// goFar has a cluster of a host be reached by the gateways of the network that
// all endpoints of its entry are in, if that is not ours. They are asked for the
// host, and know where it is.
func (r *reading) goFar(c *routing.Cluster, e *entry, host string) {
	networks := r.networks(c.Namespace, e)
	if len(networks) != 1 || networks[0] == "" || isWild(host) {
		return
	}
	far, _ := gatewayapi.NetworkHop(r.Reading, networks[0], host, c.Port)
	if c.Hop == nil {
		c.Hop = &routing.Hop{Cluster: far.Cluster, Authority: far.Authority}
		return
	}
	c.Hop.Beyond = far // HopOf makes one for each who asks
}

// checkNetworks says which endpoints of an entry are not sent to.
func (r *reading) checkNetworks(p *specParser, e *entry) {
	networks := r.networks(r.ID.NS, e)
	switch {
	case len(networks) == 0 || len(networks) == 1 && networks[0] == "":
	case networks[0] == "":
		p.find(routing.Warning, "spec.endpoints", reasonFarEndpoint, "make an entry of its own for each network",
			"endpoints of networks %q beside those of our own: they are left out", networks[1:])
	case len(networks) > 1:
		p.find(routing.Error, "spec.endpoints", reasonFarEndpoint, "make an entry of its own for each network",
			"endpoints of networks %q: want those of one, or of our own: nothing is sent to", networks)
	default:
		r.checkFar(p, e, networks[0])
	}
}

// checkFar says what is wrong with an entry that another network has.
func (r *reading) checkFar(p *specParser, e *entry, network string) {
	if slices.ContainsFunc(e.hosts, isWild) {
		p.refuse("spec.hosts", reasonFarEndpoint, "hosts with '*' in network %s: want names, which its gateway is asked for", network)
	}
	for _, port := range e.ports {
		for _, host := range e.hosts {
			if _, known := gatewayapi.NetworkHop(r.Reading, network, host, uint16(port.number)); !known {
				p.find(routing.Warning, "spec.endpoints", reasonFarEndpoint, "make a Gateway of class istio-remote for it, with addresses",
					"no gateway of network %s is known: requests are answered with 503", network)
				return
			}
		}
	}
}
