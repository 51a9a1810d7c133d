package upstream

import (
	"errors"
	"slices"
	"testing"
	"time"

	"fairway.dev/gateway/loop"
	"fairway.dev/routing"
)

func TestConnectionIsUsedAgain(t *testing.T) {
	s := newStage(t, 1)
	c := s.cluster(routing.Cluster{}, 1)
	first := s.get(c, s.loops[0])
	if first.reused {
		t.Error("the first request's connection: reused = true, want false")
	}
	first.client.end()
	second, _ := s.begin(c, s.loops[0])
	if second.client != first.client || !second.reused {
		t.Errorf("second request: reused = %v on the same connection %v, want both, before Connect returns",
			second.reused, second.client == first.client)
	}
}

func TestLastFreedIsFirstUsed(t *testing.T) {
	s := newStage(t, 1)
	c := s.cluster(routing.Cluster{}, 1)
	a, b := s.get(c, s.loops[0]), s.get(c, s.loops[0])
	a.client.end()
	b.client.end()
	if next := s.get(c, s.loops[0]); next.client != b.client {
		t.Error("the connection that was freed first is used, want the last: the others are to become idle")
	}
}

func TestConnectionsBelongToLoops(t *testing.T) {
	s := newStage(t, 2)
	c := s.cluster(routing.Cluster{}, 1)
	a := s.get(c, s.loops[0])
	a.client.end()
	b := s.get(c, s.loops[1])
	if b.client == a.client || b.client.conn.Loop() != s.loops[1] {
		t.Error("a loop got another loop's connection")
	}
}

func TestIdleConnectionIsClosed(t *testing.T) {
	for _, tt := range []struct{ idle, want time.Duration }{
		{0, 90 * time.Second},
		{5 * time.Second, 5 * time.Second},
	} {
		s := newStage(t, 1)
		c := s.cluster(routing.Cluster{IdleTimeout: tt.idle}, 1)
		x := s.get(c, s.loops[0])
		s.run(2 * tt.want)
		if x.client.closed {
			t.Errorf("IdleTimeout %v: closed while in use", tt.idle)
		}
		x.client.end()
		s.run(tt.want - time.Second)
		if x.client.closed {
			t.Errorf("IdleTimeout %v: closed a second before %v", tt.idle, tt.want)
		}
		s.run(2 * time.Second)
		if !x.client.closed || s.stat(1).Connections != 0 {
			t.Errorf("IdleTimeout %v: open after %v", tt.idle, tt.want)
		}
	}
}

func TestHTTP2ConnectionRestsSinceTheLastEnd(t *testing.T) {
	s := newStage(t, 1)
	c := s.cluster(routing.Cluster{Protocol: routing.UpstreamHTTP2, IdleTimeout: time.Minute}, 1)
	x, long := s.get(c, s.loops[0]), s.get(c, s.loops[0])
	s.run(50 * time.Second)
	x.client.end()
	s.run(50 * time.Second)
	if x.client.draining {
		t.Fatal("retired 50 s after an exchange ended on it, want 60 s")
	}
	s.run(20 * time.Second)
	if !x.client.draining || x.client.closed {
		t.Error("60 s after anything began or ended: want no more requests on it, and the last left alone")
	}
	long.client.end()
	s.settle()
	if !x.client.closed {
		t.Error("open after its last exchange")
	}
}

func TestDeadIdleConnectionIsForgotten(t *testing.T) {
	s := newStage(t, 1)
	c := s.cluster(routing.Cluster{}, 1)
	x := s.get(c, s.loops[0])
	x.client.end()
	x.client.die(errors.New("reset by peer"))
	s.settle()
	if n := s.stat(1).Connections; n != 0 {
		t.Errorf("%d connections after the only one died, want 0", n)
	}
	if y := s.get(c, s.loops[0]); y.client == x.client || y.reused {
		t.Error("a dead connection was handed out")
	}
	if s.stat(1).Health != Healthy {
		t.Error("that an idle connection closed counted against the endpoint")
	}
}

func TestFreedConnectionGoesToWhoWaitsFirst(t *testing.T) {
	s := newStage(t, 1)
	c := s.cluster(routing.Cluster{Limits: routing.Limits{Connections: 1}}, 1)
	busy := s.get(c, s.loops[0])
	a, _ := s.begin(c, s.loops[0])
	b, _ := s.begin(c, s.loops[0])
	s.settle()
	if a.heard+b.heard != 0 {
		t.Fatal("a second connection was opened, want 1 at most")
	}
	busy.client.end()
	s.settle()
	if a.client != busy.client || !a.reused || b.heard != 0 {
		t.Error("the freed connection did not go to the first that waited")
	}
	a.client.end()
	late, _ := s.begin(c, s.loops[0])
	s.settle()
	if b.client != busy.client || late.heard != 0 {
		t.Error("one that came later was served before one that waited")
	}
}

func TestWaiterTakesWhatIsFreedBeforeItsDialEnds(t *testing.T) {
	s := newStage(t, 1)
	c := s.cluster(routing.Cluster{}, 1)
	busy := s.get(c, s.loops[0])
	s.answer[addr(1)] = errHang
	w, _ := s.begin(c, s.loops[0])
	busy.client.end()
	s.settle()
	if w.client != busy.client {
		t.Error("waits for its own connection while another is free")
	}
	s.run(time.Minute)
	if w.heard != 1 {
		t.Errorf("heard %d times, want once", w.heard)
	}
}

func TestCancelledWaiterHearsNothing(t *testing.T) {
	s := newStage(t, 1)
	c := s.cluster(routing.Cluster{}, 1)
	a, _ := s.begin(c, s.loops[0])
	b, _ := s.begin(c, s.loops[0])
	d, _ := s.begin(c, s.loops[0])
	b.Cancel()
	b.Cancel()
	s.settle()
	if a.heard != 1 || b.heard != 0 || d.heard != 1 {
		t.Errorf("heard %d, %d, %d times, want 1, 0, 1", a.heard, b.heard, d.heard)
	}
	if got := s.set.Stats()[0].Pending; got != 0 {
		t.Errorf("%d pending, want 0", got)
	}
	next, _ := s.begin(c, s.loops[0])
	if next.client == nil || next.reused {
		t.Error("the connection that was opened for the cancelled one is not kept for the next")
	}
	a.Cancel() // it has a connection: nothing to cancel
}

func TestWaiterMayLeaveTheConnectionAlone(t *testing.T) {
	s := newStage(t, 1)
	c := s.cluster(routing.Cluster{}, 1)
	x := s.get(c, s.loops[0])
	x.client.end()
	w := Wait{Waiter: refusing{}}
	c.Connect(s.loops[0], s.endpoint(c, 1), &w)
	if next, _ := s.begin(c, s.loops[0]); next.client != x.client {
		t.Error("a connection that was not used is lost")
	}
}

func TestHTTP2ConnectionsCarryStreams(t *testing.T) {
	s := newStage(t, 1)
	s.streams = 10
	c := s.cluster(routing.Cluster{Protocol: routing.UpstreamHTTP2}, 1)
	var tries []*try
	for range 10 {
		tries = append(tries, s.get(c, s.loops[0]))
	}
	if len(s.clients) != 1 {
		t.Fatalf("%d connections for 10 requests at a time, 10 streams each: want 1", len(s.clients))
	}
	eleventh := s.get(c, s.loops[0])
	if len(s.clients) != 2 || eleventh.client == tries[0].client {
		t.Fatalf("%d connections for 11 requests, want 2", len(s.clients))
	}
	tries[0].client.end()
	if next, _ := s.begin(c, s.loops[0]); next.client == nil {
		t.Error("no connection at once, though a stream is free")
	}
}

func TestHTTP2BurstOpensNoMoreThanItNeeds(t *testing.T) {
	s := newStage(t, 1)
	c := s.cluster(routing.Cluster{Protocol: routing.UpstreamHTTP2}, 1)
	for range 150 {
		s.begin(c, s.loops[0])
	}
	if len(s.dials) != 2 {
		t.Errorf("%d connections opened for 150 requests of which one carries 100, want 2", len(s.dials))
	}
}

func TestHTTP2ConnectionThatGoesAwayIsReplaced(t *testing.T) {
	s := newStage(t, 1)
	c := s.cluster(routing.Cluster{Protocol: routing.UpstreamHTTP2}, 1)
	a := s.get(c, s.loops[0])
	a.client.draining = true // GOAWAY
	b := s.get(c, s.loops[0])
	if b.client == a.client {
		t.Fatal("a request was opened after GOAWAY")
	}
	a.client.end()
	s.settle()
	if n := s.stat(1).Connections; n != 1 {
		t.Errorf("%d connections, want the new one", n)
	}
}

func TestALPNDecidesTheProtocol(t *testing.T) {
	for _, tt := range []struct {
		protocol routing.Upstream
		alpn     string
		carries  int
	}{
		{routing.UpstreamAuto, "h2", 100},
		{routing.UpstreamAuto, "http/1.1", 1},
		{routing.UpstreamAuto, "", 1},
		{routing.UpstreamHTTP2, "", 100}, // the cluster says so: by prior knowledge
		{routing.UpstreamHTTP1, "", 1},
	} {
		s := newStage(t, 1)
		s.alpn = tt.alpn
		c := s.cluster(routing.Cluster{Protocol: tt.protocol, TLS: &routing.UpstreamTLS{Insecure: true}}, 1)
		x := s.get(c, s.loops[0])
		if x.client.room != tt.carries {
			t.Errorf("%s, ALPN %q: %d requests at a time, want %d", tt.protocol, tt.alpn, x.client.room, tt.carries)
		}
	}
}

func TestUnknownProtocolOpensOneConnectionFirst(t *testing.T) {
	s := newStage(t, 1)
	s.alpn = "http/1.1"
	c := s.cluster(routing.Cluster{Protocol: routing.UpstreamAuto, TLS: &routing.UpstreamTLS{Insecure: true}}, 1)
	var tries []*try
	for range 3 {
		x, _ := s.begin(c, s.loops[0])
		tries = append(tries, x)
	}
	if len(s.dials) != 1 {
		t.Errorf("%d connections while the protocol is not known, want 1", len(s.dials))
	}
	s.settle()
	for i, x := range tries {
		if x.client == nil {
			t.Errorf("try %d has no connection", i)
		}
	}
}

func TestConnectionIsRetiredAfterSoManyRequests(t *testing.T) {
	s := newStage(t, 1)
	c := s.cluster(routing.Cluster{Limits: routing.Limits{RequestsOnConn: 2}}, 1)
	a := s.get(c, s.loops[0])
	a.client.end()
	s.get(c, s.loops[0])
	if a.client.closed {
		t.Fatal("closed before its last request has ended")
	}
	a.client.end()
	s.settle()
	if !a.client.closed {
		t.Error("open after 2 requests, want it retired")
	}
	if b := s.get(c, s.loops[0]); b.client == a.client {
		t.Error("a third request went over it")
	}
}

func TestFailedDialFailsOneWaiterEach(t *testing.T) {
	s := newStage(t, 1)
	c := s.cluster(routing.Cluster{}, 1)
	s.answer[addr(1)] = loop.ErrRefused
	a, _ := s.begin(c, s.loops[0])
	b, _ := s.begin(c, s.loops[0])
	s.settle()
	if !errors.Is(a.err, loop.ErrRefused) || !errors.Is(b.err, loop.ErrRefused) || len(s.dials) != 2 {
		t.Errorf("errors %v and %v after %d dials, want refused and two dials", a.err, b.err, len(s.dials))
	}
	if n := s.stat(1).Connections; n != 0 {
		t.Errorf("%d connections, want 0", n)
	}
}

func TestFailedDialFailsAllThatItWouldHaveCarried(t *testing.T) {
	s := newStage(t, 1)
	c := s.cluster(routing.Cluster{Protocol: routing.UpstreamHTTP2}, 1)
	s.answer[addr(1)] = loop.ErrRefused
	var tries []*try
	for range 20 {
		x, _ := s.begin(c, s.loops[0])
		tries = append(tries, x)
	}
	s.settle()
	for i, x := range tries {
		if !errors.Is(x.err, loop.ErrRefused) {
			t.Errorf("try %d: %v, want refused", i, x.err)
		}
	}
	if len(s.dials) != 1 {
		t.Errorf("%d dials for 20 streams, want 1", len(s.dials))
	}
}

func TestConnectTimeout(t *testing.T) {
	for _, tt := range []struct{ set, want time.Duration }{
		{0, 5 * time.Second},
		{time.Second, time.Second},
	} {
		s := newStage(t, 1)
		c := s.cluster(routing.Cluster{ConnectTimeout: tt.set}, 1)
		s.answer[addr(1)] = errHang
		x, _ := s.begin(c, s.loops[0])
		if got := s.dials[0].timeout; got != tt.want {
			t.Errorf("ConnectTimeout %v: dialed with %v, want %v", tt.set, got, tt.want)
		}
		s.run(tt.want - 20*time.Millisecond)
		if x.heard != 0 {
			t.Errorf("ConnectTimeout %v: failed early: %v", tt.set, x.err)
		}
		s.run(40 * time.Millisecond)
		if !errors.Is(x.err, ErrTimeout) || x.heard != 1 {
			t.Errorf("ConnectTimeout %v: %v, %d times; want ErrTimeout once", tt.set, x.err, x.heard)
		}
	}
}

func TestUpgradesGetHTTP1WhereALPNChooses(t *testing.T) {
	for _, tt := range []struct {
		cluster routing.Cluster
		offers  []string
		shared  bool // with other requests
	}{
		{routing.Cluster{Protocol: routing.UpstreamAuto, TLS: &routing.UpstreamTLS{Insecure: true}}, []string{"http/1.1"}, false},
		{routing.Cluster{Protocol: routing.UpstreamHTTP1, TLS: &routing.UpstreamTLS{Insecure: true}}, []string{"http/1.1"}, true},
		{routing.Cluster{Protocol: routing.UpstreamHTTP2, TLS: &routing.UpstreamTLS{Insecure: true}}, []string{"h2"}, true}, // RFC 8441 or nothing
		{routing.Cluster{Protocol: routing.UpstreamAuto}, nil, true},
	} {
		s := newStage(t, 1)
		c := s.cluster(tt.cluster, 1)
		up := &try{}
		up.Waiter, up.Use = up, Upgrades
		c.Connect(s.loops[0], s.endpoint(c, 1), &up.Wait)
		s.settle()
		var offers []string
		if config := s.dials[0].config; config != nil {
			offers = config.NextProtos
		}
		if !slices.Equal(offers, tt.offers) {
			t.Errorf("%s: an upgrade offers %q by ALPN, want %q", tt.cluster.Protocol, offers, tt.offers)
		}
		up.client.end()
		if x := s.get(c, s.loops[0]); (x.client == up.client) != tt.shared {
			t.Errorf("%s: another request on the same connection = %v, want %v", tt.cluster.Protocol, x.client == up.client, tt.shared)
		}
	}
}

func TestUpgradesAndTheRestShareTheLimit(t *testing.T) {
	s := newStage(t, 1)
	c := s.cluster(routing.Cluster{
		Protocol: routing.UpstreamAuto, TLS: &routing.UpstreamTLS{Insecure: true}, Limits: routing.Limits{Connections: 1},
	}, 1)
	x := s.get(c, s.loops[0])
	up := &try{}
	up.Waiter, up.Use = up, Upgrades
	c.Connect(s.loops[0], s.endpoint(c, 1), &up.Wait)
	s.settle()
	if up.heard != 0 {
		t.Fatal("two connections at a time, want 1")
	}
	x.client.end()
	s.settle()
	if up.client == nil || !x.client.closed {
		t.Error("the upgrade did not get the place of an idle connection")
	}
}

// maxConnectionDuration.
func TestConnectionRetiresAtItsAge(t *testing.T) {
	s := newStage(t, 1)
	c := s.cluster(routing.Cluster{ConnectionAge: 10 * time.Second, IdleTimeout: time.Minute, Protocol: routing.UpstreamHTTP2}, 1)
	busy := s.get(c, s.loops[0])
	s.run(9 * time.Second)
	if x := s.get(c, s.loops[0]); x.client != busy.client {
		t.Fatal("a connection was not used though it is young")
	}
	s.run(2 * time.Second)
	next := s.get(c, s.loops[0])
	if next.client == busy.client || !busy.client.draining || busy.client.closed {
		t.Error("an old connection: want it to finish what it carries, and to take no more")
	}
	next.client.end()
	s.run(11 * time.Second)
	if !next.client.closed {
		t.Error("an old connection that is idle is open")
	}
}

func TestConnectionIsOpenedAsTheClusterSays(t *testing.T) {
	s := newStage(t, 1)
	ping := &routing.Ping{Interval: time.Minute, Timeout: time.Second}
	c := s.cluster(routing.Cluster{
		Protocol: routing.UpstreamHTTP2, Ping: ping, Limits: routing.Limits{Streams: 7},
		KeepAlive: &routing.KeepAlive{Probes: 3, Idle: time.Hour},
	}, 1)
	x := s.get(c, s.loops[0])
	if got := x.client.ev.HTTP2; got != (HTTP2Settings{Streams: 7, Ping: ping}) {
		t.Errorf("HTTP/2: %+v, want 7 streams and its ping", got)
	}
	if got := s.dials[0].keepAlive; got == nil || *got != (loop.KeepAlive{Probes: 3, Idle: time.Hour}) {
		t.Errorf("keep-alive: %+v, want that of the cluster", got)
	}
}
