package upstream

import (
	"cmp"
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"

	"fairway.dev/routing"
)

// A picker picks a member that the chooser takes, for the loop of that index.
// It returns nil only where the chooser likes none.
type picker interface {
	pick(ch *chooser, want *Want, index int) *member
}

func newPicker(b routing.Balance, members []*member, loops int) picker {
	switch b.Kind {
	case routing.RoundRobin:
		return newRoundRobin(members, loops)
	case routing.Random:
		return newSampler(members)
	case routing.RingHash:
		return newRing(members, b.Size)
	case routing.Maglev:
		return newMaglev(members, b.Size)
	}
	return (*leastRequest)(newSampler(members))
}

// drawTries is how often a sampler draws before it looks at all members:
// with half of them out, it has to look in one pick of 256.
const drawTries = 8

// A sampler draws members at random, each as often as its weight says.
type sampler struct {
	members []*member
	// alias is Walker's table, made by Vose's method: a column of equal width
	// for each member, of which a part belongs to another. Nil where all
	// weights are equal.
	alias []column
}

type column struct {
	own   uint64 // the column's member has this much of 2^32
	other uint32 // whose the rest is
}

func newSampler(members []*member) *sampler {
	s := &sampler{members: members}
	if !sameWeights(members) {
		s.alias = newAlias(members)
	}
	return s
}

func sameWeights(members []*member) bool {
	for _, m := range members {
		if m.weight != members[0].weight {
			return false
		}
	}
	return true
}

func totalWeight(members []*member) (sum uint64) {
	for _, m := range members {
		sum += uint64(m.weight)
	}
	return sum
}

func newAlias(members []*member) []column {
	n, sum := uint64(len(members)), totalWeight(members)
	table := make([]column, n)
	left := make([]uint64, n) // in parts of which a column holds sum
	var small, large []uint32
	for i, m := range members {
		left[i] = uint64(m.weight) * n
		if left[i] < sum {
			small = append(small, uint32(i))
		} else {
			large = append(large, uint32(i))
		}
	}
	for len(small) > 0 {
		s, l := small[len(small)-1], large[len(large)-1]
		small = small[:len(small)-1]
		hi, lo := bits.Mul64(left[s], 1<<32)
		own, _ := bits.Div64(hi, lo, sum)
		table[s] = column{own: own, other: l}
		if left[l] -= sum - left[s]; left[l] < sum {
			large = large[:len(large)-1]
			small = append(small, l)
		}
	}
	for _, l := range large {
		table[l] = column{own: 1 << 32, other: l}
	}
	return table
}

// draw returns the number of a random member.
func (s *sampler) draw(ch *chooser) int {
	i := ch.below(len(s.members))
	if s.alias == nil {
		return i
	}
	if c := s.alias[i]; ch.rng.Uint64()>>32 >= c.own {
		return int(c.other)
	}
	return i
}

// sample returns a random member that ch takes, and that is not but; nil
// where it happens upon none.
func (s *sampler) sample(ch *chooser, but *member) *member {
	for range drawTries {
		if m := s.members[s.draw(ch)]; m != but && ch.takes(m) {
			return m
		}
	}
	return nil
}

// search returns the member with the least load of those that ch likes.
func (s *sampler) search(ch *chooser) (best *member) {
	n := len(s.members)
	start := ch.below(n)
	for i := range n {
		m := s.members[(start+i)%n]
		if ch.likes(m) && (best == nil || lessLoad(m, best, ch)) {
			best = m
		}
	}
	return best
}

// pick makes a sampler the picker of routing.Random.
func (s *sampler) pick(ch *chooser, _ *Want, _ int) *member {
	if m := s.sample(ch, nil); m != nil {
		return m
	}
	return s.search(ch)
}

// leastRequest takes the better of two random members: nearly as good as
// looking at all of them, and no two loops or gateways run to the same one
// (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing").
type leastRequest sampler

func (p *leastRequest) pick(ch *chooser, _ *Want, _ int) *member {
	s := (*sampler)(p)
	a := s.sample(ch, nil)
	if a == nil {
		return s.search(ch)
	}
	if len(s.members) == 1 {
		return a
	}
	// Without load the first stays: so idle endpoints share by weight.
	if b := s.sample(ch, a); b != nil && lessLoad(b, a, ch) {
		return b
	}
	return a
}

// lessLoad reports whether a has less under way for its weight than b.
func lessLoad(a, b *member, ch *chooser) bool {
	la, lb := a.ep.inFlight.Load(), b.ep.inFlight.Load()
	wa, wb := int64(a.weight), int64(b.weight)
	if ch.mood <= again {
		wa, wb = wa*a.ep.health.share(ch.now), wb*b.ep.health.share(ch.now)
	}
	return la*wb < lb*wa
}

// maxTurns bounds the sequence of a roundRobin. Weights that need more are
// rounded.
const maxTurns = 16384

// roundRobin takes members in turn, exactly as often as their weights say,
// and evenly spread: the turns of a member are equally far apart. Each loop
// takes its own turns.
type roundRobin struct {
	*sampler
	turns []uint32 // numbers of members
	next  []cursor // by loop
}

type cursor struct {
	at uint32
	_  [60]byte // each loop writes its own all the time
}

func newRoundRobin(members []*member, loops int) *roundRobin {
	p := &roundRobin{sampler: &sampler{members: members}, turns: newTurns(members), next: make([]cursor, loops)}
	for i := range p.next {
		p.next[i].at = rand.Uint32N(uint32(len(p.turns)))
	}
	return p
}

// newTurns gives a member of weight w the moments (k+offset)/w, for each k < w,
// and takes all in the order of their moments. Offsets are multiples of the
// golden ratio, so that members of equal weight do not come in bunches.
func newTurns(members []*member) []uint32 {
	type turn struct {
		moment float64
		number uint32
	}
	var turns []turn
	for i, w := range reducedWeights(members) {
		_, offset := math.Modf(float64(i) * math.Phi)
		for k := range w {
			turns = append(turns, turn{(float64(k) + offset) / float64(w), uint32(i)})
		}
	}
	slices.SortStableFunc(turns, func(a, b turn) int { return cmp.Compare(a.moment, b.moment) })
	numbers := make([]uint32, len(turns))
	for i, t := range turns {
		numbers[i] = t.number
	}
	return numbers
}

// reducedWeights divides the weights by what they share, and scales them so
// that they sum up to maxTurns or little more.
func reducedWeights(members []*member) []uint64 {
	var divisor uint64
	for _, m := range members {
		divisor = gcd(divisor, uint64(m.weight))
	}
	sum := totalWeight(members) / divisor
	weights := make([]uint64, len(members))
	for i, m := range members {
		w := uint64(m.weight) / divisor
		if sum > maxTurns {
			w = max(1, (w*maxTurns+sum/2)/sum)
		}
		weights[i] = w
	}
	return weights
}

func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

func (p *roundRobin) pick(ch *chooser, _ *Want, index int) *member {
	at := &p.next[index].at
	// Twice round where weights are equal; else far enough that a member is
	// missed only if it is one of few.
	for range 2 * len(p.members) {
		m := p.members[p.turns[*at]]
		if *at++; int(*at) == len(p.turns) {
			*at = 0
		}
		if ch.takes(m) {
			return m
		}
	}
	return p.search(ch)
}
