package status

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/discovery/feed"
	"fairway.dev/routing"
	"fairway.dev/routing/gatewayapi"
	"fairway.dev/routing/istio"
)

// domain is what our words begin with in the status of Istio's objects, which
// istiod and others write, too.
const domain = "fairway.dev/"

// meshKinds are Istio's, and whether pods have anything of their objects in
// force.
var meshKinds = map[string]bool{
	istio.KindGateway:         true,
	istio.KindVirtualService:  true,
	istio.KindDestinationRule: true,
	istio.KindServiceEntry:    true,
	istio.KindWorkloadEntry:   true,
	istio.KindTelemetry:       true,
	istio.KindAuthentication:  true,
	istio.KindAuthorization:   true,
	istio.KindPeer:            true,
	istio.KindEnvoyFilter:     false,
	istio.KindSidecar:         false,
	istio.KindWasmPlugin:      false,
}

// A crew is the pods of a Gateway that an object of Istio's concerns.
type crew struct {
	gateway string // "namespace/name"
	version string // of all that they are to have
	pods    []feed.PodState
}

// inForce judges an object that can be served. The pods acknowledge all that
// they have, as one: what was made of the object is in force where they have
// all that there is.
func inForce(of routing.ObjectKey, crews []crew, before bool) standing {
	if len(crews) == 0 {
		if before {
			return standing{verdict: yes}
		}
		return standing{verdict: no(string(gatewayv1.ListenerReasonPending), "no pod of a Gateway is ready")}
	}
	asked, there := 0, 0
	for _, c := range crews {
		for _, p := range c.pods {
			if p.Version == "" {
				continue // it is starting
			}
			if problem := problemAbout(p, of); problem != nil && !before {
				return standing{verdict: no(string(problem.Reason), "pod %s: %v", p.Pod, problem.Err)}
			}
			asked++
			if p.Version == c.version {
				there++
			}
		}
	}
	if before || asked > 0 && there == asked {
		return standing{verdict: yes}
	}
	return standing{no(string(gatewayv1.ListenerReasonPending), "%d of %d pods have it in force", there, asked), true}
}

// problemAbout is why a pod has something of an object not in force; nil where
// it is silent.
func problemAbout(p feed.PodState, of routing.ObjectKey) *routing.Problem {
	for _, problem := range p.Problems {
		if o := problem.Origin; o.Kind == of.Kind && o.Namespace == of.Namespace && o.Name == of.Name {
			return problem
		}
	}
	return nil
}

// mesh writes the status of one of Istio's objects: conditions of our domain,
// and messages of ours.
func (d *document) mesh(r *gatewayapi.Report, crews []crew) (n next) {
	var have []json.RawMessage
	d.get("conditions", &have)
	ours, others := d.split(have)
	want := meshConditions(r)
	if d.stale(newest(want), newest(ours)) {
		return next{stale: true}
	}
	n.settled = true
	if c := find(want, domain+programmed); c != nil && c.Status == metav1.ConditionTrue {
		s := inForce(r.Object, crews, wasIn(ours, c.Type, c.ObservedGeneration))
		c.Status, c.Reason, c.Message = s.status, s.reason, s.message
		n.pending, n.settled = s.pending, s.status == metav1.ConditionTrue
	}
	for _, c := range stamped(ours, want, d.now) {
		data, err := json.Marshal(c)
		d.fail(err)
		others = append(others, data)
	}
	if len(others) == len(want) { // nobody else counts generations
		d.set("observedGeneration", newest(want), len(want) > 0)
	}
	d.set("conditions", others, len(others) > 0)
	d.messages(r.Problems)
	return n
}

// split tells our conditions from others', which stay byte by byte. Who writes
// with protobuf's JSON makes texts of numbers.
func (d *document) split(have []json.RawMessage) (ours []metav1.Condition, others []json.RawMessage) {
	for _, raw := range have {
		var c struct {
			Type, Status       string
			LastTransitionTime metav1.Time
			ObservedGeneration json.RawMessage
		}
		if err := json.Unmarshal(raw, &c); err != nil || !strings.HasPrefix(c.Type, domain) {
			others = append(others, raw)
			continue
		}
		generation, _ := strconv.ParseInt(strings.Trim(string(c.ObservedGeneration), `"`), 10, 64)
		ours = append(ours, metav1.Condition{
			Type: c.Type, Status: metav1.ConditionStatus(c.Status), ObservedGeneration: generation, LastTransitionTime: c.LastTransitionTime,
		})
	}
	return ours, others
}

func wasIn(list []metav1.Condition, kind string, generation int64) bool {
	c := find(list, kind)
	return c != nil && c.Status == metav1.ConditionTrue && c.ObservedGeneration == generation
}

// meshConditions are those of a Report, each with our domain in front. What is
// accepted is Programmed once pods have it, where the Report says nothing else.
func meshConditions(r *gatewayapi.Report) []metav1.Condition {
	list := slices.Clone(r.Conditions)
	accepted := find(list, string(gatewayv1.GatewayConditionAccepted))
	if accepted != nil {
		accepted.Message = withFindings(accepted.Message, r.Problems)
		if meshKinds[r.Object.Kind] && accepted.Status == metav1.ConditionTrue && find(list, programmed) == nil {
			list = append(list, metav1.Condition{
				Type: programmed, Status: metav1.ConditionTrue, Reason: programmed, ObservedGeneration: accepted.ObservedGeneration,
			})
		}
	}
	for i := range list {
		list[i].Type = domain + strings.TrimPrefix(list[i].Type, domain)
	}
	return list
}

// withFindings adds to a message what there is to say to the object's author.
func withFindings(message string, problems []*routing.Problem) string {
	const most = 20
	var lines []string
	said := func(p *routing.Problem) bool { return p.Err.Error() == message }
	if message != "" && !slices.ContainsFunc(problems, said) {
		lines = append(lines, message)
	}
	for _, p := range problems[:min(len(problems), most)] {
		line := strings.TrimSpace(strings.ToLower(levelOf(p)) + " " + p.Origin.Field)
		line += fmt.Sprintf(": %s: %v", p.Reason, p.Err)
		if p.Fix != "" {
			line += "; " + p.Fix
		}
		lines = append(lines, line)
	}
	if more := len(problems) - most; more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(lines, "\n")
}

// levelOf is a Problem's level as AnalysisMessageBase has it.
func levelOf(p *routing.Problem) string {
	return strings.ToUpper(cmp.Or(string(p.Level), "Error"))
}

// messages writes status.validationMessages, each code once. Ours begin with
// our domain, others' stay.
func (d *document) messages(problems []*routing.Problem) {
	type kind struct {
		Name string `json:"name"`
		Code string `json:"code"`
	}
	type message struct {
		Type  kind   `json:"type"`
		Level string `json:"level"`
	}
	var have, out []json.RawMessage
	d.get("validationMessages", &have)
	for _, raw := range have {
		var m message
		if json.Unmarshal(raw, &m) != nil || !strings.HasPrefix(m.Type.Code, domain) {
			out = append(out, raw)
		}
	}
	said := map[message]bool{}
	for _, p := range problems {
		m := message{kind{string(p.Reason), domain + string(p.Reason)}, levelOf(p)}
		if said[m] {
			continue
		}
		said[m] = true
		data, err := json.Marshal(m)
		d.fail(err)
		out = append(out, data)
	}
	d.set("validationMessages", out, len(out) > 0)
}
