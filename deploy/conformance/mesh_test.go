package conformance

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/gateway-api/conformance"
	"sigs.k8s.io/gateway-api/conformance/utils/suite"
	"sigs.k8s.io/gateway-api/pkg/features"
)

// waypointName is the Gateway of each namespace of the suite's mesh.
const waypointName = "waypoint"

// meshLabels enrol a namespace of the suite: its waypoint serves its Services,
// and what its pods dial is captured.
var meshLabels = map[string]string{
	"istio.io/dataplane-mode": "ambient",
	"istio.io/use-waypoint":   waypointName,
}

// TestMeshConformance runs all tests of the mesh profiles with every feature,
// with a waypoint in each of the suite's two namespaces.
func TestMeshConformance(t *testing.T) {
	opts := conformance.DefaultOptions(t)
	opts.NamespaceLabels = meshLabels
	opts.ConformanceProfiles = []suite.ConformanceProfileName{suite.MeshHTTPConformanceProfileName, suite.MeshGRPCConformanceProfileName}
	opts.SupportedFeatures = features.SetsToNamesSet(
		features.MeshCoreFeatures, features.MeshExtendedFeatures,
		features.HTTPRouteCoreFeatures, features.HTTPRouteExtendedFeatures, features.GRPCRouteCoreFeatures,
	).UnsortedList()
	for _, ns := range []string{suite.MeshNamespace, suite.MeshConsumerNamespace} {
		makeWaypoint(t, opts.Client, ns)
	}
	if opts.RunTest != "" {
		conformance.RunConformanceWithOptions(t, opts)
		return
	}
	runWithReport(t, opts)
}

// makeWaypoint makes a namespace and its waypoint, which stay until the test has
// ended, and waits until that serves.
func makeWaypoint(t *testing.T, c client.Client, ns string) {
	t.Helper()
	ctx := t.Context()
	from := gatewayv1.NamespacesFromSame
	gateway := &gatewayv1.Gateway{
		ObjectMeta: metav1.ObjectMeta{Name: waypointName, Namespace: ns},
		Spec: gatewayv1.GatewaySpec{
			GatewayClassName: "fairway-waypoint",
			Listeners: []gatewayv1.Listener{{
				Name: "mesh", Port: 15008, Protocol: "HBONE",
				AllowedRoutes: &gatewayv1.AllowedRoutes{Namespaces: &gatewayv1.RouteNamespaces{From: &from}},
			}},
		},
	}
	for _, o := range []client.Object{&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns, Labels: meshLabels}}, gateway} {
		if err := c.Create(ctx, o); err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := c.Delete(ctx, gateway); err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	})
	var last []metav1.Condition
	err := wait.PollUntilContextTimeout(ctx, time.Second, 3*time.Minute, true, func(ctx context.Context) (bool, error) {
		var g gatewayv1.Gateway
		if err := c.Get(ctx, types.NamespacedName{Namespace: ns, Name: waypointName}, &g); err != nil {
			return false, err
		}
		last = g.Status.Conditions
		return meta.IsStatusConditionTrue(last, "Programmed"), nil
	})
	if err != nil {
		t.Fatalf("waypoint of %s: %v; conditions %+v", ns, err, last)
	}
}
