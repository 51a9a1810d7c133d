package gatewayapi

import (
	"cmp"
	"fmt"
	"strconv"

	"fairway.dev/routing"
	"fairway.dev/routing/dialect"
)

// Labels and the annotation of a second waypoint, Istio's (1.31), on Services,
// ServiceEntries and Namespaces.
const (
	canaryLabel            = "istio.io/use-waypoint-canary"
	canaryNamespaceLabel   = "istio.io/use-waypoint-canary-namespace"
	canaryWeightAnnotation = "istio.io/use-waypoint-canary-weight"
)

// A canary is a second waypoint of what is enrolled: it serves as the first does,
// and takes a share of what would go to that. It is nothing to rely on: where it
// cannot be had all goes to the first.
type canary struct {
	waypoint parentName
	ours     bool
	percent  uint8
}

// A canaryWish is what somebody asks for.
type canaryWish struct{ name, ns, weight string }

func canaryWishOf(labels, annotations map[string]string) canaryWish {
	return canaryWish{labels[canaryLabel], labels[canaryNamespaceLabel], annotations[canaryWeightAnnotation]}
}

// or fills in what the Namespace says, where the waypoint itself is by its word.
// The name and the namespace of the canary are of one of the two.
func (w canaryWish) or(of canaryWish) canaryWish {
	if w.name == "" {
		w.name, w.ns = of.name, of.ns
	}
	w.weight = cmp.Or(w.weight, of.weight)
	return w
}

// canary finds the canary that goes with a binding, nil where there is none that
// can be had; a note says why not.
func (r *reading) canary(ns string, own map[string]string, wish canaryWish, b *binding) (*canary, *note) {
	if own[waypointLabel] == "" {
		wish = wish.or(r.namespaceMesh(ns).canary)
	}
	if !b.works() || wish.name == "" || wish.name == "none" {
		return nil, nil
	}
	c := &canary{waypoint: parentName{cmp.Or(wish.ns, ns), wish.name}}
	at := "metadata.labels[" + canaryLabel + "]"
	refuse := func(reason, format string, args ...any) (*canary, *note) {
		return nil, &note{at, reason, fmt.Sprintf(format, args...) + fmt.Sprintf(": all goes by Gateway %s", b.waypoint)}
	}
	percent, err := parsePercent(wish.weight)
	m := r.member(c.waypoint)
	switch {
	case c.waypoint == b.waypoint:
		return refuse(reasonCanarySame, "Gateway %s is the waypoint already", c.waypoint)
	case err != nil:
		at = "metadata.annotations[" + canaryWeightAnnotation + "]"
		return refuse(reasonCanaryWeight, "%s", err)
	case !m.isWaypoint():
		return refuse(reasonWaypointMissing, "Gateway %s: not found, or without a listener of protocol HBONE that is in order", c.waypoint)
	case !r.lets(c.waypoint, m, ns):
		return refuse(reasonWaypointNotAllowed, "the HBONE listener of Gateway %s allows nothing of namespace %s", c.waypoint, ns)
	case !m.services:
		return refuse(reasonWaypointOther, "Gateway %s is not for Services (%s)", c.waypoint, waypointForLabel)
	case !r.isReady(c.waypoint):
		return refuse(reasonWaypointNotReady, "Gateway %s has no pod that is ready", c.waypoint)
	}
	c.ours, c.percent = m.ours, percent
	return c, nil
}

// parsePercent reads a weight; none is 0.
func parsePercent(text string) (uint8, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 8)
	if err != nil || n > 100 {
		return 0, fmt.Errorf("weight %.100q: want 0-100", text)
	}
	return uint8(n), nil
}

// share is a canary as gateways and node agents have it; nil: all goes to the
// waypoint itself, but what comes to the canary is served.
func (b *binding) share() *routing.Canary {
	if !b.works() || b.canary == nil {
		return nil
	}
	return &routing.Canary{Gateway: b.canary.waypoint.String(), Percent: b.canary.percent}
}

// waypoints are those of ours that enforce policy for what b is for, the canary
// behind the other.
func (b *binding) waypoints() (list []parentName) {
	if b.works() && b.ours {
		list = append(list, b.waypoint)
	}
	if b.works() && b.canary != nil && b.canary.ours {
		list = append(list, b.canary.waypoint)
	}
	return list
}

// CanaryProblem says why what another dialect has enrolled has no canary that it
// asks for, and at which field; empty: nothing is wrong.
func CanaryProblem(r *dialect.Reading, e Enrolled) (field, reason, message string) {
	b := (&reading{r}).bindingFor(&e)
	if b == nil || b.canaryNote == nil {
		return "", "", ""
	}
	return b.canaryNote.field, b.canaryNote.reason, b.canaryNote.message
}
