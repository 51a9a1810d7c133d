package loop

import (
	"testing"
	"time"
)

func TestLocalIsOneALoop(t *testing.T) {
	var counts, others Local[int]
	a, b := NewManual(time.Unix(0, 0)), NewManual(time.Unix(0, 0))
	*counts.Of(a)++
	*counts.Of(a)++
	*counts.Of(b)++
	if x, y, z := *counts.Of(a), *counts.Of(b), *others.Of(a); x != 2 || y != 1 || z != 0 {
		t.Errorf("counted %d, %d and %d, want 2, 1 and 0", x, y, z)
	}
}
