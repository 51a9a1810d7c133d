package provision

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing"
)

// release looks at a Gateway that is not wanted. Its objects are deleted only
// where the API server says that it is somebody else's now: a translation that
// lacks an object for a moment takes no fleet away.
func (t *term) release(ctx context.Context, key routing.ObjectKey) error {
	t.forget(key)
	var gateway *gatewayv1.Gateway
	var failed error
	for _, k := range t.kinds {
		for _, o := range t.ownedBy(k.name, key) {
			if gateway == nil {
				g, err := t.o.Gateways.GatewayV1().Gateways(key.Namespace).Get(ctx, key.Name, metav1.GetOptions{})
				if apierrors.IsNotFound(err) {
					return nil // Kubernetes collects what it owned
				} else if err != nil {
					return fmt.Errorf("get Gateway %s/%s: %w", key.Namespace, key.Name, err)
				}
				gateway = g
			}
			if gatewayOf(o).UID != gateway.UID {
				continue // of a deleted one
			}
			foreign, err := t.foreign(ctx, gateway, o)
			if err != nil {
				return err
			}
			if foreign {
				failed = errors.Join(failed, t.remove(ctx, k, o))
			}
		}
	}
	return failed
}

// foreign reports whether an object's Gateway has gone over to another class
// than the object was made for, or its class to another controller.
func (t *term) foreign(ctx context.Context, g *gatewayv1.Gateway, o metav1.Object) (bool, error) {
	if labelValue(string(g.Spec.GatewayClassName)) != o.GetLabels()[labelClass] {
		return true, nil
	}
	class, err := t.o.Gateways.GatewayV1().GatewayClasses().Get(ctx, string(g.Spec.GatewayClassName), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("get GatewayClass %s: %w", g.Spec.GatewayClassName, err)
	}
	return class.Spec.ControllerName != t.o.ControllerName, nil
}

// classes looks at each GatewayClass of ours, and at the Gateways that have
// objects and are not wanted.
func (t *term) classes(ctx context.Context) error {
	list, err := t.o.Gateways.GatewayV1().GatewayClasses().List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list GatewayClasses: %w", err)
	}
	for i := range list.Items {
		t.queue.Add(item{class: list.Items[i].Name})
	}
	return nil
}

// class puts the finalizer on a GatewayClass while a fleet is of that class,
// and takes it off when none is.
func (t *term) class(ctx context.Context, name string) error {
	classes := t.o.Gateways.GatewayV1().GatewayClasses()
	c, err := classes.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	} else if err != nil {
		return fmt.Errorf("get GatewayClass %s: %w", name, err)
	}
	const finalizer = gatewayv1.GatewayClassFinalizerGatewaysExist
	has, used := slices.Contains(c.Finalizers, finalizer), t.uses(name)
	if c.Spec.ControllerName != t.o.ControllerName || has == used || used && c.DeletionTimestamp != nil {
		return nil // of what is being deleted nobody may hold more than there is
	}
	finalizers := append([]string{}, c.Finalizers...)
	if used {
		finalizers = append(finalizers, finalizer)
	} else {
		finalizers = slices.DeleteFunc(finalizers, func(f string) bool { return f == finalizer })
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"resourceVersion": c.ResourceVersion, // others have finalizers too
		"finalizers":      finalizers,
	}})
	if err != nil {
		return err
	}
	_, err = classes.Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: program})
	if apierrors.IsConflict(err) {
		return errSoon
	} else if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("patch GatewayClass %s: %w", name, err)
	}
	return nil
}
