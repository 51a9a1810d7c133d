package istio

import (
	"fmt"
	"testing"

	security "istio.io/api/security/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	corev1 "k8s.io/api/core/v1"

	"fairway.dev/routing"
	"fairway.dev/routing/dialect"
	"fairway.dev/routing/dialecttest"
)

// methodPolicy is about all of a namespace.
func methodPolicy(method string) *securityv1.AuthorizationPolicy {
	o := &securityv1.AuthorizationPolicy{}
	o.Namespace, o.Name = "shop", "all"
	o.Spec.Rules = []*security.Rule{{To: []*security.Rule_To{{Operation: &security.Operation{Methods: []string{method}}}}}}
	return o
}

// What is edited in the rules of a policy touches no door, however many there
// are: doors name policies.
func TestAnEditOfRulesTouchesNoDoor(t *testing.T) {
	w := dialecttest.World{}
	load(t, w, cartWorld)
	for i := range 100 {
		o := w[routing.ObjectKey{Kind: "Service", Namespace: "shop", Name: "cart"}].(*corev1.Service).DeepCopy()
		o.Name, o.Spec.ClusterIP = fmt.Sprintf("s%d", i), fmt.Sprintf("10.96.1.%d", i)
		w.Put("Service", o)
	}
	w.Put(KindAuthorization, methodPolicy("GET"))
	tr := newTranslator(w, inCluster)
	tr.Update(w.Keys())
	var ran []dialect.ID
	tr.Sheet().Trace(func(id dialect.ID) { ran = append(ran, id) })
	d, _ := tr.Update([]routing.ObjectKey{w.Put(KindAuthorization, methodPolicy("PUT"))})
	if len(d.Policies) != 1 || len(d.Listeners) != 0 || len(ran) > 4 {
		t.Errorf("%d formulas run, %v, for %d policies and %d listeners: want 4 at most, for a policy", len(ran), ran, len(d.Policies), len(d.Listeners))
	}
	ran = nil
	k := routing.ObjectKey{Kind: KindAuthorization, Namespace: "shop", Name: "all"}
	delete(w, k)
	if d, _ := tr.Update([]routing.ObjectKey{k}); len(d.Removed.Policies) != 1 || len(d.Listeners) != 101 {
		t.Errorf("without the policy %d listeners have changed, and %v is gone: want the 101 doors, and the policy", len(d.Listeners), d.Removed.Policies)
	}
}
