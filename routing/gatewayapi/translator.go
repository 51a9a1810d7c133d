package gatewayapi

import "fairway.dev/routing"

// DefaultControllerName is the controller that GatewayClasses of ours name.
const DefaultControllerName = "fairway.dev/gateway-controller"

// Objects is the world as the Translator reads it. Its user is the Translator,
// which calls it from Update only.
type Objects interface {
	// Get returns the object: a *gatewayv1.GatewayClass, Gateway, HTTPRoute,
	// GRPCRoute, ReferenceGrant or BackendTLSPolicy, a *corev1.Namespace,
	// Service, Secret or ConfigMap, a *discoveryv1.EndpointSlice; nil where
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
}

// A Translator turns objects into parts of a Spec, and does again only what a
// change touches. It belongs to one goroutine at a time.
type Translator struct {
	objs Objects
	opts Options
}

// New returns a Translator that has translated nothing yet.
func New(objs Objects, opts Options) *Translator {
	if opts.ControllerName == "" {
		opts.ControllerName = DefaultControllerName
	}
	return &Translator{objs: objs, opts: opts}
}

// Update translates what the changed objects touch: added, edited and removed
// ones alike; the first call names all that there are. It returns what changed
// in the Spec, and the Reports that read differently from before, both in the
// order of names.
func (t *Translator) Update(changed []routing.ObjectKey) (*routing.Delta, []Report) {
	return &routing.Delta{}, nil
}
