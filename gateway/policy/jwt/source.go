package jwt

import (
	"sync"
	"sync/atomic"
	"time"

	"fairway.dev/routing"
)

const (
	fresh      = 5 * time.Minute  // after which keys are fetched anew
	good       = time.Hour        // for which keys hold at most
	patience   = 10 * time.Second // between two fetches
	maxWaiters = 1024             // for one source
)

// A source is where keys are fetched. It is shared by all rules that name it.
type source struct {
	store   *Store
	from    origin
	timeout time.Duration
	keys    atomic.Pointer[keySet]

	mu       sync.Mutex
	fetching bool
	tried    time.Time // when the last fetch began; zero before the first
	waiters  []func()
}

// An origin names a source: a URL of keys, or an issuer to discover it.
type origin struct{ url, issuer string }

func originOf(r *routing.JWTRule) origin {
	if r.URL != "" {
		return origin{url: r.URL}
	}
	return origin{issuer: r.Issuer}
}

// current returns the keys, nil where there are none that hold. Those that are
// no longer fresh are fetched anew meanwhile.
func (s *source) current(now time.Time) *keySet {
	k := s.keys.Load()
	if k == nil {
		return nil
	}
	age := now.Sub(k.fetched)
	if age >= fresh {
		s.refresh(now)
	}
	if age >= good {
		return nil
	}
	return k
}

// refresh begins to fetch keys, unless that was begun not long ago.
func (s *source) refresh(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begin(now)
}

// begin reports whether keys are being fetched. mu is held.
func (s *source) begin(now time.Time) bool {
	if s.fetching {
		return true
	}
	if !s.tried.IsZero() && now.Sub(s.tried) < patience {
		return false
	}
	s.fetching = s.store.start(s.fetch)
	s.tried = now
	return s.fetching
}

// mayTell reports whether keys are being fetched, or might be.
func (s *source) mayTell(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.waiters) < maxWaiters && s.begin(now)
}

// fetch fetches keys, and tells those who wait.
func (s *source) fetch() {
	keys, err := s.store.fetchKeys(s.from, s.timeout)
	if err != nil {
		s.store.complain(s.from, err)
	} else {
		keys.fetched = s.store.o.Now()
		s.keys.Store(keys)
	}
	s.mu.Lock()
	waiters := s.waiters
	s.fetching, s.waiters = false, nil
	s.mu.Unlock()
	for _, tell := range waiters {
		tell()
	}
}

// A Wait is for keys that are being fetched.
type Wait struct{ source *source }

// Tell calls done once the fetch has ended, from another goroutine, or at once.
func (w *Wait) Tell(done func()) {
	s := w.source
	s.mu.Lock()
	if s.fetching && len(s.waiters) < maxWaiters {
		s.waiters = append(s.waiters, done)
		done = nil
	}
	s.mu.Unlock()
	if done != nil {
		done()
	}
}
