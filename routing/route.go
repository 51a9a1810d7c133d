package routing

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
)

// A compiledRoute is a route with what is made of it.
type compiledRoute struct {
	route      *Route
	targets    []*Target
	candidates []*candidate
	problems   []*Problem
	places     []place       // where it applies, each once
	uses       []ClusterName // whose being in force decides about it, each once
}

// A place is a host pattern of a listener.
type place struct {
	listener ListenerName
	host     string
}

// compileRoute makes targets and candidates of the rules of r. What it returns
// depends on r, on which of its clusters are in force, and on which of those
// resolve the host of each request.
func compileRoute(r *Route, clusters func(ClusterName) *Cluster) *compiledRoute {
	c := &compiledRoute{route: r}
	for i := range r.Rules {
		c.addRule(i, clusters)
	}
	for _, a := range r.Attached {
		for _, host := range a.Hosts {
			c.addPlace(place{a.Listener, host})
		}
	}
	c.places = sorted(c.places, place.compare)
	c.uses = sorted(c.uses, cmp.Compare)
	return c
}

// sorted returns list in order, each element once.
func sorted[T comparable](list []T, compare func(T, T) int) []T {
	slices.SortFunc(list, compare)
	return slices.Compact(list)
}

func (p place) compare(q place) int {
	return cmp.Or(cmp.Compare(p.listener, q.listener), cmp.Compare(p.host, q.host))
}

func (c *compiledRoute) addPlace(p place) {
	if err := checkPattern(p.host); err != nil {
		c.report(c.route.Origin, InvalidHostname, err)
		return
	}
	c.places = append(c.places, p)
}

func (c *compiledRoute) report(o Origin, reason Reason, err error) {
	c.problems = append(c.problems, &Problem{Origin: o, Reason: reason, Err: err})
}

// addRule compiles a rule, or leaves it out as a whole where one of its
// matches is not valid.
func (c *compiledRoute) addRule(index int, clusters func(ClusterName) *Cluster) {
	rule := &c.route.Rules[index]
	t := &Target{Route: c.route, Rule: rule, Index: index}
	matches := rule.Matches
	if len(matches) == 0 {
		matches = []Match{{}}
	}
	var candidates []*candidate
	for i := range matches {
		m, err := compileMatch(&matches[i], t, i)
		if err != nil {
			c.report(rule.Origin, InvalidMatch, fmt.Errorf("match %d: %w", i, err))
			continue
		}
		candidates = append(candidates, m)
	}
	if len(candidates) < len(matches) {
		return
	}
	check := actionCheck{rule: rule, clusters: clusters, unbounded: c.route.unbounded()}
	t.Action = check.run()
	c.problems = append(c.problems, check.problems...)
	c.targets = append(c.targets, t)
	c.addCandidates(candidates)
	c.uses = slices.AppendSeq(c.uses, rule.Action.Clusters())
}

// addCandidates leaves out what no request gets to: in an ordered route all that
// comes after a match of every request. It would come before it otherwise, as
// such a match is the last of its host.
func (c *compiledRoute) addCandidates(list []*candidate) {
	for _, m := range list {
		if n := len(c.candidates); n > 0 && c.route.Ordered && c.candidates[n-1].all {
			return
		}
		c.candidates = append(c.candidates, m)
	}
}

// Clusters yields the clusters that an action can send to, one perhaps more
// than once.
func (a *Action) Clusters() iter.Seq[ClusterName] {
	return func(yield func(ClusterName) bool) {
		if a.Auth != nil && !yield(a.Auth.Cluster) {
			return
		}
		mirrors := func(list []Mirror) bool {
			for _, m := range list {
				if !yield(m.Cluster) {
					return false
				}
			}
			return true
		}
		if !mirrors(a.Mirrors) {
			return
		}
		for i := range a.Backends {
			b := &a.Backends[i]
			if b.Cluster != "" && !yield(b.Cluster) || !mirrors(b.Mirrors) {
				return
			}
		}
	}
}

// unbounded reports whether r takes requests for any host.
func (r *Route) unbounded() bool {
	return slices.ContainsFunc(r.Attached, func(a Attachment) bool { return slices.Contains(a.Hosts, anyHost) })
}

// listeners returns the listeners that r is attached to, by name, each once.
func (r *Route) listeners() []ListenerName {
	var names []ListenerName
	for _, a := range r.Attached {
		names = append(names, a.Listener)
	}
	return sorted(names, cmp.Compare)
}
