package main

import (
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
