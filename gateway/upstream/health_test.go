package upstream

import (
	"errors"
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"fairway.dev/gateway/loop"
	"fairway.dev/routing"
)

// fail makes n tries to ep end with an outcome.
func (s *stage) fail(ep *Endpoint, n int, o Outcome) {
	for range n {
		ep.inFlight.Add(1)
		ep.Done(s.loops[0], o)
	}
}

// refuse lets the endpoint with that port refuse, and lets a try find out.
func (s *stage) refuse(c *Cluster, port uint16) {
	s.t.Helper()
	s.answer[addr(port)] = fmt.Errorf("connect: %w", loop.ErrRefused)
	x := s.connect(c, s.loops[0], s.endpoint(c, port))
	s.settle()
	if !errors.Is(x.err, loop.ErrRefused) {
		s.t.Fatalf("connect: %v, want refused", x.err)
	}
}

func TestRefusedConnectionEjectsAtOnce(t *testing.T) {
	for _, errno := range []error{loop.ErrRefused, syscall.EHOSTUNREACH, syscall.ENETUNREACH} {
		s := newStage(t, 1)
		c := s.cluster(routing.Cluster{}, 1, 2, 3)
		s.answer[addr(1)] = fmt.Errorf("connect: %w", errno)
		s.connect(c, s.loops[0], s.endpoint(c, 1))
		s.settle()
		if got := s.picks(c, 1000, Want{}); got[1] != 0 {
			t.Errorf("%v: %d of 1000 picks went there, want 0", errno, got[1])
		}
		if got := s.stat(1); got.Health != Refusing || got.Ejections != 1 {
			t.Errorf("%v: %+v, want refusing, 1 ejection", errno, got)
		}
		if want := []string{"1 refused"}; !slices.Equal(s.ejected, want) {
			t.Errorf("%v: counted %q, want %q", errno, s.ejected, want)
		}
	}
}

func TestHealthIsSharedByLoops(t *testing.T) {
	s := newStage(t, 2)
	c := s.cluster(routing.Cluster{}, 1, 2)
	s.refuse(c, 1) // found out on loop 0
	for range 100 {
		if ep, _ := c.Pick(s.loops[1], &Want{}); ep.Addr() == addr(1) {
			t.Fatal("loop 1 picked what refused on loop 0")
		}
	}
}

func TestRefusingEndpointIsProbed(t *testing.T) {
	s := newStage(t, 3)
	c := s.cluster(routing.Cluster{TLS: &routing.UpstreamTLS{Insecure: true}}, 1, 2)
	s.refuse(c, 1)
	began := s.loops[0].Now()
	for _, l := range s.loops { // all loops find out
		s.connect(c, l, s.endpoint(c, 1))
	}
	s.settle()
	s.dials = nil
	s.run(2100 * time.Millisecond)
	var at []time.Duration
	for _, d := range s.dials {
		at = append(at, d.at.Sub(began))
		if d.config != nil {
			t.Error("probed with TLS, want a TCP connection only")
		}
	}
	const ms = time.Millisecond
	if want := []time.Duration{1000 * ms, 1250 * ms, 1500 * ms, 1750 * ms, 2000 * ms}; !slices.Equal(at, want) {
		t.Errorf("probed after %v, want %v, from one loop", at, want)
	}
	delete(s.answer, addr(1))
	s.run(200 * time.Millisecond)
	if got := s.stat(1); got.Health != Returning || got.Connections != 0 {
		t.Errorf("after a probe that connected: %+v, want returning, without a connection", got)
	}
	if probe := s.dials[len(s.dials)-1]; !probe.conn.Closed() {
		t.Error("the probe's connection is open")
	}
	s.dials = nil
	s.run(time.Second)
	if got := s.stat(1).Health; got != Healthy {
		t.Errorf("1 s later: %s, want healthy", got)
	}
	s.run(10 * time.Second)
	if len(s.dials) != 0 {
		t.Errorf("probed %d times after it came back, want 0", len(s.dials))
	}
}

func TestRequestThatConnectsBringsBack(t *testing.T) {
	s := newStage(t, 1)
	c := s.cluster(routing.Cluster{}, 1)
	s.refuse(c, 1)
	delete(s.answer, addr(1))
	s.get(c, s.loops[0]) // the only endpoint: tries go on
	if got := s.stat(1).Health; got != Returning {
		t.Errorf("%s after a connection succeeded, want returning", got)
	}
	s.dials = nil
	s.run(5 * time.Second)
	if len(s.dials) != 0 {
		t.Errorf("probed %d times though it is back, want 0", len(s.dials))
	}
}

func TestEndpointThatRefusesAgainHasOneProber(t *testing.T) {
	s := newStage(t, 1)
	c := s.cluster(routing.Cluster{}, 1)
	s.refuse(c, 1)
	delete(s.answer, addr(1))
	x := s.get(c, s.loops[0])
	x.client.die(nil)
	s.refuse(c, 1)
	s.dials = nil
	s.run(1100 * time.Millisecond)
	if len(s.dials) != 1 {
		t.Errorf("%d probes in the first 1.1 s, want 1", len(s.dials))
	}
}

func TestRemovedEndpointIsNotProbed(t *testing.T) {
	s := newStage(t, 1)
	c := s.cluster(routing.Cluster{}, 1, 2)
	s.refuse(c, 1)
	s.endpoints(2)
	s.dials = nil
	s.run(3 * time.Second)
	if len(s.dials) != 0 {
		t.Errorf("%d probes of an address that left, want 0", len(s.dials))
	}
}

func TestReturnIsSlow(t *testing.T) {
	for _, tt := range []struct {
		refused    bool // or failed
		out, takes time.Duration
	}{
		{true, time.Second, time.Second},
		{true, time.Minute, time.Second}, // a probe has shown that it is back
		{false, time.Second, time.Second},
		{false, 4 * time.Second, 4 * time.Second},
		{false, time.Minute, 10 * time.Second},
	} {
		s := newStage(t, 1)
		c := s.cluster(routing.Cluster{Ejection: routing.Ejection{Base: tt.out}}, 1, 2)
		ep := s.endpoint(c, 1)
		if tt.refused {
			s.refuse(c, 1)
			s.run(tt.out - 10*time.Millisecond)
			delete(s.answer, addr(1))
			s.run(10 * time.Millisecond) // the probe
		} else {
			s.fail(ep, 5, Failed)
			s.run(tt.out)
		}
		shareAfter := func(d time.Duration) int64 {
			return ep.health.share(s.set.instant(s.loops[0].Now().Add(d)))
		}
		if got := shareAfter(0); got != leastShare {
			t.Errorf("%+v: share of %d at first, want %d", tt, got, leastShare)
		}
		if got := shareAfter(tt.takes / 2); got < 450 || got > 550 {
			t.Errorf("%+v: share of %d after half of it, want about half", tt, got)
		}
		if got := shareAfter(tt.takes * 101 / 100); got != wholeShare {
			t.Errorf("%+v: share of %d after it, want %d", tt, got, wholeShare)
		}
	}
}

func TestReturningEndpointIsPickedByItsShare(t *testing.T) {
	for _, kind := range []routing.BalanceKind{routing.LeastRequest, routing.Random, routing.RoundRobin} {
		s := newStage(t, 1)
		c := s.cluster(routing.Cluster{Balance: routing.Balance{Kind: kind}}, 1, 2)
		s.refuse(c, 1)
		delete(s.answer, addr(1))
		s.run(time.Second)
		// At a tenth against one whole: 1 of 11.
		if got := s.picks(c, 11000, Want{})[1]; got < 800 || got > 1200 {
			t.Errorf("%s: %d of 11000 picks at a tenth of its share, want about 1000", kind, got)
		}
	}
}

func TestFailuresInARowEject(t *testing.T) {
	for _, tt := range []struct {
		o      Outcome
		n      int
		ejects bool
	}{
		{Failed, 4, false},
		{Failed, 5, true},
		{Reset, 5, true},
		{Timeout, 5, true},
		{Success, 50, false},
		{NoConnection, 50, false},
		{Abandoned, 50, false},
	} {
		s := newStage(t, 1)
		c := s.cluster(routing.Cluster{}, 1, 2)
		s.fail(s.endpoint(c, 1), tt.n, tt.o)
		if got := s.stat(1).Health == Ejected; got != tt.ejects {
			t.Errorf("outcome %d, %d times: ejected = %v, want %v", tt.o, tt.n, got, tt.ejects)
		}
	}
}

func TestSuccessEndsARowOfFailures(t *testing.T) {
	s := newStage(t, 1)
	c := s.cluster(routing.Cluster{}, 1, 2)
	for range 10 {
		s.fail(s.endpoint(c, 1), 4, Failed)
		s.fail(s.endpoint(c, 1), 1, Success)
	}
	if got := s.stat(1).Health; got != Healthy {
		t.Errorf("%s after failures that were not in a row, want healthy", got)
	}
}

func TestConnectFailuresCount(t *testing.T) {
	for _, tt := range []struct {
		err     error
		ejected int
	}{
		{errHang, 1},
		{errors.New("TLS handshake: certificate is expired"), 1},
		{fmt.Errorf("open a socket: %w", syscall.EMFILE), 0},             // ours
		{syscall.EADDRNOTAVAIL, 0},                                       // ours
		{fmt.Errorf("TLS handshake: shop/tls: %w", errNoCertificate), 0}, // ours
	} {
		s := newStage(t, 1)
		c := s.cluster(routing.Cluster{}, 1, 2)
		s.answer[addr(1)] = tt.err
		for range 5 {
			s.connect(c, s.loops[0], s.endpoint(c, 1))
		}
		s.run(5 * time.Second)
		if got := len(s.ejected); got != tt.ejected {
			t.Errorf("5 times %q: %d ejections, want %d", tt.err, got, tt.ejected)
		}
	}
}

func TestTriesOnOneConnectionEachCount(t *testing.T) {
	s := newStage(t, 1)
	c := s.cluster(routing.Cluster{Protocol: routing.UpstreamHTTP2}, 1, 2)
	s.answer[addr(1)] = errHang
	var tries []*try
	for range 5 { // one dial after the other, while all tries wait 5 s
		tries = append(tries, s.connect(c, s.loops[0], s.endpoint(c, 1)))
		s.run(100 * time.Millisecond)
	}
	s.run(5 * time.Second)
	for i, x := range tries {
		if !errors.Is(x.err, ErrTimeout) {
			t.Errorf("try %d: %v, want ErrTimeout", i, x.err)
		}
	}
	if len(s.ejected) != 1 {
		t.Errorf("%d ejections after 5 tries had no connection, of %d dials; want 1", len(s.ejected), len(s.dials))
	}
	if s.overflow[LimitWait] != 0 {
		t.Error("counted as a limit of ours")
	}
}

func TestEjectionsGrowAndEndThemselves(t *testing.T) {
	s := newStage(t, 1)
	c := s.cluster(routing.Cluster{}, 1, 2)
	for _, want := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
		s.fail(s.endpoint(c, 1), 5, Failed)
		s.run(want*time.Second - time.Millisecond)
		if got := s.stat(1).Health; got != Ejected {
			t.Errorf("%s just before %v s, want ejected", got, int(want))
		}
		if got := s.picks(c, 100, Want{})[1]; got != 0 {
			t.Errorf("%d picks of it while it is out", got)
		}
		s.run(2 * time.Millisecond)
		if got := s.stat(1).Health; got != Returning {
			t.Errorf("%s after %v s, want returning", got, int(want))
		}
	}
	s.run(forgetAfter)
	s.fail(s.endpoint(c, 1), 5, Failed)
	s.run(time.Second)
	if got := s.stat(1).Health; got != Returning {
		t.Errorf("after a good minute: %s 1 s after the next ejection, want returning", got)
	}
	if got := s.stat(1).Ejections; got != 9 {
		t.Errorf("%d ejections, want 9", got)
	}
}

func TestNotAllAreEjectedForFailures(t *testing.T) {
	for _, tt := range []struct {
		percent, endpoints, want int
	}{
		{0, 1, 0}, // the only one never
		{0, 2, 1},
		{0, 3, 1},
		{0, 4, 2},
		{0, 10, 5},
		{10, 5, 1}, // one may always be
		{100, 4, 4},
	} {
		s := newStage(t, 1)
		var ports []uint16
		for i := range tt.endpoints {
			ports = append(ports, uint16(i+1))
		}
		c := s.cluster(routing.Cluster{Ejection: routing.Ejection{MaxPercent: tt.percent}}, ports...)
		for _, port := range ports {
			s.fail(s.endpoint(c, port), 5, Failed)
		}
		if len(s.ejected) != tt.want {
			t.Errorf("MaxPercent %d: %d of %d ejected, want %d", tt.percent, len(s.ejected), tt.endpoints, tt.want)
		}
	}
}

func TestEjectionSettings(t *testing.T) {
	s := newStage(t, 1)
	c := s.cluster(routing.Cluster{Ejection: routing.Ejection{Off: true}}, 1, 2)
	s.fail(s.endpoint(c, 1), 50, Failed)
	if got := s.stat(1).Health; got != Healthy {
		t.Errorf("Off: %s, want healthy", got)
	}
	c = s.cluster(routing.Cluster{Ejection: routing.Ejection{Consecutive: 2, Base: time.Hour}}, 1, 2)
	s.fail(s.endpoint(c, 2), 2, Failed)
	s.run(59 * time.Minute)
	if got := s.stat(2).Health; got != Ejected {
		t.Errorf("Consecutive 2, Base 1h: %s 59 minutes after 2 failures, want ejected", got)
	}
	c = s.cluster(routing.Cluster{Ejection: routing.Ejection{Off: true}}, 1, 2)
	s.refuse(c, 1)
	if got := s.stat(1).Health; got != Refusing {
		t.Errorf("Off: %s after it refused, want refusing", got)
	}
}

func TestHealthIsIgnoredWhereAllAreOut(t *testing.T) {
	s := newStage(t, 1)
	c := s.cluster(routing.Cluster{}, 1, 2, 3)
	for _, port := range []uint16{1, 2, 3} {
		s.refuse(c, port)
	}
	got := s.picks(c, 3000, Want{})
	for _, port := range []uint16{1, 2, 3} {
		if got[port] < 800 {
			t.Errorf("picks %v of endpoints that all refuse: want each", got)
		}
	}
	if got := s.picks(c, 100, Want{Tried: []*Endpoint{s.endpoint(c, 1)}}); got[1] != 0 {
		t.Error("one that was tried before was picked though others were not")
	}
	all := Want{Tried: []*Endpoint{s.endpoint(c, 1), s.endpoint(c, 2), s.endpoint(c, 3)}}
	if _, err := c.Pick(s.loops[0], &all); err != nil {
		t.Errorf("all are out and tried: %v, want any", err)
	}
}

func TestSlowStartOfNewEndpoints(t *testing.T) {
	s := newStage(t, 1)
	c := s.cluster(routing.Cluster{SlowStart: 10 * time.Second}, 1, 2)
	if got := s.stat(1).Health; got != Healthy {
		t.Errorf("the first endpoints of a cluster are %s, want healthy: nobody is there to relieve them", got)
	}
	s.endpoints(1, 2, 3)
	s.run(time.Minute) // without a request
	if got := s.picks(c, 21000, Want{})[3]; got < 700 || got > 1300 {
		t.Errorf("a new endpoint got %d of 21000 picks, want about 1000", got)
	}
	s.run(5 * time.Second)
	if got := s.picks(c, 25000, Want{})[3]; got < 4000 || got > 6000 {
		t.Errorf("after half its slow start it got %d of 25000 picks, want about 5000", got)
	}
	s.run(5 * time.Second)
	if got := s.stat(3).Health; got != Healthy {
		t.Errorf("%s after its slow start, want healthy", got)
	}
}

func TestSlowStartNeedsToBeAsked(t *testing.T) {
	s := newStage(t, 1)
	s.cluster(routing.Cluster{}, 1, 2)
	s.endpoints(1, 2, 3)
	if got := s.stat(3).Health; got != Healthy {
		t.Errorf("a new endpoint is %s, want healthy", got)
	}
}

func TestHealthSurvivesEdits(t *testing.T) {
	s := newStage(t, 1)
	c := s.cluster(routing.Cluster{}, 1, 2, 3, 4)
	s.refuse(c, 1)
	s.fail(s.endpoint(c, 2), 5, Failed)
	s.cluster(routing.Cluster{ConnectTimeout: time.Second, Balance: routing.Balance{Kind: routing.RoundRobin}}, 3, 2, 1, 4)
	if a, b := s.stat(1).Health, s.stat(2).Health; a != Refusing || b != Ejected {
		t.Errorf("after an edit: %s and %s, want refusing and ejected", a, b)
	}
	s.endpoints(2, 3)
	s.endpoints(1, 2, 3)
	if got := s.stat(1).Health; got != Healthy {
		t.Errorf("an address that left and came back is %s, want healthy: it is another pod's", got)
	}
}

// What takes no connections cannot be probed.
func TestUnreachableEndpointOfDatagramsComesBackByItself(t *testing.T) {
	s := newStage(t, 1)
	c := s.cluster(routing.Cluster{Ejection: routing.Ejection{Off: true}}, 1, 2)
	ep := s.endpoint(c, 1)
	s.fail(ep, 2, Unreachable) // two sessions find out
	if got := s.stat(1); got.Health != Ejected || got.Ejections != 1 {
		t.Errorf("%+v, want ejected once", got)
	}
	if got := s.picks(c, 100, Want{}); got[1] != 0 {
		t.Errorf("%d of 100 picks went there, want 0", got[1])
	}
	s.run(time.Second)
	if got := s.stat(1); got.Health != Returning || len(s.dials) > 0 {
		t.Errorf("after a second %s, %d connections; want %s, 0", got.Health, len(s.dials), Returning)
	}
	s.fail(ep, 1, Unreachable)
	s.run(time.Second)
	if got := s.stat(1); got.Health != Ejected || !slices.Equal(s.ejected, []string{"1 refused", "1 refused"}) {
		t.Errorf("the second time %s after a second, counted %q; want %s, twice refused", got.Health, s.ejected, Ejected)
	}
	s.endpoints(2)
	s.fail(ep, 1, Unreachable)
	if !ep.Gone() || len(s.ejected) != 2 {
		t.Errorf("removed: gone %v, counted %q, want true and nothing more", ep.Gone(), s.ejected)
	}
}
