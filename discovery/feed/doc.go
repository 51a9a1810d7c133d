// Package feed brings the Spec from control to the fleet, and brings back
// what the fleet made of it.
//
// # What a pod gets
//
// A [Server] takes each change of the whole Spec and keeps a view for each
// Gateway: its listeners, the routes attached to them (their attachments to
// other Gateways cut off), the policies that both name, the clusters that all
// these name with their endpoints, and the certificates that listeners and
// clusters name. Of a cluster that is reached by way of another Gateway's
// waypoint ([routing.Hop]) it has the way, and no endpoints, unless it talks to
// them itself: to count, or to send spans. A waypoint has the workloads that it
// vouches for. A pod proves by its certificate whose it is and gets that view,
// never a part, least of all a key, of another Gateway. A change costs what it
// touches.
//
// Doors that gateways share ([routing.CallingGateways]), and what these lead to,
// are in a view of their own, once. It goes with that of each Gateway through which
// workloads call ([routing.Mesh]'s Calls), as one set of parts: nothing is in both.
//
// Node agents are pods of [CaptureGateway]. Their view is all captures, and the
// clusters of all waypoints with their endpoints; each agent has besides the
// workloads of the node that it says it is on, if there is anything to do for
// them. To [Options.Authorize] an agent is one like any other.
//
// # The protocol
//
// It is incremental xDS, AggregatedDiscoveryService.DeltaAggregatedResources,
// with resources of our own. Those of type "type.fairway.dev/v1.Part" are
// parts of a Spec in JSON, in which fields that are zero are left out:
//
//	listener/shop/edge/https     route/HTTPRoute/shop/cart
//	cluster/shop/cart:8080       endpoints/shop/cart:8080
//	certificate/shop/tls         policy/AuthorizationPolicy/shop/viewers
//	workload/shop/cart-7f9c      capture/shop/cart:80
//	generation
//
// A resource's version is a hash of its content, the same in all replicas of
// control, so that a pod that comes back, to whichever replica, is sent the
// differences. Large changes come as a run of responses, and "generation"
// closes the run: the pod puts all of it in force at once and then
// acknowledges. At most one run is under way to a pod; what changes meanwhile
// is sent after it, once. The generation's version is a hash over the names
// and versions of the whole view: a pod whose own do not come to it starts
// over from nothing.
//
// A resource that a pod cannot read is refused (NACK) by name, and the rest of
// its run is put in force. That goes for fields that the pod does not know
// too, as half of a policy may be worse than none.
//
// # What comes back
//
// An acknowledgement says which version a pod has in force, and brings the
// Problems that it has with it, in Node.metadata. Replicas of control tell each
// other about their pods as resources of type "type.fairway.dev/v1.PodState";
// [Server.Fleet] is what all of them know.
package feed
