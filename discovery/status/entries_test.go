package status

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing"
	"fairway.dev/routing/gatewayapi"
)

const controller = "fairway.dev/gateway-controller"

var now = metav1.NewTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))

// raws splits a list in JSON.
func raws(t *testing.T, list string) (out []json.RawMessage) {
	t.Helper()
	if err := json.Unmarshal([]byte(list), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// under is an entry of ours under a parent: a reference in JSON.
func under(t *testing.T, ref, status string) entry {
	t.Helper()
	e := entry{Controller: controller, Conditions: []metav1.Condition{{
		Type: "Accepted", Status: metav1.ConditionStatus(status), Reason: "Accepted", ObservedGeneration: 2,
	}}}
	if err := json.Unmarshal([]byte(ref), &e.Ref); err != nil {
		t.Fatal(err)
	}
	return e
}

// RouteStatus.parents: "Note that parentRefs and controllerNames of others must
// not be modified."
func TestOnlyOurEntriesAreWritten(t *testing.T) {
	// Spaces and unknown fields are others' business.
	theirs := `{"parentRef":{"name":"edge"}, "controllerName" : "example.com/other","conditions":[ ],"extra":{"b":1,"a":2}}`
	ours := func(ref, status, when string) string {
		return fmt.Sprintf(`{"conditions":[{"type":"Accepted","status":"%s","observedGeneration":2,"lastTransitionTime":"%s","reason":"Accepted","message":""}],"controllerName":"%s","parentRef":%s}`,
			status, when, controller, ref)
	}
	const then, since = "2025-01-01T00:00:00Z", "2026-01-02T03:04:05Z"
	edge := `{"name":"edge"}`
	tests := []struct {
		name string
		have []string
		want []string // references; "!" in front: Accepted=False
		out  []string
	}{
		{"the first", nil, []string{edge}, []string{ours(edge, "True", since)}},
		{"beside others", []string{theirs}, []string{edge}, []string{theirs, ours(edge, "True", since)}},
		{"in its place", []string{theirs, ours(edge, "True", then), theirs}, []string{edge}, []string{theirs, ours(edge, "True", then), theirs}},
		{"the status flips", []string{ours(edge, "True", then)}, []string{"!" + edge}, []string{ours(edge, "False", since)}},
		{"a parent that left", []string{ours(edge, "True", then), theirs}, nil, []string{theirs}},
		{"one parent of two", []string{ours(edge, "True", then), ours(`{"name":"old"}`, "True", then)}, []string{edge}, []string{ours(edge, "True", then)}},
		{"twice the same", []string{ours(edge, "True", then), ours(edge, "True", then)}, []string{edge}, []string{ours(edge, "True", then)}},
		{"defaults written out", []string{ours(`{"group":"gateway.networking.k8s.io","kind":"Gateway","namespace":"shop","name":"edge"}`, "True", then)},
			[]string{edge}, []string{ours(edge, "True", then)}},
		{"another section is another parent", []string{ours(`{"name":"edge","sectionName":"a"}`, "True", then)},
			[]string{`{"name":"edge","sectionName":"b"}`}, []string{ours(`{"name":"edge","sectionName":"b"}`, "True", since)}},
		{"and another port", []string{ours(`{"name":"edge","port":80}`, "True", then)},
			[]string{`{"name":"edge","port":443}`}, []string{ours(`{"name":"edge","port":443}`, "True", since)}},
	}
	for _, tt := range tests {
		var want []entry
		for _, ref := range tt.want {
			status := "True"
			if rest, ok := strings.CutPrefix(ref, "!"); ok {
				ref, status = rest, "False"
			}
			want = append(want, under(t, ref, status))
		}
		out, _, err := parents.merge(raws(t, "["+strings.Join(tt.have, ",")+"]"), want, controller, "shop", now)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if len(out) != len(tt.out) {
			t.Errorf("%s: %d entries, want %d: %s", tt.name, len(out), len(tt.out), out)
			continue
		}
		for i := range out {
			// Others' byte by byte, ours by what they say.
			if same := string(out[i]) == tt.out[i]; !same && (strings.Contains(tt.out[i], "other") || !sameJSON(out[i], []byte(tt.out[i]))) {
				t.Errorf("%s: entry %d is\n%s, want\n%s", tt.name, i, out[i], tt.out[i])
			}
		}
	}
}

// PolicyStatus.ancestors: at most 16 entries; others' are not pushed out.
func TestAtMostSixteenAncestors(t *testing.T) {
	theirs := `{"ancestorRef":{"name":"x"},"controllerName":"example.com/other","conditions":[]}`
	for _, tt := range []struct {
		others, want, written int
		full                  bool
	}{{0, 16, 16, false}, {15, 1, 1, false}, {15, 2, 1, true}, {16, 1, 0, true}, {17, 1, 0, true}} {
		have := raws(t, "["+strings.TrimSuffix(strings.Repeat(theirs+",", tt.others), ",")+"]")
		var want []entry
		for i := range tt.want {
			want = append(want, under(t, fmt.Sprintf(`{"name":"edge-%d"}`, i), "True"))
		}
		out, _, err := ancestors.merge(have, want, controller, "shop", now)
		if len(out) != tt.others+tt.written || errors.Is(err, errFull) != tt.full {
			t.Errorf("%d of others, %d of ours: %d entries (%v), want %d (full: %v)", tt.others, tt.want, len(out), err, tt.others+tt.written, tt.full)
		}
	}
}

func TestConditionsOfOthersStay(t *testing.T) {
	have := raws(t, `[{"type":"example.com/Audited","status":"True","reason":"R","message":"","lastTransitionTime":"2025-01-01T00:00:00Z","extra":1},
		{"type":"Accepted","status":"Unknown","reason":"Pending","message":"Waiting for controller","lastTransitionTime":"1970-01-01T00:00:00Z"},
		{"type":"InsecureFrontendValidationMode","status":"True","reason":"R","message":"","lastTransitionTime":"2025-01-01T00:00:00Z"},
		{"type":"Programmed","status":"True","reason":"Programmed","message":"","observedGeneration":1,"lastTransitionTime":"2025-01-01T00:00:00Z"}]`)
	want := []metav1.Condition{
		{Type: "Programmed", Status: "True", Reason: "Programmed", ObservedGeneration: 2},
		{Type: "Accepted", Status: "True", Reason: "Accepted", ObservedGeneration: 2},
		{Type: "ResolvedRefs", Status: "True", Reason: "ResolvedRefs", ObservedGeneration: 2},
	}
	out, err := mergeConditions(have, want, ours("Gateway"), now)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, raw := range out {
		var c metav1.Condition
		if err := json.Unmarshal(raw, &c); err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%s %s %d %s", c.Type, c.Status, c.ObservedGeneration, c.LastTransitionTime.UTC().Format(time.DateOnly)))
	}
	if want := []string{
		"example.com/Audited True 0 2025-01-01",
		"Accepted True 2 2026-01-02",   // Unknown before
		"Programmed True 2 2025-01-01", // no transition
		"ResolvedRefs True 2 2026-01-02",
	}; strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("conditions are\n%s, want\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if string(out[0]) != string(have[0]) {
		t.Errorf("another's condition became %s", out[0])
	}
}

func TestLongMessagesAreCut(t *testing.T) {
	list := stamped(nil, []metav1.Condition{{Type: "Accepted", Message: strings.Repeat("é", maxMessage)}}, now)
	if n := len(list[0].Message); n > maxMessage || strings.ToValidUTF8(list[0].Message, "") != list[0].Message {
		t.Errorf("a message of %d bytes, want %d of valid text at most", n, maxMessage)
	}
}

func TestStale(t *testing.T) {
	tests := []struct {
		name                   string
		object, found, written int64
		want                   bool
	}{
		{"found now", 3, 3, 2, false},
		{"again", 3, 3, 3, false},
		{"found before the last edit", 4, 3, 2, false}, // nothing better is there
		{"found before what is written", 4, 3, 4, true},
		{"of an object that is gone", 1, 5, 0, true},
		{"what is written is of one that is gone", 1, 1, 5, false},
		{"generation not known", 0, 3, 4, true},
		{"generation not known, first", 0, 3, 0, false},
	}
	for _, tt := range tests {
		d := document{generation: tt.object}
		if got := d.stale(tt.found, tt.written); got != tt.want {
			t.Errorf("%s: stale is %v, want %v", tt.name, got, tt.want)
		}
	}
}

// Whatever stands in a status, composing does not fall over it, what it writes
// is JSON, and it writes it once.
func FuzzCompose(f *testing.F) {
	for _, have := range []string{
		``, `null`, `{}`, `[]`, `{"parents": null}`, `{"parents": [null]}`, `{"parents": [{}], "more": 1}`, `{"parents": {}}`,
		`{"conditions": [{"type": 1}]}`, `{"listeners": [{"name": "a", "conditions": [null]}]}`, `{"addresses": 1}`,
		`{"parents": [{"controllerName": "` + controller + `", "parentRef": {"name": "edge"}, "conditions": [{"observedGeneration": 9}]}]}`,
		`{"ancestors": [{"controllerName": 5}]}`,
	} {
		f.Add(have)
	}
	facts := &facts{}
	route := gatewayapi.Report{Object: routing.ObjectKey{Kind: "HTTPRoute", Namespace: "shop", Name: "cart"}, Parents: []gatewayv1.RouteParentStatus{{
		ParentRef: gatewayv1.ParentReference{Name: "edge"}, ControllerName: controller, Conditions: []metav1.Condition{{Type: "Accepted", Status: "True", ObservedGeneration: 2}},
	}}}
	policy := gatewayapi.Report{Object: routing.ObjectKey{Kind: "BackendTLSPolicy", Namespace: "shop", Name: "cart"}}
	class := gatewayapi.Report{Object: routing.ObjectKey{Kind: "GatewayClass", Name: "fairway"}, Conditions: []metav1.Condition{{Type: "Accepted", Status: "True"}}}
	f.Fuzz(func(t *testing.T, have string) {
		for _, r := range []gatewayapi.Report{route, policy, class, report(edge, 1, "+-"), report(extra, 1, "+")} {
			n, err := compose(&r, facts, &known{status: json.RawMessage(have)}, controller, now)
			if err != nil || n.status == nil {
				continue
			}
			again, err := compose(&r, facts, &known{status: n.status}, controller, now)
			if err != nil || again.status != nil {
				t.Errorf("%s with %s: %s, and then %s (%v)", r.Object, have, n.status, again.status, err)
			}
		}
	})
}
