package upstream

import (
	"math/rand/v2"
	"testing"
	"time"

	"fairway.dev/gateway/loop"
	"fairway.dev/routing"
)

// spend asks for n retries on l and returns how many are let through.
func spend(t *testing.T, c *Cluster, l *loop.Loop, n int) (through int) {
	t.Helper()
	for range n {
		ok, budgeted := c.SpendRetry(l)
		if !budgeted {
			t.Fatal("the cluster has no budget")
		}
		if ok {
			through++
		}
	}
	return through
}

// GEP-3388: of 1000 requests in the interval a budget of 20 % lets 200 be
// retries.
func TestRetryBudget(t *testing.T) {
	tests := []struct {
		name     string
		budget   routing.RetryBudget
		requests int
		want     int // of 1000 retries
	}{
		{"a fifth", routing.RetryBudget{Percent: 20, Interval: 10 * time.Second}, 800, 200},
		{"none", routing.RetryBudget{Percent: 0, Interval: 10 * time.Second}, 800, 0},
		{"all", routing.RetryBudget{Percent: 100, Interval: 10 * time.Second}, 1, 1000},
		{"the least", routing.RetryBudget{Percent: 0, Interval: 10 * time.Second, Least: 10, LeastInterval: time.Second}, 800, 10},
		{"the least where the share is less", routing.RetryBudget{Percent: 20, Interval: 10 * time.Second, Least: 10, LeastInterval: time.Second}, 4, 10},
		{"the share where the least is less", routing.RetryBudget{Percent: 20, Interval: 10 * time.Second, Least: 10, LeastInterval: time.Second}, 800, 200},
	}
	for _, tt := range tests {
		s := newStage(t, 2)
		c := s.cluster(routing.Cluster{Retries: &tt.budget}, 1)
		for range tt.requests {
			c.CountRequest(s.loops[0]) // for all loops
		}
		if got := spend(t, c, s.loops[1], 1000); got != tt.want {
			t.Errorf("%s: %d retries, want %d", tt.name, got, tt.want)
		}
	}
}

func TestRetryBudgetForgets(t *testing.T) {
	s := newStage(t, 1)
	c := s.cluster(routing.Cluster{Retries: &routing.RetryBudget{
		Percent: 50, Interval: 10 * time.Second, Least: 2, LeastInterval: time.Second,
	}}, 1)
	for range 10 {
		c.CountRequest(s.loops[0])
	}
	steps := []struct {
		after time.Duration
		want  int
	}{
		{0, 10},
		{500 * time.Millisecond, 0}, // ten in this second are enough
		{time.Second, 2},            // half of twenty are retries, but the least of this second is let through
		{9 * time.Second, 2},        // the requests are forgotten, and most retries
		{time.Hour, 2},
	}
	for i, step := range steps {
		s.run(step.after)
		if got := spend(t, c, s.loops[0], 50); got != step.want {
			t.Errorf("step %d: %d retries, want %d", i, got, step.want)
		}
	}
}

// What was counted is kept by an edit of anything else.
func TestRetryBudgetOutlivesEdits(t *testing.T) {
	s := newStage(t, 1)
	put := func(percent int, limits routing.Limits) *Cluster {
		return s.cluster(routing.Cluster{Limits: limits, Retries: &routing.RetryBudget{
			Percent: percent, Interval: 10 * time.Second, Least: 1, LeastInterval: time.Second,
		}}, 1)
	}
	if got := spend(t, put(10, routing.Limits{}), s.loops[0], 5); got != 1 {
		t.Errorf("at first %d retries, want 1", got)
	}
	if got := spend(t, put(10, routing.Limits{Pending: 1}), s.loops[0], 5); got != 0 {
		t.Errorf("after an edit of limits %d retries, want 0", got)
	}
	if got := spend(t, put(11, routing.Limits{}), s.loops[0], 5); got != 1 {
		t.Errorf("after an edit of the budget %d retries, want 1: it begins anew", got)
	}
	c := s.cluster(routing.Cluster{}, 1)
	if _, budgeted := c.SpendRetry(s.loops[0]); budgeted {
		t.Error("without a budget there is one")
	}
	c.CountRequest(s.loops[0]) // which nobody wants to know
}

// TestWindow compares a window with a list of all that happened.
func TestWindow(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		interval := time.Duration(1+rng.IntN(1000)) * time.Millisecond
		w := window{width: slotWidth(interval)}
		var all []instant
		now := instant(rng.IntN(int(time.Hour)))
		for range 300 {
			now += instant(rng.IntN(int(interval) / 20))
			w.add(now)
			all = append(all, now)
			least, most := 0, 0
			for _, at := range all {
				if now-at < 9*w.width {
					least++ // of the last tenth a part may be gone
				}
				if now-at < 10*w.width {
					most++
				}
			}
			if got := w.sum(now); got < least || got > most {
				t.Fatalf("interval %s: %d, want %d to %d", interval, got, least, most)
			}
		}
	}
}

func TestRetryBudgetDoesNotAllocate(t *testing.T) {
	s := newStage(t, 1)
	c := s.cluster(routing.Cluster{Retries: &routing.RetryBudget{Percent: 20, Interval: time.Second}}, 1)
	n := testing.AllocsPerRun(100, func() {
		c.CountRequest(s.loops[0])
		c.SpendRetry(s.loops[0])
	})
	if n != 0 {
		t.Errorf("a request and a retry allocate %v times, want 0", n)
	}
}

func BenchmarkCountRequest(b *testing.B) {
	s := newStage(b, 1)
	c := s.cluster(routing.Cluster{Retries: &routing.RetryBudget{Percent: 20, Interval: 10 * time.Second}}, 1)
	b.ReportAllocs()
	for b.Loop() {
		c.CountRequest(s.loops[0])
	}
}
