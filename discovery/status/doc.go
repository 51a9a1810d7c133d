// Package status writes what became of objects into their status.
//
// A [Writer] is told what translation made of each object (Reports), how the
// fleet stands (what it acknowledged, by package feed) and what provisioning
// knows (pods, addresses). Of that it makes the status that each object is to
// have, and the leader's Writer writes it where the API server has another.
// Those of the other replicas are told the same, and are ready to lead.
//
// The law: status tells the truth, all of it in one write, and only ours.
//
//   - Of a route or a policy we write the entries of our controllerName. Others'
//     stay byte by byte. Entries of parents that are none any more are taken out.
//   - A write says which status it replaces. Where somebody else has written
//     meanwhile the API server refuses it, and it is made anew of what is there.
//   - observedGeneration never goes back, lastTransitionTime moves when a
//     condition's status does, and nothing is written that is there already.
//
// # Programmed
//
// A Report says Programmed=True of what can be served. It is written once it is
// served: at least one pod of the Gateway is ready, and every pod that has
// answered at all has the wanted version of that listener in force. Until then
// it is False, Pending. Where pods are there to answer, the write of a change
// waits for them, 1.5 seconds at most.
//
// Once a listener was Programmed it stays so for that generation of its object:
// a pod that starts, a certificate that is renewed, a route that comes do not
// undo it. Without any ready pod it is False, though.
//
// A ListenerSet whose Gateway is gone is as if nobody had looked at it, if it was
// us who wrote its conditions last: Unknown, Pending.
//
// Where a pod cannot have a listener in force, such as for a port that it cannot
// bind, the listener is not Programmed, with the pod's reason; once it was, only
// if no pod has it. A Gateway is Programmed if it has an address, a ready pod,
// no listener that pods have yet to answer for, and one that they have in force.
// What provisioning finds in the way (AddressNotAssigned, AddressNotUsable,
// NoResources, NameTaken) is its reason otherwise. A ListenerSet's Programmed is
// False, ParentNotProgrammed, as long as its Gateway's is for such a reason.
//
// # Istio's objects
//
// They have conditions of our domain, beside istiod's: fairway.dev/Accepted says
// whether the object is in order, with all that was found in its message, and
// fairway.dev/Programmed whether pods have it in force: those of the Gateways
// that a Gateway of Istio's is served by, and of all for other objects. A pod
// acknowledges all that it has at once, so it is True when every ready Gateway's
// pods have had, at one moment, all that there was for them; then it stays for
// that generation. Codes of what was found are in status.validationMessages
// ("fairway.dev/HostNotFound"). status.observedGeneration is written where nobody
// else has conditions there.
//
// AuthorizationPolicies, PeerAuthentications and our RateLimitPolicies are written
// like Istio's objects.
//
// # Services
//
// A Service that is enrolled with a waypoint has the condition
// fairway.dev/WaypointBound, which says where policy is enforced, or why nowhere.
// It is one of the conditions of its status, of which the others and the load
// balancer's part stay as they are. With the enrolment it goes.
//
// # Pace
//
// An object is written 20 ms after it changes. While it changes on, its writes
// are 100 ms apart at first and 500 ms in the end. Gateways, ListenerSets and
// classes go before routes. All requests together are 400 a second at most.
// What fails is tried again, after 100 ms at first and 30 s in the end; so is what
// somebody else takes back as often as it is written.
package status
