package gatewayapi

import (
	"fmt"
	"testing"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing"
	"fairway.dev/routing/dialecttest"
)

// ran counts the formulas of each kind that run from now on.
func ran(t *Translator) map[cellKind]int {
	counts := map[cellKind]int{}
	t.sheet.Trace(func(c cellID) { counts[c.Kind]++ })
	return counts
}

// TestForeignRoutesCostNothing is the law of routes whose parents are not ours:
// they are looked at once, for whose they are, and that is all. No backend is
// read for them, nothing is said of them, and what becomes of their parents
// does not wake them.
func TestForeignRoutesCostNothing(t *testing.T) {
	group, service := gatewayv1.Group(""), gatewayv1.Kind("Service")
	parents := map[string]gatewayv1.ParentReference{
		"a Gateway of another class": {Name: "theirs"},
		"a Gateway without a class":  {Name: "lost"},
		"a Service (GAMMA)":          {Group: &group, Kind: &service, Name: "s1"},
		"a kind of another group":    {Group: ptr[gatewayv1.Group]("x.example"), Name: "edge"},
	}
	for name, parent := range parents {
		t.Run(name, func(t *testing.T) {
			w := largeWorld(2)
			for _, gateway := range []string{"theirs", "lost"} {
				w.put("Gateway", foreignGateway(gateway, 80))
			}
			const foreign = 50
			for i := range foreign {
				w.put("HTTPRoute", foreignRoute(i, parent, 1))
				svc := fmt.Sprintf("f%d", i)
				w.put("Service", largeService(svc))
			}
			tr := New(w, largeOptions)
			first := dialecttest.NewResult().Apply(tr.Update(w.keys()))
			if n := len(first.Spec.Routes) + len(first.Spec.Clusters); n != 4 {
				t.Errorf("%d routes and clusters, want the 4 that are ours", n)
			}
			for k := range first.Reports {
				if k.Kind == "HTTPRoute" && k.Name[0] == 'f' {
					t.Errorf("%s has a report, want none", k)
				}
			}

			counts := ran(tr)
			d, reports := tr.Update([]routing.ObjectKey{w.put("HTTPRoute", foreignRoute(7, parent, 2))})
			if !isEmpty(d) || len(reports) > 0 {
				t.Errorf("an edit comes to %+v %v, want nothing", d, reports)
			}
			if counts[attachCell] != 1 || counts[routeCell] > 1 || counts[rulesCell]+counts[backendCell]+counts[clusterCell] > 0 {
				t.Errorf("an edit runs %v, want a look at whose it is", counts)
			}

			clear(counts)
			tr.Update([]routing.ObjectKey{w.put("Gateway", foreignGateway("theirs", 81)), w.put("Service", largeService("f7"))})
			if counts[attachCell]+counts[routeCell]+counts[rulesCell]+counts[backendCell]+counts[clusterCell] > 0 {
				t.Errorf("an edit of the parent and of a Service runs %v, want nothing of routes", counts)
			}
		})
	}
}

func ptr[T any](v T) *T { return &v }

func isEmpty(d *routing.Delta) bool {
	return len(d.Listeners)+len(d.Routes)+len(d.Clusters)+len(d.Endpoints)+len(d.Certificates)+len(d.Removed.Listeners)+
		len(d.Removed.Routes)+len(d.Removed.Clusters)+len(d.Removed.Certificates) == 0
}

func foreignGateway(name string, port gatewayv1.PortNumber) *gatewayv1.Gateway {
	gw := &gatewayv1.Gateway{}
	gw.Namespace, gw.Name = "shop", name
	gw.Spec.GatewayClassName = gatewayv1.ObjectName("of-" + name)
	gw.Spec.Listeners = []gatewayv1.Listener{{Name: "http", Port: port, Protocol: "HTTP"}}
	return gw
}

func foreignRoute(i int, parent gatewayv1.ParentReference, weight int32) *gatewayv1.HTTPRoute {
	o := largeRoute(i, weight, "theirs.example.com")
	o.Name = fmt.Sprintf("f%d", i)
	o.Spec.ParentRefs = []gatewayv1.ParentReference{parent}
	o.Spec.Rules[0].BackendRefs[0].Name = gatewayv1.ObjectName(o.Name)
	return o
}
