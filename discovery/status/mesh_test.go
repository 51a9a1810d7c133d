package status

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairway.dev/discovery/apitest"
	"fairway.dev/discovery/feed"
	"fairway.dev/discovery/provision"
	"fairway.dev/routing"
	"fairway.dev/routing/gatewayapi"
	"fairway.dev/routing/istio"
)

var reviews = routing.ObjectKey{Kind: istio.KindVirtualService, Namespace: "shop", Name: "reviews"}

// virtualService makes VirtualService shop/reviews, with a status.
func (r *rig) virtualService(generation int, status string) {
	r.server.Apply(fmt.Sprintf(`{kind: VirtualService, metadata: {name: reviews, namespace: shop, generation: %d}, spec: {hosts: [reviews]}, status: %s}`, generation, status))
}

func meshReport(generation int64, accepted metav1.ConditionStatus, problems ...*routing.Problem) gatewayapi.Report {
	return gatewayapi.Report{
		Object: reviews, Problems: problems,
		Conditions: []metav1.Condition{{Type: "Accepted", Status: accepted, Reason: "Accepted", ObservedGeneration: generation}},
	}
}

// has says what pods should have in force, and have.
func (r *rig) has(version string, pods ...string) {
	r.mu.Lock()
	r.version, r.pods = version, nil
	for i, v := range pods {
		r.pods = append(r.pods, feed.PodState{Pod: fmt.Sprint("shop/pod-", i), Gateway: "shop/edge", Version: v})
	}
	r.mu.Unlock()
	r.writer.FleetChanged("shop/edge")
}

// said are the conditions of the VirtualService, in a line.
func (r *rig) said() string {
	r.Helper()
	var status struct {
		ObservedGeneration any
		Conditions         []struct {
			Type, Status, Reason, Message string
			ObservedGeneration            any
		}
		ValidationMessages []struct {
			Type  struct{ Name, Code string }
			Level string
		}
	}
	data, err := json.Marshal(r.server.Object("VirtualService", "shop", "reviews")["status"])
	if err == nil {
		err = json.Unmarshal(data, &status)
	}
	if err != nil {
		r.Fatal(err)
	}
	var out []string
	for _, c := range status.Conditions {
		text := fmt.Sprintf("%s=%s@%v", c.Type, c.Status, c.ObservedGeneration)
		if c.Message != "" {
			text += " (" + c.Message + ")"
		}
		out = append(out, text)
	}
	for _, m := range status.ValidationMessages {
		out = append(out, m.Level+" "+m.Type.Code)
	}
	if status.ObservedGeneration != nil {
		out = append(out, fmt.Sprint("generation ", status.ObservedGeneration))
	}
	return strings.Join(out, ", ")
}

func (r *rig) expectSaid(want string) {
	r.Helper()
	if got := r.said(); got != want {
		r.Errorf("status says\n%s, want\n%s", got, want)
	}
}

// Law 5: Programmed is what pods have acknowledged, all that they are to have.
func TestMeshObjectWaitsForTheFleet(t *testing.T) {
	both(t, func(r *rig) {
		r.virtualService(1, "{}")
		r.has("v1", "v0", "v1", "")
		r.writer.Provisioned(provision.State{Gateway: edge, Ready: 2})
		r.writer.Report(meshReport(1, "True"))
		r.settle()
		r.expectSaid("") // it waits: the fleet may answer soon
		time.Sleep(2 * time.Second)
		r.expectSaid("fairway.dev/Accepted=True@1, fairway.dev/Programmed=False@1 (1 of 2 pods have it in force), generation 1")
		r.has("v1", "v1", "v1", "")
		time.Sleep(time.Second)
		r.expectSaid("fairway.dev/Accepted=True@1, fairway.dev/Programmed=True@1, generation 1")

		// What comes later does not undo it, for that generation.
		r.server.Requests()
		r.has("v2", "v1", "v1", "")
		time.Sleep(3 * time.Second)
		if n := len(r.server.Writes()); n != 0 {
			r.Errorf("%d writes, want none", n)
		}
		r.server.Edit("kubectl", "VirtualService", "shop", "reviews", func(o apitest.Object) { o["metadata"].(apitest.Object)["generation"] = 2.0 })
		r.writer.Report(meshReport(2, "True"))
		time.Sleep(3 * time.Second)
		r.expectSaid("fairway.dev/Accepted=True@2, fairway.dev/Programmed=False@2 (0 of 2 pods have it in force), generation 2")
	})
}

// Others write there, too: istiod, with protobuf's JSON. Theirs stays as it is.
func TestMeshStatusOfOthers(t *testing.T) {
	both(t, func(r *rig) {
		r.virtualService(3, `{observedGeneration: "3",
			conditions: [{type: Reconciled, status: "True", observedGeneration: "3", later: x},
				{type: fairway.dev/Accepted, status: "True", observedGeneration: "2", lastTransitionTime: "2026-01-02T03:04:05Z"}],
			validationMessages: [{type: {name: HostNotFound, code: IST0101}, level: ERROR}, {type: {name: Old, code: fairway.dev/Old}, level: INFO}]}`)
		r.writer.Provisioned(provision.State{Gateway: edge, Ready: 1})
		r.has("v1", "v1")
		r.writer.Report(meshReport(3, "True",
			&routing.Problem{Origin: reviews.Origin().At("spec.hosts[0]"), Reason: "HostConflict", Level: routing.Warning, Err: errors.New("VirtualService shop/other has it"), Fix: "take it out of one"},
			&routing.Problem{Origin: reviews.Origin().At("spec.http[0]"), Reason: "HostConflict", Level: routing.Warning, Err: errors.New("again")}))
		time.Sleep(time.Second)
		r.expectSaid("Reconciled=True@3, fairway.dev/Accepted=True@3 (warning spec.hosts[0]: HostConflict: VirtualService shop/other has it; take it out of one\n" +
			"warning spec.http[0]: HostConflict: again), fairway.dev/Programmed=True@3, ERROR IST0101, WARNING fairway.dev/HostConflict, generation 3")
		status, err := json.Marshal(r.server.Object("VirtualService", "shop", "reviews")["status"])
		if text := string(status); err != nil || !strings.Contains(text, `"later":"x"`) || !strings.Contains(text, `2026-01-02T03:04:05Z`) {
			r.Errorf("status %s: want what others say, and since when ours holds", status)
		}
		r.server.Requests()
		r.writer.Changed(reviews)
		time.Sleep(time.Second)
		if n := len(r.server.Writes()); n != 0 {
			r.Errorf("%d writes of what is there already", n)
		}
	})
}

// What is refused is Programmed nowhere, and a pod's Problem is the reason.
func TestMeshObjectNotInForce(t *testing.T) {
	both(t, func(r *rig) {
		r.virtualService(1, "{}")
		r.writer.Provisioned(provision.State{Gateway: edge, Ready: 1})
		r.has("v1", "v1")
		r.writer.Report(meshReport(1, "False"))
		time.Sleep(time.Second)
		r.expectSaid("fairway.dev/Accepted=False@1, generation 1")
		r.mu.Lock()
		r.pods[0].Problems = []*routing.Problem{{Origin: reviews.Origin().At("spec.http[0]"), Reason: "InvalidMatch", Err: errors.New("no")}}
		r.mu.Unlock()
		r.writer.Report(meshReport(1, "True"))
		time.Sleep(3 * time.Second)
		r.expectSaid("fairway.dev/Accepted=True@1, fairway.dev/Programmed=False@1 (pod shop/pod-0: no), generation 1")
	})
}

// A Gateway of Istio's is in force where the pods of its listeners' Gateways
// have it, whatever others have.
func TestMeshGatewayConcernsItsFleet(t *testing.T) {
	both(t, func(r *rig) {
		r.virtualService(1, "{}")
		other := routing.ObjectKey{Kind: "Gateway", Namespace: "shop", Name: "other"}
		r.writer.Provisioned(provision.State{Gateway: other, Ready: 1})
		r.has("v1", "v1")
		report := meshReport(1, "True")
		report.Names = []routing.ListenerName{"shop/edge/http"}
		r.writer.Report(report)
		time.Sleep(3 * time.Second)
		r.expectSaid("fairway.dev/Accepted=True@1, fairway.dev/Programmed=False@1 (no pod of a Gateway is ready), generation 1")
		r.writer.Provisioned(provision.State{Gateway: edge, Ready: 1})
		time.Sleep(time.Second)
		r.expectSaid("fairway.dev/Accepted=True@1, fairway.dev/Programmed=True@1, generation 1")
	})
}

// A finding is said once, with the field that it is of, if it is of one.
func TestFindingsInAMessage(t *testing.T) {
	whole := &routing.Problem{Reason: "UnsupportedKind", Err: errors.New("no"), Fix: "do this"}
	part := &routing.Problem{Origin: routing.Origin{Field: "spec.hosts[0]"}, Reason: "HostNotFound", Level: routing.Info, Err: errors.New("gone")}
	many := make([]*routing.Problem, 25)
	for i := range many {
		many[i] = part
	}
	tests := []struct {
		message  string
		problems []*routing.Problem
		want     string
	}{
		{"", nil, ""},
		{"no", nil, "no"},
		{"no", []*routing.Problem{whole, part}, "error: UnsupportedKind: no; do this\ninfo spec.hosts[0]: HostNotFound: gone"},
		{"other", []*routing.Problem{part}, "other\ninfo spec.hosts[0]: HostNotFound: gone"},
		{"", many, strings.Repeat("info spec.hosts[0]: HostNotFound: gone\n", 20) + "and 5 more"},
	}
	for _, tt := range tests {
		if got := withFindings(tt.message, tt.problems); got != tt.want {
			t.Errorf("withFindings(%q, %d problems) = %q, want %q", tt.message, len(tt.problems), got, tt.want)
		}
	}
}
