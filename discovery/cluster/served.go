package cluster

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

const (
	// lookTime bounds one look at what the API server serves.
	lookTime = 10 * time.Second
	// Looks that find what is not settled are repeated, first soon, then rarely.
	firstLook, lastLook = 250 * time.Millisecond, 30 * time.Second
)

// looked is what the API server serves.
type looked struct {
	plurals map[schema.GroupVersion]map[string]bool
	err     error
}

// A lookout knows which kinds the API server serves, and in which version. A
// definition's metadata, which is watched, tells when that may have changed,
// and discovery what it is now. It belongs to the goroutine that owns the World.
type lookout struct {
	looking, again bool
	done           bool // once
	doubts         int  // looks to come although all seems settled
	delay          time.Duration
	next           *time.Timer
}

// Discovery follows a definition with some delay: an answer is believed when
// it has been the same for this many looks.
const doubts = 5

// lookAgain is for when a definition has changed.
func (s *Source) lookAgain(ctx context.Context) {
	s.lookout.doubts, s.lookout.delay = doubts, 0
	s.look(ctx)
}

// look asks what is served; the answer comes as mail.
func (s *Source) look(ctx context.Context) {
	l := &s.lookout
	if l.looking {
		l.again = true
		return
	}
	l.looking, l.again = true, false
	if l.next != nil {
		l.next.Stop()
	}
	s.work.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, lookTime)
		defer cancel()
		out := &looked{plurals: map[schema.GroupVersion]map[string]bool{}}
		for _, k := range kinds {
			for _, version := range k.versions {
				gv := k.resource(version).GroupVersion()
				if _, ok := out.plurals[gv]; ok || !k.defined() || out.err != nil {
					continue
				}
				out.plurals[gv], out.err = s.wire.served(ctx, gv)
			}
		}
		s.inbox.put(func(m *mail) { m.looked = out })
	})
}

// takeLooked begins and ends lines by what is served.
func (s *Source) takeLooked(ctx context.Context, seen *looked, d *difference) {
	l := &s.lookout
	l.looking = false
	settled := seen.err == nil
	if seen.err != nil {
		s.log.Debug("what is served is not known", "err", seen.err)
	} else {
		for _, ln := range s.lines {
			if ln.kind.defined() {
				settled = s.route(ctx, ln, seen, d) && settled
			}
		}
		l.done = true
	}
	switch {
	case l.again:
		s.look(ctx)
		return
	case settled && l.doubts == 0:
		l.delay = 0
		return
	case settled:
		l.doubts--
	}
	l.delay = min(max(2*l.delay, firstLook), lastLook)
	l.next = s.alarm(l.delay, func(a *alarms) { a.look = true })
}

// route leads a line to the best version that is served. It reports whether
// that agrees with the kind's definition: for moments it may not.
func (s *Source) route(ctx context.Context, l *line, seen *looked, d *difference) (settled bool) {
	best := ""
	for _, version := range l.kind.versions {
		if seen.plurals[l.kind.resource(version).GroupVersion()][l.kind.plural] {
			best = version
			break
		}
	}
	listed := s.line(definitions).synced // nobody else writes it
	defined := s.world.Get(l.kind.definition()) != nil
	switch {
	case best != "" && (l.watcher == nil || best != l.version):
		s.watch(ctx, l, best)
		if s.lookout.done {
			s.log.Info("kind is served", "origin", l.kind.name+" "+best)
		}
	case best == "" && l.watcher != nil && listed && !defined:
		s.drop(l, d)
		s.log.Info("kind is gone, its objects with it", "origin", l.kind.name)
	case best == "" && l.watcher == nil && !s.lookout.done:
		s.log.Info("kind is not served: it counts once it is", "origin", l.kind.name)
	}
	return listed && defined == (best != "")
}

// drop ends a line whose kind is gone.
func (s *Source) drop(l *line, d *difference) {
	l.watcher.stop()
	l.watcher, l.unread = nil, nil
	s.state.Lock()
	l.version, l.synced, l.err, l.objects, l.unreadable = "", false, nil, 0, 0
	s.state.Unlock()
	for _, k := range s.keysOf(l.kind) {
		s.remove(k)
		d.keys = append(d.keys, k)
	}
}
