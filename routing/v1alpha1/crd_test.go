package v1alpha1

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/yaml"
	celconfig "k8s.io/apiserver/pkg/apis/cel"

	"fairway.dev/deploy/crds"
)

// kinds are those of the package: the files of their definitions, and their specs.
var kinds = map[string]struct {
	file string
	spec reflect.Type
}{
	"GatewayParameters": {"fairway.dev_gatewayparameters.yaml", reflect.TypeFor[GatewayParametersSpec]()},
	"RateLimitPolicy":   {"fairway.dev_ratelimitpolicies.yaml", reflect.TypeFor[RateLimitPolicySpec]()},
}

// definition is the CustomResourceDefinition of a kind, as the API server reads it.
func definition(t *testing.T, kind string) (*apiextensionsv1.CustomResourceDefinition, *apiextensions.CustomResourceDefinition) {
	t.Helper()
	data, err := crds.Files.ReadFile(kinds[kind].file)
	if err != nil {
		t.Fatal(err)
	}
	crd, internal := &apiextensionsv1.CustomResourceDefinition{}, &apiextensions.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict(data, crd); err != nil {
		t.Fatal(err)
	}
	apiextensionsv1.SetDefaults_CustomResourceDefinition(crd)
	apiextensionsv1.SetDefaults_CustomResourceDefinitionSpec(&crd.Spec)
	if err := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(crd, internal, nil); err != nil {
		t.Fatal(err)
	}
	return crd, internal
}

func TestDefinitionIsStructural(t *testing.T) {
	for kind := range kinds {
		_, crd := definition(t, kind)
		shape, err := structural.NewStructural(crd.Spec.Validation.OpenAPIV3Schema)
		if err != nil {
			t.Fatal(err)
		}
		for _, err := range structural.ValidateStructural(nil, shape) {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

func TestTypesAndDefinitionAgree(t *testing.T) {
	for kind, of := range kinds {
		crd, _ := definition(t, kind)
		if crd.Spec.Group != GroupVersion.Group || crd.Spec.Versions[0].Name != GroupVersion.Version || crd.Spec.Names.Kind != kind {
			t.Errorf("the definition is of %s %s/%s, want %s %s", crd.Spec.Names.Kind, crd.Spec.Group, crd.Spec.Versions[0].Name, kind, GroupVersion)
		}
		schema := crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"]
		agree(t, kind+".spec", of.spec, &schema, true)
	}
}

// agree compares a Go type with its schema. Ours, unlike those that we use, are
// documented and have no defaults in the schema (outside lists, see Merge). Gateway
// API's own are as its definitions have them.
func agree(t *testing.T, path string, typ reflect.Type, s *apiextensionsv1.JSONSchemaProps, ours bool) {
	for typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	if want := kindOf(typ); s.Type != want && !(want == "int-or-string" && s.XIntOrString) {
		t.Errorf("%s: the schema's type is %q, the Go type %v wants %q", path, s.Type, typ, want)
		return
	}
	if strings.HasPrefix(typ.PkgPath(), "sigs.k8s.io/gateway-api/") {
		return
	}
	if ours && s.Description == "" {
		t.Errorf("%s: no description", path)
	}
	if s.Default != nil && !strings.Contains(path, "[]") {
		t.Errorf("%s: default %s: it hides the class's value", path, s.Default.Raw)
	}
	if s.Type == "array" {
		if s.XListType == nil && ours {
			t.Errorf("%s: no x-kubernetes-list-type", path)
		}
		agree(t, path+"[]", typ.Elem(), s.Items.Schema, false)
		return
	}
	if s.Type != "object" || typ == reflect.TypeFor[runtime.RawExtension]() {
		return
	}
	if typ.Kind() == reflect.Map {
		agree(t, path+"{}", typ.Elem(), s.AdditionalProperties.Schema, false)
		return
	}
	agreeFields(t, path, typ, s)
}

func agreeFields(t *testing.T, path string, typ reflect.Type, s *apiextensionsv1.JSONSchemaProps) {
	ours := typ.PkgPath() == reflect.TypeFor[GatewayParameters]().PkgPath()
	known := map[string]bool{}
	for f := range typ.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" {
			for inner := range f.Type.Fields() {
				inlined, _, _ := strings.Cut(inner.Tag.Get("json"), ",")
				known[inlined] = true
			}
			continue
		}
		known[name] = true
		at := path + "." + name
		prop, ok := s.Properties[name]
		if !ok {
			t.Errorf("%s: not in the schema", at)
			continue
		}
		if ours && strings.Contains(options, "omitempty") == slices.Contains(s.Required, name) {
			t.Errorf("%s: required in one of the Go type and the schema, optional in the other", at)
		}
		agree(t, at, f.Type, &prop, ours)
	}
	for name := range s.Properties {
		if !known[name] {
			t.Errorf("%s.%s: not in the Go type", path, name)
		}
	}
}

func kindOf(typ reflect.Type) string {
	switch typ {
	case reflect.TypeFor[resource.Quantity](), reflect.TypeFor[intstr.IntOrString]():
		return "int-or-string"
	case reflect.TypeFor[metav1.Time]():
		return "string"
	case reflect.TypeFor[runtime.RawExtension]():
		return "object"
	}
	switch typ.Kind() {
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "boolean"
	case reflect.Int32, reflect.Int64:
		return "integer"
	case reflect.Slice:
		return "array"
	case reflect.Map, reflect.Struct:
		return "object"
	}
	return fmt.Sprint("unknown: ", typ)
}

// refusals are what the API server says to a spec.
func refusals(t *testing.T, kind, spec string) []string {
	t.Helper()
	_, crd := definition(t, kind)
	// Of one version the conversion puts the schema at the top.
	props := crd.Spec.Validation.OpenAPIV3Schema
	shape, err := structural.NewStructural(props)
	if err != nil {
		t.Fatal(err)
	}
	object := map[string]any{}
	if err := yaml.Unmarshal([]byte(spec), &object); err != nil {
		t.Fatal(err)
	}
	object = map[string]any{"apiVersion": GroupVersion.String(), "kind": kind, "spec": object}
	values, _, err := validation.NewSchemaValidator(props)
	if err != nil {
		t.Fatal(err)
	}
	errs := validation.ValidateCustomResource(nil, object, values)
	rules := cel.NewValidator(shape, true, celconfig.PerCallLimit)
	of, _ := rules.Validate(t.Context(), nil, shape, object, nil, celconfig.RuntimeCELCostBudget)
	var out []string
	for _, e := range append(errs, of...) {
		out = append(out, e.Error())
	}
	return out
}

func TestDefinitionRefuses(t *testing.T) {
	tests := []struct{ spec, want string }{
		{"{}", ""},
		{"service: {type: ClusterIP}", ""},
		{"service: {type: ExternalName}", "spec.service.type"},
		{"service: {type: ClusterIP, externalTrafficPolicy: Local}", "want type LoadBalancer or NodePort"},
		{"service: {externalTrafficPolicy: Local}", ""}, // the type may be the class's
		{"service: {type: NodePort, loadBalancerClass: x}", "want type LoadBalancer"},
		{"service: {nodePorts: [{port: 80}]}", "spec.service.nodePorts[0].nodePort"},
		{"pods: {replicas: -1}", "spec.pods.replicas"},
		{"pods: {terminationGracePeriodSeconds: 30}\ndrainSeconds: 30", "want more than drainSeconds"},
		{"pods: {terminationGracePeriodSeconds: 31}\ndrainSeconds: 30", ""},
		{"pods: {resources: {limits: {memory: lots}}}", "spec.pods.resources.limits.memory"},
		{"autoscaling: {minReplicas: 3, maxReplicas: 2}", "want maxReplicas or fewer"},
		{"autoscaling: {minReplicas: 3}", ""},
		{"disruption: {minAvailable: 1, maxUnavailable: 1}", "want one of"},
		{"disruption: {maxUnavailable: 25%}", ""},
		{"proxyProtocol: {mode: on}", "spec.proxyProtocol.mode"},
		{"accessLog: {format: XML}", "spec.accessLog.format"},
		{"logLevel: loud", "spec.logLevel"},
		{"overlays: [{kind: Secret, patch: {}}]", "spec.overlays[0].kind"},
		{"overlays: [{kind: Service, patch: {anything: {goes: 1}}}]", ""},
		{"overlays: [{kind: Service, patch: text}]", "spec.overlays[0].patch"},
		{"overlays: [{kind: Service}]", "spec.overlays[0].patch"},
		{"delegated: [Image, Environment, PriorityClass, Overlays, ExternalIPs]", ""},
		{"delegated: [Everything]", "spec.delegated[0]"},
	}
	for _, tt := range tests {
		got := strings.Join(refusals(t, "GatewayParameters", tt.spec), "; ")
		if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s: refused with %q, want %q", tt.spec, got, tt.want)
		}
	}
}

func TestScheme(t *testing.T) {
	s := runtime.NewScheme()
	if err := AddToScheme(s); err != nil {
		t.Fatal(err)
	}
	for kind := range kinds {
		for _, name := range []string{kind, kind + "List"} {
			if _, err := s.New(GroupVersion.WithKind(name)); err != nil {
				t.Error(err)
			}
		}
	}
}
