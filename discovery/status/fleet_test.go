package status

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/discovery/apitest"
	"fairway.dev/discovery/feed"
	"fairway.dev/discovery/provision"
	"fairway.dev/routing"
)

// gateway makes Gateway shop/edge, as the API server does with the defaults of
// its definition.
func (r *rig) gateway() {
	pending := `{type: %s, status: Unknown, reason: Pending, message: Waiting for controller, lastTransitionTime: "1970-01-01T00:00:00Z"}`
	r.server.Apply(`{kind: Gateway, metadata: {name: edge, namespace: shop}, spec: {}, status: {conditions: [` +
		fmt.Sprintf(pending, "Accepted") + `, ` + fmt.Sprintf(pending, "Programmed") + `]}}`)
}

// edited makes the Gateway one of that generation.
func (r *rig) edited(generation float64) {
	r.server.Edit("kubectl", "Gateway", "shop", "edge", func(o apitest.Object) { o["metadata"].(apitest.Object)["generation"] = generation })
}

// fleet says what pods should have, and have.
func (r *rig) fleet(wanted string, pods ...string) {
	r.mu.Lock()
	r.wanted = wants(edge, wanted)
	r.pods = nil
	for _, p := range pods {
		r.pods = append(r.pods, pod(edge, p))
	}
	r.mu.Unlock()
	r.writer.FleetChanged("shop/edge")
}

// provisioned says that a pod is ready, and there is an address.
func (r *rig) provisioned() {
	kind := gatewayv1.IPAddressType
	r.writer.Provisioned(provision.State{Gateway: edge, Ready: 1, Addresses: []gatewayv1.GatewayStatusAddress{{Type: &kind, Value: "192.0.2.1"}}})
}

// status is that of Gateway shop/edge.
func (r *rig) status() (s gatewayv1.GatewayStatus) {
	r.Helper()
	data, err := json.Marshal(r.server.Object("Gateway", "shop", "edge")["status"])
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	if err != nil {
		r.Fatal(err)
	}
	return s
}

// programmed is the Gateway's condition and those of its listeners, with the
// generation that they are of.
func (r *rig) programmed() string {
	r.Helper()
	s := r.status()
	var out []string
	add := func(name string, list []string) { out = append(out, name+" "+strings.Join(list, " ")) }
	c := find(s.Conditions, programmed)
	add("gateway", []string{string(c.Status), c.Reason, fmt.Sprint(c.ObservedGeneration)})
	for _, l := range s.Listeners {
		c := find(l.Conditions, programmed)
		add(string(l.Name), []string{string(c.Status), c.Reason, fmt.Sprint(c.ObservedGeneration)})
	}
	return strings.Join(out, ", ")
}

func (r *rig) expectProgrammed(want string) {
	r.Helper()
	if got := r.programmed(); got != want {
		r.Errorf("%s, want %s", got, want)
	}
}

// Law 5: Programmed is what pods have acknowledged. A new Gateway is accepted
// at once, and Programmed when it is.
func TestNewGateway(t *testing.T) {
	both(t, func(r *rig) {
		r.gateway()
		r.fleet("1")
		r.writer.Provisioned(provision.State{Gateway: edge, Trouble: &provision.Trouble{Reason: "Pending", Message: "no pod is ready yet"}})
		r.writer.Report(report(edge, 1, "+"))
		r.settle()
		r.expectProgrammed("gateway False Pending 1, a False Pending 1")
		r.fleet("1", "1")
		r.provisioned()
		time.Sleep(time.Second)
		r.expectProgrammed("gateway True Programmed 1, a True Programmed 1")
		if got := r.status().Addresses; len(got) != 1 || got[0].Value != "192.0.2.1" {
			r.Errorf("addresses %v, want 192.0.2.1", got)
		}
		if got := r.server.Writes(); len(got) != 2 {
			r.Errorf("%d writes, want 2", len(got))
		}
	})
}

// An edit's status is written when the fleet has acknowledged, in one write.
func TestEditWaitsForTheFleet(t *testing.T) {
	both(t, func(r *rig) {
		r.gateway()
		r.fleet("1", "1", "1")
		r.provisioned()
		r.writer.Report(report(edge, 1, "+"))
		time.Sleep(time.Second)
		r.server.Requests()

		r.edited(2)
		r.fleet("2", "1", "1")
		r.writer.Report(report(edge, 2, "+"))
		r.settle()
		r.expectProgrammed("gateway True Programmed 1, a True Programmed 1")
		r.fleet("2", "2", "1")
		time.Sleep(time.Second)
		r.expectProgrammed("gateway True Programmed 1, a True Programmed 1")
		r.fleet("2", "2", "2")
		r.settle()
		r.expectProgrammed("gateway True Programmed 2, a True Programmed 2")
		if got := r.server.Writes(); len(got) != 1 {
			r.Errorf("%d writes, want 1", len(got))
		}
	})
}

func TestEditThatIsNotAcknowledged(t *testing.T) {
	both(t, func(r *rig) {
		r.gateway()
		r.fleet("1", "1")
		r.provisioned()
		r.writer.Report(report(edge, 1, "+"))
		time.Sleep(time.Second)
		r.edited(2)
		r.fleet("2", "1")
		r.writer.Report(report(edge, 2, "+"))
		time.Sleep(1600 * time.Millisecond)
		r.expectProgrammed("gateway False Pending 2, a False Pending 2")
		if got := find(r.status().Conditions, programmed).Message; !strings.Contains(got, "not in force on all pods: a") {
			r.Errorf("message %q", got)
		}
		r.fleet("2", "2")
		time.Sleep(time.Second)
		r.expectProgrammed("gateway True Programmed 2, a True Programmed 2")
	})
}

// What comes and goes in a fleet's life does not undo what was Programmed.
func TestProgrammedStays(t *testing.T) {
	both(t, func(r *rig) {
		r.gateway()
		r.fleet("1", "1")
		r.provisioned()
		r.writer.Report(report(edge, 1, "+"))
		time.Sleep(time.Second)
		since := find(r.status().Conditions, programmed).LastTransitionTime
		r.server.Requests()
		for _, pods := range [][]string{{"1", ""}, {"1", "0"}, {"1"}, {}, {"1"}} {
			r.fleet("1", pods...)
			time.Sleep(5 * time.Second)
		}
		r.fleet("2", "1") // a certificate is renewed
		time.Sleep(5 * time.Second)
		if got := r.server.Writes(); len(got) > 0 {
			r.Errorf("writes: %v", got)
		}
		r.stop()
		r.run() // nor does the next leader
		time.Sleep(5 * time.Second)
		r.expectProgrammed("gateway True Programmed 1, a True Programmed 1")
		if got := find(r.status().Conditions, programmed).LastTransitionTime; !got.Equal(&since) {
			r.Errorf("lastTransitionTime moved from %v to %v", since, got)
		}
		r.writer.Provisioned(provision.State{Gateway: edge, Trouble: &provision.Trouble{Reason: "NoResources", Message: "0 replicas"}})
		time.Sleep(5 * time.Second)
		r.expectProgrammed("gateway False NoResources 1, a False Pending 1")
	})
}

// A ListenerSet hangs on its Gateway's fleet.
func TestListenerSet(t *testing.T) {
	both(t, func(r *rig) {
		r.gateway()
		r.server.Apply(`{kind: ListenerSet, metadata: {name: extra, namespace: shop}, spec: {}}`)
		r.writer.Report(report(extra, 1, "+"))
		r.settle()
		r.provisioned()
		r.mu.Lock()
		r.wanted = wants(extra, "1")
		r.pods = []feed.PodState{pod(extra, "1")}
		r.mu.Unlock()
		r.writer.FleetChanged("shop/edge")
		time.Sleep(2 * time.Second)
		set := r.server.Object("ListenerSet", "shop", "extra")
		text := fmt.Sprint(set["status"])
		if strings.Count(text, "type:Programmed") != 2 || strings.Contains(text, "status:False") {
			r.Errorf("status is %s, want Programmed", text)
		}
	})
}

// gateway-api-bench, attached-routes: 1,000 routes, and the right count within
// a second of the last, by 50 writes of the Gateway at most.
func TestAttachedRoutes(t *testing.T) {
	const routes = 1000
	bubble(t, true, func(r *rig) {
		r.gateway()
		r.fleet("1", "1")
		r.provisioned()
		attached := func(n int) {
			g := report(edge, 1, "+")
			g.Listeners[0].AttachedRoutes = int32(n)
			r.writer.Report(g)
		}
		attached(0)
		time.Sleep(2 * time.Second)
		r.server.Requests()
		for i := range routes { // as fast as kubectl and the API server are
			name := fmt.Sprintf("route-%d", i)
			r.route(name, 1)
			r.writer.Report(routeReport(name, 1, "True", "edge"))
			attached(i + 1)
			time.Sleep(5 * time.Millisecond)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if got := r.status().Listeners[0].AttachedRoutes; got != routes {
			r.Errorf("%d attached routes a second later, want %d", got, routes)
		}
		count := map[string]int{}
		for _, w := range r.server.Writes() {
			count[w.Path]++
			if n := count[w.Path]; n > 1 && strings.Contains(w.Path, "httproutes") {
				r.Errorf("%s: %d writes, want 1", w.Path, n)
			}
		}
		writes := count["/apis/gateway.networking.k8s.io/v1/namespaces/shop/gateways/edge/status"]
		r.Logf("%d writes of the Gateway in all", writes)
		if writes > 50 {
			r.Errorf("%d writes of the Gateway, want 50 at most", writes)
		}
		if len(count) != routes+1 {
			r.Errorf("%d objects written, want %d", len(count), routes+1)
		}
	})
}

// A Gateway's status does not stand behind that of thousands of routes.
func TestGatewaysGoFirst(t *testing.T) {
	bubble(t, true, func(r *rig) {
		r.gateway()
		r.fleet("1", "1")
		r.provisioned()
		for i := range 1500 {
			name := fmt.Sprintf("route-%d", i)
			r.route(name, 1)
			r.writer.Report(routeReport(name, 1, "True", "edge"))
		}
		time.Sleep(time.Millisecond)
		r.writer.Report(report(edge, 1, "+"))
		r.settle()
		time.Sleep(100 * time.Millisecond)
		r.expectProgrammed("gateway True Programmed 1, a True Programmed 1")
		before := len(r.server.Writes())
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if all := before + len(r.server.Writes()); all != 1501 || before > 1000 {
			r.Errorf("%d writes at first, %d in all, want 1501, of which 400 a second after the first 800", before, all)
		}
	})
}

// Acknowledgements of what is Programmed already cost next to nothing, with
// many ListenerSets too; a port that no pod can bind is seen all the same.
func TestAcknowledgementsAreCheap(t *testing.T) {
	bubble(t, true, func(r *rig) {
		var looked atomic.Int64
		r.gateway()
		r.fleet("1", "1")
		r.provisioned()
		r.writer.Report(report(edge, 1, "+"))
		for i := range 300 {
			set := report(extra, 1, "")
			set.Object.Name = fmt.Sprintf("set-%d", i)
			r.server.Apply(fmt.Sprintf(`{kind: ListenerSet, metadata: {name: set-%d, namespace: shop}, spec: {}}`, i))
			r.writer.Report(set)
		}
		time.Sleep(20 * time.Second)
		synctest.Wait()
		r.server.Requests()
		watched := r.writer.o.Object
		r.writer.o.Object = func(k routing.ObjectKey) any { looked.Add(1); return watched(k) }
		for range 100 {
			r.fleet("2", "1")
			r.fleet("2", "2")
			time.Sleep(20 * time.Millisecond)
		}
		time.Sleep(time.Second)
		if n := looked.Load(); n > 0 {
			r.Errorf("objects were looked at %d times", n)
		}
		r.fleet("2", "!")
		time.Sleep(time.Second)
		r.expectProgrammed("gateway False Invalid 1, a False PortUnavailable 1")
		r.fleet("2", "2")
		time.Sleep(time.Second)
		r.expectProgrammed("gateway True Programmed 1, a True Programmed 1")
	})
}

// Changes of one object are written in their order, the last one last.
func TestOrderIsKept(t *testing.T) {
	both(t, func(r *rig) {
		r.route("cart", 1)
		for generation := range int64(200) {
			r.server.Edit("somebody", "HTTPRoute", "shop", "cart", func(o apitest.Object) {
				o["metadata"].(apitest.Object)["generation"] = float64(generation + 1)
			})
			r.writer.Report(routeReport("cart", generation+1, []string{"True", "False"}[generation%2], "edge"))
			time.Sleep(time.Duration(generation) * time.Millisecond)
		}
		time.Sleep(time.Second)
		r.expect("cart", "ours edge False@200")
		var last float64
		for _, w := range r.server.Writes() {
			if w.Code != 200 {
				continue
			}
			var patch []struct{ Value json.RawMessage }
			var status struct {
				Parents []struct {
					Conditions []struct{ ObservedGeneration float64 }
				}
			}
			if err := json.Unmarshal([]byte(w.Body), &patch); err != nil {
				r.Fatal(err)
			}
			if err := json.Unmarshal(patch[2].Value, &status); err != nil {
				r.Fatal(err)
			}
			now := status.Parents[0].Conditions[0].ObservedGeneration
			if now <= last {
				r.Errorf("generation %v was written after %v", now, last)
			}
			last = now
		}
	})
}
