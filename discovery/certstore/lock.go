package certstore

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// How long a lock holds that nobody renews, how often its holder renews it, and
// how often others try to get it.
const (
	lockDuration = 15 * time.Second
	lockRenewal  = 5 * time.Second
	lockRetry    = time.Second
	lockTimeout  = 4 * time.Second // of a request to the API server
)

// lockAnnotation is the name of the lock.
const lockAnnotation = "fairway.dev/lock"

// A hold is a lock that this replica has.
type hold struct {
	lease *coordinationv1.Lease // as it was written last; keep's while it runs
	stop  context.CancelFunc
	done  chan struct{} // closed when keep has returned
	lost  bool          // somebody else has the Lease; keep's while it runs
}

// An othersLock is a Lease as it was seen, and since when it is so. It is over
// when it has not changed for its duration: by the clock of who looks, as clocks
// of two machines differ.
type othersLock struct {
	version string
	since   time.Time
}

// LeaseName is the name of the Lease of a lock.
func LeaseName(lock string) string {
	sum := sha256.Sum256([]byte(lock))
	return "fairway-certlock-" + hex.EncodeToString(sum[:16])
}

// Lock waits until this replica has a lock, or ctx ends. A lock whose holder has
// died is free 15 seconds after somebody has first seen it so.
func (s *Store) Lock(ctx context.Context, name string) error {
	for {
		ok, err := s.TryLock(ctx, name)
		if ok {
			return nil
		}
		if err != nil && ctx.Err() == nil {
			s.options.Log.Warn("lock not to be had, trying again", "lock", name, "err", err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("lock %s: %w", name, context.Cause(ctx))
		case <-time.After(lockRetry):
		}
	}
}

// TryLock reports whether this replica has a lock now.
func (s *Store) TryLock(ctx context.Context, name string) (bool, error) {
	s.mu.Lock()
	mine := s.held[name] != nil
	s.mu.Unlock()
	if mine { // by another of its goroutines
		return false, nil
	}
	lease, err := s.acquire(ctx, name)
	if lease == nil || err != nil {
		return false, err
	}
	keeping, stop := context.WithCancel(context.Background())
	h := &hold{lease: lease, stop: stop, done: make(chan struct{})}
	s.mu.Lock()
	delete(s.seen, name)
	s.held[name] = h
	s.mu.Unlock()
	go s.keep(keeping, name, h)
	return true, nil
}

// acquire makes the Lease this replica's, if it is nobody's; nil where it is
// somebody's.
func (s *Store) acquire(ctx context.Context, name string) (*coordinationv1.Lease, error) {
	lease, err := s.leases.Create(ctx, s.newLease(name), metav1.CreateOptions{})
	if err == nil || !apierrors.IsAlreadyExists(err) {
		return lease, err
	}
	old, err := s.leases.Get(ctx, LeaseName(name), metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil // it has just been released: the next try gets it
	case err != nil:
		return nil, err
	case !s.isOver(name, old.ResourceVersion):
		return nil, nil
	}
	lease, err = s.write(ctx, old, s.newLease(name).Spec)
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return nil, nil // another was faster
	}
	return lease, err
}

// isOver reports whether the holder of a lock has not renewed it for so long that
// it is not there any more.
func (s *Store) isOver(name, version string) bool {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	seen, ok := s.seen[name]
	if !ok || seen.version != version {
		s.seen[name] = othersLock{version, now}
		return false
	}
	return now.Sub(seen.since) >= lockDuration
}

func (s *Store) newLease(name string) *coordinationv1.Lease {
	now := metav1.NowMicro()
	seconds := int32(lockDuration.Seconds())
	holder := s.options.Identity + "_" + rand.Text()
	return &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{
			Name:        LeaseName(name),
			Labels:      map[string]string{storeLabel: "true", "app.kubernetes.io/name": "fairway", "app.kubernetes.io/managed-by": "fairway"},
			Annotations: map[string]string{lockAnnotation: name},
		},
		Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: &seconds, AcquireTime: &now, RenewTime: &now},
	}
}

// write changes a Lease that nobody has changed since.
func (s *Store) write(ctx context.Context, old *coordinationv1.Lease, spec coordinationv1.LeaseSpec) (*coordinationv1.Lease, error) {
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": old.UID, "resourceVersion": old.ResourceVersion},
		"spec":     spec,
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, lockTimeout)
	defer cancel()
	return s.leases.Patch(ctx, old.Name, types.MergePatchType, patch, metav1.PatchOptions{})
}

// keep renews a lock until ctx ends, or somebody else has it.
func (s *Store) keep(ctx context.Context, name string, h *hold) {
	defer close(h.done)
	tick := time.NewTicker(lockRenewal)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		lease, err := s.renew(ctx, h.lease)
		switch {
		case err == nil:
			h.lease = lease
		case errors.Is(err, errNotHeld):
			h.lost = true
			s.options.Log.Error("lock lost: it was not renewed in time", "lock", name)
			return
		case ctx.Err() == nil:
			s.options.Log.Warn("lock not renewed, trying again", "lock", name, "err", err)
		}
	}
}

// renew writes a Lease anew; the error is errNotHeld where somebody else has it.
func (s *Store) renew(ctx context.Context, lease *coordinationv1.Lease) (*coordinationv1.Lease, error) {
	now := metav1.NowMicro()
	spec := lease.Spec
	spec.RenewTime = &now
	next, err := s.write(ctx, lease, spec)
	if !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
		return next, err
	}
	return s.own(ctx, lease) // it may be our own word that we did not hear the answer to
}

// own reads a Lease again; the error is errNotHeld where somebody else has it.
func (s *Store) own(ctx context.Context, lease *coordinationv1.Lease) (*coordinationv1.Lease, error) {
	ctx, cancel := context.WithTimeout(ctx, lockTimeout)
	defer cancel()
	now, err := s.leases.Get(ctx, lease.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, errNotHeld
	case err != nil:
		return nil, err
	case now.Spec.HolderIdentity == nil || *now.Spec.HolderIdentity != *lease.Spec.HolderIdentity:
		return nil, errNotHeld
	}
	return now, nil
}

// errNotHeld is what Unlock says of a lock that this replica has not.
var errNotHeld = errors.New("not held")

// Unlock releases a lock that this replica has. It is an error if it has lost it.
func (s *Store) Unlock(ctx context.Context, name string) error {
	s.mu.Lock()
	h := s.held[name]
	s.mu.Unlock()
	if h == nil {
		return fmt.Errorf("unlock %s: %w", name, errNotHeld)
	}
	h.stop()
	<-h.done
	s.mu.Lock()
	if s.held[name] == h {
		delete(s.held, name)
	}
	s.mu.Unlock()
	if h.lost {
		return fmt.Errorf("unlock %s: %w any more", name, errNotHeld)
	}
	return s.release(ctx, name, h.lease)
}

// release deletes a Lease that is still this replica's.
func (s *Store) release(ctx context.Context, name string, lease *coordinationv1.Lease) error {
	lease, err := s.own(ctx, lease)
	if err != nil {
		return fmt.Errorf("unlock %s: %w", name, err)
	}
	err = s.leases.Delete(ctx, lease.Name, metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &lease.UID, ResourceVersion: &lease.ResourceVersion},
	})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return s.failed("unlock", name, err)
}
