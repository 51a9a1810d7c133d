package manifest

import "time"

// How long things wait before they are looked at.
const (
	quiet    = 5 * time.Millisecond  // since the last event: a burst counts as one change
	atMost   = 50 * time.Millisecond // since the first event of a burst
	patience = time.Second           // since a writer was last heard of, who has not closed the file
)

// pending is what has happened and was not looked at yet. It knows no clock.
type pending struct {
	ready    map[string]bool      // files to look at
	writing  map[string]time.Time // files that are open: when something was last written
	all      bool                 // look at everything
	from, to time.Time            // of what is ready: the first event, and the last
}

// written notes that somebody writes to a file, and that it is not to be
// looked at until it is closed.
func (p *pending) written(path string, now time.Time) {
	if p.writing == nil {
		p.writing = map[string]time.Time{}
	}
	p.writing[path] = now
	delete(p.ready, path)
}

// changed notes that a file is as its writer wants it, or is gone.
func (p *pending) changed(path string, now time.Time) {
	delete(p.writing, path)
	p.touch(now)
	p.ready[path] = true
}

// everything notes that nothing is known for sure.
func (p *pending) everything(now time.Time) {
	p.touch(now)
	p.all = true
}

func (p *pending) touch(now time.Time) {
	if p.ready == nil {
		p.ready = map[string]bool{}
	}
	if len(p.ready) == 0 && !p.all {
		p.from = now
	}
	if now.After(p.to) {
		p.to = now
	}
}

// due returns when to look; ok is false while there is nothing to wait for.
func (p *pending) due() (at time.Time, ok bool) {
	if len(p.ready) > 0 || p.all {
		at, ok = p.to.Add(quiet), true
		if last := p.from.Add(atMost); last.Before(at) {
			at = last
		}
	}
	for _, last := range p.writing {
		if limit := last.Add(patience); !ok || limit.Before(at) {
			at, ok = limit, true
		}
	}
	return at, ok
}

// take returns what is due now and forgets it.
func (p *pending) take(now time.Time) (paths []string, all bool) {
	for path, last := range p.writing {
		if !now.Before(last.Add(patience)) {
			p.changed(path, last)
		}
	}
	if at, ok := p.due(); !ok || now.Before(at) {
		return nil, false
	}
	for path := range p.ready {
		paths = append(paths, path)
	}
	all = p.all
	clear(p.ready)
	p.all = false
	return paths, all
}
