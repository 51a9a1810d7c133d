package status

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/discovery/feed"
	"fairway.dev/discovery/provision"
	"fairway.dev/routing"
	"fairway.dev/routing/gatewayapi"
)

var (
	edge  = routing.ObjectKey{Kind: "Gateway", Namespace: "shop", Name: "edge"}
	extra = routing.ObjectKey{Kind: "ListenerSet", Namespace: "shop", Name: "extra"}
)

// report is that of an object with listeners a, b, ... at a generation: "+" is
// one that can be served, "-" one that cannot.
func report(of routing.ObjectKey, generation int64, listeners string) gatewayapi.Report {
	r := gatewayapi.Report{Object: of}
	if of == extra {
		r.Gateway = edge
	}
	whole := metav1.Condition{Type: programmed, Status: "False", Reason: "Invalid", ObservedGeneration: generation}
	for i, l := range listeners {
		name := string(rune('a' + i))
		c := metav1.Condition{Type: programmed, Status: "True", Reason: programmed, ObservedGeneration: generation}
		spec := routing.ListenerName(of.Namespace + "/" + of.Name + "/" + name)
		if l == '+' {
			whole.Status, whole.Reason = "True", programmed
		} else {
			c.Status, c.Reason, spec = "False", "Invalid", ""
		}
		r.Names = append(r.Names, spec)
		r.Listeners = append(r.Listeners, gatewayv1.ListenerStatus{Name: gatewayv1.SectionName(name), Conditions: []metav1.Condition{
			{Type: "Accepted", Status: "True", Reason: "Accepted", ObservedGeneration: generation}, c,
		}})
	}
	r.Conditions = []metav1.Condition{{Type: "Accepted", Status: "True", Reason: "Accepted", ObservedGeneration: generation}, whole}
	return r
}

// wants are the versions of the listeners a, b, ... of an object.
func wants(of routing.ObjectKey, versions string) map[routing.ListenerName]string {
	out := map[routing.ListenerName]string{}
	for i, v := range strings.Fields(versions) {
		out[routing.ListenerName(fmt.Sprintf("%s/%s/%c", of.Namespace, of.Name, 'a'+i))] = v
	}
	return out
}

// pod is one that has those versions in force; with none it has not answered.
// "!" is a listener whose port it cannot bind.
func pod(of routing.ObjectKey, versions string) feed.PodState {
	p := feed.PodState{Pod: "shop/pod", Gateway: "shop/edge", Listeners: map[routing.ListenerName]string{}}
	for i, v := range strings.Fields(versions) {
		p.Version = "some"
		if v != "!" {
			p.Listeners[routing.ListenerName(fmt.Sprintf("%s/%s/%c", of.Namespace, of.Name, 'a'+i))] = v
			continue
		}
		p.Problems = append(p.Problems, &routing.Problem{
			Origin: of.Origin().At(fmt.Sprintf("spec.listeners[%d].port", i)), Reason: "PortUnavailable", Err: errors.New("listen: in use"),
		})
	}
	return p
}

func TestProgrammed(t *testing.T) {
	ready := &provision.State{Ready: 1}
	starting := &provision.State{Trouble: &provision.Trouble{Reason: "Pending", Message: "no pod is ready yet"}}
	unassigned := &provision.State{Ready: 1, Trouble: &provision.Trouble{Reason: "AddressNotAssigned", Message: "no address"}}
	tests := []struct {
		name      string
		of        routing.ObjectKey
		listeners string
		infra     *provision.State
		wanted    string
		pods      []string
		before    string // Programmed at this generation: "*" the whole, a, b, ... listeners
		want      string // the whole, then the listeners: reasons
		pending   bool
	}{
		{"acknowledged", edge, "+", ready, "1", []string{"1"}, "", "Programmed: Programmed", false},
		{"an older version", edge, "+", ready, "2", []string{"1"}, "", "Pending: Pending", true},
		{"one pod of two", edge, "+", ready, "2", []string{"2", "1"}, "", "Pending: Pending", true},
		{"both pods", edge, "+", ready, "2", []string{"2", "2"}, "", "Programmed: Programmed", false},
		{"one that starts does not count", edge, "+", ready, "2", []string{"2", ""}, "", "Programmed: Programmed", false},
		{"only one that starts", edge, "+", ready, "2", []string{""}, "", "Pending: Pending", true},
		{"no pod is connected", edge, "+", ready, "2", nil, "", "Pending: Pending", true},
		{"the feed does not know it yet", edge, "+", ready, "", []string{"1"}, "", "Pending: Pending", true},
		{"listener by listener", edge, "++", ready, "2 2", []string{"2 1"}, "", "Pending: Programmed Pending", true},
		{"one that cannot be served", edge, "+-", ready, "1", []string{"1"}, "", "Programmed: Programmed Invalid", false},
		{"none that can be served", edge, "-", ready, "", []string{"1"}, "", "Invalid: Invalid", false},

		{"acknowledged, and no pod is ready", edge, "+", starting, "1", []string{"1"}, "", "Pending: Pending", false},
		{"it was, and no pod is ready any more", edge, "+", starting, "1", []string{"1"}, "*a", "Pending: Pending", false},
		{"acknowledged, and no address", edge, "+", unassigned, "1", []string{"1"}, "", "AddressNotAssigned: Programmed", false},
		{"provisioning has yet to look", edge, "+", nil, "1", []string{"1"}, "", "Pending: Pending", true},
		{"it was, and the leader is new", edge, "+", nil, "1", nil, "*a", "Programmed: Programmed", true},

		{"it was: a new version", edge, "+", ready, "2", []string{"1"}, "*a", "Programmed: Programmed", false},
		{"it was: pods come back", edge, "+", ready, "1", nil, "*a", "Programmed: Programmed", false},
		{"it was: one of two", edge, "++", ready, "1 1", []string{"1 0"}, "*a", "Programmed: Programmed Pending", true},

		{"no pod can bind", edge, "+", ready, "1", []string{"!"}, "", "Invalid: PortUnavailable", false},
		{"one pod cannot bind", edge, "+", ready, "1", []string{"!", "1"}, "", "Invalid: PortUnavailable", false},
		{"it was: one pod cannot bind", edge, "+", ready, "1", []string{"!", "1"}, "*a", "Programmed: Programmed", false},
		{"it was: no pod can bind", edge, "+", ready, "1", []string{"!", "!"}, "*a", "Invalid: PortUnavailable", false},
		{"one of two ports", edge, "++", ready, "1 1", []string{"! 1"}, "", "Programmed: PortUnavailable Programmed", false},

		{"a set", extra, "+", ready, "1", []string{"1"}, "", "Programmed: Programmed", false},
		{"a set that waits", extra, "+", ready, "2", []string{"1"}, "", "Pending: Pending", true},
		{"a set without an address", extra, "+", unassigned, "1", []string{"1"}, "", "ParentNotProgrammed: Programmed", false},
		{"a set's port", extra, "++", ready, "1 1", []string{"1 !"}, "", "Programmed: Programmed PortUnavailable", false},
	}
	for _, tt := range tests {
		f := &facts{infra: tt.infra, wanted: wants(tt.of, tt.wanted)}
		for _, p := range tt.pods {
			f.fleet.Pods = append(f.fleet.Pods, pod(tt.of, p))
		}
		r := report(tt.of, 3, tt.listeners)
		var before []metav1.Condition
		was := metav1.Condition{Type: programmed, Status: "True", ObservedGeneration: 3}
		if strings.Contains(tt.before, "*") {
			before = append(before, was)
		}
		var listeners []gatewayv1.ListenerStatus
		for _, l := range r.Listeners {
			if strings.Contains(tt.before, string(l.Name)) {
				listeners = append(listeners, gatewayv1.ListenerStatus{Name: l.Name, Conditions: []metav1.Condition{was}})
			}
		}
		h := f.hold(&r, before, listeners)
		var parts []string
		for _, l := range h.listeners {
			parts = append(parts, reasonOf(t, l.Conditions))
		}
		got := reasonOf(t, h.conditions) + ": " + strings.Join(parts, " ")
		if got != tt.want || h.pending != tt.pending {
			t.Errorf("%s: %s (worth waiting: %v), want %s (%v)", tt.name, got, h.pending, tt.want, tt.pending)
		}
	}
}

// reasonOf is Programmed's, which fits its status.
func reasonOf(t *testing.T, list []metav1.Condition) string {
	t.Helper()
	c := find(list, programmed)
	if (c.Reason == programmed) != (c.Status == metav1.ConditionTrue) {
		t.Errorf("Programmed=%s with reason %s", c.Status, c.Reason)
	}
	return c.Reason
}

// A Gateway that serves ListenerSets alone.
func TestGatewayOfSetsAlone(t *testing.T) {
	r := report(edge, 1, "")
	r.Conditions[1] = metav1.Condition{Type: programmed, Status: "True", Reason: programmed, ObservedGeneration: 1}
	f := &facts{infra: &provision.State{Ready: 1}, wanted: wants(extra, "1")}
	if got := reasonOf(t, f.hold(&r, nil, nil).conditions); got != "Pending" {
		t.Errorf("before a pod has the set's listener: %s, want Pending", got)
	}
	f.fleet.Pods = []feed.PodState{pod(extra, "1")}
	if got := reasonOf(t, f.hold(&r, nil, nil).conditions); got != programmed {
		t.Errorf("when a pod has the set's listener: %s, want Programmed", got)
	}
}

// Another generation has to be acknowledged anew.
func TestProgrammedIsOfAGeneration(t *testing.T) {
	f := &facts{infra: &provision.State{Ready: 1}, wanted: wants(edge, "2"), fleet: feed.Fleet{Pods: []feed.PodState{pod(edge, "1")}}}
	r := report(edge, 4, "+")
	was := []metav1.Condition{{Type: programmed, Status: "True", ObservedGeneration: 3}}
	h := f.hold(&r, was, []gatewayv1.ListenerStatus{{Name: "a", Conditions: was}})
	if got := reasonOf(t, h.conditions); got != "Pending" || !h.pending {
		t.Errorf("generation 4 is %s, want Pending until it is acknowledged", got)
	}
}

func TestReportIsNotChanged(t *testing.T) {
	r, again := report(edge, 1, "++"), report(edge, 1, "++")
	f := &facts{infra: &provision.State{}}
	f.hold(&r, nil, nil)
	if fmt.Sprint(r) != fmt.Sprint(again) {
		t.Errorf("the Report became %v", r)
	}
}
