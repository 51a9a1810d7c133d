package feed

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
)

const (
	wildcard = "*"
	// chunkSize is about how long a response of several resources is: it fits
	// in a buffer of 32 KiB, after which gRPC's next size is 1 MiB, and a
	// thousand pods that are sent everything at once hold a few of them each.
	chunkSize = 28 << 10
	// maxForced bounds the list of what a pod that comes back has missed; one
	// that has missed more is sent everything.
	maxForced = 1000
)

// A subscription is what one stream gets of one type: the rules of incremental
// xDS. The stream's receiver and its sender share it.
type subscription struct {
	typeURL string
	from    *collection
	scope   string                   // of what it sees besides what is for all
	closing func() (*resource, mark) // the resource that ends a run; nil: none does
	wake    func()                   // tells the sender that there may be something

	// cursor is the number of the last change that the client has been sent,
	// or need not be; commonCursor is that of from.common. They are guarded by the
	// locks of these, of which their writer needs but the reader's side.
	cursor, commonCursor uint64

	mu       sync.Mutex // guards what follows; taken before from.mu
	wildcard bool
	names    map[string]struct{} // subscribed to one by one
	forced   map[string]struct{} // to be sent, whatever the client has
	owed     bool                // the closing resource is to be sent though nothing else is
	running  bool                // a run has begun and is not closed
	nonce    uint64
	unacked  map[string]*mark // of the run, by nonce; nil for those that do not close it
	progress time.Time        // of the run: when a response was sent or acknowledged
}

// A mark is what the acknowledgement of a run's end means.
type mark struct {
	version   string
	listeners *listenerSet
}

func newSubscription(typeURL string, from *collection, closing func() (*resource, mark), wake func()) *subscription {
	return &subscription{
		typeURL: typeURL, from: from, closing: closing, wake: wake,
		names: map[string]struct{}{}, forced: map[string]struct{}{}, unacked: map[string]*mark{},
	}
}

// begin takes the first request of the type on the stream.
func (s *subscription) begin(r *discoveryv3.DeltaDiscoveryRequest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.from.hold()
	defer s.from.release()
	s.catchUp()
	subscribe, unsubscribe := r.GetResourceNamesSubscribe(), r.GetResourceNamesUnsubscribe()
	if len(subscribe)+len(unsubscribe) == 0 {
		subscribe = []string{wildcard} // as clients did before it had a name
	}
	if err := s.add(subscribe); err != nil {
		return err
	}
	s.drop(unsubscribe)
	s.owed = s.wantsClosing()
	s.compare(r.GetInitialResourceVersions())
	return nil
}

// compare leaves out of what is to be sent what the client has already, and
// tells it what is gone.
func (s *subscription) compare(has map[string]string) {
	if len(has) == 0 {
		return
	}
	for name := range s.forced {
		if r := s.current(name); r != nil && has[name] == r.version() {
			delete(s.forced, name)
		}
	}
	for name := range has {
		if name != generationName && s.current(name) == nil && s.covers(name) {
			s.forced[name] = struct{}{}
		}
	}
	if !s.wildcard {
		return
	}
	var missed []string
	if has[generationName] != s.from.digestFor(s.scope).String() {
		for _, c := range s.collections() {
			for _, e := range c.entries {
				if e.resource != nil && s.sees(e) && has[e.name] != e.resource.version() {
					missed = append(missed, e.name)
				}
			}
		}
	}
	if len(missed) > maxForced {
		return // everything is sent
	}
	s.catchUp()
	for _, name := range missed {
		s.forced[name] = struct{}{}
	}
}

// change takes a later request's subscriptions. They hold even where its nonce
// is stale.
func (s *subscription) change(r *discoveryv3.DeltaDiscoveryRequest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.from.hold()
	defer s.from.release()
	if err := s.add(r.GetResourceNamesSubscribe()); err != nil {
		return err
	}
	s.drop(r.GetResourceNamesUnsubscribe())
	return nil
}

// add subscribes to names. All of them are sent, even if the client has been
// sent them before: it may have dropped them.
func (s *subscription) add(names []string) error {
	for _, name := range names {
		switch name {
		case wildcard:
			s.wildcard, s.owed = true, s.closing != nil
			s.cursor, s.commonCursor = 0, 0
			continue
		case generationName:
			s.owed = s.closing != nil
		default:
			s.forced[name] = struct{}{}
		}
		s.names[name] = struct{}{}
	}
	if len(s.names) > maxNames {
		return fmt.Errorf("subscriptions to %d names: want at most %d, or \"*\"", len(s.names), maxNames)
	}
	return nil
}

// drop unsubscribes. The client of a wildcard cannot know whether that still
// covers a name that it unsubscribes from, so it is told.
func (s *subscription) drop(names []string) {
	for _, name := range names {
		if name == wildcard {
			s.wildcard = false
			continue
		}
		if _, had := s.names[name]; !had {
			continue
		}
		delete(s.names, name)
		switch {
		case !s.wildcard:
		case name == generationName:
			s.owed = s.closing != nil
		default:
			s.forced[name] = struct{}{}
		}
	}
	if len(names) == 0 {
		return
	}
	maps.DeleteFunc(s.forced, func(name string, _ struct{}) bool { return !s.covers(name) })
}

func (s *subscription) covers(name string) bool {
	_, named := s.names[name]
	return named || s.wildcard
}

// sees reports whether an entry is for the client at all.
func (s *subscription) sees(e *entry) bool { return e.scope == "" || e.scope == s.scope }

func (s *subscription) current(name string) *resource { return s.from.currentFor(s.scope, name) }

func (s *subscription) wantsClosing() bool { return s.closing != nil && s.covers(generationName) }

// next returns the next response to send, or nil if there is none now: nothing
// has changed, or a run is not acknowledged yet.
func (s *subscription) next(now time.Time) *discoveryv3.DeltaDiscoveryResponse {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.running && len(s.unacked) > 0 {
		return nil
	}
	s.from.hold()
	defer s.from.release()
	if !s.running && !s.owed && len(s.forced) == 0 && s.caughtUp() {
		return nil
	}
	r := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: s.typeURL, SystemVersionInfo: s.from.digestFor(s.scope).String()}
	room := s.addForced(r, chunkSize)
	// What is forced may have changed too, and no response may name a
	// resource twice.
	moved := false
	if len(r.Resources)+len(r.RemovedResources) == 0 {
		moved = s.addChanges(r, room)
	}
	closed := s.close(r, moved)
	s.running = closed == nil
	if s.running && len(s.forced) == 0 && s.caughtUp() {
		s.running = false // a run that nothing closes
	}
	if len(r.Resources)+len(r.RemovedResources) == 0 {
		s.running = false
		return nil
	}
	if len(s.unacked) == 0 {
		s.progress = now
	}
	s.nonce++
	r.Nonce = strconv.FormatUint(s.nonce, 10)
	s.unacked[r.Nonce] = closed
	return r
}

func (s *subscription) addForced(r *discoveryv3.DeltaDiscoveryResponse, room int) (left int) {
	for _, name := range slices.Sorted(maps.Keys(s.forced)) {
		if room <= 0 {
			break
		}
		room -= add(r, name, s.current(name))
		delete(s.forced, name)
	}
	return room
}

// addChanges goes on in the logs. It reports whether anything changed that the
// client sees, if it did not ask for it by name.
func (s *subscription) addChanges(r *discoveryv3.DeltaDiscoveryResponse, room int) (moved bool) {
	for _, c := range s.collections() {
		var some bool
		room, some = s.addChangesOf(c, r, room)
		moved = moved || some
	}
	return moved
}

func (s *subscription) addChangesOf(c *collection, r *discoveryv3.DeltaDiscoveryResponse, room int) (left int, moved bool) {
	cursor := s.cursorIn(c)
	for _, l := range c.after(*cursor) {
		if room <= 0 {
			return room, moved
		}
		*cursor = l.number
		if l.entry.changed != l.number || !s.sees(l.entry) {
			continue
		}
		if l.entry.resource == nil && s.current(l.entry.name) != nil {
			continue // it has gone from one collection to the other
		}
		moved = true
		if s.covers(l.entry.name) {
			room -= add(r, l.entry.name, l.entry.resource)
		}
	}
	*cursor = c.number
	return room, moved
}

// collections returns what the client follows.
func (s *subscription) collections() []*collection {
	if common := s.from.followed(); common != nil {
		return []*collection{s.from, common}
	}
	return []*collection{s.from}
}

// cursorIn is where the client is in the log of a collection that it follows.
func (s *subscription) cursorIn(c *collection) *uint64 {
	if c == s.from {
		return &s.cursor
	}
	return &s.commonCursor
}

// caughtUp reports whether nothing has changed that the client was not sent.
func (s *subscription) caughtUp() bool {
	for _, c := range s.collections() {
		if *s.cursorIn(c) != c.number {
			return false
		}
	}
	return true
}

// catchUp has the client be sent nothing that is not forced.
func (s *subscription) catchUp() {
	for _, c := range s.collections() {
		*s.cursorIn(c) = c.number
	}
}

// add puts a resource in a response, or that it is gone.
func add(r *discoveryv3.DeltaDiscoveryResponse, name string, res *resource) (size int) {
	if res == nil {
		r.RemovedResources = append(r.RemovedResources, name)
		return len(name) + 4
	}
	r.Resources = append(r.Resources, res.message)
	return res.size()
}

// close adds the closing resource if all else has been sent.
func (s *subscription) close(r *discoveryv3.DeltaDiscoveryResponse, moved bool) *mark {
	if len(s.forced) > 0 || !s.caughtUp() || !s.wantsClosing() {
		return nil
	}
	if !moved && !s.owed && !s.running && len(r.Resources)+len(r.RemovedResources) == 0 {
		return nil
	}
	res, m := s.closing()
	r.Resources = append(r.Resources, res.message)
	s.owed = false
	return &m
}

// acknowledge takes an ACK or a NACK. It returns the mark of the run that it
// ends, if it does; a nonce that is not known changes nothing.
func (s *subscription) acknowledge(nonce string, now time.Time) *mark {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, known := s.unacked[nonce]
	if !known {
		return nil
	}
	delete(s.unacked, nonce)
	s.progress = now
	return m
}

// sent notes that a response has left.
func (s *subscription) sent(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.progress = now
}

// stalled returns for how long the client has made no progress with what it
// was sent.
func (s *subscription) stalled(now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.unacked) == 0 {
		return 0
	}
	return now.Sub(s.progress)
}
