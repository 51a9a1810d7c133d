package manifest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fairway.dev/routing"
)

var update = flag.Bool("update", false, "rewrite golden files")

func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	path += ".golden"
	if *update {
		write(t, path, string(got))
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s: got\n%s\nwant\n%s", path, got, want)
	}
}

// dump prints the World, an object a line.
func dump(t *testing.T, f *Folder) []byte {
	t.Helper()
	var b bytes.Buffer
	for _, k := range kinds {
		f.World().Each(k.name, func(k routing.ObjectKey, o any) {
			js, err := json.Marshal(o)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&b, "%v\n\t%s\n", k, js)
		})
	}
	return b.Bytes()
}

func describe(p *routing.Problem) string {
	return fmt.Sprintf("%s: %s: %v", cmp.Or(p.Origin.Place(), "?"), p.Reason, p)
}

func TestAccepted(t *testing.T) {
	const path = "testdata/accepted.yaml"
	var log bytes.Buffer
	f := &Folder{Paths: []string{path}, Log: slog.New(slog.NewTextHandler(&log, nil))}
	c := f.Load()
	for _, p := range c.Problems {
		t.Error(describe(p))
	}
	golden(t, path, dump(t, f))
	if n := strings.Count(log.String(), "left alone"); n != 1 || !strings.Contains(log.String(), "Anything, Deployment") {
		t.Errorf("log %q: want one line on Anything and Deployment", log.String())
	}
	all := 0
	for _, k := range kinds {
		f.World().Each(k.name, func(k routing.ObjectKey, _ any) {
			all++
			if !slices.Contains(c.Keys, k) {
				t.Errorf("%v is not among the keys of the first Change", k)
			}
		})
	}
	if all != len(c.Keys) {
		t.Errorf("%d keys for %d objects", len(c.Keys), all)
	}
}

func TestRefused(t *testing.T) {
	const path = "testdata/refused.yaml"
	f := &Folder{Paths: []string{path}}
	var b bytes.Buffer
	for _, p := range f.Load().Problems {
		fmt.Fprintln(&b, describe(p))
	}
	golden(t, path, b.Bytes())
	if n := f.World().Len("HTTPRoute") + f.World().Len("Service") + f.World().Len("Gateway"); n != 0 {
		t.Errorf("%d objects are in force, want none:\n%s", n, dump(t, f))
	}
}

func TestWhatAClusterHasAnyway(t *testing.T) {
	dir := t.TempDir()
	f := &Folder{Paths: []string{dir}}
	c := f.Load()
	if want := "[GatewayClass fairway GatewayClass fairway-waypoint Namespace default]"; fmt.Sprint(c.Keys) != want {
		t.Errorf("an empty folder has %v, want %s", c.Keys, want)
	}
	if got, want := string(dump(t, f)), `"controllerName":"fairway.dev/gateway-controller"`; !strings.Contains(got, want) {
		t.Errorf("World = %s, want %s", got, want)
	}
	path := filepath.Join(dir, "a.yaml")
	write(t, path, serviceText("shop", "cart", 80), "---\n", `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: fairway}
spec: {controllerName: example.com/theirs}
`)
	c = f.reload(t)
	if want := "[GatewayClass fairway Namespace shop Service shop/cart]"; fmt.Sprint(c.Keys) != want {
		t.Errorf("changed %v, want %s", c.Keys, want)
	}
	if got := string(dump(t, f)); !strings.Contains(got, "example.com/theirs") || !strings.Contains(got, `"kubernetes.io/metadata.name":"shop"`) {
		t.Errorf("World = %s, want the file's class and a labelled namespace", got)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	c = f.reload(t)
	if want := "[GatewayClass fairway Namespace shop Service shop/cart]"; fmt.Sprint(c.Keys) != want {
		t.Errorf("changed %v, want %s", c.Keys, want)
	}
	if got := string(dump(t, f)); !strings.Contains(got, "fairway.dev/gateway-controller") || strings.Contains(got, "shop") {
		t.Errorf("World = %s, want our class again and no namespace shop", got)
	}
}

// reload does what Watch does at its start and when it polls.
func (f *Folder) reload(t *testing.T) Change {
	t.Helper()
	c, _ := f.settle(f.lookAtAll(nil))
	return c
}

func serviceText(namespace, name string, port int) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata: {name: %s, namespace: %s}\nspec: {ports: [{port: %d}]}\n", name, namespace, port)
}
