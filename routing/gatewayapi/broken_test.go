package gatewayapi

import (
	"fmt"
	"maps"
	"testing"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing"
	"fairway.dev/routing/dialecttest"
)

// brokenRoute is a route that CRD validation lets through and that cannot
// work, in one of several ways.
func brokenRoute(i int) *gatewayv1.HTTPRoute {
	o := largeRoute(i, 1, "shop.example.com")
	o.Name = fmt.Sprintf("broken%d", i)
	rule := &o.Spec.Rules[0]
	switch i % 6 {
	case 0:
		rule.BackendRefs[0].Name = "nobody"
	case 1:
		rule.Matches[0].Path = &gatewayv1.HTTPPathMatch{Type: ptr(gatewayv1.PathMatchRegularExpression), Value: ptr("/(")}
	case 2:
		rule.Filters = []gatewayv1.HTTPRouteFilter{{
			Type: gatewayv1.HTTPRouteFilterExtensionRef, ExtensionRef: &gatewayv1.LocalObjectReference{Group: "x", Kind: "Y", Name: "z"},
		}}
	case 3:
		o.Spec.ParentRefs[0].Name = "nobody"
	case 4:
		o.Spec.ParentRefs[0].SectionName = ptr[gatewayv1.SectionName]("nobody")
	case 5:
		rule.BackendRefs[0].Namespace = ptr[gatewayv1.Namespace]("elsewhere")
	}
	return o
}

// brokenWorld has a Gateway, two routes that work, and n that do not.
func brokenWorld(n int) world {
	w := largeWorld(2)
	for i := range n {
		w.put("HTTPRoute", brokenRoute(i))
	}
	return w
}

// TestBrokenRoutesDoNotSlowGoodOnes counts formulas and parts: what an edit of
// a good route costs does not depend on how many bad ones there are.
func TestBrokenRoutesDoNotSlowGoodOnes(t *testing.T) {
	var want map[cellKind]int
	for _, broken := range []int{0, 1000} {
		w := brokenWorld(broken)
		tr := New(w, largeOptions)
		all := dialecttest.NewResult().Apply(tr.Update(w.keys()))
		snap, _ := routing.Compile(&all.Spec)
		counts := ran(tr)
		d, reports := tr.Update([]routing.ObjectKey{w.put("HTTPRoute", largeRoute(1, 2, "shop.example.com"))})
		if len(d.Routes) != 1 || len(reports) != 0 {
			t.Errorf("beside %d broken routes an edited weight changes %d routes and %d reports, want 1 and 0",
				broken, len(d.Routes), len(reports))
		}
		if next, _ := snap.Update(d); len(next.Fresh()) != 1 {
			t.Errorf("beside %d broken routes an edited weight makes %d targets, want 1", broken, len(next.Fresh()))
		}
		if want == nil {
			want = maps.Clone(counts)
		} else if !maps.Equal(counts, want) {
			t.Errorf("beside %d broken routes an edit runs %v, want %v", broken, counts, want)
		}
	}
}

// BenchmarkGoodRouteAmongBroken is an edit of a good route, down to the
// Snapshot that has it in force.
func BenchmarkGoodRouteAmongBroken(b *testing.B) {
	for _, broken := range []int{0, 1000} {
		b.Run(fmt.Sprint(broken), func(b *testing.B) {
			w := brokenWorld(broken)
			tr := New(w, largeOptions)
			d, _ := tr.Update(w.keys())
			snap, _ := new(routing.Snapshot).Update(d)
			b.ReportAllocs()
			for n := int32(0); b.Loop(); n++ {
				d, _ := tr.Update([]routing.ObjectKey{w.put("HTTPRoute", largeRoute(1, 1+n%100, "shop.example.com"))})
				snap, _ = snap.Update(d)
			}
		})
	}
}

// TestARouteWithABadRuleServesTheOthers has sixteen rules, the most that the
// API allows, and one bad one in each place, of each kind of bad.
func TestARouteWithABadRuleServesTheOthers(t *testing.T) {
	bad := map[string]func(*gatewayv1.HTTPRouteRule){
		"filter": func(r *gatewayv1.HTTPRouteRule) {
			r.Filters = []gatewayv1.HTTPRouteFilter{{
				Type: gatewayv1.HTTPRouteFilterExtensionRef, ExtensionRef: &gatewayv1.LocalObjectReference{Group: "x", Kind: "Y", Name: "z"},
			}}
		},
		"match": func(r *gatewayv1.HTTPRouteRule) {
			r.Matches = []gatewayv1.HTTPRouteMatch{{Path: &gatewayv1.HTTPPathMatch{Type: ptr(gatewayv1.PathMatchRegularExpression), Value: ptr("(")}}}
		},
		"timeout": func(r *gatewayv1.HTTPRouteRule) {
			r.Timeouts = &gatewayv1.HTTPRouteTimeouts{Request: ptr[gatewayv1.Duration]("soon")}
		},
		"retry": func(r *gatewayv1.HTTPRouteRule) {
			r.Retry = &gatewayv1.HTTPRouteRetry{Codes: []gatewayv1.HTTPRouteRetryStatusCode{200}}
		},
	}
	for kind, spoil := range bad {
		for _, at := range []int{0, 7, 15} {
			w := largeWorld(16)
			o := largeRoute(0, 1, "bad.example.com")
			o.Name = "many"
			o.Spec.Rules = nil
			for i := range 16 {
				o.Spec.Rules = append(o.Spec.Rules, largeRoute(i, 1, "").Spec.Rules...)
			}
			spoil(&o.Spec.Rules[at])
			w.put("HTTPRoute", o)
			r := w.translate(largeOptions)
			snap, problems := routing.Compile(&r.Spec)
			if len(problems) > 0 {
				t.Fatalf("%s: Compile has something to add: %v", kind, problems)
			}
			port := snap.Port(routing.PortKey{Port: 80})
			for i := range 16 {
				res := port.Match(&routing.Request{Host: "bad.example.com", Path: fmt.Sprintf("/p%d", i), Method: "GET"})
				served := res.Target != nil && res.Target.Action.Status == 0 && res.Target.Action.Backends[0].Status == 0
				if served != (i != at) {
					t.Errorf("bad %s of rule %d: rule %d is served %t", kind, at, i, served)
				}
			}
			parent := r.Reports[routing.ObjectKey{Kind: "HTTPRoute", Namespace: "shop", Name: "many"}].Parents[0]
			if c := parent.Conditions; len(c) != 3 || c[0].Status != "True" || c[2].Type != "PartiallyInvalid" || c[2].Status != "True" {
				t.Errorf("bad %s of rule %d: conditions %+v, want Accepted, ResolvedRefs and PartiallyInvalid", kind, at, c)
			}
		}
	}
}

// TestLargestRoute has as many rules, matches of a rule and backends of a rule
// as the API allows for each; and so more matches in all than it allows (128).
func TestLargestRoute(t *testing.T) {
	w := largeWorld(16)
	o := largeRoute(0, 1, "large.example.com")
	o.Name = "large"
	o.Spec.Rules = nil
	for i := range 16 {
		rule := gatewayv1.HTTPRouteRule{}
		for j := range 64 {
			rule.Matches = append(rule.Matches, gatewayv1.HTTPRouteMatch{Path: &gatewayv1.HTTPPathMatch{Value: ptr(fmt.Sprintf("/r%d/m%d", i, j))}})
			rule.BackendRefs = append(rule.BackendRefs, largeRoute((i+j)%16, 1, "").Spec.Rules[0].BackendRefs...)
		}
		rule.BackendRefs = rule.BackendRefs[:16]
		o.Spec.Rules = append(o.Spec.Rules, rule)
	}
	w.put("HTTPRoute", o)
	r := w.translate(largeOptions)
	snap, problems := routing.Compile(&r.Spec)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	port := snap.Port(routing.PortKey{Port: 80})
	for i := range 16 {
		for j := range 64 {
			res := port.Match(&routing.Request{Host: "large.example.com", Path: fmt.Sprintf("/r%d/m%d/x", i, j), Method: "GET"})
			if res.Target == nil || res.Target.Index != i || res.Match != j || len(res.Target.Action.Backends) != 16 {
				t.Fatalf("/r%d/m%d leads to %+v", i, j, res)
			}
		}
	}
}
