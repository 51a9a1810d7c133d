package routing

import (
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"
)

// apply does to a Spec what a Delta says, literally.
func apply(s *Spec, d *Delta) {
	for _, name := range d.Removed.Listeners {
		delete(s.Listeners, name)
	}
	for _, name := range d.Removed.Routes {
		delete(s.Routes, name)
	}
	for _, name := range d.Removed.Clusters {
		delete(s.Clusters, name)
		delete(s.Endpoints, name)
	}
	for _, name := range d.Removed.Certificates {
		delete(s.Certificates, name)
	}
	for _, name := range d.Removed.Workloads {
		delete(s.Workloads, name)
	}
	for _, name := range d.Removed.Policies {
		delete(s.Policies, name)
	}
	for _, name := range d.Removed.Captures {
		delete(s.Captures, name)
	}
	for _, p := range d.Workloads {
		s.Workloads[p.Name] = p
	}
	for _, p := range d.Policies {
		s.Policies[p.Name] = p
	}
	for _, p := range d.Captures {
		s.Captures[p.Name] = p
	}
	for _, p := range d.Listeners {
		s.Listeners[p.Name] = p
	}
	for _, p := range d.Routes {
		s.Routes[p.Name] = p
	}
	for _, p := range d.Clusters {
		s.Clusters[p.Name] = p
	}
	for _, p := range d.Endpoints {
		s.Endpoints[p.Cluster] = p
	}
	for _, p := range d.Certificates {
		s.Certificates[p.Name] = p
	}
}

// delta makes a few random edits of the parts that dice.spec makes.
func (d *dice) delta() *Delta {
	var delta Delta
	for range d.pick(3) + 1 {
		i := d.pick(3)
		cluster := choose(d, []ClusterName{"b", "c", "d"})
		switch d.pick(13) {
		case 0:
			l := d.listener(i)
			l.Hostname = fixHostname(l.Hostname)
			l.Addresses = choose(d, [][]netip.Addr{nil, nil, {netip.MustParseAddr("10.0.0.1")}, {netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.1")}})
			l.Port = choose(d, []uint16{80, 80, 81, 0})
			if d.pick(2) == 0 {
				l.makeDoor(d)
			}
			delta.Listeners = append(delta.Listeners, l)
		case 1:
			delta.Removed.Listeners = append(delta.Removed.Listeners, ListenerName(fmt.Sprintf("ns/gw/l%d", i)))
		case 2, 3, 4:
			delta.Routes = append(delta.Routes, d.route(i))
		case 5:
			delta.Removed.Routes = append(delta.Removed.Routes, RouteName(fmt.Sprintf("%s/ns/r%d", choose(d, []string{"HTTPRoute", "GRPCRoute"}), i)))
		case 6:
			delta.Clusters = append(delta.Clusters, &Cluster{Name: cluster, Protocol: choose(d, []Upstream{"", UpstreamHTTP2, "carrier pigeon"})})
		case 7:
			delta.Removed.Clusters = append(delta.Removed.Clusters, cluster)
		case 8:
			delta.Endpoints = append(delta.Endpoints, &Endpoints{Cluster: cluster, List: make([]Endpoint, i)})
		case 9:
			name := CertificateName(fmt.Sprintf("ns/cert%d", i))
			if d.pick(2) == 0 {
				delta.Certificates = append(delta.Certificates, &Certificate{Name: name})
			} else {
				delta.Removed.Certificates = append(delta.Removed.Certificates, name)
			}
		case 10:
			name := WorkloadName(fmt.Sprintf("ns/pod%d", i))
			if d.pick(3) > 0 {
				delta.Workloads = append(delta.Workloads, &Workload{Name: name, Addresses: someAddresses[d.pick(3):]})
			} else {
				delta.Removed.Workloads = append(delta.Removed.Workloads, name)
			}
		case 11:
			name := PolicyName(fmt.Sprintf("AuthorizationPolicy/ns/p%d", i))
			if d.pick(3) > 0 {
				p := *choose(d, somePolicies)
				p.Name = name
				delta.Policies = append(delta.Policies, &p)
			} else {
				delta.Removed.Policies = append(delta.Removed.Policies, name)
			}
		case 12:
			name := CaptureName(fmt.Sprintf("ns/svc%d:80", i))
			if d.pick(3) > 0 {
				delta.Captures = append(delta.Captures, &Capture{Name: name, To: uint16(i)})
			} else {
				delta.Removed.Captures = append(delta.Removed.Captures, name)
			}
		}
	}
	return &delta
}

var someAddresses = []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("fd00::1")}

// somePolicies are in order and not, by turns.
var somePolicies = []*Policy{
	{Authorization: &Authorization{Action: Deny}},
	{Authorization: &Authorization{Action: "PERHAPS"}},
	{RateLimit: &RateLimit{Rules: []RateLimitRule{{Requests: 1, Per: time.Second}}}},
	{RateLimit: &RateLimit{Rules: []RateLimitRule{{Requests: 0, Per: time.Second}}}},
	{Authorization: &Authorization{Action: Allow, Broken: "no such provider"}},
	{},
}

// makeDoor makes a door of a listener.
func (l *Listener) makeDoor(d *dice) {
	l.Inside = true
	l.Protocol = choose(d, []Protocol{HTTP, TCP, TLS})
	l.TLS = choose(d, []*ListenerTLS{nil, {Passthrough: true}})
	l.To = choose(d, []ClusterName{"", "b", "c"})
	l.From = choose(d, []string{"", "", "ns"})
	l.Names = choose(d, [][]string{nil, {"b.ns"}, {"b.ns", "c.ns"}})
	l.Gateway = choose(d, []string{"ns/gw", CallingGateways})
	l.Capture = choose(d, []uint16{0, 20000, 20001})
	l.Claimed = d.pick(3) == 0
	l.Addresses = choose(d, [][]netip.Addr{l.Addresses, someAddresses[:1], someAddresses[1:2], someAddresses[:2]})
}

// cloneSpec copies the maps of s and makes those that are missing.
func cloneSpec(s *Spec) *Spec {
	clone := &Spec{map[ListenerName]*Listener{}, map[RouteName]*Route{}, map[ClusterName]*Cluster{}, map[ClusterName]*Endpoints{}, map[CertificateName]*Certificate{}, map[PolicyName]*Policy{}, map[WorkloadName]*Workload{}, map[CaptureName]*Capture{}}
	maps.Copy(clone.Listeners, s.Listeners)
	maps.Copy(clone.Routes, s.Routes)
	maps.Copy(clone.Clusters, s.Clusters)
	maps.Copy(clone.Endpoints, s.Endpoints)
	maps.Copy(clone.Certificates, s.Certificates)
	maps.Copy(clone.Policies, s.Policies)
	maps.Copy(clone.Workloads, s.Workloads)
	maps.Copy(clone.Captures, s.Captures)
	return clone
}

// checkUpdates makes random edits and compares each Update with Compile; and
// that of another edit of the same Snapshot, which the first one must not have
// disturbed.
func checkUpdates(t *testing.T, d *dice, steps int) {
	t.Helper()
	spec := cloneSpec(d.spec())
	snap, _ := Compile(spec)
	requests := d.requests()
	for range steps {
		delta := d.delta()
		old, oldSpec, before := snap, cloneSpec(spec), dump(snap)
		apply(spec, delta)
		var problems []*Problem
		snap, problems = snap.Update(delta)
		if got := dump(old); got != before {
			t.Fatalf("Update changed the Snapshot that it began with:\n%s\nwas\n%s", got, before)
		}
		checkSame(t, spec, snap, problems, requests)
		checkFresh(t, old, snap)
		checkEdited(t, old, snap)

		delta = d.delta()
		apply(oldSpec, delta)
		other, problems := old.Update(delta)
		checkSame(t, oldSpec, other, problems, requests)
	}
}

// checkSame compares an updated Snapshot with a compiled one.
func checkSame(t *testing.T, spec *Spec, snap *Snapshot, problems []*Problem, requests []Request) {
	t.Helper()
	want, wantProblems := Compile(spec)
	if got, want := dump(snap), dump(want); got != want {
		t.Fatalf("after Update:\n%s\nafter Compile:\n%s", got, want)
	}
	for _, addr := range someAddresses {
		if got, want := snap.Workload(addr), want.Workload(addr); got != want {
			t.Fatalf("Workload(%s) after Update: %v, after Compile: %v", addr, got, want)
		}
	}
	for _, name := range []string{"b.ns", "c.ns"} {
		if got, want := snap.DoorNamed(name, 80, "ns"), want.DoorNamed(name, 80, "ns"); (got == nil) != (want == nil) || got != nil && got.Key != want.Key {
			t.Fatalf("DoorNamed(%s) after Update: %v, after Compile: %v", name, got, want)
		}
	}
	for _, number := range []uint16{0, 20000, 20001} {
		if got, want := snap.Captured(number), want.Captured(number); !slices.Equal(got, want) {
			t.Fatalf("Captured(%d) after Update: %v, after Compile: %v", number, got, want)
		}
	}
	if got, want := byName(maps.Collect(snap.counting.all())), byName(maps.Collect(want.counting.all())); !slices.Equal(got, want) {
		t.Fatalf("RateLimits after Update: %v, after Compile: %v", got, want)
	}
	if !reflect.DeepEqual(problems, wantProblems) {
		t.Fatalf("problems after Update: %v\nafter Compile: %v", problems, wantProblems)
	}
	if got := snap.Spec(); !reflect.DeepEqual(got, spec) {
		t.Fatalf("Spec() = %+v, want %+v", got, spec)
	}
	for _, p := range slices.AppendSeq(slices.Clone(want.Ports()), want.Doors()) {
		q := snap.Port(p.Key)
		for i := range requests {
			r := &requests[i]
			if got, want := verdictOf(q, r), verdictOf(p, r); got != want {
				t.Fatalf("%+v on %s: after Update %+v, after Compile %+v", r, p.Key, got, want)
			}
		}
	}
	checkIndexes(t, snap, want)
}

// checkIndexes compares what Update relies on for the next change.
func checkIndexes(t *testing.T, a, b *Snapshot) {
	t.Helper()
	set := func(m trie[RouteName, struct{}]) []RouteName { return slices.Sorted(maps.Keys(maps.Collect(m.all()))) }
	users := func(s *Snapshot) map[ClusterName][]RouteName {
		m := map[ClusterName][]RouteName{}
		for name, routes := range s.users.all() {
			m[name] = set(routes)
		}
		return m
	}
	attached := func(s *Snapshot) map[ListenerName][]RouteName {
		m := map[ListenerName][]RouteName{}
		for name, to := range s.attached.all() {
			m[name] = set(to.routes)
		}
		return m
	}
	if !reflect.DeepEqual(users(a), users(b)) || !reflect.DeepEqual(attached(a), attached(b)) {
		t.Fatalf("indexes after Update %v %v, after Compile %v %v", users(a), attached(a), users(b), attached(b))
	}
}

// targets returns all targets of s.
func targets(s *Snapshot) map[*Target]bool {
	m := map[*Target]bool{}
	for r := range s.routes.values() {
		for _, t := range r.targets {
			m[t] = true
		}
	}
	for r := range s.defaults.values() {
		for _, t := range r.targets {
			m[t] = true
		}
	}
	return m
}

// checkFresh holds Fresh to its word.
func checkFresh(t *testing.T, old, snap *Snapshot) {
	t.Helper()
	had, want := targets(old), targets(snap)
	maps.DeleteFunc(want, func(t *Target, _ bool) bool { return had[t] })
	got := map[*Target]bool{}
	for _, f := range snap.Fresh() {
		got[f] = true
	}
	if !maps.Equal(got, want) {
		t.Fatalf("Fresh returns %d targets, want the %d new ones", len(got), len(want))
	}
}

// checkEdited holds EditedDoors to its word.
func checkEdited(t *testing.T, old, snap *Snapshot) {
	t.Helper()
	want := map[PortKey]bool{}
	for _, pair := range [][2]*Snapshot{{old, snap}, {snap, old}} {
		for p := range pair[0].Doors() {
			if q := pair[1].Port(p.Key); q == nil || !slices.Equal(p.listeners, q.listeners) {
				want[p.Key] = true
			}
		}
	}
	got := map[PortKey]bool{}
	for _, key := range snap.EditedDoors() {
		got[key] = true
	}
	if !maps.Equal(got, want) {
		t.Fatalf("EditedDoors returns %v, want %v", got, want)
	}
}

func TestUpdateIsCompile(t *testing.T) {
	for seed := range uint64(120) {
		checkUpdates(t, &dice{randomBytes(seed, 200)}, 8)
	}
}

func FuzzUpdate(f *testing.F) {
	for seed := range uint64(4) {
		f.Add(randomBytes(seed, 200))
	}
	f.Fuzz(func(t *testing.T, data []byte) { checkUpdates(t, &dice{data}, 2) })
}

func TestUpdateSharesWhatItDoesNotTouch(t *testing.T) {
	a, b := route("a", "a.example.com", prefix("/")), route("b", "b.example.com", prefix("/"))
	spec := oneListener(a, b)
	spec.Listeners["ns/gw/other"] = &Listener{Name: "ns/gw/other", Port: 81, Protocol: HTTP}
	old, _ := Compile(spec)
	old.Fresh()[1].Prepared = "kept"

	edited := *a
	edited.Rules = slices.Clone(a.Rules)
	snap, _ := old.Update(&Delta{Routes: []*Route{&edited}})

	other := PortKey{Port: 81}
	if snap.Port(other) != old.Port(other) {
		t.Error("a port that the edit does not touch was made anew")
	}
	table := func(s *Snapshot, host string) *pathTable { return s.Port(port80).bound.any.hosts.get(host) }
	if table(snap, "b.example.com") != table(old, "b.example.com") {
		t.Error("the table of a host that the edit does not touch was made anew")
	}
	if table(snap, "a.example.com") == table(old, "a.example.com") {
		t.Error("the table of the edited route's host is the old one")
	}
	r := get("b.example.com", "/")
	if got := snap.Port(port80).Match(&r).Target.Prepared; got != "kept" {
		t.Errorf("Prepared = %v, want what the data plane left there", got)
	}
	if n := len(snap.Fresh()); n != 1 {
		t.Errorf("%d fresh targets, want the edited route's", n)
	}
}

// Endpoints have a road of their own.
func TestEndpointsCompileNothing(t *testing.T) {
	old, _ := Compile(oneListener(route("a", "h", prefix("/"))))
	e := &Endpoints{Cluster: "b", List: make([]Endpoint, 3)}
	snap, _ := old.Update(&Delta{Endpoints: []*Endpoints{e}})
	if len(snap.Fresh()) != 0 || snap.Port(port80) != old.Port(port80) {
		t.Error("new endpoints made new targets or ports")
	}
	if snap.Endpoints("b") != e || old.Endpoints("b") != nil {
		t.Error("the endpoints are not in the new Snapshot only")
	}
}

func TestClusterThatComesAndGoes(t *testing.T) {
	spec := oneListener(route("r", "h", prefix("/")))
	delete(spec.Clusters, "b")
	s, problems := Compile(spec)
	r := get("h", "/")
	share := func() Backend { return s.Port(port80).Match(&r).Target.Action.Backends[0] }
	if b := share(); b.Status != 500 || b.Reason != BackendNotFound || len(problems) != 1 {
		t.Errorf("share without a cluster: %+v, problems %v; want 500 and one problem", b, problems)
	}
	if s, problems = s.Update(&Delta{Clusters: []*Cluster{{Name: "b"}}}); share().Status != 0 || len(problems) != 0 || len(s.Fresh()) != 1 {
		t.Errorf("the cluster came: %+v, problems %v, %d fresh", share(), problems, len(s.Fresh()))
	}
	if s, problems = s.Update(&Delta{Clusters: []*Cluster{{Name: "b", Protocol: UpstreamHTTP2}}}); len(problems) != 0 || len(s.Fresh()) != 0 {
		t.Errorf("the cluster changed: problems %v, %d fresh; want none", problems, len(s.Fresh()))
	}
	var gone Delta
	gone.Removed.Clusters = []ClusterName{"b"}
	if s, problems = s.Update(&gone); share().Status != 500 || len(problems) != 1 {
		t.Errorf("the cluster went: %+v, problems %v", share(), problems)
	}
}
