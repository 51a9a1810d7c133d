package status

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/discovery/apitest"
	"fairway.dev/routing/gatewayapi"
)

// accepted is metadata.managedFields of who wrote status.conditions[Accepted].
func accepted(by, subresource string) []any {
	return []any{apitest.Object{
		"manager": by, "operation": "Update", "subresource": subresource, "apiVersion": "gateway.networking.k8s.io/v1", "fieldsType": "FieldsV1",
		"fieldsV1": apitest.Object{"f:status": apitest.Object{"f:conditions": apitest.Object{
			".": apitest.Object{}, `k:{"type":"Accepted"}`: apitest.Object{".": apitest.Object{}, "f:status": apitest.Object{}},
		}}},
	}}
}

// What was said of a ListenerSet does not outlive its Gateway, if it was us who
// said it. Who leads now need not be who wrote it.
func TestListenerSetWhoseGatewayIsGone(t *testing.T) {
	const said = `{type: %s, status: "True", reason: %s, observedGeneration: 2, lastTransitionTime: "2026-01-01T00:00:00Z"}`
	tests := []struct {
		name    string
		managed []any
		want    string
		writes  int
	}{
		{"ours", accepted(fieldManager, "status"), "Accepted Unknown Pending@2, Programmed Unknown Pending@2, theirs True Said@2", 1},
		{"another's by now", accepted("other", "status"), "Accepted True Accepted@2, Programmed True Programmed@2, theirs True Said@2", 0},
		{"nobody's that is known", nil, "Accepted True Accepted@2, Programmed True Programmed@2, theirs True Said@2", 0},
		{"of a part that is no status", accepted(fieldManager, ""), "Accepted True Accepted@2, Programmed True Programmed@2, theirs True Said@2", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			both(t, func(r *rig) {
				r.server.Apply(`{kind: ListenerSet, metadata: {name: extra, namespace: shop, generation: 2}, spec: {parentRef: {name: edge}}, status: {conditions: [` +
					fmt.Sprintf(said, "Accepted", "Accepted") + `, ` + fmt.Sprintf(said, "Programmed", "Programmed") + `, ` + fmt.Sprintf(said, "theirs", "Said") +
					`], listeners: [{name: https, attachedRoutes: 3, supportedKinds: [], conditions: []}]}}`)
				r.server.Edit("", "ListenerSet", "shop", "extra", func(o apitest.Object) { o["metadata"].(apitest.Object)["managedFields"] = tt.managed })
				r.writer.Report(gatewayapi.Report{Object: extra})
				time.Sleep(time.Second)
				r.writer.Changed(extra)
				time.Sleep(time.Second)
				if n := len(r.server.Writes()); n != tt.writes {
					t.Errorf("%d writes, want %d", n, tt.writes)
				}
				var s gatewayv1.ListenerSetStatus
				data, err := json.Marshal(r.server.Object("ListenerSet", "shop", "extra")["status"])
				if err == nil {
					err = json.Unmarshal(data, &s)
				}
				got := ""
				for i, c := range s.Conditions {
					if i > 0 {
						got += ", "
					}
					got += fmt.Sprintf("%s %s %s@%d", c.Type, c.Status, c.Reason, c.ObservedGeneration)
				}
				if err != nil || got != tt.want || (len(s.Listeners) == 0) != (tt.writes > 0) {
					t.Errorf("%v, conditions %s, %d listeners; want %s", err, got, len(s.Listeners), tt.want)
				}
			})
		})
	}
}

// One that nobody has said anything of costs no request.
func TestListenerSetThatNeverHadAGateway(t *testing.T) {
	bubble(t, true, func(r *rig) {
		r.server.Apply(`{kind: ListenerSet, metadata: {name: extra, namespace: shop}, spec: {parentRef: {name: edge}},
			status: {conditions: [{type: Accepted, status: Unknown, reason: Pending, lastTransitionTime: "1970-01-01T00:00:00Z"}]}}`)
		r.writer.Report(gatewayapi.Report{Object: extra})
		time.Sleep(time.Second)
		if got := r.server.Requests(); len(got) > 0 {
			t.Errorf("requests: %v", got)
		}
	})
}
