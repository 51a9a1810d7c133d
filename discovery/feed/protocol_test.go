package feed

import (
	"strconv"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"fairway.dev/routing"
	"fairway.dev/tlsmgr/identity"
)

// The rules are those of "xDS REST and gRPC protocol", whose sections the
// tests name, and of the comments in discovery.proto.

type request = discoveryv3.DeltaDiscoveryRequest

func nodeOf(gateway string) *corev3.Node {
	return &corev3.Node{Id: "shop/edge-1", Metadata: &structpb.Struct{Fields: map[string]*structpb.Value{
		"gateway": structpb.NewStringValue(gateway), "node": structpb.NewStringValue("node-a"),
	}}}
}

// newShop returns an open control with the Gateway shop/edge, and a stream.
func newShop(t *testing.T) (*control, *tap) {
	t.Helper()
	c := startControl(t, newMesh(t), nil)
	c.Update(shop())
	c.Open()
	return c, c.tap(t, edgeID)
}

// edit changes the endpoints of the shop's cluster.
func edit(c *control, addr string) {
	c.Update(&routing.Delta{Endpoints: []*routing.Endpoints{endpoints("shop/cart:80", addr)}})
}

func wants(t testing.TB, p *tap, names string) *discoveryv3.DeltaDiscoveryResponse {
	t.Helper()
	r := p.next()
	if got := summary(r); got != names {
		t.Errorf("sent %q, want %q", got, names)
	}
	if r.Nonce == "" || r.TypeUrl != PartType {
		t.Errorf("nonce %q, type %q: want both set", r.Nonce, r.TypeUrl)
	}
	return r
}

// settle returns when the server has taken all requests before, and sent all
// that there was. The stream has no wildcard.
func (p *tap) settle() {
	p.t.Helper()
	p.send(&request{ResourceNamesSubscribe: []string{"cluster/none"}})
	p.ack(wants(p.t, p, "-cluster/none"))
	p.send(&request{ResourceNamesUnsubscribe: []string{"cluster/none"}})
}

const (
	cartEndpoints = "endpoints/shop/cart:80"
	cartCluster   = "cluster/shop/cart:80"
)

// "How the client specifies what resources to return": "*", or as older
// clients do it a first request that names nothing.
func TestWildcard(t *testing.T) {
	for _, names := range [][]string{{"*"}, nil} {
		c, p := newShop(t)
		p.send(&request{Node: nodeOf("shop/edge"), ResourceNamesSubscribe: names})
		p.ack(wants(t, p, shopNames))
		edit(c, "10.0.0.2:80")
		wants(t, p, cartEndpoints+" generation")
	}
}

// The same section, its example of the incremental protocol: subscribing to a
// name leaves the older clients' wildcard as it is, and once it is given up,
// naming nothing is no wildcard.
func TestLegacyWildcardThenNames(t *testing.T) {
	c, p := newShop(t)
	p.send(&request{Node: nodeOf("shop/edge")})
	p.ack(wants(t, p, shopNames))
	p.send(&request{ResourceNamesSubscribe: []string{cartCluster}})
	p.ack(wants(t, p, cartCluster+" generation"))
	edit(c, "10.0.0.2:80")
	p.ack(wants(t, p, cartEndpoints+" generation")) // "*" still holds
	p.send(&request{ResourceNamesUnsubscribe: []string{"*"}})
	p.settle()
	edit(c, "10.0.0.3:80")
	c.Update(&routing.Delta{Clusters: []*routing.Cluster{{Name: "shop/cart:80", SlowStart: 1}}})
	p.ack(wants(t, p, cartCluster)) // the name alone is left
	p.send(&request{ResourceNamesUnsubscribe: []string{cartCluster}})
	p.send(&request{})
	p.settle()
	edit(c, "10.0.0.4:80")
	p.send(&request{ResourceNamesSubscribe: []string{"listener/shop/edge/http"}})
	wants(t, p, "listener/shop/edge/http") // and nothing came before it
}

// "Knowing When a Requested Resource Does Not Exist": it is said at once; and
// the server remembers who asked for it.
func TestNames(t *testing.T) {
	c, p := newShop(t)
	p.send(&request{Node: nodeOf("shop/edge"), ResourceNamesSubscribe: []string{cartEndpoints, "cluster/shop/new:80"}})
	p.ack(wants(t, p, "-cluster/shop/new:80 "+cartEndpoints))
	c.Update(&routing.Delta{
		Clusters: []*routing.Cluster{cluster("shop/new:80")},
		Routes:   []*routing.Route{route("shop/cart", []routing.ClusterName{"shop/cart:80", "shop/new:80"}, "shop/edge/http")},
	})
	p.ack(wants(t, p, "cluster/shop/new:80"))
	c.Update(&routing.Delta{Removed: removed{Clusters: []routing.ClusterName{"shop/new:80"}}})
	wants(t, p, "-cluster/shop/new:80")
}

type removed = struct {
	Listeners    []routing.ListenerName
	Routes       []routing.RouteName
	Clusters     []routing.ClusterName
	Certificates []routing.CertificateName
	Policies     []routing.PolicyName
	Workloads    []routing.WorkloadName
	Captures     []routing.CaptureName
}

// discovery.proto, resource_names_subscribe: the server must respond with all
// that is listed, even if it believes the client has it.
func TestSubscribingAgainSendsAgain(t *testing.T) {
	_, p := newShop(t)
	p.send(&request{Node: nodeOf("shop/edge"), ResourceNamesSubscribe: []string{"*"}})
	p.ack(wants(t, p, shopNames))
	p.send(&request{ResourceNamesSubscribe: []string{cartCluster, "cluster/gone"}})
	p.ack(wants(t, p, "-cluster/gone "+cartCluster+" generation"))
	p.send(&request{ResourceNamesSubscribe: []string{"generation"}})
	p.ack(wants(t, p, "generation"))
	p.send(&request{ResourceNamesSubscribe: []string{"*"}})
	wants(t, p, shopNames)
}

// "Unsubscribing from Resources": there is no answer; names that were not
// subscribed to are ignored.
func TestUnsubscribing(t *testing.T) {
	c, p := newShop(t)
	p.send(&request{Node: nodeOf("shop/edge"), ResourceNamesSubscribe: []string{cartCluster, cartEndpoints}})
	p.ack(wants(t, p, cartCluster+" "+cartEndpoints))
	p.send(&request{ResourceNamesUnsubscribe: []string{cartEndpoints, "cluster/never"}})
	p.settle()
	edit(c, "10.0.0.2:80")
	p.send(&request{ResourceNamesSubscribe: []string{cartCluster}})
	wants(t, p, cartCluster)
}

// The same section: with a wildcard the client cannot know whether that covers
// the name, so it is told.
func TestUnsubscribingBesideAWildcard(t *testing.T) {
	_, p := newShop(t)
	p.send(&request{Node: nodeOf("shop/edge"), ResourceNamesSubscribe: []string{"*", cartCluster, "cluster/gone"}})
	p.ack(wants(t, p, "-cluster/gone "+cartCluster))
	p.ack(wants(t, p, shopNames))
	p.send(&request{ResourceNamesUnsubscribe: []string{cartCluster, "cluster/gone"}})
	wants(t, p, "-cluster/gone "+cartCluster+" generation")
}

// "Incremental xDS": initial_resource_versions spares what the client has.
func TestInitialVersions(t *testing.T) {
	c, p := newShop(t)
	p.send(&request{Node: nodeOf("shop/edge"), ResourceNamesSubscribe: []string{"*"}})
	versions := map[string]string{}
	for _, r := range wants(t, p, shopNames).Resources {
		versions[r.Name] = r.Version
	}
	p.close()

	again := func(change func(has map[string]string), names ...string) {
		t.Helper()
		has := map[string]string{}
		for name, version := range versions {
			has[name] = version
		}
		change(has)
		p := c.tap(t, edgeID)
		p.send(&request{Node: nodeOf("shop/edge"), ResourceNamesSubscribe: []string{"*"}, InitialResourceVersions: has})
		wants(t, p, names[0])
		p = c.tap(t, edgeID)
		p.send(&request{Node: nodeOf("shop/edge"), ResourceNamesSubscribe: []string{cartCluster, cartEndpoints, "cluster/old"}, InitialResourceVersions: has})
		wants(t, p, names[1])
	}
	again(func(map[string]string) {}, "generation", "-cluster/old")
	again(func(has map[string]string) { delete(has, generationName) }, "generation", "-cluster/old")
	again(func(has map[string]string) { has["cluster/old"] = "x"; has[generationName] = "x" }, "-cluster/old generation", "-cluster/old")
	edit(c, "10.0.0.2:80")
	again(func(map[string]string) {}, cartEndpoints+" generation", "-cluster/old "+cartEndpoints)
	again(func(has map[string]string) { delete(has, cartCluster) }, cartCluster+" "+cartEndpoints+" generation", "-cluster/old "+cartCluster+" "+cartEndpoints)
}

// The same section: changes of subscriptions hold even where the nonce is
// stale; and an acknowledgement of what was never sent is none.
func TestStaleNonce(t *testing.T) {
	c, p := newShop(t)
	p.send(&request{Node: nodeOf("shop/edge"), ResourceNamesSubscribe: []string{cartEndpoints}})
	first := wants(t, p, cartEndpoints)
	p.send(&request{ResponseNonce: "another", ResourceNamesSubscribe: []string{cartCluster}})
	edit(c, "10.0.0.2:80")
	p.ack(first) // until now nothing more may come
	p.ack(wants(t, p, cartCluster))
	p.ack(wants(t, p, cartEndpoints))
	p.send(&request{ResponseNonce: first.Nonce, ResourceNamesUnsubscribe: []string{cartEndpoints}})
	p.settle()
	edit(c, "10.0.0.3:80")
	p.send(&request{ResourceNamesSubscribe: []string{cartCluster}})
	wants(t, p, cartCluster)
}

// At most one run is under way: what changes meanwhile is sent once.
func TestChangesCoalesceUntilTheAcknowledgement(t *testing.T) {
	c, p := newShop(t)
	p.send(&request{Node: nodeOf("shop/edge"), ResourceNamesSubscribe: []string{"*"}})
	first := wants(t, p, shopNames)
	for range 10 {
		edit(c, "10.0.0.2:80")
		edit(c, "10.0.0.3:80")
	}
	c.Update(&routing.Delta{Removed: removed{Routes: []routing.RouteName{"HTTPRoute/shop/cart"}}})
	p.ack(first)
	r := wants(t, p, "-"+cartCluster+" -"+cartEndpoints+" generation -route/HTTPRoute/shop/cart")
	if len(p.came) > 0 {
		t.Errorf("%q came before it was acknowledged", summary(<-p.came))
	}
	p.ack(r)
}

// "ACK and NACK semantics summary": what was refused is not sent again before
// it changes.
func TestRefusedIsNotSentAgain(t *testing.T) {
	c, p := newShop(t)
	p.send(&request{Node: nodeOf("shop/edge"), ResourceNamesSubscribe: []string{"*"}})
	first := wants(t, p, shopNames)
	p.send(&request{ResponseNonce: first.Nonce, ErrorDetail: &rpcstatus.Status{Message: "no"}})
	c.Update(&routing.Delta{Clusters: []*routing.Cluster{{Name: "shop/cart:80", SlowStart: 1}}})
	p.ack(wants(t, p, cartCluster+" generation"))
}

// discovery.proto: the name of a resource is at most once in a response.
func TestForcedAndChangedComesOnce(t *testing.T) {
	c, p := newShop(t)
	p.send(&request{Node: nodeOf("shop/edge"), ResourceNamesSubscribe: []string{"*"}})
	first := wants(t, p, shopNames)
	p.send(&request{ResourceNamesSubscribe: []string{cartEndpoints}})
	edit(c, "10.0.0.2:80")
	p.ack(first)
	p.ack(wants(t, p, cartEndpoints))
	wants(t, p, cartEndpoints+" generation")
}

func TestStreamsThatAreRefused(t *testing.T) {
	c, _ := newShop(t)
	longNode := nodeOf("shop/edge")
	longNode.Id = strings.Repeat("a", maxName+1)
	tests := []struct {
		name  string
		peer  identity.ID
		first *request
		code  codes.Code
	}{
		{"no node", edgeID, &request{}, codes.InvalidArgument},
		{"another type", edgeID, &request{Node: nodeOf("shop/edge"), TypeUrl: "type.googleapis.com/envoy.config.cluster.v3.Cluster"}, codes.InvalidArgument},
		{"a name that is none", edgeID, &request{Node: longNode}, codes.InvalidArgument},
		{"another's Gateway", otherID, &request{Node: nodeOf("shop/edge")}, codes.PermissionDenied},
		{"the fleet's state, for a pod", edgeID, &request{Node: nodeOf("shop/edge"), TypeUrl: PodStateType}, codes.PermissionDenied},
	}
	for _, tt := range tests {
		p := c.tap(t, tt.peer)
		p.send(tt.first)
		if err := p.end(); status.Code(err) != tt.code {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.code)
		}
		if len(p.came) > 0 {
			t.Errorf("%s: was sent %q", tt.name, summary(<-p.came))
		}
	}
}

// Names that come a few at a time are too many in the end.
func TestTooManyNames(t *testing.T) {
	_, p := newShop(t)
	names := make([]string, maxNames/2+1)
	for i := range 2 * len(names) {
		if names[i%len(names)] = "cluster/" + strconv.Itoa(i); (i+1)%len(names) == 0 {
			p.send(&request{Node: nodeOf("shop/edge"), ResourceNamesSubscribe: names})
		}
	}
	if err := p.end(); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("%d names: %v, want ResourceExhausted", 2*len(names), err)
	}
}
