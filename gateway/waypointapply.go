package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayapply "sigs.k8s.io/gateway-api/applyconfiguration/apis/v1"

	"fairway.dev/routing"
)

const (
	// waypointManager is who the API server says has written a waypoint.
	waypointManager = "fairway-waypoint"
	readyPoll       = time.Second
	requestTimeout  = 30 * time.Second // of all requests of a verb, but for waiting
)

// apply makes the waypoint, or changes it. The namespace is enrolled last, when
// the waypoint is ready: traffic to what is enrolled without one is refused.
func (w *waypoints) apply(ctx context.Context) error {
	asking, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	if w.enroll {
		if err := w.mayEnroll(asking); err != nil {
			return err
		}
	}
	g, err := w.gateways.GatewayV1().Gateways(w.namespace).Apply(asking, w.wanted(), metav1.ApplyOptions{
		FieldManager: waypointManager, Force: w.overwrite,
	})
	if apierrors.IsConflict(err) {
		return fmt.Errorf("waypoint %s/%s: %w; -overwrite takes them over", w.namespace, w.name, err)
	} else if err != nil {
		return err
	}
	fmt.Fprintf(w.out, "waypoint %s/%s applied\n", g.Namespace, g.Name)
	if !w.wait && !w.enroll {
		return nil
	}
	if err := w.untilReady(ctx, g.Generation); err != nil {
		if w.enroll {
			err = fmt.Errorf("%w; namespace %s is not enrolled", err, w.namespace)
		}
		return err
	}
	fmt.Fprintf(w.out, "waypoint %s/%s ready\n", g.Namespace, g.Name)
	if !w.enroll {
		return nil
	}
	return w.enrollNamespace(ctx)
}

// wanted is the waypoint's Gateway.
func (w *waypoints) wanted() *gatewayapply.GatewayApplyConfiguration {
	g := gatewayapply.Gateway(w.name, w.namespace).WithSpec(gatewayapply.GatewaySpec().
		WithGatewayClassName(gatewayv1.ObjectName(w.class)).
		WithListeners(gatewayapply.Listener().
			WithName("mesh").WithPort(routing.HBONEPort).WithProtocol(gatewayv1.ProtocolType(routing.HBONE)).
			WithAllowedRoutes(gatewayapply.AllowedRoutes().
				WithNamespaces(gatewayapply.RouteNamespaces().WithFrom(gatewayv1.FromNamespaces(w.from))))))
	if w.purpose != "" {
		g.WithLabels(map[string]string{waypointFor: w.purpose})
	}
	return g
}

// untilReady waits until the Gateway is Programmed in that generation, or says
// what is in the way.
func (w *waypoints) untilReady(ctx context.Context, generation int64) error {
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	why := errors.New("nobody has looked at it: is Fairway installed, and is there that GatewayClass?")
	for {
		g, err := w.gateways.GatewayV1().Gateways(w.namespace).Get(ctx, w.name, metav1.GetOptions{})
		if err != nil && ctx.Err() == nil {
			return err
		}
		if err == nil {
			c := meta.FindStatusCondition(g.Status.Conditions, string(gatewayv1.GatewayConditionProgrammed))
			if c != nil && c.Status == metav1.ConditionTrue && c.ObservedGeneration >= generation {
				return nil
			}
			if c != nil && c.ObservedGeneration >= generation {
				why = fmt.Errorf("%s: %s", c.Reason, c.Message)
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waypoint %s/%s is not ready after %v: %w", w.namespace, w.name, w.timeout, why)
		case <-time.After(readyPoll):
		}
	}
}

// mayEnroll returns an error if the namespace has another waypoint, that nobody
// said is to be overwritten.
func (w *waypoints) mayEnroll(ctx context.Context) error {
	ns, err := w.core.CoreV1().Namespaces().Get(ctx, w.namespace, metav1.GetOptions{})
	if err != nil {
		return err
	}
	has, ok := waypointOf(w.namespace, nil, ns.Labels)
	switch {
	case w.overwrite || !ok && ns.Labels[useWaypoint] != noWaypoint:
		return nil
	case !ok:
		return fmt.Errorf("namespace %s has %s=%s: want -overwrite to change that", w.namespace, useWaypoint, noWaypoint)
	case has != w.key():
		return fmt.Errorf("namespace %s has waypoint %s: want -overwrite to change that", w.namespace, has)
	}
	return nil
}

// enrollNamespace labels the namespace.
func (w *waypoints) enrollNamespace(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	if err := w.mayEnroll(ctx); err != nil { // it may have changed while we waited
		return err
	}
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"labels": map[string]any{useWaypoint: w.name, useWaypointNamespace: nil}, // nil takes it out
	}})
	if err != nil {
		return err
	}
	_, err = w.core.CoreV1().Namespaces().Patch(ctx, w.namespace, types.MergePatchType, body, metav1.PatchOptions{FieldManager: waypointManager})
	if err != nil {
		return err
	}
	fmt.Fprintf(w.out, "namespace %s uses it\n", w.namespace)
	return nil
}

// remove deletes the waypoint. While somebody is enrolled with it that would
// have them refused.
func (w *waypoints) remove(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	g, err := w.gateways.GatewayV1().Gateways(w.namespace).Get(ctx, w.name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if !isWaypoint(g) {
		return fmt.Errorf("%s is no waypoint: the Gateway has no listener of protocol %s", w.key(), routing.HBONE)
	}
	if !w.force {
		all, err := w.enrolments(ctx, metav1.NamespaceAll)
		if err != nil {
			return err
		}
		if users := all.with(w.key()); len(users) > 0 {
			return fmt.Errorf("waypoint %s is used by %s: who calls them would be refused; want the label %s taken off first, or -force",
				w.key(), firstOf(users), useWaypoint)
		}
	}
	err = w.gateways.GatewayV1().Gateways(w.namespace).Delete(ctx, w.name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &g.UID}})
	if err != nil {
		return err
	}
	fmt.Fprintf(w.out, "waypoint %s deleted\n", w.key())
	return nil
}

// key is the waypoint's "namespace/name".
func (w *waypoints) key() string { return w.namespace + "/" + w.name }

// firstOf names the first of a list.
func firstOf(list []string) string {
	const most = 5
	if len(list) <= most {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:most], ", "), len(list)-most)
}
