package upstream

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"fairway.dev/gateway/hop"
	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
	"fairway.dev/routing"
)

// A caller is a request or a stream to a waypoint, whatever it gets.
type caller struct {
	try
	conn  Conn
	heard int
	left  bool
}

func (x *caller) Connected(conn message.Client, reused bool) {
	x.heard++
	x.try.Connected(conn, reused)
}
func (x *caller) Opened(conn Conn)        { x.heard, x.conn = x.heard+1, conn }
func (x *caller) ConnectFailed(err error) { x.heard, x.err = x.heard+1, err }

// TestAnyOrderOfWaypoints lets a waypoint be what it likes with each connection,
// while requests and streams come, and leave, in any order. Each hears once, has
// what it asked for, and in the end nothing is left.
func TestAnyOrderOfWaypoints(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 1))
		s := newStage(t, 1)
		s.streams, s.hold = 1+rng.IntN(3), true
		c := s.waypoints(1)
		if rng.IntN(3) == 0 {
			s.set.Put(&routing.Cluster{Name: c.name, Limits: routing.Limits{Connections: 2}})
		}
		var callers []*caller
		held := 0
		for range 60 {
			switch rng.IntN(8) {
			case 0, 1, 2:
				callers = append(callers, s.call(c, rng))
			case 3, 4, 5:
				if held < len(s.dials) {
					s.answers(rng)
					s.dials[held].end()
					held++
				}
			case 6:
				if len(callers) > 0 {
					callers[rng.IntN(len(callers))].leave()
				}
			case 7:
				s.loops[0].Advance(time.Duration(rng.IntN(int(10 * time.Second))))
			}
			if rng.IntN(2) == 0 {
				s.settle()
			}
			wantServed(t, s, seed, callers)
		}
		s.settle()
		for s.answer[addr(1)] = loop.ErrRefused; held < len(s.dials); held++ {
			s.dials[held].end()
			s.settle()
		}
		s.run(10 * time.Second) // longer than anybody waits
		for i, x := range callers {
			if x.heard != 1 && !x.left {
				t.Errorf("seed %d, caller %d: heard %d times, want once", seed, i, x.heard)
			}
			x.leave()
		}
		s.hold = false // what others waited for is dialled now
		for range 10 {
			s.loops[0].Advance(defaultIdleTimeout)
		}
		ep := s.endpoint(c, 1)
		if c.pending.Load() != 0 || ep.places.taken.Load() != 0 || c.places.taken.Load() != 0 || len(ep.private[0]) != 0 || ep.places.starved.Load() != 0 {
			t.Fatalf("seed %d: %d wait, %d and %d connections are counted, %d pools are left, %d starve; want none", seed,
				c.pending.Load(), ep.places.taken.Load(), c.places.taken.Load(), len(ep.private[0]), ep.places.starved.Load())
		}
	}
}

// answers says what the next dials come to.
func (s *stage) answers(rng *rand.Rand) {
	s.native[addr(1)] = rng.IntN(2) == 0
	delete(s.answer, addr(1))
	switch rng.IntN(6) {
	case 0:
		s.answer[addr(1)] = &hop.Refusal{Status: 503, Reason: "no endpoint"}
	case 1:
		s.answer[addr(1)] = loop.ErrRefused
	}
}

func (s *stage) call(c *Cluster, rng *rand.Rand) *caller {
	x := &caller{}
	x.Authority = []string{cartAddress, stockAddress}[rng.IntN(2)]
	x.Source = []string{webIdentity, cartIdentity}[rng.IntN(2)]
	x.Inside = []routing.Upstream{routing.UpstreamHTTP1, routing.UpstreamHTTP2}[rng.IntN(2)]
	if rng.IntN(3) == 0 {
		x.Stream, x.Use = x, Streams
	} else {
		x.Waiter = x
	}
	c.Connect(s.loops[0], s.endpoint(c, 1), &x.Wait)
	return x
}

// leave ends what x has, or waits for.
func (x *caller) leave() {
	if x.left {
		return
	}
	x.left = true
	switch {
	case x.heard == 0:
		x.Cancel()
	case x.conn != nil:
		x.conn.Close()
		x.Release()
	case x.client != nil && !x.client.closed:
		x.client.end()
	}
}

// wantServed holds that who has a connection has one that is for what it wants.
func wantServed(t *testing.T, s *stage, seed uint64, callers []*caller) {
	t.Helper()
	for i, x := range callers {
		fail := func(what string) { t.Fatalf("seed %d, caller %d: %s", seed, i, what) }
		if x.heard > 1 || x.heard == 1 && x.pool != nil {
			fail(fmt.Sprintf("heard %d times, still waits: %v", x.heard, x.pool != nil))
		}
		conn := x.conn
		if x.client != nil {
			conn = x.client.conn
		}
		if conn == nil {
			continue
		}
		d := s.dials[slices.IndexFunc(s.dials, func(d *fakeDial) bool { return Conn(d.conn) == conn })]
		switch gateway := x.client != nil && x.client.ev.Gateway; {
		case d.hop == nil:
			fail("has a connection that is no tunnel")
		case x.Stream != nil && d.hop.Requests:
			fail("a stream has a connection that is for requests")
		case !gateway && (d.hop.Authority != x.Authority || d.hop.Source != x.Source):
			fail(fmt.Sprintf("wants %s for %s and has a tunnel to %s for %s", x.Authority, x.Source, d.hop.Authority, d.hop.Source))
		case !gateway && x.client != nil && (x.client.proto == message.HTTP2) != (x.Inside == routing.UpstreamHTTP2):
			fail(fmt.Sprintf("wants %s and has %s", x.Inside, x.client.proto))
		}
	}
}
