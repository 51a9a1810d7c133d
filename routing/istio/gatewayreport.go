package istio

import (
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"fairway.dev/routing"
	"fairway.dev/routing/dialect"
)

// reportGateway reports a Gateway. Its conditions are Accepted, whether all of
// it is in order, or some where the reason says so, and Programmed, whether some
// of its listeners can be served: a closed one is not.
func (j *joint) reportGateway(r *reading) dialect.Outcome {
	o := object[networkingv1.Gateway](r, KindGateway, r.ID.NS, r.ID.Name)
	g, _ := r.Value(dialect.ID{Kind: gatewayCell, NS: r.ID.NS, Name: r.ID.Name}).(*gateway)
	if o == nil || g == nil {
		return dialect.Outcome{Gone: true}
	}
	report := &dialect.Report{Object: g.key()}
	found := slices.Clone(g.found)
	for i, s := range g.servers {
		found = append(found, s.found...)
		for _, at := range g.fleets {
			if !s.broken {
				report.Names = r.judge(at, g, s, i, report.Names, &found)
			}
		}
	}
	slices.Sort(report.Names)
	report.Names = slices.Compact(report.Names)
	found.report(report)
	report.Conditions = conditionsOf(o.Generation, found, len(report.Names) > 0)
	return dialect.Outcome{Report: report}
}

// conditionsOf sums up what was found.
func conditionsOf(generation int64, found complaints, served bool) []metav1.Condition {
	accepted := metav1.Condition{Type: "Accepted", Status: metav1.ConditionTrue, Reason: "Accepted", ObservedGeneration: generation}
	programmed := metav1.Condition{Type: "Programmed", Status: metav1.ConditionTrue, Reason: "Programmed", ObservedGeneration: generation}
	worst, bad := found.worst()
	if !served {
		if !bad && len(found) > 0 {
			worst = found[0]
		}
		accepted.Status, programmed.Status, programmed.Reason = metav1.ConditionFalse, metav1.ConditionFalse, "Invalid"
		programmed.Message = "no listener is in force"
	}
	if !served || bad {
		accepted.Reason, accepted.Message = worst.reason, worst.text
	}
	return []metav1.Condition{accepted, programmed}
}

// judge says what becomes of a server on a fleet, and adds its listeners.
func (r *reading) judge(at fleetName, g *gateway, s *server, i int, names []routing.ListenerName, found *complaints) []routing.ListenerName {
	by := bidOf(g.created, g.ns+"/"+g.name, i, s.class)
	if port := r.socket(at, s.socket()); port.class != s.class {
		who := "Gateway " + port.owner.gateway
		if port.guest != "" {
			who = "listener " + string(port.guest)
		}
		found.wrong(s.field+".port", reasonProtocolConflict, "take another port", "port %d of %s: %s has it, and speaks %s",
			s.port, at, who, port.class)
		return names
	}
	closed := false
	if s.class == classTLS {
		state := r.serverTLS(by, at)
		for _, c := range state.found {
			found.add(c)
		}
		closed = state.tls.Closed
	}
	for k, h := range s.hosts {
		name := r.judgeHost(at, s, by, h, fmt.Sprintf("%s.hosts[%d]", s.field, k), found)
		if name != "" && !closed {
			names = append(names, name)
		}
	}
	return names
}

// judgeHost says what becomes of a host of a server: the listener that serves
// it, or none.
func (r *reading) judgeHost(at fleetName, s *server, by bid, h serverHost, field string, found *complaints) routing.ListenerName {
	host := s.pattern(h)
	if s.class == classHTTP {
		host = r.place(at, s.socket(), host)
	}
	state := r.listener(at, s.socket(), host)
	switch {
	case state.name != "" && (s.class != classTLS || state.by == by):
		return state.name
	case s.class == classTLS && state.guest != "":
		found.wrong(field, reasonHostConflict, "name another host, or take the listener away", "host %s on port %d of %s: listener %s of Gateway API has it",
			h.pattern, s.port, at, state.guest)
	case s.class == classTLS:
		found.wrong(field, reasonHostConflict, "name each host in one server of a port", "host %s on port %d of %s: %s has it",
			h.pattern, s.port, at, state.by.who())
	case state.guest != "" && s.redirect:
		found.note(field, reasonHostConflict, "", "host %s on port %d of %s: listener %s of Gateway API has it, whose routes come before the redirect",
			h.pattern, s.port, at, state.guest)
		return state.guest
	case state.guest != "":
		return state.guest
	}
	return ""
}

// who names the server of a bid to people.
func (b bid) who() string { return fmt.Sprintf("spec.servers[%d] of Gateway %s", b.server, b.gateway) }
