package gatewayapi

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing"
)

// A Report is the outcome for one object: the status that belongs into it, as
// far as translation can know. Conditions carry no lastTransitionTime.
// Programmed=True says that the gateway pods can serve it, not yet that they do:
// whoever writes status holds it back until they have acknowledged.
type Report struct {
	Object routing.ObjectKey

	// Gone says that there is no more to report: the object is gone, or is
	// not ours any longer. All else is empty.
	Gone bool

	Conditions []metav1.Condition               // GatewayClass, Gateway
	Listeners  []gatewayv1.ListenerStatus       // Gateway
	Parents    []gatewayv1.RouteParentStatus    // routes; only parents that are ours
	Ancestors  []gatewayv1.PolicyAncestorStatus // policies; only ancestors that are ours

	// Problems are the parts of the object that are not in force.
	Problems []*routing.Problem
}
