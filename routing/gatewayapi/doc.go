// Package gatewayapi is the dialect of Gateway API (v1.6): its objects, and the
// core objects that they name, become parts of a [routing.Spec] and a [Report]
// for each object.
//
// A [Translator] remembers what each object came to and what it read for that.
// A change costs what reads the changed object, however many others there are,
// and what comes out as before is not done again by anybody: an edited weight
// is one route, a rescheduled pod one cluster's endpoints, a renewed
// certificate that certificate. The law, which a test holds over random
// histories: any sequence of Updates comes to what a fresh Translator makes of
// the same objects.
//
// # What is decided here
//
// The API leaves to its implementations, or for later:
//
//   - Part of a rule that cannot be done closes the rule, or the share of the
//     backendRef that it belongs to: it answers 500 (a GRPCRoute's 503, which
//     is gRPC's UNAVAILABLE). Only a match that cannot hold is left out; a rule
//     without another one goes with it. Either way the route has
//     PartiallyInvalid, or is not accepted if no rule works. An ExtensionRef
//     is such a part, and an ExternalAuth of a backendRef.
//   - A rule whose ExternalAuth names a server that is not there answers 500. A
//     path of the server without a slash in front gets one.
//   - A listener that terminates TLS without certificates that can be used is
//     not in force. Of several references the good ones serve.
//   - Listeners of one object that nothing tells apart are all left out
//     (GatewaySpec.listeners). Between a Gateway and its ListenerSets rank
//     decides (ListenerSetSpec.listeners), and who is left out keeps nobody
//     else away. What a listener refers to has no say in it: who loses a Secret
//     keeps the hostname. The reason of the conflict is that of Accepted and
//     Programmed too. Protocols without hostnames have a ProtocolConflict. What
//     is said to the author of a ListenerSet names no others but those of its
//     namespace, and the Gateway.
//   - A Gateway without a listener of its own that works is accepted if one of
//     its ListenerSets is. A ListenerSet is accepted if one of its listeners is
//     in force; Accepted=True with the reason ListenersNotValid says that not
//     all are. One that its Gateway does not allow lists no listeners, and
//     routes to it have NoMatchingParent. One whose Gateway does not exist is
//     a Problem, ParentNotFound, and has no status.
//   - Clients of HTTPS listeners are checked as spec.tls.frontend of the Gateway
//     says, those of its ListenerSets too. A CA may be in a ConfigMap or
//     a Secret, under ca.crt; of several references the good ones count, and
//     without any the listener is closed.
//   - A Gateway's certificate for backends (spec.tls.backend) is shown to all
//     that it speaks TLS to and that ask. One that cannot be had is not shown;
//     backends that insist turn the Gateway away.
//   - A Gateway's parameters are those of its GatewayClass, overridden field by
//     field by its own, and a change of either holds at once. Where a reference
//     to parameters is not in order, nothing of the Gateway is in force.
//   - CustomResourceDefinitions of another release than v1.6 are served as well
//     as we can: SupportedVersion=False, Accepted=True.
//   - A port that the gateway needs for itself (Options.Reserved) has
//     PortUnavailable.
//   - Several Gateways may share the addresses of one process. Where no
//     hostname tells two listeners of a port apart, the older Gateway's is in
//     force, and the other's has Accepted=False, PortUnavailable. Clusters, in
//     which each Gateway has its own pods, switch this off (Options.Isolated).
//     There spec.addresses is up to who provisions, but for their types.
//   - An HTTPRoute and a GRPCRoute with a hostname in common on a listener: the
//     younger is turned away there, with the reason HostnameConflict.
//   - A parentRef to a Gateway that does not exist is a Problem of the route,
//     ParentNotFound, and has no status.
//   - A BackendTLSPolicy that is not valid closes its Service (InvalidBackendTLSPolicy).
//   - A TLSRoute, TCPRoute or UDPRoute without a backend that can be used
//     refuses what comes to it. One without rules does too, and of several
//     rules the first alone is in force: no other would get anything.
//   - BackendTLSPolicies hold for TCPRoutes as for TLSRoutes on listeners that
//     terminate TLS: a backend that wants TLS is sent nothing in plain text.
//     They have no say where TLS is passed through, nor about datagrams.
//   - Of the XBackendTrafficPolicies of a Service the oldest that is valid
//     counts, as a whole. A retry budget is kept for each port and in each
//     gateway pod. A session that a policy asks for on any Service of a rule
//     holds for all backends of the rule, unless the rule has one of its own;
//     its cookie's name gets a mark of the rule, as no two rules may share one.
//   - A RateLimitPolicy on a Gateway is for all its listeners of requests, those of
//     its ListenerSets too; with sectionName for one of its own. On a waypoint it is
//     for the doors of the Services that have it, as one on a Service is for those
//     of the Service: what goes out by a waypoint is not counted there. A Service
//     without a waypoint of ours has nobody to count (NotEnrolled). One that is not
//     valid, or whose store is not to be had, stays where it is and counts nothing:
//     all pass, or none with failClosed.
//   - An ExternalName Service is no backend (UnsupportedExternalName).
//   - Another dialect that has joined shapes clusters too (Shaper). What
//     annotations and policies say of a Service comes before it.
//   - Of an EndpointSlice's endpoint the first address counts, as for
//     kube-proxy; its port's appProtocol, and names (addressType FQDN) do not.
//     A pod with an address of each family is one endpoint, by the family that
//     the Service names first.
//   - A Service's spec.trafficDistribution (KEP-4444, KEP-3015) makes gateway
//     pods send to endpoints of their own zone, or node, first, and to others
//     only where none of those is healthy (see package upstream). Hints of
//     EndpointSlices decide who is whose, as for kube-proxy: if every ready
//     endpoint of the port has one, and even if the Service says nothing. So
//     topology aware routing (service.kubernetes.io/topology-mode: Auto) works
//     where its controller hints. Without hints, an endpoint's own zone and
//     nodeName decide. A value that is not known prefers nothing, and is a
//     Problem of the Service.
//   - Expressions in a GRPCRoute's method match are compared as paths are:
//     their length decides, and they come before a service or a method alone.
//   - A Service whose author says https, in appProtocol or in the port's name,
//     without a BackendTLSPolicy, is spoken to by TLS and not verified.
//   - An HTTPRoute and a GRPCRoute to the same port of a Service are rivals as on
//     a listener: the younger is turned away.
//   - An HTTPS or TLS listener asks with the option "fairway.dev/certificate: local-ca"
//     in its tls.options, without certificateRefs, for a certificate of the
//     gateway's local CA.
//
// # The mesh
//
// A Gateway with a listener of protocol HBONE is a waypoint, whatever its class
// is. The labels by which Services and namespaces are enrolled are Istio's, and
// mean the same:
//
//	istio.io/use-waypoint, istio.io/use-waypoint-namespace   Service, Pod, Namespace; "none" opts out
//	istio.io/use-waypoint-canary, -canary-namespace, -weight Service, Namespace: a second waypoint, and its percent (an annotation)
//	istio.io/waypoint-for                                    Gateway, else its GatewayClass: service (default), workload, all, none
//	istio.io/ingress-use-waypoint                            Service, else Namespace: "false" has ingress gateways go straight
//	istio.io/dataplane-mode                                  Pod, else Namespace: "ambient" has its connections captured; "none" not
//	ambient.istio.io/redirection, -/bypass-inbound-capture   Pod: "enabled", and not "true": it is spoken to by HBONE
//	networking.istio.io/traffic-distribution                 a waypoint's Service: as spec.trafficDistribution
//	ambient.istio.io/waypoint-inbound-binding                Gateway, else its GatewayClass: PROXY/PORT
//
// For each port of TCP of a Service that is enrolled there are doors
// ([routing.Listener].Inside): at its own waypoint, one for all waypoints that are
// those of some namespace's workloads, as these call by way of them
// ([routing.CallingGateways]), and besides for each namespace that has routes to
// the Service of its own. A cluster of the
// Service has a Hop, by which everybody but its waypoint goes. What is decided:
//
//   - The waypoint of a namespace's workloads is that of the Namespace's labels:
//     Services' own labels say where those are enforced, and no more. It has to
//     be one for Services.
//   - Who is enrolled and has no waypoint that is there, allows it and has a pod
//     that is ready is reached by nobody (Cluster.Hop leads nowhere). With the
//     annotation "fairway.dev/waypoint-missing: allow" of the Namespace it is
//     reached straight. What the object says is not mended by its namespace.
//   - Who may use a waypoint of another namespace is said by allowedRoutes of its
//     HBONE listener. No route is attached to that listener, it has neither
//     hostname nor tls, and ListenerSets have none. A PROXY protocol header is
//     expected on it only where the parameters name its port.
//   - A waypoint that is not for Services enforces nothing for them, nor does
//     one for a Service without a cluster IP, which nobody dials: the Service's
//     report says so, and where its pods have a waypoint that they have.
//   - A waypoint for workloads is for who dials a pod's own address. As in ztunnel
//     what is dialled decides: who dials a Service, or is sent to one by a gateway,
//     comes to its pods without their waypoint, whoever's that is. So clusters of
//     Services have no Hop for their pods.
//   - A Namespace's waypoint is that of its pods only while it is there and says
//     that it is for them: the default is that it is not. A pod's own label holds
//     in any case, and nobody gets there while that waypoint is missing. Pods in
//     the node's network have no address of their own, and none.
//   - A pod has a door for any port, by which tunnels come, and one for each port
//     of TCP that its containers declare or that Services which select it send to.
//     To these alone node agents can put connections: what dials another port of it
//     from a captured pod comes to it straight, unless a PeerAuthentication of the
//     pod is STRICT, which lets in none but waypoints. What is spoken is found out.
//     Gateways send to the first of several addresses of a pod.
//   - WorkloadEntries are no workloads here, and have no doors.
//   - A canary is that of the Service where the waypoint is by the Service's label,
//     and else the Namespace's too. It serves as the waypoint does, and takes its
//     percent of requests from gateways and of connections from node agents; where
//     it cannot be had all goes by the waypoint, and a Problem says why. Workloads
//     whose own waypoint is the Service's come to that first, in any case.
//   - Services of gateways, by their labels, are never enrolled, and their pods
//     are no workloads: they speak for themselves.
//   - Ingress gateways go by the waypoint unless they are told not to.
//   - A waypoint of another controller is gone by as well, with the Gateway's
//     name as that of its Service and ServiceAccount. It has no doors of ours,
//     and routes to its Services are its own matter.
//   - With the inbound binding PROXY/PORT it is ztunnel that speaks HBONE for a
//     waypoint's pods ([routing.Mesh].Sandwich), at 15008: tunnels come to PORT
//     behind PROXY protocol headers. What its other values ask for (NONE, and PROXY
//     without a port) is refused, and so is the waypoint: the first says neither
//     whose connections they are nor where they go, the second has no port to bind.
//   - What clients speak to a port is what its author says in appProtocol, or in
//     its name up to a dash. An appProtocol that is not known is TCP. Where
//     nobody says, it is found out, and requests go on in the version of HTTP that
//     the client speaks. A TCPRoute of the Service's own namespace that names
//     the port says it, too, where its author does not; another's has no say.
//   - A consumer route takes the place of the producer's where one waypoint is
//     that of both namespaces: a request is routed once. Where the namespace of
//     a consumer route has no waypoint, the route is not accepted (NotEnrolled).
//   - A route that has Services alone as its parents may send to these without
//     a ReferenceGrant: who calls them calls them anyway.
//   - A parentRef to a Service names its ports by port, and by sectionName as
//     their names. Without a waypoint of ours in the cluster, and at Services of
//     others' waypoints, such parents are left alone.
//   - Hostnames of a TLSRoute count at a Service too: they are those in the
//     ClientHello. Those of HTTPRoutes and GRPCRoutes do not (GEP-1426).
//   - A gateway is believed for workloads of the namespaces whose waypoint it is,
//     and for no others ([routing.Voucher]).
//   - A Service that is enrolled with us has the condition
//     fairway.dev/WaypointBound in its report.
//
// # Other networks
//
// A mesh may have several networks, each a cluster with its own objects. The name of
// our own is Options.Network, or the label topology.istio.io/network of the root
// namespace; without one there is one network, and none of this.
//
//	topology.istio.io/network         our Gateway with HBONE in the root namespace, our own network: an east-west gateway
//	istio.io/global                   Service, else Namespace: "true" has its doors at east-west gateways
//	gatewayClassName fairway-remote   a gateway of ours of the network of its label, with spec.addresses
//	gatewayClassName istio-remote     the same, of Istio's
//	gateway.istio.io/service-account  that Gateway: who answers there; its own name, if not
//	fairway.dev/vouches-for           that Gateway: the namespaces it speaks for, "web,bank"; all, if not
//
// Between gateways of ours there is one hop of HBONE, to the gateway at the border.
// Istio's look into no tunnel: there one goes through the other, double HBONE, with
// the same authority twice, and of both ends we can be either.
//
//   - To an istio-remote gateway the outer tunnel has no more than the authority. The
//     inner one is with whoever the gateway chooses, one for each tunnel, and he has to
//     prove one of the identities that are known of the host: in Istio its
//     subjectAltNames, here the service accounts of its WorkloadEntries as well. Where
//     none is known nobody gets there, as with ztunnel. He knows us by our certificate:
//     whom we would vouch for, he does not hear.
//   - At our east-west gateways a stranger, who speaks h2 and asks for a name, means
//     what Istio means: all that he sends is HBONE once more, and goes untouched to a
//     pod of the Service's waypoint, or else to a pod that takes HBONE itself. Where
//     there is neither he is refused. A gateway of ours says by its ALPN that it means
//     one hop. x-istio-source is not believed: the waypoint is never skipped.
//   - What came from another network is not sent to one again, from a Service that is
//     here and there: x-forwarded-network, or an east-west gateway, says that it did.
//
// What is decided:
//
//   - An east-west gateway is asked for names: cart.shop.svc.cluster.local:80. Its
//     doors send to the Service's cluster, whose Hop leads to the Service's own
//     waypoint: policy there is asked as of everybody. A Service without a waypoint is
//     reached straight. Headless Services and ServiceEntries are not exported: what is
//     elsewhere itself would go round.
//   - Here law 14 bends. Our waypoints believe an east-west gateway about every
//     namespace ([routing.EveryNamespace]), as callers of all of the other network come
//     through it: who runs its service account can pass for anybody. So it is in the
//     root namespace, and a label elsewhere makes none; nobody else is believed like
//     that; it passes on only whom a certificate or a voucher of its own has proved
//     ([routing.Mesh].PassOn); and of whom nothing is known it says so.
//   - Whom it believes are the Gateways of remote classes, and no other listener does:
//     one of the root namespace for what its annotation lists, or for everybody, as an
//     east-west gateway there speaks for; one of another namespace, as the waypoint that
//     calls, for that alone. Addresses count in the root namespace alone: who may make
//     a Gateway does not draw another's connections to himself.
//   - Networks share the trust domain, or TrustDomainAliases, and the roots.
//   - Gateways of remote classes are read, whoever's controller they have, and nobody's
//     to run. A name as an address is looked up.
//   - TLS that is passed through by its name, on port 15443 say, is a TLS listener with
//     TLSRoutes, as on any Gateway.
//
// # Ports of the mesh
//
// The ports that stand for those of Services are read from a ConfigMap
// (Options.MeshPorts); until a port has its number, what node agents capture of
// it is refused.
//
// # Annotations of a Service
//
// They say what the API has no word for. A bad one is a Problem of the Service
// (InvalidAnnotation); the others hold.
//
//	fairway.dev/load-balancing               least-request (default), round-robin, random, ring-hash, maglev
//	fairway.dev/hash-on                      source-ip (default), header:NAME, cookie:NAME, query:NAME
//	fairway.dev/max-connections              to each endpoint: a number, or none
//	fairway.dev/max-requests                 active at once: a number, or none
//	fairway.dev/max-pending                  waiting for a connection: a number, or none
//	fairway.dev/max-requests-per-connection  before it is retired: a number, or none
//	fairway.dev/slow-start                   a duration over which a new endpoint comes to its full share
//	fairway.dev/connect-timeout              a duration
//	fairway.dev/idle-timeout                 a duration, of a pooled connection
//	fairway.dev/ejection                     off, or some of consecutive=5,base=1s,max=50%
//	fairway.dev/health-check                 endpoints are asked: http=/PATH, grpc, grpc=SERVICE or tcp, then some of
//	                                         port=8081,interval=10s,timeout=1s,unhealthy=3,healthy=1, and for http
//	                                         host=NAME,status=200-299. What is not ready by its EndpointSlice is not asked
//	fairway.dev/proxy-protocol               v1 or v2: begin each connection with a PROXY protocol header; not for UDP
//
// Durations are GEP-2257's, as in routes: "1h30m", "500ms".
package gatewayapi
