package convert

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"fairway.dev/routing"
)

// gatewayGroup is Gateway API's.
const gatewayGroup = "gateway.networking.k8s.io"

// A converter is one conversion.
type converter struct {
	in       Input
	opts     Options
	services map[name]*corev1.Service
	entries  map[string]*networkingv1.ServiceEntry // by host
	edges    map[name]*networkingv1.Gateway
	shut     map[name]bool // Gateways with servers that redirect to https
	objects  map[string]Object
	out      Result

	// Of the object at hand.
	from routing.ObjectKey
}

// A name is that of an object of a known kind.
type name struct{ namespace, name string }

func newConverter(in Input, o Options) *converter {
	c := &converter{
		in: in, opts: o,
		services: map[name]*corev1.Service{}, entries: map[string]*networkingv1.ServiceEntry{},
		edges: map[name]*networkingv1.Gateway{}, shut: map[name]bool{}, objects: map[string]Object{},
	}
	c.out.From = map[Object][]routing.ObjectKey{}
	for _, s := range in.Services {
		c.services[nameOf(s)] = s
	}
	for _, e := range in.ServiceEntries {
		for _, h := range e.Spec.Hosts {
			c.entries[h] = e
		}
	}
	for _, g := range in.Gateways {
		c.edges[nameOf(g)] = g
	}
	return c
}

func nameOf(o metav1.Object) name { return name{namespaceOf(o), o.GetName()} }

// namespaceOf is "default" where an object says none, as for kubectl.
func namespaceOf(o metav1.Object) string {
	return cmp.Or(o.GetNamespace(), metav1.NamespaceDefault)
}

// begin makes o the object at hand.
func (c *converter) begin(kind string, o metav1.Object) {
	c.from = routing.ObjectKey{Kind: kind, Namespace: namespaceOf(o), Name: o.GetName()}
}

func (c *converter) find(level routing.Level, reason routing.Reason, field, fix, format string, args ...any) {
	p := &routing.Problem{Origin: c.from.Origin().At(field), Reason: reason, Level: level, Fix: fix, Err: fmt.Errorf(format, args...)}
	c.out.Findings = append(c.out.Findings, p)
}

// lost notes what is not in the output.
func (c *converter) lost(field, fix, format string, args ...any) {
	c.find(routing.Warning, NotConverted, field, fix, format, args...)
}

// changed notes what is not the same for every request.
func (c *converter) changed(field, fix, format string, args ...any) {
	c.find(routing.Info, MeaningChanged, field, fix, format, args...)
}

// assumed notes a guess.
func (c *converter) assumed(field, fix, format string, args ...any) {
	c.find(routing.Warning, Assumed, field, fix, format, args...)
}

// meta is that of an object of the output.
func meta(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name}
}

func types(apiVersion, kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: apiVersion, Kind: kind}
}

// put puts an object into the output, made of the object at hand. It returns
// the one that is there already by that name, if there is one.
func (c *converter) put(o Object) Object {
	key := o.GetObjectKind().GroupVersionKind().Kind + " " + o.GetNamespace() + "/" + o.GetName()
	if old := c.objects[key]; old != nil {
		o = old
	} else {
		c.objects[key] = o
	}
	if !slices.Contains(c.out.From[o], c.from) {
		c.out.From[o] = append(c.out.From[o], c.from)
	}
	return o
}

// kindsInOrder are those of the output.
var kindsInOrder = []string{"Gateway", "HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute", "Service", "EndpointSlice", "BackendTLSPolicy", "ReferenceGrant"}

func (c *converter) result() *Result {
	for _, o := range c.objects {
		c.out.Objects = append(c.out.Objects, o)
	}
	slices.SortFunc(c.out.Objects, func(a, b Object) int {
		return cmp.Or(
			cmp.Compare(slices.Index(kindsInOrder, a.GetObjectKind().GroupVersionKind().Kind), slices.Index(kindsInOrder, b.GetObjectKind().GroupVersionKind().Kind)),
			cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
	})
	return &c.out
}

// grant lets objects of a kind refer into another namespace.
func (c *converter) grant(fromKind, fromNamespace, toKind string, to name) {
	if fromNamespace == to.namespace {
		return
	}
	g := c.put(&gatewayv1.ReferenceGrant{
		TypeMeta: types(gatewayGroup+"/v1", "ReferenceGrant"), ObjectMeta: meta(to.namespace, dns("from-"+fromNamespace+"-"+strings.ToLower(fromKind)+"-to-"+strings.ToLower(toKind))),
		Spec: gatewayv1.ReferenceGrantSpec{From: []gatewayv1.ReferenceGrantFrom{{Group: gatewayGroup, Kind: gatewayv1.Kind(fromKind), Namespace: gatewayv1.Namespace(fromNamespace)}}},
	}).(*gatewayv1.ReferenceGrant)
	target := gatewayv1.ReferenceGrantTo{Kind: gatewayv1.Kind(toKind), Name: new(gatewayv1.ObjectName(to.name))}
	for _, t := range g.Spec.To {
		if *t.Name == *target.Name {
			return
		}
	}
	g.Spec.To = append(g.Spec.To, target)
}

// dns shortens a name to what a label may have.
func dns(s string) string {
	if len(s) <= 63 {
		return s
	}
	var sum uint32 = 2166136261 // FNV-1a
	for i := range len(s) {
		sum = (sum ^ uint32(s[i])) * 16777619
	}
	return fmt.Sprintf("%s-%08x", strings.TrimRight(s[:54], "-."), sum)
}
