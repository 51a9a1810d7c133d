package gatewayapi

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"fairway.dev/routing"
	"fairway.dev/routing/dialecttest"
)

// TestEditsComeToTheSameAsAFreshStart is the law of this package: whatever the
// history, the Spec, the Reports and the work remembered are those of
// a Translator that sees the same objects for the first time.
func TestEditsComeToTheSameAsAFreshStart(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { checkHistory(t, seed, 120) })
	}
}

func FuzzEditsComeToTheSameAsAFreshStart(f *testing.F) {
	f.Add(uint64(1), uint8(50))
	f.Add(uint64(1<<40), uint8(200))
	f.Fuzz(func(t *testing.T, seed uint64, steps uint8) { checkHistory(t, seed, int(steps)) })
}

func checkHistory(t *testing.T, seed uint64, steps int) {
	c := chance{rand.New(rand.NewPCG(seed, 0))}
	opts := Options{DefaultClass: "fairway", Isolated: c.IntN(2) == 0, Reserved: map[uint16]string{82: "a test"}, MeshPorts: "a/ports", RootNamespace: "a"}
	w, kept := world{}, dialecttest.NewResult()
	tr := New(w, opts)
	switch seed % 4 {
	case 1:
		kept.Apply(tr.Update(c.soundWorld(t, w)))
	case 3:
		kept.Apply(tr.Update(w.load(t, meshWorld)))
	}
	for step := range steps {
		var keys []routing.ObjectKey
		for range 1 + c.IntN(3) {
			keys = append(keys, c.edit(w))
		}
		kept.Apply(tr.Update(keys))
		if d, reports := tr.Update(keys); !reflect.DeepEqual(d, &routing.Delta{}) || reports != nil {
			t.Fatalf("seed %d, step %d: an Update without a change has %+v %v", seed, step, d, reports)
		}
		if step%8 != 0 && step != steps-1 {
			continue
		}
		d, reports := New(w, opts).Update(w.keys())
		fresh := dialecttest.NewResult().Apply(d, reports)
		if got, want := kept.Dump(), fresh.Dump(); got != want {
			t.Fatalf("seed %d, step %d, keys %v: %s", seed, step, keys, firstDifference(got, want))
		}
		if !reflect.DeepEqual(kept.Spec, fresh.Spec) || !reflect.DeepEqual(kept.Reports, fresh.Reports) {
			t.Fatalf("seed %d, step %d: a difference that does not print", seed, step)
		}
		again := New(w, opts)
		again.Update(w.keys())
		if got, want := remembered(tr), remembered(again); got != want {
			t.Fatalf("seed %d, step %d, cells: %s", seed, step, firstDifference(got, want))
		}
	}
}

// remembered lists the cells of a sheet, with what is in their bags, and the
// claims of routes.
func remembered(t *Translator) string {
	lines := t.sheet.Cells()
	for route, claims := range t.rivals.routes {
		for _, c := range claims {
			lines = append(lines, fmt.Sprintf("claim %v on %s by %v, lost %t", c.hosts, c.listener, route, c.lostTo != nil))
		}
	}
	for _, sides := range t.rivals.listeners {
		for _, x := range sides {
			for _, host := range slices.Sorted(maps.Keys(x.at)) {
				lines = append(lines, fmt.Sprintf("%d at %s", len(x.at[host]), host))
			}
			for _, host := range slices.Sorted(maps.Keys(x.under)) {
				lines = append(lines, fmt.Sprintf("%d under %s", len(x.under[host]), host))
			}
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// firstDifference shows the first lines in which two texts differ.
func firstDifference(got, want string) string {
	a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Sprintf("line %d\ngot:  %s\nwant: %s", i, a[i], b[i])
		}
	}
	return fmt.Sprintf("got %d lines, want %d:\n%s", len(a), len(b), strings.Join(append(a, b...)[min(len(a), len(b)):], "\n"))
}

// A renewed certificate is a new Certificate and nothing else: no listener is
// touched, so no connection is.
func TestRenewedCertificateTouchesNoListener(t *testing.T) {
	w := world{}
	w.load(t, listeners("{name: a, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: c}]}}"))
	secret := func(i int) routing.ObjectKey {
		s := &corev1.Secret{Type: corev1.SecretTypeTLS, Data: map[string][]byte{
			corev1.TLSCertKey: pairs()[i].chain, corev1.TLSPrivateKeyKey: pairs()[i].key,
		}}
		s.Namespace, s.Name = "shop", "c"
		return w.put("Secret", s)
	}
	secret(0)
	tr := New(w, Options{DefaultClass: "fairway"})
	if d, _ := tr.Update(w.keys()); len(d.Listeners) != 1 || len(d.Certificates) != 1 {
		t.Fatalf("at first %d listeners and %d certificates, want one of each", len(d.Listeners), len(d.Certificates))
	}
	d, reports := tr.Update([]routing.ObjectKey{secret(1)})
	if len(d.Certificates) != 1 || len(d.Listeners) != 0 || len(reports) != 0 {
		t.Errorf("a renewal changes %d certificates, %d listeners, %d reports, want the certificate alone",
			len(d.Certificates), len(d.Listeners), len(reports))
	}
}

// Who compiles compares by identity: what an edit does not change stays the
// same part, down to the rules of a route that moves to another listener.
func TestUnchangedPartsStayTheSame(t *testing.T) {
	w := world{}
	keys := w.load(t, edge+cart+attachedRoute)
	tr := New(w, Options{DefaultClass: "fairway"})
	first := dialecttest.NewResult().Apply(tr.Update(keys))
	before := first.Spec.Routes["HTTPRoute/shop/r"]

	gw := w.load(t, listeners("{name: http, port: 80, protocol: HTTP}, {name: more, port: 81, protocol: HTTP}"))
	d, _ := tr.Update(gw)
	if len(d.Routes) != 1 || len(d.Routes[0].Attached) != 2 || &d.Routes[0].Rules[0] != &before.Rules[0] {
		t.Errorf("a new listener does not leave the rules of a route as they are: %+v", d.Routes)
	}
	if len(d.Clusters)+len(d.Endpoints) > 0 {
		t.Errorf("a new listener changes %d clusters and %d endpoints, want none", len(d.Clusters), len(d.Endpoints))
	}
	if !slices.ContainsFunc(d.Listeners, func(l *routing.Listener) bool { return l.Name == "shop/edge/more" }) || len(d.Listeners) != 1 {
		t.Errorf("a new listener changes %d listeners, want itself", len(d.Listeners))
	}
}
