package cluster

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"fairway.dev/routing"
)

// Run watches the cluster until ctx ends, and calls apply for each Change,
// from one goroutine. What gathers while apply runs is one Change. It is
// called once, and returns nil when all that it began has ended.
func (s *Source) Run(ctx context.Context, apply func(Change)) error {
	s.started = time.Now()
	ctx, cancel := context.WithCancel(ctx)
	defer s.work.Wait()
	defer cancel()
	for _, l := range s.lines {
		if !l.kind.defined() && !l.kind.onDemand {
			s.watch(ctx, l, l.kind.versions[0])
		}
	}
	s.look(ctx)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.inbox.wake:
		}
		d := s.open(ctx, s.inbox.take())
		if s.supply(ctx, &d); s.begun && s.supplying(&d) {
			continue
		}
		if !s.begun {
			if !s.complete() {
				continue
			}
			d = s.all()
		}
		s.report(ctx, d, apply)
	}
}

// A difference is the keys of what is not as it was.
type difference struct {
	keys     []routing.ObjectKey // a translation reads it differently
	statuses []routing.ObjectKey // it does not
}

// report gives a Change, if there is one to give, and sees to what was missed
// meanwhile.
func (s *Source) report(ctx context.Context, d difference, apply func(Change)) {
	for first := !s.begun; ; first = false {
		more := first || s.contents.waiting > 0 || s.podsDue()
		if !first && d.keys == nil && d.statuses == nil && (more || !s.owed) {
			return
		}
		c := Change{Keys: sorted(d.keys), Statuses: sorted(d.statuses), More: more}
		s.apply(func() { apply(c) })
		s.begun, s.owed = true, more
		if !more {
			s.beReady()
		}
		s.considerMissed(ctx)
		d = difference{}
		s.supply(ctx, &d)
		if d.keys == nil && (s.contents.waiting > 0 || s.podsDue()) {
			s.owed = true
			return
		}
	}
}

// beReady says that what there is has been given.
func (s *Source) beReady() {
	s.state.Lock()
	was := s.ready
	s.ready = true
	s.state.Unlock()
	if !was {
		s.log.Info("all objects are read", "took", time.Since(s.started).Round(time.Millisecond))
	}
}

// open takes in what has arrived.
func (s *Source) open(ctx context.Context, m mail) (d difference) {
	for w, b := range m.batches {
		if w.line.watcher == w { // it may have been stopped
			s.takeBatch(ctx, w.line, b, &d)
		}
	}
	for _, f := range m.fetched {
		if s.takeFetched(ctx, f) {
			d.keys = append(d.keys, f.key)
		}
	}
	if m.looked != nil {
		s.takeLooked(ctx, m.looked, &d)
	}
	s.heed(ctx, m.alarms)
	return d
}

// heed does what it is time for.
func (s *Source) heed(ctx context.Context, a alarms) {
	if a.look {
		s.look(ctx)
	}
	if a.patience {
		s.patience++
		s.lament()
		if s.patience == 1 {
			s.alarm(9*s.waitsFor(), func(a *alarms) { a.patience = true })
		}
	}
	if a.sweep {
		s.sweep()
	}
	if a.supply {
		s.demand.overdue = true
	}
	if c := &s.contents; !c.sweeping && len(c.held) > 0 {
		c.sweeping = true
		s.alarm(sweepAfter, func(a *alarms) { a.sweep = true })
	}
}

// lament says what the first Change has waited for in vain.
func (s *Source) lament() {
	if s.begun {
		return
	}
	s.state.Lock()
	missing := map[string]error{}
	for _, l := range s.lines {
		if !l.kind.spare && l.watcher != nil && !l.synced {
			missing[l.kind.name] = l.err
		}
	}
	s.state.Unlock()
	for _, kind := range slices.Sorted(maps.Keys(missing)) {
		s.log.Error("nothing is made of the cluster before this kind is listed", "origin", kind, "err", missing[kind])
	}
}

// alarm sends mail after a while.
func (s *Source) alarm(after time.Duration, set func(*alarms)) *time.Timer {
	return time.AfterFunc(after, func() { s.inbox.put(func(m *mail) { set(&m.alarms) }) })
}

func (s *Source) waitsFor() time.Duration {
	if s.opts.Patience == 0 {
		return 30 * time.Second
	}
	return s.opts.Patience
}

// complete reports whether all is there that the first Change waits for.
func (s *Source) complete() bool {
	if !s.lookout.done {
		return false
	}
	if s.listed && !s.counting {
		s.counting = true
		s.alarm(s.waitsFor(), func(a *alarms) { a.patience = true })
	}
	without, ok := s.absent()
	if !ok {
		return false
	}
	for _, kind := range slices.Sorted(maps.Keys(without)) {
		s.log.Error("going on without a kind that one can do without, and that cannot be listed", "origin", kind, "err", without[kind])
	}
	return true
}

var errNotRead = errors.New("it has a definition, and is not served in a version that is read")

// absent returns the kinds that are not waited for any longer, and why they are
// not there; false where there is one that is.
func (s *Source) absent() (without map[string]error, ok bool) {
	without = map[string]error{}
	s.state.Lock()
	defer s.state.Unlock()
	for _, l := range s.lines {
		err := l.err
		switch {
		case l.synced:
			continue
		case l.watcher == nil && s.world.Get(l.kind.definition()) == nil:
			continue
		case l.watcher == nil: // an API server that begins serves less than it will
			err = errNotRead
		}
		refused := apierrors.IsForbidden(err) || apierrors.IsMethodNotSupported(err)
		switch {
		case err == nil || isAway(err) || s.patience < 1:
			return nil, false
		case err != errNotRead && !l.kind.spare:
			return nil, false // what is made without it would take away what is served
		case s.patience < 2 && !refused:
			return nil, false
		}
		without[l.kind.name] = err
	}
	return without, true
}

// all returns the keys of all objects.
func (s *Source) all() (d difference) {
	for _, l := range s.lines {
		s.world.Each(l.kind.name, func(k routing.ObjectKey, _ any) { d.keys = append(d.keys, k) })
	}
	return d
}

// takeBatch takes in what a line's watcher has seen.
func (s *Source) takeBatch(ctx context.Context, l *line, b *batch, d *difference) {
	if b.whole { // what it does not name is gone
		for _, k := range slices.AppendSeq(s.keysOf(l.kind), maps.Keys(l.unread)) {
			if b.objects[k] == nil {
				b.objects[k] = nil
			}
		}
		s.listed = true
	}
	for k, o := range b.objects {
		s.takeObject(ctx, l, k, o, d)
	}
	s.state.Lock()
	l.synced = l.synced || b.whole
	l.objects, l.unreadable = s.count(l.kind), len(l.unread)
	s.state.Unlock()
	if b.whole {
		s.log.Debug("kind is listed", "origin", l.kind.name)
	}
}

// takeObject takes in one object; nil is that it is gone.
func (s *Source) takeObject(ctx context.Context, l *line, k routing.ObjectKey, o object, d *difference) {
	var status json.RawMessage
	if p, ok := o.(*parcel); ok {
		if p.err != nil {
			l.putBy(k, p, s.log)
			return
		}
		o, status = p.object, p.status
	}
	delete(l.unread, k)
	switch {
	case l.kind.content != nil:
		version := ""
		if o != nil {
			version = o.GetResourceVersion()
		}
		if s.noteVersion(ctx, k, version) {
			d.keys = append(d.keys, k)
		}
		return
	case l.kind.name == definitions && !isDefinition(k):
		return
	}
	if s.place(l.kind, k, o, status, d) && l.kind.name == definitions {
		s.lookAgain(ctx)
	}
}

// putBy takes note of an object that cannot be read.
func (l *line) putBy(k routing.ObjectKey, p *parcel, log *slog.Logger) {
	if l.unread[k] != p.ResourceVersion {
		log.Warn("object cannot be read: it stays as it was", "origin", k, "err", p.err)
	}
	if l.unread == nil {
		l.unread = map[routing.ObjectKey]string{}
	}
	l.unread[k] = p.ResourceVersion
}

// place puts an object where it belongs in the World, and reports whether a
// translation reads that differently.
func (s *Source) place(kind *kind, k routing.ObjectKey, o object, status json.RawMessage, d *difference) bool {
	old, _ := s.world.Get(k).(object)
	switch {
	case o == nil && old == nil:
		return false
	case o == nil:
		s.remove(k)
	case old != nil && kind.defined() && alike(old, o):
		if old.GetResourceVersion() != o.GetResourceVersion() {
			s.put(k, o, status)
			d.statuses = append(d.statuses, k)
		}
		return false
	case old != nil && reflect.DeepEqual(old, o):
		return false
	default:
		s.put(k, o, status)
	}
	d.keys = append(d.keys, k)
	return true
}

// put and remove change the World, which others may be reading.

func (s *Source) put(k routing.ObjectKey, o object, status json.RawMessage) {
	s.demand.note(k, o)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.world.Put(k, o)
	if status == nil {
		delete(s.statuses, k)
	} else {
		s.statuses[k] = status
	}
}

func (s *Source) remove(k routing.ObjectKey) bool {
	s.demand.forget(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.statuses, k)
	return s.world.Delete(k)
}

// keysOf returns the keys of all objects of a kind that there are.
func (s *Source) keysOf(k *kind) []routing.ObjectKey {
	if k.content != nil {
		return slices.Collect(maps.Keys(s.contents.versions[k.name]))
	}
	var list []routing.ObjectKey
	s.world.Each(k.name, func(key routing.ObjectKey, _ any) { list = append(list, key) })
	return list
}

func (s *Source) count(k *kind) int {
	if k.content != nil {
		return len(s.contents.versions[k.name])
	}
	return s.world.Len(k.name)
}

func isDefinition(key routing.ObjectKey) bool {
	return slices.ContainsFunc(kinds, func(k *kind) bool { return k.defined() && k.definition() == key })
}

// sorted returns keys in order, each once.
func sorted(keys []routing.ObjectKey) []routing.ObjectKey {
	slices.SortFunc(keys, func(a, b routing.ObjectKey) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return slices.Compact(keys)
}
