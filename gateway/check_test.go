package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const twoGateways = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: one, namespace: shop}
spec:
  gatewayClassName: fairway
  listeners: [{name: http, port: 80, protocol: HTTP}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: two, namespace: shop}
spec:
  gatewayClassName: fairway
  listeners: [{name: http, port: 80, protocol: HTTP}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: both, namespace: shop}
spec:
  parentRefs: [{name: one}, {name: two}]
  rules:
  - filters: [{type: RequestRedirect, requestRedirect: {scheme: https}}]
`

// On a cluster each Gateway has addresses of its own; in a process they share them.
func TestCheckKnowsWhoseAPortIs(t *testing.T) {
	file := filepath.Join(t.TempDir(), "two.yaml")
	if err := os.WriteFile(file, []byte(twoGateways), 0o600); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := check(t.Context(), []string{file}, &out); !errors.Is(err, errFound) || !strings.Contains(out.String(), "PortUnavailable") {
		t.Errorf("in one process: %v\n%s", err, &out)
	}
	out.Reset()
	if err := check(t.Context(), []string{"-cluster", "-dump", file}, &out); err != nil {
		t.Errorf("on a cluster: %v\n%s", err, &out)
	}
	for _, gateway := range []string{"Gateway shop/one", "Gateway shop/two"} {
		if !strings.Contains(out.String(), gateway) {
			t.Errorf("%s is not in force:\n%s", gateway, &out)
		}
	}
}

const mistaken = `
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: shop}
spec: {ports: [{name: http, port: 9080}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec:
  selector: {istio: nobody}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: shop}
spec:
  hosts: [reviews.example]
  gateways: [edge]
  http:
  - fault: {delay: {percent: 10, fixedDelay: 1s}}
    route: [{destination: {host: reviews}, weight: 1}, {destination: {host: reviews}, weight: 1}]
`

// What is said of Istio's objects has a code, a level, a place and a fix, in
// both formats; -level hides, -fail decides on the exit status.
func TestCheckFindsWhatIstiosObjectsGetWrong(t *testing.T) {
	file := filepath.Join(t.TempDir(), "mistaken.yaml")
	if err := os.WriteFile(file, []byte(mistaken), 0o600); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := check(t.Context(), []string{"-fail", "warning", file}, &out); !errors.Is(err, errFound) {
		t.Errorf("-fail warning: %v, want errFound\n%s", err, &out)
	}
	want := file + ":21: warning DeprecatedField: VirtualService shop/reviews spec.http[0].fault.delay.percent: percent is deprecated; to mend it, use percentage.value\n"
	if !strings.Contains(out.String(), want) {
		t.Errorf("check prints\n%swant in it\n%s", &out, want)
	}
	out.Reset()
	if err := check(t.Context(), []string{"-o", "json", "-level", "warning", "-fail", "info", file}, &out); !errors.Is(err, errFound) {
		t.Errorf("-o json: %v, want errFound", err)
	}
	var page struct{ Findings []findingState }
	if err := json.Unmarshal([]byte(out.String()), &page); err != nil {
		t.Fatal(err)
	}
	codes := map[string]string{}
	for _, f := range page.Findings {
		codes[string(f.Code)] = f.Level
	}
	if codes["DeprecatedField"] != "warning" || codes["WeightsNotHundred"] != "" {
		t.Errorf("findings %v, want DeprecatedField as a warning, and no remarks", codes)
	}
	out.Reset()
	if err := check(t.Context(), []string{"-cluster", "-level", "info", file}, &out); !strings.Contains(out.String(), "UnboundGateway") {
		t.Errorf("-cluster: %v, want UnboundGateway in\n%s", err, &out)
	}
}

func TestCheckPrintsItsCodes(t *testing.T) {
	var out strings.Builder
	if err := check(t.Context(), []string{"-codes"}, &out); err != nil || !strings.Contains(out.String(), "| `UnboundGateway` |") {
		t.Errorf("%v\n%s", err, &out)
	}
}
