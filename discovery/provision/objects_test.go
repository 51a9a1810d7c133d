package provision

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"fairway.dev/discovery/apitest"
	"fairway.dev/routing/v1alpha1"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// gateway is the Gateway of a test, with more in its spec as inline YAML.
func gateway(t *testing.T, spec string) apitest.Object {
	t.Helper()
	var o apitest.Object
	text := "{metadata: {name: edge, namespace: shop, uid: uid-1}, spec: {gatewayClassName: fairway, " + spec + "}}"
	if err := yaml.Unmarshal([]byte(text), &o); err != nil {
		t.Fatal(err)
	}
	return o
}

// TestObjects compares all that is applied for a Gateway with testdata: each
// file has the Gateway's spec and its parameters' in two documents.
func TestObjects(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no testdata: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			spec, parameters, _ := strings.Cut(string(data), "\n---\n")
			o := gateway(t, "")
			if err := yaml.Unmarshal([]byte(spec), o["spec"]); err != nil {
				t.Fatal(err)
			}
			w := wanted(t, o, parameters, http80, https443, Port{Number: 53, Protocol: corev1.ProtocolUDP}, http80)
			w.controller = "fairway.dev/gateway-controller"
			options := &Options{Image: "fairway:test", Control: "control:15012", ControlID: "spiffe://cluster.local/ns/fairway-system/sa/fairway"}
			if strings.HasSuffix(file, "istiod.yaml") {
				options.MeshCA = &MeshCA{Address: "istiod.istio-system.svc:15012", ClusterID: "Kubernetes", TrustDomain: "mesh.example"}
			}
			all, err := w.all(options, []byte("roots\n"), w.replicasOver(nil))
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			e := yaml.NewEncoder(&got)
			e.SetIndent(2)
			for _, d := range all {
				var plain apitest.Object
				read(t, d.fields, &plain)
				if err := e.Encode(plain); err != nil {
					t.Fatal(err)
				}
			}
			golden := strings.TrimSuffix(file, ".yaml") + ".golden"
			if *update {
				if err := os.WriteFile(golden, got.Bytes(), 0o666); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Bytes(), want) {
				t.Errorf("%s is not what is applied; see the difference after go test -update", golden)
			}
		})
	}
}

func TestResourcesContradictNothing(t *testing.T) {
	tests := []struct{ parameters, want string }{
		{"{}", "cpu 25m, memory 128Mi, at most 1Gi"},
		{"autoscaling: {}", "cpu 250m, memory 128Mi, at most 1Gi"},
		{"pods: {resources: {requests: {cpu: 2}}}", "cpu 2, memory 128Mi, at most 1Gi"},
		{"pods: {resources: {limits: {memory: 64Mi}}}", "cpu 25m, memory 64Mi, at most 64Mi"}, // no request over the limit
		{"pods: {resources: {requests: {memory: 4Gi}}}", "cpu 25m, memory 4Gi, at most 4Gi"},  // no limit under the request
		{"pods: {resources: {requests: {memory: 1Gi}, limits: {memory: 2Gi}}}", "cpu 25m, memory 1Gi, at most 2Gi"},
	}
	for _, tt := range tests {
		w := wanted(t, gateway(t, ""), tt.parameters)
		r := w.resources()
		got := "cpu " + r.Requests.Cpu().String() + ", memory " + r.Requests.Memory().String() + ", at most " + r.Limits.Memory().String()
		if got != tt.want {
			t.Errorf("%s: %s, want %s", tt.parameters, got, tt.want)
		}
	}
}

func TestReplicaBounds(t *testing.T) {
	tests := []struct {
		autoscaling string
		least, most int32
	}{
		{"{}", 2, 10},
		{"{minReplicas: 1}", 1, 10},
		{"{minReplicas: 20}", 20, 20},
		{"{maxReplicas: 1}", 1, 1},
		{"{maxReplicas: 5}", 2, 5},
		{"{minReplicas: 3, maxReplicas: 4}", 3, 4},
	}
	for _, tt := range tests {
		w := wanted(t, gateway(t, ""), "autoscaling: "+tt.autoscaling)
		if least, most := w.replicaBounds(); least != tt.least || most != tt.most {
			t.Errorf("%s: %d to %d, want %d to %d", tt.autoscaling, least, most, tt.least, tt.most)
		}
	}
}

func TestOverlays(t *testing.T) {
	tests := []struct {
		name, overlays string
		kind           string
		want           string // a line of the object, or of the error
	}{
		{"a field", "{kind: Deployment, patch: {spec: {template: {spec: {hostNetwork: true}}}}}", kindDeployment, "hostNetwork: true"},
		{"lists by key", "{kind: Deployment, patch: {spec: {template: {spec: {containers: [{name: fairway, tty: true}]}}}}}", kindDeployment, "image: fairway:test"},
		{"one more container", "{kind: Deployment, patch: {spec: {template: {spec: {containers: [{name: other, image: o}]}}}}}", kindDeployment, "image: fairway:test"},
		{"something less", "{kind: Service, patch: {spec: {type: null}}}", kindService, "name: edge-fairway"},
		{"the later one", "{kind: Service, patch: {spec: {sessionAffinity: None}}}, {kind: Service, patch: {spec: {sessionAffinity: ClientIP}}}", kindService, "sessionAffinity: ClientIP"},
		{"not the name", "{kind: Service, patch: {metadata: {name: other}}}", kindService, "name: edge-fairway"},
		{"not the owner", "{kind: Service, patch: {metadata: {ownerReferences: null}}}", kindService, "kind: Gateway"},
		{"not what pods are found by", "{kind: Service, patch: {spec: {selector: {a: b}}}}", kindService, "gateway.networking.k8s.io/gateway-name: edge"},
		{"not the pods' labels", "{kind: Deployment, patch: {spec: {selector: null, template: {metadata: {labels: null}}}}}", kindDeployment, "gateway.networking.k8s.io/gateway-name: edge"},
		{"of another kind", "{kind: ConfigMap, patch: {data: {root-cert.pem: x}}}", kindService, "name: edge-fairway"},
		{"no patch", "{kind: Service, patch: {spec: {$patch: bogus}}}", kindService, "spec.overlays[0]: Service: "},
	}
	for _, tt := range tests {
		w := wanted(t, gateway(t, ""), "overlays: ["+tt.overlays+"]", http80)
		all, err := w.all(&Options{Image: "fairway:test"}, []byte("roots"), nil)
		if err != nil {
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
			}
			continue
		}
		for _, d := range all {
			if d.kind != tt.kind {
				continue
			}
			var plain apitest.Object
			read(t, d.fields, &plain)
			text, err := yaml.Marshal(plain)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(text), tt.want) || strings.Contains(string(text), "other\n    namespace") {
				t.Errorf("%s: no %q in\n%s", tt.name, tt.want, text)
			}
		}
	}
}

// No overlay, whatever is in it, makes an object another's, or its pods.
func FuzzOverlay(f *testing.F) {
	for _, patch := range []string{
		`{"metadata": null, "spec": null}`, `{"metAdAtA": []}`, `{"metadata": {"Name": []}}`, `{"metadata": [], "spec": "x"}`, `{"$patch": "delete"}`, `{"$patch": "replace"}`,
		`{"spec": {"template": {"metadata": 1, "spec": {"containers": [1]}}}}`, `{"spec": {"selector": {"$retainKeys": ["x"]}}}`,
		`{"spec": {"ports": [{"port": "x", "$patch": "delete"}]}}`, `{"metadata": {"labels": {"$patch": "replace", "a": "b"}}}`,
	} {
		f.Add(patch)
	}
	kinds := []string{kindServiceAccount, kindConfigMap, kindService, kindDeployment, kindBudget, kindAutoscaler}
	f.Fuzz(func(t *testing.T, patch string) {
		w := wanted(t, apitest.Object{
			"metadata": apitest.Object{"name": "edge", "namespace": "shop", "uid": "uid-1"},
			"spec":     apitest.Object{"gatewayClassName": "fairway"},
		}, "autoscaling: {}", http80)
		for _, kind := range kinds {
			w.Parameters.Spec.Overlays = append(w.Parameters.Spec.Overlays, v1alpha1.Overlay{Kind: kind, Patch: runtime.RawExtension{Raw: []byte(patch)}})
		}
		all, err := w.all(&Options{Image: "i"}, []byte("roots"), nil)
		if err != nil {
			return
		}
		for i, d := range all {
			// Names of fields are the API server's, which tells "metadata" from "Metadata".
			var plain map[string]any
			read(t, d.fields, &plain)
			meta, _ := plain["metadata"].(map[string]any)
			owners, _ := meta["ownerReferences"].([]any)
			labels, _ := meta["labels"].(map[string]any)
			if plain["kind"] != kinds[i] || meta["name"] != "edge-fairway" || meta["namespace"] != "shop" || labels[labelManagedBy] != program ||
				len(owners) != 1 || owners[0].(map[string]any)["uid"] != "uid-1" {
				t.Errorf("%s after %s: %v", d.kind, patch, plain)
			}
		}
	})
}

func TestSpreadConstraintIsAboutOwnPods(t *testing.T) {
	given := "{topologyKey: rack, maxSkew: 1, whenUnsatisfiable: DoNotSchedule}"
	w := wanted(t, gateway(t, ""), "pods: {topologySpreadConstraints: ["+given+"]}")
	got := w.spread()
	if len(got) != 1 || got[0].LabelSelector == nil || got[0].LabelSelector.MatchLabels[labelGateway] != "edge" {
		t.Errorf("spread is %+v, want the one constraint, about the Gateway's own pods", got)
	}
	if w.Parameters.Spec.Pods.TopologySpreadConstraints[0].LabelSelector != nil {
		t.Error("the parameters were changed")
	}
	if a := w.affinity(); a != nil {
		t.Errorf("affinity is %+v beside the author's own spread, want none", a)
	}
}

// The scheduler spreads nothing over nodes that lack a key of one of the
// constraints, and many clusters have no zones.
func TestPodsAreSpreadOverNodesWithoutZones(t *testing.T) {
	w := wanted(t, gateway(t, ""), "pods: {}")
	if got := w.spread(); len(got) != 1 || got[0].TopologyKey != corev1.LabelHostname || got[0].WhenUnsatisfiable != corev1.ScheduleAnyway {
		t.Errorf("spread is %+v, want one constraint, about nodes", got)
	}
	terms := w.affinity().PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution
	if len(terms) != 1 || terms[0].PodAffinityTerm.TopologyKey != corev1.LabelTopologyZone || terms[0].PodAffinityTerm.LabelSelector.MatchLabels[labelGateway] != "edge" {
		t.Errorf("anti-affinity is %+v, want the Gateway's own pods apart over zones", terms)
	}
	own := "{nodeAffinity: {}}"
	w = wanted(t, gateway(t, ""), "pods: {affinity: "+own+"}")
	if got := w.affinity(); got == nil || got.PodAntiAffinity != nil {
		t.Errorf("affinity is %+v, want the author's", got)
	}
}
