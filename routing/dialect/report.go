package dialect

import (
	"errors"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing"
	"fairway.dev/routing/v1alpha1"
)

// A Report is the outcome for one object: the status that belongs into it, as
// far as translation can know. Conditions carry no lastTransitionTime.
// Programmed=True says that the gateway pods can serve it, not yet that they
// do: whoever writes status holds it back until they have acknowledged.
type Report struct {
	Object routing.ObjectKey

	// Gone says that there is no more to report: the object is gone, or is
	// not ours any longer. All else is empty.
	Gone bool

	Conditions []metav1.Condition               // GatewayClass, Gateway, ListenerSet; nil where the object has none of ours
	Listeners  []gatewayv1.ListenerStatus       // Gateway, ListenerSet (whose ListenerEntryStatus has the same fields)
	Parents    []gatewayv1.RouteParentStatus    // routes; only parents that are ours
	Ancestors  []gatewayv1.PolicyAncestorStatus // policies; only ancestors that are ours

	// Names are the Spec's names of Listeners, one for each; empty for one
	// that has no part in the Spec, as it cannot be served.
	Names []routing.ListenerName
	// Gateway is the Gateway that a ListenerSet belongs to; zero otherwise.
	Gateway routing.ObjectKey
	// AttachedListenerSets counts the ListenerSets of a Gateway that are
	// accepted; nil for other objects.
	AttachedListenerSets *int32
	// SupportedFeatures are those of a GatewayClass, in order of their names.
	SupportedFeatures []gatewayv1.SupportedFeature
	// Parameters are those that hold for a Gateway: its own over its class's.
	// Nil where they cannot be had, and for other objects.
	Parameters *v1alpha1.GatewayParameters

	// Problems are the parts of the object that are not in force.
	Problems []*routing.Problem
}

// Problem notes a part that is not in force.
func (r *Report) Problem(field, reason, message string) {
	r.Problems = append(r.Problems, &routing.Problem{
		Origin: r.Object.Origin().At(field),
		Reason: routing.Reason(reason),
		Err:    errors.New(message),
	})
}

// Find notes what is odd about a part, or not in force, and what its author may
// do about it, which may be empty.
func (r *Report) Find(level routing.Level, field, reason, message, fix string) {
	r.Problem(field, reason, message)
	p := r.Problems[len(r.Problems)-1]
	p.Level, p.Fix = level, fix
}

// String prints the report for people, a line for each condition and Problem:
//
//	HTTPRoute shop/cart
//	  parent Gateway shop/edge: Accepted=True (Accepted), generation 2
//	  parent Gateway shop/edge: ResolvedRefs=False (BackendNotFound), generation 2: Service shop/no: not found
//	  problem spec.rules[0].backendRefs[0]: BackendNotFound: Service shop/no: not found
func (r Report) String() string {
	var b strings.Builder
	b.WriteString(r.Object.String())
	if r.Gone {
		b.WriteString(": gone")
	}
	if r.Gateway.Name != "" {
		b.WriteString(" of " + r.Gateway.String())
	}
	b.WriteByte('\n')
	printConditions(&b, "", r.Conditions)
	if n := r.AttachedListenerSets; n != nil && *n > 0 {
		fmt.Fprintf(&b, "  listener sets: %d attached\n", *n)
	}
	for _, l := range r.Listeners {
		kinds := make([]string, len(l.SupportedKinds))
		for i, k := range l.SupportedKinds {
			kinds[i] = string(k.Kind)
		}
		fmt.Fprintf(&b, "  listener %s: %d attached, kinds %v\n", l.Name, l.AttachedRoutes, kinds)
		printConditions(&b, fmt.Sprintf("listener %s: ", l.Name), l.Conditions)
	}
	for _, p := range r.Parents {
		printConditions(&b, "parent "+printRef(p.ParentRef, r.Object.Namespace)+": ", p.Conditions)
	}
	for _, a := range r.Ancestors {
		printConditions(&b, "ancestor "+printRef(a.AncestorRef, r.Object.Namespace)+": ", a.Conditions)
	}
	for _, p := range r.Problems {
		level := "problem"
		if p.Level != routing.Error {
			level = strings.ToLower(string(p.Level))
		}
		fmt.Fprintf(&b, "  %s %s: %s: %v", level, p.Origin.Field, p.Reason, p.Err)
		if p.Fix != "" {
			b.WriteString("; " + p.Fix)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func printConditions(b *strings.Builder, of string, list []metav1.Condition) {
	for _, c := range list {
		fmt.Fprintf(b, "  %s%s=%s (%s), generation %d", of, c.Type, c.Status, c.Reason, c.ObservedGeneration)
		if c.Message != "" {
			b.WriteString(": " + c.Message)
		}
		b.WriteByte('\n')
	}
}

func printRef(ref gatewayv1.ParentReference, ns string) string {
	kind, of := "Gateway", ns
	if ref.Kind != nil {
		kind = string(*ref.Kind)
	}
	if ref.Namespace != nil {
		of = string(*ref.Namespace)
	}
	s := kind + " " + of + "/" + string(ref.Name)
	if ref.SectionName != nil {
		s += "/" + string(*ref.SectionName)
	}
	if ref.Port != nil {
		s += fmt.Sprintf(":%d", *ref.Port)
	}
	return s
}
