package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// A stand is what faults happen to.
type stand interface {
	// ready waits until all is well.
	ready(ctx context.Context) error

	// begin has requests sent until the function that it returns is called.
	begin(ctx context.Context) (end func() (*tally, error), err error)

	remove()
}

// A result is what a fault cost.
type result struct {
	what, healed string // as of the fault
	tally        *tally
	took         time.Duration // until it was healed
}

func (r *result) String() string {
	lost := fmt.Sprint(len(r.tally.Lost))
	var why []string
	for _, k := range slices.Sorted(maps.Keys(r.tally.Kinds)) {
		why = append(why, fmt.Sprintf("%s: %d", k, r.tally.Kinds[k]))
	}
	if len(why) > 0 {
		lost += " (" + strings.Join(why, ", ") + ")"
	}
	return fmt.Sprintf("| %s | %d | %s | %v | %v | %s |", r.what, r.tally.Sent, lost,
		r.tally.failedFor().Round(time.Millisecond), r.took.Round(time.Millisecond), r.healed)
}

// failedFor is how long passed from the first request that was lost to the last.
func (t *tally) failedFor() time.Duration {
	if len(t.Lost) == 0 {
		return 0
	}
	return slices.MaxFunc(t.Lost, time.Time.Compare).Sub(slices.MinFunc(t.Lost, time.Time.Compare))
}

// settle is how long the load goes on before a fault and after it.
const settle = 3 * time.Second

// try runs a fault under load.
func try[S stand](ctx context.Context, s S, f fault[S]) (*result, error) {
	if err := s.ready(ctx); err != nil {
		return nil, fmt.Errorf("before it began: %w", err)
	}
	end, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	pause(ctx, settle)
	took, broken := f.run(ctx, s)
	pause(ctx, settle)
	t, err := end()
	if err := errors.Join(broken, err); err != nil {
		return nil, err
	}
	if t.Sent == 0 {
		return nil, errors.New("no request was sent")
	}
	return &result{what: f.what, healed: f.healed, tally: t, took: took}, nil
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
