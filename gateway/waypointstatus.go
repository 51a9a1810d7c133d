package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing"
	"fairway.dev/routing/gatewayapi"
)

// isWaypoint reports whether a Gateway has a listener of HBONE.
func isWaypoint(g *gatewayv1.Gateway) bool {
	return slices.ContainsFunc(g.Spec.Listeners, func(l gatewayv1.Listener) bool { return routing.Protocol(l.Protocol) == routing.HBONE })
}

// waypointOf returns the waypoint, "namespace/name", that labels of an object of
// a namespace ask for, or else those of the namespace; false where that is none.
func waypointOf(namespace string, own, inherited map[string]string) (string, bool) {
	for _, labels := range []map[string]string{own, inherited} {
		switch name := labels[useWaypoint]; name {
		case "":
		case noWaypoint:
			return "", false
		default:
			return cmp.Or(labels[useWaypointNamespace], namespace) + "/" + name, true
		}
	}
	return "", false
}

// An enrolment is of a Service, or of a Namespace without a name: who enforces
// policy for it.
type enrolment struct {
	namespace, name string
	waypoint        string // "namespace/name"; empty: none
	bound           *metav1.Condition
}

func (e enrolment) String() string {
	if e.name == "" {
		return "namespace " + e.namespace
	}
	return "Service " + e.namespace + "/" + e.name
}

type enrolments []enrolment

// with are those that use a waypoint.
func (all enrolments) with(waypoint string) (users []string) {
	for _, e := range all {
		if e.waypoint == waypoint {
			users = append(users, e.String())
		}
	}
	return users
}

// enrolments returns what is to be had of the Services of a namespace, or all,
// and of the namespaces.
func (w *waypoints) enrolments(ctx context.Context, namespace string) (all enrolments, err error) {
	namespaces, err := w.core.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	labels := map[string]map[string]string{}
	for i := range namespaces.Items {
		ns := &namespaces.Items[i]
		labels[ns.Name] = ns.Labels
		if waypoint, ok := waypointOf(ns.Name, nil, ns.Labels); ok && (namespace == metav1.NamespaceAll || namespace == ns.Name) {
			all = append(all, enrolment{namespace: ns.Name, waypoint: waypoint})
		}
	}
	services, err := w.core.CoreV1().Services(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	for i := range services.Items {
		s := &services.Items[i]
		if _, ours := s.Labels[gatewayv1.GatewayNameLabelKey]; ours {
			continue // a Gateway's own has nothing to enrol
		}
		waypoint, _ := waypointOf(s.Namespace, s.Labels, labels[s.Namespace])
		all = append(all, enrolment{
			namespace: s.Namespace, name: s.Name, waypoint: waypoint,
			bound: meta.FindStatusCondition(s.Status.Conditions, gatewayapi.ConditionWaypointBound),
		})
	}
	return all, nil
}

// list prints the waypoints, one in a line.
func (w *waypoints) list(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	namespace := w.namespace
	if w.all {
		namespace = metav1.NamespaceAll
	}
	gateways, err := w.gateways.GatewayV1().Gateways(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	all, err := w.enrolments(ctx, metav1.NamespaceAll)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(w.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAMESPACE\tNAME\tCLASS\tFOR\tADDRESS\tSERVICES\tPROGRAMMED")
	for i := range gateways.Items {
		g := &gateways.Items[i]
		if !isWaypoint(g) {
			continue
		}
		services := 0
		for _, e := range all {
			if e.name != "" && e.waypoint == g.Namespace+"/"+g.Name {
				services++
			}
		}
		_, state := programmedOf(g)
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%d\t%s\n", g.Namespace, g.Name, g.Spec.GatewayClassName,
			cmp.Or(g.Labels[waypointFor], "service"), addressOf(g), services, state)
	}
	return table.Flush()
}

// status prints how the waypoint is, and each Service of the namespace. It
// returns errFound if policy is not enforced that should be.
func (w *waypoints) status(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	all, err := w.enrolments(ctx, metav1.NamespaceAll)
	if err != nil {
		return err
	}
	found, err := w.printWaypoint(ctx)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(w.out, 0, 0, 2, ' ', 0)
	for _, e := range all {
		if e.name == "" || e.namespace != w.namespace && e.waypoint != w.key() {
			continue
		}
		where, ok := e.enforced()
		found = found || !ok
		fmt.Fprintf(table, "  Service %s/%s\t%s\n", e.namespace, e.name, where)
	}
	if err := w.printPods(ctx, table); err != nil {
		return err
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if found {
		return errFound
	}
	return nil
}

// enforced says where policy for a Service is enforced, or why it is not; false
// where it should be.
func (e enrolment) enforced() (where string, ok bool) {
	switch {
	case e.waypoint == "" && e.bound == nil:
		return "not enrolled", true
	case e.bound == nil:
		return "enrolled with " + e.waypoint + ", which control has yet to look at", false
	case e.bound.Status != metav1.ConditionTrue:
		return fmt.Sprintf("%s: %s", e.bound.Reason, e.bound.Message), false
	}
	return cmp.Or(e.bound.Message, "enforced at Gateway "+e.waypoint), true
}

// printWaypoint prints how the waypoint itself is, and whether anything is wrong
// with it. That there is none is no error: others may be used.
func (w *waypoints) printWaypoint(ctx context.Context) (found bool, err error) {
	gateways, err := w.gateways.GatewayV1().Gateways(w.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return false, err
	}
	i := slices.IndexFunc(gateways.Items, func(g gatewayv1.Gateway) bool { return g.Name == w.name && isWaypoint(&g) })
	if i < 0 {
		fmt.Fprintf(w.out, "waypoint %s: there is none\n", w.key())
		return false, nil
	}
	g := &gateways.Items[i]
	ready, pods, err := w.readyPods(ctx)
	if err != nil {
		return false, err
	}
	ok, state := programmedOf(g)
	fmt.Fprintf(w.out, "waypoint %s: class %s, for %s, at %s, %d of %d pods ready, programmed: %s\n", w.key(), g.Spec.GatewayClassName,
		cmp.Or(g.Labels[waypointFor], "service"), addressOf(g), ready, pods, state)
	return !ok, nil
}

// printPods counts by namespaces the pods that are reached by way of the waypoint
// at their own addresses too, where it is for pods.
func (w *waypoints) printPods(ctx context.Context, table io.Writer) error {
	g, err := w.gateways.GatewayV1().Gateways(w.namespace).Get(ctx, w.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	} else if err != nil {
		return err
	}
	purpose, ok := g.Labels[waypointFor]
	if !ok { // its class's, then
		class, err := w.gateways.GatewayV1().GatewayClasses().Get(ctx, string(g.Spec.GatewayClassName), metav1.GetOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
		purpose = class.GetLabels()[waypointFor]
	}
	if purpose != "workload" && purpose != "all" {
		return nil
	}
	counts, err := w.enrolledPods(ctx)
	for _, ns := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintf(table, "  pods of namespace %s: %d\tenforced at Gateway %s, at their own addresses\n", ns, counts[ns], w.key())
	}
	return err
}

// enrolledPods counts the pods whose waypoint this is, by their namespaces.
func (w *waypoints) enrolledPods(ctx context.Context) (map[string]int, error) {
	namespaces, err := w.core.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	labels := map[string]map[string]string{}
	for i := range namespaces.Items {
		labels[namespaces.Items[i].Name] = namespaces.Items[i].Labels
	}
	pods, err := w.core.CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{LabelSelector: "!" + gatewayv1.GatewayNameLabelKey})
	if err != nil {
		return nil, err
	}
	counts := map[string]int{}
	for i := range pods.Items {
		p := &pods.Items[i]
		if waypoint, _ := waypointOf(p.Namespace, p.Labels, labels[p.Namespace]); waypoint == w.key() && !p.Spec.HostNetwork {
			counts[p.Namespace]++
		}
	}
	return counts, nil
}

// readyPods counts the waypoint's pods.
func (w *waypoints) readyPods(ctx context.Context) (ready, all int, err error) {
	pods, err := w.core.CoreV1().Pods(w.namespace).List(ctx, metav1.ListOptions{LabelSelector: gatewayv1.GatewayNameLabelKey + "=" + w.name})
	if err != nil {
		return 0, 0, err
	}
	for i := range pods.Items {
		if slices.ContainsFunc(pods.Items[i].Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		}) {
			ready++
		}
	}
	return ready, len(pods.Items), nil
}

// programmedOf says whether pods have a Gateway in force, and why not.
func programmedOf(g *gatewayv1.Gateway) (ok bool, text string) {
	c := meta.FindStatusCondition(g.Status.Conditions, string(gatewayv1.GatewayConditionProgrammed))
	switch {
	case c == nil:
		return false, "Unknown"
	case c.Status == metav1.ConditionTrue:
		return true, "True"
	}
	return false, fmt.Sprintf("%s (%s: %s)", c.Status, c.Reason, c.Message)
}

func addressOf(g *gatewayv1.Gateway) string {
	if len(g.Status.Addresses) == 0 {
		return "no address"
	}
	return g.Status.Addresses[0].Value
}
