package provision

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/client-go/kubernetes"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/discovery/apitest"
)

// listed are a State's addresses as text.
func listed(s State) (out []string) {
	for _, a := range s.Addresses {
		out = append(out, string(*a.Type)+" "+a.Value)
	}
	return out
}

// GatewaySpec.addresses: what is asked for, what the load balancer of the test
// (192.0.2.0/24, 192.0.2.10 of its own choice) makes of it, and what the
// Gateway is told after ten seconds.
func TestLoadBalancerAddresses(t *testing.T) {
	tests := []struct {
		name, spec, lb string // lb: what it assigns of its own choice
		want           string
		reason         gatewayv1.GatewayConditionReason
	}{
		{"none", "", "192.0.2.10", "IPAddress 192.0.2.10", ""},
		{"none, and no load balancer", "", "", "", gatewayv1.GatewayReasonAddressNotAssigned},
		{"one", "{value: 192.0.2.7}", "", "IPAddress 192.0.2.7", ""},
		{"two", "{value: 192.0.2.8}, {value: 192.0.2.7}", "", "IPAddress 192.0.2.8, IPAddress 192.0.2.7", ""},
		{"outside", "{value: 203.0.113.1}", "192.0.2.10", "", gatewayv1.GatewayReasonAddressNotUsable},
		{"one inside, one outside", "{value: 203.0.113.1}, {value: 192.0.2.7}", "", "IPAddress 192.0.2.7", gatewayv1.GatewayReasonAddressNotUsable},
		{"no address at all", "{value: my-ip-address}", "192.0.2.10", "IPAddress 192.0.2.10", gatewayv1.GatewayReasonAddressNotUsable},
		{"any", "{type: IPAddress}", "192.0.2.10", "IPAddress 192.0.2.10", ""}, // feature GatewayAddressEmpty
		{"any, and one", "{type: IPAddress}, {value: 192.0.2.7}", "192.0.2.10", "IPAddress 192.0.2.10, IPAddress 192.0.2.7", ""},
		{"any name, where there are numbers", "{type: Hostname}", "192.0.2.10", "IPAddress 192.0.2.10", gatewayv1.GatewayReasonAddressNotAssigned},
		{"any name", "{type: Hostname}", "lb.example.com", "Hostname lb.example.com", ""},
		{"that name", "{type: Hostname, value: LB.example.com}", "lb.example.com", "Hostname lb.example.com", ""},
		{"another name", "{type: Hostname, value: other.example.com}", "lb.example.com", "Hostname lb.example.com", gatewayv1.GatewayReasonAddressNotUsable},
		{"a name by default", "", "lb.example.com", "Hostname lb.example.com", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(r *rig) {
				r.want("edge", "addresses: ["+tt.spec+"]", "{}", http80)
				r.settle()
				r.edit("kube-controller-manager", kindDeployment, "edge-fairway", "status.readyReplicas", 1)
				for _, name := range r.server.Names(kindService, "shop") {
					if strings.HasPrefix(tt.lb, "lb.") {
						r.edit("lb", kindService, name, "status.loadBalancer.ingress", []any{apitest.Object{"hostname": tt.lb}})
					} else {
						r.assign(name, tt.lb)
					}
				}
				r.settle()
				if s := r.state("edge"); tt.reason == gatewayv1.GatewayReasonAddressNotUsable {
					r.expect("edge", gatewayv1.GatewayReasonAddressNotAssigned, "")
					if got := strings.Join(listed(s), ", "); got != tt.want {
						t.Errorf("at first %q, want %q", got, tt.want)
					}
				}
				time.Sleep(10 * time.Second)
				r.settle()
				r.expect("edge", tt.reason, "")
				if got := strings.Join(listed(r.state("edge")), ", "); got != tt.want {
					t.Errorf("addresses %q, want %q", got, tt.want)
				}
			})
		})
	}
}

// An address that is withdrawn takes its Service with it, and no other.
func TestWithdrawnAddress(t *testing.T) {
	bubble(t, func(r *rig) {
		ask := func(addresses string) {
			r.want("edge", "addresses: ["+addresses+"]", "{}", http80)
			r.settle()
			for _, name := range r.server.Names(kindService, "shop") {
				r.assign(name, "192.0.2.10")
			}
			r.settle()
		}
		ask("{value: 203.0.113.1}, {value: 192.0.2.7}")
		uid := at(r.server.Object(kindService, "shop", "edge-fairway-192-0-2-7"), "metadata.uid")
		ask("{value: 192.0.2.7}")
		if got := r.server.Names(kindService, "shop"); !slices.Equal(got, []string{"edge-fairway-192-0-2-7"}) {
			t.Errorf("Services %v, want that of 192.0.2.7", got)
		}
		if now := at(r.server.Object(kindService, "shop", "edge-fairway-192-0-2-7"), "metadata.uid"); now != uid {
			t.Error("the Service of the address that stays was made anew")
		}
		ask("")
		if got := listed(r.state("edge")); !slices.Equal(got, []string{"IPAddress 192.0.2.10"}) {
			t.Errorf("addresses %v, want the load balancer's choice", got)
		}
	})
}

func TestOtherServiceTypes(t *testing.T) {
	nodes := func(r *rig, conditions ...string) {
		for i, ready := range conditions {
			r.server.Apply(fmt.Sprintf(`{kind: Node, metadata: {name: n%d}, status: {
				addresses: [{type: InternalIP, address: 10.0.0.%d}, {type: Hostname, address: n%d}], conditions: [{type: Ready, status: "%s"}]}}`, i, i, i, ready))
		}
	}
	const (
		inside    = "service: {type: ClusterIP}"
		nodePort  = "service: {type: NodePort}"
		delegated = "\ndelegated: [ExternalIPs]"
	)
	tests := []struct {
		name, parameters, spec string
		want                   string
		reason                 gatewayv1.GatewayConditionReason
	}{
		{"inside the cluster", inside, "", "IPAddress 10.96.", ""},
		{"an external address", inside + delegated, "{value: 192.0.2.7}", "IPAddress 192.0.2.7", ""},
		{"an external address that may be anybody's", inside, "{value: 192.0.2.7}", "", gatewayv1.GatewayReasonAddressNotUsable},
		{"a name inside the cluster", inside, "{type: Hostname}", "Hostname edge-fairway.shop.svc", ""},
		{"that name", inside, "{type: Hostname, value: edge-fairway.shop.svc}", "Hostname edge-fairway.shop.svc", ""},
		{"another name", inside, "{type: Hostname, value: edge.shop.svc}", "", gatewayv1.GatewayReasonAddressNotUsable},
		{"nodes", nodePort, "", "IPAddress 10.0.0.0, IPAddress 10.0.0.2", ""},
		{"nodes, and an external address", nodePort + delegated, "{value: 192.0.2.7}", "IPAddress 192.0.2.7", ""},
		{"nodes, and an external address that may be anybody's", nodePort, "{value: 192.0.2.7}", "", gatewayv1.GatewayReasonAddressNotUsable},
		{"any of the nodes'", nodePort, "{type: IPAddress}", "IPAddress 10.0.0.0, IPAddress 10.0.0.2", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(r *rig) {
				nodes(r, "True", "False", "True")
				r.want("edge", "addresses: ["+tt.spec+"]", tt.parameters, http80)
				r.settle()
				r.edit("kube-controller-manager", kindDeployment, "edge-fairway", "status.readyReplicas", 1)
				time.Sleep(10 * time.Second)
				r.settle()
				r.expect("edge", tt.reason, "")
				if got := strings.Join(listed(r.state("edge")), ", "); !strings.HasPrefix(got, tt.want) || tt.want == "" && got != "" {
					t.Errorf("addresses %q, want %q", got, tt.want)
				}
			})
		})
	}
}

func TestNodesComeAndGo(t *testing.T) {
	bubble(t, func(r *rig) {
		node := func(name, kind, address, more string) {
			r.server.Apply(fmt.Sprintf(`{kind: Node, metadata: {name: %s%s}, status: {
				addresses: [{type: %s, address: %s}], conditions: [{type: Ready, status: "True"}]}}`, name, more, kind, address))
			r.settle()
		}
		expect := func(want ...string) {
			r.Helper()
			if got := listed(r.state("edge")); !slices.Equal(got, want) {
				t.Errorf("addresses %v, want %v", got, want)
			}
		}
		node("a", "InternalIP", "10.0.0.1", "")
		r.want("edge", "listeners: []", "service: {type: NodePort}", http80)
		r.settle()
		expect("IPAddress 10.0.0.1")
		node("b", "InternalIP", "10.0.0.2", "")
		expect("IPAddress 10.0.0.1", "IPAddress 10.0.0.2")
		node("c", "InternalIP", "10.0.0.3", ", labels: {node.kubernetes.io/exclude-from-external-load-balancers: ''}")
		expect("IPAddress 10.0.0.1", "IPAddress 10.0.0.2")
		node("d", "ExternalIP", "192.0.2.1", "")
		expect("IPAddress 192.0.2.1")
		r.server.Delete("Node", "", "d")
		r.settle()
		expect("IPAddress 10.0.0.1", "IPAddress 10.0.0.2")
	})
}

// Nodes' heartbeats are no news.
func TestHeartbeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := apitest.New(t)
		server.Apply(`{kind: Node, metadata: {name: a}, status: {addresses: [{type: InternalIP, address: 10.0.0.1}], conditions: [{type: Ready, status: "True"}]}}`)
		n := newNodes(kubernetes.NewForConfigOrDie(server.Config()))
		ctx, cancel := context.WithCancel(t.Context())
		var news atomic.Int64
		done := make(chan struct{})
		go func() { defer close(done); n.run(ctx, func() { news.Add(1) }) }()
		n.wanted()
		time.Sleep(time.Minute) // the first list may be asked for again
		before := news.Load()
		for i := range 10 {
			server.Edit("kubelet", "Node", "", "a", func(o apitest.Object) { set(o, "metadata.labels.beat", fmt.Sprint(i)) })
			time.Sleep(time.Second)
		}
		if got := news.Load(); got != before {
			t.Errorf("%d heartbeats are news", got-before)
		}
		cancel()
		<-done
	})
}

// The API server says at once that an external address is out of the question.
func TestRefusedAddress(t *testing.T) {
	bubble(t, func(r *rig) {
		r.server.RefuseField("services", "spec.externalIPs[0]")
		r.want("edge", "addresses: [{value: 127.0.0.1}]", "delegated: [ExternalIPs]\nservice: {type: ClusterIP}", http80)
		r.settle()
		r.expect("edge", gatewayv1.GatewayReasonAddressNotUsable, "spec.externalIPs[0]")
	})
}
