package istio

import (
	"net/http"
	"slices"

	"fairway.dev/routing"
	"fairway.dev/routing/dialect"
)

// redirectRoutes makes the route by which hosts redirect to https
// (ServerTLSSettings.httpsRedirect) whose requests come in by listeners of
// Gateway API: after the routes of those, and before nothing.
func (j *joint) redirectRoutes(r *reading) dialect.Outcome {
	g, _ := r.Value(dialect.ID{Kind: gatewayCell, NS: r.ID.NS, Name: r.ID.Name}).(*gateway)
	if g == nil {
		return dialect.Outcome{Gone: true}
	}
	route := &routing.Route{Origin: g.key().Origin(), Created: g.created, Ordered: true}
	route.Name = routing.RouteName(KindGateway + "/" + g.ns + "/" + g.name + "#redirect")
	for _, s := range g.servers {
		if s.broken || !s.redirect {
			continue
		}
		for _, at := range g.fleets {
			if r.socket(at, s.socket()).class == classHTTP {
				r.redirectGuests(route, at, s)
			}
		}
	}
	if len(route.Attached) == 0 {
		return dialect.Outcome{}
	}
	route.Rules = []routing.Rule{{Origin: route.Origin, Action: routing.Action{Redirect: &routing.Redirect{
		Scheme: "https", Status: http.StatusMovedPermanently, PortFrom: routing.RedirectPortAuthority,
	}}}}
	return dialect.Outcome{Parts: []any{route}}
}

// redirectGuests attaches the route where a server shares hosts with listeners
// of Gateway API.
func (r *reading) redirectGuests(route *routing.Route, at fleetName, s *server) {
	for _, guest := range r.guests(at, s.socket()) {
		var hosts []string
		for _, p := range s.patterns() {
			if shared := narrower(guest.Hostname, p); shared != "" && !slices.Contains(hosts, shared) {
				hosts = append(hosts, shared)
			}
		}
		if i := slices.IndexFunc(route.Attached, func(a routing.Attachment) bool { return a.Listener == guest.Name }); i >= 0 {
			for _, h := range hosts {
				if !slices.Contains(route.Attached[i].Hosts, h) {
					route.Attached[i].Hosts = append(route.Attached[i].Hosts, h)
				}
			}
		} else if hosts != nil {
			route.Attached = append(route.Attached, routing.Attachment{Listener: guest.Name, Hosts: hosts})
		}
	}
}
