package istio

import (
	"maps"
	"slices"
	"strings"

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
// host, and know where it is. Where endpoints are here and there, the gateways are
// some of them: see farEndpoints.
func (r *reading) goFar(c *routing.Cluster, e *entry, host string) {
	networks := r.networks(c.Namespace, e)
	if len(networks) != 1 || networks[0] == "" || isWild(host) {
		return
	}
	within := r.within(e.sans, r.members(c.Namespace, e), networks[0])
	far := gatewayapi.NetworkHop(r.Reading, networks[0], host, c.Port, within)
	if c.Hop == nil {
		c.Hop = &routing.Hop{Cluster: far.Cluster, Authority: far.Authority, Within: far.Within}
		return
	}
	c.Hop.Beyond = far // HopOf makes one for each who asks
}

// within are the identities, with spaces between, of who may take what is for a
// host behind Istio's gateways of a network: those of spec.subjectAltNames, as in
// Istio, and the service accounts of the workloads there.
func (r *reading) within(sans []string, members []workload, network string) string {
	var list []string
	for _, name := range sans {
		if strings.HasPrefix(name, "spiffe://") && !strings.ContainsAny(name, " \t\r\n") {
			list = append(list, name)
		}
	}
	for _, w := range members {
		if w.network == network && w.account != "" {
			list = append(list, w.account)
		}
	}
	slices.Sort(list)
	return strings.Join(slices.Compact(list), " ")
}

// farEndpoints are the gateways of other networks as endpoints of a host: those of
// each network in which a workload is, for all that is there. Which of them is
// asked is for its waypoint, or its node proxies, to say: so labels of a subset
// tell whether there is any, and no more.
func (r *reading) farEndpoints(host string, port uint16, sans []string, members []workload) []routing.Endpoint {
	weights := map[string]uint32{}
	for _, w := range members {
		if w.network != "" && !w.sick {
			weights[w.network] += max(w.weight, 1)
		}
	}
	var list []routing.Endpoint
	for _, network := range slices.Sorted(maps.Keys(weights)) {
		list = append(list, gatewayapi.NetworkEndpoints(r.Reading, network, host, port, r.within(sans, members, network), weights[network])...)
	}
	return list
}

// checkNetworks says which endpoints of an entry are not sent to.
func (r *reading) checkNetworks(p *specParser, e *entry) {
	members := r.members(r.ID.NS, e)
	for _, network := range r.networks(r.ID.NS, e) {
		if network == "" {
			continue
		}
		if slices.ContainsFunc(e.hosts, isWild) {
			p.refuse("spec.hosts", reasonFarEndpoint, "hosts with '*' in network %s: want names, which its gateway is asked for", network)
			return
		}
		r.checkFar(p, "spec.endpoints", network, r.within(e.sans, members, network))
	}
}

// checkFar says why nobody gets to a network.
func (r *reading) checkFar(p *specParser, field, network, within string) {
	switch n := gatewayapi.NetworkAt(r.Reading, network); {
	case len(n.Gateways) == 0:
		p.find(routing.Warning, field, reasonFarEndpoint, "make a Gateway of class fairway-remote or istio-remote for it, with addresses",
			"no gateway of network %s is known: what goes there is answered with 503", network)
	case n.Istio && within == "":
		p.find(routing.Error, field, reasonFarEndpoint, "name them in spec.subjectAltNames (spiffe://...), or in the serviceAccount of endpoints",
			"gateways of network %s are Istio's, and nobody says who is behind them: nothing is sent there", network)
	}
}

// accountsIn is how the identities of the service accounts of a namespace begin.
func (r *reading) accountsIn(ns string) string {
	return "spiffe://" + r.j.opts.TrustDomain + "/ns/" + ns + "/sa/"
}

// account is the identity of a service account by its name, which is a DNS
// subdomain (RFC 1123).
func (p *specParser) account(field, name string) string {
	if strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-.") != "" {
		p.refuse(field, reasonInvalidValue, "%q: want the name of a service account", name)
		return ""
	}
	return p.accounts + name
}
