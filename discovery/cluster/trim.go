package cluster

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"unique"

	"google.golang.org/protobuf/proto"
	metav1alpha1 "istio.io/api/meta/v1alpha1"
	extensionsv1alpha1 "istio.io/client-go/pkg/apis/extensions/v1alpha1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	networkingv1alpha3 "istio.io/client-go/pkg/apis/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairway.dev/routing/gatewayapi"
)

// trimCustom leaves a custom resource its spec, its status, which who writes
// status must keep for others, and of its metadata what identifies, dates and
// selects it.
func trimCustom(o object) {
	o.SetManagedFields(nil)
	o.SetOwnerReferences(nil)
	o.SetFinalizers(nil)
	o.SetGenerateName("")
	o.SetAnnotations(annotationsRead(o))
}

// trimIstio leaves an object of Istio's its spec, and no status.
func trimIstio(o object) {
	trimCustom(o)
	reflect.ValueOf(o).Elem().FieldByName("Status").SetZero()
}

// trimWorkloadEntry leaves of the status what Istio's agents say of the
// workload's health.
func trimWorkloadEntry(o object) {
	entry := o.(*networkingv1.WorkloadEntry)
	var said []*metav1alpha1.IstioCondition
	for _, c := range entry.Status.Conditions {
		if c.Type == "Healthy" {
			said = append(said, &metav1alpha1.IstioCondition{Type: c.Type, Status: c.Status})
		}
	}
	trimIstio(o)
	entry.Status.Conditions = said
}

// alike reports whether a translation reads two custom resources of one key
// alike: the API server counts the versions of a spec.
func alike(a, b object) bool {
	return a.GetUID() == b.GetUID() && a.GetGeneration() == b.GetGeneration() &&
		a.GetDeletionTimestamp().Equal(b.GetDeletionTimestamp()) &&
		maps.Equal(a.GetLabels(), b.GetLabels()) && maps.Equal(a.GetAnnotations(), b.GetAnnotations()) && alikeHealth(a, b)
}

func alikeHealth(a, b object) bool {
	x, ok := a.(*networkingv1.WorkloadEntry)
	y, same := b.(*networkingv1.WorkloadEntry)
	return !ok || !same || proto.Equal(&x.Status, &y.Status)
}

var domainsRead = []string{
	"fairway.dev", gatewayGroup, "service.kubernetes.io",
	"istio.io", istioGroup, "proxy.istio.io", "ambient.istio.io", "topology.istio.io",
}

// annotationsRead returns the annotations that anything here may read. Those
// of other tools come and go without a meaning for us, and kubectl's hold the
// whole object once more.
func annotationsRead(o object) map[string]string {
	all := o.GetAnnotations()
	maps.DeleteFunc(all, func(name, _ string) bool {
		domain, _, _ := strings.Cut(name, "/")
		return !slices.Contains(domainsRead, domain)
	})
	if len(all) == 0 {
		return nil
	}
	return all
}

// The kinds below have no status of ours: without the resourceVersion, equal
// objects are equal.

func trimService(o object) {
	s := o.(*corev1.Service)
	s.ObjectMeta = metav1.ObjectMeta{
		Namespace: s.Namespace, Name: s.Name, CreationTimestamp: s.CreationTimestamp,
		Labels: s.Labels, Annotations: annotationsRead(s),
	}
	s.Status = corev1.ServiceStatus{Conditions: slices.DeleteFunc(s.Status.Conditions, func(c metav1.Condition) bool {
		return c.Type != gatewayapi.ConditionWaypointBound // ours
	})}
}

func trimEndpointSlice(o object) {
	s := o.(*discoveryv1.EndpointSlice)
	s.ObjectMeta = metav1.ObjectMeta{
		Namespace: s.Namespace, Name: s.Name, Labels: pick(s.Labels, discoveryv1.LabelServiceName),
	}
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		e.Hostname, e.DeprecatedTopology = nil, nil
		if e.TargetRef != nil {
			e.TargetRef = &corev1.ObjectReference{Kind: e.TargetRef.Kind, Name: e.TargetRef.Name}
		}
	}
}

func trimNamespace(o object) {
	n := o.(*corev1.Namespace)
	n.ObjectMeta = metav1.ObjectMeta{Name: n.Name, Labels: n.Labels, Annotations: annotationsRead(n)}
	n.Spec, n.Status = corev1.NamespaceSpec{}, corev1.NamespaceStatus{}
}

// trimNode leaves where the node is.
func trimNode(o object) {
	n := o.(*metav1.PartialObjectMetadata)
	n.ObjectMeta = metav1.ObjectMeta{
		Name: n.Name, Labels: pick(n.Labels, corev1.LabelTopologyZone, corev1.LabelTopologyRegion, "topology.istio.io/subzone"),
	}
}

// trimPod leaves who the pod is, where it is, whether it lives, and which ports it
// says that it has. What many pods say is held once.
func trimPod(o object) {
	p := o.(*corev1.Pod)
	var owners []metav1.OwnerReference
	if c := metav1.GetControllerOfNoCopy(p); c != nil {
		owners = []metav1.OwnerReference{{Kind: once(c.Kind), Name: once(c.Name), Controller: &controls}}
	}
	*p = corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: once(p.Namespace), Name: p.Name, Labels: onceEach(p.Labels), Annotations: annotationsRead(p),
			DeletionTimestamp: p.DeletionTimestamp, OwnerReferences: owners,
		},
		Spec: corev1.PodSpec{
			ServiceAccountName: once(p.Spec.ServiceAccountName), NodeName: once(p.Spec.NodeName), HostNetwork: p.Spec.HostNetwork,
			Containers: portsOnce(slices.Concat(p.Spec.InitContainers, p.Spec.Containers)), // of sidecars, too
		},
		Status: corev1.PodStatus{Phase: corev1.PodPhase(once(string(p.Status.Phase))), PodIPs: p.Status.PodIPs},
	}
}

var controls = true

// once returns s as all who have the same text hold it.
func once(s string) string { return unique.Make(s).Value() }

func onceEach(labels map[string]string) map[string]string {
	if len(labels) == 0 {
		return nil
	}
	held := make(map[string]string, len(labels))
	for name, value := range labels {
		held[once(name)] = once(value)
	}
	return held
}

// What follows is refused whatever it says: how much it says is not held.

func trimEnvoyFilter(o object) {
	trimIstio(o)
	o.(*networkingv1alpha3.EnvoyFilter).Spec.ConfigPatches = nil
}

func trimSidecar(o object) {
	trimIstio(o)
	spec := &o.(*networkingv1.Sidecar).Spec
	spec.Ingress, spec.Egress = nil, nil
}

func trimWasmPlugin(o object) {
	trimIstio(o)
	spec := &o.(*extensionsv1alpha1.WasmPlugin).Spec
	spec.PluginConfig, spec.VmConfig = nil, nil
}

// trimDefinition leaves the bundle's version and channel.
func trimDefinition(o object) {
	d := o.(*metav1.PartialObjectMetadata)
	d.ObjectMeta = metav1.ObjectMeta{
		Name: d.Name, UID: d.UID, Generation: d.Generation, Annotations: annotationsRead(d),
	}
}

// trimContent leaves a Secret or ConfigMap its content, and what is watched of
// it the resourceVersion alone: annotations may hold the content too.
func trimContent(o object) {
	meta := metav1.ObjectMeta{Namespace: o.GetNamespace(), Name: o.GetName(), ResourceVersion: o.GetResourceVersion()}
	switch o := o.(type) {
	case *metav1.PartialObjectMetadata:
		o.ObjectMeta = meta
	case *corev1.Secret:
		o.ObjectMeta = meta
	case *corev1.ConfigMap:
		o.ObjectMeta = meta
	}
}

// sameContent reports whether two Secrets or ConfigMaps hold the same.
func sameContent(a, b object) bool {
	switch a := a.(type) {
	case *corev1.Secret:
		b, ok := b.(*corev1.Secret)
		return ok && a.Type == b.Type && reflect.DeepEqual(a.Data, b.Data)
	case *corev1.ConfigMap:
		b, ok := b.(*corev1.ConfigMap)
		return ok && reflect.DeepEqual(a.Data, b.Data) && reflect.DeepEqual(a.BinaryData, b.BinaryData)
	}
	return false
}

// pick returns some of the labels.
func pick(labels map[string]string, names ...string) map[string]string {
	var some map[string]string
	for _, name := range names {
		if value, ok := labels[name]; ok {
			if some == nil {
				some = map[string]string{}
			}
			some[name] = value
		}
	}
	return some
}
