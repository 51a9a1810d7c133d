package gatewayapi

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"fairway.dev/routing"
)

// What cannot work is said here, in the Reports: Compile has nothing to add.
func TestCompileHasNothingToAdd(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		w := world{}
		w.load(t, string(text))
		checkCompile(t, file, w, optionsOf(text))
	}
	for seed := range uint64(50) {
		c := chance{rand.New(rand.NewPCG(seed, 2))}
		w := world{}
		for range 60 {
			c.edit(w)
		}
		checkCompile(t, "a random world", w, Options{DefaultClass: "fairway"})

		mesh := world{}
		mesh.load(t, meshWorld)
		for range 30 {
			c.edit(mesh)
		}
		mesh.tellServicesApart()
		checkCompile(t, "a random mesh", mesh, Options{DefaultClass: "fairway", Isolated: true, MeshPorts: "a/ports", RootNamespace: "a"})
	}
}

// tellServicesApart gives Services cluster IPs of their own, as a cluster does.
func (w world) tellServicesApart() {
	for i, k := range w.keys() {
		if svc, ok := w[k].(*corev1.Service); ok && len(clusterIPs(svc)) > 0 {
			svc = svc.DeepCopy()
			svc.Spec.ClusterIPs = []string{fmt.Sprintf("10.97.0.%d", i)}
			w[k] = svc
		}
	}
}

// checkCompile compiles what each process has: all of it, or the listeners of
// its Gateway.
func checkCompile(t *testing.T, what string, w world, opts Options) {
	t.Helper()
	spec := w.translate(opts).Spec
	specs := []routing.Spec{spec}
	if opts.Isolated {
		specs = nil
		for k := range w {
			if k.Kind == "Gateway" {
				specs = append(specs, specOf(spec, k.Namespace+"/"+k.Name))
			}
		}
	}
	for i := range specs {
		_, problems := routing.Compile(&specs[i])
		for _, p := range problems {
			t.Errorf("%s: %s: %v", what, p.Reason, p)
		}
	}
}

// specOf is what the pods of a Gateway get.
func specOf(spec routing.Spec, gateway string) routing.Spec {
	listeners, routes := map[routing.ListenerName]*routing.Listener{}, map[routing.RouteName]*routing.Route{}
	for name, l := range spec.Listeners {
		if l.Gateway == gateway {
			listeners[name] = l
		}
	}
	for name, r := range spec.Routes {
		part := *r
		part.Attached = slices.DeleteFunc(slices.Clone(r.Attached), func(a routing.Attachment) bool { return listeners[a.Listener] == nil })
		if len(part.Attached) > 0 {
			routes[name] = &part
		}
	}
	spec.Listeners, spec.Routes = listeners, routes
	return spec
}
