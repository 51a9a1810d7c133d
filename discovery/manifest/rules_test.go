package manifest

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
)

// The API server's own walk over the rules is the oracle for ours: on the
// objects of testdata, and on thousands of damaged copies of them.
func TestRulesAgreeWithTheAPIServer(t *testing.T) {
	oracles := map[*kind]*cel.Validator{}
	random := rand.New(rand.NewPCG(1, 2))
	broken := 0
	for _, tr := range corpus(t) {
		apiVersion, _ := tr["apiVersion"].(string)
		name, _ := tr["kind"].(string)
		k := kindOf(apiVersion, name)
		if k == nil || k.schemas == nil {
			continue
		}
		c := k.schemas[k.versions[0]].compile()
		if oracles[k] == nil {
			oracles[k] = cel.NewValidator(c.shape, true, celconfig.PerCallLimit)
		}
		const copies = 60
		for i := range copies {
			o := deepCopy(t, tr)
			if i > 0 {
				damage(random, o)
			}
			pruning.Prune(o, c.shape, true)
			defaulting.Default(o, c.shape)
			if blocksRules(validation.ValidateCustomResource(nil, o, c.values)) {
				continue // no rules are asked then
			}
			left := budget(celconfig.RuntimeCELCostBudget)
			got := texts(c.rules.validate(nil, o, &left))
			errs, wantLeft := oracles[k].Validate(context.Background(), nil, c.shape, o, nil, celconfig.RuntimeCELCostBudget)
			if want := texts(errs); !slices.Equal(got, want) || int64(left) != wantLeft {
				js, _ := json.Marshal(o)
				t.Fatalf("%s\nfast   %d %q\noracle %d %q", js, left, got, wantLeft, want)
			}
			broken += len(got)
		}
	}
	if broken < 300 {
		t.Errorf("only %d rules were broken: want more to compare", broken)
	}
}

func texts(errs field.ErrorList) []string {
	list := make([]string, 0, len(errs))
	for _, e := range errs {
		list = append(list, e.Error())
	}
	slices.Sort(list)
	return list
}

// corpus returns the objects of testdata, good and bad.
func corpus(tb testing.TB) (trees []tree) {
	tb.Helper()
	for _, path := range []string{"testdata/accepted.yaml", "testdata/refused.yaml", "testdata/rich.yaml"} {
		text, err := os.ReadFile(path)
		if err != nil {
			tb.Fatal(err)
		}
		for _, p := range split(text) {
			if t, err := parse(p.of(text)); err == nil {
				if tr, ok := t.root.(tree); ok {
					trees = append(trees, tr)
				}
			}
		}
	}
	return trees
}

func deepCopy(t *testing.T, tr tree) tree {
	t.Helper()
	js, err := json.Marshal(tr)
	if err != nil {
		t.Fatal(err)
	}
	copied, err := parseJSON(js)
	if err != nil {
		t.Fatal(err)
	}
	return copied.(tree)
}

// damage deletes, repeats and replaces values somewhere in v.
func damage(random *rand.Rand, v any) {
	for range 1 + random.IntN(3) {
		damageOnce(random, v)
	}
}

func damageOnce(random *rand.Rand, v any) {
	others := []any{int64(0), int64(70), "", "*", "Exact", "RequestRedirect", "URLRewrite", "HTTPS", "HTTP", "Service", "2s", tree{}, true}
	switch v := v.(type) {
	case tree:
		names := make([]string, 0, len(v))
		for name := range v {
			names = append(names, name)
		}
		slices.Sort(names)
		if len(names) == 0 {
			return
		}
		name := names[random.IntN(len(names))]
		if list, ok := v[name].([]any); ok && len(list) > 0 && random.IntN(4) == 0 {
			v[name] = append(list, list[random.IntN(len(list))])
			return
		}
		switch random.IntN(8) {
		case 0:
			delete(v, name)
		case 1:
			v[name] = others[random.IntN(len(others))]
		default:
			damageOnce(random, v[name])
		}
	case []any:
		if len(v) > 0 {
			i := random.IntN(len(v))
			if random.IntN(8) == 0 {
				v[i] = others[random.IntN(len(others))]
			} else {
				damageOnce(random, v[i])
			}
		}
	}
}

// The versions that are read are those that the API server serves, and the
// definition of each compiles.
func TestDefinitions(t *testing.T) {
	for _, k := range kinds {
		if k.schemas == nil {
			continue
		}
		crd, err := k.definition()
		if err != nil {
			t.Fatalf("%s: %v", k.name, err)
		}
		var served []string
		for _, v := range crd.Spec.Versions {
			if v.Served {
				served = append(served, v.Name)
			}
		}
		if !slices.Equal(slices.Sorted(slices.Values(served)), slices.Sorted(slices.Values(k.versions))) {
			t.Errorf("%s: versions %v are read, the definition serves %v", k.name, k.versions, served)
		}
		if crd.Spec.Names.Kind != k.apiKind() || (crd.Spec.Scope == "Cluster") != k.cluster {
			t.Errorf("%s: the definition is of %s, scope %s", k.name, crd.Spec.Names.Kind, crd.Spec.Scope)
		}
		for _, version := range k.versions {
			c, err := k.compileSchema(version)
			if err != nil {
				t.Errorf("%s %s: %v", k.name, version, err)
			}
			// All that the class's has to say is of changes (oldSelf), and the
			// grant's has nothing.
			if none := k.name == "GatewayClass" || k.name == "ReferenceGrant"; (c.rules == nil) != none {
				t.Errorf("%s %s: no rules is %v, want %v", k.name, version, c.rules == nil, none)
			}
		}
	}
}

// What is spent is spent: no later rule runs.
func TestBudgetOfRules(t *testing.T) {
	c := kindOf(gatewayGroup+"/v1", "HTTPRoute").schemas["v1"].compile()
	for _, tr := range corpus(t) {
		if _, name := names(tr); tr["kind"] != "HTTPRoute" || name != "rich" {
			continue
		}
		left := budget(10)
		errs := texts(c.rules.validate(nil, tr, &left))
		if left >= 0 || len(errs) != 1 {
			t.Errorf("with a small budget %d is left and there are errors %q, want one on the budget", left, errs)
		}
		return
	}
	t.Error("no route named rich")
}
