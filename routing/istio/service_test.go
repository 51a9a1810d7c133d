package istio

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"fairway.dev/routing"
	"fairway.dev/routing/dialect"
	"fairway.dev/routing/dialecttest"
	"fairway.dev/routing/gatewayapi"
)

// sendCell has what the lines of a ConfigMap come to, as what routes send to:
// "reviews:9080|v1 from shop by edge" names a host, a port and a subset, and the
// namespaces of the route and of the gateway pods; "tcp" and "tls" may end it.
const sendCell = dialect.Routes + serviceKinds + 31

// newSender returns a Translator whose routes are the lines of ConfigMaps.
func newSender(w dialecttest.World, s setting) *gatewayapi.Translator {
	t := newTranslator(w, s)
	j := &joint{opts: Options{RootNamespace: "istio-system", ClusterDomain: "cluster.local"}, gateway: t}
	j.define(t.Sheet(), sendCell, func(r *reading) dialect.Outcome {
		m := object[corev1.ConfigMap](r, "ConfigMap", r.ID.NS, r.ID.Name)
		if m == nil {
			return dialect.Outcome{Gone: true}
		}
		report := newReport("ConfigMap", m)
		for _, key := range slices.Sorted(maps.Keys(m.Data)) {
			for line := range strings.Lines(m.Data[key]) {
				res := r.resolve(parseSend(line))
				if res.reason == "" {
					res.reason, res.message = "Sends", "to "+string(res.cluster)
				}
				report.Find(routing.Info, strings.TrimSpace(line), string(res.reason), res.message, "")
			}
		}
		return dialect.Outcome{Report: report}
	})
	t.Sheet().Plant("ConfigMap", func(k routing.ObjectKey) []dialect.ID {
		if !strings.HasPrefix(k.Name, "send") {
			return nil
		}
		return []dialect.ID{{Kind: sendCell, NS: k.Namespace, Name: k.Name}}
	})
	return t
}

func parseSend(line string) destination {
	words := strings.Fields(line)
	d := destination{namespace: words[2], client: words[4]}
	for _, w := range words[5:] {
		switch w {
		case "tcp":
			d.use = useTCP
		case "tls":
			d.use = useTLS
		default:
			n, _ := strconv.Atoi(w)
			d.listener = uint32(n)
		}
	}
	host, set, _ := strings.Cut(words[0], "|")
	host, port, _ := strings.Cut(host, ":")
	n, _ := strconv.Atoi(port)
	d.host, d.subset, d.port = host, set, uint32(n)
	return d
}

func TestDestinationsGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/destinations/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			w := dialecttest.World{}
			keys := load(t, w, string(text))
			result := dialecttest.NewResult().Apply(newSender(w, inCluster).Update(w.Keys()))
			checkClusters(t, result)
			got := result.Dump()
			checkSenderGrowth(t, w, keys, got)
			dialecttest.Golden(t, file+".golden", got, *update)
		})
	}
}

// checkSenderGrowth adds objects one by one, from the last to the first, and
// takes them away from the first to the last.
func checkSenderGrowth(t *testing.T, w dialecttest.World, keys []routing.ObjectKey, want string) {
	t.Helper()
	grown, r := dialecttest.World{}, dialecttest.NewResult()
	tr := newSender(grown, inCluster)
	for _, k := range slices.Backward(keys) {
		grown[k] = w[k]
		r.Apply(tr.Update([]routing.ObjectKey{k}))
	}
	if slow := r.Dump(); slow != want {
		t.Errorf("object by object:\n%s\nall at once:\n%s", slow, want)
	}
	for _, k := range keys {
		delete(grown, k)
		r.Apply(tr.Update([]routing.ObjectKey{k}))
	}
	if cells := tr.Sheet().Cells(); r.Dump() != "" || len(cells) > 0 {
		t.Errorf("of nothing there are %d cells, %v, and\n%s", len(cells), cells, r.Dump())
	}
}

// checkClusters holds that clusters are what Compile takes: what cannot be in
// force was found before.
func checkClusters(t *testing.T, result *dialecttest.Result) {
	t.Helper()
	_, problems := routing.Compile(&result.Spec)
	for _, p := range problems {
		if p.Reason == routing.InvalidCluster {
			t.Errorf("Compile: %v", p)
		}
	}
}
