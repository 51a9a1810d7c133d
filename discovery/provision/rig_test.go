package provision

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayclient "sigs.k8s.io/gateway-api/pkg/client/clientset/versioned"

	"fairway.dev/discovery/apitest"
	"fairway.dev/routing"
	"fairway.dev/routing/v1alpha1"
)

// A rig is a Reconciler at work on an API server, in a bubble of synctest.
type rig struct {
	*testing.T
	server     *apitest.Server
	reconciler *Reconciler
	stop       func() // ends Run, and waits

	mu     sync.Mutex
	states map[string]State // by the Gateway's name: the last one reported
	counts map[string]int
}

var edgeKey = routing.ObjectKey{Kind: "Gateway", Namespace: "shop", Name: "edge"}

func newRig(t *testing.T) *rig {
	t.Helper()
	server := apitest.New(t)
	server.Apply(`{kind: GatewayClass, metadata: {name: fairway}, spec: {controllerName: fairway.dev/gateway-controller}}`)
	r := &rig{T: t, server: server, states: map[string]State{}, counts: map[string]int{}}
	r.reconciler = New(Options{
		Client:         kubernetes.NewForConfigOrDie(server.Config()),
		Gateways:       gatewayclient.NewForConfigOrDie(server.Config()),
		ControllerName: "fairway.dev/gateway-controller",
		Image:          "fairway:test",
		Control:        "control:15012",
		ControlID:      "spiffe://cluster.local/ns/fairway-system/sa/fairway",
		Report: func(s State) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.states[s.Gateway.Name] = s
			r.counts[s.Gateway.Name]++
		},
		Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	r.reconciler.SetRoots([]byte("roots\n"))
	return r
}

// run begins a term.
func (r *rig) run() {
	r.Helper()
	ctx, cancel := context.WithCancel(r.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := r.reconciler.Run(ctx); err != nil {
			r.Error(err)
		}
	}()
	r.stop = func() { cancel(); <-done }
	r.settle()
}

// settle lets everything happen that happens soon.
func (r *rig) settle() {
	time.Sleep(time.Second)
	synctest.Wait()
}

func (r *rig) state(gateway string) State {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.states[gateway]
}

// want creates or changes the Gateway shop/NAME and wants it, with parameters
// given as the YAML of their spec.
func (r *rig) want(name, spec, parameters string, ports ...Port) *gatewayv1.Gateway {
	r.Helper()
	r.server.Apply(fmt.Sprintf(`{kind: Gateway, metadata: {name: %s, namespace: shop}, spec: {gatewayClassName: fairway, %s}}`, name, spec))
	w := wanted(r, r.server.Object("Gateway", "shop", name), parameters, ports...)
	r.reconciler.Set(w)
	return w.Gateway
}

// wanted reads what the API server has of a Gateway.
func wanted(t testing.TB, gateway apitest.Object, parameters string, ports ...Port) Wanted {
	t.Helper()
	w := Wanted{Gateway: &gatewayv1.Gateway{}, Parameters: &v1alpha1.GatewayParameters{}, Ports: ports}
	read(t, gateway, w.Gateway)
	if err := yaml.UnmarshalStrict([]byte(parameters), &w.Parameters.Spec); err != nil {
		t.Fatal(err)
	}
	return w
}

var http80, https443 = Port{Number: 80, Protocol: "TCP"}, Port{Number: 443, Protocol: "TCP"}
