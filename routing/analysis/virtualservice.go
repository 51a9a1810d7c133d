package analysis

import (
	"regexp"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"fairway.dev/routing"
)

// mesh is the gateway that stands for all sidecars, and for waypoints.
const mesh = "mesh"

func (f *findings) virtualService(vs *networking.VirtualService) {
	delegate := len(vs.Hosts) == 0
	atGateway := false
	for _, g := range vs.Gateways {
		atGateway = atGateway || g != mesh
	}
	if delegate {
		f.delegateAlone(vs)
	}
	f.gatewayNames("spec.gateways", vs.Gateways)
	f.virtualHosts(vs.Hosts, atGateway)
	if len(vs.Http)+len(vs.Tls)+len(vs.Tcp) == 0 {
		f.refuse("spec", MissingField, "add http, tls or tcp", "no http, no tls and no tcp: want one of them")
	}
	for i, r := range vs.Http {
		field := at("spec.http", i)
		if r == nil {
			f.refuse(field, MissingField, "take it out", "an empty rule")
			continue
		}
		f.httpRoute(field, r, delegate)
		if !atGateway && !delegate {
			f.claimsWithoutGateway(field, r)
		}
	}
	for i, r := range vs.Tls {
		f.tlsRoute(at("spec.tls", i), r, vs.Hosts)
	}
	for i, r := range vs.Tcp {
		f.tcpRoute(at("spec.tcp", i), r)
	}
	f.exportTo(vs.ExportTo, false)
}

// delegateAlone checks what only a VirtualService with hosts may have.
func (f *findings) delegateAlone(vs *networking.VirtualService) {
	for _, part := range []struct {
		field string
		n     int
	}{{"gateways", len(vs.Gateways)}, {"tls", len(vs.Tls)}, {"tcp", len(vs.Tcp)}} {
		if part.n > 0 {
			f.refuse("spec."+part.field, ConflictingFields, "add hosts, or take "+part.field+" away",
				"%s of a VirtualService without hosts, which is a delegate: want http alone", part.field)
		}
	}
}

// gatewayName is "name", "namespace/name" or, of old, "name.namespace.svc...".
var gatewayName = regexp.MustCompile(`^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?/)?[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*$`)

func (f *findings) gatewayNames(field string, names []string) {
	for i, name := range names {
		bare, namespaced := name, false
		if ns, rest, ok := strings.Cut(name, "/"); ok {
			bare, namespaced = rest, ns != ""
		}
		switch parts := strings.Split(bare, "."); {
		case !gatewayName.MatchString(name), namespaced && len(parts) > 1:
			f.refuse(at(field, i), InvalidName, `write "namespace/name"`, "%q: not a Gateway's name", name)
		case len(parts) > 1:
			f.warn(at(field, i), DeprecatedField, `write "`+parts[1]+"/"+parts[0]+`"`, "%q is the old form of a Gateway's name", name)
		}
	}
}

// virtualHosts checks the hosts of a VirtualService.
func (f *findings) virtualHosts(hosts []string, atGateway bool) {
	for i, h := range hosts {
		if isIP(h) {
			continue
		}
		if f.host(at("spec.hosts", i), h) && h == "*" && !atGateway {
			f.refuse(at("spec.hosts", i), InvalidHost, "name hosts, or a Gateway", `"*" is for VirtualServices of a Gateway`)
		}
		for j := range i {
			if covers(hosts[j], h) || covers(h, hosts[j]) {
				f.refuse(at("spec.hosts", i), DuplicateHost, "take the narrower one out", "%q and %q overlap", hosts[j], h)
			}
		}
	}
}

// covers reports whether all names of narrow are of wide too.
func covers(wide, narrow string) bool {
	if rest, ok := strings.CutPrefix(wide, "*"); ok {
		return strings.HasSuffix(strings.TrimPrefix(narrow, "*"), rest)
	}
	return wide == narrow
}

func (f *findings) claimsWithoutGateway(field string, r *networking.HTTPRoute) {
	for i, m := range r.Match {
		for part, of := range map[string]map[string]*networking.StringMatch{"headers": m.GetHeaders(), "withoutHeaders": m.GetWithoutHeaders()} {
			for name := range of {
				if isClaim(name) {
					f.refuse(key(at(field+".match", i)+"."+part, name), InvalidMatch, "name a Gateway in gateways",
						"claims of a token are matched at gateways alone, and this VirtualService names none")
				}
			}
		}
	}
}

// isClaim reports whether a header's name stands for a claim of a token.
func isClaim(name string) bool { return strings.HasPrefix(name, "@request.auth.claims") }

func (f *findings) destination(field string, d *networking.Destination) {
	if d == nil {
		f.refuse(field, MissingField, "add a destination", "no destination")
		return
	}
	if d.Host == "*" {
		f.refuse(field+".host", InvalidHost, "name one host", `"*" is no destination`)
	} else if !isIP(d.Host) {
		f.host(field+".host", d.Host)
	}
	if d.Subset != "" {
		f.label(field+".subset", d.Subset)
	}
	if d.Port != nil {
		f.port(field+".port.number", d.Port.Number)
	}
}

// weights checks the shares of destinations.
func (f *findings) weights(field string, weights []int32) {
	total := int64(0)
	for i, w := range weights {
		if w < 0 {
			f.refuse(at(field, i)+".weight", InvalidWeight, "write 0 or more", "weight %d: want 0 or more", w)
		}
		total += int64(w)
	}
	if len(weights) > 1 && total == 0 {
		f.refuse(field, InvalidWeight, "give one of them a weight", "all weights are 0")
	}
	if len(weights) == 1 && weights[0] == 0 {
		return // not set, most likely
	}
	if len(weights) > 1 && total > 0 && total != 100 {
		f.add(routing.Info, field, WeightsNotHundred, "make the sum 100, so that weights read as percent",
			"the weights are %d together: they count relative to each other", total)
	}
}

func (f *findings) tlsRoute(field string, r *networking.TLSRoute, hosts []string) {
	if len(r.GetMatch()) == 0 {
		f.refuse(field+".match", MissingField, "add a match with sniHosts", "no match: want one with sniHosts")
	}
	for i, m := range r.GetMatch() {
		field := at(field+".match", i)
		if len(m.GetSniHosts()) == 0 {
			f.refuse(field+".sniHosts", MissingField, "add the names that the client may ask for", "no sniHosts")
		}
		for j, sni := range m.GetSniHosts() {
			f.sniHost(at(field+".sniHosts", j), sni, hosts)
		}
		f.l4(field, m.GetDestinationSubnets(), "", m.GetPort(), m.GetSourceLabels(), m.GetGateways())
	}
	f.routeDestinations(field+".route", r.GetRoute())
}

func (f *findings) sniHost(field, sni string, hosts []string) {
	if isIP(sni) {
		f.warn(field, InvalidHost, "name a host", "%q is an address, which clients do not send as a server name (RFC 6066 section 3)", sni)
		return
	}
	if !f.host(field, sni) {
		return
	}
	for _, h := range hosts {
		if covers(h, sni) {
			return
		}
	}
	f.refuse(field, InvalidHost, "add it to hosts, or narrow it", "%q is none of the hosts %v", sni, hosts)
}

func (f *findings) tcpRoute(field string, r *networking.TCPRoute) {
	for i, m := range r.GetMatch() {
		f.l4(at(field+".match", i), m.GetDestinationSubnets(), m.GetSourceSubnet(), m.GetPort(), m.GetSourceLabels(), m.GetGateways())
	}
	f.routeDestinations(field+".route", r.GetRoute())
}

func (f *findings) l4(field string, to []string, from string, port uint32, labels map[string]string, gateways []string) {
	for i, s := range to {
		f.subnet(at(field+".destinationSubnets", i), s)
	}
	if from != "" {
		f.subnet(field+".sourceSubnet", from)
	}
	if port != 0 {
		f.port(field+".port", port)
	}
	f.labels(field+".sourceLabels", labels)
	f.gatewayNames(field+".gateways", gateways)
}

func (f *findings) routeDestinations(field string, list []*networking.RouteDestination) {
	if len(list) == 0 {
		f.refuse(field, MissingField, "add a destination", "no destination")
	}
	weights := make([]int32, len(list))
	for i, d := range list {
		f.destination(at(field, i)+".destination", d.GetDestination())
		weights[i] = d.GetWeight()
	}
	f.weights(field, weights)
}
