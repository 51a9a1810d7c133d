package http1

import (
	"fairway.dev/gateway/loop"
)

// wire is a Conn that takes everything at once and remembers little: for
// counting allocations and writes.
type wire struct {
	l       *loop.Loop
	out     []byte
	flushed []int
	paused  bool
	reset   bool
}

func newWire() *wire { return &wire{l: loop.NewManual(noon), flushed: make([]int, 0, 8)} }

func (w *wire) Loop() *loop.Loop { return w.l }
func (w *wire) Write(p []byte)   { w.out = append(w.out, p...) }
func (w *wire) Queued() int      { return len(w.out) }
func (w *wire) Pause()           { w.paused = true }
func (w *wire) Resume()          { w.paused = false }
func (w *wire) CloseWrite()      {}
func (w *wire) Finish()          {}
func (w *wire) Close()           {}
func (w *wire) Reset()           { w.reset = true }
func (w *wire) Abort()           { w.reset = true }

func (w *wire) Flush() {
	w.flushed = append(w.flushed[:0], len(w.out))
	w.out = w.out[:0]
}
