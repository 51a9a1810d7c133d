package istio

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"fairway.dev/routing"
	"fairway.dev/routing/dialect"
)

// AUTO_PASSTHROUGH: whoever asks for "outbound_.9080_.v1_.reviews.shop.svc.cluster.local"
// in his ClientHello gets to port 9080 of the subset v1 of that Service, whatever
// VirtualServices say. Gateways of other networks ask so for what they have
// encrypted for a pod.

// An automaticDoor is a listener of such a server, for one of its hosts.
type automaticDoor struct {
	listener  routing.ListenerName
	client    string // the namespace of the fleet's pods
	host      string // a pattern, of the Services' names
	namespace string // whose Services; "*" for any
}

// automaticDoors are the gifts by which Services learn of such servers.
func (r *reading) automaticDoors(g *gateway) []dialect.Gift {
	var out []dialect.Gift
	for i, s := range g.servers {
		if s.broken || s.tls == nil || !automatic(s.tls) {
			continue
		}
		by := bidOf(g.created, g.ns+"/"+g.name, i, s.class)
		for _, at := range g.fleets {
			for _, h := range s.hosts {
				if l := r.listener(at, s.socket(), h.pattern); l.name != "" && l.by == by {
					d := automaticDoor{l.name, at.ns, h.pattern, h.namespace}
					out = append(out, dialect.Gift{To: dialect.ID{Kind: automaticOn}, Item: d})
				}
			}
		}
	}
	return out
}

// automaticRoutes makes the routes of a Service at such servers: one for each of
// its ports and subsets, and cluster where fleets differ by that.
func (j *joint) automaticRoutes(r *reading) dialect.Outcome {
	doors := slices.SortedFunc(maps.Keys(doorSet(r.Bag(dialect.ID{Kind: automaticOn}))), automaticDoor.compare)
	o := object[corev1.Service](r, "Service", r.ID.NS, r.ID.Name)
	if o == nil {
		return dialect.Outcome{Gone: true}
	}
	host := j.hostOf(r.ID.NS, r.ID.Name)
	routes := map[routing.RouteName]*routing.Route{}
	for _, d := range doors {
		if d.namespace != "*" && d.namespace != r.ID.NS || !patternCovers(d.host, host) {
			continue
		}
		subsets := []string{""}
		for _, s := range r.shapeOf(d.client, host, r.ID.NS).subsets {
			subsets = append(subsets, s.name)
		}
		for _, p := range o.Spec.Ports {
			if p.Protocol != "" && p.Protocol != corev1.ProtocolTCP {
				continue
			}
			for _, subset := range subsets {
				r.automaticRoute(routes, d, host, uint32(p.Port), subset)
			}
		}
	}
	var out dialect.Outcome
	for _, name := range slices.Sorted(maps.Keys(routes)) {
		out.Parts = append(out.Parts, routes[name])
	}
	return out
}

func doorSet(items map[any]int) map[automaticDoor]bool {
	set := map[automaticDoor]bool{}
	for item := range items {
		set[item.(automaticDoor)] = true
	}
	return set
}

func (d automaticDoor) compare(e automaticDoor) int {
	return cmp.Or(cmp.Compare(d.listener, e.listener), cmp.Compare(d.namespace, e.namespace))
}

// automaticRoute attaches the route to a cluster of the Service to a door. There
// is none where DestinationRules, or exportTo, leave no cluster.
func (r *reading) automaticRoute(routes map[routing.RouteName]*routing.Route, d automaticDoor, host string, port uint32, subset string) {
	res := r.resolve(destination{host: host, subset: subset, port: port, namespace: r.ID.NS, client: d.client, use: useTLS})
	if res.cluster == "" {
		return
	}
	name := routing.RouteName("Service/" + r.ID.NS + "/" + r.ID.Name + "#auto/" + string(res.cluster))
	route := routes[name]
	if route == nil {
		origin := routing.Origin{Kind: "Service", Namespace: r.ID.NS, Name: r.ID.Name}
		route = &routing.Route{Name: name, Origin: origin, Rules: []routing.Rule{{
			Origin: origin, Action: routing.Action{Backends: []routing.Backend{{Cluster: res.cluster, Weight: 1, Origin: origin}}},
		}}}
		routes[name] = route
	}
	a := routing.Attachment{Listener: d.listener, Hosts: []string{fmt.Sprintf("outbound_.%d_.%s_.%s", port, subset, host)}}
	if !slices.ContainsFunc(route.Attached, func(b routing.Attachment) bool { return b.Listener == a.Listener }) {
		route.Attached = append(route.Attached, a)
	}
}
