package gatewayapi

import (
	"cmp"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing"
	"fairway.dev/routing/dialect"
)

// DefaultControllerName is the controller that GatewayClasses of ours name.
const DefaultControllerName = "fairway.dev/gateway-controller"

// Objects is the world as the Translator reads it, from Update only.
type Objects interface {
	// Get returns the object: a *gatewayv1.GatewayClass, Gateway, ListenerSet,
	// HTTPRoute, GRPCRoute, TLSRoute, TCPRoute, UDPRoute, ReferenceGrant or
	// BackendTLSPolicy, a *gatewayxv1alpha1.XBackendTrafficPolicy,
	// a *v1alpha1.GatewayParameters or RateLimitPolicy, a *corev1.Namespace, Service, Secret or
	// ConfigMap or Pod, a *discoveryv1.EndpointSlice, and of
	// a CustomResourceDefinition a *metav1.PartialObjectMetadata; nil where
	// there is none. What it returns never changes: an edit is another object.
	Get(routing.ObjectKey) any
}

// Options are what a Translator may be told. The zero Options are ready to use.
type Options struct {
	// ControllerName is the spec.controllerName of the GatewayClasses that
	// are ours. If empty, DefaultControllerName.
	ControllerName string

	// DefaultClass is a GatewayClass that is ours even where there is no
	// object of that name, as in a folder of manifests. If empty, none.
	DefaultClass string

	// Isolated says that each Gateway has pods and addresses of its own, so
	// that the ports of two Gateways never collide. Otherwise all Gateways
	// share the addresses of one process, and the older one has the port.
	Isolated bool

	// Reserved are TCP ports that the gateway needs for itself, and for what:
	// a listener that wants one is not accepted. If nil, PodPorts where
	// Isolated is set, and none otherwise.
	Reserved map[uint16]string

	// TrustDomain is that of the mesh's identities. If empty, "cluster.local".
	// Those of TrustDomainAliases are believed as well.
	TrustDomain        string
	TrustDomainAliases []string

	// ClusterDomain ends the names of Services. If empty, "cluster.local".
	ClusterDomain string

	// RootNamespace is that whose policies are for the whole mesh, for dialects
	// that join. If empty, "istio-system".
	RootNamespace string

	// Network is the name of the cluster's own network. If empty, that which the
	// label topology.istio.io/network of RootNamespace says; without it there is
	// one network.
	Network string

	// MeshPorts is the ConfigMap, as "NAMESPACE/NAME", of the ports that stand for
	// those of Services (see MeshPortKey). If empty, DefaultMeshPorts.
	MeshPorts string

	// Base is the name of the Service, the Deployment and the ServiceAccount of
	// a Gateway of a class. If nil, the Gateway's own.
	Base func(gateway, class string) string
}

// PodPorts are the ports that the pods of a Gateway need for themselves.
var PodPorts = map[uint16]string{15021: "health checks and metrics"}

func (o Options) reserved() map[uint16]string {
	if o.Reserved == nil && o.Isolated {
		return PodPorts
	}
	return o.Reserved
}

func (o Options) controllerName() gatewayv1.GatewayController {
	if o.ControllerName == "" {
		return DefaultControllerName
	}
	return gatewayv1.GatewayController(o.ControllerName)
}

func (o Options) trustDomain() string { return cmp.Or(o.TrustDomain, "cluster.local") }

func (o Options) clusterDomain() string { return cmp.Or(o.ClusterDomain, "cluster.local") }

func (o Options) rootNamespace() string { return cmp.Or(o.RootNamespace, "istio-system") }

func (o Options) base(gateway, class string) string {
	if o.Base == nil {
		return gateway
	}
	return o.Base(gateway, class)
}

// A Translator turns objects into parts of a Spec, and does again only what a
// change touches. It belongs to one goroutine at a time.
type Translator struct {
	opts        Options
	sheet       *dialect.Sheet
	rivals      rivals
	shaper      Shaper
	tellsRoutes bool // see TellRoutes
	wantsPods   bool // see WantsPods
}

// New returns a Translator that has translated nothing yet.
func New(objs Objects, opts Options) *Translator {
	t := &Translator{opts: opts, sheet: dialect.NewSheet(objs.Get)}
	for kind, formula := range t.formulas() {
		t.sheet.Define(kind, func(r *dialect.Reading) outcome { return formula(&reading{r}) })
	}
	for kind, cells := range plants {
		t.sheet.Plant(kind, func(k routing.ObjectKey) []cellID { return cellsOf(cells, k) })
	}
	for _, kind := range meshRouteKinds {
		t.sheet.Plant(kind, func(k routing.ObjectKey) []cellID { return mentionsOf(objs, k) })
	}
	t.sheet.Plant("Gateway", func(k routing.ObjectKey) []cellID { return waypointOf(objs, k) })
	t.sheet.Plant("Service", func(k routing.ObjectKey) []cellID { return boundOf(objs, k) })
	t.sheet.Watch(attachCell, t.attaches)
	t.sheet.Settle(routeCell, t.settle)
	return t
}

// Sheet is what another dialect is joined to, before the first Update.
func (t *Translator) Sheet() *dialect.Sheet { return t.sheet }

// plants are the cells that an object of a kind has for itself. Objects of
// other kinds are read when somebody names them.
var plants = map[string][]cellKind{
	"GatewayClass":          {classCell},
	"Gateway":               {memberCell, gatewayCell, standingCell, gatewayStateCell},
	"ListenerSet":           {setCell, standingCell, setStateCell},
	"HTTPRoute":             {attachCell, routeCell},
	"GRPCRoute":             {attachCell, routeCell},
	"TLSRoute":              {attachCell, routeCell},
	"TCPRoute":              {attachCell, routeCell},
	"UDPRoute":              {attachCell, routeCell},
	"BackendTLSPolicy":      {policyCell, policyStateCell},
	"XBackendTrafficPolicy": {trafficPolicyCell, trafficPolicyStateCell},
	kindRateLimit:           {rateLimitCell, rateLimitPartCell, rateLimitStateCell},
	"EndpointSlice":         {sliceCell},
	"ReferenceGrant":        {grantCell},
	"Namespace":             {consumesCell},
	"Service":               {facadeCell},
	"Pod":                   {workloadCell},
}

// cellsOf returns the cells of those kinds that an object has for itself.
func cellsOf(kinds []cellKind, k routing.ObjectKey) []cellID {
	ids := make([]cellID, len(kinds))
	for i, kind := range kinds {
		ids[i] = cellID{Kind: kind, NS: k.Namespace, Name: k.Name}
		if kind == standingCell || kind == attachCell || kind == routeCell {
			ids[i].Part = k.Kind
		}
	}
	return ids
}

// Options returns what the Translator was told, with the defaults of the mesh,
// for another dialect.
func (t *Translator) Options() Options {
	o := t.opts
	o.TrustDomain, o.ClusterDomain, o.RootNamespace = o.trustDomain(), o.clusterDomain(), o.rootNamespace()
	return o
}

// WantPods has WantsPods say so, for another dialect.
func (t *Translator) WantPods() { t.wantsPods = true }

// WantsPods reports whether Pods are read: once there has been a waypoint of
// ours. It is asked again after each Update.
func (t *Translator) WantsPods() bool { return t.wantsPods }

// Update translates what the changed objects touch: added, edited and removed
// ones alike. The first call names all objects that there are, and each later
// one all that have changed since. It returns what changed in the Spec, and
// the Reports that read differently from before, both in the order of names.
func (t *Translator) Update(changed []routing.ObjectKey) (*routing.Delta, []Report) {
	return t.sheet.Update(changed)
}

// Reads reports whether anything reads an object: whether a change of it may
// change what Update returns. Of Secrets and ConfigMaps it is those that a
// reference names, and that a ReferenceGrant allows to be named.
func (t *Translator) Reads(k routing.ObjectKey) bool { return t.sheet.Reads(k) }

// formulas are what the cells of each kind come to.
func (t *Translator) formulas() map[cellKind]func(*reading) outcome {
	return map[cellKind]func(*reading) outcome{
		classCell:              t.class,
		grantCell:              t.grant,
		permitCell:             t.permit,
		sliceCell:              t.slice,
		keyPairCell:            t.keyPair,
		policyCell:             t.policy,
		policyOrderCell:        t.policyOrder,
		trafficPolicyCell:      t.trafficPolicy,
		serviceCell:            t.service,
		memberCell:             t.member,
		namespaceCell:          t.namespace,
		consumerCell:           t.consumer,
		consumesCell:           t.consumes,
		vouchersCell:           t.vouchers,
		networkCell:            t.network,
		eastWestCell:           t.eastWest,
		remotesCell:            t.remotes,
		farCell:                t.far,
		networkGatewaysCell:    t.networkGateways,
		meshCell:               t.mesh,
		readyCell:              t.ready,
		bindingCell:            t.binding,
		selectorsCell:          t.selectors,
		meshPortsCell:          t.meshPorts,
		meshShardCell:          t.meshShard,
		podCell:                t.pod,
		mentionsCell:           t.mentions,
		endpointsCell:          t.endpoints,
		waypointCell:           t.waypoint,
		callersCell:            t.callers,
		facadeCell:             t.facade,
		workloadCell:           t.workload,
		clusterCell:            t.cluster,
		backendCell:            t.backend,
		gatewayCell:            t.gateway,
		frameCell:              t.frame,
		validationCell:         t.validation,
		identityCell:           t.identity,
		setCell:                t.listenerSet,
		ownerCell:              t.owner,
		socketCell:             t.socket,
		hostnameCell:           t.hostname,
		standingCell:           t.standing,
		portCell:               t.port,
		doorsCell:              t.doors,
		listenersCell:          t.listeners,
		openCell:               t.open,
		rulesCell:              t.rules,
		attachCell:             t.attach,
		routeCell:              t.route,
		setStateCell:           t.setState,
		gatewayStateCell:       t.gatewayState,
		policyStateCell:        t.policyState,
		trafficPolicyStateCell: t.trafficPolicyState,
		rateLimitCell:          t.rateLimit,
		rateLimitPartCell:      t.rateLimitPart,
		rateLimitStateCell:     t.rateLimitState,
	}
}

// attaches lets rivals know where routes want to be attached.
func (t *Translator) attaches(c cellID, value any) {
	a, _ := value.(*attachment)
	t.rivals.replace(c, a)
}

// settle decides between HTTPRoutes and GRPCRoutes once it is known where all
// of them want to be attached, before the routes are put together.
func (t *Translator) settle() {
	for _, c := range t.rivals.settle() {
		t.sheet.Enqueue(cellID{Kind: routeCell, NS: c.NS, Name: c.Name, Part: c.Part})
	}
}
