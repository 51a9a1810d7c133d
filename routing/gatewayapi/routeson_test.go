package gatewayapi

import (
	"cmp"
	"slices"
	"testing"

	"fairway.dev/routing"
	"fairway.dev/routing/dialect"
)

// Another dialect is told which routes are on a host, and whether they leave
// anything to others.
func TestRoutesOnAHost(t *testing.T) {
	route := func(name, host, matches string) string {
		return `
---
kind: HTTPRoute
metadata: {namespace: shop, name: ` + name + `}
spec:
  parentRefs: [{name: edge}]
  hostnames: [` + host + `]
  rules: [{` + matches + `backendRefs: [{name: cart, port: 8080}]}]
`
	}
	w := world{}
	keys := w.load(t, edge+cart+
		route("all", "a.example.com", "")+
		route("slash", "a.example.com", "matches: [{path: {value: /x}}, {path: {type: PathPrefix, value: /}}], ")+
		route("prefix", "a.example.com", "matches: [{path: {type: PathPrefix, value: /x}}], ")+
		route("method", "a.example.com", "matches: [{method: GET}], ")+
		route("exact", "a.example.com", "matches: [{path: {type: Exact, value: /}}], ")+
		route("other", "b.example.com", ""))
	tr := New(w, Options{DefaultClass: "fairway"})
	tr.TellRoutes()
	asks := dialect.Verdicts + dialect.IstioKinds
	var got []RouteOn
	tr.Sheet().Define(asks, func(r *dialect.Reading) dialect.Outcome {
		got = RoutesOn(r, "shop/edge/http", "a.example.com")
		return dialect.Outcome{}
	})
	tr.Sheet().Plant("Gateway", func(routing.ObjectKey) []dialect.ID { return []dialect.ID{{Kind: asks}} })
	tr.Update(keys)
	slices.SortFunc(got, func(a, b RouteOn) int { return cmp.Compare(a.Route.Name, b.Route.Name) })
	on := func(name string, all bool) RouteOn {
		return RouteOn{routing.ObjectKey{Kind: "HTTPRoute", Namespace: "shop", Name: name}, all}
	}
	if want := []RouteOn{on("all", true), on("exact", false), on("method", false), on("prefix", false), on("slash", true)}; !slices.Equal(got, want) {
		t.Errorf("on the host there are %v, want %v", got, want)
	}
}
