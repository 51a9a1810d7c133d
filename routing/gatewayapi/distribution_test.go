package gatewayapi

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"fairway.dev/routing"
)

// reached returns which of the ready endpoints a gateway sends to, as
// routing.Endpoint has it.
func reached(list []sliceEndpoint, node, zone string) []int {
	var forNode, forZone, all []int
	for i, e := range list {
		if !e.Ready {
			continue
		}
		all = append(all, i)
		if slices.Contains(e.ForNodes, node) {
			forNode = append(forNode, i)
		}
		if slices.Contains(e.ForZones, zone) {
			forZone = append(forZone, i)
		}
	}
	for _, some := range [][]int{forNode, forZone} {
		if len(some) > 0 {
			return some
		}
	}
	return all
}

// kubeProxyReaches is what kube-proxy on a node does with hints (KEP-3015,
// KEP-2433): those for the node if all that are ready hint at nodes and one at
// this, else those for the zone by the same rule, else all.
func kubeProxyReaches(list []sliceEndpoint, node, zone string) []int {
	by := func(hints func(sliceEndpoint) []string, place string) (some []int) {
		for i, e := range list {
			switch h := hints(e); {
			case !e.Ready:
			case len(h) == 0:
				return nil
			case slices.Contains(h, place):
				some = append(some, i)
			}
		}
		return some
	}
	if some := by(func(e sliceEndpoint) []string { return e.ForNodes }, node); some != nil {
		return some
	}
	if some := by(func(e sliceEndpoint) []string { return e.ForZones }, zone); some != nil {
		return some
	}
	var all []int
	for i, e := range list {
		if e.Ready {
			all = append(all, i)
		}
	}
	return all
}

// Where the Service says nothing, hints mean what they mean to kube-proxy.
func TestHintsAreThoseOfKubeProxy(t *testing.T) {
	c := chance{rand.New(rand.NewPCG(1, 2))}
	narrowed := 0
	for range 20000 {
		var list []sliceEndpoint
		hinting := c.IntN(2) == 0 // rarely are all hinted at by chance
		for range 1 + c.IntN(3) {
			e := sliceEndpoint{node: pick(c, "n1", "n2"), Endpoint: routing.Endpoint{Zone: pick(c, "a", "b"), Ready: c.IntN(4) > 0}}
			if hinting || c.IntN(3) == 0 {
				e.ForZones = pick(c, []string{"a"}, []string{"b", "a"}, []string{"b"})
			}
			if c.IntN(2) == 0 {
				e.ForNodes = pick(c, []string{"n1"}, []string{"n2"})
			}
			list = append(list, e)
		}
		want := kubeProxyReaches(list, "n1", "a")
		settled := slices.Clone(list)
		distribution{}.distribute(settled)
		if got := reached(settled, "n1", "a"); !slices.Equal(got, want) {
			t.Fatalf("%+v\nreaches %v, with kube-proxy %v", list, got, want)
		}
		if len(want) < len(list) {
			narrowed++
		}
	}
	if narrowed < 1000 {
		t.Errorf("hints counted in %d lists only: the test says little", narrowed)
	}
}

// An edit of trafficDistribution is a change of endpoints, which compiles nothing.
func TestDistributionIsAMatterOfEndpoints(t *testing.T) {
	const slice = `
kind: EndpointSlice
metadata: {namespace: shop, name: cart-1, labels: {kubernetes.io/service-name: cart}}
addressType: IPv4
ports: [{name: web, port: 8080}]
endpoints: [{addresses: [10.0.0.1], zone: a}]
---`
	s := newStage(t, edge+cart+slice+attachedRoute)
	forZones := func() []string { return s.Spec.Endpoints["shop/cart:80"].List[0].ForZones }
	if forZones() != nil {
		t.Errorf("for zones %v though nobody asks for it", forZones())
	}
	keys := s.w.load(t, `
kind: Service
metadata: {namespace: shop, name: cart}
spec: {trafficDistribution: PreferSameZone, ports: [{name: web, port: 80}]}
`)
	d, reports := s.tr.Update(keys)
	s.Apply(d, reports)
	if !slices.Equal(forZones(), []string{"a"}) || reports != nil {
		t.Errorf("for zones %v, %d reports, want a and none", forZones(), len(reports))
	}
	if d.Endpoints = nil; !reflect.DeepEqual(d, &routing.Delta{}) {
		t.Errorf("the edit changes %+v beside endpoints", d)
	}
}
