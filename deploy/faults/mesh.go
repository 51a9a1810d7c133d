package main

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"strings"
	"text/template"
	"time"
)

//go:embed mesh.yaml
var meshManifests string

// The mesh's two namespaces. The caller's client calls the Service app of the callee.
const (
	caller = "faults-caller"
	callee = "faults-callee"
)

// A mesh is two namespaces with a waypoint each, and a client in one that calls
// a Service of the other.
type mesh struct {
	*cluster
	client  *remote
	address string // of the Service
	rate    int
	edits   int // how many the callee's route has seen
}

// newMesh installs the mesh and waits until the client is answered.
func newMesh(ctx context.Context, c *cluster, rate int) (*mesh, error) {
	if c.script != "" {
		program, err := os.Executable()
		if err != nil {
			return nil, err
		}
		if _, err := c.command(ctx, "", c.script, "image", c.clientImage, program+"=/usr/local/bin/faults"); err != nil {
			return nil, err
		}
	}
	m := &mesh{cluster: c, rate: rate}
	var text strings.Builder
	if err := template.Must(template.New("mesh").Parse(meshManifests)).Execute(&text, map[string]any{
		"Image": c.image, "ClientImage": c.clientImage, "Versions": []string{"v1", "v2"},
	}); err != nil {
		return nil, err
	}
	if err := c.apply(ctx, text.String()+m.route()); err != nil {
		return nil, err
	}
	if _, err := c.k(ctx, "-n", caller, "wait", "--for=condition=Ready", "pod/client", "--timeout=60s"); err != nil {
		return nil, err
	}
	address, err := c.k(ctx, "-n", callee, "get", "service", "app", "-o", "jsonpath={.spec.clusterIP}")
	if err != nil {
		return nil, err
	}
	m.address = address
	if m.client, err = c.client(context.WithoutCancel(ctx), caller, "client"); err != nil {
		return nil, err
	}
	return m, m.ready(ctx)
}

func (m *mesh) remove() {
	m.client.close()
	m.removeNamespaces(caller, callee)
	if _, err := m.k(context.Background(), "-n", "fairway-system", "delete", "secret", userCA, "--ignore-not-found"); err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
	}
}

// target is the Service. Its answers say that they came through both waypoints.
func (m *mesh) target() target {
	return target{Address: m.address, Host: "app." + callee, Steady: true, Fields: []string{"X-Caller", "X-Edit"}}
}

func (m *mesh) ready(ctx context.Context) error {
	for _, ns := range []string{caller, callee} {
		if _, err := m.k(ctx, "-n", ns, "wait", "--for=condition=Programmed", "gateway/waypoint", "--timeout=120s"); err != nil {
			return err
		}
		if err := m.waypointReady(ctx, ns); err != nil {
			return err
		}
	}
	for _, d := range []string{"app-v1", "app-v2"} {
		if _, err := m.k(ctx, "-n", callee, "rollout", "status", "deployment/"+d, "--timeout=150s"); err != nil {
			return err
		}
	}
	for _, d := range []string{"daemonset/fairway-capture", "deployment/fairway-control"} {
		if _, err := m.k(ctx, "-n", "fairway-system", "rollout", "status", d, "--timeout=150s"); err != nil {
			return err
		}
	}
	var last error
	err := await(ctx, time.Minute, func() bool {
		_, last = m.client.tell(order{To: m.target(), Ask: true})
		return last == nil
	})
	if err != nil {
		return fmt.Errorf("the client is not answered: %w: %w", err, last)
	}
	return nil
}

func (m *mesh) begin(context.Context) (end func() (*tally, error), err error) {
	if _, err := m.client.tell(order{To: m.target(), Rate: m.rate}); err != nil {
		return nil, err
	}
	return func() (*tally, error) {
		r, err := m.client.tell(order{End: true})
		if err != nil {
			return nil, err
		}
		return r.Tally, nil
	}, nil
}

// waypointLabel is what the pods of both waypoints have.
const waypointLabel = "gateway.networking.k8s.io/gateway-name=waypoint"

// waypointReady waits until the namespace's waypoint has all of its pods.
func (m *mesh) waypointReady(ctx context.Context, namespace string) error {
	_, err := m.k(ctx, "-n", namespace, "rollout", "status", "deployment", "-l", waypointLabel, "--timeout=150s")
	return err
}

// pods returns a field of the pods that have the label, without those that are
// about to end.
func (c *cluster) pods(ctx context.Context, namespace, label, field string) ([]string, error) {
	out, err := c.k(ctx, "-n", namespace, "get", "pods", "-l", label, "-o",
		"go-template={{range .items}}{{if not .metadata.deletionTimestamp}}{{."+field+"}} {{end}}{{end}}")
	return strings.Fields(out), err
}

// The weights of the callee's route: of each 100 requests.
const weightV1, weightV2 = 80, 20

// route is the callee's HTTPRoute as of m.edits: every answer carries their number.
func (m *mesh) route() string {
	return fmt.Sprintf(`
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: app, namespace: %s}
spec:
  parentRefs: [{group: "", kind: Service, name: app, port: 80}]
  rules:
  - filters:
    - type: ResponseHeaderModifier
      responseHeaderModifier: {set: [{name: x-edit, value: "%d"}]}
    backendRefs:
    - {name: app-v1, port: 80, weight: %d}
    - {name: app-v2, port: 80, weight: %d}
`, callee, m.edits, weightV1, weightV2)
}

// edit edits the callee's route. It returns when the API server has taken it.
func (m *mesh) edit(ctx context.Context) error {
	m.edits++
	return m.apply(ctx, m.route())
}

// editInForce waits until an answer carries the last edit.
func (m *mesh) editInForce(ctx context.Context) error {
	want := fmt.Sprint(m.edits)
	return await(ctx, 2*time.Minute, func() bool {
		r, err := m.client.tell(order{To: m.target(), Ask: true})
		return err == nil && len(r.Fields["X-Edit"]) == 1 && r.Fields["X-Edit"][0] == want
	})
}
