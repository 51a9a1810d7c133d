package routing

import (
	"cmp"
	"iter"
	"maps"
	"slices"
)

// A Snapshot is what is in force: a Spec, checked and compiled. Nothing that
// is reachable from it ever changes, but [Target.Prepared] before it is put in
// force. The zero Snapshot is that of an empty Spec.
type Snapshot struct {
	// What is asked for.
	listeners    trie[ListenerName, *Listener]
	routes       trie[RouteName, *compiledRoute]
	clusters     trie[ClusterName, *Cluster]
	endpoints    trie[ClusterName, *Endpoints]
	certificates trie[CertificateName, *Certificate]
	policies     trie[PolicyName, *Policy]
	workloads    trie[WorkloadName, *Workload]
	captures     trie[CaptureName, *Capture]

	addresses trie[addressText, []*Workload]
	doorNames trie[doorName, []*Listener]
	defaults  trie[ListenerName, *compiledRoute] // of Listener.To

	// What of it is not in force; the ports know their own conflicts.
	badListeners  trie[ListenerName, *Problem]
	shutListeners trie[ListenerName, *Problem] // in force, but nobody is let in
	badClusters   trie[ClusterName, *Problem]
	badRoutes     trie[RouteName, []*Problem]
	badNames      trie[ClusterName, error] // of endpoints
	badPolicies   trie[PolicyName, *Problem]

	traced    trie[ListenerName, *Listener] // that ask for spans
	demanding trie[ListenerName, *Listener] // see Demanding
	counting  trie[PolicyName, *Policy]     // see RateLimits

	// Who depends on whom.
	attached trie[ListenerName, *attachedTo]
	users    trie[ClusterName, trie[RouteName, struct{}]]

	ports     []*Port // those to bind, by key
	waypoints []string
	doors     trie[doorKey, *Port]
	badDoors  trie[doorKey, *Port] // of these, those with problems
	captured  trie[captureKey, []PortKey]
	fresh     []*Target
	edited    []PortKey // see EditedDoors
}

// attachedTo is what is attached to a listener, or to a name that may become
// one's.
type attachedTo struct {
	routes trie[RouteName, struct{}]
	hosts  hosts[pathTable]
}

func hostsOf(tables trie[ListenerName, *attachedTo], name ListenerName) hosts[pathTable] {
	if a, ok := tables.get(name); ok {
		return a.hosts
	}
	return hosts[pathTable]{}
}

// Compile freezes spec. It never fails as a whole: a part that cannot work is
// left out with a Problem, the rest is in force. It is pure: the same Spec
// gives the same Snapshot and the same Problems in the same order. The parts
// of spec must not change afterwards.
func Compile(spec *Spec) (*Snapshot, []*Problem) {
	return new(Snapshot).Update(&Delta{
		Listeners:    byName(spec.Listeners),
		Routes:       byName(spec.Routes),
		Clusters:     byName(spec.Clusters),
		Endpoints:    byName(spec.Endpoints),
		Certificates: byName(spec.Certificates),
		Policies:     byName(spec.Policies),
		Workloads:    byName(spec.Workloads),
		Captures:     byName(spec.Captures),
	})
}

// byName returns the values of m in the order of the keys.
func byName[K cmp.Ordered, V any](m map[K]V) []V {
	list := make([]V, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		list = append(list, m[k])
	}
	return list
}

// Spec returns what was asked for, with the parts that are not in force. It
// costs a walk over all parts; the maps are the caller's, the parts are shared.
func (s *Snapshot) Spec() *Spec {
	spec := &Spec{
		Listeners:    maps.Collect(s.listeners.all()),
		Routes:       make(map[RouteName]*Route, s.routes.n),
		Clusters:     maps.Collect(s.clusters.all()),
		Endpoints:    maps.Collect(s.endpoints.all()),
		Certificates: maps.Collect(s.certificates.all()),
		Policies:     maps.Collect(s.policies.all()),
		Workloads:    maps.Collect(s.workloads.all()),
		Captures:     maps.Collect(s.captures.all()),
	}
	for name, c := range s.routes.all() {
		spec.Routes[name] = c.route
	}
	return spec
}

// Problems returns why parts are not in force: of listeners, of ports, of
// clusters, of endpoints, of policies, then of routes, each in the order of their
// names.
func (s *Snapshot) Problems() []*Problem {
	listeners := maps.Collect(s.badListeners.all())
	maps.Insert(listeners, s.shutListeners.all()) // none is both
	list := byName(listeners)
	for _, l := range byName(maps.Collect(s.traced.all())) {
		if p := s.tracingProblem(l); p != nil {
			list = append(list, p)
		}
	}
	for _, p := range s.ports {
		list = append(list, p.problems...)
	}
	for _, p := range byName(maps.Collect(s.badDoors.all())) {
		list = append(list, p.problems...)
	}
	list = append(list, byName(maps.Collect(s.badClusters.all()))...)
	badNames := maps.Collect(s.badNames.all())
	for _, name := range slices.Sorted(maps.Keys(badNames)) {
		var of Origin
		if c, ok := s.clusters.get(name); ok {
			of = c.Origin
		}
		list = append(list, &Problem{Origin: of, Reason: InvalidEndpoint, Err: badNames[name]})
	}
	list = append(list, byName(maps.Collect(s.badPolicies.all()))...)
	for _, problems := range byName(maps.Collect(s.badRoutes.all())) {
		list = append(list, problems...)
	}
	return list
}

// Fresh returns the targets that the Snapshot before this one did not have,
// so that the data plane can prepare them before it swaps; all of them after
// Compile. They come in the order of their routes' names.
func (s *Snapshot) Fresh() []*Target { return s.fresh }

// Ports returns what there is to bind, in the order of address and port. The
// list is shared: do not change it.
func (s *Snapshot) Ports() []*Port { return s.ports }

// Listener returns a listener, in force or not, or nil.
func (s *Snapshot) Listener(name ListenerName) *Listener {
	l, _ := s.listeners.get(name)
	return l
}

// TrustDomains are those of the mesh, the gateway's own first; none where it is
// no waypoint. The list is shared: do not change it.
func (s *Snapshot) TrustDomains() []string {
	for _, p := range s.ports {
		if p.Protocol == HBONE {
			return p.listeners[0].Mesh.TrustDomains
		}
	}
	return nil
}

// Demanding yields the listeners that ask for more than to be routed, in no
// order: for tokens, policies or Telemetry. Of thousands of doors they may be few.
func (s *Snapshot) Demanding() iter.Seq[*Listener] { return s.demanding.values() }

// Port returns one of Ports or, with an inside key, a door's; nil where there is
// none.
func (s *Snapshot) Port(k PortKey) *Port {
	if k.Inside {
		p, _ := s.doors.get(k.door())
		return p
	}
	i, ok := slices.BinarySearchFunc(s.ports, k, comparePort)
	if !ok {
		return nil
	}
	return s.ports[i]
}

func comparePort(p *Port, k PortKey) int { return p.Key.compare(k) }

// Cluster returns a cluster in force, or nil.
func (s *Snapshot) Cluster(name ClusterName) *Cluster {
	if _, bad := s.badClusters.get(name); bad {
		return nil
	}
	c, _ := s.clusters.get(name)
	return c
}

// Clusters yields the clusters in force, in no order.
func (s *Snapshot) Clusters() iter.Seq[*Cluster] {
	return func(yield func(*Cluster) bool) {
		for name, c := range s.clusters.all() {
			if _, bad := s.badClusters.get(name); !bad && !yield(c) {
				return
			}
		}
	}
}

// Endpoints returns the endpoints of a cluster, or nil.
func (s *Snapshot) Endpoints(name ClusterName) *Endpoints {
	e, _ := s.endpoints.get(name)
	return e
}

// Certificate returns a certificate by its name, or nil.
func (s *Snapshot) Certificate(name CertificateName) *Certificate {
	c, _ := s.certificates.get(name)
	return c
}

// Certificates yields all certificates, in no order.
func (s *Snapshot) Certificates() iter.Seq[*Certificate] { return s.certificates.values() }
