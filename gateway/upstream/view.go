package upstream

import (
	"net/netip"
	"slices"

	"fairway.dev/routing"
)

// A view is what picks read: settings, endpoints and tables that agree. It
// never changes.
type view struct {
	config *config
	all    []member
	usable []*member // ready, or as a last resort terminating and serving
	byAddr map[netip.AddrPort]*member
	at     *Place
	near   []picker // over some of usable, the nearest first: they come before picker
	picker picker   // over usable; nil where there is none
	hash   hashOn
	crowd  *crowd // nil: nobody has to be counted
	strict bool   // there is no panic
	byHost bool   // who is picked from hangs on the request's host
	// nameless: there are names of endpoints, and no address for any.
	nameless bool
	// here has the endpoints of our own network alone; nil: all are.
	here *view
}

// A member is an endpoint's part in a view.
type member struct {
	ep     *Endpoint
	weight uint32
	spec   routing.Endpoint
}

// newView is called with Set.mu held.
func (c *Cluster) newView(cfg *config, all []member) *view {
	v := &view{config: cfg, all: all, byAddr: make(map[netip.AddrPort]*member, len(all)), at: c.set.at}
	for i := range all {
		m := &all[i]
		if m.spec.Ready {
			v.usable = append(v.usable, m)
		}
		if m.spec.Ready || m.spec.Serving {
			v.byAddr[m.ep.addr] = m
		}
	}
	if len(v.usable) == 0 {
		for i := range all {
			if s := all[i].spec; s.Serving && s.Terminating {
				v.usable = append(v.usable, &all[i])
			}
		}
	}
	if near := ofHere(all); len(near) < len(all) {
		v.here = c.newView(cfg, near)
	}
	if len(v.usable) > 0 {
		v.divide(len(c.set.o.Loops))
	}
	v.hash = newHashOn(cfg.spec.Balance)
	v.strict = cfg.outliers != nil
	v.nameless = len(c.names) > 0 && len(all) == 0
	v.byHost = cfg.spec.Resolve == routing.ResolveHost
	return v
}

// divide makes the pickers: by tiers where the cluster asks for them, else by
// what is near.
func (v *view) divide(loops int) {
	balance := v.config.spec.Balance
	var tiers []tier
	if v.here == nil { // else those of our own network, which come first, are divided
		tiers = v.at.tiers(balance.Locality, v.usable)
	}
	if tiers != nil {
		v.usable = nil
		for _, t := range tiers {
			v.usable = append(v.usable, t.members...)
		}
		if len(tiers) == 0 {
			return // none is where requests may go
		}
	} else {
		for _, members := range v.at.narrow(v.usable) {
			v.near = append(v.near, newPicker(balance, members, loops))
		}
	}
	v.picker = newPicker(balance, v.usable, loops)
	v.crowd = newCrowd(v.config, tiers, v.usable, loops)
}

func (v *view) endpoints() []*Endpoint {
	eps := make([]*Endpoint, len(v.all))
	for i := range v.all {
		eps[i] = v.all[i].ep
	}
	return eps
}

// ofHere are the members that are of our own network.
func ofHere(all []member) []member {
	if !slices.ContainsFunc(all, func(m member) bool { return m.spec.Far != nil }) {
		return all
	}
	return slices.DeleteFunc(slices.Clone(all), func(m member) bool { return m.spec.Far != nil })
}

// choose returns the member to use, nil where there is none.
func (v *view) choose(ch *chooser, want *Want, index int) *member {
	if want.Here && v.here != nil {
		return v.here.choose(ch, want, index)
	}
	if v.picker == nil {
		return nil
	}
	if want.Pinned.IsValid() {
		// An endpoint that terminates keeps its sessions while it serves.
		ch.mood = choosy
		if m := v.byAddr[want.Pinned]; m != nil && ch.likes(m) {
			return m
		}
	}
	if v.here != nil {
		if m := v.here.best(ch, want, index, choosy); m != nil {
			return m
		}
	}
	if v.strict {
		return v.best(ch, want, index, again) // who asks for Istio's detection gets no panic, but by MinHealthPercent
	}
	return v.best(ch, want, index, desperate)
}

// best picks in the first mood that somebody suits, none beyond last; where last
// is choosy nobody is in panic.
func (v *view) best(ch *chooser, want *Want, index int, last mood) *member {
	if v.picker == nil {
		return nil
	}
	first := choosy
	if v.crowd != nil {
		cs := v.crowd.census(ch.now, ch.tide)
		if len(v.crowd.tiers) > 1 || v.crowd.tiers[0].picker != nil {
			if m := v.crowd.pickTier(cs, ch, want, index, last); m != nil || last <= again {
				return m
			}
		} else if cs.panics[0] && last != choosy {
			first, last = panicking, desperate
		}
	}
	for ch.mood = first; ch.mood <= last; ch.mood++ {
		if v.near != nil && ch.mood <= again {
			if m := v.pickNear(ch, want, index); m != nil {
				return m
			}
		}
		if m := v.picker.pick(ch, want, index); m != nil {
			return m
		}
	}
	return nil
}
