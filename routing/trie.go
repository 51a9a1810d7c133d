package routing

import (
	"hash/maphash"
	"iter"
	"math/bits"
)

// A trie is an immutable map by name: a hash array mapped trie. The methods
// with and without return a changed map that shares everything but the few
// nodes on the way to the change. The zero trie is empty.
type trie[K ~string, V any] struct {
	root *trieNode[K, V]
	n    int // of entries
}

// A trieNode has a slot for each bit in taken; slot i belongs to the i-th set
// bit. Five bits of the key's hash choose the bit.
type trieNode[K ~string, V any] struct {
	taken uint32
	slots []trieSlot[K, V]
}

// A trieSlot is an entry or, where child is set, all entries whose hashes
// agree so far.
type trieSlot[K ~string, V any] struct {
	key   K
	value V
	child *trieNode[K, V]
}

var trieSeed = maphash.MakeSeed()

// levelsPerHash is how many levels one hash of 32 bits is enough for. Keys
// that still agree are told apart by another hash.
const levelsPerHash = 6

// trieHash returns the bits that choose the way of key through the levels of
// one round.
func trieHash(key string, round int) uint32 {
	if round == 0 {
		return uint32(maphash.String(trieSeed, key))
	}
	var h maphash.Hash
	h.SetSeed(trieSeed)
	h.WriteString(key)
	h.WriteByte(byte(round))
	return uint32(h.Sum64())
}

// trieBit returns the bit that key takes at a level.
func trieBit(key string, level int) uint32 {
	hash := trieHash(key, level/levelsPerHash)
	return 1 << (hash >> (5 * (level % levelsPerHash)) & 31)
}

// slot returns where the entry of bit is, or would be put.
func (n *trieNode[K, V]) slot(bit uint32) int { return bits.OnesCount32(n.taken & (bit - 1)) }

// get returns the value of key.
func (t trie[K, V]) get(key K) (value V, ok bool) {
	n := t.root
	if t.n == 1 {
		// Most tables have one entry: a comparison is cheaper than a hash.
		s := &n.slots[0]
		if s.key == key {
			return s.value, true
		}
		return value, false
	}
	var hash uint32
	for level := 0; n != nil; level++ {
		if level%levelsPerHash == 0 {
			hash = trieHash(string(key), level/levelsPerHash)
		}
		bit := uint32(1) << (hash & 31)
		hash >>= 5
		if n.taken&bit == 0 {
			return value, false
		}
		s := &n.slots[n.slot(bit)]
		if s.child == nil {
			if s.key == key {
				return s.value, true
			}
			return value, false
		}
		n = s.child
	}
	return value, false
}

// with returns t with key set to value.
func (t trie[K, V]) with(key K, value V) trie[K, V] {
	root, added := t.root.with(key, value, 0)
	if added {
		t.n++
	}
	return trie[K, V]{root, t.n}
}

func (n *trieNode[K, V]) with(key K, value V, level int) (*trieNode[K, V], bool) {
	bit := trieBit(string(key), level)
	entry := trieSlot[K, V]{key: key, value: value}
	if n == nil {
		return &trieNode[K, V]{bit, []trieSlot[K, V]{entry}}, true
	}
	i := n.slot(bit)
	if n.taken&bit == 0 {
		slots := make([]trieSlot[K, V], len(n.slots)+1)
		copy(slots, n.slots[:i])
		slots[i] = entry
		copy(slots[i+1:], n.slots[i:])
		return &trieNode[K, V]{n.taken | bit, slots}, true
	}
	added := false
	switch old := n.slots[i]; {
	case old.child != nil:
		entry = trieSlot[K, V]{}
		entry.child, added = old.child.with(key, value, level+1)
	case old.key != key:
		entry = trieSlot[K, V]{}
		entry.child, _ = (*trieNode[K, V])(nil).with(old.key, old.value, level+1)
		entry.child, added = entry.child.with(key, value, level+1)
	}
	return n.replace(i, entry), added
}

// replace returns n with another slot at i.
func (n *trieNode[K, V]) replace(i int, s trieSlot[K, V]) *trieNode[K, V] {
	slots := append([]trieSlot[K, V](nil), n.slots...)
	slots[i] = s
	return &trieNode[K, V]{n.taken, slots}
}

// without returns t without key.
func (t trie[K, V]) without(key K) trie[K, V] {
	root, removed := t.root.without(key, 0)
	if !removed {
		return t
	}
	return trie[K, V]{root, t.n - 1}
}

// without returns nil where nothing is left. A child with a single entry is
// folded into its parent, so that a map has one shape whatever its history:
// get relies on it for maps of one.
func (n *trieNode[K, V]) without(key K, level int) (*trieNode[K, V], bool) {
	if n == nil {
		return nil, false
	}
	bit := trieBit(string(key), level)
	if n.taken&bit == 0 {
		return n, false
	}
	i := n.slot(bit)
	s := n.slots[i]
	if s.child != nil {
		child, removed := s.child.without(key, level+1)
		if !removed {
			return n, false
		}
		if len(child.slots) == 1 && child.slots[0].child == nil {
			return n.replace(i, child.slots[0]), true
		}
		return n.replace(i, trieSlot[K, V]{child: child}), true
	}
	if s.key != key {
		return n, false
	}
	if len(n.slots) == 1 {
		return nil, true
	}
	slots := make([]trieSlot[K, V], 0, len(n.slots)-1)
	slots = append(slots, n.slots[:i]...)
	slots = append(slots, n.slots[i+1:]...)
	return &trieNode[K, V]{n.taken &^ bit, slots}, true
}

// all yields the entries in no order.
func (t trie[K, V]) all() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) { t.root.each(yield) }
}

func (n *trieNode[K, V]) each(yield func(K, V) bool) bool {
	if n == nil {
		return true
	}
	for i := range n.slots {
		s := &n.slots[i]
		if s.child != nil {
			if !s.child.each(yield) {
				return false
			}
		} else if !yield(s.key, s.value) {
			return false
		}
	}
	return true
}

// values yields the values in no order.
func (t trie[K, V]) values() iter.Seq[V] {
	return func(yield func(V) bool) {
		t.root.each(func(_ K, v V) bool { return yield(v) })
	}
}
