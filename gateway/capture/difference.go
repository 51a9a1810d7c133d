package capture

import (
	"fmt"
	"maps"
	"slices"
)

// A Difference is what makes one Ruleset into another, in the order in which the
// kernel takes it: nothing is named before it is there, or gone while it is named.
type Difference struct {
	NewSets    []*Set   // their elements are in Add
	NewChains  []*Chain // their rules are in Rewrite
	Remove     []Elements
	Flush      []string // chains whose rules go
	Add        []Elements
	Rewrite    []*Chain // chains whose rules come, in place of those of Flush
	GoneChains []string
	GoneSets   []string
	// Anew, if not nil, is why it took a new table although there was one.
	Anew error
}

// Elements are some of a set's.
type Elements struct {
	Set  *Set
	List map[Element]Value
}

// Between returns what makes have into want. An error says that only a new table
// will do, as a set or a base chain is of another kind.
func Between(have, want *Ruleset) (*Difference, error) {
	d := &Difference{}
	for _, name := range slices.Sorted(maps.Keys(want.Sets)) {
		if !d.set(have.Sets[name], want.Sets[name]) {
			return nil, fmt.Errorf("set %s is of another kind", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(want.Chains)) {
		if !d.chain(have.Chains[name], want.Chains[name]) {
			return nil, fmt.Errorf("chain %s is at another hook", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(have.Chains)) {
		if want.Chains[name] == nil {
			d.Flush = append(d.Flush, name)
			d.GoneChains = append(d.GoneChains, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(have.Sets)) {
		if want.Sets[name] == nil {
			// What leads to chains goes first: a chain that is named does not go.
			d.remove(have.Sets[name], have.Sets[name].Elements)
			d.GoneSets = append(d.GoneSets, name)
		}
	}
	return d, nil
}

func (d *Difference) set(have, want *Set) bool {
	if have == nil {
		d.NewSets = append(d.NewSets, want)
		d.add(want, want.Elements)
		return true
	}
	if have == want {
		return true
	}
	if have.Family != want.Family || have.Key != want.Key || have.Value != want.Value {
		return false
	}
	remove, add := map[Element]Value{}, map[Element]Value{}
	for key, value := range have.Elements {
		if now, ok := want.Elements[key]; !ok || now != value {
			remove[key] = value
		}
	}
	for key, value := range want.Elements {
		if old, ok := have.Elements[key]; !ok || old != value {
			add[key] = value
		}
	}
	d.remove(want, remove)
	d.add(want, add)
	return true
}

func (d *Difference) add(s *Set, list map[Element]Value) {
	if len(list) > 0 {
		d.Add = append(d.Add, Elements{s, list})
	}
}

func (d *Difference) remove(s *Set, list map[Element]Value) {
	if len(list) > 0 {
		d.Remove = append(d.Remove, Elements{s, list})
	}
}

func (d *Difference) chain(have, want *Chain) bool {
	switch {
	case have == nil:
		d.NewChains = append(d.NewChains, want)
	case have.Hook != want.Hook:
		return false
	case slices.Equal(have.Rules, want.Rules):
		return true
	default:
		d.Flush = append(d.Flush, want.Name)
	}
	d.Rewrite = append(d.Rewrite, want)
	return true
}

// Empty reports whether there is nothing to do.
func (d *Difference) Empty() bool {
	return len(d.NewSets)+len(d.NewChains)+len(d.Remove)+len(d.Flush)+len(d.Add)+len(d.Rewrite)+len(d.GoneChains)+len(d.GoneSets) == 0
}

// Size returns how many elements, rules, chains and sets it touches.
func (d *Difference) Size() int {
	n := len(d.NewSets) + len(d.NewChains) + len(d.Flush) + len(d.Rewrite) + len(d.GoneSets)
	for _, list := range [][]Elements{d.Remove, d.Add} {
		for _, e := range list {
			n += len(e.List)
		}
	}
	return n
}
