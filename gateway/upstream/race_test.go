package upstream

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
	"fairway.dev/routing"
)

// A soloClient carries one exchange at a time, which ends in the next round.
type soloClient struct {
	conn     Conn
	ev       ClientEvents
	busy     bool
	draining bool
}

func (c *soloClient) Free() int {
	if c.busy || c.draining {
		return 0
	}
	return 1
}

func (c *soloClient) Open(*message.Request, bool, message.ClientReceiver) message.Stream {
	c.busy = true
	return nil
}

func (c *soloClient) Close() { c.Drain() }

func (c *soloClient) Drain() {
	if !c.draining && !c.busy {
		c.conn.Loop().Defer(func() { c.ev.Closed(nil) })
	}
	c.draining = true
}

func (c *soloClient) end() {
	c.busy = false
	if c.draining {
		c.ev.Closed(nil)
		return
	}
	c.ev.Free()
}

// A traveller makes exchanges on one loop, one after the other.
type traveller struct {
	Wait
	set  *Set
	l    *loop.Loop
	left int
	c    *Cluster
	ep   *Endpoint
	done func()
}

func (v *traveller) start() {
	for ; v.left > 0; v.left-- {
		v.c = v.set.Cluster("c")
		if v.c == nil || !v.c.Begin() {
			continue
		}
		ep, err := v.c.Pick(v.l, &Want{Hash: mix(uint64(v.left)), HasHash: true})
		if err != nil {
			v.c.End()
			continue
		}
		v.left--
		v.ep = ep
		v.c.Connect(v.l, ep, &v.Wait)
		return
	}
	v.done()
}

func (v *traveller) finish(o Outcome) {
	v.ep.Done(v.l, o)
	v.c.End()
	v.l.Defer(v.start)
}

func (v *traveller) Connected(conn message.Client, _ bool) {
	conn.Open(nil, true, nil)
	v.l.Defer(func() {
		conn.(*soloClient).end()
		v.finish(Outcome(v.left % 3)) // Success, Failed, Reset
	})
}

func (v *traveller) ConnectFailed(error) { v.finish(NoConnection) }

// TestLoopsAndEditsRunSideBySide lets loops, each on its own goroutine, make
// exchanges while others edit the clusters and read their state. The race
// detector watches; what is counted must come out even.
func TestLoopsAndEditsRunSideBySide(t *testing.T) {
	const travellers, exchanges = 8, 300
	loops := loop.NewManuals(3, time.Unix(0, 0))
	set := NewSet(Options{
		Loops: loops,
		Now:   func() time.Time { return time.Unix(1, 0) },
		Dial: func(l *loop.Loop, addr netip.AddrPort, _ loop.Opening, _ time.Duration, done func(Conn, string, error)) func() {
			cancelled := false
			l.Defer(func() {
				switch {
				case cancelled:
				case addr.Port()%4 == 0:
					done(nil, "", fmt.Errorf("connect: %w", loop.ErrRefused))
				default:
					c, _ := loop.Pipe(l)
					done(c, "", nil)
				}
			})
			return func() { cancelled = true }
		},
		NewClient: func(conn Conn, _ message.Proto, ev ClientEvents) message.Client {
			return &soloClient{conn: conn, ev: ev}
		},
	})
	zones := []string{"a", "b", ""}
	edit := func(i int) {
		spec := &routing.Cluster{
			Name: "c", Balance: routing.Balance{Kind: kinds[i%len(kinds)]},
			Limits: routing.Limits{Connections: 1 + i%3, AllConnections: i % 2 * 5, Pending: 10},
			TLS:    &routing.UpstreamTLS{Insecure: true, ServerName: fmt.Sprint(i % 2)},
		}
		switch i % 7 {
		case 1, 2:
			spec.Outliers = &routing.OutlierDetection{Consecutive5xx: 2, MaxPercent: 100, MinHealthPercent: 50}
		case 3, 4:
			spec.Balance.Locality = &routing.Locality{}
			spec.Health = &routing.HealthCheck{Unhealthy: 1}
		case 5:
			spec.TLS = &routing.UpstreamTLS{Insecure: true, NameFromHost: true}
			spec.ConnectionAge = time.Second
		}
		set.Put(spec)
		var list []routing.Endpoint
		for port := range uint16(8) {
			list = append(list, routing.Endpoint{Addr: addr(1 + port + uint16(i%3)), Weight: uint32(i%4 + 1), Ready: true, Zone: zones[port%3], Region: "r", ForZones: zones[i%2 : 1+i%3]})
		}
		set.PutEndpoints(&routing.Endpoints{Cluster: "c", List: list})
		set.SetPlace(Place{Zone: zones[i%3], Region: "r"})
	}
	edit(0)

	var running sync.WaitGroup
	for _, l := range loops {
		running.Go(func() {
			left := travellers
			for range travellers {
				v := &traveller{set: set, l: l, left: exchanges, done: func() { left-- }}
				v.Waiter = v
				l.Defer(v.start)
			}
			for rounds := 0; left > 0; rounds++ {
				if l.Advance(10 * time.Millisecond); rounds > 1_000_000 {
					t.Errorf("loop %d: %d travellers never arrived", l.Index(), left)
					return
				}
			}
		})
	}
	stop := make(chan struct{})
	var editing sync.WaitGroup
	editing.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				edit(i)
				set.Stats()
			}
		}
	})
	running.Wait()
	close(stop)
	editing.Wait()
	for range 4 {
		for _, l := range loops {
			l.Advance(3 * time.Minute) // all idle connections close
		}
	}
	for _, c := range set.Stats() {
		if c.Active != 0 || c.Pending != 0 {
			t.Errorf("active %d, pending %d after all is over, want 0", c.Active, c.Pending)
		}
		for _, ep := range c.Endpoints {
			if ep.InFlight != 0 || ep.Connections != 0 {
				t.Errorf("%v: in flight %d, connections %d after all is over, want 0", ep.Addr, ep.InFlight, ep.Connections)
			}
		}
	}
}
