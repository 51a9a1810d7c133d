package provision

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing"
	"fairway.dev/routing/v1alpha1"
)

// Wanted is what a Gateway asks for. Nothing in it changes once it was given.
type Wanted struct {
	Gateway    *gatewayv1.Gateway
	Parameters *v1alpha1.GatewayParameters // those that hold; nil means the defaults
	Ports      []Port                      // in force; in any order, and any number of times

	controller gatewayv1.GatewayController // whose it is
}

// A Port is where listeners are.
type Port struct {
	Number   uint16
	Protocol corev1.Protocol // TCP or UDP
	// Sandwich is, of a waypoint for whose pods a node proxy is to speak HBONE, the
	// port by which that hands tunnels on, from inside of the pod; 0: it is not.
	Sandwich uint16
}

// PortOf returns the port of a listener; zero for the door of a waypoint, which
// clients reach through another.
func PortOf(l *routing.Listener) Port {
	if l.Inside {
		return Port{}
	}
	p := Port{Number: l.Port, Protocol: corev1.ProtocolTCP}
	if l.Protocol == routing.UDP {
		p.Protocol = corev1.ProtocolUDP
	}
	if l.Mesh != nil {
		p.Sandwich = l.Mesh.Sandwich
	}
	return p
}

// spec is what the parameters say.
func (w *Wanted) spec() *v1alpha1.GatewayParametersSpec {
	if w.Parameters == nil {
		return &v1alpha1.GatewayParametersSpec{}
	}
	return &w.Parameters.Spec
}

func (w *Wanted) service() *v1alpha1.Service { return orZero(w.spec().Service) }
func (w *Wanted) pods() *v1alpha1.Pods       { return orZero(w.spec().Pods) }

func (w *Wanted) class() string { return string(w.Gateway.Spec.GatewayClassName) }

// name is the base of all names.
func (w *Wanted) name() string { return Name(w.Gateway.Name, w.class()) }

// ports are the ports in order, each once.
func (w *Wanted) ports() []Port {
	ports := slices.DeleteFunc(slices.Clone(w.Ports), func(p Port) bool { return p == Port{} })
	slices.SortFunc(ports, func(a, b Port) int {
		return cmp.Or(cmp.Compare(a.Number, b.Number), cmp.Compare(a.Protocol, b.Protocol))
	})
	return slices.Compact(ports)
}

func (w *Wanted) serviceType() corev1.ServiceType {
	return or(w.service().Type, w.defaultType())
}

// The labels by which objects are known. Users' labels do not replace them.
const (
	labelName      = "app.kubernetes.io/name"
	labelInstance  = "app.kubernetes.io/instance"
	labelComponent = "app.kubernetes.io/component"
	labelManagedBy = "app.kubernetes.io/managed-by"
	labelGateway   = gatewayv1.GatewayNameLabelKey
	labelClass     = gatewayv1.GatewayClassNameLabelKey

	program   = "fairway" // of name and managed-by; the field manager and the container's name too
	component = "gateway"
)

// ownedObjects selects what provisioning makes.
const ownedObjects = labelManagedBy + "=" + program + "," + labelComponent + "=" + component

// selector are the labels by which pods are found. They never change, as the
// selector of a Deployment may not.
func (w *Wanted) selector() map[string]string {
	return map[string]string{
		labelGateway: labelValue(w.Gateway.Name),
		labelClass:   labelValue(w.class()),
	}
}

// labels are ours over each of more, of which the later ones hold.
func (w *Wanted) labels(more ...map[string]string) map[string]string {
	all := map[string]string{}
	if infra := w.Gateway.Spec.Infrastructure; infra != nil {
		for k, v := range infra.Labels {
			all[string(k)] = string(v)
		}
	}
	for _, m := range append(more, w.selector(), w.meshLabels(), map[string]string{
		labelName:      program,
		labelInstance:  w.name(),
		labelComponent: component,
		labelManagedBy: program,
	}) {
		for k, v := range m {
			all[k] = v
		}
	}
	return all
}

func (w *Wanted) annotations(more ...map[string]string) map[string]string {
	all := map[string]string{}
	if infra := w.Gateway.Spec.Infrastructure; infra != nil {
		for k, v := range infra.Annotations {
			all[string(k)] = string(v)
		}
	}
	for _, m := range more {
		for k, v := range m {
			all[k] = v
		}
	}
	return all
}

// meta is the metadata of an object.
func (w *Wanted) meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name:            name,
		Namespace:       w.Gateway.Namespace,
		Labels:          w.labels(),
		Annotations:     w.annotations(),
		OwnerReferences: []metav1.OwnerReference{w.owner()},
	}
}

// owner is the Gateway: with it Kubernetes deletes what it owns.
func (w *Wanted) owner() metav1.OwnerReference {
	yes := true
	return metav1.OwnerReference{
		APIVersion: gatewayv1.GroupVersion.String(),
		Kind:       "Gateway",
		Name:       w.Gateway.Name,
		UID:        w.Gateway.UID,
		Controller: &yes,
	}
}

// or returns what p points to, or the default where it is nil.
func or[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}

// orZero returns p, or a zero T where it is nil.
func orZero[T any](p *T) *T {
	if p == nil {
		return new(T)
	}
	return p
}
