package upstream

import (
	"cmp"
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"
)

// Consistent hashing gives a key the same endpoint in every gateway and on
// every loop, and few keys another one when endpoints come or go. So its
// numbers come from addresses alone, not from an order or a seed.

// mix spreads x over all bits (the finalizer of MurmurHash3).
func mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

// identityOf returns the number of an address in consistent hashing.
func identityOf(addr netip.AddrPort) uint64 {
	a := addr.Addr().As16()
	h := mix(binary.BigEndian.Uint64(a[:8]) ^ 0x9e3779b97f4a7c15)
	h = mix(h ^ binary.BigEndian.Uint64(a[8:]))
	return mix(h ^ uint64(addr.Port()))
}

// rendezvous returns the member with the highest number for hash of those
// that ch likes: consistent too, but it looks at all of them. It is for keys
// whose own member is out.
func rendezvous(members []*member, ch *chooser, hash uint64) (best *member) {
	var highest uint64
	for _, m := range members {
		if n := mix(hash ^ m.ep.identity); ch.likes(m) && (best == nil || n > highest) {
			best, highest = m, n
		}
	}
	return best
}

const (
	ringPoints = 160     // of a member of mean weight, as ketama has it, or more
	leastRing  = 1024    // points of all members, where nobody says more (Envoy's minimum_ring_size)
	ringSize   = 1 << 16 // the most points, unless somebody wants more
	largest    = 8 << 20 // the most that are to be had (Envoy's maximum_ring_size)
)

// A ring is ketama's consistent hashing: members have points on a circle, by
// their weight, and a key belongs to the next point after its hash.
type ring struct {
	*sampler // for requests without a key
	// points are sorted. The lowest bits of one, under owner, are the number
	// of its member: for its place on the circle they hardly matter.
	points []uint64
	owner  uint64
}

// newRing makes a ring of size points at least; 0 stands for leastRing.
func newRing(members []*member, size int) *ring {
	n := uint64(len(members))
	least := min(uint64(positive(size, leastRing)), largest)
	r := &ring{sampler: newSampler(members), owner: 1<<bits.Len64(n) - 1}
	each := max(min(ringPoints, max(1, ringSize/n)), (least+n-1)/n)
	sum := totalWeight(members)
	for i, m := range members {
		count := max(1, (each*n*uint64(m.weight)+sum-1)/sum)
		for k := range count {
			at := mix(m.ep.identity + k*0x9e3779b97f4a7c15)
			r.points = append(r.points, at&^r.owner|uint64(i))
		}
	}
	slices.Sort(r.points)
	return r
}

// ringSteps bounds the walk to the next member that is liked.
const ringSteps = 64

func (r *ring) pick(ch *chooser, want *Want, index int) *member {
	if !want.HasHash {
		return r.sampler.pick(ch, want, index)
	}
	at, _ := slices.BinarySearch(r.points, want.Hash&^r.owner)
	for range ringSteps {
		if at >= len(r.points) {
			at = 0
		}
		if m := r.members[r.points[at]&r.owner]; ch.likes(m) {
			return m
		}
		at++
	}
	return rendezvous(r.members, ch, want.Hash)
}

// maglevSize is the number of slots of a maglev table where nobody says another:
// a prime, and large against the number of members ("Maglev: A Fast and Reliable
// Software Network Load Balancer", section 3.4). largestMaglev is the most that
// are to be had, as in Envoy.
const (
	maglevSize    = 65537
	largestMaglev = 5000011
)

// slotsFor returns the prime that is size, or follows it, and leaves no member
// without a slot.
func slotsFor(size, members int) uint64 {
	n := max(min(positive(size, maglevSize), largestMaglev), members, 2)
	for !isPrime(n) {
		n++
	}
	return uint64(n)
}

func isPrime(n int) bool {
	for d := 2; d*d <= n; d++ {
		if n%d == 0 {
			return false
		}
	}
	return true
}

// A maglev is a table of slots that members take in turn, each in an order of
// its own; a key belongs to the slot of its hash.
type maglev struct {
	*sampler
	slots []uint32 // numbers of members
}

func newMaglev(members []*member, size int) *maglev {
	table := slotsFor(size, len(members))
	// Who comes first has the first choice: that must not hang on the order
	// of a list that differs between gateways.
	members = slices.SortedFunc(slices.Values(members), func(a, b *member) int {
		return cmp.Compare(a.ep.identity, b.ep.identity)
	})
	const free = ^uint32(0)
	slots := make([]uint32, table)
	for i := range slots {
		slots[i] = free
	}
	turns := make([]maglevTurn, len(members))
	var heaviest uint64
	for i, m := range members {
		turns[i].at = mix(m.ep.identity) % table
		turns[i].skip = mix(m.ep.identity+1)%(table-1) + 1
		heaviest = max(heaviest, uint64(m.weight))
	}
	for left := table; left > 0; {
		for i := range turns {
			t := &turns[i]
			// A member of half the heaviest's weight takes every other turn.
			if t.credit += uint64(members[i].weight); t.credit < heaviest {
				continue
			}
			t.credit -= heaviest
			for slots[t.at] != free {
				t.at = (t.at + t.skip) % table
			}
			slots[t.at] = uint32(i)
			if left--; left == 0 {
				break
			}
		}
	}
	return &maglev{sampler: newSampler(members), slots: slots}
}

// maglevTurn is where a member stands while a table is filled.
type maglevTurn struct{ at, skip, credit uint64 }

func (p *maglev) pick(ch *chooser, want *Want, index int) *member {
	if !want.HasHash {
		return p.sampler.pick(ch, want, index)
	}
	if m := p.members[p.slots[want.Hash%uint64(len(p.slots))]]; ch.likes(m) {
		return m
	}
	return rendezvous(p.members, ch, want.Hash)
}
