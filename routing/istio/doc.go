// Package istio is the dialect of Istio's networking API (v1, v1beta1 and
// v1alpha3 of networking.istio.io): Gateway, VirtualService, DestinationRule,
// ServiceEntry, WorkloadEntry; of its security API (security.istio.io):
// AuthorizationPolicy, RequestAuthentication and PeerAuthentication; and of
// telemetry.istio.io and MeshConfig what a gateway can honour. It joins the sheet of package gatewayapi, whose listeners
// VirtualServices are attached to and whose clusters they send to.
//
// A field that is not honoured is a Problem of its object, never silently
// ignored.
//
// # Gateways
//
// A Gateway is served by fleets: Gateways of Gateway API that are ours, whose
// pods have the labels that it selects. Those are spec.infrastructure.labels,
// the labels of their GatewayParameters, and gateway.networking.k8s.io/gateway-name
// and gateway-class-name (gatewayapi.PodLabels). One without a selector is served
// by all fleets; a folder of manifests has no pods, and one fleet for all.
//
// Plain HTTP of all Gateways on a port of a fleet comes in by one listener
// without a hostname, as in Istio their VirtualServices share a table of routes:
// "istio-system/ingress/http:80". Hosts that redirect to https have listeners of
// their own. Of TLS each host has one, "istio-system/ingress/tls:443:shop.example.com",
// and those of a server are a group: no request for one is misdirected on
// a connection for another.
//
// What is decided here, besides:
//
//   - Of two Gateways that want one port for different protocols, or one host of
//     a port with TLS, the older wins, host by host, and the other has a Problem.
//     Listeners of Gateway API come before both.
//   - Where a listener of Gateway API has a port of plain HTTP, or TCP,
//     VirtualServices are attached to it too, for the hosts that they share, and
//     httpsRedirect is a rule there that comes after all HTTPRoutes. One with TLS is nobody else's: what it asks of clients is its author's word.
//   - TLS that cannot be had as its author asked (a missing Secret, files, which
//     gateway pods have not, ISTIO_MUTUAL, which is for waypoints) closes the
//     listener. It refuses its clients, and keeps its host: no less specific one
//     takes what is its own.
//   - credentialName is the name of a Secret in the namespace of the fleet's pods,
//     as in Istio, and in no other. Who may create Gateways may so have a fleet
//     show a key pair that lies beside it for hosts of his choice. He sees no
//     key, and no Secret of another namespace is ever read for him.
//   - A Secret may have tls.crt, tls.key, ca.crt and ca.crl, or cert, key, cacert
//     and crl. The CA of clients is that of caCertCredentialName, else of the
//     Secret "NAME-cacert", else of the Secret itself.
//   - subjectAltNames, verifyCertificateSpki and verifyCertificateHash are asked
//     of certificates that lead to the CA, not in place of that. Each issuer of
//     a chain needs a list in the CRL, as in OpenSSL.
//   - cipherSuites have the names of OpenSSL or IANA. Where we have none of them,
//     TLS 1.3 alone is spoken, whose suites are not for anybody to choose.
//   - AUTO_PASSTHROUGH gets clients to Services, not to hosts of ServiceEntries.
//   - A MeshConfig (ConfigMap "istio" of the root namespace, key "mesh") that is
//     not valid holds in no part: the defaults do until it is corrected.
//
// # VirtualServices
//
// The http rules of a VirtualService become a route, "VirtualService/shop/reviews",
// its tcp rules another, with the mark "#tcp", and its tls rules one for each
// match ("#tls/00001/00000"), as each has names of its own. Where they come to
// something else by port, Gateway, or namespace of the gateway's pods, there are
// several, and what they differ in stands behind another '#'.
//
// Rules stand in their author's order, those of older VirtualServices first, and
// behind all routes of Gateway API on the same host. A match that takes every
// request ends its VirtualService, and comes after all others of the host (see
// package routing). The Report says what no request gets to, and whose rules
// come first: it compares matches as far as that is plain.
//
// What is decided here, besides:
//
//   - A match that is not valid is left out, all of it. A rule whose action is
//     not valid answers 500. A destination that is not there answers its share
//     with 503. Mirrors, faults and origins that cannot be are left out.
//   - A rule whose delegate is not there is left out, as in Istio: what of its
//     requests the delegate would take is not known. So is a delegate's rule that
//     has a match which no match of the root's covers.
//   - Who sends is not known at a gateway that is not a waypoint, and his labels
//     are nowhere: sourceNamespace there, and sourceLabels, hold for nobody, with
//     gateways beside them or without. The subnets of tls and tcp matches count,
//     which Istio's gateways take no notice of.
//   - A field whose value has Envoy's operators is not written, but what it would
//     have replaced is removed all the same: nobody else's value stands for it.
//   - redirect.derivePort FROM_PROTOCOL_DEFAULT means no port at all, as Istio
//     documents it. A redirect's uri has no query.
//   - A star in allowOrigins counts alone, as "*" or the expression ".*"; in an
//     origin, and as a prefix, it is a star.
//   - Destinations with weight 0 stay in force without a share, so that their
//     connections and health are there when they get one.
//   - The age of VirtualServices alone decides between them, then "namespace/name":
//     not which of the Gateways or servers of a port is first, nor that one is
//     exported to fewer namespaces. All hosts that one has in common with a server
//     are its own, "*.example.com" besides "*" too. Case of hosts never counts.
//   - A condition of retryOn that is not known here is left out, and a redirect
//     names no port that is the scheme's own.
//   - Of several rules for every request on a host the oldest VirtualService's
//     counts.
//
// # Between pods
//
// "mesh" among the Gateways of a VirtualService, or none at all, are the doors of
// waypoints for those of its hosts that are Services, or hosts of ServiceEntries.
// Beside what it is about it is for everybody, at that one's own waypoint. In
// another namespace it is for the workloads of its own, at the waypoint that they
// go by, where it takes the place of what the producer says. Either way exportTo
// may name namespaces in place of that: it is for their workloads then. "*" makes
// nobody's rules out of those of another namespace: that is for its author to say.
// A request's host does not count: the address that was dialled has led there.
//
//   - All VirtualServices of a door count, the older first, and come after routes
//     of Gateway API, as everywhere; in Istio the oldest alone would.
//   - What is sent to something that has a waypoint goes by it, from Gateways and
//     from other waypoints. It chooses among all endpoints by its own rules, so
//     that subsets of the sender's are not kept. The Report says so.
//   - A ServiceEntry is enrolled by labels, as Services are. Its clients dial
//     spec.addresses or, where there are none, those of its status. Hosts of one
//     entry share a door: they have to lead to the same endpoints.
//   - WorkloadEntries, and endpoints, of another network than our own are reached by
//     its gateways: these are asked for the host and the port that clients dial, and
//     know the rest. Where a host, a Service's too, is here and there, those here come
//     first, and the gateways take what is sent while none of them is healthy; several
//     networks share that by the weights of their workloads. Behind Istio's gateways
//     subjectAltNames and serviceAccount say who may answer. Where our own network has
//     no name, all are reached directly.
//
// # Security
//
// Policies are in force at Gateways, and at the doors of waypoints: of those of
// what a door is for, at that one's own waypoint. A waypoint that clients go by on
// their way there enforces nothing. They add to each other: a listener names all
// AuthorizationPolicies about it, and has the rules of all RequestAuthentications.
//
// What one is about:
//
//   - targetRefs: a Gateway of its namespace (its listeners, and all that has it
//     as its waypoint), a Service or a ServiceEntry of its namespace, and in the
//     root namespace a GatewayClass (all Gateways of the class).
//   - a selector: Gateways whose pods have the labels, pods that have them and a
//     waypoint themselves (istio.io/waypoint-for), and Services whose own
//     selector has them, so that all the pods behind the door are meant. In the
//     root namespace it selects in all namespaces.
//   - neither: all of its namespace, and of the mesh in the root namespace.
//
// Istio's waypoints take no notice of a selector, nor of a namespace's policy:
// those are for sidecars and ztunnel, who are not here, so that nobody would
// enforce them. Where a selector picks some of the pods of a Service, a waypoint
// does not tell these from the others, and nobody enforces it here either. Its
// Report says that, and what of all that it is about has no waypoint.
//
//   - An AuthorizationPolicy that cannot be had as it is written refuses all that
//     it is about. So does a CUSTOM one, whom its rules hold for, whose provider
//     is not there. failOpen is not honoured.
//   - DISABLE of a PeerAuthentication is PERMISSIVE. Whoever comes to a door has
//     to have proved who he is where that is asked of clients of the pods behind
//     it; of a part of them is enough.
//   - A waypoint sends plain text to pods, on which node agents let nobody else
//     in where a PeerAuthentication is STRICT; by HBONE to those that say that
//     they speak it.
//   - Trust domains are Options': MeshConfig is compared with them.
//
// # Destinations
//
// A host is a Service (NAME.NAMESPACE.svc.DOMAIN, or NAME in its namespace), or
// one that a ServiceEntry has. A Service comes before any ServiceEntry, so that
// nobody takes its name; a ServiceEntry of the gateway pods' namespace before
// others, and then the oldest. exportTo, and Istio's annotation of Services, are
// about the namespace of the gateway pods, which is the client here.
//
// A Service's port without marks is the cluster that routes of Gateway API send
// to: "shop/reviews:9080". They share its connections and its health. A subset
// has one of its own, "shop/reviews:9080|v1", of the endpoints whose pods, or
// WorkloadEntries, have its labels. A host of a ServiceEntry has
// "ServiceEntry/egress/api.example.com:443".
//
// DestinationRules count by Istio's order: those of the client's namespace, else
// of the host's, else of the root namespace, by the most specific host. Those
// that are exported to everybody shape the cluster that all gateways share, and
// so hold for HTTPRoutes too. Where a client's are others, or need a Secret of
// the client (credentialName), it has a variant, "shop/reviews:9080~edge".
//
// What a Service's own author says there is no other word for comes first: a
// BackendTLSPolicy decides alone about TLS, so that nobody weakens it;
// an XBackendTrafficPolicy and annotations (fairway.dev/...) come before what
// the rules of the host's and the root namespace say of the same thing, and
// after those of a client's. The rule's Report says what is overridden.
//
// What is decided here, besides:
//
//   - TLS that cannot be had as a rule wants it (a missing Secret, files, which
//     gateway pods have not) closes the cluster: nothing is sent in plain text
//     where TLS was asked for. HTTPRoutes have no client, so their requests to a
//     host whose rule has credentialName are answered with 500.
//   - SIMPLE and MUTUAL verify against the roots of the system unless there is
//     a credential. A stream has no host of a request: without sni its server is
//     verified by the host that it is sent to.
//   - Rules of one host and namespace are one whatever their exportTo, as far as
//     the client sees them. Where the destinations of a route hash differently,
//     each does by its own rule.
//   - The gateways of a namespace share their clusters: a rule with
//     a workloadSelector is for all of them as soon as it picks one.
//   - ISTIO_MUTUAL says nothing: what has a waypoint is reached by mTLS of the
//     mesh in any case, and what has none has no identity.
//   - A RetryBudget bounds how many retries are begun in an interval, not how
//     many are under way at once.
//   - Limits that a rule does not set have our defaults (see package upstream):
//     they keep a gateway alive, where Istio has none.
//   - Resolution NONE, and DYNAMIC_DNS, send to where DNS says that the host of
//     the request is, if the entry has that host. Streams name none.
//   - A workloadSelector finds pods by EndpointSlices, which have their
//     addresses: one that no Service picks is not found.
//   - A pod is where its label istio-locality says, or else its node. failover
//     and failoverPriority may be together, and then the labels count first.
package istio
