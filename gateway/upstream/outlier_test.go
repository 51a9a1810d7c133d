package upstream

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"fairway.dev/gateway/loop"
	"fairway.dev/routing"
)

// outlying puts a cluster with n endpoints and Istio's detection.
func (s *stage) outlying(o routing.OutlierDetection, n uint16) *Cluster {
	s.t.Helper()
	var ports []uint16
	for port := range n {
		ports = append(ports, port+1)
	}
	return s.cluster(routing.Cluster{Outliers: &o}, ports...)
}

// What counts, how often, and what ends a row (DestinationRule.outlierDetection).
func TestOutlierFailuresInARow(t *testing.T) {
	answers := func(statuses ...int) (list []Outcome) {
		for _, status := range statuses {
			list = append(list, Answered(status))
		}
		return list
	}
	four := slices.Repeat([]int{500}, 4)
	for _, tt := range []struct {
		name string
		o    routing.OutlierDetection
		seen []Outcome
		want bool
	}{
		{"consecutive5xxErrors is 5", routing.OutlierDetection{}, answers(500, 501, 503, 599, 500), true},
		{"fewer are not enough", routing.OutlierDetection{}, answers(four...), false},
		{"another status ends the row", routing.OutlierDetection{}, answers(append(four, 200, 500)...), false},
		{"so does a client's fault", routing.OutlierDetection{}, answers(append(four, 404, 500)...), false},
		{"an abandoned try says nothing", routing.OutlierDetection{}, append(append(answers(four...), Abandoned), answers(500)...), true},
		{"a number of one's own", routing.OutlierDetection{Consecutive5xx: 2}, answers(500, 500), true},
		{"off", routing.OutlierDetection{Consecutive5xx: -1}, answers(slices.Repeat([]int{503}, 50)...), false},
		{"consecutiveGatewayErrors is off", routing.OutlierDetection{Consecutive5xx: -1, ConsecutiveGateway: 0}, answers(502, 503, 504, 502, 503, 504), false},
		{"consecutiveGatewayErrors", routing.OutlierDetection{Consecutive5xx: -1, ConsecutiveGateway: 3}, answers(502, 503, 504), true},
		{"500 is none of them", routing.OutlierDetection{Consecutive5xx: -1, ConsecutiveGateway: 3}, answers(502, 503, 500, 504), false},
		{"gRPC: UNAVAILABLE is a 503", routing.OutlierDetection{ConsecutiveGateway: 2}, []Outcome{AnsweredCall(14), Answered(502)}, true},
		{"gRPC: INTERNAL is a 500", routing.OutlierDetection{}, slices.Repeat([]Outcome{AnsweredCall(13)}, 5), true},
		{"gRPC: NOT_FOUND is a client's fault", routing.OutlierDetection{Consecutive5xx: 1}, []Outcome{AnsweredCall(5)}, false},
		{"failures without an answer count as 5xx", routing.OutlierDetection{}, []Outcome{Reset, Timeout, Reset, Timeout, Reset}, true},
		{"and as gateway errors", routing.OutlierDetection{Consecutive5xx: -1, ConsecutiveGateway: 2}, []Outcome{Reset, Answered(504)}, true},
		{"split: not as 5xx", routing.OutlierDetection{Split: true, ConsecutiveLocal: -1}, slices.Repeat([]Outcome{Reset}, 9), false},
		{"split: consecutiveLocalOriginFailures is 5", routing.OutlierDetection{Split: true, Consecutive5xx: -1}, slices.Repeat([]Outcome{Reset}, 5), true},
		{"split: any answer ends a row of those", routing.OutlierDetection{Split: true, ConsecutiveLocal: 2}, append([]Outcome{Reset}, Answered(503), Reset), false},
		{"split: which does not end a row of 5xx", routing.OutlierDetection{Split: true, Consecutive5xx: 2}, append([]Outcome{Answered(500)}, Reset, Answered(500)), true},
		{"outlierDetectionHttpErrorCodes", routing.OutlierDetection{Consecutive5xx: 2, Codes: []int{429}}, answers(429, 429), true},
		{"and no others then", routing.OutlierDetection{Consecutive5xx: 2, Codes: []int{429}}, answers(500, 500, 500), false},
	} {
		s := newStage(t, 1)
		c := s.outlying(tt.o, 3)
		for _, o := range tt.seen {
			s.fail(s.endpoint(c, 1), 1, o)
		}
		if got := s.stat(1).Health == Ejected; got != tt.want {
			t.Errorf("%s: ejected = %v, want %v", tt.name, got, tt.want)
		}
	}
}

// baseEjectionTime times the number of ejections, and until the next interval.
func TestOutlierStaysOutForBaseTimesEjections(t *testing.T) {
	s := newStage(t, 1)
	c := s.outlying(routing.OutlierDetection{Consecutive5xx: 1}, 2)
	began := s.loops[0].Now()
	// out is how many seconds after the start it is out, and comes back.
	out := func() (from, until int) {
		t.Helper()
		from = int(s.loops[0].Now().Sub(began).Seconds())
		s.fail(s.endpoint(c, 1), 1, Answered(500))
		for s.stat(1).Health == Ejected {
			s.run(time.Second)
		}
		if got := s.stat(1).Health; got != Healthy {
			t.Fatalf("%s once it is back, want healthy: all of its share at once", got)
		}
		return from, int(s.loops[0].Now().Sub(began).Seconds())
	}
	s.run(3 * time.Second)
	var got []string
	for range 3 {
		from, until := out()
		got = append(got, fmt.Sprint(from, "-", until))
		s.run(time.Second)
	}
	// The interval is 10 s: 3+30 is looked at in the 40th second, 41+60 in the 110th.
	if want := []string{"3-40", "41-110", "111-210"}; !slices.Equal(got, want) {
		t.Errorf("out in seconds %v, want %v", got, want)
	}
	s.run(20 * time.Second) // two intervals in which it is healthy
	from, until := out()
	if until-from < 60 || until-from > 70 {
		t.Errorf("out for %d s after two healthy intervals, want 2 x 30 s and up to an interval", until-from)
	}
}

// Envoy's max_ejection_time is 300 s, or the base where that is longer.
func TestOutlierIsOutForFiveMinutesAtMost(t *testing.T) {
	for _, tt := range []struct{ base, want time.Duration }{
		{2 * time.Minute, 5 * time.Minute}, {time.Hour, time.Hour},
	} {
		d := newOutliers(&routing.OutlierDetection{Base: tt.base, Interval: time.Second})
		h := &health{}
		h.init()
		var now, last instant
		for range 10 {
			h.ejectOutlier(now, d)
			last, now = h.outUntil.Load()-now, h.outUntil.Load()
		}
		if last != instant(tt.want) {
			t.Errorf("base %v: out for %v in the end, want %v", tt.base, time.Duration(last), tt.want)
		}
	}
}

// maxEjectionPercent, of which (!) one may always be out, even if it is the
// only one there is.
func TestOutliersAreOutUpToMaxEjectionPercent(t *testing.T) {
	for _, tt := range []struct {
		endpoints uint16
		percent   int
		want      int
	}{
		{1, 10, 1}, {5, 10, 1}, {10, 10, 1}, {11, 10, 2}, {20, 10, 2}, {10, 50, 5}, {10, 100, 10}, {10, 0, 1},
	} {
		s := newStage(t, 1)
		c := s.outlying(routing.OutlierDetection{Consecutive5xx: 1, MaxPercent: tt.percent}, tt.endpoints)
		for port := range tt.endpoints {
			s.fail(s.endpoint(c, port+1), 1, Answered(500))
		}
		if len(s.ejected) != tt.want {
			t.Errorf("%d endpoints, %d %%: ejected %v, want %d", tt.endpoints, tt.percent, s.ejected, tt.want)
		}
	}
}

// With minHealthPercent 0 nobody is sent to once all are ejected: answer 503 (UH).
func TestAllOutliersAreNoEndpoint(t *testing.T) {
	s := newStage(t, 1)
	c := s.outlying(routing.OutlierDetection{Consecutive5xx: 1, MaxPercent: 100}, 2)
	s.fail(s.endpoint(c, 1), 1, Answered(500))
	if got := s.picks(c, 100, Want{Tried: []*Endpoint{s.endpoint(c, 2)}}); got[2] != 100 {
		t.Errorf("a retry goes to %v, want the one that is healthy though it was tried", got)
	}
	s.fail(s.endpoint(c, 2), 1, Answered(500))
	if _, err := c.Pick(s.loops[0], &Want{}); !errors.Is(err, ErrNoEndpoints) {
		t.Errorf("Pick with all ejected: %v, want ErrNoEndpoints", err)
	}
	s.run(40 * time.Second)
	if got := s.picks(c, 100, Want{}); len(got) != 2 {
		t.Errorf("%v picked once they are back, want both", got)
	}
}

// Fewer healthy ones than minHealthPercent end all ejections, as long as there
// are so few.
func TestMinHealthPercentEndsEjections(t *testing.T) {
	for _, kind := range kinds {
		s := newStage(t, 1)
		c := s.cluster(routing.Cluster{
			Balance:  routing.Balance{Kind: kind},
			Outliers: &routing.OutlierDetection{Consecutive5xx: 1, MaxPercent: 100, MinHealthPercent: 50},
		}, 1, 2, 3, 4)
		for _, tt := range []struct {
			out  uint16 // this one fails now
			want int    // so many are used
		}{{1, 3}, {2, 2}, {3, 4}} {
			s.fail(s.endpoint(c, tt.out), 1, Answered(500))
			if got := s.used(c); len(got) != tt.want {
				t.Errorf("%s, %d of 4 are out: %v used, want %d", kind, tt.out, got, tt.want)
			}
		}
		s.run(40 * time.Second)
		s.fail(s.endpoint(c, 1), 1, Answered(500))
		if got := s.used(c); len(got) != 3 {
			t.Errorf("%s, one is out later: %v used, want 3", kind, got)
		}
	}
}

// A refused connection is one failure: who wants another number asks for it.
func TestOutlierDetectionCountsRefusedConnections(t *testing.T) {
	s := newStage(t, 1)
	c := s.outlying(routing.OutlierDetection{Consecutive5xx: 2}, 3)
	s.answer[addr(1)] = fmt.Errorf("connect: %w", loop.ErrRefused)
	for i, want := range []Health{Healthy, Ejected} {
		s.connect(c, s.loops[0], s.endpoint(c, 1))
		s.settle()
		if got := s.stat(1).Health; got != want {
			t.Errorf("%s after %d refused connections, want %s", got, i+1, want)
		}
	}
	if want := []string{"1 outlier"}; !slices.Equal(s.ejected, want) {
		t.Errorf("counted %q, want %q", s.ejected, want)
	}
}

func TestOutlierDetectionTakesThePlaceOfEjection(t *testing.T) {
	s := newStage(t, 1)
	c := s.outlying(routing.OutlierDetection{}, 3)
	s.fail(s.endpoint(c, 1), 4, Answered(503))
	s.cluster(routing.Cluster{}, 1, 2, 3)
	s.fail(s.endpoint(c, 1), 1, Answered(404))
	s.fail(s.endpoint(c, 1), 4, Answered(503))
	if got := s.stat(1).Health; got != Healthy {
		t.Errorf("%s after 4 failures in a row, want healthy", got)
	}
	s.fail(s.endpoint(c, 1), 1, Answered(503))
	if got := s.stat(1).Health; got != Ejected {
		t.Errorf("%s after 5 failures in a row, want ejected", got)
	}
}

// Without outlier detection an application's own UNAVAILABLE is no failure.
func TestGRPCStatusesEjectNobodyByDefault(t *testing.T) {
	s := newStage(t, 1)
	c := s.cluster(routing.Cluster{}, 1, 2, 3)
	s.fail(s.endpoint(c, 1), 20, AnsweredCall(14))
	if got := s.stat(1).Health; got != Healthy {
		t.Errorf("%s, want healthy", got)
	}
}

func TestOutlierDetectionDoesNotAllocate(t *testing.T) {
	s := newStage(t, 1)
	c := s.cluster(routing.Cluster{Outliers: &routing.OutlierDetection{MinHealthPercent: 30}}, 1, 2, 3)
	run := s.exchange(c, &Want{})
	for range 100 {
		run()
	}
	if n := testing.AllocsPerRun(1000, run); n != 0 {
		t.Errorf("an exchange allocates %v times, want 0", n)
	}
}
