package capture

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"fairway.dev/routing"
)

// slots is among how many pods the connections to a waypoint and its canary are
// divided, each pod as often as its share is: percents.
const slots = 100

// canaries returns captures that between them have each canary, and each share of
// one, once, in the order of their names.
func (s *State) canaries() []*routing.Capture {
	first := map[string]*routing.Capture{}
	for _, name := range slices.Sorted(maps.Keys(s.split)) {
		c := s.split[name]
		if key := pairOf(c); first[key] == nil {
			first[key] = c
		}
	}
	list := make([]*routing.Capture, 0, len(first))
	for _, key := range slices.Sorted(maps.Keys(first)) {
		list = append(list, first[key])
	}
	return list
}

// pairOf names a waypoint and its canary: "shop/waypoint+shop/next.5".
func pairOf(c *routing.Capture) string {
	return fmt.Sprintf("%s+%s.%d", c.Waypoint, c.Canary.Gateway, c.Canary.Percent)
}

// sharing names who takes what is captured: the waypoint, or where there is a
// canary with pods to go to the pair of them.
func (s *State) sharing(c *routing.Capture, f Family) string {
	if c.Canary == nil || c.Canary.Percent == 0 || len(s.pods(c.Canary.Gateway, f)) == 0 {
		return c.Waypoint
	}
	return pairOf(c)
}

// shared returns where connections for a waypoint and its canary go to. Nobody
// goes to the canary of a waypoint that is not ready.
func (s *State) shared(c *routing.Capture, f Family) []netip.Addr {
	next, first := s.pods(c.Canary.Gateway, f), s.pods(c.Waypoint, f)
	if len(first) == 0 {
		return nil
	}
	list := make([]netip.Addr, slots)
	for i := range list {
		if i < int(c.Canary.Percent) {
			list[i] = next[i%len(next)]
		} else {
			list[i] = first[i%len(first)]
		}
	}
	return list
}
