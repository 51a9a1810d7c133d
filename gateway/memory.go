package main

import (
	"os"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"

	"fairway.dev/routing"
)

// How much garbage may gather before it is collected. What lives is small and
// almost still in a gateway with few routes, and what dies is handshakes, of
// which collecting took a tenth: gcPercent takes the place of Go's 100. Where
// thousands of routes live, as much again, twice over, would be most of the
// process: there gcHeadroom bounds it.
const (
	gcPercent  = 200
	gcHeadroom = 24 << 20 // bytes
	gcLeast    = 30       // percent: less would collect all the time
)

// gcPercentFor returns the percentage for a heap of which so much lives.
func gcPercentFor(live uint64) int {
	if live == 0 {
		return gcPercent
	}
	return int(min(gcPercent, max(gcLeast, 100*gcHeadroom/live)))
}

// A collector keeps the process's memory in bounds as its configuration grows.
// Who sets GOGC has the last word.
type collector struct {
	mu      sync.Mutex
	percent int
	soon    *time.Timer // the collection after a large change
}

// manyParts is how large a change is after which it pays to collect what
// reading it took.
const manyParts = 500

// changed hears that a change was put in force.
func (c *collector) changed(d *routing.Delta) {
	if os.Getenv("GOGC") != "" {
		return
	}
	c.tune()
	if len(d.Listeners)+len(d.Routes)+len(d.Clusters)+len(d.Certificates) < manyParts {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.soon != nil {
		c.soon.Stop()
	}
	c.soon = time.AfterFunc(time.Second, func() { // more may follow
		debug.FreeOSMemory()
		c.tune()
	})
}

// tune sets the percentage by what lived when garbage was collected last.
func (c *collector) tune() {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	percent := gcPercentFor(sample[0].Value.Uint64())
	c.mu.Lock()
	defer c.mu.Unlock()
	const worthIt = 10 // the world stops for it, shortly
	if percent-c.percent < worthIt && c.percent-percent < worthIt {
		return
	}
	c.percent = percent
	debug.SetGCPercent(percent)
}
