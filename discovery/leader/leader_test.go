package leader

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// A lease is what replicas agree by, without an API server.
type lease struct {
	mu      sync.Mutex
	record  *resourcelock.LeaderElectionRecord
	version int
}

// A hand is a replica's way to the lease.
type hand struct {
	*lease
	identity string
	seen     int
	cut      bool // the API server cannot be reached
}

func (h *hand) Get(context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.cut {
		return nil, nil, errors.New("no route to host")
	}
	if h.record == nil {
		return nil, nil, apierrors.NewNotFound(schema.GroupResource{Resource: "leases"}, "control")
	}
	h.seen = h.version
	r := *h.record
	raw, err := json.Marshal(r)
	return &r, raw, err
}

func (h *hand) Create(_ context.Context, r resourcelock.LeaderElectionRecord) error { return h.put(r) }
func (h *hand) Update(_ context.Context, r resourcelock.LeaderElectionRecord) error { return h.put(r) }

func (h *hand) put(r resourcelock.LeaderElectionRecord) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.cut:
		return errors.New("no route to host")
	case h.seen != h.version:
		return apierrors.NewConflict(schema.GroupResource{Resource: "leases"}, "control", nil)
	}
	h.version++
	h.record, h.seen = &r, h.version
	return nil
}

func (h *hand) RecordEvent(string) {}
func (h *hand) Identity() string   { return h.identity }
func (h *hand) Describe() string   { return "control" }

// A replica takes part in the election.
type replica struct {
	*hand
	stop   context.CancelFunc
	done   chan struct{}
	linger time.Duration // how long it takes to end a turn

	term sync.Mutex
	turn
}

// A turn is how far a replica has come.
type turn struct {
	leads bool
	turns int
	since time.Time
}

func (r *replica) set(leads bool) {
	r.term.Lock()
	defer r.term.Unlock()
	r.leads = leads
	if leads {
		r.turns++
		r.since = time.Now()
	}
}

func (r *replica) now() turn {
	r.term.Lock()
	defer r.term.Unlock()
	return r.turn
}

// join makes a replica take part until the test ends.
func join(t *testing.T, l *lease, identity string, linger time.Duration) *replica {
	r := &replica{hand: &hand{lease: l, identity: identity}, done: make(chan struct{}), linger: linger}
	ctx, stop := context.WithCancel(t.Context())
	r.stop = stop
	e := &Election{options: Options{Name: "control", Log: slog.New(slog.DiscardHandler)}, lock: r.hand}
	go func() {
		defer close(r.done)
		if err := e.Run(ctx, func(ctx context.Context) {
			r.set(true)
			<-ctx.Done()
			time.Sleep(r.linger)
			r.set(false)
		}); err != nil {
			t.Error(err)
		}
	}()
	return r
}

// watch goes through some time, and holds that two never lead at once.
func watch(t *testing.T, span time.Duration, replicas ...*replica) {
	t.Helper()
	for end := time.Now().Add(span); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		synctest.Wait()
		leaders := 0
		for _, r := range replicas {
			if r.now().leads {
				leaders++
			}
		}
		if leaders > 1 {
			t.Fatal("two lead at once")
		}
	}
	synctest.Wait()
}

func TestOneLeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lease{}
		a := join(t, l, "a", 20*time.Second)
		synctest.Wait()
		b := join(t, l, "b", 0)
		watch(t, time.Minute, a, b)
		if a, b := a.now(), b.now(); !a.leads || a.turns != 1 || b.leads {
			t.Errorf("a is at %+v, b at %+v: want the first to lead, without a break", a, b)
		}
		// Who ends gives the Lease back, once its turn has ended.
		began := time.Now()
		a.stop()
		watch(t, time.Minute, a, b)
		<-a.done
		if wait := b.now().since.Sub(began); !b.now().leads || wait < a.linger || wait > a.linger+6*time.Second {
			t.Errorf("b leads %v, %v after a was told to end, want soon after the %v that a took", b.now().leads, wait, a.linger)
		}
		b.stop()
		<-b.done
	})
}

func TestLostLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lease{}
		a := join(t, l, "a", 0)
		synctest.Wait()
		b := join(t, l, "b", 0)
		watch(t, 30*time.Second, a, b)
		cut := func(yes bool) {
			l.mu.Lock()
			defer l.mu.Unlock()
			a.cut = yes
		}
		cut(true)
		began := time.Now()
		watch(t, 40*time.Second, a, b)
		if wait := b.now().since.Sub(began); a.now().leads || !b.now().leads || wait > leaseDuration+10*time.Second {
			t.Errorf("a, which cannot renew, leads %v; b leads %v, after %v", a.now().leads, b.now().leads, wait)
		}
		cut(false)
		watch(t, 10*time.Second, a, b)
		b.stop()
		<-b.done
		watch(t, 10*time.Second, a, b)
		if a := a.now(); !a.leads || a.turns != 2 {
			t.Errorf("a is at %+v: want it to lead again", a)
		}
		a.stop()
		<-a.done
	})
}

// Who never led leaves at once.
func TestEndWithoutATurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lease{}
		a := join(t, l, "a", 0)
		synctest.Wait()
		b := join(t, l, "b", 0)
		watch(t, 10*time.Second, a, b)
		b.stop()
		<-b.done
		if b.now().turns != 0 || !a.now().leads {
			t.Errorf("b is at %+v, a at %+v", b.now(), a.now())
		}
		a.stop()
		<-a.done
	})
}

func TestNew(t *testing.T) {
	e, err := New(&rest.Config{Host: "https://192.0.2.1"}, Options{Namespace: "fairway-system", Name: "fairway-control", Identity: "a"})
	if err != nil {
		t.Fatal(err)
	}
	if got := e.lock.Describe() + " " + e.lock.Identity(); got != "fairway-system/fairway-control a" {
		t.Errorf("lock %q", got)
	}
	if _, err := New(&rest.Config{Host: "::"}, Options{}); err == nil {
		t.Error("a config that leads nowhere is no error")
	}
}
