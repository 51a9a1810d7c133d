package istio

import (
	"maps"
	"slices"
	"strings"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"fairway.dev/routing"
	"fairway.dev/routing/dialect"
)

func (j *joint) joinGateways(s *dialect.Sheet) {
	j.define(s, meshCell, j.meshConfig)
	j.define(s, credentialCell, j.credential)
	j.define(s, authorityCell, j.authority)
	j.define(s, fleetCell, fleetOf)
	j.define(s, guestsCell, guests)
	j.define(s, gatewayCell, j.parseGateway)
	j.define(s, socketCell, j.socket)
	j.define(s, serverTLSCell, j.endTLS)
	j.define(s, listenerCell, j.listener)
	j.define(s, entrancesCell, j.entrances)
	j.define(s, automaticCell, j.automaticRoutes)
	j.define(s, redirectCell, j.redirectRoutes)
	j.define(s, gatewayReportCell, j.reportGateway)
	j.define(s, meshReportCell, j.reportMesh)
	j.define(s, refusedCell, refuse)

	s.Plant("Gateway", func(k routing.ObjectKey) []dialect.ID {
		return []dialect.ID{cellOf(fleetCell, k), kindCellOf(guestsCell, k)}
	})
	s.Plant("ListenerSet", func(k routing.ObjectKey) []dialect.ID {
		return []dialect.ID{kindCellOf(guestsCell, k)}
	})
	s.Plant(KindGateway, func(k routing.ObjectKey) []dialect.ID {
		return []dialect.ID{cellOf(gatewayCell, k), cellOf(entrancesCell, k), cellOf(redirectCell, k), cellOf(gatewayReportCell, k)}
	})
	s.Plant("Service", func(k routing.ObjectKey) []dialect.ID {
		return []dialect.ID{cellOf(automaticCell, k)}
	})
	j.plantMesh(s)
	for kind := range refused {
		s.Plant(kind, func(k routing.ObjectKey) []dialect.ID { return []dialect.ID{kindCellOf(refusedCell, k)} })
	}
}

// cellOf is the cell of a kind that an object has for itself.
func cellOf(kind dialect.Kind, k routing.ObjectKey) dialect.ID {
	return dialect.ID{Kind: kind, NS: k.Namespace, Name: k.Name}
}

// kindCellOf is the same where objects of several kinds have such cells.
func kindCellOf(kind dialect.Kind, k routing.ObjectKey) dialect.ID {
	return dialect.ID{Kind: kind, NS: k.Namespace, Name: k.Name, Part: k.Kind}
}

// A gateway is what a Gateway says by itself, and the fleets that serve it.
type gateway struct {
	ns, name string
	created  time.Time
	fleets   []fleetName
	servers  []*server
	found    complaints // but for those of its servers
}

func (g *gateway) key() routing.ObjectKey {
	return routing.ObjectKey{Kind: KindGateway, Namespace: g.ns, Name: g.name}
}

// parseGateway parses a Gateway and has its servers take part in who gets what
// on its fleets. Where there is no Gateway its value is nil.
func (j *joint) parseGateway(r *reading) dialect.Outcome {
	o := object[networkingv1.Gateway](r, KindGateway, r.ID.NS, r.ID.Name)
	if o == nil || !r.Planted {
		return dialect.Outcome{Gone: true}
	}
	g := &gateway{ns: r.ID.NS, name: r.ID.Name, created: o.CreationTimestamp.Time, fleets: r.selected(o.Spec.GetSelector())}
	if len(g.fleets) == 0 {
		g.found.warn("spec.selector", reasonUnboundGateway, "give spec.infrastructure.labels of a Gateway of Gateway API these labels",
			"no pods of ours have the labels %s", printLabels(o.Spec.GetSelector()))
	}
	if len(o.Spec.GetServers()) == 0 {
		g.found.wrong("spec.servers", reasonMissingField, "add a server", "no servers")
	}
	names := map[string]bool{}
	for i, in := range o.Spec.GetServers() {
		s := parseServer(in, i, r.ID.NS, j.gateway.Reserved)
		if in.GetName() != "" && names[in.GetName()] {
			s.found.warn(s.field+".name", reasonDuplicateName, "rename one of them", "a second server is named %s", in.GetName())
		}
		names[in.GetName()] = true
		g.servers = append(g.servers, s)
	}
	return dialect.Outcome{Value: g, Gifts: g.bids()}
}

func printLabels(labels map[string]string) string {
	list := make([]string, 0, len(labels))
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		list = append(list, k+"="+labels[k])
	}
	return strings.Join(list, ",")
}

// bids are the gifts by which servers take part in who gets what. What a server
// refers to plays no part: a lost Secret does not give a host away.
func (g *gateway) bids() []dialect.Gift {
	var out []dialect.Gift
	for i, s := range g.servers {
		if s.broken {
			continue
		}
		b := bidOf(g.created, g.ns+"/"+g.name, i, s.class)
		for _, at := range g.fleets {
			out = append(out, dialect.Gift{To: at.cell(stakesIn, s.socket()), Item: b})
			for _, p := range s.patterns() {
				host := s.socket() + "/" + p
				out = append(out, dialect.Gift{To: at.cell(bidsFor, host), Item: b})
				if s.redirect {
					out = append(out, dialect.Gift{To: at.cell(redirectsAt, host), Item: b})
				}
			}
		}
	}
	return out
}
