package status

import (
	"encoding/json"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing/gatewayapi"
)

// orphaned reports whether r is of a ListenerSet whose Gateway is not there:
// nobody can tell whose it would be.
func orphaned(r *gatewayapi.Report) bool {
	return r.Object.Kind == "ListenerSet" && !r.Gone && r.Gateway.Name == ""
}

// orphan takes back what we said of a ListenerSet while it had a Gateway: its
// status is again the one that it was created with. What another controller
// said last is that one's to take back; whose it is, the API server knows.
func (d *document) orphan(r *gatewayapi.Report, k *known) next {
	var have []metav1.Condition
	d.get("conditions", &have)
	said := func(c metav1.Condition) bool {
		return slices.Contains(ours(r.Object.Kind), c.Type) && c.Status != metav1.ConditionUnknown
	}
	switch {
	case !slices.ContainsFunc(have, said):
		return next{settled: true}
	case !k.answered:
		return next{stale: true} // a watched object does not tell who wrote it
	case !k.ours:
		return next{settled: true}
	}
	var want []metav1.Condition
	for _, kind := range ours(r.Object.Kind) {
		want = append(want, metav1.Condition{
			Type: kind, Status: metav1.ConditionUnknown, Reason: string(gatewayv1.ListenerSetReasonPending),
			ObservedGeneration: k.generation, Message: "the Gateway that spec.parentRef names is not there",
		})
	}
	if d.conditions(want, r.Object.Kind) {
		return next{stale: true}
	}
	d.set("listeners", nil, false)
	return next{settled: true}
}

// wroteConditions reports whether status.conditions are as we wrote them, by
// metadata.managedFields: they are another's once that one has changed them.
func wroteConditions(managed []metav1.ManagedFieldsEntry) bool {
	return slices.ContainsFunc(managed, func(e metav1.ManagedFieldsEntry) bool {
		if e.Manager != fieldManager || e.Subresource != "status" || e.FieldsV1 == nil {
			return false
		}
		var fields struct {
			Status struct {
				Conditions map[string]map[string]json.RawMessage `json:"f:conditions"`
			} `json:"f:status"`
		}
		if json.Unmarshal([]byte(e.FieldsV1.GetRawString()), &fields) != nil {
			return false
		}
		for _, condition := range fields.Status.Conditions {
			if _, ok := condition["f:status"]; ok {
				return true
			}
		}
		return false
	})
}
