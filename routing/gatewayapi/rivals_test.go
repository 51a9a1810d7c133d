package gatewayapi

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"fairway.dev/routing"
)

// judgeRivals reads GRPCRouteSpec.hostnames literally: the routes of a listener
// come in the order of age, and one is turned away if a route of the other kind
// that is there already has a hostname in common with it.
func judgeRivals(routes map[cellID]*attachment) []string {
	var all []*claim
	for id, a := range routes {
		for _, p := range a.parents {
			for _, e := range p.entries {
				all = append(all, &claim{route: id, created: a.created, listener: e.listener, hosts: e.hosts})
			}
		}
	}
	slices.SortFunc(all, func(a, b *claim) int {
		return compareAge(a.created, b.created, a.name(), b.name())
	})
	var there []*claim
	var lost []string
	for _, c := range all {
		taken := slices.ContainsFunc(there, func(d *claim) bool {
			return d.route.Part != c.route.Part && d.listener == c.listener && slices.ContainsFunc(c.hosts, func(x string) bool {
				return slices.ContainsFunc(d.hosts, func(y string) bool { return inCommon(x, y) })
			})
		})
		if taken {
			lost = append(lost, fmt.Sprintf("%s of %s", c.listener, c.name()))
		} else {
			there = append(there, c)
		}
	}
	slices.Sort(lost)
	return lost
}

// inCommon looks for a host that both patterns match, by trying some.
func inCommon(a, b string) bool {
	for _, host := range []string{a, b} {
		host = strings.Replace(host, "*", "x.y", 1)
		if matchesHost(a, host) && matchesHost(b, host) {
			return true
		}
	}
	return false
}

// matchesHost compares label by label.
func matchesHost(pattern, host string) bool {
	if pattern == "*" {
		return true
	}
	p, h := strings.Split(pattern, "."), strings.Split(host, ".")
	if p[0] == "*" {
		return len(h) >= len(p) && slices.Equal(h[len(h)-len(p)+1:], p[1:])
	}
	return slices.Equal(p, h)
}

func TestTheOlderOfTwoRivalsStays(t *testing.T) {
	for seed := range uint64(200) {
		checkRivals(t, seed, 60)
	}
}

func FuzzTheOlderOfTwoRivalsStays(f *testing.F) {
	f.Add(uint64(3), uint8(100))
	f.Fuzz(func(t *testing.T, seed uint64, steps uint8) { checkRivals(t, seed, int(steps)) })
}

func checkRivals(t *testing.T, seed uint64, steps int) {
	c := chance{rand.New(rand.NewPCG(seed, 1))}
	var v rivals
	routes := map[cellID]*attachment{}
	for step := range steps {
		for range 1 + c.IntN(3) {
			id := cellID{Kind: attachCell, NS: c.ns(), Name: pick(c, "r1", "r2", "r3"), Part: pick(c, "HTTPRoute", "GRPCRoute")}
			delete(routes, id)
			if c.IntN(4) > 0 {
				a := &attachment{created: day(c.IntN(3)).Time, claims: true, parents: []parent{{}}}
				for _, l := range []routing.ListenerName{"a", "b"} {
					if hosts := hostsAt(anyHost, c.hosts()); c.IntN(3) > 0 {
						a.parents[0].entries = append(a.parents[0].entries, entry{listener: l, hosts: hosts})
					}
				}
				routes[id] = a
			}
			v.replace(id, routes[id])
		}
		v.settle()
		var lost []string
		for _, id := range slices.Collect(maps.Keys(routes)) {
			for _, cl := range v.routes[id] {
				if winner := v.lostTo(id, cl.listener); winner != nil {
					lost = append(lost, fmt.Sprintf("%s of %s", cl.listener, cl.name()))
				}
			}
		}
		slices.Sort(lost)
		if want := judgeRivals(routes); !slices.Equal(lost, want) {
			t.Fatalf("seed %d, step %d: turned away are %v, want %v", seed, step, lost, want)
		}
	}
}
