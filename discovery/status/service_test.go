package status

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairway.dev/discovery/apitest"
	"fairway.dev/routing"
	"fairway.dev/routing/gatewayapi"
	"fairway.dev/routing/istio"
)

var cart = routing.ObjectKey{Kind: kindService, Namespace: "shop", Name: "cart"}

// bound is the Report of a Service; without a status it is not enrolled.
func bound(status metav1.ConditionStatus, reason, message string) gatewayapi.Report {
	r := gatewayapi.Report{Object: cart}
	if status != "" {
		r.Conditions = []metav1.Condition{{Type: gatewayapi.ConditionWaypointBound, Status: status, Reason: reason, Message: message}}
	}
	return r
}

const theirStatus = `{loadBalancer: {ingress: [{ip: 192.0.2.1}]}, conditions: [{type: LoadBalancerPortsError, status: "False", reason: None, lastTransitionTime: "2026-01-01T00:00:00Z", message: "", observedGeneration: 3}]}`

func (r *rig) service(status string) {
	r.server.Apply(fmt.Sprintf(`{kind: Service, metadata: {name: cart, namespace: shop}, spec: {ports: [{port: 80}]}, status: %s}`, status))
}

// serviceSays is the status of Service shop/cart, in a line.
func (r *rig) serviceSays() string {
	r.Helper()
	status, _ := r.server.Object("Service", "shop", "cart")["status"].(apitest.Object)
	list, _ := status["conditions"].([]any)
	var out []string
	for _, c := range list {
		c := c.(apitest.Object)
		out = append(out, fmt.Sprintf("%s=%s %s", c["type"], c["status"], c["reason"]))
	}
	if lb, _ := status["loadBalancer"].(apitest.Object); len(lb) > 0 {
		text, err := json.Marshal(lb)
		if err != nil {
			r.Fatal(err)
		}
		out = append(out, string(text))
	}
	return strings.Join(out, ", ")
}

func (r *rig) expectService(want string) {
	r.Helper()
	if got := r.serviceSays(); got != want {
		r.Errorf("the Service's status says\n%s, want\n%s", got, want)
	}
}

// Of a Service's status one condition is ours. It comes with its enrolment, goes
// with it, and leaves the rest as it is.
func TestServiceSaysWherePolicyIsEnforced(t *testing.T) {
	both(t, func(r *rig) {
		const theirs, lb = "LoadBalancerPortsError=False None", `{"ingress":[{"ip":"192.0.2.1"}]}`
		r.service(theirStatus)
		r.writer.Report(bound("True", "WaypointAccepted", "enforced at Gateway shop/waypoint"))
		r.settle()
		r.expectService(theirs + ", fairway.dev/WaypointBound=True WaypointAccepted, " + lb)
		r.server.Requests()
		r.writer.Report(bound("True", "WaypointAccepted", "enforced at Gateway shop/waypoint"))
		time.Sleep(time.Second)
		if n := len(r.server.Writes()); n != 0 {
			r.Errorf("%d writes of the same, want none", n)
		}
		// Somebody else writes meanwhile, which nobody watches.
		r.server.Edit("lb", "Service", "shop", "cart", func(o apitest.Object) {
			o["status"].(apitest.Object)["loadBalancer"] = apitest.Object{}
		})
		r.writer.Report(bound("False", "WaypointNotReady", "Gateway shop/waypoint has no pod that is ready: whoever comes is refused"))
		time.Sleep(time.Second)
		r.expectService(theirs + ", fairway.dev/WaypointBound=False WaypointNotReady")
		r.writer.Report(bound("", "", ""))
		time.Sleep(time.Second)
		r.expectService(theirs)
	})
}

// Thousands of Services have nothing to do with a waypoint: a new leader asks
// for those alone that say that they have.
func TestServicesWithoutWaypointCostNothing(t *testing.T) {
	bubble(t, true, func(r *rig) {
		r.service(theirStatus)
		r.writer.Report(bound("", "", ""))
		time.Sleep(time.Second)
		if asked := r.server.Requests(); len(asked) > 0 {
			r.Errorf("asked %v, want nothing", asked)
		}
		r.writer.Report(bound("True", "WaypointAccepted", ""))
		time.Sleep(time.Second)
		r.stop()
		r.writer.Report(bound("", "", "")) // it was taken out while nobody led
		r.server.Requests()
		r.run()
		time.Sleep(time.Second)
		r.expectService(`LoadBalancerPortsError=False None, {"ingress":[{"ip":"192.0.2.1"}]}`)
		if asked := r.server.Requests(); len(asked) != 2 || asked[0].Path != "/api/v1/namespaces/shop/services/cart" ||
			asked[1].Method != http.MethodPatch || asked[1].Path != "/api/v1/namespaces/shop/services/cart/status" {
			r.Errorf("asked %v, want the Service and a patch of its status", asked)
		}
	})
}

// A Service that is made anew under its name is another one.
func TestServiceIsMadeAnew(t *testing.T) {
	both(t, func(r *rig) {
		r.service("{}")
		r.writer.Report(bound("True", "WaypointAccepted", ""))
		r.settle()
		r.server.Delete("Service", "shop", "cart")
		r.service("{}")
		r.writer.Report(bound("False", "WaypointMissing", ""))
		time.Sleep(time.Second)
		r.expectService("fairway.dev/WaypointBound=False WaypointMissing")
	})
}

// Policies of Gateway API's, and ours, have an entry for each Gateway
// (PolicyStatus.ancestors).
func TestPoliciesHaveAncestors(t *testing.T) {
	for _, kind := range []string{"BackendTLSPolicy", "XBackendTrafficPolicy", "RateLimitPolicy"} {
		if shapeOf(kind) != policyShape {
			t.Errorf("%s: shape %v, want that of policies", kind, shapeOf(kind))
		}
	}
}

// AuthorizationPolicies have what Istio's routes have; a condition that says our
// domain already says it once.
func TestPoliciesHaveConditionsOfOurDomain(t *testing.T) {
	for _, kind := range []string{istio.KindAuthorization, istio.KindPeer, istio.KindServiceEntry} {
		if shapeOf(kind) != meshShape {
			t.Errorf("%s: shape %v, want that of Istio's objects", kind, shapeOf(kind))
		}
		r := gatewayapi.Report{Object: routing.ObjectKey{Kind: kind, Namespace: "shop", Name: "viewers"}, Conditions: []metav1.Condition{
			{Type: "Accepted", Status: "True", Reason: "Accepted", ObservedGeneration: 1},
			{Type: gatewayapi.ConditionWaypointBound, Status: "True", Reason: "WaypointAccepted", ObservedGeneration: 1},
		}}
		var types []string
		for _, c := range meshConditions(&r) {
			types = append(types, c.Type)
		}
		if got, want := strings.Join(types, " "), "fairway.dev/Accepted fairway.dev/WaypointBound fairway.dev/Programmed"; got != want {
			t.Errorf("%s: conditions %s, want %s", kind, got, want)
		}
	}
}
