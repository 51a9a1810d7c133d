package gatewayapi

import "fairway.dev/routing/dialect"

// The words of the sheet that all is calculated on (see package dialect).
type (
	cellKind = dialect.Kind
	cellID   = dialect.ID
	outcome  = dialect.Outcome
	gift     = dialect.Gift
	ordered  = dialect.Ordered
)

// A reading is one run of a formula.
type reading struct{ *dialect.Reading }

// object returns an object of the world, or nil.
func object[T any](r *reading, kind, ns, name string) *T {
	return dialect.Object[T](r.Reading, kind, ns, name)
}

// Bags hold what cells have given them.
const (
	grantsIn          = dialect.Bags + iota // the ReferenceGrants of a namespace
	slicesOf                                // the EndpointSlices of a Service
	policiesOn                              // the BackendTLSPolicies that target a Service
	trafficPoliciesOn                       // the XBackendTrafficPolicies that target a Service
	stakesIn                                // the objects with listeners on a port of a Gateway, in order of rank
	bidsFor                                 // the listeners that want a hostname on a port of a Gateway
	bidsUnder                               // of the TLS ones, those that a wider hostname would cover
	claimsOn                                // the Gateways that want a port, or a hostname on it
	routesAt                                // the listeners of a holder, as often as a route is attached
	setsOf                                  // of a Gateway: what its ListenerSets let it count
	usersOf                                 // the Gateways that send requests to a Service
	routesOn                                // of a listener: the routes on a host (see TellRoutes)
	slicesIn                                // the EndpointSlices of a namespace that are of Services
)

// Bags of the mesh.
const (
	membersOf   = dialect.Bags + meshKinds + iota // our Gateways
	consumersAt                                   // of a waypoint: the namespaces whose workloads have it
	outbound                                      // the waypoints that have such namespaces
	consumersOf                                   // of a Service: the namespaces with routes of their own to it
	remotesOf                                     // the gateways of other networks, or of one of them
	streamsTo                                     // of a Service: its ports that TCPRoutes of its namespace are for
	enforcedIn                                    // of a namespace: the labels of its pods that have a waypoint of ours
)

// What objects ask for, each by itself.
const (
	classCell         = dialect.Parsed + iota // GatewayClass
	grantCell                                 // ReferenceGrant
	permitCell                                // may one kind in a namespace name an object in another
	sliceCell                                 // EndpointSlice
	keyPairCell                               // Secret
	policyCell                                // BackendTLSPolicy: what it asks for
	policyOrderCell                           // of a Service: which policy counts for which port
	trafficPolicyCell                         // XBackendTrafficPolicy: what it asks for
)

// What objects ask for of the mesh, each by itself.
const (
	namespaceCell = dialect.Parsed + meshKinds + iota // Namespace: what it asks for
	networkCell                                       // the name of our own network
	memberCell                                        // Gateway: what the mesh knows of it
	consumerCell                                      // of a namespace: the waypoints of its workloads
	consumesCell                                      // Namespace: puts it among those of that waypoint
	vouchersCell                                      // the Gateways that vouch for others
	meshCell                                          // is there a waypoint of ours at all
	readyCell                                         // of a waypoint: is one of its pods ready
	bindingCell                                       // of a Service: its waypoint
	selectorsCell                                     // of a namespace: the ports to which its Services send
	meshPortsCell                                     // the ports that stand for those of Services
	meshShardCell                                     // some of these
	podCell                                           // Pod: who it is
	mentionsCell                                      // of a route: the Services that are its parents, where they have to know
	eastWestCell                                      // our Gateways that let other networks in
	remotesCell                                       // the gateways of other networks that vouch for others
	farCell                                           // another network: its gateways
	serviceCell                                       // Service: its annotations, the policies on it, and how it is enrolled
)

// What a route can send to.
const (
	endpointsCell = dialect.Backends + iota // of a cluster
	clusterCell                             // a cluster: Service, port, mark
	backendCell                             // what a backendRef comes to
)

// Clusters of gateways.
const (
	waypointCell        = dialect.Backends + meshKinds + iota // the pods of a waypoint
	networkGatewaysCell                                       // the gateways of another network
)

// Gateways and ListenerSets.
const (
	gatewayCell    = dialect.Listeners + iota // Gateway: what stands in it
	frameCell                                 // of a Gateway: what holds for all its listeners
	validationCell                            // of a Gateway: how clients are checked, by port
	identityCell                              // of a Gateway: what it shows to backends
	setCell                                   // ListenerSet: what stands in it
	ownerCell                                 // of a Gateway: whose word on a port counts
	socketCell                                // of a Gateway: what a port speaks
	hostnameCell                              // of a Gateway: who has a hostname on a port
	standingCell                              // of a holder: its listeners beside those of its Gateway
	portCell                                  // a port, or a hostname on it: which Gateway has it
	doorsCell                                 // of a holder: what matters to routes
	listenersCell                             // of a holder: what comes of them
	openCell                                  // of a holder: the listeners that are in force
)

// What waypoints have listeners for.
const (
	callersCell  = dialect.Listeners + meshKinds + iota // the waypoints that some namespace's workloads have
	facadeCell                                          // Service: its doors
	workloadCell                                        // Pod: who it is, and its doors
)

// Routes.
const (
	rulesCell  = dialect.Routes + iota // of a route
	attachCell                         // of a route: its parents
	routeCell                          // a route: its part and its report
)

// What is reported of what came of the others.
const (
	setStateCell           = dialect.Verdicts + iota // ListenerSet: its report
	gatewayStateCell                                 // Gateway: its report
	policyStateCell                                  // BackendTLSPolicy: its report
	trafficPolicyStateCell                           // XBackendTrafficPolicy: its report
)
