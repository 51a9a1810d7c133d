package upstream

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"fairway.dev/gateway/message"
	"fairway.dev/routing"
)

// ender is a Waiter whose exchange ends at once.
type ender struct{ client *fakeClient }

func (e *ender) Connected(conn message.Client, _ bool) {
	e.client = conn.(*fakeClient)
	conn.Open(nil, true, nil)
}

func (e *ender) ConnectFailed(err error) { panic(err) }

// exchange returns a whole exchange, but for the codec.
func (s *stage) exchange(c *Cluster, want *Want) func() {
	e := &ender{}
	w := &Wait{Waiter: e}
	l := s.loops[0]
	return func() {
		if !c.Begin() {
			panic("overflow")
		}
		ep, err := c.Pick(l, want)
		if err != nil {
			panic(err)
		}
		c.Connect(l, ep, w)
		if e.client == nil {
			l.Settle()
		}
		e.client.end()
		e.client = nil
		ep.Done(l, Success)
		c.End()
	}
}

var kinds = []routing.BalanceKind{
	routing.LeastRequest, routing.RoundRobin, routing.Random, routing.RingHash, routing.Maglev,
}

func TestExchangeDoesNotAllocate(t *testing.T) {
	for _, kind := range kinds {
		for _, protocol := range []routing.Upstream{routing.UpstreamHTTP1, routing.UpstreamHTTP2} {
			s := newStage(t, 1)
			c := s.cluster(routing.Cluster{Protocol: protocol, Balance: routing.Balance{Kind: kind}}, 1, 2, 3)
			run := s.exchange(c, &Want{Hash: 42, HasHash: true})
			for range 100 { // connections to all
				run()
			}
			if n := testing.AllocsPerRun(1000, run); n != 0 {
				t.Errorf("%s, %s: an exchange allocates %v times, want 0", kind, protocol, n)
			}
		}
	}
}

func TestWaitingDoesNotAllocate(t *testing.T) {
	s := newStage(t, 1)
	c := s.cluster(routing.Cluster{Limits: routing.Limits{Connections: 1}}, 1)
	busy, ep, l := s.get(c, s.loops[0]).client, s.endpoint(c, 1), s.loops[0]
	e := &ender{}
	w := &Wait{Waiter: e}
	if n := testing.AllocsPerRun(1000, func() {
		c.Connect(l, ep, w)
		busy.end()
		l.Settle()
	}); n != 0 {
		t.Errorf("waiting for a connection allocates %v times, want 0", n)
	}
}

func TestHashDoesNotAllocate(t *testing.T) {
	req := &message.Request{Query: "?a=b&user=ann"}
	req.Fields.Append("Cookie", "a=b; user=ann")
	req.Fields.Append("X-User", "ann")
	req.Fields.Append("X-User", "bob")
	peer := &message.Peer{Remote: addr(1)}
	for _, on := range []string{"source-ip", "header:x-user", "cookie:user", "query:user"} {
		s := newStage(t, 1)
		c := s.cluster(routing.Cluster{Balance: routing.Balance{Kind: routing.RingHash, HashOn: on}}, 1)
		if n := testing.AllocsPerRun(100, func() { c.Hash(req, peer) }); n != 0 {
			t.Errorf("%s: Hash allocates %v times, want 0", on, n)
		}
	}
}

func BenchmarkExchange(b *testing.B) {
	for _, kind := range kinds {
		for _, n := range []int{3, 1000} {
			b.Run(fmt.Sprintf("%s/%d", kind, n), func(b *testing.B) {
				s := newStage(b, 1)
				var ports []uint16
				for i := range n {
					ports = append(ports, uint16(i+1))
				}
				c := s.cluster(routing.Cluster{Balance: routing.Balance{Kind: kind}}, ports...)
				want := &Want{HasHash: true}
				run := s.exchange(c, want)
				for range 20 * n {
					want.Hash = rand.Uint64()
					run()
				}
				b.ReportAllocs()
				for b.Loop() {
					want.Hash += 0x9e3779b97f4a7c15
					run()
				}
			})
		}
	}
}

// BenchmarkEndpointsChange is what a change of 1000 endpoints costs, off the
// loops.
func BenchmarkEndpointsChange(b *testing.B) {
	for _, kind := range kinds {
		b.Run(string(kind), func(b *testing.B) {
			s := newStage(b, 1)
			s.cluster(routing.Cluster{Balance: routing.Balance{Kind: kind}})
			var list []routing.Endpoint
			for i := range uint16(1000) {
				list = append(list, routing.Endpoint{Addr: addr(i + 1), Ready: true})
			}
			b.ReportAllocs()
			for b.Loop() {
				list[0].Ready = !list[0].Ready
				s.set.PutEndpoints(&routing.Endpoints{Cluster: "c", List: list})
				s.settle()
			}
		})
	}
}

// BenchmarkInFlight compares one counter that all loops share with one a loop
// that picks sum up: what a try costs of it, two reads to choose and a change
// each at its begin and end, while as many loops as there are cores do so.
func BenchmarkInFlight(b *testing.B) {
	type padded struct {
		n atomic.Int64
		_ [56]byte
	}
	const endpoints = 2
	for _, loops := range []int{2, 16} {
		b.Run(fmt.Sprintf("shared/%d", loops), func(b *testing.B) {
			counters := make([]padded, endpoints)
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					if counters[0].n.Load() > counters[1].n.Load() {
						i++
					}
					counters[i%endpoints].n.Add(1)
					counters[i%endpoints].n.Add(-1)
				}
			})
		})
		b.Run(fmt.Sprintf("apart/%d", loops), func(b *testing.B) {
			var counters [endpoints][]padded
			for i := range counters {
				counters[i] = make([]padded, loops)
			}
			var next atomic.Int64
			b.RunParallel(func(pb *testing.PB) {
				own := int(next.Add(1)-1) % loops
				sum := func(e int) (n int64) {
					for i := range counters[e] {
						n += counters[e][i].n.Load()
					}
					return n
				}
				for i := 0; pb.Next(); i++ {
					if sum(0) > sum(1) {
						i++
					}
					counters[i%endpoints][own].n.Add(1)
					counters[i%endpoints][own].n.Add(-1)
				}
			})
		})
	}
}
