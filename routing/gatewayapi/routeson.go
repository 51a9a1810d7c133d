package gatewayapi

import (
	"fairway.dev/routing"
	"fairway.dev/routing/dialect"
)

// A RouteOn is a route on a host of a listener that is in force.
type RouteOn struct {
	Route    routing.ObjectKey
	TakesAll bool // one of its rules takes every request
}

// TellRoutes has the Translator remember which routes are on which host of
// a listener, for another dialect. It comes before the first Update.
func (t *Translator) TellRoutes() { t.tellsRoutes = true }

// RoutesOn returns the routes on a host of a listener, in no order. The formula
// that asks is of the stage Verdicts.
func RoutesOn(r *dialect.Reading, l routing.ListenerName, host string) []RouteOn {
	var list []RouteOn
	for item := range r.Bag(cellID{Kind: routesOn, NS: string(l), Name: host}) {
		list = append(list, item.(RouteOn))
	}
	return list
}

// tellHosts notes the hosts that a route has by way of an entry.
func (b *routeBuilder) tellHosts(e *entry) {
	if !b.t.tellsRoutes {
		return
	}
	for _, host := range e.hosts {
		b.give(gift{
			To:   cellID{Kind: routesOn, NS: string(e.listener), Name: host},
			Item: RouteOn{b.report.Object, b.rulesAt(e.passes).takesAll()},
		})
	}
}

// takesAll reports whether one of the rules takes every request.
func (s *ruleSet) takesAll() bool {
	for i := range s.rules {
		if len(s.rules[i].Matches) == 0 {
			return true
		}
		for j := range s.rules[i].Matches {
			m := &s.rules[i].Matches[j]
			anyPath := m.Path.Kind == routing.PathPrefix && (m.Path.Value == "" || m.Path.Value == "/")
			if anyPath && m.Method == "" && len(m.Headers)+len(m.Query) == 0 {
				return true
			}
		}
	}
	return false
}
