package ratelimit

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
)

// A bucket is known by when it will be full: that is all that has to be kept of it
// (the generic cell rate algorithm, ATM Forum TM 4.0 section 4.4.2).

// taken is what came of a request.
type taken struct {
	ok   bool
	full ticks // from now on, until the bucket is full
}

// take returns when the bucket will be full that was to be at that time.
func (r *rate) take(full, now ticks) (ticks, taken) {
	next := max(full, now) + r.interval
	if next-now > r.depth {
		return full, taken{full: full - now}
	}
	return next, taken{true, next - now}
}

// A single is the one bucket of all clients.
type single struct{ full atomic.Int64 }

func (s *single) take(r *rate, now ticks) taken {
	for {
		full := s.full.Load()
		next, t := r.take(ticks(full), now)
		if !t.ok || s.full.CompareAndSwap(full, int64(next)) {
			return t
		}
	}
}

func (s *single) giveBack(r *rate) { s.full.Add(-int64(r.interval)) }

const (
	shards = 64
	// perShard bounds the clients that are known: 64 Ki in all.
	perShard = 1 << 10
)

// A table has a bucket for each client. Those that have not come for the longest
// time are forgotten first. Each of its shards has a lock of its own, so that loops
// seldom meet.
type table struct {
	seeds  [2]maphash.Seed
	shards [shards]shard
}

// A client stands for a key. Nobody knows the seeds, so nobody can have another's.
type client [2]uint64

type shard struct {
	mu      sync.Mutex
	index   map[client]int32
	buckets []bucket
	newest  int32
	oldest  int32
	_       [64]byte // no two locks in one line of the cache
}

type bucket struct {
	client       client
	full         ticks
	newer, older int32 // -1: none
}

func newTable() *table {
	return &table{seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}}
}

func (t *table) of(key []byte) (*shard, client) {
	c := client{maphash.Bytes(t.seeds[0], key), maphash.Bytes(t.seeds[1], key)}
	return &t.shards[c[0]%shards], c
}

func (t *table) take(key []byte, r *rate, now ticks) taken {
	s, c := t.of(key)
	s.mu.Lock()
	b := s.bucket(c)
	next, got := r.take(b.full, now)
	b.full = next
	s.mu.Unlock()
	return got
}

// giveBack does nothing for a client that was forgotten meanwhile.
func (t *table) giveBack(key []byte, r *rate) {
	s, c := t.of(key)
	s.mu.Lock()
	if i, ok := s.index[c]; ok {
		s.buckets[i].full -= r.interval
	}
	s.mu.Unlock()
}

// bucket returns the client's, a full one if it is new, as the newest.
func (s *shard) bucket(c client) *bucket {
	i, ok := s.index[c]
	switch {
	case ok:
		s.unlink(i)
	case len(s.buckets) < perShard:
		if s.index == nil {
			s.index, s.newest, s.oldest = map[client]int32{}, -1, -1
		}
		i = int32(len(s.buckets))
		s.buckets = append(s.buckets, bucket{client: c})
		s.index[c] = i
	default:
		i = s.oldest
		s.unlink(i)
		delete(s.index, s.buckets[i].client)
		s.buckets[i] = bucket{client: c}
		s.index[c] = i
	}
	b := &s.buckets[i]
	b.newer, b.older = -1, s.newest
	if s.newest >= 0 {
		s.buckets[s.newest].newer = i
	} else {
		s.oldest = i
	}
	s.newest = i
	return b
}

func (s *shard) unlink(i int32) {
	b := &s.buckets[i]
	if b.newer >= 0 {
		s.buckets[b.newer].older = b.older
	} else {
		s.newest = b.older
	}
	if b.older >= 0 {
		s.buckets[b.older].newer = b.newer
	} else {
		s.oldest = b.newer
	}
}
