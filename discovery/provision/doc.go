// Package provision gives each Gateway its pods, and the Service in front of
// them, in the Gateway's own namespace.
//
// A [Reconciler] is told what is wanted ([Wanted]) and keeps it so: a
// ServiceAccount, a ConfigMap with the roots of trust, a Deployment, one Service
// or one for each address that is asked for, a PodDisruptionBudget and, where
// parameters say so, a HorizontalPodAutoscaler. What comes back is a [State]:
// the addresses that were really assigned, how many pods are ready, and what
// stands in the way.
//
// The law: an object is ours if its controller is the Gateway, and no other is
// ever changed or deleted. Each is written by server-side apply with the field
// manager "fairway", so that fields of other managers stay as they are. A change
// of our own fields is undone, a deleted object is made again.
//
// # Names
//
// All objects are called "<gateway>-<class>" (GEP-1762). A Service for an
// address that is asked for has the address behind that: "edge-fairway-192-0-2-1".
// What is longer than 63 characters, or no DNS label, is shortened and gets a
// hash. Two Gateways can come to one name ("a-b" of class "c", "a" of class
// "b-c"): the second has Programmed=False with the reason NameTaken.
//
// # What is decided here
//
//   - There are 2 pods by default: one alone makes an outage of each node that
//     fails and each update of a node. The number is ours only where parameters
//     name one. Otherwise it is what the Deployment is created with, and whoever
//     scales it (kubectl, a HorizontalPodAutoscaler, KEDA) decides from then on.
//   - The PodDisruptionBudget says maxUnavailable 1, which lets a node be drained
//     even where there is one pod only. Pods that are not ready hold nothing up.
//   - Listeners' ports are not named in pods: a new port changes the Service and
//     restarts nothing.
//   - A Gateway without a port in force gets no Service, as Kubernetes has none
//     without ports. One that is there already stays with the ports that it last
//     had: a load balancer's address does not go away over a mistake.
//   - infrastructure.labels and annotations stand on every object and on the
//     pods, which are replaced when they change.
//   - What holds for a Gateway that is not accepted any longer is what held
//     before: nobody calls Set or Remove for it.
//   - Removing asks the API server first: only where the Gateway is there and of
//     another class, or its class of another controller, objects are deleted. With
//     a deleted Gateway Kubernetes' garbage collector deletes them; a deleted
//     class does not take its fleets with it.
//   - A GatewayClass whose Gateways have a fleet carries the finalizer
//     gateway-exists-finalizer.gateway.networking.k8s.io, as the API recommends.
//     Before Fairway is uninstalled, Gateways are deleted, or the finalizer.
//
// # Waypoints
//
// A Gateway with an HBONE listener is a waypoint. Its Service has the ports of
// its listeners, 15008, and none of its doors. Without other listeners the Service
// is of type ClusterIP unless parameters say otherwise. Its objects and pods are
// labelled as Istio does it: gateway.istio.io/managed with our controller's name,
// istio.io/use-waypoint=none, as nobody enforces policy for who enforces it; and
// its pods istio.io/dataplane-mode=none, as they speak HBONE themselves. With the
// annotation ambient.istio.io/waypoint-inbound-binding: PROXY/15088, as translation
// reads it ([Port].Sandwich), it is ambient: a node proxy does it for them. "fairway
// serve" is told so by -captured, in the same template, and does as before in pods
// that were made before, or whose labels the author has set to none; port 15088 is
// in no Service, as it is the pod's own affair. Pods are spread over nodes and zones, so that
// there is one near to most who need it.
//
// With [Options.MeshCA] istiod signs who the pods are to others of the mesh, and
// control who they are to itself. Pods have a second token for that, of audience
// istio-ca, and the roots of the ConfigMap istio-ca-root-cert, which istiod keeps
// in every namespace: where that is missing they start, say so and are not ready.
// The token is as good as that of any pod of Istio's: with it istiod tells of the
// mesh what it tells to proxies.
//
// # Whose powers
//
// control may make any pod anywhere; who writes a Gateway may not. So what a
// Gateway and its own parameters ask for comes to our program alone, without
// privileges, in the Gateway's namespace. Another image, values from Secrets,
// priority, overlays and externalIPs are its class's to say or to delegate
// (spec.delegated of GatewayParameters); translation refuses parameters that take
// more. infrastructure's labels and annotations stand on the pods, as the API has
// it: a cluster where those of a pod have power over something else (injected
// containers, further networks) has to say by admission who may set them.
//
// # Addresses
//
// With type LoadBalancer each IP address of spec.addresses has a Service of its
// own with that loadBalancerIP; an address without a value is the load
// balancer's choice, and so is a hostname, which has to be the one that it
// assigns. With ClusterIP and NodePort the IP addresses are the Service's
// externalIPs, if the class delegates them: they may be anybody's (CVE-2020-8554).
// What is not there after ten seconds is AddressNotUsable, and is still waited
// for. Without spec.addresses the addresses are the load balancer's,
// those of the Service (ClusterIP), or of the nodes (NodePort: external ones
// where there are any).
//
// # What it may do
//
// control's ClusterRole needs, in every namespace:
//
//	""                         serviceaccounts, configmaps, services   get list watch create patch delete
//	apps                       deployments                             get list watch create patch delete
//	policy                     poddisruptionbudgets                    get list watch create patch delete
//	autoscaling                horizontalpodautoscalers                get list watch create patch delete
//	""                         pods                                    list watch
//	""                         nodes                                   list watch
//	gateway.networking.k8s.io  gateways                                get
//	gateway.networking.k8s.io  gatewayclasses                          get list patch
//
// Pods are watched for why they do not run, nodes for their addresses and only
// while a Service is of type NodePort. The patch of a GatewayClass is its
// finalizer's.
package provision
