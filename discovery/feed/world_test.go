package feed

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"fairway.dev/routing"
)

// chance makes changes of a small world in which names meet.
type chance struct{ *rand.Rand }

func pick[T any](c chance, list ...T) T { return list[c.IntN(len(list))] }

func (c chance) name(kind string) string { return fmt.Sprintf("ns/%s%d", kind, c.IntN(4)) }

func (c chance) gateway() string { return pick(c, "ns/a", "ns/b", "ns/c") }

func (c chance) cluster() routing.ClusterName {
	return pick(c, c.clusterName(), "")
}

func (c chance) clusterName() routing.ClusterName {
	return pick(c, routing.ClusterName(c.name("cluster")), routing.WaypointCluster(c.gateway()))
}

func (c chance) policyName() routing.PolicyName { return routing.PolicyName(c.name("policy")) }

func (c chance) certificate() routing.CertificateName {
	return routing.CertificateName(c.name("certificate"))
}

func (c chance) listener() *routing.Listener {
	l := &routing.Listener{Name: routing.ListenerName(c.name("listener")), Gateway: c.gateway(), Port: uint16(c.IntN(3))}
	if c.IntN(2) == 0 {
		l.TLS = &routing.ListenerTLS{}
		for range c.IntN(3) {
			l.TLS.Certificates = append(l.TLS.Certificates, c.certificate())
		}
	}
	if c.IntN(4) == 0 {
		l.Telemetry = &routing.Telemetry{Tracing: &routing.Tracing{Cluster: c.cluster()}}
	}
	for range c.IntN(3) {
		l.Policies = append(l.Policies, c.policyName())
	}
	switch c.IntN(4) {
	case 0:
		l.Protocol, l.Mesh = routing.HBONE, &routing.Mesh{Calls: c.IntN(2) == 0}
	case 1:
		l.Inside, l.To = true, c.cluster()
	case 2:
		l.Inside, l.To, l.Gateway = true, c.cluster(), routing.CallingGateways
	}
	return l
}

func (c chance) policy() *routing.Policy {
	p := &routing.Policy{Name: c.policyName()}
	switch c.IntN(3) {
	case 0:
		p.Authorization = &routing.Authorization{External: &routing.ExternalAuth{Cluster: c.cluster()}}
	case 1:
		p.RateLimit = &routing.RateLimit{Shared: &routing.SharedLimit{Cluster: c.cluster()}}
	case 2:
		p.Authorization = &routing.Authorization{DryRun: c.IntN(2) == 0}
	}
	return p
}

func (c chance) workload() *routing.Workload {
	wl := &routing.Workload{Name: routing.WorkloadName(c.name("workload")), Node: pick(c, "n1", "n2", ""), Captured: c.IntN(2) == 0}
	for range c.IntN(3) {
		wl.Gateways = append(wl.Gateways, c.gateway())
	}
	switch c.IntN(4) {
	case 0:
		wl.Strict = true
	case 1:
		wl.StrictPorts = []uint16{80}
	}
	return wl
}

func (c chance) capture() *routing.Capture {
	return &routing.Capture{Name: routing.CaptureName(c.name("capture")), To: uint16(c.IntN(3))}
}

func (c chance) route() *routing.Route {
	r := &routing.Route{Name: routing.RouteName(c.name("route"))}
	for range c.IntN(4) {
		r.Attached = append(r.Attached, routing.Attachment{Listener: routing.ListenerName(c.name("listener")), Hosts: []string{pick(c, "*", "a", "b")}})
	}
	for range c.IntN(3) {
		var a routing.Action
		for range c.IntN(3) {
			b := routing.Backend{Cluster: c.cluster(), Weight: uint32(c.IntN(3))}
			if c.IntN(4) == 0 {
				b.Mirrors = []routing.Mirror{{Cluster: c.cluster()}}
			}
			a.Backends = append(a.Backends, b)
		}
		if c.IntN(4) == 0 {
			a.Policies = []routing.PolicyName{c.policyName(), c.policyName()}
		}
		if c.IntN(4) == 0 {
			a.Auth = &routing.ExternalAuth{Cluster: c.cluster()}
		}
		if c.IntN(4) == 0 {
			a.Mirrors = []routing.Mirror{{Cluster: c.cluster()}}
		}
		r.Rules = append(r.Rules, routing.Rule{Action: a})
	}
	return r
}

// west is the cluster of another network's gateways.
var west = routing.NetworkCluster("west")

func (c chance) clusterPart() *routing.Cluster {
	p := &routing.Cluster{Name: c.clusterName(), Port: uint16(c.IntN(3))}
	if c.IntN(2) == 0 { // to whatever cluster: itself, or one that hops, too
		p.Hop = &routing.Hop{Gateway: c.gateway(), Cluster: c.cluster(), Inside: c.IntN(4) == 0}
		if c.IntN(3) == 0 {
			p.Hop.Canary = &routing.Canary{Gateway: c.gateway(), Percent: 5}
		}
		if c.IntN(3) == 0 {
			p.Hop.Beyond = &routing.FarHop{Cluster: west}
		}
	}
	if c.IntN(8) == 0 {
		p.Name, p.Hop = west, nil
	}
	if c.IntN(3) == 0 {
		p.TLS = &routing.UpstreamTLS{ServerName: "x", Certificate: pick(c, c.certificate(), "")}
	}
	return p
}

func (c chance) delta() *routing.Delta {
	d := &routing.Delta{}
	for range c.IntN(5) {
		switch c.IntN(15) {
		case 0:
			d.Listeners = append(d.Listeners, c.listener())
		case 1:
			d.Routes = append(d.Routes, c.route())
		case 2:
			d.Clusters = append(d.Clusters, c.clusterPart())
		case 3:
			d.Endpoints = append(d.Endpoints, &routing.Endpoints{Cluster: c.clusterName(), List: make([]routing.Endpoint, c.IntN(3))})
		case 4:
			d.Certificates = append(d.Certificates, pair(c.certificate(), fmt.Sprint("key", c.IntN(3))))
		case 5:
			d.Removed.Listeners = append(d.Removed.Listeners, routing.ListenerName(c.name("listener")))
		case 6:
			d.Removed.Routes = append(d.Removed.Routes, routing.RouteName(c.name("route")))
		case 7:
			d.Removed.Clusters = append(d.Removed.Clusters, c.clusterName())
		case 8:
			d.Removed.Certificates = append(d.Removed.Certificates, c.certificate())
		case 9:
			d.Policies = append(d.Policies, c.policy())
		case 10:
			d.Workloads = append(d.Workloads, c.workload())
		case 11:
			d.Captures = append(d.Captures, c.capture())
		case 12:
			d.Removed.Policies = append(d.Removed.Policies, c.policyName())
		case 13:
			d.Removed.Workloads = append(d.Removed.Workloads, routing.WorkloadName(c.name("workload")))
		case 14:
			d.Removed.Captures = append(d.Removed.Captures, routing.CaptureName(c.name("capture")))
		}
	}
	return d
}

// checkViews holds that the views are what the oracle says.
func checkViews(t *testing.T, views map[string]*view, spec *routing.Spec) {
	t.Helper()
	view := func(gateway string) *view {
		if v := views[gateway]; v != nil {
			return v
		}
		return newView(gateway, nil)
	}
	for _, gateway := range []string{"ns/a", "ns/b", "ns/c"} {
		v := view(gateway)
		checkView(t, v, "", partsOf(spec, gateway))
		checkWanted(t, v)
		if len(v.scopes) > 0 {
			t.Fatalf("%s has parts for some of its pods", gateway)
		}
	}
	for _, node := range []string{"n1", "n2", "n3"} {
		checkView(t, view(CaptureGateway), node, partsOfAgent(spec, node))
	}
}

// checkView holds that pods of a view and a scope see what they should.
func checkView(t *testing.T, v *view, scope string, want map[string]any) {
	t.Helper()
	var sum digest
	got := map[string]bool{}
	reader := newSubscription(PartType, v.collection, nil, nil)
	reader.scope = scope
	for _, e := range reader.entries() {
		if e.resource == nil || !reader.sees(e) {
			continue
		}
		name := e.name
		if got[name] {
			t.Fatalf("%s has %s of its own, and in common", v.gateway, name)
		}
		got[name] = true
		if want[name] == nil {
			t.Fatalf("%s %s has %s of another", v.gateway, scope, name)
		}
		if body := marshal(bodyOf(want[name])); !bytes.Equal(e.resource.message.Resource.Value, body) || reader.current(name) != e.resource {
			t.Fatalf("%s %s has %s as %s, want %s", v.gateway, scope, name, e.resource.message.Resource.Value, body)
		}
		sum = sum.plus(e.resource.digest)
	}
	for name := range want {
		if !got[name] {
			t.Fatalf("%s %s lacks %s", v.gateway, scope, name)
		}
	}
	if sum != v.digestFor(scope) {
		t.Fatalf("%s %s: digest %s, want %s", v.gateway, scope, v.digestFor(scope), sum)
	}
}

// entries returns those of what the client follows.
func (s *subscription) entries() (list []*entry) {
	for _, c := range s.collections() {
		list = slices.AppendSeq(list, maps.Values(c.entries))
	}
	return list
}

// checkWanted holds that the versions of listeners are those of listeners and
// certificates as they are, without doors.
func checkWanted(t *testing.T, v *view) {
	t.Helper()
	var sum digest
	for name, l := range v.listeners {
		if l.Inside {
			t.Fatalf("%s: door %s is wanted", v.gateway, name)
		}
		version := v.listenerVersion(l)
		if v.wanted.versions[name] != version {
			t.Fatalf("%s: listener %s is wanted as %q, want %q", v.gateway, name, v.wanted.versions[name], version)
		}
		sum = sum.plus(digestOf(string(name), version))
	}
	if len(v.wanted.versions) != len(v.listeners) || v.wanted.digest != sum {
		t.Fatalf("%s: %d listeners wanted, want %d", v.gateway, len(v.wanted.versions), len(v.listeners))
	}
}

// After any history each Gateway has its own parts, and no other's.
func TestViewsAreTheSpecDivided(t *testing.T) {
	for seed := range uint64(150) {
		c := chance{rand.New(rand.NewPCG(seed, 1))}
		views := newViewSet()
		w := newWorld(views, quiet)
		snap := new(routing.Snapshot)
		for range 60 {
			d := c.delta()
			w.update(d)
			snap, _ = snap.Update(d)
			checkViews(t, views.views, snap.Spec())
		}
		checkEmptied(t, w, snap.Spec())
	}
}

// checkEmptied holds that nothing is left when everything is gone.
func checkEmptied(t *testing.T, w *world, spec *routing.Spec) {
	t.Helper()
	d := &routing.Delta{}
	d.Removed.Listeners = slices.Collect(maps.Keys(spec.Listeners))
	d.Removed.Routes = slices.Collect(maps.Keys(spec.Routes))
	d.Removed.Clusters = slices.AppendSeq(slices.Collect(maps.Keys(spec.Clusters)), maps.Keys(spec.Endpoints))
	d.Removed.Certificates = slices.Collect(maps.Keys(spec.Certificates))
	d.Removed.Policies = slices.Collect(maps.Keys(spec.Policies))
	d.Removed.Workloads = slices.Collect(maps.Keys(spec.Workloads))
	d.Removed.Captures = slices.Collect(maps.Keys(spec.Captures))
	w.update(d)
	if w.views.common.live > 0 || w.views.common.digest != (digest{}) {
		t.Fatalf("left in common: %q", w.views.common.names(""))
	}
	if len(w.nodes)+len(w.homes)+len(w.routes)+len(w.attached)+len(w.workloads)+len(w.captures)+len(w.views.views)+len(w.views.users) > 0 {
		t.Fatalf("left: nodes %v, homes %v, routes %v, attached %v, workloads %v, captures %v, views %v",
			slices.Collect(maps.Keys(w.nodes)), w.homes, w.routes, w.attached, w.workloads, w.captures, w.views)
	}
}

// A change touches the views that have what it changes, and changes nothing in them else.
func TestAChangeCostsWhatItTouches(t *testing.T) {
	s := NewServer(Options{Log: quiet})
	s.Update(shop())
	s.Update(&routing.Delta{
		Listeners: []*routing.Listener{listener("bank/edge", "http")},
		Routes:    []*routing.Route{route("bank/teller", []routing.ClusterName{"bank/teller:80"}, "bank/edge/http")},
		Clusters:  []*routing.Cluster{cluster("bank/teller:80")},
	})
	bank, edge := s.views.of("bank/edge"), s.views.of("shop/edge")
	before := bank.number
	tests := []struct {
		name  string
		delta *routing.Delta
		moves uint64 // changes that the shop's pods see
	}{
		{"an edited route", &routing.Delta{Routes: []*routing.Route{route("shop/cart", []routing.ClusterName{"shop/cart:80", "shop/cart:80"}, "shop/edge/http")}}, 1},
		{"endpoints", &routing.Delta{Endpoints: []*routing.Endpoints{endpoints("shop/cart:80", "10.0.0.9:80")}}, 1},
		{"the same endpoints", &routing.Delta{Endpoints: []*routing.Endpoints{endpoints("shop/cart:80", "10.0.0.9:80")}}, 0},
		{"a cluster that nobody names", &routing.Delta{Clusters: []*routing.Cluster{cluster("shop/none:80")}}, 0},
		{"a route of nobody's", &routing.Delta{Routes: []*routing.Route{route("shop/lost", []routing.ClusterName{"shop/none:80"}, "shop/none/http")}}, 0},
		{"a certificate that nobody names", &routing.Delta{Certificates: []*routing.Certificate{pair("shop/tls", "key")}}, 0},
		{"a listener that uses it", &routing.Delta{Listeners: []*routing.Listener{listener("shop/edge", "https", "shop/tls")}}, 2},
	}
	for _, tt := range tests {
		number := edge.number
		s.Update(tt.delta)
		if got := edge.number - number; got != tt.moves {
			t.Errorf("%s: %d changes, want %d", tt.name, got, tt.moves)
		}
	}
	if bank.number != before {
		t.Errorf("the bank's view changed %d times by the shop's edits", bank.number-before)
	}
}

// A part too large for a message is not sent: what was before it stays.
func TestPartTooLarge(t *testing.T) {
	s := NewServer(Options{Log: quiet})
	s.Update(shop())
	v := s.views.of("shop/edge")
	before := v.current(cartEndpoints)
	huge := endpoints("shop/cart:80", "10.0.0.2:80")
	huge.List[0].Workload = strings.Repeat("a", maxPart)
	s.Update(&routing.Delta{Endpoints: []*routing.Endpoints{huge}})
	if v.current(cartEndpoints) != before || v.live != 4 {
		t.Errorf("%d parts and other endpoints, want the four that were", v.live)
	}
	large := listener("shop/edge", "large")
	large.Hostname = huge.List[0].Workload
	s.Update(&routing.Delta{Listeners: []*routing.Listener{large}})
	if v.live != 4 {
		t.Errorf("%d parts, want the four that fit", v.live)
	}
	s.Update(&routing.Delta{Listeners: []*routing.Listener{listener("shop/edge", "large")}})
	edit(&control{Server: s}, "10.0.0.2:80")
	if v.current(cartEndpoints) == before || v.live != 5 {
		t.Error("what fits again is not there")
	}
}

func TestViewsOfGatewaysThatAreGone(t *testing.T) {
	s := NewServer(Options{Log: quiet})
	s.Update(shop())
	if len(s.Wanted("shop/edge")) != 1 {
		t.Errorf("wanted %v, want the listener", s.Wanted("shop/edge"))
	}
	s.Update(&routing.Delta{Removed: removed{Listeners: []routing.ListenerName{"shop/edge/http"}}})
	if len(s.views.views) > 0 || s.Wanted("shop/edge") != nil {
		t.Errorf("views %v, want none", s.views.views)
	}
	s.Update(&routing.Delta{Listeners: []*routing.Listener{listener("shop/edge", "http")}})
	if got := s.views.of("shop/edge").live; got != 4 {
		t.Errorf("the Gateway came back with %d parts, want 4", got)
	}
}

// TestCertificateIsWhole holds that the wire's certificate has all fields of
// routing's.
func TestCertificateIsWhole(t *testing.T) {
	ours, theirs := reflect.TypeFor[certificate](), reflect.TypeFor[routing.Certificate]()
	if ours.NumField() != theirs.NumField() {
		t.Fatalf("%d fields, want %d", ours.NumField(), theirs.NumField())
	}
	for i := range ours.NumField() {
		if a, b := ours.Field(i), theirs.Field(i); a.Name != b.Name || a.Type != b.Type {
			t.Errorf("field %d is %s %s, want %s %s", i, a.Name, a.Type, b.Name, b.Type)
		}
	}
}
