package istio

import (
	"fmt"
	"slices"
	"strings"

	"fairway.dev/routing"
	"fairway.dev/routing/dialect"
	"fairway.dev/routing/gatewayapi"
)

// A door is a listener that a VirtualService may be attached to, by way of a
// Gateway that it names.
type door struct {
	listener routing.ListenerName
	fleet    string // the Gateway whose pods serve it: "istio-system/ingress"
	gateway  string // the Gateway of the dialect, as matches name it: "shop/edge"
	port     uint32 // of the listener
	protocol routing.Protocol
	// passthrough says that TLS is not ended here: tls routes apply, and no others.
	passthrough bool
	inside      *gatewayapi.Door // a waypoint's; nil: a listener that is bound
	// hosts are those of the VirtualService that the server lets in here, wider
	// or narrower: the intersection, in lower case. "*" for any.
	hosts []string
}

// entrances are the doors of a Gateway for VirtualServices of any namespace and
// with any hosts.
type entrances struct {
	served bool // by some fleet
	list   []entrance
	at     map[string][]int // entrances by their hosts
}

// An entrance is a door for one host of a server. Its hosts are that.
type entrance struct {
	namespace string // whose VirtualServices it is for; "*" for any
	door
}

// entrances finds where the VirtualServices come in that name a Gateway. Its
// value is nil where there is no Gateway.
func (j *joint) entrances(r *reading) dialect.Outcome {
	g, _ := r.Value(dialect.ID{Kind: gatewayCell, NS: r.ID.NS, Name: r.ID.Name}).(*gateway)
	if g == nil {
		return dialect.Outcome{Gone: true}
	}
	e := &entrances{served: len(g.fleets) > 0, at: map[string][]int{}}
	for i, s := range g.servers {
		if s.broken || automatic(s.tls) {
			continue
		}
		by := bidOf(g.created, g.ns+"/"+g.name, i, s.class)
		for _, at := range g.fleets {
			if r.socket(at, s.socket()).class != s.class {
				continue
			}
			for _, h := range s.hosts {
				for _, d := range r.enter(at, s, by, h) {
					d.gateway = by.gateway
					e.at[d.hosts[0]] = append(e.at[d.hosts[0]], len(e.list))
					e.list = append(e.list, entrance{h.namespace, d})
				}
			}
		}
	}
	return dialect.Outcome{Value: e, Gifts: r.automaticDoors(g)}
}

// enter returns the doors for a host of a server on a fleet: its listener, if
// it has one, and in plain text those of Gateway API that it shares hosts with.
func (r *reading) enter(at fleetName, s *server, by bid, h serverHost) []door {
	host := s.pattern(h)
	d := door{fleet: at.String(), port: uint32(s.port), protocol: s.protocol, passthrough: s.tls != nil && passesThrough(s.tls), hosts: []string{h.pattern}}
	if s.class == classTLS {
		state := r.listener(at, s.socket(), host)
		if d.listener = state.name; state.name == "" || state.by != by {
			return nil
		}
		return []door{d}
	}
	if s.class == classHTTP {
		host = r.place(at, s.socket(), host)
	}
	var doors []door
	if d.listener = r.listener(at, s.socket(), host).name; d.listener != "" {
		doors = append(doors, d)
	}
	if s.redirect {
		return doors // where Gateway API listens there is a route for it
	}
	for _, g := range r.guests(at, s.socket()) {
		if shared := narrower(g.Hostname, h.pattern); shared != "" {
			d.listener, d.hosts = g.Name, []string{shared}
			doors = append(doors, d)
		}
	}
	return doors
}

// doors returns the listeners to which a VirtualService of a namespace, with
// those hosts, is attached by naming a Gateway ("edge", "shop/edge"). It says
// why there are none, in a Problem whose Origin is for the caller to set.
func (r *reading) doors(gateway, namespace string, hosts []string) ([]door, *routing.Problem) {
	ns, name := gatewayName(gateway, namespace)
	e, _ := r.Value(dialect.ID{Kind: entrancesCell, NS: ns, Name: name}).(*entrances)
	switch {
	case e == nil:
		return nil, noDoor(routing.Error, reasonGatewayNotFound, "", "Gateway %s/%s: not found", ns, name)
	case !e.served:
		return nil, noDoor(routing.Warning, reasonGatewayNotServed, "", "Gateway %s/%s: no pods of ours serve it", ns, name)
	}
	var doors []door
	barred := false
	for _, host := range hosts {
		for _, i := range e.near(host) {
			in := &e.list[i]
			if in.namespace != "*" && in.namespace != namespace {
				barred = true
				continue
			}
			shared := narrower(host, in.hosts[0])
			if in.protocol == routing.TCP {
				shared = everyHost // connections there have no names
			}
			doors = open(doors, in.door, shared)
		}
	}
	switch {
	case doors != nil:
		return doors, nil
	case barred:
		return nil, noDoor(routing.Error, reasonNamespaceNotAllowed, "",
			"Gateway %s/%s lets in none of the hosts from namespace %s", ns, name, namespace)
	}
	return nil, noDoor(routing.Error, reasonHostNotServed, "add the hosts to the Gateway, or correct them",
		"no server of Gateway %s/%s that is in force has a host in common with %s", ns, name, strings.Join(hosts, ", "))
}

func noDoor(level routing.Level, reason routing.Reason, fix, format string, args ...any) *routing.Problem {
	return &routing.Problem{Reason: reason, Err: fmt.Errorf(format, args...), Level: level, Fix: fix}
}

// open adds a host to the door, which is there once for each listener.
func open(doors []door, d door, host string) []door {
	i := slices.IndexFunc(doors, func(o door) bool { return o.listener == d.listener })
	if i < 0 {
		d.hosts = []string{host}
		return append(doors, d)
	}
	if !slices.Contains(doors[i].hosts, host) {
		doors[i].hosts = append(doors[i].hosts, host)
	}
	return doors
}

// near returns the entrances whose hosts overlap with a host, in their order.
func (e *entrances) near(host string) []int {
	found := slices.Clone(e.at[host])
	for w := range widerPatterns(host) {
		found = append(found, e.at[w]...)
	}
	if strings.HasPrefix(host, "*") {
		for i := range e.list {
			if own := e.list[i].hosts[0]; own != host && patternCovers(host, own) {
				found = append(found, i)
			}
		}
	}
	slices.Sort(found)
	return found
}

// gatewayName is the Gateway that an object of a namespace names: "edge",
// "shop/edge", "./edge", or "edge.shop.svc.cluster.local" as it was written once.
func gatewayName(gateway, namespace string) (ns, name string) {
	if ns, name, ok := strings.Cut(gateway, "/"); ok {
		if ns == "." {
			ns = namespace
		}
		return ns, name
	}
	if name, rest, ok := strings.Cut(gateway, "."); ok {
		ns, _, _ := strings.Cut(rest, ".")
		return ns, name
	}
	return namespace, gateway
}
