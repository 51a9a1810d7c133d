package loop

import "time"

// A Timer calls Fire once its time has come. It is part of what it times: no
// allocation, and moving it is free where the time only moves away, which is
// what request after request on a connection does.
type Timer struct {
	Fire func()

	deadline time.Duration // since the loop's start; 0 while disarmed
	key      time.Duration // where it stands in the heap: never after deadline
	slot     int           // its place in the heap plus one; 0 while out of it
}

// Arm sets t to fire after d, in place of any earlier time.
func (l *Loop) Arm(t *Timer, d time.Duration) {
	t.deadline = max(l.now.Sub(l.start)+d, 1)
	switch {
	case t.slot == 0:
		t.key = t.deadline
		l.timers = append(l.timers, t)
		t.slot = len(l.timers)
		l.timers.up(t.slot - 1)
	case t.deadline < t.key:
		t.key = t.deadline
		l.timers.up(t.slot - 1)
	}
}

// Disarm keeps t from firing. Its place is kept for the next Arm.
func (l *Loop) Disarm(t *Timer) { t.deadline = 0 }

// Drop disarms t and lets go of it, for what is used no more.
func (l *Loop) Drop(t *Timer) {
	t.deadline = 0
	if t.slot != 0 {
		l.timers.remove(t.slot - 1)
	}
}

// Armed reports whether t will fire.
func (t *Timer) Armed() bool { return t.deadline != 0 }

// nextTimer returns when the first timer may fire.
func (l *Loop) nextTimer() (time.Time, bool) {
	l.tidyTimers()
	if len(l.timers) == 0 {
		return time.Time{}, false
	}
	return l.start.Add(l.timers[0].key), true
}

// tidyTimers brings the heap's first timer to its true place.
func (l *Loop) tidyTimers() {
	for len(l.timers) > 0 {
		t := l.timers[0]
		switch {
		case t.deadline == 0:
			l.timers.remove(0)
		case t.key < t.deadline:
			t.key = t.deadline
			l.timers.down(0)
		default:
			return
		}
	}
}

// fireTimers fires all whose time has come.
func (l *Loop) fireTimers() {
	now := l.now.Sub(l.start)
	for {
		// What stands later than now cannot be due, whatever its deadline.
		if len(l.timers) == 0 || l.timers[0].key > now {
			return
		}
		l.tidyTimers()
		if len(l.timers) == 0 || l.timers[0].key > now {
			return
		}
		t := l.timers[0]
		l.timers.remove(0)
		t.deadline = 0
		t.Fire()
	}
}

// timerHeap is a binary heap by key whose timers know their places.
type timerHeap []*Timer

func (h timerHeap) swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].slot, h[j].slot = i+1, j+1
}

func (h timerHeap) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if h[parent].key <= h[i].key {
			return
		}
		h.swap(i, parent)
		i = parent
	}
}

func (h timerHeap) down(i int) {
	for {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < len(h); c++ {
			if h[c].key < h[least].key {
				least = c
			}
		}
		if least == i {
			return
		}
		h.swap(i, least)
		i = least
	}
}

func (h *timerHeap) remove(i int) {
	last := len(*h) - 1
	(*h)[i].slot = 0
	if i != last {
		(*h)[i] = (*h)[last]
		(*h)[i].slot = i + 1
	}
	(*h)[last] = nil
	*h = (*h)[:last]
	if i < last {
		h.down(i)
		h.up(i)
	}
}
