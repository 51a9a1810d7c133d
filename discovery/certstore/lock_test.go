package certstore

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"fairway.dev/discovery/apitest"
)

const lockName = "issue_cert_shop.example.com"

// TestOneHolder has replicas want one lock at once, and each has it once, alone.
func TestOneHolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := apitest.New(t)
		var all sync.WaitGroup
		var mu sync.Mutex
		inside, turns := 0, 0
		for _, name := range []string{"a", "b", "c", "a"} {
			s := newStore(t, api, name)
			all.Go(func() {
				if err := s.Lock(t.Context(), lockName); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				inside++
				turns++
				if inside > 1 {
					t.Error("two hold the lock")
				}
				mu.Unlock()
				time.Sleep(time.Minute) // longer than a lock holds that is not renewed
				mu.Lock()
				inside--
				mu.Unlock()
				if err := s.Unlock(t.Context(), lockName); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if turns != 4 {
			t.Errorf("%d turns, want 4", turns)
		}
		if left := api.Names("Lease", "fairway-system"); left != nil {
			t.Errorf("left behind: %q", left)
		}
	})
}

// TestOneGoroutineHolds: the goroutines of a replica are as replicas.
func TestOneGoroutineHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t, apitest.New(t), "a")
		if ok, err := s.TryLock(t.Context(), lockName); !ok || err != nil {
			t.Fatal(ok, err)
		}
		if ok, err := s.TryLock(t.Context(), lockName); ok || err != nil {
			t.Errorf("locked twice: %v, %v", ok, err)
		}
		if err := s.Unlock(t.Context(), lockName); err != nil {
			t.Error(err)
		}
		if err := s.Unlock(t.Context(), lockName); !errors.Is(err, errNotHeld) {
			t.Errorf("unlocked twice: %v", err)
		}
	})
}

// A line is a way to the API server that may be cut.
type line struct {
	http.RoundTripper
	cut atomic.Bool
}

func (l *line) RoundTrip(r *http.Request) (*http.Response, error) {
	if l.cut.Load() {
		return nil, errors.New("no route to host")
	}
	return l.RoundTripper.RoundTrip(r)
}

// TestDeadHolder: a lock whose holder has died is free after a while, and what
// the dead one does later does nothing to who has it then.
func TestDeadHolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := apitest.New(t)
		config := api.Config()
		way := &line{RoundTripper: api}
		config.Transport = way
		dead, err := New(config, Options{Namespace: "fairway-system", Identity: "dead", Log: quiet})
		if err != nil {
			t.Fatal(err)
		}
		if err := dead.Lock(t.Context(), lockName); err != nil {
			t.Fatal(err)
		}
		way.cut.Store(true)
		begin := time.Now()
		next := newStore(t, api, "next")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := next.Lock(ctx, lockName); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took < lockDuration || took > lockDuration+2*lockRetry {
			t.Errorf("free after %v, want about %v", took, lockDuration)
		}
		way.cut.Store(false)
		time.Sleep(lockRenewal + time.Second) // the dead one learns of it
		if err := dead.Unlock(t.Context(), lockName); !errors.Is(err, errNotHeld) {
			t.Errorf("the dead one unlocks: %v", err)
		}
		if err := next.Unlock(t.Context(), lockName); err != nil {
			t.Errorf("the next one unlocks: %v", err)
		}
	})
}

// TestLostAnswer: a renewal whose answer was lost is no loss of the lock.
func TestLostAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := apitest.New(t)
		s := newStore(t, api, "a")
		if err := s.Lock(t.Context(), lockName); err != nil {
			t.Fatal(err)
		}
		api.Edit("fairway", "Lease", "fairway-system", LeaseName(lockName), func(o apitest.Object) {
			o["spec"].(apitest.Object)["renewTime"] = "2026-01-01T00:00:00.000000Z"
		})
		time.Sleep(4 * lockRenewal)
		if err := s.Unlock(t.Context(), lockName); err != nil {
			t.Error(err)
		}
	})
}

// TestLockEnds with the context of who waits.
func TestLockEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := apitest.New(t)
		holder := newStore(t, api, "holder")
		if err := holder.Lock(t.Context(), lockName); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := newStore(t, api, "b").Lock(ctx, lockName); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, want the end of the context", err)
		}
		if err := holder.Unlock(t.Context(), lockName); err != nil {
			t.Error(err)
		}
	})
}
