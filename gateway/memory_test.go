package main

import "testing"

func TestGarbageIsBoundedWhereMuchLives(t *testing.T) {
	const mib = 1 << 20
	tests := []struct {
		live uint64
		want int
	}{
		{0, 200}, {1 * mib, 200}, {12 * mib, 200}, {24 * mib, 100}, {48 * mib, 50}, {80 * mib, 30}, {1000 * mib, 30},
	}
	for _, tt := range tests {
		if got := gcPercentFor(tt.live); got != tt.want {
			t.Errorf("%d MiB live: %d %%, want %d %%", tt.live/mib, got, tt.want)
		}
	}
}
