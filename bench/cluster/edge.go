package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// An edge is a Gateway of ours with one pod.
type edge struct {
	namespace, name string
	address         string
	pod             corev1.Pod
}

var parametersResource = schema.GroupVersionResource{Group: "fairway.dev", Version: "v1alpha1", Resource: "gatewayparameters"}

// openEdge makes a namespace and a Gateway in it that serves HTTP on port 80 to
// routes and ListenerSets of all namespaces, and waits until it does.
func (l *lab) openEdge(ctx context.Context, namespace string) (*edge, error) {
	e := &edge{namespace: namespace, name: "edge"}
	if err := l.namespaces(ctx, namespace); err != nil {
		return nil, err
	}
	parameters := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "fairway.dev/v1alpha1", "kind": "GatewayParameters",
		"metadata": map[string]any{"name": e.name, "namespace": namespace},
		"spec":     map[string]any{"pods": map[string]any{"replicas": int64(1)}},
	}}
	if _, err := l.dynamic.Resource(parametersResource).Namespace(namespace).Create(ctx, parameters, metav1.CreateOptions{}); err != nil {
		return nil, err
	}
	g := gateway(namespace, e.name, l.class)
	g.Spec.Infrastructure = &gatewayv1.GatewayInfrastructure{ParametersRef: &gatewayv1.LocalParametersReference{
		Group: "fairway.dev", Kind: "GatewayParameters", Name: e.name,
	}}
	if _, err := l.gateways.GatewayV1().Gateways(namespace).Create(ctx, g, metav1.CreateOptions{}); err != nil {
		return nil, err
	}
	return e, l.awaitEdge(ctx, e)
}

// gateway is a Gateway of a class.
func gateway(namespace, name, class string) *gatewayv1.Gateway {
	everywhere := gatewayv1.NamespacesFromAll
	return &gatewayv1.Gateway{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: gatewayv1.GatewaySpec{
			GatewayClassName: gatewayv1.ObjectName(class),
			Listeners: []gatewayv1.Listener{{
				Name: "http", Port: 80, Protocol: gatewayv1.HTTPProtocolType,
				AllowedRoutes: &gatewayv1.AllowedRoutes{Namespaces: &gatewayv1.RouteNamespaces{From: &everywhere}},
			}},
			AllowedListeners: &gatewayv1.AllowedListeners{Namespaces: &gatewayv1.ListenerNamespaces{From: &everywhere}},
		},
	}
}

// awaitEdge waits until a Gateway is programmed, its pod is ready, and its
// address takes connections.
func (l *lab) awaitEdge(ctx context.Context, e *edge) error {
	var last error
	err := await(ctx, 2*time.Minute, 100*time.Millisecond, "Gateway "+e.namespace+"/"+e.name+" serves", func() bool {
		last = l.edgeReady(ctx, e)
		return last == nil
	})
	return errors.Join(err, last)
}

func (l *lab) edgeReady(ctx context.Context, e *edge) error {
	g, err := l.gateways.GatewayV1().Gateways(e.namespace).Get(ctx, e.name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if !isTrue(g.Status.Conditions, string(gatewayv1.GatewayConditionProgrammed), g.Generation) {
		return errors.New("not programmed")
	}
	if len(g.Status.Addresses) == 0 {
		return errors.New("no address")
	}
	e.address = g.Status.Addresses[0].Value
	pods, err := l.readyPods(ctx, e.namespace, "gateway.networking.k8s.io/gateway-name="+e.name)
	if err != nil {
		return err
	}
	if len(pods) != 1 {
		return fmt.Errorf("%d pods, want 1", len(pods))
	}
	e.pod = pods[0]
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(e.address, "80"), time.Second)
	if err != nil {
		return err
	}
	return conn.Close()
}

// isTrue reports whether a condition is True of this generation of its object.
func isTrue(conditions []metav1.Condition, kind string, generation int64) bool {
	for _, c := range conditions {
		if c.Type == kind {
			return c.Status == metav1.ConditionTrue && c.ObservedGeneration == generation
		}
	}
	return false
}

// parent is how routes of other namespaces name the Gateway.
func (e *edge) parent() gatewayv1.ParentReference {
	namespace := gatewayv1.Namespace(e.namespace)
	return gatewayv1.ParentReference{Namespace: &namespace, Name: gatewayv1.ObjectName(e.name)}
}
