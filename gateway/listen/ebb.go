package listen

import (
	"time"

	"fairway.dev/gateway/loop"
)

// ebbSteps is in how many parts connections are asked to leave.
const ebbSteps = 20

// Ebb asks the connections that there are now to leave, some at a time over d,
// so that their clients do not all come to another gateway at once. Sockets go
// on accepting: whoever sends clients here may not know yet that we leave.
// Drain is for what has come since, and for what is left.
func (s *Set) Ebb(d time.Duration) {
	for _, l := range s.loops {
		l.loop.Post(func() { l.ebb(d / ebbSteps) })
	}
}

// An ebb is under way on a loop.
type ebb struct {
	timer loop.Timer
	loop  *perLoop
	pause time.Duration
	steps int // to come
}

func (l *perLoop) ebb(pause time.Duration) {
	for c := l.conns; c != nil; c = c.next {
		c.ebbs = true
	}
	e := &ebb{loop: l, pause: pause, steps: ebbSteps}
	e.timer.Fire = e.step
	e.step()
}

// step asks an equal share of those that are left.
func (e *ebb) step() {
	left := 0
	for c := e.loop.conns; c != nil; c = c.next {
		if c.ebbs && !c.drained {
			left++
		}
	}
	if left == 0 || e.steps == 0 {
		e.loop.loop.Drop(&e.timer)
		return
	}
	share := (left + e.steps - 1) / e.steps
	for c := e.loop.conns; c != nil && share > 0; {
		next := c.next
		if c.ebbs && !c.drained {
			c.drain()
			share--
		}
		c = next
	}
	e.steps--
	e.loop.loop.Arm(&e.timer, e.pause)
}
