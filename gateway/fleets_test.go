package main

import (
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/discovery/feed"
	"fairway.dev/discovery/provision"
	"fairway.dev/routing"
	"fairway.dev/routing/gatewayapi"
	"fairway.dev/tlsmgr/identity"
)

var edgeKey = routing.ObjectKey{Kind: "Gateway", Namespace: "shop", Name: "edge"}

// gatewayOf is a Gateway of namespace shop.
func gatewayOf(name, class string, uid types.UID) *gatewayv1.Gateway {
	return &gatewayv1.Gateway{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: uid},
		Spec:       gatewayv1.GatewaySpec{GatewayClassName: gatewayv1.ObjectName(class)},
	}
}

// have makes Gateways ours.
func (f *fleets) have(gateways ...*gatewayv1.Gateway) {
	for _, g := range gateways {
		f.reports([]gatewayapi.Report{{Object: routing.ObjectKey{Kind: "Gateway", Namespace: g.Namespace, Name: g.Name}}})
		f.runs(g)
	}
}

func edgeFleet() *fleets {
	f := &fleets{trustDomain: "cluster.local"}
	f.reports([]gatewayapi.Report{{Object: routing.ObjectKey{Kind: "HTTPRoute", Namespace: "shop", Name: "cart"}}})
	f.have(gatewayOf("edge", "fairway", "1"))
	return f
}

// shop is the identity of a service account of namespace shop.
func shop(account string) identity.ID {
	return identity.ID{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: account}
}

func TestOnlyAGatewaysOwnPodsMayHaveIt(t *testing.T) {
	f := edgeFleet()
	account := provision.Name("edge", "fairway")
	tests := []struct {
		name    string
		peer    identity.ID
		gateway string
		want    string // in the error
	}{
		{"its pods", shop(account), "shop/edge", ""},
		{"another account", shop("default"), "shop/edge", "want service account"},
		{"another namespace", identity.ID{TrustDomain: "cluster.local", Namespace: "evil", ServiceAccount: account}, "shop/edge", "want an identity"},
		{"another trust domain", identity.ID{TrustDomain: "elsewhere", Namespace: "shop", ServiceAccount: account}, "shop/edge", "want an identity"},
		{"nobody's Gateway", shop(account), "shop/none", feed.ErrUnknownGateway.Error()},
		{"a Gateway of no namespace", identity.ID{TrustDomain: "cluster.local", Namespace: "edge", ServiceAccount: account}, "edge", feed.ErrUnknownGateway.Error()},
	}
	for _, tt := range tests {
		err := f.authorize(tt.peer, tt.gateway)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
		if known := tt.peer == shop(account); (f.known(tt.peer) == nil) != known {
			t.Errorf("%s: known %v, want %v: only Gateways' pods have certificates", tt.name, !known, known)
		}
	}
	f.runs(gatewayOf("edge", "other", "1")) // it has gone over to another class of ours
	if f.authorize(shop(account), "shop/edge") == nil || f.known(shop(account)) == nil || f.authorize(shop("edge-other"), "shop/edge") != nil {
		t.Error("of another class: want that account's pods, and those before refused")
	}
	f.reports([]gatewayapi.Report{{Object: edgeKey, Gone: true}})
	if err := f.authorize(shop("edge-other"), "shop/edge"); !errors.Is(err, feed.ErrUnknownGateway) {
		t.Errorf("a Gateway that is gone: %v, want %v", err, feed.ErrUnknownGateway)
	}
	if len(f.gateways)+len(f.accounts) > 0 {
		t.Errorf("what is gone is remembered: %v, %v", f.gateways, f.accounts)
	}
}

// Node agents have the view that is theirs, and nothing else; nobody has it who
// is none.
func TestOnlyNodeAgentsHaveTheirView(t *testing.T) {
	f := edgeFleet()
	agent := identity.ID{TrustDomain: "cluster.local", Namespace: "fairway-system", ServiceAccount: captureAccount}
	if f.known(agent) == nil || f.authorize(agent, feed.CaptureGateway) == nil || f.authorize(identity.ID{}, feed.CaptureGateway) == nil {
		t.Error("without agents somebody is one")
	}
	f.agents = account{"fairway-system", captureAccount}
	elsewhere, pods := agent, shop(provision.Name("edge", "fairway"))
	elsewhere.Namespace = "shop"
	for _, tt := range []struct {
		peer    identity.ID
		gateway string
		ok      bool
	}{
		{agent, feed.CaptureGateway, true},
		{agent, "shop/edge", false},
		{elsewhere, feed.CaptureGateway, false},
		{identity.ID{TrustDomain: "elsewhere", Namespace: agent.Namespace, ServiceAccount: agent.ServiceAccount}, feed.CaptureGateway, false},
		{pods, feed.CaptureGateway, false},
	} {
		if err := f.authorize(tt.peer, tt.gateway); (err == nil) != tt.ok {
			t.Errorf("%s asks for %s: %v, want ok %t", tt.peer, tt.gateway, err, tt.ok)
		}
	}
	if err := f.known(agent); err != nil {
		t.Errorf("an agent gets no certificate: %v", err)
	}
}

// A door is on no Service, and moves none.
func TestDoorsAreNoPortsOfAGateway(t *testing.T) {
	f := edgeFleet()
	touched := map[routing.ObjectKey]bool{}
	f.listeners(&routing.Delta{Listeners: []*routing.Listener{
		{Name: "shop/edge/door", Gateway: "shop/edge", Port: 8080, Protocol: routing.HTTP, Inside: true, Capture: 20001},
	}}, touched)
	_, ports, _ := f.of(edgeKey)
	if len(touched) > 0 || len(ports) > 0 {
		t.Errorf("touched %v, ports %v, want nothing to be done about a door", touched, ports)
	}
}

// GEP-1762 lets two Gateways come to one name. The service account is made for
// one of them, and only that one's view is for it.
func TestTwoGatewaysOfOneAccount(t *testing.T) {
	f := edgeFleet()
	var owner types.UID
	var err error
	asked := 0
	f.owner = func(a account) (types.UID, error) {
		if asked++; a != (account{"shop", "a-b-c"}) {
			t.Errorf("asked for %v", a)
		}
		return owner, err
	}
	f.have(gatewayOf("a", "b-c", "first"), gatewayOf("a-b", "c", "second"))
	peer := shop("a-b-c")
	for _, tt := range []struct {
		owner types.UID
		of    string // who may be served; empty: nobody
	}{{"first", "shop/a"}, {"second", "shop/a-b"}, {"deleted", ""}, {"", ""}} {
		owner = tt.owner
		for _, gateway := range []string{"shop/a", "shop/a-b"} {
			if got := f.authorize(peer, gateway); (got == nil) != (gateway == tt.of) || errors.Is(got, feed.ErrUnknownGateway) {
				t.Errorf("made for %q: %s: %v, want %q alone", tt.owner, gateway, got, tt.of)
			}
		}
	}
	if err = errors.New("API server away"); !errors.Is(f.authorize(peer, "shop/a"), feed.ErrUnknownGateway) {
		t.Error("while nobody can tell: want the pod to wait")
	}
	f.reports([]gatewayapi.Report{{Object: routing.ObjectKey{Kind: "Gateway", Namespace: "shop", Name: "a-b"}, Gone: true}})
	if asked = 0; f.authorize(peer, "shop/a") != nil || f.known(peer) != nil || asked > 0 {
		t.Errorf("without the other: refused, or asked %d times", asked)
	}
}

func TestPortsOfAGateway(t *testing.T) {
	f := edgeFleet()
	step := func(want []provision.Port, wantTouched bool, d *routing.Delta) {
		t.Helper()
		touched := map[routing.ObjectKey]bool{}
		f.listeners(d, touched)
		if _, ports, _ := f.of(edgeKey); !slices.Equal(ports, want) {
			t.Errorf("ports %v, want %v", ports, want)
		}
		if got := slices.Collect(maps.Keys(touched)); (len(got) == 1 && got[0] == edgeKey) != wantTouched {
			t.Errorf("touched %v, want the Gateway: %t", got, wantTouched)
		}
	}
	listener := func(name routing.ListenerName, port uint16, protocol routing.Protocol) *routing.Listener {
		return &routing.Listener{Name: name, Gateway: "shop/edge", Port: port, Protocol: protocol}
	}
	web, secure := provision.Port{Number: 80, Protocol: corev1.ProtocolTCP}, provision.Port{Number: 443, Protocol: corev1.ProtocolTCP}
	names := provision.Port{Number: 80, Protocol: corev1.ProtocolUDP}
	step([]provision.Port{web, names, secure}, true, &routing.Delta{Listeners: []*routing.Listener{
		listener("shop/edge/tls", 443, routing.HTTPS), listener("shop/edge/http", 80, routing.HTTP), listener("shop/edge/dns", 80, routing.UDP),
		listener("shop/set/more", 443, routing.TLS),
	}})
	step([]provision.Port{web, names, secure}, false, &routing.Delta{Listeners: []*routing.Listener{listener("shop/edge/http", 80, routing.HTTP)}})
	removed := &routing.Delta{}
	removed.Removed.Listeners = []routing.ListenerName{"shop/edge/tls", "shop/edge/dns"}
	step([]provision.Port{web, secure}, true, removed)
}

func TestPeersAreTheOtherReplicasThatServe(t *testing.T) {
	yes, no := true, false
	endpoint := func(addr, pod string, serving *bool) discoveryv1.Endpoint {
		return discoveryv1.Endpoint{
			Addresses: []string{addr}, TargetRef: &corev1.ObjectReference{Name: pod}, Conditions: discoveryv1.EndpointConditions{Serving: serving},
		}
	}
	slice := &discoveryv1.EndpointSlice{Endpoints: []discoveryv1.Endpoint{
		endpoint("10.0.0.1", "control-a", &yes), endpoint("10.0.0.2", "control-b", nil), endpoint("10.0.0.3", "control-c", &no),
	}}
	var p peers
	k := routing.ObjectKey{Kind: "EndpointSlice", Namespace: "fairway-system", Name: "fairway-control-x"}
	if !p.put(k, slice, "15012", "control-a") || p.put(k, slice, "15012", "control-a") {
		t.Error("the first put changes nothing, or the second something")
	}
	want := []string{netip.MustParseAddrPort("10.0.0.2:15012").String()}
	if got := p.all(); !slices.Equal(got, want) {
		t.Errorf("peers %v, want %v", got, want)
	}
	if !p.put(k, nil, "15012", "control-a") || len(p.all()) > 0 || len(p.bySlice) > 0 {
		t.Errorf("peers %v after their slice is gone", p.all())
	}
}
