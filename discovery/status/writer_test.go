package status

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/discovery/apitest"
	"fairway.dev/discovery/feed"
	"fairway.dev/discovery/provision"
	"fairway.dev/routing"
	"fairway.dev/routing/gatewayapi"
)

// A rig is a Writer at work on an API server, in a bubble of synctest.
type rig struct {
	*testing.T
	server *apitest.Server
	writer *Writer
	stop   func()

	mu      sync.Mutex
	wanted  map[routing.ListenerName]string
	version string // of all that pods should have
	pods    []feed.PodState
}

// bubble runs a test with a Writer that leads. With watch it sees objects as
// they are, otherwise it has to ask.
func bubble(t *testing.T, watch bool, test func(*rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{T: t, server: apitest.New(t)}
		o := Options{
			Config:         r.server.Config(),
			ControllerName: controller,
			Resource:       apitest.Resource,
			Wanted: func(string) map[routing.ListenerName]string {
				r.mu.Lock()
				defer r.mu.Unlock()
				return r.wanted
			},
			Fleet: func(string) feed.Fleet {
				r.mu.Lock()
				defer r.mu.Unlock()
				return feed.Fleet{Pods: r.pods}
			},
			Version: func(string) string {
				r.mu.Lock()
				defer r.mu.Unlock()
				return r.version
			},
			GatewayOf: func(l routing.ListenerName) string { return string(l[:strings.LastIndexByte(string(l), '/')]) },
			Log:       slog.New(slog.NewTextHandler(t.Output(), nil)),
		}
		if watch {
			o.Object, o.Status = r.watched, r.apart
		}
		var err error
		if r.writer, err = New(o); err != nil {
			t.Fatal(err)
		}
		r.run()
		defer func() { r.stop() }()
		test(r)
	})
}

func (r *rig) run() {
	ctx, cancel := context.WithCancel(r.Context())
	done := make(chan struct{})
	go func() { defer close(done); r.writer.Run(ctx) }()
	r.stop = func() { cancel(); <-done }
	synctest.Wait()
}

// watched is what a watch without delay has of an object.
func (r *rig) watched(key routing.ObjectKey) any {
	o := r.server.Object(key.Kind, key.Namespace, key.Name)
	if o == nil {
		return nil
	}
	var out any
	switch key.Kind {
	case "Gateway":
		out = &gatewayv1.Gateway{}
	case "ListenerSet":
		out = &gatewayv1.ListenerSet{}
	case "GatewayClass":
		out = &gatewayv1.GatewayClass{}
	case "BackendTLSPolicy":
		out = &gatewayv1.BackendTLSPolicy{}
	case "VirtualService", "AuthorizationPolicy":
		out = &metav1.PartialObjectMetadata{}
	case "Service":
		out = &corev1.Service{}
	default:
		out = &gatewayv1.HTTPRoute{}
	}
	data, err := json.Marshal(o)
	if err == nil {
		err = json.Unmarshal(data, out)
	}
	if err != nil {
		r.Error(err)
	}
	if s, ok := out.(*corev1.Service); ok { // the watch keeps but what is ours
		s.ObjectMeta = metav1.ObjectMeta{Namespace: s.Namespace, Name: s.Name}
		s.Status = corev1.ServiceStatus{Conditions: slices.DeleteFunc(s.Status.Conditions, func(c metav1.Condition) bool { return !strings.HasPrefix(c.Type, domain) })}
	}
	return out
}

// apart is the status of Istio's objects.
func (r *rig) apart(key routing.ObjectKey) (json.RawMessage, bool) {
	if shapeOf(key.Kind) != meshShape {
		return nil, false
	}
	status, ok := r.server.Object(key.Kind, key.Namespace, key.Name)["status"]
	if !ok {
		return nil, true
	}
	data, err := json.Marshal(status)
	if err != nil {
		r.Error(err)
	}
	return data, true
}

// settle lets everything happen that happens soon.
func (r *rig) settle() {
	time.Sleep(50 * time.Millisecond)
	synctest.Wait()
}

func cartKey(name string) routing.ObjectKey {
	return routing.ObjectKey{Kind: "HTTPRoute", Namespace: "shop", Name: name}
}

// route creates or changes HTTPRoute shop/NAME.
func (r *rig) route(name string, generation int) {
	r.server.Apply(fmt.Sprintf(`{kind: HTTPRoute, metadata: {name: %s, namespace: shop, generation: %d}, spec: {hostnames: ["v%d.example.com"]}}`, name, generation, generation))
}

// routeReport is that of a route at a generation, under some Gateways.
func routeReport(name string, generation int64, status string, gateways ...string) gatewayapi.Report {
	r := gatewayapi.Report{Object: cartKey(name)}
	for _, g := range gateways {
		r.Parents = append(r.Parents, gatewayv1.RouteParentStatus{
			ParentRef: gatewayv1.ParentReference{Name: gatewayv1.ObjectName(g)}, ControllerName: controller,
			Conditions: []metav1.Condition{{Type: "Accepted", Status: metav1.ConditionStatus(status), Reason: "Accepted", ObservedGeneration: generation}},
		})
	}
	return r
}

// entries are a route's, as text: controller, Gateway, Accepted, generation.
func (r *rig) entries(name string) string {
	r.Helper()
	o := r.server.Object("HTTPRoute", "shop", name)
	var status gatewayv1.HTTPRouteStatus
	data, err := json.Marshal(o["status"])
	if err == nil {
		err = json.Unmarshal(data, &status)
	}
	if err != nil {
		r.Fatal(err)
	}
	var out []string
	for _, p := range status.Parents {
		s := "theirs " + string(p.ParentRef.Name)
		if p.ControllerName == controller {
			s = "ours " + string(p.ParentRef.Name)
		}
		for _, c := range p.Conditions {
			s += fmt.Sprintf(" %s@%d", c.Status, c.ObservedGeneration)
		}
		out = append(out, s)
	}
	return strings.Join(out, ", ")
}

func (r *rig) expect(name, want string) {
	r.Helper()
	if got := r.entries(name); got != want {
		r.Errorf("%s has %q, want %q", name, got, want)
	}
}

// theirs lets another controller write an entry.
func (r *rig) theirs(name, gateway string) {
	r.server.Edit("other", "HTTPRoute", "shop", name, func(o apitest.Object) {
		status, _ := o["status"].(apitest.Object)
		if status == nil {
			status = apitest.Object{}
			o["status"] = status
		}
		list, _ := status["parents"].([]any)
		status["parents"] = append(list, apitest.Object{
			"parentRef": apitest.Object{"name": gateway}, "controllerName": "example.com/other", "conditions": []any{}, "unknown": "field",
		})
	})
}

// both runs a test with a watch and without.
func both(t *testing.T, test func(*rig)) {
	t.Helper()
	for _, watch := range []bool{true, false} {
		t.Run(fmt.Sprintf("watch=%v", watch), func(t *testing.T) { bubble(t, watch, test) })
	}
}

func TestRoute(t *testing.T) {
	both(t, func(r *rig) {
		r.route("cart", 1)
		r.writer.Report(routeReport("cart", 1, "True", "edge", "inner"))
		r.settle()
		r.expect("cart", "ours edge True@1, ours inner True@1")

		r.server.Requests()
		r.writer.Report(routeReport("cart", 1, "True", "edge", "inner"))
		r.writer.Changed(cartKey("cart"))
		time.Sleep(time.Second)
		if got := r.server.Writes(); len(got) > 0 {
			t := got[0]
			r.Errorf("what was there was written again: %s %s", t.Path, t.Body)
		}

		r.theirs("cart", "edge")
		r.route("cart", 2)
		r.writer.Report(routeReport("cart", 2, "False", "inner"))
		r.settle()
		r.expect("cart", "ours inner False@2, theirs edge")
		if !strings.Contains(fmt.Sprint(r.server.Object("HTTPRoute", "shop", "cart")["status"]), "unknown:field") {
			r.Error("a field of another's entry that we do not know is gone")
		}

		r.writer.Report(gatewayapi.Report{Object: cartKey("cart"), Gone: true}) // not ours any more
		time.Sleep(time.Second)
		r.expect("cart", "theirs edge")
	})
}

// Somebody else writes between our read and our write: the API server refuses
// ours, and both are there in the end.
func TestConcurrentWriters(t *testing.T) {
	both(t, func(r *rig) {
		r.route("cart", 1)
		r.writer.Report(routeReport("cart", 1, "True", "edge"))
		r.settle()
		others := 0
		r.server.Refuse(func(method, path string) int {
			if method == http.MethodPatch && others < 3 {
				others++
				r.theirs("cart", fmt.Sprintf("other-%d", others))
			}
			return 0
		})
		r.route("cart", 2)
		r.writer.Report(routeReport("cart", 2, "True", "edge"))
		time.Sleep(time.Second)
		r.expect("cart", "ours edge True@2, theirs other-1, theirs other-2, theirs other-3")
	})
}

// Entries of ours that somebody has changed or taken out come back.
func TestOverwrittenStatus(t *testing.T) {
	both(t, func(r *rig) {
		r.route("cart", 1)
		r.writer.Report(routeReport("cart", 1, "True", "edge"))
		r.settle()
		r.server.Edit("somebody", "HTTPRoute", "shop", "cart", func(o apitest.Object) { o["status"] = apitest.Object{"parents": []any{}} })
		if r.writer.o.Object == nil { // only a report makes it ask
			r.writer.mu.Lock()
			r.writer.objects[cartKey("cart")].known = known{}
			r.writer.mu.Unlock()
		}
		r.writer.Changed(cartKey("cart"))
		time.Sleep(time.Second)
		r.expect("cart", "ours edge True@1")
	})
}

// Somebody else takes back whatever we write: two of one controllerName, or
// worse. That costs little, and an edit is written as if nobody did.
func TestFightsAreSlow(t *testing.T) {
	bubble(t, true, func(r *rig) {
		r.route("cart", 1)
		takeBack := func(r *rig) {
			r.server.Edit("somebody", "HTTPRoute", "shop", "cart", func(o apitest.Object) { o["status"] = apitest.Object{"parents": []any{}} })
			r.writer.Changed(cartKey("cart"))
		}
		r.writer.Report(routeReport("cart", 1, "True", "edge"))
		r.settle()
		writes := 0
		for range 36000 {
			if r.entries("cart") != "" {
				writes++
				takeBack(r)
			}
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
		}
		if writes < 100 || writes > 150 {
			t.Errorf("%d writes in an hour, want one in half a minute", writes)
		}
		r.route("cart", 2)
		r.writer.Report(routeReport("cart", 2, "True", "edge"))
		time.Sleep(time.Second)
		r.expect("cart", "ours edge True@2")
	})
}

// A Report that is older than what is written is not written.
func TestGenerationDoesNotGoBack(t *testing.T) {
	both(t, func(r *rig) {
		r.route("cart", 5)
		r.server.Edit("the leader before", "HTTPRoute", "shop", "cart", func(o apitest.Object) {
			o["status"] = apitest.Object{"parents": []any{apitest.Object{
				"parentRef": apitest.Object{"name": "edge"}, "controllerName": controller,
				"conditions": []any{apitest.Object{"type": "Accepted", "status": "True", "reason": "Accepted", "observedGeneration": 5}},
			}}}
		})
		r.writer.Report(routeReport("cart", 4, "False", "edge"))
		time.Sleep(time.Second)
		r.expect("cart", "ours edge True@5")
		r.writer.Report(routeReport("cart", 5, "False", "edge"))
		time.Sleep(time.Second)
		r.expect("cart", "ours edge False@5")
	})
}

// A route that is made anew begins at generation 1.
func TestRouteOfTheSameName(t *testing.T) {
	both(t, func(r *rig) {
		r.route("cart", 5)
		r.writer.Report(routeReport("cart", 5, "True", "edge"))
		r.settle()
		r.server.Delete("HTTPRoute", "shop", "cart")
		r.route("cart", 1)
		r.writer.Report(routeReport("cart", 1, "True", "edge"))
		time.Sleep(time.Second)
		r.expect("cart", "ours edge True@1")
	})
}

// A route that is replaced between our read and our write gets nothing of its
// namesake's.
func TestReplacedMeanwhile(t *testing.T) {
	both(t, func(r *rig) {
		r.route("cart", 5)
		var replaced atomic.Bool
		r.server.Refuse(func(method, path string) int {
			if method == http.MethodPatch && replaced.CompareAndSwap(false, true) {
				r.server.Delete("HTTPRoute", "shop", "cart")
				r.route("cart", 1)
			}
			return 0
		})
		r.writer.Report(routeReport("cart", 5, "True", "edge"))
		time.Sleep(time.Second)
		r.expect("cart", "")
		r.writer.Report(routeReport("cart", 1, "True", "edge"))
		time.Sleep(time.Second)
		r.expect("cart", "ours edge True@1")
	})
}

func TestDeletedObjectsAreForgotten(t *testing.T) {
	both(t, func(r *rig) {
		r.route("cart", 1)
		r.writer.Report(routeReport("cart", 1, "True", "edge"))
		r.settle()
		r.server.Delete("HTTPRoute", "shop", "cart")
		r.writer.Report(gatewayapi.Report{Object: cartKey("cart"), Gone: true})
		set := report(extra, 1, "+")
		r.writer.Report(set)
		r.writer.Provisioned(provision.State{Gateway: edge})
		r.writer.Report(gatewayapi.Report{Object: extra, Gone: true})
		r.writer.Report(gatewayapi.Report{Object: edge, Gone: true})
		time.Sleep(time.Minute)
		r.writer.mu.Lock()
		defer r.writer.mu.Unlock()
		if n, g := len(r.writer.objects), len(r.writer.gateways); n+g > 0 {
			r.Errorf("%d objects and %d Gateways are remembered, want none", n, g)
		}
	})
}

// Without a Report there is nothing to do for an object.
func TestForeignObjectsCostNothing(t *testing.T) {
	bubble(t, true, func(r *rig) {
		r.route("foreign", 1)
		r.writer.Changed(cartKey("foreign"))
		time.Sleep(time.Second)
		if got := r.server.Requests(); len(got) > 0 {
			r.Errorf("requests: %v", got)
		}
	})
}

func TestFailuresAreTriedAgain(t *testing.T) {
	both(t, func(r *rig) {
		var asked atomic.Int64
		r.server.Refuse(func(method, path string) int { asked.Add(1); return http.StatusServiceUnavailable })
		r.route("cart", 1)
		r.writer.Report(routeReport("cart", 1, "True", "edge"))
		time.Sleep(10 * time.Minute)
		if n := asked.Load(); n < 10 || n > 40 {
			r.Errorf("%d requests in ten minutes without an API server, want a few dozen", n)
		}
		r.server.Refuse(nil)
		time.Sleep(maxRetry)
		r.settle()
		r.expect("cart", "ours edge True@1")
	})
}

// Whoever leads next finds what is written, and writes what is missing.
func TestNextLeader(t *testing.T) {
	both(t, func(r *rig) {
		for _, name := range []string{"cart", "late"} {
			r.route(name, 1)
		}
		r.writer.Report(routeReport("cart", 1, "True", "edge"))
		r.settle()
		r.stop()
		r.server.Requests()
		r.writer.Report(routeReport("late", 1, "True", "edge"))
		time.Sleep(time.Minute)
		if got := r.server.Requests(); len(got) > 0 {
			r.Errorf("requests of one that does not lead: %v", got)
		}
		r.run()
		r.settle()
		r.expect("late", "ours edge True@1")
		for _, w := range r.server.Writes() {
			if strings.Contains(w.Path, "cart") {
				r.Errorf("what was there was written again: %s", w.Body)
			}
		}
		r.stop()
		r.server.Edit("another leader", "HTTPRoute", "shop", "cart", func(o apitest.Object) { o["status"] = apitest.Object{"parents": []any{}} })
		r.run()
		r.settle()
		r.expect("cart", "ours edge True@1")
	})
}

// A kind whose definition is not installed is left alone.
func TestKindThatIsNotServed(t *testing.T) {
	bubble(t, true, func(r *rig) {
		r.writer.Report(gatewayapi.Report{Object: routing.ObjectKey{Kind: "TCPRoute", Namespace: "shop", Name: "db"}})
		time.Sleep(time.Second)
		if got := r.server.Requests(); len(got) > 0 {
			r.Errorf("requests: %v", got)
		}
	})
}

// An API server that drops a field which it does not know is not written to
// again and again.
func TestDroppedField(t *testing.T) {
	both(t, func(r *rig) {
		r.server.Drop("supportedFeatures")
		r.server.Apply(`{kind: GatewayClass, metadata: {name: fairway}, spec: {controllerName: fairway.dev/gateway-controller}}`)
		class := gatewayapi.Report{
			Object:            routing.ObjectKey{Kind: "GatewayClass", Name: "fairway"},
			Conditions:        []metav1.Condition{{Type: "Accepted", Status: "True", Reason: "Accepted", ObservedGeneration: 1}},
			SupportedFeatures: []gatewayv1.SupportedFeature{{Name: "HTTPRoute"}},
		}
		for range 5 {
			r.writer.Report(class)
			r.writer.Changed(class.Object)
			time.Sleep(time.Second)
		}
		if got := r.server.Writes(); len(got) != 1 {
			r.Errorf("%d writes, want 1", len(got))
		}
	})
}
