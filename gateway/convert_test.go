package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const twoRules = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop, namespace: shop}
spec:
  hosts: [shop.example]
  gateways: [edge]
  http:
  - match: [{uri: {prefix: /api}}]
    route: [{destination: {host: api, port: {number: 80}}}]
  - directResponse: {status: 403}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: other}
`

// What convert writes is taken by check; a rule that had to be closed makes the
// exit status 1, and a folder is read as kubectl would.
func TestConvertWritesWhatCheckTakes(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "shop.yaml"), []byte(twoRules), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "notes.txt"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := convertManifests(t.Context(), []string{"-class", "other", dir}, &out); !errors.Is(err, errFound) {
		t.Errorf("convert: %v, want errFound: a rule is closed", err)
	}
	for _, want := range []string{"kind: HTTPRoute", "value: /api[^/].*", "#   RuleClosed: spec.http[1].directResponse"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("convert does not write %q:\n%s", want, &out)
		}
	}
	file := filepath.Join(t.TempDir(), "converted.yaml")
	if err := os.WriteFile(file, []byte(out.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	var checked strings.Builder
	if err := check(t.Context(), []string{"-cluster", file}, &checked); err != nil && !errors.Is(err, errFound) || strings.Contains(checked.String(), "InvalidObject") {
		t.Errorf("check of what convert wrote: %v\n%s", err, &checked)
	}
	if err := convertManifests(t.Context(), []string{filepath.Join(dir, "none.yaml")}, &out); err == nil || errors.Is(err, errFound) {
		t.Errorf("a file that is not there: %v, want an error", err)
	}
	if err := convertManifests(t.Context(), []string{"-gateway", "nowhere", dir}, &out); !errors.Is(err, errUsage) {
		t.Errorf("-gateway nowhere: %v, want errUsage", err)
	}
}
