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
	// create makes all of it.
	create func(ctx context.Context) error
	// editOne and moveOne change a route and a backend; edit counts.
	editOne func(ctx context.Context, edit int) error
	moveOne func(ctx context.Context, edit int) error
	// budgets are of control and of the gateway pod.
	control, pod budget
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
	memory float64 // MiB, at any time: the working set
	rest   float64 // cores, where nothing changes
	series int
}

// bytesAtRest is how much a gateway pod may be sent where nothing changes.
const bytesAtRest = 20 // kB/s

// phases are what a process has used while the crowd was made, while something
// changed, and while nothing did.
type phases struct{ made, busy, rest usage }

// measure makes the crowd, and tells what it costs.
func (c *crowd) measure(ctx context.Context, t *table) error {
	list, err := c.processes(ctx, c.edge)
	if err != nil {
		return err
	}
	empty, err := c.observe(ctx, list, 0)
	if err != nil {
		return err
	}
	made, err := c.observeWhile(ctx, list, c.create)
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
		limit := c.control
		if i == len(list)-1 {
			limit = c.pod
		}
		limit.report(t, p.title, empty[i], phases{made[i], busy[i], rest[i]})
	}
	pod := len(list) - 1
	t.judged("bytes to the gateway pod at rest, with health checks", fmt.Sprintf("at most %d kB/s", bytesAtRest),
		rest[pod].received <= bytesAtRest, "%.1f kB/s", rest[pod].received)
	t.found("bytes to the gateway pod while all is made, while something changes", "%.1f kB/s, %.1f kB/s", made[pod].received, busy[pod].received)
	return nil
}

func (b budget) report(t *table, title string, empty usage, p phases) {
	peak := max(p.made.peak, p.busy.peak, p.rest.peak)
	if b.memory > 0 {
		t.judged(title+": memory at any time", fmt.Sprintf("at most %.0f MiB", b.memory), peak <= b.memory, "%.0f MiB", peak)
	} else {
		t.found(title+": memory at any time", "%.0f MiB", peak)
	}
	t.found(title+": memory before, at rest", "%.0f MiB, %.0f MiB", empty.memory, p.rest.memory)
	t.found(title+": resident before, at rest, with the program's own pages", "%.0f MiB, %.0f MiB", empty.resident, p.rest.resident)
	if b.rest > 0 {
		t.judged(title+": CPU at rest", fmt.Sprintf("at most %.2f cores", b.rest), p.rest.cores <= b.rest, "%.4f cores", p.rest.cores)
	} else {
		t.found(title+": CPU at rest", "%.4f cores", p.rest.cores)
	}
	t.found(title+": CPU while all is made, while something changes", "%.4f cores, %.4f cores", p.made.cores, p.busy.cores)
	t.found(title+": allocations while something changes, at rest", "%.0f kB/s, %.0f kB/s", p.busy.allocated, p.rest.allocated)
	if b.series > 0 {
		t.judged(title+": metric series", fmt.Sprintf("under %d", b.series), p.rest.series < b.series, "%d", p.rest.series)
	}
}
