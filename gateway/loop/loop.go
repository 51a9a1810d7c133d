// Package loop runs connections: one event loop a core, each with its own
// epoll set, timers and buffers.
//
// All that belongs to a connection, and to the exchanges on it, runs on one
// loop's goroutine and needs no lock. A round is: wait for events, hand bytes
// to handlers, run what was posted, fire timers, run what was deferred, then
// send what all of these queued. So one read and one write serve a message,
// and what many streams of one connection queued in a round goes out in one
// write (and one TLS record).
//
// The one law: nothing on a loop blocks. What may block runs elsewhere and
// comes back by [Loop.Post].
//
// A loop without sockets ([NewManual]) has a clock that only the test moves.
package loop

import (
	"sync"
	"sync/atomic"
	"time"
)

// A Loop is an event loop. Its methods are called on its own goroutine only,
// but for Post, Index and Stop.
type Loop struct {
	index int
	now   time.Time
	start time.Time

	timers   timerHeap
	deferred []func()
	running  []func() // deferred's other half while it is run

	mu     sync.Mutex // guards what follows
	posted []func()
	woken  bool
	ended  bool
	taken  []func()

	poll    *poller // nil in a manual loop
	scratch []byte  // what a read fills, for one handler call
	cipher  []byte  // the same for TLS records, before decryption
	small   [][]byte
	large   [][]byte
	huge    [][]byte
	pieces  *Piece // free ones, by next
	nPieces int

	pipes     []*pipe // empty ones
	pipesMade int

	dirty, flushing []*Socket // have something to send, at the round's end
	again, pumping  []*Socket // have more to read than their share of a round
	sockets         atomic.Int64
	rounds          Rounds
	locals          map[any]any // by *Local

	stopping atomic.Bool
	done     chan struct{}
}

// Index is the loop's number, from 0, for tables with a slot a loop.
func (l *Loop) Index() int { return l.index }

// Now is the time at which the round began: cheap, and the same for all that
// happens in a round.
func (l *Loop) Now() time.Time { return l.now }

// Defer runs f at the end of this round, before the round's writes go out.
func (l *Loop) Defer(f func()) { l.deferred = append(l.deferred, f) }

// Post runs f on the loop. Any goroutine may call it. It returns false, and f
// is not run, when the loop has ended.
func (l *Loop) Post(f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock() // and so the eventfd is not closed before it is written to
	if l.ended {
		return false
	}
	l.posted = append(l.posted, f)
	if !l.woken && l.poll != nil {
		l.poll.wake()
	}
	l.woken = true
	return true
}

// end makes what has been posted the last.
func (l *Loop) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
}

func (l *Loop) runPosted() {
	l.mu.Lock()
	l.taken, l.posted = l.posted, l.taken[:0]
	l.woken = false
	l.mu.Unlock()
	for i, f := range l.taken {
		l.taken[i] = nil
		f()
	}
}

func (l *Loop) runDeferred() {
	for len(l.deferred) > 0 {
		l.running, l.deferred = l.deferred, l.running[:0]
		for i, f := range l.running {
			l.running[i] = nil
			f()
		}
	}
}

// NewManual returns a loop for tests: it has no sockets, and its clock stands
// at start until Advance.
func NewManual(start time.Time) *Loop {
	return &Loop{now: start, start: start, scratch: make([]byte, scratchSize)}
}

// NewManuals returns n manual loops, numbered from 0: what a process with n
// cores has.
func NewManuals(n int, start time.Time) []*Loop {
	loops := make([]*Loop, n)
	for i := range loops {
		loops[i] = NewManual(start)
		loops[i].index = i
	}
	return loops
}

// Settle runs all that is due on a manual loop without moving its clock.
func (l *Loop) Settle() { l.Advance(0) }

// Advance moves a manual loop's clock by d, firing timers at their own times
// on the way, and runs all that they set off.
func (l *Loop) Advance(d time.Duration) {
	end := l.now.Add(d)
	for {
		l.settle()
		next, ok := l.nextTimer()
		if !ok || next.After(end) {
			break
		}
		if next.After(l.now) {
			l.now = next
		}
		l.fireTimers()
	}
	l.now = end
	l.settle()
}

func (l *Loop) settle() {
	for {
		l.runPosted()
		l.runDeferred()
		l.mu.Lock()
		idle := len(l.posted) == 0 && len(l.deferred) == 0
		l.mu.Unlock()
		if idle {
			return
		}
	}
}
