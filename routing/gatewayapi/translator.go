package gatewayapi

import (
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing"
)

// DefaultControllerName is the controller that GatewayClasses of ours name.
const DefaultControllerName = "fairway.dev/gateway-controller"

// Objects is the world as the Translator reads it, from Update only.
type Objects interface {
	// Get returns the object: a *gatewayv1.GatewayClass, Gateway, ListenerSet,
	// HTTPRoute, GRPCRoute, TLSRoute, TCPRoute, UDPRoute, ReferenceGrant or
	// BackendTLSPolicy, a *gatewayxv1alpha1.XBackendTrafficPolicy,
	// a *v1alpha1.GatewayParameters, a *corev1.Namespace, Service, Secret or
	// ConfigMap, a *discoveryv1.EndpointSlice, and of
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

// A Translator turns objects into parts of a Spec, and does again only what a
// change touches. It belongs to one goroutine at a time.
type Translator struct {
	opts   Options
	sheet  sheet
	rivals rivals
}

// New returns a Translator that has translated nothing yet.
func New(objs Objects, opts Options) *Translator {
	t := &Translator{opts: opts}
	t.sheet = sheet{
		formula: t.formula,
		get:     objs.Get,
		changed: t.changed,
		settle:  t.settle,
		cells:   map[cellID]*cell{},
		out:     output{delta: &routing.Delta{}},
	}
	return t
}

// plants are the cells that an object of a kind has for itself. Objects of
// other kinds are read when somebody names them.
var plants = map[string][]cellKind{
	"GatewayClass":          {classCell},
	"Gateway":               {gatewayCell, standingCell, gatewayStateCell},
	"ListenerSet":           {setCell, standingCell, setStateCell},
	"HTTPRoute":             {attachCell, routeCell},
	"GRPCRoute":             {attachCell, routeCell},
	"TLSRoute":              {attachCell, routeCell},
	"TCPRoute":              {attachCell, routeCell},
	"UDPRoute":              {attachCell, routeCell},
	"BackendTLSPolicy":      {policyCell, policyStateCell},
	"XBackendTrafficPolicy": {trafficPolicyCell, trafficPolicyStateCell},
	"EndpointSlice":         {sliceCell},
	"ReferenceGrant":        {grantCell},
}

// Update translates what the changed objects touch: added, edited and removed
// ones alike. The first call names all objects that there are, and each later
// one all that have changed since. It returns what changed in the Spec, and
// the Reports that read differently from before, both in the order of names.
func (t *Translator) Update(changed []routing.ObjectKey) (*routing.Delta, []Report) {
	for _, k := range changed {
		t.sheet.touch(k)
		kinds, ok := plants[k.Kind]
		if !ok || t.sheet.get(k) == nil {
			continue
		}
		for _, kind := range kinds {
			id := cellID{kind: kind, ns: k.Namespace, name: k.Name}
			if kind == standingCell || kind == attachCell || kind == routeCell {
				id.part = k.Kind
			}
			t.sheet.plant(id)
		}
	}
	t.sheet.recalculate()
	return t.sheet.out.take()
}

// Reads reports whether anything reads an object: whether a change of it may
// change what Update returns. Of Secrets and ConfigMaps it is those that a
// reference names, and that a ReferenceGrant allows to be named.
func (t *Translator) Reads(k routing.ObjectKey) bool {
	c := t.sheet.cells[objectID(k)]
	return c != nil && len(c.readers) > 0
}

// formula runs the formula of a cell.
func (t *Translator) formula(r *reading) outcome {
	switch r.id.kind {
	case classCell:
		return t.class(r)
	case grantCell:
		return t.grant(r)
	case permitCell:
		return t.permit(r)
	case sliceCell:
		return t.slice(r)
	case keyPairCell:
		return t.keyPair(r)
	case policyCell:
		return t.policy(r)
	case policyOrderCell:
		return t.policyOrder(r)
	case trafficPolicyCell:
		return t.trafficPolicy(r)
	case serviceCell:
		return t.service(r)
	case endpointsCell:
		return t.endpoints(r)
	case clusterCell:
		return t.cluster(r)
	case backendCell:
		return t.backend(r)
	case gatewayCell:
		return t.gateway(r)
	case frameCell:
		return t.frame(r)
	case validationCell:
		return t.validation(r)
	case identityCell:
		return t.identity(r)
	case setCell:
		return t.listenerSet(r)
	case ownerCell:
		return t.owner(r)
	case socketCell:
		return t.socket(r)
	case hostnameCell:
		return t.hostname(r)
	case standingCell:
		return t.standing(r)
	case portCell:
		return t.port(r)
	case doorsCell:
		return t.doors(r)
	case listenersCell:
		return t.listeners(r)
	case openCell:
		return t.open(r)
	case rulesCell:
		return t.rules(r)
	case attachCell:
		return t.attach(r)
	case routeCell:
		return t.route(r)
	case setStateCell:
		return t.setState(r)
	case gatewayStateCell:
		return t.gatewayState(r)
	case policyStateCell:
		return t.policyState(r)
	case trafficPolicyStateCell:
		return t.trafficPolicyState(r)
	}
	panic("bug: a cell without a formula")
}

// changed lets rivals know where routes want to be attached.
func (t *Translator) changed(c cellID, value any) {
	if c.kind == attachCell {
		a, _ := value.(*attachment)
		t.rivals.replace(c, a)
	}
}

// settle decides between HTTPRoutes and GRPCRoutes once it is known where all
// of them want to be attached, before the routes are put together.
func (t *Translator) settle(rank cellKind) {
	if rank == routeCell {
		for _, c := range t.rivals.settle() {
			if route := t.sheet.cells[cellID{routeCell, c.ns, c.name, c.part}]; route != nil {
				t.sheet.enqueue(route)
			}
		}
	}
}
