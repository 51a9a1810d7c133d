package telemetry

import (
	"testing"
	"time"

	"fairway.dev/gateway/loop"
)

func TestLagIsHowLateATimerComes(t *testing.T) {
	l := loop.NewManual(time.Unix(1e9, 0))
	behind := time.Duration(0) // of the loop's clock
	m := New(Options{Now: func() time.Time { return l.Now().Add(behind) }})
	m.Watch(l)
	l.Advance(3 * time.Second) // three measurements, on time
	behind = 50 * time.Millisecond
	l.Advance(2 * time.Second)
	tests := []struct{ name, label, want string }{
		{"fairway_loop_lag_seconds_bucket", `le="0.001"`, "3"},
		{"fairway_loop_lag_seconds_bucket", `le="0.01"`, "3"},
		{"fairway_loop_lag_seconds_bucket", `le="0.1"`, "5"},
		{"fairway_loop_lag_seconds_count", "", "5"},
		{"fairway_loop_lag_seconds_sum", "", "0.1"},
		{"fairway_loop_rounds_total", "", "0"}, // a manual loop has none
	}
	for _, tt := range tests {
		if got := value(t, m, tt.name, tt.label); got != tt.want {
			t.Errorf("%s{%s} = %s, want %s", tt.name, tt.label, got, tt.want)
		}
	}
}
