package istio

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"

	networking "istio.io/api/networking/v1alpha3"

	"fairway.dev/routing"
	"fairway.dev/routing/analysis"
)

// A streamSource is a match of a tcp or tls rule, and where it sends to.
type streamSource struct {
	at              routing.Origin // of the match, or of a rule without any
	rule            routing.Origin
	port            uint32
	gateways        []string
	destinations    []string
	sources         []string
	sourceLabels    map[string]string
	sourceNamespace string
	route           []*networking.RouteDestination
}

// tls translates the tls rules for listeners that pass TLS through: a route for
// each match, as each has hosts of its own.
func (b *virtualServiceBuilder) tls() {
	if len(b.o.Spec.Tls) == 0 {
		return
	}
	doors := b.doorsFor("tls", "TLS or HTTPS with mode PASSTHROUGH", func(d door) bool { return d.passthrough })
	if len(doors) == 0 {
		return
	}
	for i, r := range b.o.Spec.Tls {
		rule := b.origin("spec.tls[" + itoa(i) + "]")
		if len(r.GetMatch()) == 0 {
			b.remarks.wrong(rule.At(rule.Field+".match"), analysis.MissingField, "add a match with sniHosts", "no match: want one with sniHosts")
		}
		for j, m := range r.GetMatch() {
			s := streamSource{
				at: rule.At(rule.Field + ".match[" + itoa(j) + "]"), rule: rule, port: m.GetPort(),
				gateways: gatewayNames(m.GetGateways(), b.key.Namespace), destinations: m.GetDestinationSubnets(),
				sourceLabels: m.GetSourceLabels(), sourceNamespace: m.GetSourceNamespace(), route: r.Route,
			}
			names := b.serverNames(s.at, m.GetSniHosts())
			if len(names) == 0 {
				continue
			}
			list := groups(doors, s.view(), func(d door) []routing.Rule { return b.streamRules([]streamSource{s}, d, useTLS) })
			b.add(fmt.Sprintf("#tls/%05d/%05d", i, j), list, func(d door) []string { return hostsIn(names, d.hosts) })
		}
	}
}

// serverNames are the names of a tls match that clients may ask for.
func (b *virtualServiceBuilder) serverNames(at routing.Origin, list []string) []string {
	var names []string
	for i, name := range list {
		full := fullHost(name, b.key.Namespace, b.r.j.opts.ClusterDomain)
		if err := hostFlaw(full); err != "" {
			b.remarks.wrong(at.At(at.Field+".sniHosts["+itoa(i)+"]"), analysis.InvalidHost,
				`write a DNS name, or "*." and one, without a port`, "%q: %s", name, err)
			continue
		}
		if !slices.ContainsFunc(b.doors, func(d door) bool { return d.passthrough && len(hostsIn([]string{full}, d.hosts)) > 0 }) {
			b.remarks.warn(at.At(at.Field+".sniHosts["+itoa(i)+"]"), reasonNeverMatches, "add it to spec.hosts, and to a server",
				"%q is no host of the VirtualService at a server that passes TLS through", name)
		}
		names = append(names, full)
	}
	if len(list) == 0 {
		b.remarks.wrong(at.At(at.Field+".sniHosts"), analysis.MissingField, "add the names that clients may ask for", "no sniHosts")
	}
	return names
}

// tcp translates the tcp rules for listeners of TCP, and those that end TLS
// and send what is in it.
func (b *virtualServiceBuilder) tcp() {
	if len(b.o.Spec.Tcp) == 0 {
		return
	}
	doors := b.doorsFor("tcp", "TCP, or TLS that is ended at the gateway", func(d door) bool {
		return d.protocol == routing.TCP || d.protocol == routing.TLS && !d.passthrough
	})
	var sources []streamSource
	for i, r := range b.o.Spec.Tcp {
		at := b.origin("spec.tcp[" + itoa(i) + "]")
		if len(r.GetMatch()) == 0 {
			sources = append(sources, streamSource{at: at, rule: at, route: r.GetRoute()})
		}
		for j, m := range r.GetMatch() {
			s := streamSource{
				at: at.At(at.Field + ".match[" + itoa(j) + "]"), rule: at, port: m.GetPort(),
				gateways: gatewayNames(m.GetGateways(), b.key.Namespace), destinations: m.GetDestinationSubnets(),
				sourceLabels: m.GetSourceLabels(), sourceNamespace: m.GetSourceNamespace(), route: r.GetRoute(),
			}
			if m.GetSourceSubnet() != "" {
				s.sources = []string{m.GetSourceSubnet()}
			}
			sources = append(sources, s)
		}
	}
	view := viewOf(true, slices.ContainsFunc(sources, func(s streamSource) bool { return len(s.gateways) > 0 }))
	list := groups(doors, view, func(d door) []routing.Rule { return b.streamRules(sources, d, useTCP) })
	b.add("#tcp", list, func(d door) []string {
		if d.protocol == routing.TCP {
			return []string{"*"} // where no name is sent
		}
		return d.hosts
	})
}

// view returns what of a door can make a difference to the match.
func (s *streamSource) view() func(door) view {
	ports := s.port != 0 || slices.ContainsFunc(s.route, func(r *networking.RouteDestination) bool { return r.GetDestination().GetPort() == nil })
	return viewOf(ports, len(s.gateways) > 0)
}

// streamRules makes rules of sources for a door, up to the one that takes every
// connection.
func (b *virtualServiceBuilder) streamRules(sources []streamSource, d door, as use) []routing.Rule {
	var rules []routing.Rule
	var ended routing.Origin
	for i := range sources {
		s := &sources[i]
		m, ok := b.streamMatch(s, d)
		switch {
		case !ok:
			continue
		case ended != routing.Origin{}:
			b.reached.note(s.at, unreachable(ended))
			continue
		}
		b.reached.note(s.at, obstacle{})
		r := routing.Rule{Origin: s.at, Matches: []routing.Match{m}, Action: b.streamAction(s, d, as)}
		if takesAll(&m) {
			r.Matches, ended = nil, s.at
		}
		rules = append(rules, r)
	}
	return rules
}

// streamMatch translates a match for a door. It reports false where it does not
// apply there, or to nothing at all.
func (b *virtualServiceBuilder) streamMatch(s *streamSource, d door) (routing.Match, bool) {
	if len(s.sourceLabels) > 0 {
		b.remarks.labelsUnknown(s.at)
		return routing.Match{}, false
	}
	if o := elsewhere(s.gateways, s.port, d); o != (obstacle{}) {
		b.reached.note(s.at, o)
		return routing.Match{}, false
	}
	namespaces, applies := sourceOf(s.sourceNamespace, d)
	if !applies {
		b.reached.note(s.at, unknownSource(d))
		return routing.Match{}, false
	}
	from, err := subnets(s.sources)
	if err != nil {
		b.remarks.wrong(s.at.At(s.at.Field+".sourceSubnet"), analysis.InvalidAddress, fixSubnet, "%w", err)
		return routing.Match{}, false
	}
	to, err := subnets(s.destinations)
	if err != nil {
		b.remarks.wrong(s.at.At(s.at.Field+".destinationSubnets"), analysis.InvalidAddress, fixSubnet, "%w", err)
		return routing.Match{}, false
	}
	return routing.Match{Sources: from, Destinations: to, Namespaces: namespaces}, true
}

const fixSubnet = "write an address, or a prefix like 10.0.0.0/8"

// subnets reads addresses and prefixes in CIDR notation.
func subnets(list []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, s := range list {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			addr, err := netip.ParseAddr(s)
			if err != nil || addr.Zone() != "" {
				return nil, fmt.Errorf("%q: want an IP address, or a CIDR prefix", s)
			}
			p = netip.PrefixFrom(addr, addr.BitLen())
		}
		out = append(out, p.Masked())
	}
	return out, nil
}

// streamAction sends connections to destinations. One that leads nowhere
// refuses its share.
func (b *virtualServiceBuilder) streamAction(s *streamSource, d door, as use) routing.Action {
	var a routing.Action
	total := int64(0)
	for i, r := range s.route {
		field := s.rule.At(s.rule.Field + ".route[" + itoa(i) + "]")
		to := b.resolve(r.GetDestination(), b.key.Namespace, d, as)
		out := routing.Backend{Cluster: to.cluster, Weight: shareOf(len(s.route), r.GetWeight()), Origin: field}
		if to.cluster == "" {
			out.Status, out.Reason = http.StatusServiceUnavailable, to.reason
			b.remarks.wrong(field, to.reason, fixDestination(to.reason), "%w", errors.New(to.message))
		}
		if r.GetWeight() < 0 {
			b.remarks.wrong(field, analysis.InvalidWeight, "write 0 or more", "weight %d: want 0 or more", r.GetWeight())
		}
		b.checkSubset(field, r.GetDestination(), b.key.Namespace, d)
		total += int64(out.Weight)
		a.Backends = append(a.Backends, out)
	}
	switch {
	case len(s.route) == 0:
		b.remarks.wrong(s.rule.At(s.rule.Field+".route"), analysis.MissingField, "add a destination", "no destination")
	case total == 0:
		b.remarks.wrong(s.rule.At(s.rule.Field+".route"), analysis.InvalidWeight, "give one of them a weight", "all weights are 0")
	default:
		return a
	}
	return routing.Action{Status: http.StatusInternalServerError}
}
