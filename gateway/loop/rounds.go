package loop

import "sync/atomic"

// Rounds counts what a loop did. Any goroutine may read it.
type Rounds struct {
	count  atomic.Int64
	events atomic.Int64
}

func (r *Rounds) begin(events int) {
	r.count.Store(r.count.Load() + 1)
	r.events.Store(r.events.Load() + int64(events))
}

// Rounds returns how many rounds the loop has run and how many events it has
// handled; their ratio tells how busy it is. Any goroutine may ask.
func (l *Loop) Rounds() (rounds, events int64) {
	return l.rounds.count.Load(), l.rounds.events.Load()
}
