package gatewayapi

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairway.dev/routing"
	"fairway.dev/routing/dialect"
)

// Report is the outcome for one object.
type Report = dialect.Report

func newReport(kind string, o metav1.Object) *Report {
	return &Report{Object: routing.ObjectKey{Kind: kind, Namespace: o.GetNamespace(), Name: o.GetName()}}
}

// Reasons of ours, where the API has no word. Like the API's they are never
// reworded.
const (
	reasonHostnameConflict        = "HostnameConflict"        // an older route of the other kind has the hostname
	reasonParentNotFound          = "ParentNotFound"          // a parentRef names a Gateway or ListenerSet that is not there
	reasonParentNotProgrammed     = "ParentNotProgrammed"     // the API's, of ListenerSets
	reasonInvalidBackendTLSPolicy = "InvalidBackendTLSPolicy" // a backend's policy cannot be met
	reasonExternalName            = "UnsupportedExternalName" // a backend is an ExternalName Service
	reasonInvalidAnnotation       = "InvalidAnnotation"       // of a Service
	reasonUnsupportedValue        = "UnsupportedValue"        // the API's, of routes and listeners; ours of other kinds
	reasonHostnamesIgnored        = "HostnamesIgnored"        // of a route whose parent is a Service
	reasonNetwork                 = "UnsupportedNetwork"      // a Gateway's network is not what it would have to be
	reasonNotEnrolled             = "NotEnrolled"             // such a route's parent has no waypoint at which the route applies
)

// ConditionWaypointBound is that of Services which are enrolled.
const ConditionWaypointBound = annotationPrefix + "WaypointBound"

// Reasons of WaypointBound.
const (
	reasonWaypointAccepted   = "WaypointAccepted"
	reasonWaypointMissing    = "WaypointMissing"
	reasonWaypointNotReady   = "WaypointNotReady"
	reasonWaypointNotAllowed = "NotAllowed"
	reasonWaypointOther      = "UnsupportedTrafficType" // it is not for Services
	reasonHeadless           = "NoClusterIP"
	reasonCanarySame         = "CanarySameAsPrimary"
	reasonCanaryWeight       = "CanaryInvalidWeight"
)

// A note is a Problem before it has an object.
type note struct{ field, reason, message string }

func reportNotes(r *Report, notes []note) {
	for _, n := range notes {
		r.Problem(n.field, n.reason, n.message)
	}
}

// A verdict is a condition without its type.
type verdict struct {
	status  metav1.ConditionStatus
	reason  string
	message string
}

func yes(reason string) verdict { return verdict{status: metav1.ConditionTrue, reason: reason} }

func no(reason, format string, args ...any) verdict {
	return verdict{metav1.ConditionFalse, reason, fmt.Sprintf(format, args...)}
}

// at is the verdict as a Problem with a field.
func (v verdict) at(field string) note { return note{field, v.reason, v.message} }

func (v verdict) ok() bool { return v.status == metav1.ConditionTrue }

func (v verdict) as(kind string) metav1.Condition {
	return metav1.Condition{Type: kind, Status: v.status, Reason: v.reason, Message: v.message}
}

// conditions stamps conditions with the generation that was looked at.
func conditions(generation int64, list ...metav1.Condition) []metav1.Condition {
	for i := range list {
		list[i].ObservedGeneration = generation
	}
	return list
}

// or returns what p points to, or the default where it is nil.
func or[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}
