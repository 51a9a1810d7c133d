package upstream

import (
	"errors"
	"testing"
	"time"

	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
	"fairway.dev/routing"
)

// refusing is a Waiter that makes nothing of what it gets.
type refusing struct{}

func (refusing) Connected(message.Client, bool) {}
func (refusing) ConnectFailed(error)            {}

func TestRequestsLimit(t *testing.T) {
	for _, tt := range []struct {
		limit, want int
	}{
		{3, 3},
		{0, 16384},
		{-1, 20000}, // none: all that are begun
	} {
		s := newStage(t, 1)
		c := s.cluster(routing.Cluster{Limits: routing.Limits{Requests: tt.limit}}, 1)
		begun := 0
		for range 20000 {
			if c.Begin() {
				begun++
			}
		}
		if begun != tt.want || s.overflow[LimitRequests] != 20000-tt.want {
			t.Errorf("Requests %d: %d begun and %d counted over, want %d and %d",
				tt.limit, begun, s.overflow[LimitRequests], tt.want, 20000-tt.want)
		}
		if c.End(); !c.Begin() {
			t.Errorf("Requests %d: none begins after one has ended", tt.limit)
		}
	}
}

func TestPendingLimit(t *testing.T) {
	s := newStage(t, 2)
	c := s.cluster(routing.Cluster{Limits: routing.Limits{Pending: 2}}, 1)
	s.answer[addr(1)] = errHang
	a, _ := s.begin(c, s.loops[0])
	b, _ := s.begin(c, s.loops[1])
	x, _ := s.begin(c, s.loops[0])
	if !errors.Is(x.err, ErrOverflow) || a.heard+b.heard != 0 || s.overflow[LimitPending] != 1 {
		t.Errorf("third that waits, on two loops: %v, %d counted; want ErrOverflow at once, 1", x.err, s.overflow[LimitPending])
	}
	a.Cancel()
	if y, _ := s.begin(c, s.loops[0]); y.err != nil {
		t.Errorf("after one was cancelled: %v", y.err)
	}
}

func TestConnectionsLimitMakesWait(t *testing.T) {
	s := newStage(t, 1)
	c := s.cluster(routing.Cluster{Limits: routing.Limits{Connections: 2}, ConnectTimeout: time.Second}, 1)
	s.get(c, s.loops[0])
	s.get(c, s.loops[0])
	x, _ := s.begin(c, s.loops[0])
	s.run(900 * time.Millisecond)
	if x.heard != 0 || len(s.dials) != 2 || s.overflow[LimitConnections] != 1 {
		t.Errorf("third try: heard %d times, %d dials, %d counted; want 0, 2, 1", x.heard, len(s.dials), s.overflow[LimitConnections])
	}
	s.run(200 * time.Millisecond)
	if !errors.Is(x.err, ErrTimeout) || s.overflow[LimitWait] != 1 {
		t.Errorf("after the connect timeout: %v, %d counted; want ErrTimeout, 1", x.err, s.overflow[LimitWait])
	}
	if s.stat(1).Health != Healthy {
		t.Error("that our own limit bit counted against the endpoint")
	}
}

func TestFailedDialLeavesOthersWaiting(t *testing.T) {
	s := newStage(t, 1)
	c := s.cluster(routing.Cluster{Limits: routing.Limits{Connections: 2}}, 1)
	busy := s.get(c, s.loops[0])
	s.answer[addr(1)] = errHang
	a, _ := s.begin(c, s.loops[0])
	s.run(time.Second)
	b, _ := s.begin(c, s.loops[0]) // waits at the limit
	s.run(4500 * time.Millisecond)
	if !errors.Is(a.err, ErrTimeout) || b.heard != 0 {
		t.Fatalf("errors %v and %v: want the first only, the dial was its own", a.err, b.err)
	}
	busy.client.end()
	s.settle()
	if b.client != busy.client {
		t.Error("the second did not get the connection that was freed")
	}
}

func TestFailedDialFailsOnlyOneAtTheLimit(t *testing.T) {
	s := newStage(t, 1)
	c := s.cluster(routing.Cluster{Limits: routing.Limits{Connections: 2}}, 1)
	busy := s.get(c, s.loops[0])
	s.hold = true
	a, _ := s.begin(c, s.loops[0])
	b, _ := s.begin(c, s.loops[0]) // in the same moment, without a dial of its own
	s.answer[addr(1)] = loop.ErrRefused
	s.dials[1].end()
	if !errors.Is(a.err, loop.ErrRefused) || b.heard != 0 {
		t.Fatalf("errors %v and %v, want the first only", a.err, b.err)
	}
	busy.client.end()
	s.settle()
	if b.client != busy.client {
		t.Error("the second did not get the connection that was freed")
	}
}

func TestEachWaitsForItsOwnTime(t *testing.T) {
	s := newStage(t, 1)
	c := s.cluster(routing.Cluster{Limits: routing.Limits{Connections: 1}}, 1)
	s.get(c, s.loops[0])
	a, _ := s.begin(c, s.loops[0])
	s.run(2 * time.Second)
	b, _ := s.begin(c, s.loops[0])
	s.run(3100 * time.Millisecond)
	if !errors.Is(a.err, ErrTimeout) || b.heard != 0 {
		t.Errorf("after 5.1 s and 3.1 s: %v and %v, want ErrTimeout for the first", a.err, b.err)
	}
	s.run(2 * time.Second)
	if !errors.Is(b.err, ErrTimeout) {
		t.Errorf("after 5.1 s: %v, want ErrTimeout for the second too", b.err)
	}
}

func TestPlaceOfOneThatGaveUpIsNotLost(t *testing.T) {
	s := newStage(t, 2)
	c := s.cluster(routing.Cluster{Limits: routing.Limits{Connections: 1}}, 1)
	a := s.get(c, s.loops[0])
	b, _ := s.begin(c, s.loops[1])
	s.settle()
	a.client.end()
	s.loops[0].Settle() // the place is on its way to loop 1
	b.Cancel()
	s.settle()
	if n := s.stat(1).Connections; n != 0 {
		t.Errorf("%d connections, want 0: nobody wants one", n)
	}
	if x := s.get(c, s.loops[0]); x.client == nil {
		t.Error("the place is lost")
	}
}

func TestIdleConnectionGoesToALoopThatHasNone(t *testing.T) {
	s := newStage(t, 2)
	c := s.cluster(routing.Cluster{Limits: routing.Limits{Connections: 1}}, 1)
	a := s.get(c, s.loops[0])
	b, _ := s.begin(c, s.loops[1])
	s.settle()
	if b.heard != 0 || len(s.dials) != 1 {
		t.Fatal("two connections at a time, want 1")
	}
	a.client.end() // nobody waits on its own loop
	s.settle()
	if b.client == nil || b.client == a.client || !a.client.closed {
		t.Error("a loop that has no connection waits while another's is idle")
	}
	b.client.end()
	x := s.get(c, s.loops[0]) // the other's is idle already
	if x.client.conn.Loop() != s.loops[0] {
		t.Error("got another loop's connection")
	}
	if n := s.stat(1).Connections; n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}

func TestBusyLoopGivesAConnectionUpInTime(t *testing.T) {
	s := newStage(t, 2)
	c := s.cluster(routing.Cluster{Limits: routing.Limits{Connections: 1}}, 1)
	mine := s.get(c, s.loops[0])
	queued, _ := s.begin(c, s.loops[0])
	other, _ := s.begin(c, s.loops[1])
	s.settle()
	served := 0
	for ; other.heard == 0 && served < 1000; served++ {
		mine.client.end() // one always waits on the busy loop
		s.settle()
		if other.heard == 0 {
			mine = queued
			queued, _ = s.begin(c, s.loops[0])
		}
	}
	if served > keepWhileOthersStarve || other.client == nil {
		t.Errorf("the other loop waited for %d exchanges, want %d at most", served, keepWhileOthersStarve)
	}
	other.client.end()
	s.settle()
	if queued.client == nil {
		t.Error("the busy loop did not get a connection back")
	}
}

func TestStarvingEndsWithTheWait(t *testing.T) {
	s := newStage(t, 2)
	c := s.cluster(routing.Cluster{Limits: routing.Limits{Connections: 1}}, 1)
	a := s.get(c, s.loops[0])
	b, _ := s.begin(c, s.loops[1])
	s.settle()
	b.Cancel()
	a.client.end()
	s.settle()
	if a.client.closed {
		t.Error("a connection was given up for a loop where nobody waits any more")
	}
}

// connectionPool.http.maxRetries.
func TestRetriesLimit(t *testing.T) {
	s := newStage(t, 1)
	c := s.cluster(routing.Cluster{Limits: routing.Limits{Retries: 2}}, 1)
	if !c.LimitsRetries() || !c.BeginRetry() || !c.BeginRetry() || c.BeginRetry() {
		t.Error("want two retries under way, and not three")
	}
	if got := s.overflow[LimitRetries]; got != 1 {
		t.Errorf("%d counted, want 1", got)
	}
	if c.EndRetry(); !c.BeginRetry() {
		t.Error("none begins after one has ended")
	}
	if s.cluster(routing.Cluster{}, 1); c.LimitsRetries() {
		t.Error("a cluster without the limit says that it has one")
	}
}

// connectionPool.tcp.maxConnections is of the cluster, not of an endpoint.
func TestAllConnectionsLimit(t *testing.T) {
	s := newStage(t, 2)
	c := s.cluster(routing.Cluster{Limits: routing.Limits{AllConnections: 2, Pending: 1}}, 1, 2, 3)
	a := s.connect(c, s.loops[0], s.endpoint(c, 1))
	s.settle()
	b := s.connect(c, s.loops[1], s.endpoint(c, 2))
	s.settle()
	x := s.connect(c, s.loops[0], s.endpoint(c, 3))
	y := s.connect(c, s.loops[0], s.endpoint(c, 1))
	s.settle()
	if a.client == nil || b.client == nil || x.heard != 0 || len(s.dials) != 2 {
		t.Fatalf("%d connections, the third try heard %d times; want 2, 0", len(s.dials), x.heard)
	}
	if !errors.Is(y.err, ErrOverflow) || s.overflow[LimitPending] != 1 || s.overflow[LimitConnections] != 1 {
		t.Errorf("the fourth: %v, counted %v; want ErrOverflow: only one may wait", y.err, s.overflow)
	}
	b.client.end() // of another endpoint and loop
	s.settle()
	if x.client == nil || !b.client.closed {
		t.Error("an idle connection to another endpoint was not given up for one that waits")
	}
	if n := c.places.taken.Load(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
	a.client.end()
	x.client.end()
	s.run(2 * time.Minute)
	if n := c.places.taken.Load(); n != 0 {
		t.Errorf("%d connections after the idle timeout, want 0", n)
	}
}

// Both limits at once: who gets a place of one may have to wait for the other.
func TestAllConnectionsLimitAndThatOfEndpoints(t *testing.T) {
	s := newStage(t, 3)
	c := s.cluster(routing.Cluster{Limits: routing.Limits{AllConnections: 2, Connections: 1}}, 1, 2)
	tries := []*try{
		s.connect(c, s.loops[0], s.endpoint(c, 1)), s.connect(c, s.loops[1], s.endpoint(c, 2)),
		s.connect(c, s.loops[2], s.endpoint(c, 1)), s.connect(c, s.loops[2], s.endpoint(c, 2)),
		s.connect(c, s.loops[1], s.endpoint(c, 1)), s.connect(c, s.loops[0], s.endpoint(c, 2)),
	}
	for range tries { // each that has a connection is done, and the next has one
		s.settle()
		if n := c.places.taken.Load(); n > 2 {
			t.Fatalf("%d connections, want 2 at most", n)
		}
		for _, x := range tries {
			if x.client != nil && x.heard == 1 {
				x.heard++
				x.client.end()
				break
			}
		}
	}
	s.settle()
	for i, x := range tries {
		if x.client == nil {
			t.Errorf("try %d has no connection: %v", i, x.err)
		}
	}
}
