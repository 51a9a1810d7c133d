package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/client-go/kubernetes"
	gatewayclient "sigs.k8s.io/gateway-api/pkg/client/clientset/versioned"

	"fairway.dev/discovery/apitest"
)

// A desk is where somebody runs `fairway waypoint`, with a cluster that has the
// namespaces shop and web, and Services in them.
type desk struct {
	*testing.T
	server *apitest.Server
}

func atDesk(t *testing.T, test func(d *desk)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d := &desk{t, apitest.New(t)}
		d.server.Apply(`{kind: Namespace, metadata: {name: shop}}
---
{kind: Namespace, metadata: {name: web}}
---
{kind: Service, metadata: {name: cart, namespace: shop}, spec: {}}
---
{kind: Service, metadata: {name: site, namespace: web}, spec: {}}`)
		test(d)
	})
}

// run runs a command, and returns what it prints.
func (d *desk) run(args string) (string, error) {
	var out bytes.Buffer
	err := runWaypoint(d.Context(), strings.Fields(args), &out, func(w *waypoints) (err error) {
		if w.namespace == "" {
			w.namespace = "default"
		}
		w.core = kubernetes.NewForConfigOrDie(d.server.Config())
		w.gateways = gatewayclient.NewForConfigOrDie(d.server.Config())
		return nil
	})
	return out.String(), err
}

// expect runs a command that prints want, and nothing else; or ends with an
// error that says so.
func (d *desk) expect(args, want, says string) {
	d.Helper()
	out, err := d.run(args)
	if says == "" && err != nil || says != "" && (err == nil || !strings.Contains(err.Error(), says)) {
		d.Errorf("%s: error %v, want %q", args, err, says)
	}
	if out != want {
		d.Errorf("%s prints\n%s, want\n%s", args, out, want)
	}
}

// label is a label of an object; nil where there is none.
func (d *desk) label(kind, ns, name, label string) any {
	d.Helper()
	labels, _ := d.server.Object(kind, ns, name)["metadata"].(apitest.Object)["labels"].(apitest.Object)
	return labels[label]
}

func (d *desk) setLabel(kind, ns, name, label string, value any) {
	d.server.Edit("kubectl", kind, ns, name, func(o apitest.Object) {
		meta := o["metadata"].(apitest.Object)
		if meta["labels"] == nil {
			meta["labels"] = apitest.Object{}
		}
		meta["labels"].(apitest.Object)[label] = value
	})
}

// programmed has the control plane say how the waypoint is.
func (d *desk) programmed(status, reason, message string) {
	d.server.Edit("fairway", "Gateway", "shop", "waypoint", func(o apitest.Object) {
		o["status"] = apitest.Object{
			"addresses": []any{apitest.Object{"type": "IPAddress", "value": "10.96.0.7"}},
			"conditions": []any{apitest.Object{
				"type": "Programmed", "status": status, "reason": reason, "message": message,
				"observedGeneration": o["metadata"].(apitest.Object)["generation"], "lastTransitionTime": "2026-01-01T00:00:00Z",
			}},
		}
	})
}

// bound has the control plane say where policy for a Service is enforced.
func (d *desk) bound(ns, name, status, reason, message string) {
	d.server.Edit("fairway", "Service", ns, name, func(o apitest.Object) {
		o["status"] = apitest.Object{"conditions": []any{apitest.Object{
			"type": "fairway.dev/WaypointBound", "status": status, "reason": reason, "message": message,
			"lastTransitionTime": "2026-01-01T00:00:00Z",
		}}}
	})
}

const applied, ready = "waypoint shop/waypoint applied\n", "waypoint shop/waypoint ready\n"

func TestWaypointApply(t *testing.T) {
	atDesk(t, func(d *desk) {
		d.expect("apply -n shop", applied, "")
		g := d.server.Object("Gateway", "shop", "waypoint")
		want := map[string]any{"gatewayClassName": "fairway-waypoint", "listeners": []any{map[string]any{
			"name": "mesh", "port": 15008.0, "protocol": "HBONE",
			"allowedRoutes": map[string]any{"namespaces": map[string]any{"from": "Same"}},
		}}}
		if fmt.Sprint(g["spec"]) != fmt.Sprint(want) {
			t.Errorf("spec is %v, want %v", g["spec"], want)
		}
		version := g["metadata"].(apitest.Object)["resourceVersion"]
		d.expect("apply -n shop", applied, "")
		if got := d.server.Object("Gateway", "shop", "waypoint")["metadata"].(apitest.Object)["resourceVersion"]; got != version {
			t.Errorf("applied again it is another object: %v, and was %v", got, version)
		}
		d.expect("apply -namespace shop -for all -from All", applied, "")
		if got := d.label("Gateway", "shop", "waypoint", waypointFor); got != "all" {
			t.Errorf("label %s is %v, want all", waypointFor, got)
		}
		d.expect("apply -n shop", applied, "")
		if got := d.label("Gateway", "shop", "waypoint", waypointFor); got != nil {
			t.Errorf("label %s is %v, want the default", waypointFor, got)
		}
	})
}

// What somebody else has said of the Gateway stays, unless it is to go.
func TestWaypointApplyTakesNothingOver(t *testing.T) {
	atDesk(t, func(d *desk) {
		d.server.Apply(`{kind: Gateway, metadata: {name: waypoint, namespace: shop, managedFields: [{manager: helm, operation: Update, apiVersion: gateway.networking.k8s.io/v1,
  time: "2026-01-01T00:00:00Z", fieldsType: FieldsV1, fieldsV1: {"f:spec": {"f:gatewayClassName": {}}}}]}, spec: {gatewayClassName: other, listeners: []}}`)
		d.expect("apply -n shop", "", "-overwrite takes them over")
		d.expect("apply -n shop -overwrite", applied, "")
	})
}

// Law 15: who is enrolled with a waypoint that is not ready is refused. So the
// namespace is enrolled when it is.
func TestWaypointEnrolsWhenItIsReady(t *testing.T) {
	atDesk(t, func(d *desk) {
		d.expect("apply -n shop -enroll-namespace -timeout 5s", applied, "is not ready after 5s: nobody has looked at it")
		d.programmed("False", "Pending", "no pod is ready yet")
		d.expect("apply -n shop -enroll-namespace -timeout 5s", applied, "Pending: no pod is ready yet; namespace shop is not enrolled")
		if got := d.label("Namespace", "", "shop", useWaypoint); got != nil {
			t.Errorf("the namespace has waypoint %v, and that is not ready", got)
		}
		go func() {
			time.Sleep(10 * time.Second)
			d.programmed("True", "Programmed", "")
		}()
		d.expect("apply -n shop -enroll-namespace", applied+ready+"namespace shop uses it\n", "")
		if got := d.label("Namespace", "", "shop", useWaypoint); got != "waypoint" {
			t.Errorf("the namespace has waypoint %v, want ours", got)
		}
		d.expect("apply -n shop -wait", applied+ready, "")
		// An edit is not ready because what was before it is.
		d.expect("apply -n shop -from All -wait -timeout 5s", applied, "nobody has looked at it")
	})
}

func TestWaypointLeavesAnothersNamespace(t *testing.T) {
	for _, tt := range []struct {
		labels map[string]string
		says   string
	}{
		{map[string]string{useWaypoint: "other"}, "namespace shop has waypoint shop/other: want -overwrite"},
		{map[string]string{useWaypoint: "waypoint", useWaypointNamespace: "web"}, "namespace shop has waypoint web/waypoint: want -overwrite"},
		{map[string]string{useWaypoint: "none"}, "namespace shop has istio.io/use-waypoint=none: want -overwrite"},
		{map[string]string{useWaypoint: "waypoint"}, ""},
	} {
		atDesk(t, func(d *desk) {
			d.expect("apply -n shop", applied, "")
			d.programmed("True", "Programmed", "")
			for k, v := range tt.labels {
				d.setLabel("Namespace", "", "shop", k, v)
			}
			all := applied + ready + "namespace shop uses it\n"
			if tt.says == "" {
				d.expect("apply -n shop -enroll-namespace", all, "")
			} else {
				d.expect("apply -n shop -enroll-namespace", "", tt.says)
			}
			d.expect("apply -n shop -enroll-namespace -overwrite", all, "")
			if name, ns := d.label("Namespace", "", "shop", useWaypoint), d.label("Namespace", "", "shop", useWaypointNamespace); name != "waypoint" || ns != nil {
				t.Errorf("overwritten: waypoint %v of namespace %v, want ours", name, ns)
			}
		})
	}
}

func TestWaypointDelete(t *testing.T) {
	atDesk(t, func(d *desk) {
		d.expect("delete -n shop", "", "not found")
		d.expect("apply -n shop -from All", applied, "")
		d.setLabel("Service", "web", "site", useWaypoint, "waypoint")
		d.setLabel("Service", "web", "site", useWaypointNamespace, "shop")
		d.expect("delete -n shop", "", "waypoint shop/waypoint is used by Service web/site: who calls them would be refused")
		d.setLabel("Namespace", "", "shop", useWaypoint, "waypoint")
		d.setLabel("Service", "web", "site", useWaypoint, "none")
		d.expect("delete -n shop", "", "is used by namespace shop, Service shop/cart: who")
		d.setLabel("Namespace", "", "shop", useWaypoint, "other")
		d.expect("delete -n shop", "waypoint shop/waypoint deleted\n", "")
		d.expect("apply -n shop", applied, "")
		d.setLabel("Namespace", "", "shop", useWaypoint, "waypoint")
		d.expect("delete -n shop -force", "waypoint shop/waypoint deleted\n", "")
		d.server.Apply(`{kind: Gateway, metadata: {name: edge, namespace: shop}, spec: {gatewayClassName: fairway, listeners: [{name: http, port: 80, protocol: HTTP}]}}`)
		d.expect("delete -n shop -name edge", "", "shop/edge is no waypoint")
	})
}

func TestWaypointStatus(t *testing.T) {
	atDesk(t, func(d *desk) {
		d.expect("status -n shop", "waypoint shop/waypoint: there is none\n  Service shop/cart  not enrolled\n", "")
		d.expect("apply -n shop -for all", applied, "")
		d.programmed("False", "NoResources", "quota")
		d.expect("status -n shop", "waypoint shop/waypoint: class fairway-waypoint, for all, at 10.96.0.7, 0 of 0 pods ready, programmed: False (NoResources: quota)\n"+
			"  Service shop/cart  not enrolled\n", errFound.Error())
		d.programmed("True", "Programmed", "")
		for name, status := range map[string]string{"a": "True", "b": "False"} {
			d.server.Apply(fmt.Sprintf(`{kind: Pod, metadata: {name: waypoint-%s, namespace: shop, labels: {gateway.networking.k8s.io/gateway-name: waypoint}}, spec: {},
  status: {conditions: [{type: Ready, status: %q}]}}`, name, status))
		}
		d.setLabel("Namespace", "", "shop", useWaypoint, "waypoint")
		const head = "waypoint shop/waypoint: class fairway-waypoint, for all, at 10.96.0.7, 1 of 2 pods ready, programmed: True\n"
		d.expect("status -n shop", head+"  Service shop/cart  enrolled with shop/waypoint, which control has yet to look at\n", errFound.Error())
		d.bound("shop", "cart", "True", "WaypointAccepted", "enforced at Gateway shop/waypoint")
		d.expect("status -n shop", head+"  Service shop/cart  enforced at Gateway shop/waypoint\n", "")
		d.server.Apply(`{kind: Pod, metadata: {name: cart-1, namespace: shop}, spec: {}}
---
{kind: Pod, metadata: {name: host, namespace: shop}, spec: {hostNetwork: true}}
---
{kind: Pod, metadata: {name: free, namespace: shop, labels: {istio.io/use-waypoint: none}}, spec: {}}`)
		const tail = "  pods of namespace shop: 1  enforced at Gateway shop/waypoint, at their own addresses\n"
		d.expect("status -n shop", head+"  Service shop/cart          enforced at Gateway shop/waypoint\n"+tail, "")
		d.setLabel("Service", "web", "site", useWaypoint, "waypoint")
		d.setLabel("Service", "web", "site", useWaypointNamespace, "shop")
		d.bound("web", "site", "False", "NotAllowed", "Gateway shop/waypoint is for namespace shop: whoever comes is refused")
		d.expect("status -n shop", head+"  Service shop/cart          enforced at Gateway shop/waypoint\n"+
			"  Service web/site           NotAllowed: Gateway shop/waypoint is for namespace shop: whoever comes is refused\n"+tail, errFound.Error())
	})
}

func TestWaypointList(t *testing.T) {
	atDesk(t, func(d *desk) {
		d.expect("apply -n shop", applied, "")
		d.expect("apply -n web -name other -for workload", "waypoint web/other applied\n", "")
		d.server.Apply(`{kind: Gateway, metadata: {name: edge, namespace: shop}, spec: {gatewayClassName: fairway, listeners: [{name: http, port: 80, protocol: HTTP}]}}`)
		d.setLabel("Namespace", "", "shop", useWaypoint, "waypoint")
		d.programmed("True", "Programmed", "")
		const head = "NAMESPACE  NAME      CLASS             FOR       ADDRESS     SERVICES  PROGRAMMED\n"
		const first = "shop       waypoint  fairway-waypoint  service   10.96.0.7   1         True\n"
		d.expect("list -A", head+first+"web        other     fairway-waypoint  workload  no address  0         Unknown\n", "")
		out, err := d.run("list -n shop")
		if err != nil || strings.Contains(out, "other") || strings.Contains(out, "edge") || !strings.Contains(out, "waypoint") {
			t.Errorf("list -n shop: %v, prints\n%s, want its waypoint alone", err, out)
		}
	})
}

func TestWaypointFlags(t *testing.T) {
	never := func(*waypoints) error { return nil }
	for _, tt := range []struct {
		args string
		want error // nil: one that says what is wrong
	}{
		{"", errUsage},
		{"make", errUsage},
		{"-h", flag.ErrHelp},
		{"apply -h", flag.ErrHelp},
		{"apply shop", errUsage},
		{"list -force", errUsage},
		{"apply -for pods", nil},
		{"apply -from Selector", nil},
	} {
		err := runWaypoint(context.Background(), strings.Fields(tt.args), &bytes.Buffer{}, never)
		if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
			t.Errorf("%q: %v, want %v", tt.args, err, tt.want)
		}
	}
}
