package istio

import (
	"encoding/json"
	"fmt"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairway.dev/routing"
	"fairway.dev/routing/analysis"
	"fairway.dev/routing/dialecttest"
)

var meshFiles = []string{"testdata/mesh-*.yaml", "testdata/authorization.yaml", "testdata/authentication.yaml"}

// TestMeshComesToTheSameAsAFreshStart is the law of the sheet for policies, and for
// what goes between pods.
func TestMeshComesToTheSameAsAFreshStart(t *testing.T) {
	all := variants(t, meshFiles...)
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { checkMeshHistory(t, all, seed, 50) })
	}
}

func FuzzMeshComesToTheSameAsAFreshStart(f *testing.F) {
	all := variants(f, meshFiles...)
	f.Add(uint64(1), uint8(50))
	f.Fuzz(func(t *testing.T, seed uint64, steps uint8) { checkMeshHistory(t, all, seed, int(steps)) })
}

func checkMeshHistory(t *testing.T, all map[routing.ObjectKey][]any, seed uint64, steps int) {
	dialecttest.History(t, seed, steps, all, func(w dialecttest.World) dialecttest.Translator { return newTranslator(w, inCluster) })
}

// Whatever stands in a policy, it comes to one that gateways carry out as it is,
// or to one that says why it refuses all; and package analysis has said so too.
func FuzzAuthorizationPolicy(f *testing.F) {
	for _, o := range variants(f, meshFiles...) {
		for _, o := range o {
			if p, ok := o.(*securityv1.AuthorizationPolicy); ok {
				text, err := protojson.Marshal(&p.Spec)
				if err != nil {
					f.Fatal(err)
				}
				f.Add(text)
			}
		}
	}
	f.Add([]byte(`{"action": 7}`))
	f.Add([]byte(`{"rules": [null, {"from": [null, {}], "to": [null, {}], "when": [null, {"key": "source.ip"}]}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		o := &securityv1.AuthorizationPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "p"}}
		if !json.Valid(text) || protojson.Unmarshal(text, &o.Spec) != nil {
			return // no policy: nothing to hold
		}
		w := dialecttest.World{}
		w.Put(KindAuthorization, o)
		p := translate(w, inCluster).Spec.Policies["AuthorizationPolicy/shop/p"]
		if p == nil {
			t.Fatalf("%s: no policy", text)
		}
		err := p.Authorization.Check()
		if broken := p.Authorization.Broken; (err != nil) != (broken != "") {
			t.Errorf("%s: broken %q, but Check says %v", text, broken, err)
		}
		refused := false
		for _, found := range analysis.Validate(o) {
			refused = refused || found.Level == routing.Error
		}
		if p.Authorization.Broken != "" && !refused {
			t.Errorf("%s: broken (%s), and nothing is wrong with it", text, p.Authorization.Broken)
		}
	})
}
