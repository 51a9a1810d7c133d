package feed

import (
	"maps"
	"slices"

	"fairway.dev/routing"
)

// An oracle finds what the pods of a Gateway get by walks over all of the Spec.
type oracle struct {
	spec    *routing.Spec
	gateway string
	parts   map[string]any
}

func (o *oracle) certificate(name routing.CertificateName) {
	if c := o.spec.Certificates[name]; c != nil {
		o.parts[certificateName(name)] = c
	}
}

// cluster is one that a part sends to.
func (o *oracle) cluster(name routing.ClusterName) {
	c := o.spec.Clusters[name]
	switch {
	case c == nil:
	case c.Hop == nil:
		o.straight(name)
	case c.Hop.Serves(o.gateway):
		o.straight(name)
		o.canary(c.Hop)
	default:
		if c.Hop.Inside {
			o.straight(name)
		}
		o.clusterAlone(name)
		o.straight(c.Hop.Cluster) // and not where that would hop to
		o.canary(c.Hop)
	}
}

// canary is what a second waypoint adds: each of the two may send to the other.
func (o *oracle) canary(hop *routing.Hop) {
	if hop.Canary != nil {
		o.straight(hop.Cluster)
		o.straight(routing.WaypointCluster(hop.Canary.Gateway))
	}
}

func (o *oracle) clusterAlone(name routing.ClusterName) {
	c := o.spec.Clusters[name]
	o.parts[clusterName(name)] = c
	if c.TLS != nil {
		o.certificate(c.TLS.Certificate)
	}
	if c.Hop != nil && c.Hop.Beyond != nil {
		o.straight(c.Hop.Beyond.Cluster)
	}
}

func (o *oracle) straight(name routing.ClusterName) {
	if o.spec.Clusters[name] == nil {
		return
	}
	o.clusterAlone(name)
	if e := o.spec.Endpoints[name]; e != nil {
		o.parts[endpointsName(name)] = e
	}
}

func (o *oracle) policy(name routing.PolicyName) {
	p := o.spec.Policies[name]
	if p == nil {
		return
	}
	o.parts[policyName(name)] = p
	if p.Authorization != nil && p.Authorization.External != nil {
		o.cluster(p.Authorization.External.Cluster)
	}
	if p.RateLimit != nil && p.RateLimit.Shared != nil {
		o.straight(p.RateLimit.Shared.Cluster) // whom gateways ask themselves, not for a client
	}
}

func (o *oracle) listener(l *routing.Listener) {
	o.parts[listenerName(l.Name)] = l
	o.cluster(l.To)
	if l.Telemetry != nil {
		o.straight(l.Telemetry.Tracing.Cluster)
	}
	if l.TLS != nil {
		for _, c := range l.TLS.Certificates {
			o.certificate(c)
		}
	}
	for _, p := range l.Policies {
		o.policy(p)
	}
}

func (o *oracle) action(a *routing.Action) {
	for _, p := range a.Policies {
		o.policy(p)
	}
	if a.Auth != nil {
		o.cluster(a.Auth.Cluster)
	}
	for _, m := range a.Mirrors {
		o.cluster(m.Cluster)
	}
	for _, b := range a.Backends {
		o.cluster(b.Cluster)
		for _, m := range b.Mirrors {
			o.cluster(m.Cluster)
		}
	}
}

func (o *oracle) route(r *routing.Route) {
	mine := *r
	mine.Attached = slices.DeleteFunc(slices.Clone(r.Attached), func(a routing.Attachment) bool {
		l := o.spec.Listeners[a.Listener]
		return l == nil || l.Gateway != o.gateway
	})
	if len(mine.Attached) == 0 {
		return
	}
	o.parts[routeName(r.Name)] = &mine
	for _, rule := range mine.Rules {
		o.action(&rule.Action)
	}
}

// shared is what all Gateways have through which workloads call. None of them
// has what doors lead to in its own way: at its own waypoint it has a door besides.
func (o *oracle) shared() {
	all := oracle{o.spec, routing.CallingGateways, o.parts}
	for _, l := range o.spec.Listeners {
		if l.Gateway == routing.CallingGateways {
			all.listener(l)
		}
	}
}

// partsOf returns what the pods of a Gateway get.
func partsOf(spec *routing.Spec, gateway string) map[string]any {
	o := oracle{spec, gateway, map[string]any{}}
	for _, l := range spec.Listeners {
		if l.Gateway == gateway {
			o.listener(l)
		}
	}
	if slices.ContainsFunc(slices.Collect(maps.Values(spec.Listeners)), func(l *routing.Listener) bool {
		return l.Gateway == gateway && l.Protocol == routing.HBONE && !l.Inside && l.Mesh.Calls
	}) {
		o.shared()
	}
	for _, r := range spec.Routes {
		o.route(r)
	}
	for name, wl := range spec.Workloads {
		if slices.Contains(wl.Gateways, gateway) {
			o.parts[workloadName(name)] = wl
		}
	}
	return o.parts
}

// partsOfAgent returns what the agent of a node gets.
func partsOfAgent(spec *routing.Spec, node string) map[string]any {
	o := oracle{spec, CaptureGateway, map[string]any{}}
	for name, c := range spec.Captures {
		o.parts[captureName(name)] = c
	}
	for _, l := range spec.Listeners {
		if l.Protocol == routing.HBONE && !l.Inside {
			o.cluster(routing.WaypointCluster(l.Gateway))
		}
	}
	for name, wl := range spec.Workloads {
		if wl.Node == node && (wl.Captured || wl.Strict || len(wl.StrictPorts) > 0) {
			o.parts[workloadName(name)] = wl
		}
	}
	return o.parts
}
