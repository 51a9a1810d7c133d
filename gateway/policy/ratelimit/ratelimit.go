package ratelimit

import (
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/policy"
	"fairway.dev/gateway/upstream"
	"fairway.dev/routing"
)

// Attributes are what is known of a request. Use them again: they keep scratch
// memory. They are for one goroutine.
type Attributes struct {
	// Request is what matches look at, and where fields and claims are.
	Request *routing.Request
	// Client is the client's address, as far as X-Forwarded-For is believed.
	Client netip.Addr
	// Identity is who the client is in the mesh; empty: nobody knows.
	Identity string

	scratch []byte
}

// A Decision is whether a request may pass, and what its client may know of that.
// The zero Decision refuses.
type Decision struct {
	Allowed bool
	// Failed says that nothing could be counted: who is refused then is refused
	// with 503.
	Failed bool
	// Policy and Rule are those that refuse, or where nobody does those of which
	// the least is left. They are empty where no rule counts the request.
	Policy routing.PolicyName
	Rule   string

	Limit     uint32        // requests in each Per of the rule
	Per       time.Duration // 0: no rule counts the request
	Remaining uint32        // requests that would pass now
	Reset     time.Duration // until all of them would again
	Retry     time.Duration // until one may pass; of who is refused
}

// Status is the answer to who is refused: 429 (RFC 6585 section 4), or 503.
func (d *Decision) Status() int {
	if d.Failed {
		return 503
	}
	return 429
}

// Fields appends what the response says: x-ratelimit-limit, -remaining and -reset
// as Envoy writes them (draft-ietf-httpapi-ratelimit-headers-03), and to who is
// refused Retry-After (RFC 9110 section 10.2.3), in whole seconds. None where no
// rule counts the request.
func (d *Decision) Fields(dst []policy.Edit) []policy.Edit {
	if d.Per == 0 {
		return dst
	}
	limit := strconv.FormatUint(uint64(d.Limit), 10)
	if window := seconds(d.Per); window > 0 {
		limit += ", " + limit + ";w=" + strconv.FormatInt(window, 10)
	}
	dst = append(dst,
		policy.Edit{Name: "x-ratelimit-limit", Value: limit},
		policy.Edit{Name: "x-ratelimit-remaining", Value: strconv.FormatUint(uint64(d.Remaining), 10)},
		policy.Edit{Name: "x-ratelimit-reset", Value: strconv.FormatInt(seconds(d.Reset), 10)})
	if !d.Allowed {
		dst = append(dst, policy.Edit{Name: "retry-after", Value: strconv.FormatInt(max(seconds(d.Retry), 1), 10)})
	}
	return dst
}

// seconds rounds up: who comes back then is not too early.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// Tighten makes d what both say: a refusal, or of two that pass the one that
// leaves less.
func (d *Decision) Tighten(o *Decision) {
	if !o.Allowed || o.Per != 0 && (d.Per == 0 || o.Remaining < d.Remaining) {
		*d = *o
	}
}

// A Set is the rate limits of one listener, or of a rule of a route. It does not
// change. The zero Set lets all pass.
type Set struct{ local, shared []*Limiter }

// Empty reports whether no request is counted.
func (s *Set) Empty() bool { return len(s.local)+len(s.shared) == 0 }

// Forgotten reports whether the Store has forgotten one of the policies (Retain): if
// that is in force again, another Set is to be made.
func (s *Set) Forgotten() bool {
	forgotten := func(l *Limiter) bool { return l.forgotten.Load() }
	return slices.ContainsFunc(s.local, forgotten) || slices.ContainsFunc(s.shared, forgotten)
}

// Take counts a request by all limits that this gateway pod keeps by itself, and
// decides. Any loop may call it, with its own clock. A request that is refused
// counts nowhere. It allocates nothing, unless a field or a claim does.
func (s *Set) Take(now time.Time, a *Attributes) (d Decision) {
	d.Allowed = true
	for i, l := range s.local {
		one := l.take(now, a)
		if d.Tighten(&one); !d.Allowed {
			giveBack(s.local[:i], a)
			return d
		}
	}
	return d
}

// GiveBack takes a request that Take let pass, and somebody else refuses, out of
// the counts again.
func (s *Set) GiveBack(a *Attributes) { giveBack(s.local, a) }

func giveBack(list []*Limiter, a *Attributes) {
	for _, l := range list {
		l.giveBack(len(l.rules), a)
	}
}

// Questions appends to dst what the stores of shared limits are to be asked about a
// request that Take lets pass. It passes where all of them say so.
func (s *Set) Questions(dst []*Question, now time.Time, a *Attributes) []*Question {
	for _, l := range s.shared {
		if q := l.question(now, a); q != nil {
			dst = append(dst, q)
		}
	}
	return dst
}

// A Store has the Limiter of each policy, and so its counts, from one generation
// to the next. An edited policy is another one, and counts from the beginning. Any
// goroutine may use it.
type Store struct {
	o Options

	mu       sync.Mutex
	limiters map[*routing.Policy]*Limiter
	shared   map[routing.ClusterName]*redis
}

// Options are what a Store needs.
type Options struct {
	// Start is a time before all that are handed to Take: clocks begin there.
	Start time.Time
	// Loops and Clusters are for shared limits.
	Loops    []*loop.Loop
	Clusters *upstream.Set
}

// NewStore returns a Store without policies.
func NewStore(o Options) *Store {
	return &Store{o: o, limiters: map[*routing.Policy]*Limiter{}, shared: map[routing.ClusterName]*redis{}}
}

// Set makes the Set of a listener's policies, or of those of a rule of a route;
// those without rate limits have no say. Sets that name one policy count together.
func (s *Store) Set(policies []*routing.Policy) *Set {
	s.mu.Lock()
	defer s.mu.Unlock()
	set := &Set{}
	for _, p := range policies {
		if p.RateLimit == nil {
			continue
		}
		l := s.limiters[p]
		if l == nil {
			l = s.newLimiter(p)
			s.limiters[p] = l
		}
		if l.spec.Shared != nil && !l.broken {
			set.shared = append(set.shared, l)
		} else {
			set.local = append(set.local, l)
		}
	}
	return set
}

// Retain forgets the counts of policies that are not in force any more, and hangs
// up on stores that nobody counts in. A Set that still has such a policy goes on
// with its counts, and without an answer from such a store.
func (s *Store) Retain(inForce []*routing.Policy) {
	s.mu.Lock()
	defer s.mu.Unlock()
	stay := make(map[*routing.Policy]bool, len(inForce))
	for _, p := range inForce {
		stay[p] = true
	}
	used := map[*redis]bool{}
	for p, l := range s.limiters {
		if stay[p] {
			used[l.redis] = true
		} else {
			l.forgotten.Store(true)
			delete(s.limiters, p)
		}
	}
	for name, r := range s.shared {
		if !used[r] {
			r.leave()
			delete(s.shared, name)
		}
	}
}
