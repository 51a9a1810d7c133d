package upstream

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"

	"fairway.dev/gateway/hop"
	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
	"fairway.dev/routing"
)

// A stage is a Set on manual loops whose backends are made up.
type stage struct {
	t     testing.TB
	set   *Set
	loops []*loop.Loop

	// answer says what becomes of a dial: nil connects.
	answer  map[netip.AddrPort]error
	alpn    string                  // what TLS agrees on
	streams int                     // of an HTTP/2 connection
	hold    bool                    // dials end when the test calls end
	native  map[netip.AddrPort]bool // waypoints of the fleet

	dials    []*fakeDial
	clients  []*fakeClient
	overflow map[Limit]int
	ejected  []string
}

// errHang makes a dial hang until its timeout.
var errHang = fmt.Errorf("connect: %w", os.ErrDeadlineExceeded)

func newStage(t testing.TB, loops int) *stage {
	s := &stage{
		t: t, loops: loop.NewManuals(loops, time.Unix(0, 0)), streams: 100,
		answer: map[netip.AddrPort]error{}, native: map[netip.AddrPort]bool{}, overflow: map[Limit]int{},
	}
	s.set = NewSet(Options{
		Loops: s.loops, Dial: s.dial, Hop: hopper{s}, NewClient: s.newClient,
		Now:        func() time.Time { return s.loops[0].Now() },
		OnOverflow: func(_ *Cluster, l Limit) { s.overflow[l]++ },
		OnEject: func(_ *Cluster, ep *Endpoint, c Cause) {
			s.ejected = append(s.ejected, fmt.Sprint(ep.Addr().Port(), " ", c))
		},
	})
	for i := range s.set.picks {
		s.set.picks[i].rng.Seed(1, uint64(i))
	}
	return s
}

// cluster puts a cluster named "c" with endpoints whose ports are given.
func (s *stage) cluster(spec routing.Cluster, ports ...uint16) *Cluster {
	s.t.Helper()
	spec.Name = "c"
	if spec.Protocol == "" {
		spec.Protocol = routing.UpstreamHTTP1
	}
	s.set.Put(&spec)
	s.endpoints(ports...)
	return s.set.Cluster("c")
}

func (s *stage) endpoints(ports ...uint16) {
	var list []routing.Endpoint
	for _, port := range ports {
		list = append(list, routing.Endpoint{Addr: addr(port), Ready: true, Serving: true})
	}
	s.set.PutEndpoints(&routing.Endpoints{Cluster: "c", List: list})
}

func addr(port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, 1}), port)
}

// run lets time pass on all loops alike.
func (s *stage) run(d time.Duration) {
	const tick = 10 * time.Millisecond
	for ; d > tick; d -= tick {
		s.each(func(l *loop.Loop) { l.Advance(tick) })
	}
	s.each(func(l *loop.Loop) { l.Advance(d) })
	s.settle()
}

func (s *stage) settle() {
	for range 2 * len(s.loops) { // loops post to each other
		s.each((*loop.Loop).Settle)
	}
}

func (s *stage) each(f func(*loop.Loop)) {
	for _, l := range s.loops {
		f(l)
	}
}

type fakeDial struct {
	loop      *loop.Loop
	hop       *hop.Target // nil: by TCP
	addr      netip.AddrPort
	config    *tls.Config
	first     string
	keepAlive *loop.KeepAlive
	timeout   time.Duration
	at        time.Time
	conn, far *loop.PipeConn // nil while there is none
	cancelled bool
	end       func()
}

func (s *stage) dial(l *loop.Loop, addr netip.AddrPort, how loop.Opening, timeout time.Duration,
	done func(Conn, string, error)) func() {
	d := &fakeDial{loop: l, addr: addr, config: how.TLS, first: string(how.First), keepAlive: how.KeepAlive, timeout: timeout, at: l.Now()}
	return s.begun(d, func(err error) {
		if err != nil {
			done(nil, "", err)
			return
		}
		done(d.conn, s.alpn, nil)
	})
}

// begun sees to it that d ends: done is called once it has a connection, or none.
func (s *stage) begun(d *fakeDial, done func(error)) (cancel func()) {
	l, addr, timeout := d.loop, d.addr, d.timeout
	s.dials = append(s.dials, d)
	d.end = func() {
		if d.cancelled {
			return
		}
		if err := s.answer[addr]; err != nil {
			done(err)
			return
		}
		d.conn, d.far = loop.Pipe(l)
		done(nil)
	}
	switch {
	case s.hold:
	case s.answer[addr] == errHang:
		l.Arm(&loop.Timer{Fire: d.end}, timeout)
	default:
		l.Defer(d.end)
	}
	return func() { d.cancelled = true }
}

// A hopper is a stage as what opens connections by HBONE.
type hopper struct{ *stage }

func (h hopper) Dial(l *loop.Loop, to hop.Target, timeout time.Duration, done func(hop.Conner, bool, error)) func() {
	d := &fakeDial{loop: l, addr: to.Addr, hop: &to, timeout: timeout, at: l.Now()}
	return h.begun(d, func(err error) {
		if err != nil {
			done(nil, false, err)
			return
		}
		done(d.conn, to.Requests && h.native[to.Addr], nil)
	})
}

// A fakeClient is a connection whose exchanges end when the test says so.
type fakeClient struct {
	conn     Conn
	ev       ClientEvents
	proto    message.Proto
	room     int
	opened   int
	draining bool
	closed   bool
}

func (s *stage) newClient(conn Conn, proto message.Proto, ev ClientEvents) message.Client {
	c := &fakeClient{conn: conn, ev: ev, proto: proto, room: 1}
	if proto == message.HTTP2 {
		c.room = s.streams
	}
	s.clients = append(s.clients, c)
	return c
}

func (c *fakeClient) Open(*message.Request, bool, message.ClientReceiver) message.Stream {
	if c.Free() == 0 {
		panic("opened a request on a connection without room")
	}
	c.opened++
	return nil
}

func (c *fakeClient) Free() int {
	if c.draining || c.closed {
		return 0
	}
	return c.room - c.opened
}

func (c *fakeClient) Close() { c.die(nil) }

func (c *fakeClient) Drain() {
	c.draining = true
	if c.opened == 0 {
		c.die(nil)
	}
}

// end ends one exchange.
func (c *fakeClient) end() {
	c.opened--
	if c.draining && c.opened == 0 {
		c.die(nil)
		return
	}
	c.ev.Free()
}

// die closes the connection.
func (c *fakeClient) die(err error) {
	if c.closed {
		return
	}
	c.closed = true
	c.conn.Close()
	c.conn.Loop().Defer(func() { c.ev.Closed(err) })
}

// A try is a Waiter that uses what it gets.
type try struct {
	Wait
	client *fakeClient
	reused bool
	err    error
	heard  int
}

func (t *try) Connected(conn message.Client, reused bool) {
	t.client, t.reused = conn.(*fakeClient), reused
	t.heard++
	conn.Open(nil, true, nil)
}

func (t *try) ConnectFailed(err error) {
	t.err = err
	t.heard++
}

// begin picks an endpoint on l and asks for a connection.
func (s *stage) begin(c *Cluster, l *loop.Loop) (*try, *Endpoint) {
	s.t.Helper()
	ep, err := c.Pick(l, &Want{})
	if err != nil {
		s.t.Fatalf("Pick: %v", err)
	}
	return s.connect(c, l, ep), ep
}

func (s *stage) connect(c *Cluster, l *loop.Loop, ep *Endpoint) *try {
	t := &try{}
	t.Waiter = t
	c.Connect(l, ep, &t.Wait)
	return t
}

// get is begin for tests where a connection must come.
func (s *stage) get(c *Cluster, l *loop.Loop) *try {
	s.t.Helper()
	t, _ := s.begin(c, l)
	s.settle()
	if t.client == nil {
		s.t.Fatalf("no connection: %v", t.err)
	}
	return t
}

// picks counts which ports n picks go to, each done at once.
func (s *stage) picks(c *Cluster, n int, want Want) map[uint16]int {
	s.t.Helper()
	ports := map[uint16]int{}
	for range n {
		ep, err := c.Pick(s.loops[0], &want)
		if err != nil {
			s.t.Fatalf("Pick: %v", err)
		}
		ports[ep.Addr().Port()]++
		ep.Done(s.loops[0], Abandoned)
	}
	return ports
}

// endpoint returns the endpoint with that port.
func (s *stage) endpoint(c *Cluster, port uint16) *Endpoint {
	return c.view.Load().byAddr[addr(port)].ep
}

// stat returns the state of the endpoint with that port.
func (s *stage) stat(port uint16) EndpointStats {
	s.t.Helper()
	for _, cluster := range s.set.Stats() {
		for _, ep := range cluster.Endpoints {
			if ep.Addr.Port() == port {
				return ep
			}
		}
	}
	s.t.Fatalf("no endpoint with port %d", port)
	return EndpointStats{}
}
