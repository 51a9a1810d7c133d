package loop

import (
	"testing"
	"time"
)

func TestTimersFireInOrderAndOnTime(t *testing.T) {
	l := NewManual(time.Unix(0, 0))
	var fired []int
	timers := make([]Timer, 5)
	for i := range timers {
		timers[i].Fire = func() { fired = append(fired, i) }
		l.Arm(&timers[i], time.Duration(5-i)*time.Second)
	}
	l.Disarm(&timers[2])                // would fire at 3 s
	l.Arm(&timers[4], 10*time.Second)   // from 1 s to 10 s
	l.Arm(&timers[0], time.Millisecond) // from 5 s to 1 ms
	l.Drop(&timers[3])                  // would fire at 2 s
	l.Advance(20 * time.Second)
	if len(fired) != 3 || fired[0] != 0 || fired[1] != 1 || fired[2] != 4 {
		t.Errorf("fired %v, want [0 1 4]", fired)
	}
}
