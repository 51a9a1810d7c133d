package upstream

import "sync/atomic"

// overprovisioning is by how many percent a tier is taken to be larger than its
// requests need: so it takes all of them until fewer than 72 % of it are
// healthy (Envoy's overprovisioning_factor).
const overprovisioning = 140

// A crowd is a view's endpoints where it counts how many of them are healthy:
// by tiers, or against OutlierDetection.MinHealthPercent.
type crowd struct {
	tiers     []tier
	minHealth int // percent; 0: there is no panic
	taken     atomic.Pointer[census]
}

// A census is how healthy a crowd is. It holds until somebody comes back by
// himself, or the cluster's tide says that something has happened.
type census struct {
	tide   uint64
	until  instant
	sum    uint64   // of loads
	limits []uint64 // of tiers, the sum of its load and those before it
	panics []bool   // tiers whose health is ignored
}

// newCrowd returns nil where nobody has to be counted.
func newCrowd(cfg *config, tiers []tier, usable []*member, loops int) *crowd {
	minHealth := 0
	if cfg.outliers != nil {
		minHealth = cfg.outliers.minHealth
	}
	if tiers == nil && minHealth == 0 {
		return nil
	}
	for i := range tiers {
		tiers[i].picker = newPicker(cfg.spec.Balance, tiers[i].members, loops)
	}
	if tiers == nil {
		tiers = []tier{{members: usable}} // which the view's own pickers pick from
	}
	return &crowd{tiers: tiers, minHealth: minHealth}
}

// census returns what holds now. Loops that find an old one at the same moment
// each take a new one.
func (w *crowd) census(now instant, tide uint64) *census {
	if cs := w.taken.Load(); cs != nil && cs.tide == tide && now < cs.until {
		return cs
	}
	cs := w.take(now)
	cs.tide = tide
	w.taken.Store(cs)
	return cs
}

// A count is how many of a tier's members there are and are healthy.
type count struct{ all, healthy int }

func (w *crowd) take(now instant) *census {
	cs := &census{until: forever, limits: make([]uint64, len(w.tiers)), panics: make([]bool, len(w.tiers))}
	counts := make([]count, len(w.tiers))
	for i, t := range w.tiers {
		counts[i].all = len(t.members)
		for _, m := range t.members {
			if m.ep.health.share(now) > 0 {
				counts[i].healthy++
			} else if out := m.ep.health.outUntil.Load(); out > now {
				cs.until = min(cs.until, out)
			}
		}
	}
	loads := w.loads(counts, cs.panics)
	for i, load := range loads {
		cs.sum += load
		cs.limits[i] = cs.sum
	}
	return cs
}

// capacity is the part of its requests that a tier can take, in percent.
func (c count) capacity() uint64 {
	return min(100, uint64(c.healthy)*overprovisioning/uint64(max(c.all, 1)))
}

// loads returns what each tier takes, and notes which are in panic (Envoy:
// "Priority levels", "Locality weighted load balancing", "Panic threshold").
func (w *crowd) loads(counts []count, panics []bool) []uint64 {
	if len(w.tiers) > 0 && w.tiers[0].weight > 0 {
		return w.shares(counts, panics)
	}
	loads := make([]uint64, len(counts))
	var total uint64
	for _, c := range counts {
		total += c.capacity()
	}
	total = min(total, 100)
	inPanic := 0
	for i, c := range counts {
		if total < 100 && c.healthy*100 < w.minHealth*c.all {
			panics[i] = true
			inPanic++
		}
	}
	if inPanic == len(counts) {
		for i, c := range counts {
			loads[i] = uint64(c.all)
		}
		return loads
	}
	for i, left := 0, total; i < len(counts) && left > 0; i++ {
		loads[i] = min(left, counts[i].capacity())
		left -= loads[i]
	}
	return loads
}

// shares is loads for a distribution: all tiers are one for panic, and each
// has its weight as far as it can take it.
func (w *crowd) shares(counts []count, panics []bool) []uint64 {
	loads := make([]uint64, len(counts))
	var sum count
	for i, c := range counts {
		loads[i] = w.tiers[i].weight * c.capacity()
		sum.all += c.all
		sum.healthy += c.healthy
	}
	if sum.capacity() < 100 && sum.healthy*100 < w.minHealth*sum.all {
		for i := range counts {
			loads[i], panics[i] = w.tiers[i].weight, true
		}
	}
	return loads
}

// draw returns the number of the tier that a request goes to first.
func (cs *census) draw(ch *chooser, want *Want) int {
	if cs.sum == 0 {
		return 0
	}
	n := mix(want.Hash) % cs.sum // a key has one place
	if !want.HasHash {
		n = ch.rng.Uint64() % cs.sum
	}
	i := 0
	for cs.limits[i] <= n {
		i++
	}
	return i
}

// pickTier picks from the tier that the census draws, and from the others where
// that has nobody who is healthy; in no mood beyond last, and where that is choosy
// nobody is in panic.
func (w *crowd) pickTier(cs *census, ch *chooser, want *Want, index int, last mood) *member {
	first := cs.draw(ch, want)
	if cs.panics[first] && last != choosy {
		for ch.mood = panicking; ch.mood <= desperate; ch.mood++ {
			if m := w.tiers[first].picker.pick(ch, want, index); m != nil {
				return m
			}
		}
	}
	for ch.mood = choosy; ch.mood <= min(again, last); ch.mood++ {
		if m := w.tiers[first].picker.pick(ch, want, index); m != nil {
			return m
		}
		for i := range w.tiers {
			if i == first {
				continue
			}
			if m := w.tiers[i].picker.pick(ch, want, index); m != nil {
				return m
			}
		}
	}
	return nil
}
