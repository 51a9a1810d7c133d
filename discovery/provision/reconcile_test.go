package provision

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/discovery/apitest"
)

// read turns what JSON has of an object into its type.
func read(t testing.TB, o, into any) {
	t.Helper()
	data, err := json.Marshal(o)
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// bubble runs a test with virtual time, and a rig that has begun to work.
func bubble(t *testing.T, test func(*rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.run()
		defer func() { r.stop() }()
		test(r)
	})
}

// at returns the value at a path in an object: "spec.replicas".
func at(o apitest.Object, path string) any {
	var v any = o
	for _, name := range strings.Split(path, ".") {
		m, _ := v.(apitest.Object)
		v = m[name]
	}
	return v
}

// set changes the value at a path in an object.
func set(o apitest.Object, path string, value any) {
	names := strings.Split(path, ".")
	for _, name := range names[:len(names)-1] {
		if _, ok := o[name].(apitest.Object); !ok {
			o[name] = apitest.Object{}
		}
		o = o[name].(apitest.Object)
	}
	o[names[len(names)-1]] = value
}

// edit lets another manager set a value.
func (r *rig) edit(manager, kind, name, path string, value any) {
	r.Helper()
	r.server.Edit(manager, kind, "shop", name, func(o apitest.Object) { set(o, path, value) })
	r.settle()
}

// ready makes the fleet of a Gateway ready, and gives its Services addresses.
func (r *rig) ready(base string) {
	r.Helper()
	r.server.Edit("kube-controller-manager", kindDeployment, "shop", base, func(o apitest.Object) { set(o, "status.readyReplicas", 2) })
	for _, name := range r.server.Names(kindService, "shop") {
		r.assign(name, "192.0.2.10")
	}
	r.settle()
}

// assign does what a load balancer does: an address that is asked for must be
// of 192.0.2.0/24.
func (r *rig) assign(service, otherwise string) {
	r.server.Edit("lb", kindService, "shop", service, func(o apitest.Object) {
		ip, _ := at(o, "spec.loadBalancerIP").(string)
		if ip == "" {
			ip = otherwise
		}
		if strings.HasPrefix(ip, "192.0.2.") {
			set(o, "status.loadBalancer.ingress", []any{apitest.Object{"ip": ip}})
		}
	})
}

func (r *rig) want1(name string) *gatewayv1.Gateway {
	r.Helper()
	g := r.want(name, "listeners: []", "{}", http80)
	r.settle()
	return g
}

// expect fails unless the Gateway's trouble is that reason: "" is none.
func (r *rig) expect(gateway string, reason gatewayv1.GatewayConditionReason, about string) {
	r.Helper()
	got := Trouble{}
	if s := r.state(gateway); s.Trouble != nil {
		got = *s.Trouble
	}
	if got.Reason != reason || !strings.Contains(got.Message, about) {
		r.Errorf("trouble of %s is %s: %q, want %s: %q", gateway, got.Reason, got.Message, reason, about)
	}
}

var allKinds = []string{kindServiceAccount, kindConfigMap, kindService, kindDeployment, kindBudget}

func TestFleetIsMadeAndReported(t *testing.T) {
	bubble(t, func(r *rig) {
		r.want1("edge")
		for _, kind := range allKinds {
			if got := r.server.Names(kind, "shop"); !slices.Equal(got, []string{"edge-fairway"}) {
				t.Errorf("%s: %v, want edge-fairway", kind, got)
			}
		}
		r.expect("edge", gatewayv1.GatewayReasonPending, "no pod is ready yet")
		r.edit("kube-controller-manager", kindDeployment, "edge-fairway", "status.readyReplicas", 1)
		r.expect("edge", gatewayv1.GatewayReasonAddressNotAssigned, "no load balancer has given Service edge-fairway an address yet")
		r.ready("edge-fairway")
		r.expect("edge", "", "")
		s := r.state("edge")
		if s.Ready != 2 || len(s.Addresses) != 1 || s.Addresses[0].Value != "192.0.2.10" || *s.Addresses[0].Type != gatewayv1.IPAddressType {
			t.Errorf("state is %+v, want 2 pods and 192.0.2.10", s)
		}
	})
}

// What stands is not written again: not when it is wanted again, not when its
// status changes, and not by the next leader's first look, which changes nothing.
func TestNothingIsWrittenTwice(t *testing.T) {
	bubble(t, func(r *rig) {
		r.want1("edge")
		r.ready("edge-fairway")
		r.server.Requests()
		r.want1("edge")
		r.edit("kube-controller-manager", kindDeployment, "edge-fairway", "status.readyReplicas", 1)
		r.edit("lb", kindService, "edge-fairway", "status.loadBalancer.ingress", []any{apitest.Object{"ip": "192.0.2.11"}})
		if got := r.server.Requests(); len(got) > 0 {
			t.Errorf("nothing of ours changed, and there were %d requests: %v", len(got), got)
		}
		versions := func() (out []any) {
			for _, kind := range allKinds {
				out = append(out, at(r.server.Object(kind, "shop", "edge-fairway"), "metadata.resourceVersion"))
			}
			return out
		}
		before := versions()
		r.stop()
		r.run()
		if after := versions(); !slices.Equal(before, after) {
			t.Errorf("resourceVersions were %v and are %v: the next leader changed something", before, after)
		}
		if n := r.counts["edge"]; n > 8 {
			t.Errorf("%d States reported, want each once", n)
		}
	})
}

// GEP-1762: what was made is kept as it was asked for, and only that.
func TestDriftIsHealed(t *testing.T) {
	tests := []struct {
		kind, path   string
		value, after any // what somebody sets, and what is there in the end
	}{
		{kindDeployment, "spec.minReadySeconds", 77.0, 5.0},
		{kindDeployment, "spec.template.spec.serviceAccountName", "admin", "edge-fairway"},
		{kindDeployment, "spec.paused", true, true},                              // not ours
		{kindDeployment, "metadata.annotations.note", "mine", "mine"},            // not ours
		{kindService, "spec.type", "NodePort", "LoadBalancer"},                   // ours
		{kindService, "spec.sessionAffinity", "ClientIP", "ClientIP"},            // not ours
		{kindConfigMap, "data", apitest.Object{"root-cert.pem": "evil"}, nil},    // looked at below
		{kindBudget, "spec.maxUnavailable", 0.0, 1.0},                            // ours
		{kindServiceAccount, "automountServiceAccountToken", true, false},        // ours
		{kindServiceAccount, "metadata.labels", apitest.Object{"a": "b"}, nil},   // ours come back
		{kindService, "metadata.labels", apitest.Object{"only": "theirs"}, nil},  // though the watch loses sight of it
		{kindDeployment, "metadata.labels", apitest.Object{"x": "y"}, nil},       // the same
		{kindConfigMap, "metadata.ownerReferences", []any{}, "NameTaken"},        // it is not ours any longer
		{kindService, "metadata.deletionTimestamp", "2026-01-01T00:00:00Z", nil}, // made again
	}
	for _, tt := range tests {
		t.Run(tt.kind+" "+tt.path, func(t *testing.T) {
			bubble(t, func(r *rig) {
				r.want1("edge")
				r.edit("somebody", tt.kind, "edge-fairway", tt.path, tt.value)
				r.settle()
				if tt.after == "NameTaken" {
					r.expect("edge", NameTaken, "ConfigMap shop/edge-fairway belongs to nobody")
					return
				}
				o := r.server.Object(tt.kind, "shop", "edge-fairway")
				if o == nil || at(o, "metadata.labels") == nil || at(o, "metadata.labels").(apitest.Object)[labelManagedBy] != program {
					t.Fatalf("there is %v, want an object of ours", o)
				}
				if tt.kind == kindConfigMap && at(o, "data").(apitest.Object)[rootsKey] != "roots\n" {
					t.Errorf("data is %v", at(o, "data"))
				}
				if got := at(o, tt.path); tt.after != nil && got != tt.after {
					t.Errorf("%s is %v, want %v", tt.path, got, tt.after)
				}
			})
		})
	}
}

func TestDeletedObjectsComeBack(t *testing.T) {
	bubble(t, func(r *rig) {
		r.want1("edge")
		for _, kind := range allKinds {
			r.server.Delete(kind, "shop", "edge-fairway")
			r.settle()
			if r.server.Object(kind, "shop", "edge-fairway") == nil {
				t.Errorf("%s: deleted, and not made again", kind)
			}
		}
	})
}

func TestReplicasAreWhoseSaysThem(t *testing.T) {
	replicas := func(r *rig) any { return at(r.server.Object(kindDeployment, "shop", "edge-fairway"), "spec.replicas") }
	scale := func(r *rig, n float64) { r.edit("kubectl", kindDeployment, "edge-fairway", "spec.replicas", n) }
	change := func(r *rig, parameters string) {
		r.want("edge", "listeners: []", parameters, http80)
		r.settle()
	}
	tests := []struct {
		name string
		do   func(*rig)
		want float64
	}{
		{"the default", func(r *rig) { change(r, "{}") }, 2},
		{"the default, and something else changes", func(r *rig) { change(r, "{}"); change(r, "logLevel: debug") }, 2},
		{"kubectl scale", func(r *rig) { change(r, "{}"); scale(r, 5) }, 5},
		{"kubectl scale, and something else changes", func(r *rig) { change(r, "{}"); scale(r, 5); change(r, "logLevel: debug") }, 5},
		{"parameters", func(r *rig) { change(r, "pods: {replicas: 3}") }, 3},
		{"parameters over kubectl", func(r *rig) { change(r, "pods: {replicas: 3}"); scale(r, 5) }, 3},
		{"parameters after kubectl", func(r *rig) { change(r, "{}"); scale(r, 5); change(r, "pods: {replicas: 3}") }, 3},
		{"parameters withdrawn", func(r *rig) { change(r, "pods: {replicas: 3}"); change(r, "{}") }, 3}, // never 1
		{"an autoscaler's first", func(r *rig) { change(r, "autoscaling: {minReplicas: 4}") }, 4},
		{"an autoscaler", func(r *rig) { change(r, "autoscaling: {}"); scale(r, 7); change(r, "autoscaling: {}\nlogLevel: debug") }, 7},
		{"an autoscaler after parameters", func(r *rig) { change(r, "pods: {replicas: 3}"); change(r, "autoscaling: {}") }, 3},
		{"an autoscaler beside parameters", func(r *rig) { change(r, "pods: {replicas: 3}\nautoscaling: {}"); scale(r, 7) }, 7},
		{"the next leader", func(r *rig) { change(r, "{}"); scale(r, 5); r.stop(); r.run() }, 5},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(r *rig) {
				tt.do(r)
				r.settle()
				if got := replicas(r); got != tt.want {
					t.Errorf("%v replicas, want %v", got, tt.want)
				}
			})
		})
	}
}

func TestAutoscalerGoesWithItsParameters(t *testing.T) {
	bubble(t, func(r *rig) {
		for _, tt := range []struct {
			parameters string
			want       int
		}{{"autoscaling: {}", 1}, {"{}", 0}} {
			r.want("edge", "listeners: []", tt.parameters, http80)
			r.settle()
			if got := r.server.Names(kindAutoscaler, "shop"); len(got) != tt.want {
				t.Errorf("%s: autoscalers %v, want %d", tt.parameters, got, tt.want)
			}
		}
	})
}

func TestObjectsOfOthersStay(t *testing.T) {
	theirs := map[string]string{
		kindServiceAccount: `{kind: ServiceAccount, metadata: {name: edge-fairway, namespace: shop}}`,
		kindConfigMap:      `{kind: ConfigMap, metadata: {name: edge-fairway, namespace: shop}, data: {a: b}}`,
		kindService:        `{kind: Service, metadata: {name: edge-fairway, namespace: shop}, spec: {type: ClusterIP}}`,
		kindDeployment:     `{kind: Deployment, metadata: {name: edge-fairway, namespace: shop}, spec: {replicas: 1}}`,
		kindBudget:         `{kind: PodDisruptionBudget, metadata: {name: edge-fairway, namespace: shop}, spec: {minAvailable: 1}}`,
	}
	for kind, object := range theirs {
		t.Run(kind, func(t *testing.T) {
			bubble(t, func(r *rig) {
				r.server.Apply(object)
				before := r.server.Object(kind, "shop", "edge-fairway")
				r.want1("edge")
				r.expect("edge", NameTaken, kind+" shop/edge-fairway belongs to nobody that it names")
				after := r.server.Object(kind, "shop", "edge-fairway")
				if at(before, "metadata.resourceVersion") != at(after, "metadata.resourceVersion") {
					t.Errorf("it was %v and is %v", before, after)
				}
				if pods := r.server.Names(kindDeployment, "shop"); kind == kindServiceAccount && len(pods) > 0 {
					t.Error("pods run with another's service account")
				}
				r.server.Delete(kind, "shop", "edge-fairway")
				time.Sleep(lookAgain)
				r.ready("edge-fairway")
				r.expect("edge", "", "")
			})
		})
	}
}

// What somebody makes between our look and our write is theirs.
func TestNameTakenMeanwhile(t *testing.T) {
	bubble(t, func(r *rig) {
		var once sync.Once
		r.server.Refuse(func(method, path string) int {
			if method == http.MethodPatch && strings.Contains(path, "/services/") {
				once.Do(func() {
					r.server.Apply(`{kind: Service, metadata: {name: edge-fairway, namespace: shop}, spec: {type: ClusterIP, ports: [{port: 1}]}}`)
				})
			}
			return 0
		})
		r.want1("edge")
		r.expect("edge", NameTaken, "Service shop/edge-fairway belongs to nobody")
		if kind := at(r.server.Object(kindService, "shop", "edge-fairway"), "spec.type"); kind != "ClusterIP" {
			t.Errorf("another's Service was made %v", kind)
		}
	})
}

// A Deployment that is scaled between our look and our write stays scaled.
func TestScaledMeanwhile(t *testing.T) {
	bubble(t, func(r *rig) {
		r.want1("edge")
		var once sync.Once
		r.server.Refuse(func(method, path string) int {
			if method == http.MethodPatch && strings.Contains(path, "/deployments/") {
				once.Do(func() {
					r.server.Edit("kubectl", kindDeployment, "shop", "edge-fairway", func(o apitest.Object) { set(o, "spec.replicas", 9.0) })
				})
			}
			return 0
		})
		r.want("edge", "listeners: []", "logLevel: debug", http80)
		r.settle()
		d := r.server.Object(kindDeployment, "shop", "edge-fairway")
		if got := at(d, "spec.replicas"); got != 9.0 || !strings.Contains(fmt.Sprint(d), "-log-level=debug") {
			t.Errorf("%v replicas, want 9, and -log-level=debug in %v", got, d)
		}
	})
}

// Two Gateways whose objects have one name: the second has to wait.
func TestGatewaysOfOneName(t *testing.T) {
	bubble(t, func(r *rig) {
		r.server.Apply(`{kind: GatewayClass, metadata: {name: b-fairway}, spec: {controllerName: fairway.dev/gateway-controller}}`)
		r.server.Apply(`{kind: Gateway, metadata: {name: a, namespace: shop}, spec: {gatewayClassName: b-fairway}}`)
		r.want1("a-b")
		r.reconciler.Set(wanted(r, r.server.Object("Gateway", "shop", "a"), "{}", http80))
		r.settle()
		r.expect("a-b", gatewayv1.GatewayReasonPending, "")
		r.expect("a", NameTaken, "belongs to Gateway a-b")
	})
}

// A Gateway that is made anew at once waits for what its namesake has left.
func TestObjectsOfADeletedGateway(t *testing.T) {
	bubble(t, func(r *rig) {
		r.want("edge", "listeners: []", "autoscaling: {}", http80)
		r.settle()
		old := at(r.server.Object(kindService, "shop", "edge-fairway"), "metadata.uid")
		r.server.Delete("Gateway", "shop", "edge")
		r.want1("edge")
		if now := at(r.server.Object(kindService, "shop", "edge-fairway"), "metadata.uid"); now != old {
			t.Error("the old Gateway's Service was replaced before it was collected")
		}
		if r.server.Object(kindAutoscaler, "shop", "edge-fairway") == nil {
			t.Error("the old Gateway's autoscaler was deleted, which nobody asked the new one for")
		}
		for _, kind := range allKinds { // as Kubernetes' garbage collector does
			r.server.Delete(kind, "shop", "edge-fairway")
		}
		time.Sleep(lastRetry)
		r.ready("edge-fairway")
		r.expect("edge", "", "")
	})
}

func TestPortsChangeTheServiceAlone(t *testing.T) {
	bubble(t, func(r *rig) {
		r.want1("edge")
		generation := func() any {
			return at(r.server.Object(kindDeployment, "shop", "edge-fairway"), "metadata.generation")
		}
		before := generation()
		ports := func(p ...Port) int {
			r.want("edge", "listeners: []", "{}", p...)
			r.settle()
			list, _ := at(r.server.Object(kindService, "shop", "edge-fairway"), "spec.ports").([]any)
			return len(list)
		}
		if n := ports(http80, https443, Port{Number: 443, Protocol: "UDP"}, https443); n != 3 {
			t.Errorf("the Service has %d ports, want 80, 443 and 443/UDP", n)
		}
		if n := ports(https443); n != 1 {
			t.Errorf("the Service has %d ports, want 443", n)
		}
		if n := ports(); n != 1 {
			t.Errorf("without listeners the Service has %d ports, want the last", n)
		}
		if generation() != before {
			t.Error("another port restarts pods")
		}
	})
}

func TestNoServiceWithoutPorts(t *testing.T) {
	bubble(t, func(r *rig) {
		r.want("edge", "listeners: []", "{}")
		r.settle()
		if got := r.server.Names(kindService, "shop"); len(got) != 0 {
			t.Errorf("Services %v, want none", got)
		}
		r.edit("kube-controller-manager", kindDeployment, "edge-fairway", "status.readyReplicas", 1)
		r.expect("edge", gatewayv1.GatewayReasonAddressNotAssigned, "no listener is in force")
	})
}

func TestRootsReachThePods(t *testing.T) {
	bubble(t, func(r *rig) {
		r.want1("edge")
		r.reconciler.SetRoots([]byte("new roots\n"))
		r.settle()
		if got := at(r.server.Object(kindConfigMap, "shop", "edge-fairway"), "data").(apitest.Object)[rootsKey]; got != "new roots\n" {
			t.Errorf("the ConfigMap has %q", got)
		}
	})
}

func TestNothingIsMadeWithoutRoots(t *testing.T) {
	bubble(t, func(r *rig) {
		r.reconciler.SetRoots(nil)
		r.want1("edge")
		if got := r.server.Names(kindDeployment, "shop"); len(got) > 0 {
			t.Errorf("Deployments %v of pods that could trust nobody", got)
		}
	})
}

func TestRefusals(t *testing.T) {
	tests := []struct {
		name   string
		code   int
		kind   string // whose requests are refused
		reason gatewayv1.GatewayConditionReason
	}{
		{"a quota", http.StatusForbidden, "deployments", gatewayv1.GatewayReasonNoResources},
		{"a field", http.StatusUnprocessableEntity, "services", gatewayv1.GatewayReasonInvalid},
		{"out of order", http.StatusInternalServerError, "services", gatewayv1.GatewayReasonPending}, // that is no trouble of the Gateway's
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(r *rig) {
				r.server.Refuse(func(method, path string) int {
					if method == http.MethodPatch && strings.Contains(path, "/"+tt.kind+"/") {
						return tt.code
					}
					return 0
				})
				r.want1("edge")
				r.expect("edge", tt.reason, "")
				if got := r.server.Names(kindBudget, "shop"); len(got) != 1 {
					t.Error("the rest was not made")
				}
				r.server.Refuse(nil)
				time.Sleep(lastRetry)
				r.ready("edge-fairway")
				r.expect("edge", "", "")
			})
		})
	}
}

func TestBadOverlayLeavesWhatIsThere(t *testing.T) {
	bubble(t, func(r *rig) {
		r.want1("edge")
		r.server.Requests()
		r.want("edge", "listeners: []", "overlays: [{kind: Service, patch: {$patch: bogus}}]", https443)
		r.settle()
		r.expect("edge", gatewayv1.GatewayReasonInvalidParameters, "spec.overlays[0]: Service: ")
		if got := r.server.Writes(); len(got) > 0 {
			t.Errorf("writes: %v", got)
		}
	})
}
