// Package analysis finds what is wrong with an object of Istio's API that can
// be seen in the object alone, and knows the codes of all findings.
//
// [Validate] refuses (routing.Error) what Istio's own webhook refuses, and what
// would leave a part of the object out of force; what is in force, but hardly as
// its author meant it, is a Warning. It never asks what else there is: that is
// the matter of packages gatewayapi and istio, which find the rest. A webhook
// may call it for any object, and `fairway check` does for all.
//
// [Codes] is the table of findings, whoever has them. A code is never reworded:
// people filter by it.
package analysis

import (
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"

	"fairway.dev/routing"
)

// Validate returns what is wrong with an object of networking.istio.io/v1 or
// security.istio.io/v1, in the order of its fields. Of other objects it knows nothing, and returns nil.
// The object is not changed.
func Validate(object any) []*routing.Problem {
	f := &findings{}
	switch o := object.(type) {
	case *networkingv1.VirtualService:
		f.of("VirtualService", o)
		f.virtualService(&o.Spec)
	case *networkingv1.DestinationRule:
		f.of("DestinationRule", o)
		f.destinationRule(&o.Spec)
	case *networkingv1.Gateway:
		f.of("Gateway.networking.istio.io", o)
		f.gateway(&o.Spec)
	case *networkingv1.ServiceEntry:
		f.of("ServiceEntry", o)
		f.serviceEntry(&o.Spec)
	case *networkingv1.WorkloadEntry:
		f.of("WorkloadEntry", o)
		f.workloadEntry("spec", &o.Spec, nil, true)
	case *securityv1.AuthorizationPolicy:
		f.of("AuthorizationPolicy", o)
		f.authorizationPolicy(&o.Spec, o.Annotations)
	case *securityv1.RequestAuthentication:
		f.of("RequestAuthentication", o)
		f.requestAuthentication(&o.Spec)
	case *securityv1.PeerAuthentication:
		f.of("PeerAuthentication", o)
		f.peerAuthentication(&o.Spec)
	}
	return f.list
}
