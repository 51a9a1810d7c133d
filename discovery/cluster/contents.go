package cluster

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"

	"fairway.dev/routing"
)

const (
	// fetchers bounds how many contents are fetched at once.
	fetchers = 16
	// fetchTime bounds one fetch.
	fetchTime = 10 * time.Second
	// applyTime bounds all the fetches that one apply waits for.
	applyTime = 250 * time.Millisecond
	// sweepAfter is how long a content that nobody reads may stay.
	sweepAfter = time.Minute
)

// contents are the Secrets and ConfigMaps: which there are, and for those
// that somebody reads what is in them. It belongs to the goroutine that owns
// the World.
type contents struct {
	versions map[string]map[routing.ObjectKey]string // by kind, of all that there are: resourceVersion
	held     map[routing.ObjectKey]*holding
	waiting  int  // holdings that are waited for
	sweeping bool // the alarm is set
	places   chan struct{}
}

// A holding is a content that somebody reads, from when it is asked for.
type holding struct {
	version string             // of what is in the World; empty while there is nothing
	asked   string             // the version that was seen when it was asked for
	cancel  context.CancelFunc // of the fetch under way; nil while there is none
	waiting bool               // for the first time it comes
}

// fetched is what came of a fetch.
type fetched struct {
	key     routing.ObjectKey
	holding *holding
	object  object // nil: see err
	err     error
	over    bool // the fetch has ended
}

func newContents() contents {
	return contents{
		versions: map[string]map[routing.ObjectKey]string{"Secret": {}, "ConfigMap": {}},
		held:     map[routing.ObjectKey]*holding{},
		places:   make(chan struct{}, fetchers),
	}
}

// version returns the resourceVersion of a Secret or ConfigMap; empty where
// there is none.
func (c *contents) version(k routing.ObjectKey) string { return c.versions[k.Kind][k] }

// noteVersion takes in what the watch says of a Secret or ConfigMap; an empty
// version is that it is gone. It reports whether the World changed by it.
func (s *Source) noteVersion(ctx context.Context, k routing.ObjectKey, version string) bool {
	c := &s.contents
	if version == "" {
		delete(c.versions[k.Kind], k)
		return s.release(k)
	}
	c.versions[k.Kind][k] = version
	s.consider(ctx, k)
	return false
}

// consider fetches a content if somebody reads it and it is not held as it is.
func (s *Source) consider(ctx context.Context, k routing.ObjectKey) {
	c := &s.contents
	version := c.version(k)
	if version == "" || !s.wanted(k) {
		return
	}
	h := c.held[k]
	if h == nil {
		h = &holding{waiting: true}
		c.held[k] = h
		c.waiting++
	}
	if h.cancel == nil && h.version != version && h.asked != version {
		h.asked = version
		ctx, h.cancel = context.WithCancel(ctx)
		s.work.Go(func() { s.fetch(ctx, k, h) })
	}
}

// considerMissed looks at what was not found.
func (s *Source) considerMissed(ctx context.Context) {
	s.missed.mu.Lock()
	keys := s.missed.keys
	s.missed.keys = nil
	s.missed.mu.Unlock()
	for k := range keys {
		s.consider(ctx, k)
	}
}

// apply runs f, in which Get waits for contents if the first ones have come.
func (s *Source) apply(f func()) {
	if !s.ready { // only this goroutine writes it
		f()
		return
	}
	s.fetchUntil(time.Now().Add(applyTime))
	defer s.fetchUntil(time.Time{})
	f()
}

func (s *Source) fetchUntil(end time.Time) {
	s.now.mu.Lock()
	s.now.until = end
	s.now.mu.Unlock()
}

// fetchNow fetches a content while apply waits for it, or returns nil.
func (s *Source) fetchNow(k routing.ObjectKey) any {
	s.now.mu.Lock()
	defer s.now.mu.Unlock()
	if !time.Now().Before(s.now.until) {
		return nil
	}
	c := &s.contents
	version := c.version(k)
	if version == "" || c.held[k] != nil {
		return nil // there is none, or it is on its way
	}
	ctx, cancel := context.WithDeadline(context.Background(), s.now.until)
	defer cancel()
	o, err := s.wire.content(ctx, kindNamed(k.Kind), k)
	if err != nil {
		return nil // it is asked for again, and what is wrong is said
	}
	c.held[k] = &holding{version: o.GetResourceVersion(), asked: version}
	s.put(k, o, nil)
	return o
}

// release lets a content go, and reports whether there was one.
func (s *Source) release(k routing.ObjectKey) bool {
	h := s.contents.held[k]
	if h == nil {
		return false
	}
	if h.cancel != nil {
		h.cancel()
	}
	s.came(h)
	delete(s.contents.held, k)
	return s.remove(k)
}

// came says that a holding is not waited for any more.
func (s *Source) came(h *holding) {
	if h.waiting {
		h.waiting = false
		s.contents.waiting--
	}
}

// sweep lets go what nobody reads any more.
func (s *Source) sweep() {
	s.contents.sweeping = false
	for k := range s.contents.held {
		if !s.wanted(k) {
			s.release(k)
		}
	}
}

// takeFetched puts what was fetched into the World, and reports whether that
// changed a content.
func (s *Source) takeFetched(ctx context.Context, f fetched) bool {
	c := &s.contents
	h := c.held[f.key]
	if h != f.holding {
		return false // it was let go
	}
	if f.over {
		h.cancel()
		h.cancel = nil
	}
	s.came(h)
	if f.object == nil {
		if !apierrors.IsNotFound(f.err) { // the watch will say so
			s.log.Warn("content cannot be read", "origin", f.key, "err", f.err)
		}
		return false
	}
	h.version = f.object.GetResourceVersion()
	old, _ := s.world.Get(f.key).(object)
	s.put(f.key, f.object, nil)
	// What the watch has seen since is fetched; what it has not seen yet, and
	// came with the fetch, is not fetched again.
	s.consider(ctx, f.key)
	return old == nil || !sameContent(old, f.object)
}

// fetch gets a content, and tries again until it has it, or there is none.
func (s *Source) fetch(ctx context.Context, k routing.ObjectKey, h *holding) {
	began := time.Now()
	delays := wait.Backoff{Duration: s.backoff.Duration, Factor: 2, Jitter: 0.5, Steps: 8, Cap: 30 * time.Second}
	for said := false; ; {
		o, err := s.fetchOnce(ctx, k)
		if ctx.Err() != nil {
			return
		}
		over := err == nil || apierrors.IsNotFound(err)
		if over || !said && time.Since(began) > s.waitsFor() {
			said = true
			s.inbox.put(func(m *mail) {
				m.fetched = append(m.fetched, fetched{key: k, holding: h, object: o, err: err, over: over})
			})
		}
		if over {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(delays.Step()):
		}
	}
}

func (s *Source) fetchOnce(ctx context.Context, k routing.ObjectKey) (object, error) {
	select {
	case s.contents.places <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-s.contents.places }()
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	return s.wire.content(ctx, kindNamed(k.Kind), k)
}
