package convert

import "slices"

// maxAdded bounds by how many matches the rules of one VirtualService may grow.
const maxAdded = 512

// arrange has lists of matches, which are tried in their order, come to the same
// where the most specific match counts. It calls clash for two lists, by their
// places, for which that cannot be had. Lists that no request reaches are empty
// afterwards.
func arrange(lists [][]match, clash func(earlier, later int)) {
	a := arrangement{lists: lists, clashed: map[[2]int]bool{}, clash: clash}
	for a.changed = true; a.changed; {
		a.changed = false
		for j := range lists {
			for i := range j {
				a.settle(i, j)
			}
		}
	}
}

type arrangement struct {
	lists   [][]match
	added   int // matches that were not there
	changed bool
	clashed map[[2]int]bool
	clash   func(earlier, later int)
}

// settle sees to it that the matches of list i come before those of list j.
func (a *arrangement) settle(i, j int) {
	for at := 0; at < len(a.lists[i]); at++ {
		m := a.lists[i][at]
		for k := 0; k < len(a.lists[j]); k++ {
			n := a.lists[j][k]
			both, r := m.and(n)
			switch {
			case r == nothing:
			case r == something && both.equal(n):
				// All of it falls under m: no request gets here.
				a.lists[j] = slices.Delete(a.lists[j], k, k+1)
				a.changed = true
				k--
			case m.compare(n) <= 0:
			case r == unclear || !a.add(i, both, n):
				a.report(i, j)
			}
		}
	}
}

// add gives list i what its match and n have in common, so that it comes before
// n. It reports whether that is so then.
func (a *arrangement) add(i int, both, n match) bool {
	if both.compare(n) > 0 && both.path.kind == under {
		both.path.kind = branch
	}
	if both.compare(n) > 0 {
		return false
	}
	// A request may find another match of list i that comes before n.
	if slices.ContainsFunc(a.lists[i], func(m match) bool { return m.compare(n) <= 0 && m.covers(both) }) {
		return true
	}
	// What an earlier list has already would be taken out again at once.
	for _, l := range a.lists[:i] {
		if slices.ContainsFunc(l, func(m match) bool { return m.covers(both) }) {
			return true
		}
	}
	if a.added >= maxAdded {
		return false
	}
	a.lists[i] = append(a.lists[i], both)
	a.added++
	a.changed = true
	return true
}

func (a *arrangement) report(i, j int) {
	if k := [2]int{i, j}; !a.clashed[k] {
		a.clashed[k] = true
		a.clash(i, j)
	}
}
