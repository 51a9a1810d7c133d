package loop

import (
	"testing"
	"time"
)

func TestLocalIsOneALoop(t *testing.T) {
	var counts Local[int]
	made := 0
	lists := Local[[]string]{New: func(*Loop) *[]string { made++; return &[]string{"made"} }}
	a, b := NewManual(time.Unix(0, 0)), NewManual(time.Unix(0, 0))
	*counts.Of(a)++
	*counts.Of(a)++
	*counts.Of(b)++
	if x, y := *counts.Of(a), *counts.Of(b); x != 2 || y != 1 {
		t.Errorf("counted %d and %d, want 2 and 1", x, y)
	}
	lists.Of(a)
	if l := *lists.Of(a); len(l) != 1 || l[0] != "made" || made != 1 {
		t.Errorf("list %v made %d times, want [made], once", l, made)
	}
}
