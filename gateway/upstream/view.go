package upstream

import (
	"net/netip"

	"fairway.dev/routing"
)

// A view is what picks read: settings, endpoints and tables that agree. It
// never changes.
type view struct {
	config *config
	all    []member
	usable []*member // ready, or as a last resort terminating and serving
	byAddr map[netip.AddrPort]*member
	at     place
	near   []picker // over some of usable, the nearest first: they come before picker
	picker picker   // over usable; nil where there is none
	hash   hashOn
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
	if len(v.usable) > 0 {
		kind, loops := cfg.spec.Balance.Kind, len(c.set.o.Loops)
		for _, members := range v.at.narrow(v.usable) {
			v.near = append(v.near, newPicker(kind, members, loops))
		}
		v.picker = newPicker(kind, v.usable, loops)
	}
	v.hash = newHashOn(cfg.spec.Balance)
	return v
}

func (v *view) endpoints() []*Endpoint {
	eps := make([]*Endpoint, len(v.all))
	for i := range v.all {
		eps[i] = v.all[i].ep
	}
	return eps
}

// choose returns the member to use, nil where there is none.
func (v *view) choose(ch *chooser, want *Want, index int) *member {
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
	for ch.mood = choosy; ch.mood <= desperate; ch.mood++ {
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
