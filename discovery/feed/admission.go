package feed

import (
	"context"
	"sync"

	"fairway.dev/tlsmgr/identity"
)

const (
	// admissions bounds the streams that begin at once: their first requests
	// are large, as they name all that a pod has.
	admissions = 32
	// perPeer is how many of them may be of one identity: who opens streams
	// and says nothing keeps other Gateways' pods from nothing.
	perPeer = admissions / 4
)

// An admission lets streams begin, a few at a time.
type admission struct {
	all chan struct{}

	mu    sync.Mutex
	peers map[identity.ID]*turnstile
}

// A turnstile is the admission of one identity, while anybody is at it.
type turnstile struct {
	slots chan struct{}
	users int
}

func newAdmission() *admission {
	return &admission{all: make(chan struct{}, admissions), peers: map[identity.ID]*turnstile{}}
}

// enter waits for a stream's turn. What it returns is called when the stream
// has begun, or has ended before.
func (a *admission) enter(ctx context.Context, peer identity.ID) (leave func(), err error) {
	t := a.at(peer)
	if err := take(ctx, t.slots); err != nil {
		a.from(peer, t)
		return nil, err
	}
	if err := take(ctx, a.all); err != nil {
		<-t.slots
		a.from(peer, t)
		return nil, err
	}
	return sync.OnceFunc(func() {
		<-a.all
		<-t.slots
		a.from(peer, t)
	}), nil
}

func take(ctx context.Context, slots chan struct{}) error {
	select {
	case slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (a *admission) at(peer identity.ID) *turnstile {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.peers[peer]
	if t == nil {
		t = &turnstile{slots: make(chan struct{}, perPeer)}
		a.peers[peer] = t
	}
	t.users++
	return t
}

func (a *admission) from(peer identity.ID, t *turnstile) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if t.users--; t.users == 0 {
		delete(a.peers, peer)
	}
}
