package gatewayapi

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"fairway.dev/routing"
	"fairway.dev/routing/dialect"
)

// doorNames are those of the doors for port 80 of a Service, in order.
func doorNames(s *routing.Spec, service string) (names []string) {
	for name, l := range s.Listeners {
		if l.Inside && l.Port == 80 && slices.Contains(l.Names, service+".svc.cluster.local") {
			names = append(names, string(name))
		}
	}
	slices.Sort(names)
	return names
}

// Doors follow who calls and whose waypoint is whose: at each step there is a door
// at the Service's own waypoint, one for the others if there are any, and those of
// consumers beside them.
func TestSharedDoorsFollowWaypoints(t *testing.T) {
	namespace := func(name, waypoint, in string) string {
		return fmt.Sprintf("kind: Namespace\nmetadata: {name: %s, labels: {istio.io/use-waypoint: %q, istio.io/use-waypoint-namespace: %q}}\n---\n", name, waypoint, in)
	}
	const own, shared = "shop/waypoint/cart.shop:80", "~/cart.shop:80"
	s := isolatedStage(t, twoNamespaces)
	route := meshRouteDoc("HTTPRoute", "bank", "r", "namespace: shop, name: cart, port: 80", "")
	steps := []struct {
		name  string
		load  string
		gone  *routing.ObjectKey
		doors []string
		calls []string // the waypoints through which workloads call
	}{
		{"two waypoints", "", nil, []string{own, shared}, []string{"bank/waypoint", "shop/waypoint"}},
		{"a consumer route", route, nil, []string{"bank/waypoint/cart.shop:80@bank", own, shared}, []string{"bank/waypoint", "shop/waypoint"}},
		{"bank has none", namespace("bank", "none", ""), nil, []string{own}, []string{"shop/waypoint"}},
		{"bank's is shop's", namespace("bank", "waypoint", "shop"), nil, []string{own, own + "@bank"}, []string{"shop/waypoint"}},
		{"shop has none, but for the Service", namespace("bank", "waypoint", "bank") + namespace("shop", "none", "") + enrolledCart, nil, []string{"bank/waypoint/cart.shop:80@bank", own, shared}, []string{"bank/waypoint"}},
		{"the route leaves", "", &routing.ObjectKey{Kind: "HTTPRoute", Namespace: "bank", Name: "r"}, []string{own, shared}, []string{"bank/waypoint"}},
		{"the Service's waypoint leaves", "", &routing.ObjectKey{Kind: "Gateway", Namespace: "shop", Name: "waypoint"}, []string{shared}, []string{"bank/waypoint"}},
		{"all have left", "", &routing.ObjectKey{Kind: "Gateway", Namespace: "bank", Name: "waypoint"}, nil, nil},
	}
	for _, tt := range steps {
		if tt.load != "" {
			s.load(tt.load)
		}
		if tt.gone != nil {
			s.remove(*tt.gone)
		}
		if got := doorNames(&s.Spec, "cart.shop"); !slices.Equal(got, tt.doors) {
			t.Errorf("%s: the doors are %q, want %q", tt.name, got, tt.doors)
		}
		var calls []string
		for _, l := range s.Spec.Listeners {
			if l.Calls() {
				calls = append(calls, l.Gateway)
			}
		}
		slices.Sort(calls)
		if !slices.Equal(calls, tt.calls) {
			t.Errorf("%s: workloads call through %q, want %q", tt.name, calls, tt.calls)
		}
	}
}

// enrolledCart is the Service cart with a waypoint of its own.
const enrolledCart = `
kind: Service
metadata: {namespace: shop, name: cart, labels: {istio.io/use-waypoint: waypoint}}
spec: {clusterIP: 10.96.0.5, ports: [{name: http, port: 80}]}
---
`

// A Gateway at which another dialect makes something else of doors has them all for
// itself, before those that are shared.
func TestDoorsApart(t *testing.T) {
	w := world{}
	keys := w.load(t, twoNamespaces)
	tr := New(w, Options{DefaultClass: "fairway", Isolated: true})
	tr.Join(Shaper{
		Apart: func(_ *dialect.Reading, ns, name string) bool { return ns+"/"+name == "bank/waypoint" },
		Door: func(_ *dialect.Reading, d Door, _ map[string]string, l *routing.Listener) {
			l.Strict = d.Gateway == "bank/waypoint"
		},
	})
	d, _ := tr.Update(keys)
	want := map[routing.ListenerName]bool{"bank/waypoint/cart.shop:80": false, "shop/waypoint/cart.shop:80": false, "~/cart.shop:80": false}
	for _, l := range d.Listeners {
		if _, ok := want[l.Name]; ok {
			want[l.Name] = true
			if l.Strict != (l.Gateway == "bank/waypoint") {
				t.Errorf("%s is strict: %v", l.Name, l.Strict)
			}
		}
	}
	for name, there := range want {
		if !there {
			t.Errorf("there is no door %s", name)
		}
	}
	bank := *d
	bank.Listeners = slices.DeleteFunc(slices.Clone(d.Listeners), func(l *routing.Listener) bool { return l.Gateway != "bank/waypoint" && !l.Shared() })
	snap, problems := new(routing.Snapshot).Update(&bank)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if got := snap.Door(netip.MustParseAddrPort("10.96.0.5:80"), "").Listeners(); len(got) != 1 || got[0].Gateway != "bank/waypoint" {
		t.Errorf("at bank's waypoint served is %v, want its own", got)
	}
	if got := len(doorNames(snap.Spec(), "ledger.bank")); got != 2 {
		t.Errorf("bank's own Service has %d doors, want its waypoint's and the others'", got)
	}
}
