package upstream

import (
	"math/bits"
	"math/rand/v2"
	"slices"
)

// A mood is how choosy a chooser is. Only where no member suits one mood is
// the next tried.
type mood uint8

const (
	choosy    mood = iota // healthy, and not tried before
	again                 // healthy
	panicking             // not tried before
	desperate             // any
)

// A chooser is a loop's state for picking. It is used by one pick at a time.
type chooser struct {
	rng   rand.PCG
	now   instant
	tide  uint64 // of the cluster
	tried []*Endpoint
	mood  mood
	// roll, if not 0, is what decides once for a whole pick, from 1 to
	// wholeShare, which of those that come back slowly are healthy enough.
	roll int64
	_    [64]byte // choosers of several loops lie side by side
}

// likes reports whether m may be picked in this mood.
func (ch *chooser) likes(m *member) bool {
	switch ch.mood {
	case choosy:
		return ch.trusts(m) && !slices.Contains(ch.tried, m.ep)
	case again:
		return ch.trusts(m)
	case panicking:
		return !slices.Contains(ch.tried, m.ep)
	}
	return true
}

// trusts reports whether m is healthy.
func (ch *chooser) trusts(m *member) bool { return m.ep.health.share(ch.now) >= max(ch.roll, 1) }

// takes is likes, but for an endpoint that comes back slowly it says yes only
// as often as it should.
func (ch *chooser) takes(m *member) bool {
	if !ch.likes(m) {
		return false
	}
	if ch.mood > again || ch.roll > 0 || m.ep.health.steady(ch.now) {
		return true
	}
	return int64(ch.rng.Uint64()%wholeShare) < m.ep.health.share(ch.now)
}

// below returns a random number under n.
func (ch *chooser) below(n int) int {
	hi, _ := bits.Mul64(ch.rng.Uint64(), uint64(n))
	return int(hi)
}
