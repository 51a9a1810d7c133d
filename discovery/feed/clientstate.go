package feed

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"fairway.dev/routing"
)

// maxVersions bounds what a stream's first request names of what the pod has:
// a server takes messages of 4 MiB. What is left out is sent again.
const maxVersions = 3 << 20 // bytes

// A clientState is what a pod has: parts in force with their versions, and a
// run that is coming in. The parts are those that the data plane has; the JSON
// that they came in is not kept.
type clientState struct {
	decode      func(name string, text []byte) (any, error)
	nameOf      func(string) string // the string to keep
	parts       map[string]held
	refused     map[string]refusal // the last ones of their names; parts may have an older one
	digest      digest             // over what was received last of each name
	place       Place
	run         map[string]arrival
	unconfirmed map[string]struct{} // that the server was not told of: gone, unless a run has them
	distrusted  bool                // the server is to be told of nothing
	dirty       map[int]struct{}    // segments that the file has otherwise
}

// held is a part in force.
type held struct {
	version string
	part    any
}

// unread is a part that is not kept.
type unread struct{}

// A refusal is a resource that could not be read.
type refusal struct {
	version string
	problem *routing.Problem
}

// An arrival is what a run says about a name.
type arrival struct {
	version string // empty: gone
	part    any    // nil: refused
	problem *routing.Problem
}

func newClientState() *clientState {
	return &clientState{
		decode: decodePart, nameOf: func(name string) string { return name },
		parts: map[string]held{}, refused: map[string]refusal{}, run: map[string]arrival{},
		unconfirmed: map[string]struct{}{}, dirty: map[int]struct{}{},
	}
}

// restore takes the parts of the last good state.
func (s *clientState) restore(parts map[string]held, place Place) {
	s.parts, s.place = parts, place
	for name, h := range parts {
		s.digest = s.digest.plus(digestOf(name, h.version))
	}
}

// everything returns all parts as a change.
func (s *clientState) everything() *routing.Delta {
	d := &routing.Delta{}
	for _, name := range slices.Sorted(maps.Keys(s.parts)) {
		put(d, s.parts[name].part)
	}
	return d
}

// versions returns what a stream's first request says that we have.
func (s *clientState) versions() map[string]string {
	clear(s.unconfirmed)
	versions := make(map[string]string, len(s.parts))
	size := 0
	for name, h := range s.parts {
		if size += len(name) + len(h.version) + 8; size > maxVersions || s.distrusted {
			s.unconfirmed[name] = struct{}{}
			continue
		}
		versions[name] = h.version
	}
	if len(s.refused) == 0 && len(s.unconfirmed) == 0 && len(versions) > 0 {
		versions[generationName] = s.digest.String()
	}
	s.distrusted = false
	return versions
}

// distrust makes the next stream begin with nothing.
func (s *clientState) distrust() { s.distrusted = true }

// abandon forgets a run that will not be closed.
func (s *clientState) abandon() { clear(s.run) }

// take adds a response to the run. It returns the generation that closes the
// run if it is there, and an error if a resource could not be read: the others
// count.
func (s *clientState) take(r *discoveryv3.DeltaDiscoveryResponse) (end *generation, err error) {
	for _, name := range r.GetRemovedResources() {
		s.run[name] = arrival{}
	}
	seen := make(map[string]bool, len(r.GetResources()))
	var bad []string
	for _, res := range r.GetResources() {
		name, body := res.GetName(), res.GetResource().GetValue()
		if seen[name] {
			bad = append(bad, name+": twice in one response")
			continue
		}
		seen[name] = true
		if name == generationName {
			end = &generation{}
			if err := json.Unmarshal(body, end); err != nil {
				end, bad = nil, append(bad, name+": "+err.Error())
			}
			continue
		}
		name = s.nameOf(name)
		a := arrival{version: res.GetVersion()}
		part, err := s.decode(name, body)
		if err != nil {
			bad = append(bad, name+": "+err.Error())
			a.problem = &routing.Problem{Origin: originOf(name, body), Reason: Refused, Err: err}
		} else {
			a.part = part
		}
		s.run[name] = a
	}
	if len(bad) > 0 {
		err = errors.New(strings.Join(bad[:min(len(bad), maxProblems)], "; "))
	}
	return end, err
}

// originOf finds out what a resource that cannot be read is from.
func originOf(name string, body []byte) routing.Origin {
	var b struct{ Origin routing.Origin }
	if json.Unmarshal(body, &b) == nil && b.Origin.Kind != "" {
		return b.Origin
	}
	kind, rest := splitName(name)
	return routing.Origin{Kind: strings.TrimSuffix(kind, "/"), Name: rest}
}

// close makes the run part of the state and returns what changes in force, nil
// for nothing.
func (s *clientState) close() *routing.Delta {
	for name := range s.unconfirmed {
		if _, ok := s.run[name]; !ok {
			s.run[name] = arrival{}
		}
	}
	clear(s.unconfirmed)
	d := &routing.Delta{}
	changed := false
	for _, name := range slices.Sorted(maps.Keys(s.run)) {
		changed = s.arrive(d, name, s.run[name]) || changed
	}
	slices.Sort(d.Removed.Clusters)
	d.Removed.Clusters = slices.Compact(d.Removed.Clusters)
	s.run = map[string]arrival{} // a first run's map would stay large
	if !changed {
		return nil
	}
	return d
}

// arrive takes one arrival. It reports whether that changes what is in force.
func (s *clientState) arrive(d *routing.Delta, name string, a arrival) (changed bool) {
	before, had := s.parts[name]
	refused, bad := s.refused[name]
	switch {
	case bad:
		s.digest = s.digest.minus(digestOf(name, refused.version))
		delete(s.refused, name)
	case had:
		s.digest = s.digest.minus(digestOf(name, before.version))
	}
	if a.version != "" {
		s.digest = s.digest.plus(digestOf(name, a.version))
	}
	switch {
	case a.problem != nil:
		s.refused[name] = refusal{a.version, a.problem}
		return false
	case a.part != nil && had && before.version == a.version:
		return false
	case a.part != nil:
		s.parts[name] = held{a.version, a.part}
		put(d, a.part)
	case had:
		delete(s.parts, name)
		s.remove(d, name)
	default:
		return false
	}
	s.dirty[segmentOf(name)] = struct{}{}
	return true
}

// put adds a part to a change.
func put(d *routing.Delta, part any) {
	switch p := part.(type) {
	case *routing.Listener:
		d.Listeners = append(d.Listeners, p)
	case *routing.Route:
		d.Routes = append(d.Routes, p)
	case *routing.Cluster:
		d.Clusters = append(d.Clusters, p)
	case *routing.Endpoints:
		d.Endpoints = append(d.Endpoints, p)
	case *routing.Certificate:
		d.Certificates = append(d.Certificates, p)
	case *routing.Policy:
		d.Policies = append(d.Policies, p)
	case *routing.Workload:
		d.Workloads = append(d.Workloads, p)
	case *routing.Capture:
		d.Captures = append(d.Captures, p)
	}
}

// remove adds to a change that a part is gone.
func (s *clientState) remove(d *routing.Delta, name string) {
	kind, rest := splitName(name)
	switch kind {
	case listenerKind:
		d.Removed.Listeners = append(d.Removed.Listeners, routing.ListenerName(rest))
	case routeKind:
		d.Removed.Routes = append(d.Removed.Routes, routing.RouteName(rest))
	case clusterKind:
		d.Removed.Clusters = append(d.Removed.Clusters, routing.ClusterName(rest))
	case endpointsKind:
		// They go with their cluster, whose name comes first. One that stays
		// has none left.
		name := routing.ClusterName(rest)
		if _, stays := s.parts[clusterName(name)]; stays {
			d.Endpoints = append(d.Endpoints, &routing.Endpoints{Cluster: name})
		} else {
			d.Removed.Clusters = append(d.Removed.Clusters, name)
		}
	case certificateKind:
		d.Removed.Certificates = append(d.Removed.Certificates, routing.CertificateName(rest))
	case policyKind:
		d.Removed.Policies = append(d.Removed.Policies, routing.PolicyName(rest))
	case workloadKind:
		d.Removed.Workloads = append(d.Removed.Workloads, routing.WorkloadName(rest))
	case captureKind:
		d.Removed.Captures = append(d.Removed.Captures, routing.CaptureName(rest))
	}
}

// refusals returns the Problems of what could not be read.
func (s *clientState) refusals() []*routing.Problem {
	var list []*routing.Problem
	for _, name := range s.refusedNames() {
		list = append(list, s.refused[name].problem)
	}
	return list
}

func (s *clientState) refusedNames() []string { return slices.Sorted(maps.Keys(s.refused)) }

// changed reports whether the file is not up to date.
func (s *clientState) changed() bool { return len(s.dirty) > 0 }
