package manifest

import (
	"os"
	"path/filepath"
	"testing"

	"fairway.dev/routing"
)

func TestPlace(t *testing.T) {
	text := `# a comment
---
# another
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: shop
  annotations:
    example.com/a.b: x
spec:
  parentRefs: &refs
  - name: edge
  rules:
  - matches:
    - path:
        value: /a
    - path: {value: /b}
      headers:
      - name: x
        value: "1"
    backendRefs: [{name: cart, port: 80},
                  {name: web, port: 80}]
---
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [{port: 80}]}}
- apiVersion: v1
  kind: Service
  metadata:
    name: b
  spec:
    ports:
    - port: 80
`
	js := `{
	"apiVersion": "v1",
	"kind": "Service",
	"metadata": {
		"name": "c"
	},
	"spec": {"ports": [
		{"port": 80}
	]}
}
`
	f, dir := folderOf(t, map[string]string{"a.yaml": text, "b.json": js})
	tests := []struct {
		kind, name, field string
		file              string
		line              int
	}{
		{"HTTPRoute", "shop", "", "a.yaml", 4},
		{"HTTPRoute", "shop", "spec", "a.yaml", 10},
		{"HTTPRoute", "shop", "spec.rules", "a.yaml", 13},
		{"HTTPRoute", "shop", "spec.rules[0]", "a.yaml", 14},
		{"HTTPRoute", "shop", "spec.rules[0].matches[0].path.value", "a.yaml", 16},
		{"HTTPRoute", "shop", "spec.rules[0].matches[1]", "a.yaml", 17},
		{"HTTPRoute", "shop", "spec.rules[0].matches[1].headers[0].value", "a.yaml", 20},
		{"HTTPRoute", "shop", "spec.rules[0].backendRefs[1].port", "a.yaml", 22},
		{"HTTPRoute", "shop", "spec.rules[0].backendRefs[1].weight", "a.yaml", 22}, // a default: the closest there is
		{"HTTPRoute", "shop", "spec.rules[7].filters", "a.yaml", 13},
		{"HTTPRoute", "shop", "spec.parentRefs[0].name", "a.yaml", 12},
		{"HTTPRoute", "shop", "metadata.annotations[example.com/a.b]", "a.yaml", 9},
		{"HTTPRoute", "shop", "metadata.annotations.example.com/a.b", "a.yaml", 9},
		{"HTTPRoute", "shop", "status.parents", "a.yaml", 4},
		{"Service", "a", "spec.ports[0]", "a.yaml", 27},
		{"Service", "b", "", "a.yaml", 28},
		{"Service", "b", "spec.ports[0].port", "a.yaml", 34},
		{"Service", "c", "spec.ports[0]", "b.json", 8},
		{"Service", "c", "", "b.json", 1},
		{"Service", "none", "spec", "", 0},
		{"Namespace", "default", "", "", 0}, // of no file
	}
	for _, tt := range tests {
		k := routing.ObjectKey{Kind: tt.kind, Namespace: "default", Name: tt.name}
		if tt.kind == "Namespace" {
			k.Namespace = ""
		}
		file, line := f.Place(k, tt.field)
		if want := filepath.Join(dir, tt.file); file != want && tt.file != "" || line != tt.line {
			t.Errorf("Place(%v, %q) = %s:%d, want %s:%d", k, tt.field, file, line, tt.file, tt.line)
		}
	}

	// Where the file has changed and was not read again, and where it is
	// gone, the object's own line is the best there is.
	k := routing.ObjectKey{Kind: "HTTPRoute", Namespace: "default", Name: "shop"}
	write(t, filepath.Join(dir, "a.yaml"), "\n\n"+text)
	f.last = nil
	if file, line := f.Place(k, "spec.rules[0]"); file != filepath.Join(dir, "a.yaml") || line != 4 {
		t.Errorf("in an edited file Place = %s:%d, want line 4", file, line)
	}
	f.reload(t)
	if _, line := f.Place(k, "spec.rules[0]"); line != 16 {
		t.Errorf("after a reload Place = line %d, want 16", line)
	}
	os.Remove(filepath.Join(dir, "a.yaml"))
	f.last = nil
	if _, line := f.Place(k, "spec.rules[0]"); line != 6 {
		t.Errorf("in a file that is gone Place = line %d, want 6", line)
	}
}
