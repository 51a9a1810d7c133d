package feed

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"fairway.dev/routing"
)

func door(gateway, name string, to routing.ClusterName, policies ...routing.PolicyName) *routing.Listener {
	l := listener(gateway, name)
	l.Inside, l.Addresses, l.To, l.Policies = true, []netip.Addr{netip.MustParseAddr("10.96.0.5")}, to, policies
	return l
}

func hbone(gateway string) *routing.Listener {
	l := listener(gateway, "mesh")
	l.Port, l.Protocol, l.Mesh = routing.HBONEPort, routing.HBONE, &routing.Mesh{TrustDomains: []string{"cluster.local"}}
	return l
}

func behind(name routing.ClusterName, gateway string) *routing.Cluster {
	c := cluster(name)
	c.Hop = &routing.Hop{Gateway: gateway, Cluster: routing.WaypointCluster(gateway), Authority: "10.96.0.5:80"}
	return c
}

func workload(name routing.WorkloadName, node string, gateways ...string) *routing.Workload {
	return &routing.Workload{Name: name, Node: node, Captured: true, Gateways: gateways, Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1")}}
}

// meshSpec is two waypoints, with a door at each for the shop's cart, a policy where
// it is enforced, and a pod behind each of them.
func meshSpec() *routing.Delta {
	const policy = "AuthorizationPolicy/shop/viewers"
	return &routing.Delta{
		Listeners: []*routing.Listener{
			hbone("shop/edge"), door("shop/edge", "cart", "shop/cart:80", policy),
			hbone("bank/edge"), door("bank/edge", "cart", "shop/cart:80"),
		},
		Clusters: []*routing.Cluster{behind("shop/cart:80", "shop/edge"), cluster("mesh/shop/edge"), cluster("mesh/bank/edge"), cluster("shop/judge:80")},
		Endpoints: []*routing.Endpoints{
			endpoints("shop/cart:80", "10.0.0.1:80"), endpoints("mesh/shop/edge", "10.0.0.2:15008"), endpoints("mesh/bank/edge", "10.0.0.3:15008"),
		},
		Policies: []*routing.Policy{
			{Name: policy, Authorization: &routing.Authorization{Action: routing.Custom, External: &routing.ExternalAuth{Cluster: "shop/judge:80"}}},
			{Name: "AuthorizationPolicy/bank/safe", Authorization: &routing.Authorization{Action: routing.Deny}},
		},
		Workloads: []*routing.Workload{workload("shop/cart-1", "node-a", "shop/edge"), workload("bank/teller-1", "node-b", "bank/edge")},
		Captures:  []*routing.Capture{{Name: "shop/cart:80", Port: 80, Waypoint: "shop/edge", To: 20001}},
	}
}

// A waypoint has its own policies and workloads, and of what is behind another
// waypoint the way there. A node agent has all captures and waypoints, and the
// workloads of its node.
func TestWhatIsOfWhichWaypoint(t *testing.T) {
	s := NewServer(Options{Log: quiet})
	s.Update(meshSpec())
	tests := []struct {
		gateway, node string
		want          []string
	}{
		{"shop/edge", "", []string{
			"cluster/shop/cart:80", "cluster/shop/judge:80", "endpoints/shop/cart:80", "listener/shop/edge/cart", "listener/shop/edge/mesh",
			"policy/AuthorizationPolicy/shop/viewers", "workload/shop/cart-1",
		}},
		{"bank/edge", "", []string{
			"cluster/mesh/shop/edge", "cluster/shop/cart:80", "endpoints/mesh/shop/edge", "listener/bank/edge/cart", "listener/bank/edge/mesh",
			"workload/bank/teller-1",
		}},
		{CaptureGateway, "node-a", []string{
			"capture/shop/cart:80", "cluster/mesh/bank/edge", "cluster/mesh/shop/edge", "endpoints/mesh/bank/edge", "endpoints/mesh/shop/edge", "workload/shop/cart-1",
		}},
	}
	for _, tt := range tests {
		if got := s.views.of(tt.gateway).names(tt.node); !slices.Equal(got, tt.want) {
			t.Errorf("%s %s has %q, want %q", tt.gateway, tt.node, got, tt.want)
		}
	}
}

// names returns what pods of a scope see.
func (v *view) names(scope string) (names []string) {
	for _, e := range (&subscription{from: v.collection}).entries() {
		if e.resource != nil && (e.scope == "" || e.scope == scope) {
			names = append(names, e.name)
		}
	}
	slices.Sort(names)
	return names
}

// What comes and goes behind another's waypoint is no change for a Gateway, and
// nor are pods on other nodes for an agent.
func TestMeshChangesCostWhatTheyTouch(t *testing.T) {
	s := NewServer(Options{Log: quiet})
	s.Update(meshSpec())
	shop, bank, agents := s.views.of("shop/edge"), s.views.of("bank/edge"), s.views.of(CaptureGateway)
	free := cluster("shop/cart:80")
	inside := behind("shop/cart:80", "shop/edge")
	inside.Hop.Inside = true
	tests := []struct {
		name               string
		delta              *routing.Delta
		shop, bank, agents uint64 // changes
	}{
		{"endpoints behind a waypoint", &routing.Delta{Endpoints: []*routing.Endpoints{endpoints("shop/cart:80", "10.0.0.9:80")}}, 1, 0, 0},
		{"pods of a waypoint", &routing.Delta{Endpoints: []*routing.Endpoints{endpoints("mesh/shop/edge", "10.0.0.9:15008")}}, 0, 1, 1},
		{"a policy", &routing.Delta{Policies: []*routing.Policy{{Name: "AuthorizationPolicy/shop/viewers"}}}, 2, 0, 0}, // and who was asked
		{"a policy of nobody's", &routing.Delta{Policies: []*routing.Policy{{Name: "AuthorizationPolicy/bank/safe"}}}, 0, 0, 0},
		{"a policy that has gone", &routing.Delta{Removed: removed{Policies: []routing.PolicyName{"AuthorizationPolicy/shop/viewers"}}}, 1, 0, 0},
		{"a workload of another waypoint", &routing.Delta{Workloads: []*routing.Workload{workload("shop/cart-1", "node-a", "bank/edge")}}, 1, 1, 1},
		{"the same workload", &routing.Delta{Workloads: []*routing.Workload{workload("shop/cart-1", "node-a", "bank/edge")}}, 0, 0, 0},
		{"a workload on another node", &routing.Delta{Workloads: []*routing.Workload{workload("shop/cart-1", "node-b", "bank/edge")}}, 0, 2, 2},
		{"a workload that agents have nothing to do for", &routing.Delta{Workloads: []*routing.Workload{{Name: "shop/cart-1", Node: "node-b"}}}, 0, 1, 1},
		{"a waypoint that is off for ingress", &routing.Delta{Clusters: []*routing.Cluster{inside}}, 1, 2, 0}, // and the endpoints
		{"a hop that has gone", &routing.Delta{Clusters: []*routing.Cluster{free}}, 1, 3, 0},                  // and the waypoint
		{"a waypoint that has gone", &routing.Delta{Removed: removed{Listeners: []routing.ListenerName{"bank/edge/mesh"}}}, 0, 1, 2},
		{"a capture that has gone", &routing.Delta{Removed: removed{Captures: []routing.CaptureName{"shop/cart:80"}}}, 0, 0, 1},
	}
	for _, tt := range tests {
		before := []uint64{shop.number, bank.number, agents.number}
		s.Update(tt.delta)
		got := []uint64{shop.number - before[0], bank.number - before[1], agents.number - before[2]}
		if want := []uint64{tt.shop, tt.bank, tt.agents}; !slices.Equal(got, want) {
			t.Errorf("%s: %d changes, want %d (the shop's, the bank's, the agents')", tt.name, got, want)
		}
	}
}

func agentOn(node string) *corev3.Node {
	return &corev3.Node{Id: "fairway-system/capture-" + node, Metadata: &structpb.Struct{Fields: map[string]*structpb.Value{
		"gateway": structpb.NewStringValue(CaptureGateway), "node": structpb.NewStringValue(node),
	}}}
}

// Each node's agent is sent runs of its own, that are closed by the version of
// what it has.
func TestAgents(t *testing.T) {
	const all = "capture/shop/cart:80 cluster/mesh/bank/edge cluster/mesh/shop/edge endpoints/mesh/bank/edge endpoints/mesh/shop/edge generation"
	c := startControl(t, newMesh(t), nil)
	c.Update(meshSpec())
	c.Open()
	agent := func(node string) *tap {
		p := c.tap(t, agentID)
		p.send(&request{Node: agentOn(node), ResourceNamesSubscribe: []string{"*"}})
		return p
	}
	a, b, empty := agent("node-a"), agent("node-b"), agent("node-c")
	closed := wants(t, a, all+" workload/shop/cart-1")
	a.ack(closed)
	b.ack(wants(t, b, all+" workload/bank/teller-1"))
	empty.ack(wants(t, empty, all))
	versions := map[string]string{}
	for _, r := range closed.Resources {
		versions[r.Name] = r.Version
	}

	c.Update(&routing.Delta{Workloads: []*routing.Workload{workload("shop/cart-1", "node-b", "shop/edge")}})
	a.ack(wants(t, a, "generation -workload/shop/cart-1"))
	b.ack(wants(t, b, "generation workload/shop/cart-1"))
	c.Update(&routing.Delta{Captures: []*routing.Capture{{Name: "shop/cart:80", Port: 80, To: 20002}}})
	for _, p := range []*tap{a, b, empty} { // nothing came to it before
		p.ack(wants(t, p, "capture/shop/cart:80 generation"))
	}

	again := c.tap(t, agentID)
	again.send(&request{Node: agentOn("node-a"), ResourceNamesSubscribe: []string{"*"}, InitialResourceVersions: versions})
	wants(t, again, "capture/shop/cart:80 generation -workload/shop/cart-1")
	byName := c.tap(t, agentID)
	byName.send(&request{Node: agentOn("node-a"), ResourceNamesSubscribe: []string{"workload/shop/cart-1"}})
	wants(t, byName, "-workload/shop/cart-1")

	nowhere := agent("")
	if err := nowhere.end(); status.Code(err) != codes.InvalidArgument {
		t.Errorf("an agent without a node: %v, want InvalidArgument", err)
	}
}

// An agent has in force what it was sent, across its own restart.
func TestAgentKeepsItsState(t *testing.T) {
	c := startControl(t, newMesh(t), nil)
	c.Update(meshSpec())
	c.Open()
	dir := t.TempDir()
	p := startPod(t, c, func(o *ClientOptions) {
		o.Gateway, o.Node, o.Pod, o.Credentials, o.Dir = CaptureGateway, "node-a", "fairway-system/capture-a", c.mesh.client(agentID), dir
	})
	if d := p.next(t); len(d.Captures) != 1 || len(d.Workloads) != 1 || len(d.Endpoints) != 2 {
		t.Errorf("at first %+v, want the capture, the node's workload and two waypoints", d)
	}
	c.Update(&routing.Delta{Removed: removed{Captures: []routing.CaptureName{"shop/cart:80"}, Workloads: []routing.WorkloadName{"shop/cart-1"}}})
	if d := p.next(t); len(d.Removed.Captures) != 1 || len(d.Removed.Workloads) != 1 {
		t.Errorf("%+v, want a capture and a workload removed", d)
	}
	c.Update(&routing.Delta{Captures: meshSpec().Captures})
	p.next(t)
	p.stop()
	c.stop()
	alone := startPod(t, c, func(o *ClientOptions) {
		o.Gateway, o.Node, o.Pod, o.Credentials, o.Dir = CaptureGateway, "node-a", "fairway-system/capture-a", c.mesh.client(agentID), dir
	})
	if d := alone.next(t); len(d.Captures) != 1 || len(d.Workloads) != 0 || d.Captures[0].To != 20001 {
		t.Errorf("from its own memory %+v, want the capture", d)
	}
}

// Who restores is told what control says even where that is nothing new.
func TestRestoredStateIsConfirmed(t *testing.T) {
	c := startControl(t, newMesh(t), nil)
	c.Update(meshSpec())
	c.Open()
	dir := t.TempDir()
	restored := make(chan *routing.Delta, 1)
	start := func() *pod {
		return startPod(t, c, func(o *ClientOptions) {
			o.Gateway, o.Node, o.Pod, o.Credentials, o.Dir = CaptureGateway, "node-a", "fairway-system/capture-a", c.mesh.client(agentID), dir
			o.Restore = func(d *routing.Delta) []*routing.Problem { restored <- d; return nil }
		})
	}
	p := start()
	if d := p.next(t); len(d.Captures) != 1 || len(restored) != 0 {
		t.Errorf("at first %+v and %d states restored, want a capture and none", d, len(restored))
	}
	p.stop()
	p = start()
	if d := p.next(t); len(d.Captures)+len(d.Workloads)+len(d.Endpoints) != 0 {
		t.Errorf("after a restart %+v, want nothing new", d)
	}
	if d := <-restored; len(d.Captures) != 1 || len(d.Workloads) != 1 || len(d.Endpoints) != 2 {
		t.Errorf("restored %+v, want the capture, the node's workload and two waypoints", d)
	}
	waitConnected(t, p)
}

// Doors are nothing that a Gateway's Programmed waits for: a change of one, among
// ten thousand, leaves what is wanted of listeners as it is.
func TestDoorsAreNotWanted(t *testing.T) {
	s := NewServer(Options{Log: quiet})
	d := meshSpec()
	for i := range 10_000 {
		d.Listeners = append(d.Listeners, door("shop/edge", fmt.Sprint("door-", i), "shop/cart:80"))
	}
	s.Update(d)
	v := s.views.of("shop/edge")
	before, version := v.wanted, s.Version("shop/edge")
	if got := s.Wanted("shop/edge"); len(got) != 1 || got["shop/edge/mesh"] == "" {
		t.Fatalf("wanted are %v, want the listener that is bound", got)
	}
	s.Update(&routing.Delta{Listeners: []*routing.Listener{door("shop/edge", "door-7", "")}})
	if v.wanted != before {
		t.Error("a door made another set of wanted listeners")
	}
	if s.Version("shop/edge") == version {
		t.Error("the version of all that the pods should have does not tell that a door has changed")
	}
	s.Update(&routing.Delta{Listeners: []*routing.Listener{listener("shop/edge", "door-7")}})
	if len(s.Wanted("shop/edge")) != 2 {
		t.Error("a door that is bound from now on is not wanted")
	}
}

// All replicas give the same versions to the same parts, whatever they have seen
// before.
func TestVersionsAreTheSameInAllReplicas(t *testing.T) {
	for seed := range uint64(50) {
		c := chance{rand.New(rand.NewPCG(seed, 7))}
		old, snap := newWorld(newViewSet(), quiet), new(routing.Snapshot)
		for range 60 {
			d := c.delta()
			old.update(d)
			snap, _ = snap.Update(d)
		}
		young := newWorld(newViewSet(), quiet)
		young.update(deltaOfAll(snap.Spec()))
		for gateway, v := range young.views.views {
			for _, node := range []string{"", "n1", "n2"} {
				if got, want := old.views.of(gateway).digestFor(node), v.digestFor(node); got != want {
					t.Errorf("seed %d: %s %s is of version %s in an old replica, %s in a young one", seed, gateway, node, got, want)
				}
			}
		}
	}
}

func deltaOfAll(spec *routing.Spec) *routing.Delta {
	d := &routing.Delta{}
	for _, p := range spec.Listeners {
		put(d, p)
	}
	for _, p := range spec.Routes {
		put(d, p)
	}
	for _, p := range spec.Clusters {
		put(d, p)
	}
	for _, p := range spec.Endpoints {
		put(d, p)
	}
	for _, p := range spec.Certificates {
		put(d, p)
	}
	for _, p := range spec.Policies {
		put(d, p)
	}
	for _, p := range spec.Workloads {
		put(d, p)
	}
	for _, p := range spec.Captures {
		put(d, p)
	}
	return d
}

// A door that changes, among as many of one waypoint.
func BenchmarkDoor(b *testing.B) {
	for _, n := range []int{1, 10_000} {
		b.Run(fmt.Sprintf("among %d", n), func(b *testing.B) {
			s := NewServer(Options{Log: quiet})
			d := meshSpec()
			for i := range n {
				d.Listeners = append(d.Listeners, door("shop/edge", fmt.Sprint("door-", i), "shop/cart:80"))
			}
			s.Update(d)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				l := door("shop/edge", "door-0", "shop/cart:80")
				l.Capture = uint16(i)
				s.Update(&routing.Delta{Listeners: []*routing.Listener{l}})
			}
		})
	}
}

// A listener that is bound, among as many of one Gateway.
func BenchmarkListener(b *testing.B) {
	for _, n := range []int{1, 10_000} {
		b.Run(fmt.Sprintf("among %d", n), func(b *testing.B) {
			s := NewServer(Options{Log: quiet})
			d := &routing.Delta{}
			for i := range n {
				d.Listeners = append(d.Listeners, listener("shop/edge", fmt.Sprint("l-", i), "shop/tls"))
			}
			s.Update(d)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				l := listener("shop/edge", "l-0", "shop/tls")
				l.Port = uint16(i)
				s.Update(&routing.Delta{Listeners: []*routing.Listener{l}})
			}
		})
	}
}
