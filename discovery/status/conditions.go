package status

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing/gatewayapi"
)

// reason is what metav1.Condition.reason may be, up to maxReason bytes.
var reason = regexp.MustCompile(`^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$`)

const maxReason = 1024

// maxMessage is how long metav1.Condition.message may be.
const maxMessage = 32768

// ours are the types of conditions, of whole objects, that nobody else writes.
// Others' stay as they are, ours that do not hold any longer go.
func ours(kind string) []string {
	switch kind {
	case kindService:
		return []string{gatewayapi.ConditionWaypointBound}
	case "GatewayClass":
		return []string{string(gatewayv1.GatewayClassConditionStatusAccepted), string(gatewayv1.GatewayClassConditionStatusSupportedVersion)}
	case "Gateway":
		return []string{
			string(gatewayv1.GatewayConditionAccepted), string(gatewayv1.GatewayConditionProgrammed),
			string(gatewayv1.GatewayConditionResolvedRefs), string(gatewayv1.GatewayConditionInsecureFrontendValidationMode),
		}
	}
	return []string{string(gatewayv1.ListenerSetConditionAccepted), string(gatewayv1.ListenerSetConditionProgrammed)}
}

// stamped is want with the times of its transitions: where the status is what
// it was, the time is, too.
func stamped(have, want []metav1.Condition, now metav1.Time) []metav1.Condition {
	out := make([]metav1.Condition, len(want))
	for i, c := range want {
		c.LastTransitionTime = now
		if old := find(have, c.Type); old != nil && old.Status == c.Status {
			c.LastTransitionTime = old.LastTransitionTime
		}
		if len(c.Reason) > maxReason || !reason.MatchString(c.Reason) { // a pod's word; the API server would refuse the whole status
			c.Reason = string(gatewayv1.GatewayReasonInvalid)
		}
		if len(c.Message) > maxMessage {
			c.Message = strings.ToValidUTF8(c.Message[:maxMessage-3], "") + "..."
		}
		out[i] = c
	}
	return out
}

func find(list []metav1.Condition, kind string) *metav1.Condition {
	for i := range list {
		if list[i].Type == kind {
			return &list[i]
		}
	}
	return nil
}

// mergeConditions returns the conditions of a whole object: want, in the
// places of those of ours that there are, and others' as they were.
func mergeConditions(have []json.RawMessage, want []metav1.Condition, types []string, now metav1.Time) ([]json.RawMessage, error) {
	parsed := make([]metav1.Condition, len(have))
	for i, raw := range have {
		if err := json.Unmarshal(raw, &parsed[i]); err != nil {
			return nil, fmt.Errorf("conditions[%d]: %w", i, err)
		}
	}
	want = stamped(parsed, want, now)
	var out []json.RawMessage
	placed := map[string]bool{}
	put := func(c *metav1.Condition) error {
		data, err := json.Marshal(c)
		placed[c.Type] = true
		out = append(out, data)
		return err
	}
	for i, c := range parsed {
		var err error
		if new := find(want, c.Type); new != nil {
			err = put(new)
		} else if !slices.Contains(types, c.Type) {
			out = append(out, have[i])
		}
		if err != nil {
			return nil, err
		}
	}
	for i := range want {
		if !placed[want[i].Type] {
			if err := put(&want[i]); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// newest is the highest generation that conditions were written for.
func newest(list []metav1.Condition) (n int64) {
	for _, c := range list {
		n = max(n, c.ObservedGeneration)
	}
	return n
}
