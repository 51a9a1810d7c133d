package loop

import (
	"time"
)

// New returns a loop with number index. Run runs it.
func New(index int) (*Loop, error) {
	poll, err := newPoller()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	return &Loop{
		index: index, now: now, start: now, poll: poll,
		scratch: make([]byte, scratchSize),
		done:    make(chan struct{}),
	}, nil
}

// Run runs the loop until Stop. What was posted before that is run still, and
// sockets that are open then are closed.
func (l *Loop) Run() {
	defer close(l.done)
	for !l.stopping.Load() {
		n := l.poll.wait(l.patience())
		l.now = time.Now()
		l.rounds.begin(n)
		l.poll.dispatch(n)
		l.runPosted()
		l.fireTimers()
		l.pumpAgain()
		l.runDeferred()
		l.flushDirty()
	}
	l.shut()
}

// patience returns how long the loop may wait for events.
func (l *Loop) patience() time.Duration {
	if len(l.again) > 0 || len(l.deferred) > 0 || len(l.dirty) > 0 {
		return 0
	}
	next, ok := l.nextTimer()
	if !ok {
		return -1
	}
	return max(0, time.Until(next))
}

// flushDirty sends what the round queued. Sending may fail, and a failure is
// told by deferred calls, so it goes on until all is quiet.
func (l *Loop) flushDirty() {
	for len(l.dirty) > 0 {
		l.flushing, l.dirty = l.dirty, l.flushing[:0]
		for i, s := range l.flushing {
			l.flushing[i] = nil
			s.dirty = false
			s.Flush()
		}
		l.runDeferred()
	}
}

// pumpAgain goes on with sockets that had more to read than their share of a round.
func (l *Loop) pumpAgain() {
	if len(l.again) == 0 {
		return
	}
	l.pumping, l.again = l.again, l.pumping[:0]
	for i, s := range l.pumping {
		l.pumping[i] = nil
		s.queued = false
		s.pump()
	}
}

// Stop ends Run and waits for it.
func (l *Loop) Stop() {
	l.stopping.Store(true)
	l.Post(func() {}) // wakes it
	<-l.done
}

func (l *Loop) shut() {
	l.end()
	l.runPosted()
	for _, e := range l.poll.sources {
		switch s := e.src.(type) {
		case *Socket:
			s.Close()
		case *UDPSocket:
			s.Close()
		case *UDPConn:
			s.Close()
		}
	}
	for _, p := range l.pipes {
		l.dropPipe(p)
	}
	l.poll.close()
}

// Sockets returns how many connections the loop has. Any goroutine may ask.
func (l *Loop) Sockets() int { return int(l.sockets.Load()) }
