package v1alpha1

import (
	"encoding/json"
	"reflect"
	"testing"

	"k8s.io/apimachinery/pkg/util/yaml"
)

// parameters reads a spec.
func parameters(t *testing.T, spec string) *GatewayParameters {
	t.Helper()
	if spec == "" {
		return nil
	}
	out := &GatewayParameters{}
	if err := yaml.UnmarshalStrict([]byte(spec), &out.Spec); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestGatewayOverridesClass(t *testing.T) {
	tests := []struct{ name, class, gateway, want string }{
		{"nothing", "", "", "{}"},
		{"the class alone", "pods: {replicas: 3}", "", "pods: {replicas: 3}"},
		{"the gateway alone", "", "pods: {replicas: 3}", "pods: {replicas: 3}"},
		{"field by field", "pods: {replicas: 3, image: a}\nlogLevel: debug", "pods: {image: b}", "pods: {replicas: 3, image: b}\nlogLevel: debug"},
		{"zero is something", "pods: {replicas: 3}\ntrustedHops: 1", "pods: {replicas: 0}\ntrustedHops: 0", "pods: {replicas: 0}\ntrustedHops: 0"},
		{"maps by key", "service: {annotations: {a: '1', b: '1'}}", "service: {annotations: {b: '2', c: '2'}}", "service: {annotations: {a: '1', b: '2', c: '2'}}"},
		{"resources by name", "pods: {resources: {requests: {cpu: 1, memory: 1Gi}}}", "pods: {resources: {requests: {cpu: 250m}}}", "pods: {resources: {requests: {cpu: 250m, memory: 1Gi}}}"},
		{"lists as a whole", "pods: {tolerations: [{key: a, effect: NoExecute}, {key: b}]}", "pods: {tolerations: [{key: c}]}", "pods: {tolerations: [{key: c}]}"},
		{"disruption as a whole", "disruption: {minAvailable: 2}", "disruption: {maxUnavailable: 50%}", "disruption: {maxUnavailable: 50%}"},
		{"overlays one after the other",
			"overlays: [{kind: Service, patch: {spec: {sessionAffinity: ClientIP}}}]",
			"overlays: [{kind: Service, patch: {spec: {sessionAffinity: None}}}]",
			"overlays: [{kind: Service, patch: {spec: {sessionAffinity: ClientIP}}}, {kind: Service, patch: {spec: {sessionAffinity: None}}}]"},
		{"what is delegated is the class's", "delegated: [Image]", "delegated: [Overlays]", "delegated: [Image]"},
		{"nobody delegates to oneself", "", "delegated: [Overlays]", "{}"},
		{"large numbers", "pods: {terminationGracePeriodSeconds: 9007199254740993}", "logLevel: warn", "pods: {terminationGracePeriodSeconds: 9007199254740993}\nlogLevel: warn"},
	}
	for _, tt := range tests {
		class, gateway := parameters(t, tt.class), parameters(t, tt.gateway)
		classBefore, gatewayBefore := class.DeepCopy(), gateway.DeepCopy()
		got := Merge(class, gateway)
		if want := parameters(t, tt.want); text(t, got) != text(t, want) {
			t.Errorf("%s: Merge = %s, want %s", tt.name, text(t, got), text(t, want))
		}
		if !reflect.DeepEqual(class, classBefore) || !reflect.DeepEqual(gateway, gatewayBefore) {
			t.Errorf("%s: Merge changed its arguments", tt.name)
		}
	}
}

func text(t *testing.T, p *GatewayParameters) string {
	t.Helper()
	data, err := json.Marshal(p.Spec)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestMergedSharesNothing(t *testing.T) {
	class := parameters(t, "service: {labels: {a: '1'}}")
	for _, gateway := range []*GatewayParameters{nil, parameters(t, "logLevel: warn")} {
		Merge(class, gateway).Spec.Service.Labels["a"] = "2"
	}
	if got := class.Spec.Service.Labels["a"]; got != "1" {
		t.Errorf("the class's label became %q", got)
	}
}

func TestProxyProtocolOnPort(t *testing.T) {
	tests := []struct {
		spec string
		port int32
		want ProxyProtocolMode
	}{
		{"{}", 80, ProxyProtocolOff},
		{"proxyProtocol: {}", 80, ProxyProtocolOff},
		{"proxyProtocol: {mode: Required}", 80, ProxyProtocolRequired},
		{"proxyProtocol: {ports: [{port: 443, mode: Optional}]}", 80, ProxyProtocolOff},
		{"proxyProtocol: {ports: [{port: 443, mode: Optional}]}", 443, ProxyProtocolOptional},
		{"proxyProtocol: {mode: Required, ports: [{port: 443, mode: 'Off'}]}", 443, ProxyProtocolOff},
	}
	for _, tt := range tests {
		if got := parameters(t, tt.spec).Spec.ProxyProtocol.On(tt.port); got != tt.want {
			t.Errorf("%s: On(%d) = %s, want %s", tt.spec, tt.port, got, tt.want)
		}
	}
}
