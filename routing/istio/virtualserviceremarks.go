package istio

import (
	"fmt"
	"slices"

	"fairway.dev/routing"
)

// Reasons of VirtualServices. Those of single fields are package analysis's.
const (
	reasonConsumersOnly       = "ConsumersOnly"       // it is for workloads of its own namespace alone
	reasonClaimsUnproved      = "ClaimsUnproved"      // claims are matched where no RequestAuthentication is in force
	reasonDelegateConflict    = "DelegateConflict"    // a delegate's match takes what its root's does not
	reasonDelegateNotExported = "DelegateNotExported" // exportTo of the delegate leaves the root's namespace out
	reasonDelegateNotFound    = "DelegateNotFound"
	reasonDelegateUnused      = "DelegateUnused"   // no other names it
	reasonGatewayAPIFirst     = "GatewayAPIFirst"  // routes of Gateway API have the host too
	reasonInvalidDelegate     = "InvalidDelegate"  // it has hosts, or a delegate of its own
	reasonMeshOnly            = "MeshOnly"         // no waypoint has its hosts for the workloads that it is for
	reasonNeverMatches        = "NeverMatches"     // a match that no request can meet
	reasonNoMatchingServer    = "NoMatchingServer" // no server of the Gateway has what the rules need
	reasonNoRule              = "NoRule"           // it has no rule that can be attached
	reasonNotExported         = "NotExported"      // exportTo leaves the gateway's namespace out
	reasonShadowed            = "Shadowed"         // others take every request before it
	reasonSourceUnknown       = "SourceUnknown"    // sourceLabels and sourceNamespace at a gateway
	reasonSubsetNotKept       = "SubsetNotKept"    // a waypoint chooses among the endpoints
	reasonUnreachable         = "UnreachableRule"  // an earlier rule of its own takes the requests
)

// remarks gathers what is to be said of a VirtualService, each thing once: what
// holds at several doors is found at each of them.
type remarks struct{ list []*routing.Problem }

func (r *remarks) add(level routing.Level, at routing.Origin, reason routing.Reason, fix, format string, args ...any) {
	p := &routing.Problem{Origin: at, Reason: reason, Err: fmt.Errorf(format, args...), Level: level, Fix: fix}
	if !slices.ContainsFunc(r.list, func(q *routing.Problem) bool {
		return q.Origin == p.Origin && q.Reason == p.Reason && q.Err.Error() == p.Err.Error()
	}) {
		r.list = append(r.list, p)
	}
}

// wrong notes what is not in force.
func (r *remarks) wrong(at routing.Origin, reason routing.Reason, fix, format string, args ...any) {
	r.add(routing.Error, at, reason, fix, format, args...)
}

// warn notes what is in force, but hardly as it was meant.
func (r *remarks) warn(at routing.Origin, reason routing.Reason, fix, format string, args ...any) {
	r.add(routing.Warning, at, reason, fix, format, args...)
}

// note notes what is worth knowing.
func (r *remarks) note(at routing.Origin, reason routing.Reason, fix, format string, args ...any) {
	r.add(routing.Info, at, reason, fix, format, args...)
}

// labelsUnknown notes a match of the labels of who sends, which no gateway knows.
func (r *remarks) labelsUnknown(at routing.Origin) {
	r.note(at, reasonSourceUnknown, "take sourceLabels out, or match what the request says",
		"the labels of who sends are not known at a gateway: the match holds for nobody")
}

// reached knows of each match whether any request can get to it at any door,
// and otherwise why not.
type reached struct {
	order []routing.Origin
	why   map[routing.Origin]obstacle
}

// An obstacle is why no request gets to a match; the zero obstacle: one does.
type obstacle struct {
	reason routing.Reason
	fix    string
	text   string
}

// note adds what is so at one door. What is reached at one is reached.
func (r *reached) note(at routing.Origin, o obstacle) {
	if r.why == nil {
		r.why = map[routing.Origin]obstacle{}
	}
	was, known := r.why[at]
	if !known {
		r.order = append(r.order, at)
	}
	if !known || o == (obstacle{}) || was.reason == reasonNeverMatches {
		r.why[at] = o
	}
}

// report tells of what is never reached.
func (r *reached) report(to *remarks) {
	for _, at := range r.order {
		if o := r.why[at]; o != (obstacle{}) {
			to.warn(at, o.reason, o.fix, "%s", o.text)
		}
	}
}
