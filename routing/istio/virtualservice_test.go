package istio

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"fairway.dev/routing"
	"fairway.dev/routing/dialecttest"
)

// routeFiles are the golden files of VirtualServices.
func routeFiles(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/vs-*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	return files
}

// What of a VirtualService cannot work is said in its Report: Compile has
// nothing to add.
func TestCompileHasNothingToAddToVirtualServices(t *testing.T) {
	for _, file := range routeFiles(t) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		w := dialecttest.World{}
		load(t, w, string(text))
		spec := &translate(w, inCluster).Spec
		for _, fleet := range []string{"istio-system/ingress", "inner/private"} {
			_, problems := routing.Compile(ofFleet(spec, fleet))
			for _, p := range problems {
				t.Errorf("%s: %s: %v", file, p.Reason, p)
			}
		}
	}
}

// ofFleet is the part of a Spec that the pods of one Gateway are given.
func ofFleet(spec *routing.Spec, fleet string) *routing.Spec {
	out := *spec
	out.Listeners, out.Routes = map[routing.ListenerName]*routing.Listener{}, map[routing.RouteName]*routing.Route{}
	for name, l := range spec.Listeners {
		if l.Gateway == fleet {
			out.Listeners[name] = l
		}
	}
	for name, r := range spec.Routes {
		own := *r
		own.Attached = slices.DeleteFunc(slices.Clone(r.Attached), func(a routing.Attachment) bool { return out.Listeners[a.Listener] == nil })
		if len(own.Attached) > 0 {
			out.Routes[name] = &own
		}
	}
	return &out
}

// A routeWorld makes histories: for each object of the golden files what it may
// be, as several files have different objects of one name.
type routeWorld map[routing.ObjectKey][]any

func newRouteWorld(t testing.TB) routeWorld {
	all := routeWorld{}
	for _, file := range routeFiles(t) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		w := dialecttest.World{}
		load(t, w, string(text))
		for k, o := range w {
			all[k] = append(all[k], o)
		}
	}
	return all
}

// TestVirtualServicesComeToTheSameAsAFreshStart is the law of the sheet:
// whatever the history, the Spec, the Reports and the work remembered are those
// of a Translator that sees the objects for the first time.
func TestVirtualServicesComeToTheSameAsAFreshStart(t *testing.T) {
	all := newRouteWorld(t)
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { all.checkHistory(t, seed, 60) })
	}
}

func FuzzVirtualServicesComeToTheSameAsAFreshStart(f *testing.F) {
	all := newRouteWorld(f)
	f.Add(uint64(1), uint8(50))
	f.Fuzz(func(t *testing.T, seed uint64, steps uint8) { all.checkHistory(t, seed, int(steps)) })
}

func (all routeWorld) checkHistory(t *testing.T, seed uint64, steps int) {
	dialecttest.History(t, seed, steps, all, func(w dialecttest.World) dialecttest.Translator { return newTranslator(w, inCluster) })
}
