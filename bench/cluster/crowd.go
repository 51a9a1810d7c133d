package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A crowd is a great number of objects for one Gateway, and what changes among
// them all the time.
type crowd struct {
	*lab
	edge *edge
	// editRoutes and moveBackends change one thing; edit counts.
	editOne func(ctx context.Context, edit int) error
	moveOne func(ctx context.Context, edit int) error
}

const (
	editEvery = time.Second
	moveEvery = 2 * time.Second
	// churnTime is how long is measured while something changes, restTime
	// while nothing does, calmTime what is left to processes to come to rest.
	churnTime = time.Minute
	restTime  = time.Minute
	calmTime  = 20 * time.Second
)

// churn changes something until ctx ends.
func (c *crowd) churn(ctx context.Context) error {
	both := make(chan error, 2)
	repeat := func(every time.Duration, do func(context.Context, int) error) {
		for edit := 1; pause(ctx, every); edit++ {
			if err := do(ctx, edit); err != nil && ctx.Err() == nil {
				both <- err
				return
			}
		}
		both <- nil
	}
	go repeat(editEvery, c.editOne)
	go repeat(moveEvery, c.moveOne)
	return errors.Join(<-both, <-both)
}

// budget is what a process should keep to; 0 where nothing was said.
type budget struct {
	memory float64 // MiB, at any time
	rest   float64 // cores, where nothing changes
	series int
}

// budgets are those of control and of a gateway pod.
type budgets struct{ control, pod budget }

// bytesAtRest is how much a gateway pod may be sent where nothing changes.
const bytesAtRest = 20 // kB/s

// measure tells what the crowd costs while something changes and while nothing
// does.
func (c *crowd) measure(ctx context.Context, t *table, b budgets) error {
	list, err := c.processes(ctx, c.edge)
	if err != nil {
		return err
	}
	pause(ctx, c.period(calmTime))
	churning, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- c.churn(churning) }()
	busy, err := c.observe(ctx, list, c.period(churnTime))
	stop()
	if err := errors.Join(err, <-ended); err != nil {
		return err
	}
	pause(ctx, c.period(calmTime))
	rest, err := c.observe(ctx, list, c.period(restTime))
	if err != nil {
		return err
	}
	for i, p := range list {
		limit := b.control
		if i == len(list)-1 {
			limit = b.pod
		}
		limit.report(t, p.title, busy[i], rest[i])
	}
	pod := len(list) - 1
	t.judged("bytes to the gateway pod at rest, with health checks", fmt.Sprintf("at most %d kB/s", bytesAtRest),
		rest[pod].received <= bytesAtRest, "%.1f kB/s", rest[pod].received)
	t.found("bytes to the gateway pod while something changes", "%.1f kB/s", busy[pod].received)
	return nil
}

func (b budget) report(t *table, title string, busy, rest usage) {
	if b.memory > 0 {
		t.judged(title+": memory, at most", fmt.Sprintf("at most %.0f MiB", b.memory), busy.peak <= b.memory, "%.0f MiB", busy.peak)
	} else {
		t.found(title+": memory, at most", "%.0f MiB", busy.peak)
	}
	t.found(title+": memory at rest", "%.0f MiB", rest.resident)
	t.found(title+": CPU while something changes", "%.4f cores", busy.cores)
	if b.rest > 0 {
		t.judged(title+": CPU at rest", fmt.Sprintf("at most %.2f cores", b.rest), rest.cores <= b.rest, "%.4f cores", rest.cores)
	} else {
		t.found(title+": CPU at rest", "%.4f cores", rest.cores)
	}
	t.found(title+": allocations while something changes, at rest", "%.0f kB/s, %.0f kB/s", busy.allocated, rest.allocated)
	if b.series > 0 {
		t.judged(title+": metric series", fmt.Sprintf("under %d", b.series), rest.series < b.series, "%d", rest.series)
	}
}
